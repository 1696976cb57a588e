"""Archives of arrays (.npz), read so that damage is told in a line."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile


@contextmanager
def npz(path: str | Path) -> Iterator[NpzFile]:
    """The archive, without pickles. ValueError if it is none, or what is read of it is damaged."""
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, NpzFile):
            raise ValueError("one array")
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise ValueError(f"{path}: no .npz file, or a damaged one") from None
    with archive:
        try:
            yield archive
        except (EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as e:
            raise ValueError(f"{path}: damaged: {' '.join(str(e).split())}") from None
