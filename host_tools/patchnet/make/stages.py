"""From a folder of pictures to a network that was tried on every engine: each stage is a verb with the files it leaves.

    train.npz, test.npz, experiment.toml     look, choose; validation.npz, if the set has such a part
    teacher/                                 patchnet train teacher/experiment.toml, if one is asked for
    config.toml, float.npz, checkpoint.pt    patchnet train experiment.toml
    qnet.npz                                 patchnet quantize
    NAME.pnb                                 patchnet pack --budget
    report.html                              patchnet report

What is there is not made again, so that a run that was killed goes on where it was. `make.json` has what was asked.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..blob.files import Packed, network_of, pack_file
from ..board.remote import FIRMWARE, UNIX
from ..data import Dataset, load
from ..data.look import Looked, changes, contents, look, store
from ..evaluate.engines import room_of
from ..evaluate.engines import run as ask
from ..evaluate.val import Answered, answered
from ..net import trunk
from ..net.toml import write_toml
from ..progress import Track, no_track
from ..tasks.making import Making
from ..whole import write_text
from .choose import Candidate, Wanted, candidates, listed, making_for, rounds, training_of

ORDER = "make.json"
LOST = 0.005  # of accuracy, by calibration alone, from which on fine-tuning is worth its time
TUNE_EPOCHS, TUNE_LR = 3, 2e-5
EMULATED = 100  # items that the emulated board is asked: it takes half a second for each
MOST_EPOCHS = 1000  # whatever time there is
FEWEST_EPOCHS = 8  # else a smaller network learns more in that time
LEARNING = 0.7  # of a training's time; the rest reads pictures, and looks at those held out
TEACHING = 0.4  # of the time is the teacher's
TEACHER_SIDE = 128  # of its pictures, at least
DETAIL = 1.5  # pictures are kept that much larger than the network's, for crops to be taken of them

Told = Callable[[str], object]


@dataclass(frozen=True)
class Order:
    """What is asked for. `begin`: the weights that training begins with, "" for random ones. `teacher`: whether all of
    EfficientNet-Lite0 learns first, in TEACHING of the time, and tells the network then what it sees."""

    name: str
    data: str
    test: str
    wanted: Wanted
    minutes: float = 30.0
    begin: str = trunk.NAME
    teacher: bool = False


@dataclass(frozen=True)
class Made:
    """`answers`: of the engines here to the whole test set; `emulated`: to a part of it, None without firmware."""

    run: str
    packed: Packed
    answers: Answered
    emulated: Answered | None
    report: str


def make(order: Order, out: Path, track: Track = no_track, told: Told = print) -> Made:
    """Makes what is missing of the run `out`. ValueError if it is something else's, or the order cannot be met."""
    claim(order, out)
    if not (out / "experiment.toml").is_file():
        begin(order, out, track, told)
    train(out, told)
    packed = integers(order, out, track, told)
    return tried(order, out, packed, track)


def claim(order: Order, out: Path) -> None:
    """ValueError unless the folder is new, or was begun with the same order."""
    path, asked = out / ORDER, asdict(order)
    if path.is_file():
        try:
            before = dict(json.loads(path.read_text()))
        except ValueError as e:
            raise ValueError(f"{path}: wanted what `make` was asked for, as JSON ({e}): -o names another") from None
        other = [key for key, value in asked.items() if before.get(key) != value]
        if other:
            was = ", ".join(f"{key} was {before.get(key)!r}" for key in other)
            raise ValueError(f"{out}: was begun otherwise ({was}): -o names another folder")
        if "contents" in before and (out / "experiment.toml").is_file():
            same_data(order, before["contents"], out)
    elif out.exists() and any(out.iterdir()):
        raise ValueError(f"{out}: wanted a new folder, or one that `make` began (-o names another)")


def same_data(order: Order, before: dict[str, list[int]], out: Path) -> None:
    """ValueError if the data are other ones than those the run was begun with. If they are gone, it has its own."""
    try:
        told = changes(before, contents(order.data, order.test))
    except FileNotFoundError:
        return
    if told:
        raise ValueError(
            f"{out}: was made of other data than there are now: {told}: -o names another folder, for a run of these"
        )


# ---------------------------------------------------------------- data and network


def begin(order: Order, out: Path, track: Track, told: Told) -> None:
    """Looks at the data, chooses a network, writes both down."""
    seen = look(order.data, order.test, track)
    for line in described(seen):
        told(line)
    if order.teacher and seen.kind != "pictures":
        raise ValueError(f"{order.name}: a teacher tells classes of pictures, and no {seen.kind}")
    making = making_for(order.name, seen)
    chosen = taken(order, making, order.wanted, track, told)
    epochs = epochs_of(order, making, chosen)
    if epochs < FEWEST_EPOCHS:
        told(f"{order.minutes:g} minutes are {epochs:.1f} epochs of it on this machine: a smaller one")
        wanted = replace(order.wanted, macs=int(chosen.macs * epochs / FEWEST_EPOCHS))
        try:
            chosen = taken(order, making, wanted, track, told)
        except ValueError as e:
            raise ValueError(f"--minutes {order.minutes:g}: too few on this machine: {e}") from None
    # from here on the folder is this order's: what cannot be met leaves nothing
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / ORDER, json.dumps(asdict(order) | {"contents": seen.contents}) + "\n")
    for name, part in (("train", seen.train), ("test", seen.test), ("validation", seen.validation)):
        if part:
            store(part, out / f"{name}.npz", round(DETAIL * chosen.recipe.height))
    if order.teacher:
        teacher = out / "teacher"
        teacher.mkdir(exist_ok=True)
        write_text(teacher / "experiment.toml", write_toml(of_teacher(order, out, making, chosen)))
    write_text(out / "experiment.toml", write_toml(of_network(order, out, making, chosen)))


def taken(order: Order, making: Making, wanted: Wanted, track: Track, told: Told) -> Candidate:
    """The best one of those that fit."""
    found = candidates(making, wanted, track("choosing a network", rounds(making)))
    told("networks that fit; the first, which makes most of a picture, is taken:")
    for line in listed(making, found, order.wanted.clock):
        told(line)
    return found[0]


def epochs_of(order: Order, making: Making, chosen: Candidate) -> float:
    """How many there is time for."""
    from ..train.speed import inputs_a_second  # imported here: torch takes seconds to start, and may not be installed

    settings = making.settings(chosen.recipe, bool(order.begin))
    speed = inputs_a_second(chosen.recipe.network(), settings["batch"], settings["tied"])
    minutes = order.minutes * (1 - TEACHING * order.teacher)
    return 60 * minutes * LEARNING * speed / len(making.seen.train)


def described(seen: Looked) -> list[str]:
    """The data set in a few lines."""
    if seen.kind == "sounds":
        smallest, middle, largest = (f"{samples / rate:.1f} s" for samples, rate in seen.sizes)
    else:
        smallest, middle, largest = (f"{w}x{h}" for h, w in seen.sizes)
    what = "pictures with boxes" if seen.kind == "boxes" else seen.kind
    watch = f"{len(seen.validation)} to watch it by, " if seen.validation else ""
    lines = [f"{len(seen.train)} {what} to learn from, {watch}{len(seen.test)} to test with; {smallest} to {largest}, "
             f"most about {middle}"]  # fmt: skip
    rows = zip(seen.classes, seen.train.counts(), seen.test.counts(), strict=True)
    lines += [f"  {name}: {learnt} + {tried}" for name, learnt, tried in rows]
    return lines + [f"note: {note}" for note in seen.notes]


def of_network(order: Order, out: Path, making: Making, chosen: Candidate) -> dict[str, Any]:
    """The experiment that the network is trained by."""
    own: dict[str, Any] = {"name": order.name, "minutes": order.minutes * (1 - TEACHING * order.teacher)}
    if order.teacher:
        own["teacher"] = str(out / "teacher")
    return lasting(out) | own | training_of(making, chosen.recipe, order.begin)


def of_teacher(order: Order, out: Path, making: Making, chosen: Candidate) -> dict[str, Any]:
    """The one by which all of EfficientNet-Lite0 learns the same."""
    side = max(TEACHER_SIDE, chosen.recipe.height)
    whole: dict[str, Any] = {"k": 1, "margin_h": 0, "margin_w": 0, "stages": trunk.WHOLE, "head": trunk.HEAD}
    recipe = replace(chosen.recipe, name="teacher", height=side, width=side, **whole)
    own = {"name": "teacher", "minutes": order.minutes * TEACHING}
    return lasting(out) | own | training_of(making, recipe, trunk.LITE0) | {"lr": 3e-4}


def lasting(out: Path) -> dict[str, Any]:
    """What is so of every training here."""
    own, watched = {"train": str(out / "train.npz"), "epochs": MOST_EPOCHS}, out / "validation.npz"
    return own | ({"validation": str(watched)} if watched.is_file() else {})


# ---------------------------------------------------------------- weights and integers


@contextmanager
def stoppable(told: Told) -> Iterator[Callable[[], bool]]:
    """Whether ^C was typed, which ends a training early; the second time it ends all."""
    typed: list[bool] = []

    def stop(*_) -> None:
        if typed:
            raise KeyboardInterrupt
        typed.append(True)
        told("training ends here, with what was learnt; once more: all ends")

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield lambda: bool(typed)
    finally:
        signal.signal(signal.SIGINT, before)


def train(out: Path, told: Told) -> None:
    """The network of `out`, its teacher first, if it has one. `trained` is in the folder of what is over."""
    from ..report import run as report  # imported here: matplotlib takes half a second to start
    from ..train import loop  # imported here: torch takes seconds to start, and may not be installed

    for run in (out / "teacher", out):
        if (run / "trained").is_file() or not (run / "experiment.toml").is_file():
            continue
        with stoppable(told) as stop:
            resume = (run / "checkpoint.pt").is_file()
            loop.run(run / "experiment.toml", run, resume, report.Live(), stop, force=not resume)
        (run / "trained").touch()


def integers(order: Order, out: Path, track: Track, told: Told) -> Packed:
    """Calibrated, and fine-tuned if that alone loses more than LOST of the held-out items."""
    from ..train import quantize  # imported here: torch takes seconds to start, and may not be installed
    from ..train.experiment import held_out, load_experiment  # imported here: for the same reason

    if not (out / "qnet.npz").is_file():
        e = load_experiment(out / "config.toml")
        _, items = held_out(load(e.train), e.validation)
        whole = score(out / "float.npz", "float", items)
        best, path = -1.0, out / "qnet.part.npz"
        for epochs in (0, TUNE_EPOCHS):
            quantize.run(out, epochs, TUNE_LR, out=path)
            packed = pack_file(path, out / "try.pnb", order.wanted.ram, track, flash=order.wanted.source)
            reached = score(Path(packed.path), "host", items)
            told(f"held-out: float {whole:.2%}, int8 {reached:.2%}" + (" after fine-tuning" if epochs else ""))
            if reached > best:
                best = reached
                path.replace(out / "qnet.best.npz")
            if best >= whole - LOST:
                break
        for stray in (path, *out.glob("try.*")):
            stray.unlink(missing_ok=True)
        (out / "qnet.best.npz").replace(out / "qnet.npz")
    packed = pack_file(out, budget=order.wanted.ram, track=track, flash=order.wanted.source)
    flash = order.wanted.flash
    if flash is not None and packed.blob_bytes > flash:
        raise ValueError(f"{packed.path}: {packed.blob_bytes:,} B of flash, wanted at most {flash:,} B")
    return packed


def score(path: Path, on: str, items: Dataset) -> float:
    """What the task measures, of an engine's answers to `items`."""
    network = network_of(path)
    room = room_of(network)
    own = room.matched(items, network.labels, str(path), "held-out items")
    answers = ask(on, path, own, room.asked_to_measure)
    return getattr(room.judged(answers, own, str(path), "held-out items"), room.measure)


# ---------------------------------------------------------------- tried


def tried(order: Order, out: Path, packed: Packed, track: Track) -> Made:
    """On every engine that there is here; the page about it."""
    from ..report import run as report  # imported here: matplotlib takes half a second to start

    test = str(out / "test.npz")
    on = ["float", *(["unix"] if UNIX.is_file() else []), "host"]
    answers = answered(out, test, on, track=track)
    emulated = answered(out, test, ("host", "qemu"), EMULATED, track) if FIRMWARE.is_file() else None
    page = report.write(out, answers, order.wanted.clock, emulated, order.wanted.source)
    return Made(str(out), packed, answers, emulated, str(page))
