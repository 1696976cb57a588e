"""Files and folders that are there whole, or as they were before: whatever is killed, refused, or finds the disk full,
while they are written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A place beside `path` to write to. What is there takes the place of `path` when the block ends, and is gone if
    that fails. What is no file, such as a terminal, is written to directly."""
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        yield path
        return
    beside = path.with_name(f"{path.name}.part")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """The folder is there. If the block fails, it goes again, and those above it: as far as they are new, and empty."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in new:
            with suppress(OSError):  # is not empty
                path.rmdir()
        raise


@contextmanager
def whole_folder(folder: str | Path, old: Iterable[str]) -> Iterator[Path]:
    """A folder beside `folder` to write to. The files in it take their places there when the block ends, other files
    there that match one of `old` go, and all is as it was if the block fails."""
    folder = Path(os.path.realpath(folder))
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    with made(folder.parent):
        try:
            beside.mkdir()
            yield beside
            folder.mkdir(exist_ok=True)
            new = sorted(path.name for path in beside.iterdir())
            stale = {path for pattern in old for path in folder.glob(pattern) if path.name not in new}
            for name in new:
                os.replace(beside / name, folder / name)
            for path in stale:
                path.unlink()
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def write_bytes(path: str | Path, data: bytes) -> None:
    with whole(path) as beside:
        beside.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    write_bytes(path, text.encode())
