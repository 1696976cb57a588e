"""Stages of the chain joined: files in, files out."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import Model
from ..blob import qnet_file, vector
from ..blob.pack import pack
from ..plan.fast import fast_layers
from ..plan.planner import front, plan
from . import evaluate

PATIENCE = 1.0  # seconds before progress is worth showing


def planning(track: evaluate.Track, name: str) -> Callable[[int, int], None]:
    """What the planner calls with (done, total): shown by `track` once it has taken PATIENCE seconds."""
    began, tick, shown = time.monotonic(), None, 0

    def progress(done: int, total: int) -> None:
        nonlocal tick, shown
        if tick is None and time.monotonic() - began > PATIENCE:
            tick = track(f"planning {name}", total)
        if tick is not None:
            tick(done - shown)
            shown = done

    return progress


@dataclass(frozen=True)
class Packed:
    """A blob on disk that the engine has opened: its path, bytes of flash and of arena (m.ram). `streamed`: m.ram as a
    file that is streamed, if it was packed for that."""

    path: str
    blob_bytes: int
    ram: int
    streamed: int | None = None


def pack_file(
    qnet: str | Path,
    out: str | Path | None = None,
    budget: int | None = None,
    track: evaluate.Track = evaluate.no_track,
    wide: bool = False,
    stream: int | None = None,
) -> Packed:
    """Packs a qnet.npz (or the run directory that holds one) with the best plan within `budget` bytes of arena, or with
    the planner's own choice. `wide`: with weights of 16 bits where that pays (`pack.pack`). `stream`: with a plan for
    weights that are read from a file, through a buffer of so many bytes.

    The blob is written to `out`, by default `<network's name>.pnb` beside the .npz, and opened once by the engine;
    beside it a test vector for boards (see vector).
    """
    if wide and stream is not None:
        raise ValueError("--wide doubles what is read from a file: not with --stream")
    path = Path(qnet)
    path = path / "qnet.npz" if path.is_dir() else path
    if path.exists() and not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: wanted a qnet.npz, as `patchnet quantize` writes it")
    try:
        net = qnet_file.load(path)
    except KeyError as e:
        raise ValueError(f"{path}: wanted a qnet.npz, as `patchnet quantize` writes it, this one has no {e}") from None
    fast = fast_layers(net)
    front(net.design, planning(track, net.design.name), fast=fast, buffer=stream)  # this takes the time
    blob = pack(net, plan(net.design, budget, fast=fast, buffer=stream), wide)
    out = Path(out) if out else path.parent / f"{net.design.name}.pnb"
    out.write_bytes(blob)
    vector.save(out)
    streamed = None if stream is None else Model(str(out), stream=stream).ram
    return Packed(str(out), len(blob), Model(str(out)).ram, streamed)


@dataclass(frozen=True)
class Chain:
    """What `chain` made. Accuracies are those of the experiment's test set, None if it has none: top1, or map50 of a
    network that detects."""

    run: str
    packed: Packed
    test: str
    float_top1: float | None
    host_top1: float | None
    float_map50: float | None = None
    host_map50: float | None = None


def chain(run_dir: Path, budget: int | None = None, tune: int = 6, track: evaluate.Track = evaluate.no_track) -> Chain:
    """From a trained run to a verified blob: quantize (`tune` epochs), pack, both accuracies side by side."""
    from ..train import quantize, train

    packed = pack_file(quantize.run(run_dir, epochs=tune), budget=budget, track=track)
    test = train.load_experiment(run_dir / "config.toml").test
    if not test:
        return Chain(str(run_dir), packed, "", None, None)
    (wanted,) = evaluate.val(str(run_dir), test, ("float",), track=track)
    (got,) = evaluate.val(packed.path, test, ("host",), track=track)
    if hasattr(got, "map50"):
        return Chain(str(run_dir), packed, test, None, None, wanted.map50, got.map50)
    return Chain(str(run_dir), packed, test, wanted.top1, got.top1)
