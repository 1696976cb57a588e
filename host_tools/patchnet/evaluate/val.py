"""How good a network is on a data set, engine by engine, and what it says of files.

The integer engines must give equal answers; whether they did is part of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..blob.files import model_file, network_of
from ..data import PICTURES, SOUNDS, Dataset, decode, load, readable
from ..progress import Track, no_track
from ..tasks.answers import Answering
from .engines import REAL, room_of, run


@dataclass(frozen=True)
class Answered:
    """What engines say of a data set: a result of each, and of the last one the answers to the items, in terms of the
    network's labels."""

    data: str
    room: Answering
    results: list[Any]
    answers: Any
    items: Dataset


def answered(
    model: str | Path, data: str, on: Sequence[str] = ("host",), limit: int | None = None, track: Track = no_track
) -> Answered:
    """Asks each engine of `on` about at most `limit` items of a data set (`data.load`).

    ValueError where the data set has no labels of that kind, or others than the model.
    """
    files = {engine: model_file(model, engine) for engine in on}
    items = readable(load(data, limit))
    networks = {engine: network_of(file) for engine, file in files.items()}
    matched = {e: room_of(n).matched(items, n.labels, str(model), data) for e, n in networks.items()}
    results, reference = [], None
    for engine, file in files.items():
        room = room_of(networks[engine])
        tick = track(f"{Path(file).stem} on {engine}", len(items))
        answers = run(engine, file, matched[engine], room.asked_to_measure, tick)
        result = room.judged(answers, matched[engine], str(model), data)
        if engine not in REAL and reference is not None:
            result = replace(result, reference=reference.on, identical=room.same(reference, answers))
        elif engine not in REAL:
            reference = answers
        results.append(result)
    return Answered(data, room, results, answers, matched[engine])


def val(
    model: str | Path, data: str, on: Sequence[str] = ("host",), limit: int | None = None, track: Track = no_track
) -> list[Any]:
    """The results of `answered`, as the task's room has them: accuracy, or of a network that finds boxes mean average
    precision."""
    return answered(model, data, on, limit, track).results


def to_dict(result: Any) -> dict:
    """Plain values for JSON; what is not known is left out."""
    return {key: value for key, value in asdict(result).items() if value is not None}


def files_in(paths: Sequence[str | Path]) -> list[Path]:
    """Files, and those that can be read in folders and below, by their names. FileNotFoundError names what is missing,
    ValueError a folder without such files."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in (*PICTURES, *SOUNDS) and p.is_file())
            if not inside:
                raise ValueError(f"{path}: no pictures or sounds in it ({', '.join((*PICTURES, *SOUNDS))})")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise FileNotFoundError(f"no such picture: {path}")
    return found


def item_files(paths: Sequence[str | Path]) -> Dataset:
    """Files as a set without labels, as `files_in` finds them."""
    found = tuple(files_in(paths))
    return Dataset((), found, np.full(len(found), -1), tuple(map(str, found)))


def predict(
    model: str, paths: Sequence[str | Path], on: str = "host", asked: Any = None, track: Track = no_track
) -> Any:
    """The answers to picture or sound files; `asked` as for `engines.run`."""
    items, file = item_files(paths), model_file(model, on)
    return run(on, file, items, asked, track(f"{file.stem} on {on}", len(items)))


def seen(model: str, paths: Sequence[str | Path], on: str = "host") -> list[np.ndarray]:
    """What a network reads of files, to be drawn: pictures, or spectrograms (rows, bands)."""
    network = network_of(model_file(model, on))
    return [room_of(network).seen(decode(Path(path)), network) for path in files_in(paths)]
