"""Stages of the chain joined: files in, files out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..blob.files import Packed, network_of, pack_file
from ..progress import Track, no_track
from .engines import room_of
from .val import val


@dataclass(frozen=True)
class Chain:
    """What `chain` made. `measured` are those of the experiment's `test` set by engine, empty if it has none: the field
    `measure` of the task's results, which people call `name`."""

    run: str
    packed: Packed
    test: str
    measure: str
    name: str
    measured: dict[str, float]


def chain(run_dir: Path, budget: int | None = None, tune: int = 6, track: Track = no_track) -> Chain:
    """From a trained run to a verified blob: quantize (`tune` epochs), pack, both accuracies side by side."""
    from ..train import quantize  # imported here: torch takes seconds to start, and may not be installed
    from ..train.experiment import load_experiment  # imported here: for the same reason

    packed = pack_file(quantize.run(run_dir, epochs=tune), budget=budget, track=track)
    test, room = load_experiment(run_dir / "config.toml").test, room_of(network_of(Path(packed.path)))
    measured = {}
    for on, model in (("float", str(run_dir)), ("host", packed.path)) if test else ():
        (result,) = val(model, test, (on,), track=track)
        measured[on] = getattr(result, room.measure)
    return Chain(str(run_dir), packed, test, room.measure, room.measured, measured)
