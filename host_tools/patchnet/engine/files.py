"""Models from files or memory, weights that are read during a run, and the arena."""

from __future__ import annotations

import ctypes
import errno
import operator
import os
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from .. import format as fmt
from ..models import resolve
from .library import buffer_of, engine

if TYPE_CHECKING:
    from .library import Bytes, Room

    Source: TypeAlias = str | os.PathLike[str] | BinaryIO | Bytes

_MORE, _SHORT = fmt.CODES["MORE"], fmt.CODES["ERR_LENGTH"]


def read(src: Any) -> bytes:
    """The blob at `src`: path or shipped name, open file or buffer."""
    if isinstance(src, (str, os.PathLike)):
        return resolve(src).read_bytes()
    if hasattr(src, "readinto"):
        src.seek(0)
        return src.read()
    try:
        return bytes(memoryview(src))
    except TypeError:
        raise TypeError("model: wanted a path, an open file or a buffer") from None


def is_file(src: Any) -> bool:
    return isinstance(src, (str, os.PathLike)) or hasattr(src, "readinto")


class Stream:
    """A file whose weights are read in parts: `head` is what comes before. `room`: bytes of the buffer, or True."""

    def __init__(self, src: Any, room: int):
        path = isinstance(src, (str, os.PathLike))
        self.file: BinaryIO = open(resolve(src), "rb") if path else src  # noqa: SIM115, closed when the model is
        self.own, self.room, self.size = path, room, self.file.seek(0, os.SEEK_END)
        self.taken = self.pieces = 0  # of the last run
        header = self.read(0, min(self.size, fmt.HEADER.size))
        bytes_ = engine().pn_prefix_bytes(header) if len(header) == fmt.HEADER.size else 0
        self.head = self.read(0, min(self.size, max(len(header), bytes_)))

    def read(self, at: int, n: int) -> bytes:
        self.file.seek(at)
        data = self.file.read(n)
        if len(data) != n:
            raise OSError(errno.EIO, f"model: wanted {n} bytes at {at}, got {len(data)}")
        return data

    def open(self, model: ctypes.Array) -> int:
        """What the engine says of the head and then of the whole file's CRC."""
        lib = engine()
        err = lib.pn_open_streamed(model, self.head, len(self.head))
        if err:
            return err
        sizes = (ctypes.c_uint32 * 2)()
        lib.pn_host_buffer_sizes(model, sizes)
        self.least, self.most = sizes
        bytes_ = self.most if self.room is True else min(max(operator.index(self.room), 0), self.most)
        if bytes_ < self.least:
            raise MemoryError(f"stream: needs {self.least} bytes, has {bytes_}")
        self.buffer = ctypes.create_string_buffer(bytes_)
        lib.pn_weights_buffer(model, self.buffer, bytes_)
        rest = self.read(len(self.head), self.size - len(self.head))
        err = lib.pn_verify(model, rest, len(rest))
        return _SHORT if err == _MORE else err

    def fill(self, model: ctypes.Array) -> None:
        """Reads what the next step wants."""
        wanted = (ctypes.c_uint32 * 3)()
        engine().pn_host_wanted(model, wanted)
        at, bytes_, to = wanted
        ctypes.memmove(ctypes.addressof(self.buffer) + to, self.read(at, bytes_), bytes_)
        self.taken, self.pieces = self.taken + bytes_, self.pieces + 1

    def close(self) -> None:
        if self.own:
            self.file.close()


class Arena:
    """The part of a buffer that begins at a multiple of 8. The buffer is held while this lives."""

    def __init__(self, buffer: Room, needed: int):
        view = buffer_of("arena", buffer, writable=True)
        self.hold = (ctypes.c_char * view.nbytes).from_buffer(view)
        start = ctypes.addressof(self.hold)
        self.at = start + -start % 8
        self.bytes = max(view.nbytes - (self.at - start), 0)
        if self.bytes < needed:
            raise MemoryError(f"arena: needs {needed} bytes, has {self.bytes}")
