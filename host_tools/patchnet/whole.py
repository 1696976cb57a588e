"""Files and folders that are there whole, or as they were before: whatever is killed, refused, finds the disk full, or
is started twice, while they are written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows, where what is open is not replaced
    fcntl = None  # type: ignore[assignment]


@contextmanager
def alone(beside: Path, path: Path) -> Iterator[None]:
    """`beside`, which is there, is this process's until the block ends. BlockingIOError with `path` if it is another's
    that lives; what a killed one left is free."""
    if fcntl is None:
        yield
        return
    place = os.open(beside, os.O_RDONLY)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = os.path.samestat(os.fstat(place), os.stat(beside))  # else it has just been put to its place
        except (BlockingIOError, FileNotFoundError):
            mine = False
        except OSError:  # a file system that knows no locks
            mine = True
        if not mine:
            raise BlockingIOError(errno.EAGAIN, "another process is writing it", str(path))
        yield
    finally:
        os.close(place)


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A place beside `path` to write to. What is there takes the place of `path` when the block ends, and is gone if
    that fails. What is no file, such as a terminal, is written to directly."""
    path = Path(os.path.realpath(path))
    try:
        with _whole(path) as place:
            yield place
    except OSError as e:
        if e.errno is not None and e.filename is None:  # as of a full disk
            e.filename = str(path)
        raise


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    if path.exists() and not path.is_file():
        yield path
        return
    beside = path.with_name(f"{path.name}.part")
    with beside.open("ab"):  # so that there is something to hold
        pass
    with alone(beside, path):
        try:
            yield beside
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


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
    with made(folder.parent):
        beside.mkdir(exist_ok=True)
        with alone(beside, folder):
            try:
                _empty(beside)
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


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def write_bytes(path: str | Path, data: bytes) -> None:
    with whole(path) as beside:
        beside.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    write_bytes(path, text.encode())
