"""Fronts that this very patchnet has found before: a search takes seconds, and one command after the other asks for the
front of the same network.

They lie in the folder of the environment's PATCHNET_CACHE, else in that of the user's caches; PATCHNET_CACHE="" keeps
nothing. Whatever is wrong with that folder, a front is searched for as if it were not there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from ..whole import write_text

MOST = 200  # files; those that were used longest ago go
SLOW = 0.5  # seconds: what was found quicker is not kept


def folder() -> Path | None:
    own = os.environ.get("PATCHNET_CACHE")
    if own is not None:
        return Path(own).expanduser().absolute() if own else None
    with suppress(RuntimeError):  # nobody's home
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "patchnet"
    return None


@cache
def _version() -> str:
    """Of all of this package's code, since any of it may have a say in plans."""
    digest, root = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def place(*asked: object) -> Path | None:
    """Where the answer to what was asked lies, its text telling all that matters; None: nowhere."""
    where = folder()
    return where and where / f"front-{hashlib.sha256(repr((_version(), asked)).encode()).hexdigest()[:32]}.json"


def recall(path: Path | None) -> list[Any] | None:
    """What `keep` was given, lists for tuples; None if it is not there."""
    if path is None:
        return None
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text())
        os.utime(path)
        return found if isinstance(found, list) else None
    return None


def keep(path: Path | None, rows: Sequence[object]) -> None:
    """Numbers, and tuples of them."""
    if path is None:
        return
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(rows, default=int))
        old = sorted(path.parent.glob("front-*.json"), key=lambda file: file.stat().st_mtime)
        for file in old[:-MOST]:
            file.unlink()
