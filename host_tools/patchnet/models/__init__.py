"""The networks that come with patchnet, each named by its bare name wherever a path is accepted."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Bare names of the shipped networks."""
    return sorted(path.stem for path in FOLDER.glob("*.pnb"))


def resolve(name: str | os.PathLike[str]) -> Path:
    """The blob's path for a bare name ("person"), any other name or path as it is. It need not exist."""
    shipped = FOLDER / f"{name}.pnb"
    return shipped if Path(name).name == str(name) and shipped.exists() else Path(name)


def weights(name: str) -> Path:
    """Where the float32 weights of a shipped network lie, or of one to begin with ("lite0"). They need not exist."""
    return FOLDER / f"{name}.npz"


def beginnings() -> list[str]:
    """Bare names of all that have float32 weights, to begin a training with."""
    return sorted(path.stem for path in FOLDER.glob("*.npz") if not path.name.endswith(".test.npz"))
