"""Accuracy and answers of a network on float PyTorch, on the PC's C engine, on the unix port and on the emulated board.

All engines get the same pictures, uncropped and not resized. The integer ones must give equal scores; whether they did
is part of the result.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import Model
from ..blob.pack import read
from ..blob.unpack import blob_network, read_blob
from ..board import remote
from ..data.sets import Dataset, decode, load, prepare
from ..models import names, resolve
from ..net.design import Network, from_dict
from ..tasks.sound.audio import Clip, at_rate, fit, to_wav

if TYPE_CHECKING:
    from ..tasks.detect.evaluate_detect import DetectResult

ENGINES = ("float", "host", "unix", "qemu")
# what goes to a device at once; the emulated board's ROM has 9 MiB
CHUNK_PICTURES, CHUNK_SOUNDS, CHUNK_BYTES = 16, 100, 6 << 20
ENDINGS = {b"P6": "ppm", b"P5": "pgm", b"RI": "wav"}
DEVICE_SECONDS, PICTURE_SECONDS = 60, 30  # patience with a device: to start and per picture
UNIX_HEAP = "64m"

# A device's answer to a picture: class:score in the order of the ranking, scores in 1/65536.
WORDS = """
def words(m, img):
    return ["%d:%d" % (labels.index(label), int(score * 65536 + 0.5)) for label, score in m.classify(img)]
"""
# Prints m.ram, then a line for each picture: its file, and the words of the answer.
DEVICE_SCRIPT = """
import patchnet
m = patchnet.Model("model.pnb")
labels = list(m.labels)
if m.task == "audio":
    from filemic import FileMic
    files = FileMic("pictures")
    take = files.read
else:
    from filecam import FileCam
    files = FileCam("pictures")
    take = files.snapshot
print("ram", m.ram)
for _ in range(len(files)):
    img = take()
    print(files.name, *words(m, img))
"""


@dataclass(frozen=True)
class Answers:
    """What an engine said of N pictures. `order` (N, classes): classes, best first. `scores` (N, classes), by class:
    0..65536 from the integer engines, 0..1 from the float one. `ram`: bytes of arena, None for float."""

    on: str
    labels: tuple[str, ...]
    order: np.ndarray
    scores: np.ndarray
    ram: int | None
    seconds: float

    def ranking(self, i: int, top: int | None = None) -> list[tuple[str, float]]:
        """[(label, score 0..1), ...] of picture i, best first."""
        unit = 1 if self.on == "float" else 65536
        return [(self.labels[c], float(self.scores[i, c]) / unit) for c in self.order[i, :top]]


@dataclass(frozen=True)
class Result:
    """Accuracy of one engine on n pictures. `confusion[true][answer]` counts pictures, classes being `labels`.

    `top5` only where there are more than 5 classes. `identical`: whether all scores equal those of `reference`, the
    first integer engine that ran; None for that one and for float.
    """

    on: str
    model: str
    data: str
    n: int
    top1: float
    top5: float | None
    ram: int | None
    seconds: float
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    reference: str | None = None
    identical: bool | None = None


Track = Callable[[str, int], Callable[[int], None]]  # (what, how many) -> function to call with pictures done


def no_track(_what: str, _total: int) -> Callable[[int], None]:
    return lambda _done: None


# ---------------------------------------------------------------- files


def model_file(model: str | Path, on: str) -> Path:
    """The file of `model` (shipped name, .pnb, .npz or run directory) that an engine reads: a blob, or for "float" the
    trained weights, which for a blob lie beside it. FileNotFoundError tells what was looked for."""
    path = resolve(model)
    if path.is_dir():
        looked = [path / "float.npz"] if on == "float" else sorted(path.glob("*.pnb")) or [path / "*.pnb"]
    elif on == "float" and path.suffix == ".pnb":
        looked = [path.with_suffix(".npz"), path.parent / "float.npz"]
    else:
        looked = [path]
    found = [p for p in looked if p.is_file()]
    if not found:
        wanted = "trained weights" if on == "float" else "network"
        shipped = ", ".join(names()) or "none"
        raise FileNotFoundError(f"no {wanted} {', '.join(map(str, looked))} (networks with a bare name: {shipped})")
    if len(found) > 1 and on != "float":
        raise ValueError(f"{model}: holds {len(found)} blobs, name one: {', '.join(p.name for p in found)}")
    if on != "float" and found[0].suffix != ".pnb":
        raise ValueError(f"{model}: wanted a .pnb blob to run on {on}, got {found[0].name}")
    return found[0]


def network_of(path: Path) -> Network:
    """The network of a blob that the engine accepts, or of trained weights."""
    if path.suffix == ".pnb":
        return blob_network(read(read_blob(path)), path.stem)
    with np.load(path, allow_pickle=False) as z:
        if "network" not in z:
            raise ValueError(f"{path}: wanted trained weights (float.npz), got an .npz with {', '.join(z.files[:4])}")
        return from_dict(json.loads(str(z["network"])))


def match(labels: Sequence[str], classes: Sequence[str], model: str, data: str) -> np.ndarray:
    """For each class of a data set the model's class of that name. ValueError names both lists if one is missing."""
    if len(set(labels)) < len(labels):
        raise ValueError(f"{model}: two of its labels are equal: {', '.join(labels)}")
    if not set(classes) <= set(labels):
        raise ValueError(f"{data} has classes {', '.join(classes)}; {model} tells {', '.join(labels)}")
    return np.array([list(labels).index(c) for c in classes])


# ---------------------------------------------------------------- engines


def _rank(rankings: list[list[tuple[int, int]]]) -> tuple[np.ndarray, np.ndarray]:
    """Rankings of (class, score) as `order` and `scores`."""
    pairs = np.array(rankings)
    order = pairs[:, :, 0]
    scores = np.empty_like(order)
    np.put_along_axis(scores, order, pairs[:, :, 1], 1)
    return order, scores


def _on_float(path: Path, pictures: Dataset, tick: Callable[[int], None]):
    try:
        from ..train.model import load_float
    except ImportError as e:
        raise ValueError(f"float needs PyTorch ({e}): pip install 'patchnet[train]'") from None
    model, parts = load_float(path), []
    for start in range(0, len(pictures), 64):
        parts.append(model.predict([pictures[i][0] for i in range(start, min(len(pictures), start + 64))]))
        tick(len(parts[-1]))
    scores = np.concatenate(parts)
    return np.argsort(-scores, 1, kind="stable"), scores, None


def _on_host(path: Path, pictures: Dataset, tick: Callable[[int], None]):
    """The C engine, a model per thread: it runs outside of the interpreter's lock."""
    blob, local, network = path.read_bytes(), threading.local(), network_of(path)
    ram, labels = Model(blob).ram, network.labels
    place = {label: i for i, label in enumerate(labels)}

    def classify(i: int) -> list[tuple[int, int]]:
        if not hasattr(local, "model"):
            local.model = Model(blob)
        picture = pictures[i][0]
        ranking = local.model.classify(at_rate(picture, network.audio.rate) if network.audio else picture)
        return [(place[label], round(score * 65536)) for label, score in ranking]

    rankings = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for ranking in pool.map(classify, range(len(pictures))):
            rankings.append(ranking)
            tick(1)
    return *_rank(rankings), ram


def _pnm(picture: np.ndarray) -> bytes:
    """uint8 (H, W, 3) or (H, W) as a binary PPM or PGM file."""
    kind = b"P6" if picture.ndim == 3 else b"P5"
    return kind + b" %d %d 255\n" % (picture.shape[1], picture.shape[0]) + picture.tobytes()


def _chunks(pictures: Dataset, network: Network) -> Iterator[list[bytes]]:
    """Pictures as PNM files, or sounds as WAV files at the network's rate, as many at a time as a device takes at
    once."""
    chunk: list[bytes] = []
    most = CHUNK_SOUNDS if network.audio else CHUNK_PICTURES
    for picture, _ in pictures:
        file = to_wav(at_rate(picture, network.audio.rate), network.audio.rate) if network.audio else _pnm(picture)
        if chunk and (len(chunk) == most or sum(map(len, chunk)) + len(file) > CHUNK_BYTES):
            yield chunk
            chunk = []
        chunk.append(file)
    yield chunk


def _sent(x: np.ndarray | Clip, network: Network) -> np.ndarray:
    """What a board has to know of a picture or sound: of a long clip only the samples that count."""
    if not network.audio:
        return x
    pcm = at_rate(x, network.audio.rate)
    return fit(pcm, network.samples) if len(pcm) > network.samples else pcm


def is_port(on: str) -> bool:
    """Whether `on` can be meant for a board at a serial port."""
    return on == "auto" or on.startswith(("/dev/", "id:", "port:", "socket://", "COM"))


def _ask_device(on: str, blob: bytes, files: list[bytes], script: str) -> tuple[int, list[list[str]]]:
    """m.ram and the words of one answer per file, from a device that is started for them."""
    with tempfile.TemporaryDirectory(prefix="patchnet-") as folder:
        root = Path(folder)
        (root / "model.pnb").write_bytes(blob)
        (root / "pictures").mkdir()
        names = [f"{i:04d}.{ENDINGS[data[:2]]}" for i, data in enumerate(files)]
        for name, data in zip(names, files, strict=True):
            (root / "pictures" / name).write_bytes(data)
        settings = {"heap": UNIX_HEAP} if on == "unix" else {}
        patience = DEVICE_SECONDS + PICTURE_SECONDS * len(files)
        try:
            output = remote.run(on, script, root, patience, **settings)
        except remote.RemoteTimeout:  # a machine too busy for the emulator: once more, from the start
            output = remote.run(on, script, root, 2 * patience, **settings)
    first, *lines = [line.split() for line in output.splitlines()]
    if first[0] != "ram" or [line[0] for line in lines] != names:
        raise RuntimeError(f"{on}: answers are missing: {output[-500:]!r}")
    return int(first[1]), [line[1:] for line in lines]


def ask(on: str, path: Path, pictures: Dataset, tick: Callable[[int], None], words: str) -> tuple[list[list[str]], int]:
    """What a device says of each picture, in words, and m.ram. `words` is MicroPython: words(m, img) returns them as
    strings without spaces; `labels` are the model's."""
    network = network_of(path)
    if is_port(on):
        from ..board import onboard

        return onboard.ask(on, path, (_sent(x, network) for x, _ in pictures), tick, words)
    blob, found, ram = path.read_bytes(), [], 0
    for files in _chunks(pictures, network):
        ram, some = _ask_device(on, blob, files, words + DEVICE_SCRIPT)
        found += some
        tick(len(files))
    return found, ram


def _on_device(on: str, path: Path, pictures: Dataset, tick: Callable[[int], None]):
    words, ram = ask(on, path, pictures, tick, WORDS)
    return *_rank([[tuple(map(int, pair.split(":"))) for pair in line] for line in words]), ram


def run(on: str, path: Path, pictures: Dataset, tick: Callable[[int], None] = lambda _done: None) -> Answers:
    """The answers of an engine (one of ENGINES, or a port) to all pictures; `path` as `model_file` gives it."""
    network, start = network_of(path), time.monotonic()
    if len(pictures) and isinstance(pictures[0][0], Clip) != (network.audio is not None):
        wanted, got = ("sounds", "pictures") if network.audio else ("pictures", "sounds")
        raise ValueError(f"{path}: reads {wanted}, got {got}")
    if on == "float":
        order, scores, ram = _on_float(path, pictures, tick)
    elif on == "host":
        order, scores, ram = _on_host(path, pictures, tick)
    else:
        order, scores, ram = _on_device(on, path, pictures, tick)
    return Answers(on, network.labels, order, scores, ram, time.monotonic() - start)


# ---------------------------------------------------------------- results


def judge(answers: Answers, truth: np.ndarray, model: str, data: str) -> Result:
    """Accuracy against `truth` (N,), indices into the model's labels."""
    n = len(answers.labels)
    confusion = np.zeros((n, n), int)
    np.add.at(confusion, (truth, answers.order[:, 0]), 1)
    top5 = (answers.order[:, :5] == truth[:, None]).any(1).mean() if n > 5 else None
    return Result(
        answers.on, model, data, len(truth), float((answers.order[:, 0] == truth).mean()),
        None if top5 is None else float(top5), answers.ram, round(answers.seconds, 3), answers.labels,
        tuple(tuple(map(int, row)) for row in confusion),
    )  # fmt: skip


def same(a: Answers, b: Answers) -> bool:
    return np.array_equal(a.scores, b.scores) and np.array_equal(a.order, b.order) and a.ram == b.ram


def val(
    model: str, data: str, on: Sequence[str] = ("host",), limit: int | None = None, track: Track = no_track
) -> list[Result | DetectResult]:
    """Accuracy of `model` on at most `limit` pictures of a data set (`data.load`), on each engine of `on`; of a network
    that detects, mean average precision.

    ValueError where the data set has no class labels (no boxes), or others than the model.
    """
    files = {engine: model_file(model, engine) for engine in on}
    pictures = load(data, limit)
    if any(network_of(file).task == "detect" for file in files.values()):
        from ..tasks.detect import evaluate_detect

        return evaluate_detect.val(files, str(model), data, pictures, track)
    if len(pictures) == 0 or pictures.boxes is not None or min(pictures.labels) < 0:
        raise ValueError(f"{data}: wanted pictures with one class each, got {len(pictures)} pictures "
                         f"with {'boxes' if pictures.boxes is not None else 'no labels'}")  # fmt: skip
    truths = {
        e: match(network_of(f).labels, pictures.classes, str(model), data)[pictures.labels] for e, f in files.items()
    }
    results, reference = [], None
    for engine, file in files.items():
        answers = run(engine, file, pictures, track(f"{Path(file).stem} on {engine}", len(pictures)))
        result = judge(answers, truths[engine], str(model), data)
        result, reference = beside(result, answers, reference, same)
        results.append(result)
    return results


def beside(result, answers, reference, same: Callable) -> tuple:
    """The result with the comparison to `reference`, the first integer engine's answers (None: there are none yet); and
    the reference from now on."""
    if result.on == "float":
        return result, reference
    if reference is None:
        return result, answers
    return replace(result, reference=reference.on, identical=same(reference, answers)), reference


def to_dict(result: Result | DetectResult) -> dict:
    """Plain values for JSON; what is not known is left out."""
    return {key: value for key, value in asdict(result).items() if value is not None}


@dataclass(frozen=True)
class View:
    """What a network sees of a picture: its own height and width, how it cuts that from the picture (`fit`), and the
    patches of its tunnels, `patch` (h, w) at `corners` (y, x) in its own pixels."""

    shape: tuple[int, int]
    fit: str
    patch: tuple[int, int]
    corners: tuple[tuple[int, int], ...]


def view(model: str, on: str = "host") -> View:
    """The view of a network, from the file that the engine `on` reads."""
    n = network_of(model_file(model, on))
    return View((n.height, n.width), n.fit, n.patch, tuple(n.patches()))


def seen(model: str, paths: Sequence[str | Path], on: str = "host") -> list[np.ndarray]:
    """What a network reads of files, to be drawn: the pictures, or the spectrograms (rows, bands) of sounds."""
    network, found = network_of(model_file(model, on)), [decode(Path(path)) for path in paths]
    return [prepare(x, network)[:, :, 0] if isinstance(x, Clip) else x for x in found]


def picture_files(pictures: Sequence[str | Path]) -> Dataset:
    """Files as a set without labels. FileNotFoundError names one that is missing."""
    for path in map(Path, pictures):
        if not path.is_file():
            raise FileNotFoundError(f"no such picture: {path}")
    paths = tuple(map(Path, pictures))
    return Dataset((), paths, np.full(len(paths), -1), tuple(map(str, paths)))


def predict(model: str, pictures: Sequence[str | Path], on: str = "host", track: Track = no_track) -> Answers:
    """The answers to picture files."""
    dataset, file = picture_files(pictures), model_file(model, on)
    return run(on, file, dataset, track(f"{file.stem} on {on}", len(dataset)))
