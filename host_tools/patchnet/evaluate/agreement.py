"""How near an imported network is to its original: logit by logit, and in what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..blob.files import model_file, network_of
from ..data import load
from ..engine.model import Model
from ..importers.source import Source
from ..net.network import Network
from ..progress import Track, no_track
from .engines import room_of, source_input
from .importing import pixels_of


@dataclass(frozen=True)
class Agreement:
    """Over n inputs of a data set: how often the largest output is the same one (of a single one, whether it is above
    nought; of a heat map, cell by cell; None of raw output), how many outputs are equal once both are rounded to the
    original's steps, and how far they are apart, in steps, on average and at most. `step`: what one is worth. `top1`,
    `equal`: 0..1."""

    data: str
    n: int
    top1: float | None
    equal: float
    mean: float
    largest: float
    step: float


def outputs_of(model: Model, x: np.ndarray, outputs: int) -> np.ndarray:
    """Real outputs of the engine here; of two classes of which the original tells one, that one, in each cell."""
    q = np.frombuffer(model.predict(x), model.dtype).astype(np.float64)
    real = (q - model.output_zero_point) * model.output_scale
    return real[1::2] if len(real) == 2 * outputs else real


def agreement(run: str | Path, data: str, limit: int | None = None, track: Track = no_track) -> Agreement:
    """Original and engine of an imported run on the same inputs. ValueError where the run has no original."""
    path, original = model_file(run, "host"), model_file(run, "source")
    source, pixels = Source(original), pixels_of(original)
    network, model, items = network_of(path), Model(path.read_bytes()), load(data, limit)
    room, tick = room_of(network), track(f"{path.stem} and its original", len(items))
    pairs = []
    for item, _ in items:
        wanted = source.run(source_input(item, network, source, pixels)).real.reshape(-1)
        pairs.append((wanted, outputs_of(model, room.as_given(item, network), len(wanted))))
        tick(1)
    wanted, got = (np.stack(side) for side in zip(*pairs, strict=True))
    steps = source.network.last
    step = steps.scale if steps else model.output_scale
    apart = np.abs(np.rint(wanted / step) - np.rint(got / step))
    same, equal = same_answers(network, wanted, got), float((apart == 0).mean())
    return Agreement(data, len(items), same, equal, float(apart.mean()), float(apart.max()), step)


def same_answers(network: Network, wanted: np.ndarray, got: np.ndarray) -> float | None:
    """Of outputs (N, outputs): a part of the answers that they are."""
    if network.task == "raw":
        return None
    if network.task == "heatmap":
        cells = network.chain[-1].oh * network.chain[-1].ow
        wanted, got = (side.reshape(len(side) * cells, -1) for side in (wanted, got))
    best = [side.argmax(1) if side.shape[1] > 1 else side[:, 0] > 0 for side in (wanted, got)]
    return float((best[0] == best[1]).mean())
