"""Search for a network for budgets: proposed by evolution, planned, trained for a short while, judged by items that
are held out (`study`).

    search.json                              what was asked for, and of which data
    train.npz, test.npz, validation.npz      as `make` leaves them
    short/train.npz, short/test.npz          what proposals are trained by, and judged by: parts of train.npz
    study.log                                what was found, unless a database has it
    best.toml, pareto.png                    of what was found so far
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

import optuna
from filelock import FileLock

from ..data import Dataset, load
from ..data.look import Looked, changes, contents, look, store
from ..net.toml import write_toml
from ..progress import Track, no_track
from ..tasks.making import Making
from ..train.experiment import held_out
from ..whole import made, write_text
from .choose import Wanted, making_for
from .space import Proposal, Space
from .stages import DETAIL, described
from .study import STOPPED, TRAINED, Needs, Order, Told, Worker, check, end_of, experiment_of, opened, storage_of

ORDER, BEST, FRONT = "search.json", "best.toml", "pareto.png"
HELD = 0.2  # of what there is to learn from: by so many items proposals are judged
TRIALS = 40  # networks trained, if nothing else is said
EPOCHS = 30  # of the full training
KINDS: dict[str, Any] = {"order": dict, "study": str, "storage": str, "contents": dict, "sizes": list}  # of search.json


@dataclass(frozen=True)
class Row:
    """A network that was trained for a while. `whole`: for all of `epochs`."""

    trial: int
    proposal: Proposal
    needs: Needs
    accuracy: float
    whole: bool

    def beats(self, other: Row) -> bool:
        """Is nowhere worse, and somewhere better."""
        mine, theirs = self.figures(), other.figures()
        return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))

    def figures(self) -> tuple[float, float, float, float]:
        return -self.accuracy, self.needs.arena, self.needs.flash, self.needs.cycles


@dataclass(frozen=True)
class Found:
    """`rows`: the best first. `front`: those of them that none beats. `proposed`: networks, planned or not."""

    study: str
    rows: tuple[Row, ...]
    front: tuple[Row, ...]
    proposed: int
    wanted: Wanted
    best: Path | None
    plot: Path | None


# ---------------------------------------------------------------- data


def begin(order: Order, data: str, test: str, out: Path, study: str, storage: str, track: Track, told: Told) -> None:
    """Looks at the data, unless that is done, and writes down what trainings want of them, and the order."""
    asked = {"order": asdict(order), "study": study, "storage": storage}
    path = out / ORDER
    if path.is_file():
        before = asked_before(out)
        refuse_other(before, asked, str(out), "-o names another folder")
        if other := changes(before["contents"], contents(data, test)):
            raise ValueError(f"{out}: was made of other data than there are now: {other}: -o names another folder")
        return
    if out.exists() and any(one.name != ".lock" for one in out.iterdir()):
        raise ValueError(f"{out}: wanted a new folder, or one that `search` began (-o names another)")
    seen = look(data, test, track)
    if seen.kind != "pictures":
        raise ValueError(f"{data}: has {seen.kind}: search is for pictures of classes, `patchnet make` for others")
    space = Space(making_for(study, seen))
    check(space, order.wanted)
    learnt, judged = held_out(seen.train, HELD)
    if 0 in judged.counts():
        raise ValueError(f"{data}: {len(seen.train)} items are too few to hold out some of each class")
    for line in described(seen):
        told(line)
    if storage:  # before the folder is this search's: the storage may not be there, or be another's
        agree(opened(out, study, storage, order.epochs), terms(order, seen))
    side = round(DETAIL * max(int(size) for size in space.genes["size"]))
    for name, part in (("train", seen.train), ("test", seen.test), ("validation", seen.validation)):
        if part:
            store(part, out / f"{name}.npz", side)
    (out / "short").mkdir(exist_ok=True)
    store(part_of(learnt, order.share), out / "short" / "train.npz", side)
    store(judged, out / "short" / "test.npz", side)
    # last, for it tells that all is there
    write_text(path, json.dumps(asked | {"contents": seen.contents, "sizes": seen.sizes}) + "\n")


def part_of(items: Dataset, share: float) -> Dataset:
    """Of each class the same share, and no class without an item."""
    taken, seen = [], dict[int, int]()
    for i, label in enumerate(items.labels.tolist()):
        n = seen[label] = seen.get(label, 0) + 1
        if int(n * share) > int((n - 1) * share) or n == 1:
            taken.append(i)
    return items.take(taken)


def asked_before(out: Path) -> dict[str, Any]:
    path = out / ORDER
    try:
        before = json.loads(path.read_text())
        if other := misfit(before):
            raise ValueError(other)
        return dict(before)
    except FileNotFoundError:
        raise ValueError(f"{out}: wanted a folder that `search` began, there is no {ORDER}") from None
    except ValueError as e:
        raise ValueError(f"{path}: wanted what `search` was asked for, as JSON ({e}): -o names another") from None


def misfit(before: Any) -> str:
    """What is otherwise in it than `begin` writes it; "" if nothing is."""
    of_wanted = get_type_hints(Wanted) | {"source": dict | None}
    other = unlike(before, KINDS) or unlike(before["order"], get_type_hints(Order) | {"wanted": dict})
    other = other or unlike(before["order"]["wanted"], of_wanted)
    if not other and not (len(before["sizes"]) == 3 and pairs(before["sizes"]) and pairs(before["contents"].values())):
        other = "sizes or contents are no pairs"
    return other


def unlike(values: Any, kinds: dict[str, Any]) -> str:
    """The first that is missing, or of another kind."""
    if not isinstance(values, dict):
        return f"a table, got {str(values)[:40]}"
    for key, kind in kinds.items():
        value = values.get(key)
        if not isinstance(value, kind) and not (type(value) is int and isinstance(float(value), kind)):
            return f"{key} is {value!r}"
    return ", ".join(f"{key} is unknown" for key in values.keys() - kinds.keys())


def pairs(values: Iterable[Any]) -> bool:
    return all(isinstance(value, list) and [type(n) for n in value] == [int, int] for value in values)


def named(out: Path, study: str, storage: str) -> tuple[str, str]:
    """The study and its storage: if nothing else is said, those that the folder was begun with."""
    if not (out / ORDER).is_file():
        return study or out.resolve().name, storage
    before = asked_before(out)
    here, there = (storage_of(out, one) for one in (storage, before["storage"]))
    same = not storage or (Path(here).resolve() == Path(there).resolve() if isinstance(here, Path) else here == there)
    return study or before["study"], before["storage"] if same else storage


def refuse_other(before: dict[str, Any], asked: dict[str, Any], where: str, instead: str) -> None:
    """ValueError if what is asked for is other than before."""
    was = flat(before)
    other = [key for key, value in flat(asked).items() if was.get(key, value) != value]
    if other:
        raise ValueError(f"{where}: was begun otherwise ({', '.join(f'{k} was {was[k]!r}' for k in other)}): {instead}")


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """Without tables in tables, whose keys have other names."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        out |= flat(value) if isinstance(value, dict) and key != "contents" else {key: value}
    return out


def looked(out: Path) -> Looked:
    """What `look` saw when the folder was begun."""
    train, test = load(out / "train.npz"), load(out / "test.npz")
    sizes = tuple((h, w) for h, w in asked_before(out)["sizes"])
    return Looked("pictures", train, test, sizes, (), (str(out / "train.npz"), str(out / "test.npz")))


# ---------------------------------------------------------------- what was found


def rows_of(study: optuna.Study, space: Space) -> tuple[Row, ...]:
    out = []
    for trial in study.get_trials(deepcopy=False):
        if trial.user_attrs.get("fate") in (TRAINED, STOPPED) and trial.value is not None:
            needs, whole = Needs(**trial.user_attrs["needs"]), trial.user_attrs["fate"] == TRAINED
            out.append(Row(trial.number, space.proposal(trial.params), needs, trial.value, whole))
    return tuple(sorted(out, key=lambda row: (not row.whole, *row.figures())))


def front_of(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    whole = [row for row in rows if row.whole]
    return tuple(row for row in whole if not any(other.beats(row) for other in whole))


# ---------------------------------------------------------------- all of it


def terms(order: Order, seen: Looked) -> dict[str, Any]:
    """What all who work on a study have alike."""
    return {"order": asdict(order), "classes": list(seen.classes), "items": [len(seen.train), len(seen.test)]}


def agree(study: optuna.Study, asked: dict[str, Any]) -> None:
    """ValueError if the study was begun with something else."""
    refuse_other(study.user_attrs, asked, f"study {study.study_name}", "--study names another")
    for key, value in asked.items():
        study.set_user_attr(key, value)


@contextmanager
def in_turn(out: Path) -> Iterator[None]:
    """While no other process begins the same folder, or writes there what was found. If the block fails, no lock stays
    behind."""
    with FileLock(out / ".lock"):
        try:
            yield
        except BaseException:
            (out / ".lock").unlink(missing_ok=True)
            raise


def search(
    order: Order, data: str, test: str, out: Path, study: str = "", storage: str = "", trials: int | None = None,
    minutes: float | None = None, teacher: str = "", track: Track = no_track, told: Told = print,
) -> Found:  # fmt: skip
    """Goes on with the study, or begins it, until so many networks were trained in all, or the minutes are over.
    ValueError if nothing fits, or the folder or study was begun with another order."""
    until = None if minutes is None else time.monotonic() + 60 * minutes
    study, storage = named(out, study, storage)
    if "://" in storage:
        opened(out, study, storage, order.epochs)  # before the data are read: it may not be reached
    elif storage:
        end_of(Path(storage))
    with made(out), in_turn(out):
        begin(order, data, test, out, study, storage, track, told)
        seen = looked(out)
        own, space = opened(out, study, storage, order.epochs), Space(making_for(study, seen))
        agree(own, terms(order, seen))
        worker = Worker(own, space, order, out, TRIALS if (trials, minutes) == (None, None) else trials, until, told)
        if not worker.trials():
            worker.first()
    worker.work()
    return found(own, space, out, order.wanted, teacher)


def show(out: Path, study: str = "", storage: str = "", teacher: str = "") -> Found:
    """What was found so far."""
    before = asked_before(out)
    study, storage = named(out, study, storage)
    refuse_other(before, {"study": study, "storage": storage}, str(out), "-o names another folder")
    own = opened(out, study, storage)
    refuse_other(own.user_attrs, {"order": before["order"]}, f"study {study}", "it is another folder's")
    space = Space(making_for(own.study_name, looked(out)))
    wanted = {k: v for k, v in before["order"]["wanted"].items() if k != "source"}
    return found(own, space, out, Wanted(**wanted), teacher)


def found(study: optuna.Study, space: Space, out: Path, wanted: Wanted, teacher: str) -> Found:
    """Rows and front; best.toml and pareto.png are written, if there is anything to tell."""
    from ..report import plots  # imported here: matplotlib takes half a second to start

    rows = rows_of(study, space)
    front = front_of(rows)
    best = plot = None
    if front:
        best, plot = out / BEST, out / FRONT
        title = f"{study.study_name}: {len(rows)} networks trained for a while, {len(front)} on the front"
        networks = [(*row.figures(), row in front) for row in rows if row.whole]
        with in_turn(out):
            write_text(best, write_toml(full(out, space.making, front[0].proposal, teacher)))
            plots.found(title, networks, (wanted.ram, wanted.flash, wanted.cycles()), plot)
    return Found(study.study_name, rows, front, len(study.get_trials(deepcopy=False)), wanted, best, plot)


def full(out: Path, making: Making, proposal: Proposal, teacher: str) -> dict[str, Any]:
    """The experiment that trains it in full."""
    own: dict[str, Any] = {"name": making.name, "epochs": EPOCHS}
    sets = {name: out / f"{name}.npz" for name in ("train", "test", "validation")}
    own |= {name: str(path) for name, path in sets.items() if path.is_file()}
    if teacher:
        own["teacher"] = teacher
    return own | experiment_of(making, proposal)
