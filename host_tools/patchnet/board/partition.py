"""The ROMFS partition of a board: puts a file into it.

Flash is erased in blocks, and writing fills in what is blank. A ROMFS may have a file's data anywhere behind its
directory (romfs.directory). So a new file's data goes to a blank stretch, is read back and tried there, and only then
the first block, with the directory, is erased and written: by one call on the board, which has all it needs by then.
The header is written last, so that a directory is whole or none.
Until that moment the old ROMFS is in use as it was. Nothing else in it is touched; files whose data lies in the first
block, as in an image of one piece, are copied behind it before.

Where there is no such stretch, all is read, erased and written anew as one piece, the beginning last: a board that
loses its power meanwhile has no ROMFS rather than half of one.
"""

from __future__ import annotations

import ast
import shlex
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..progress import Track
from . import romfs
from .link import FRAME_BYTES, Link
from .remote import PATIENCE, Board, LinkLost, RemoteError, RemoteTimeout

UNIT = 32  # bytes: what flash writes at once is no more on any board, and an image's header is no longer
SECONDS = 900 * PATIENCE  # patience while all is erased: 8 MiB in blocks of 4 KiB


# What the partition holds: [(path, bytes, offset), ...], "blank" or "unknown"; its first record; the partition's bytes;
# what the board says of erasing (see _block): the answers of rom_ioctl(6), else to erasing nothing; the board's name.
LOOK = """
import binascii, os, sys, uctypes, vfs
dev = vfs.rom_ioctl(2, 0)
def walk(path):
    for entry in rom.ilistdir(path or "/"):
        name = path + "/" + entry[0]
        if entry[1] == 0x4000:
            for inner in walk(name):
                yield inner
        else:
            yield name[1:], entry[3], uctypes.addressof(rom.open(name, "rb")) - uctypes.addressof(dev)
def blank(start, end):
    # Where the blank end of that stretch begins.
    piece = b"\\xff" * 1024
    while end - 1024 >= start and dev[end - 1024:end] == piece:
        end -= 1024
    return end
def write(at, data):
    err = vfs.rom_ioctl(4, 0, at, data)
    if err < 0:
        raise OSError(-err)
try:
    rom = vfs.VfsRom(dev)
    found = list(walk(""))
except OSError:
    rom = None
    found = "blank" if bytes(dev[:16]) in (b"\\xff" * 16, bytes(16)) else "unknown"
told = vfs.rom_ioctl(6, 0)
erased = told if told > 0 else vfs.rom_ioctl(3, 0, 0)
print(repr((found, bytes(dev[8:{mark}]), len(dev), told, erased, getattr(sys.implementation, "_machine", ""))))
"""
READ = """
def answer(data):
    at, n = str(data, "utf8").split()
    return dev[int(at):int(at) + int(n)]
"""
WRITE = """
def answer(data):
    if len(data) == 1:
        vfs.rom_ioctl(5, 0)
    else:
        write(int.from_bytes(data[-4:], "little"), data[:-4])
"""
COPY = """
def copy(at, to, size):
    for i in range(0, size, 1024):
        write(to + i, bytes(dev[at + i:at + min(i + 1024, size)]))
    return dev[at:at + size] == dev[to:to + size]
print(copy({at}, {to}, {size}))
"""
UNMOUNT = """
import os, vfs
os.chdir("/")
try:
    vfs.umount("/rom")
except OSError:
    pass
"""
SWITCH = """
def answer(data):
    erased = vfs.rom_ioctl(3, 0, {block})
    if erased < 0 or vfs.rom_ioctl(4, 0, {unit}, data[{unit}:]) < 0 or vfs.rom_ioctl(4, 0, 0, data[:{unit}]) < 0:
        raise OSError(5)
    vfs.rom_ioctl(5, 0)
    dev = vfs.rom_ioctl(2, 0)
    vfs.mount(vfs.VfsRom(dev), "/rom")
    return dev[:len(data)]
"""
ERASE = """
def erase(size):
    size = max(size, blank(0, len(dev)))
    if not {anywhere}:
        return vfs.rom_ioctl(3, 0, size)
    for at in range(0, size, {block}):
        err = vfs.rom_ioctl(3, 0, at, {block})
        if err < 0:
            return err
    return err
print(erase({size}))
"""
CHECKSUM = "print(binascii.crc32(dev[{at}:{end}]) & 0xffffffff)"


@dataclass(frozen=True)
class Rom:
    """A board's partition. `files`: path -> (offset, bytes). `state`: "" if it is a ROMFS, else "blank" or "unknown".
    `block`: bytes that are erased at once, 0 if not known; `anywhere`: whether at any place, not only from the
    beginning on; `ours`: whether all that is no file's data lies in the first block."""

    size: int
    block: int
    anywhere: bool
    files: dict[str, tuple[int, int]]
    state: str
    ours: bool

    def gaps(self) -> list[tuple[int, int]]:
        """Stretches (from, to) behind the first block that no file has."""
        found, end = [], self.block
        for at, size in sorted(self.files.values()):
            found.append((end, at))
            end = max(end, at + size)
        return [gap for gap in [*found, (end, self.size)] if gap[0] < gap[1]]


def look(board: Board) -> Rom:
    """Asks the board; what LOOK defines is there until the next reset."""
    mark = romfs.HEADER_BYTES + len(romfs.MARK)
    with _unreadable():
        found, head, size, told, erased, machine = ast.literal_eval(board.exec(LOOK.format(mark=mark)))
    _check_erased(erased)
    state = found if isinstance(found, str) else ""
    files = {} if state else {path: (at, n) for path, n, at in found}
    return Rom(size, _block(told, erased, machine), told > 0, files, state, bool(state) or head == romfs.MARK)


def _block(told: int, erased: int, machine: str) -> int:
    """The bytes of an erase block, 0 if not known. rom_ioctl(6) tells them from MicroPython's June 2026 on. Before,
    erasing starts at the beginning always, and answers with the least that can be written, which tells the kind of
    flash: 4 for QSPI, 16 for an internal one, whose blocks are known of an STM32H7 only."""
    if told > 0:
        return told
    return {4: 4096, 16: 131072 if "STM32H7" in machine else 0}.get(erased, 0)


def _more(text: str, error: Exception) -> Exception:
    """The same error, which says that too."""
    return type(error)(f"{str(error).strip()}; {text}")


@contextmanager
def _unreadable() -> Iterator[None]:
    """While flash is read in which a power cut may have left what is neither old nor new: on an STM32H7's internal
    flash reading that is a double error of its ECC, which resets the board."""
    try:
        yield
    except (LinkLost, RemoteTimeout) as e:
        raise _more("internal flash that lost its power while it was written may be unreadable, "
                    "docs/deploy.md tells how to erase it", e) from e  # fmt: skip


def write(
    board: Board, name: str, data: bytes, replace: bool, check: Callable[[str], None], track: Track,
    tell: Callable[[str], None],
) -> None:  # fmt: skip
    """Puts `data` into the partition as `name`. `check` tries it, given a MicroPython expression for it, and raises if
    it is wrong; it resets the board. `tell` hears of it before the board will be without ROMFS for a while.
    `replace`: where there is no room for all, or what is there is no ROMFS, that goes.

    LinkLost when the board goes away, ValueError where it cannot work; both say what the board has then.
    """
    rom = look(board)
    if rom.state == "unknown" and not replace:
        raise ValueError("the ROMFS partition holds something that is no ROMFS: --replace overwrites it")
    if not _insert(board, rom, name, data, check, track, tell):
        _rewrite(board, rom, name, data, replace, track, tell)
        check(repr(f"/rom/{name}"))


# ---------------------------------------------------------------- beside what is there


def _insert(
    board: Board, rom: Rom, name: str, data: bytes, check: Callable[[str], None], track: Track,
    tell: Callable[[str], None],
) -> bool:  # fmt: skip
    """`write` that leaves the ROMFS in use until the last moment; False, and it is as it was, if there is no room."""
    files = {path: where for path, where in rom.files.items() if path != name}
    moved = {path: where for path, where in files.items() if where[0] < rom.block and where[1]}
    spots = _spots(board, rom, [len(data), *(size for _, size in moved.values())])
    if spots is None:
        return False
    files |= {name: (spots[0], len(data))}
    files |= {path: (to, size) for to, (path, (_, size)) in zip(spots[1:], moved.items(), strict=True)}
    directory = _filled(romfs.directory(files, rom.size))
    if len(directory) > rom.block:
        return False
    try:
        _send(board, data, spots[0], track(f"writing /rom/{name}", len(data)))
        for to, (at, size) in zip(spots[1:], moved.values(), strict=True):
            _check_written(board.exec(COPY.format(at=at, to=to, size=_up(size, UNIT)), 120 * PATIENCE) == "True\n")
        check(f"__import__('vfs').rom_ioctl(2, 0)[{spots[0]}:{spots[0] + len(data)}]")
        board.exec(UNMOUNT)
        last = Link(board, SWITCH.format(block=rom.block, unit=UNIT), len(directory))
    except (LinkLost, RemoteError, RemoteTimeout) as e:
        raise _more(f"/rom/{name} is what it was, start again", e) from e
    with _saved(board.port, name, directory, tell), last:
        _check_written(last.ask(directory, 60 * PATIENCE) == directory)
    return True


def _spots(board: Board, rom: Rom, sizes: list[int]) -> list[int] | None:
    """Where data of these sizes can be written now; None if there is no room for all of it."""
    if not rom.block:
        return None
    gaps = rom.gaps()
    with _unreadable():
        starts = ast.literal_eval(board.exec(f"print([blank(a, b) for a, b in {gaps}])", 60 * PATIENCE))
    # Where any block can be erased, each file has blocks of its own, so that another can take its place.
    spots = _fit(zip(starts, (end for _, end in gaps), strict=True), sizes, rom.block if rom.anywhere else UNIT)
    if spots is not None or not (rom.anywhere and rom.ours):
        return spots
    spots = _fit(((start, end // rom.block * rom.block) for start, end in gaps), sizes, rom.block)
    for at, size in zip(spots or [], sizes, strict=False):
        _check_erased(int(board.exec(f"print(vfs.rom_ioctl(3, 0, {at}, {_up(size, rom.block)}))", SECONDS)))
    return spots


def _fit(stretches: Iterable[tuple[int, int]], sizes: list[int], align: int) -> list[int] | None:
    """An offset for each of `sizes` in the stretches (from, to), a multiple of `align`."""
    free, spots = list(stretches), []
    for size in sizes:
        for i, (start, end) in enumerate(free):
            at = _up(start, align)
            if at + _up(size, UNIT) <= end:
                free[i] = at + size, end
                spots.append(at)
                break
        else:
            return None
    return spots


# ---------------------------------------------------------------- all anew


def _rewrite(
    board: Board, rom: Rom, name: str, data: bytes, replace: bool, track: Track, tell: Callable[[str], None]
) -> None:
    """`write` that erases all, for an image in one piece of `data` and, as far as there is room, what there was."""
    image = _filled(romfs.build(_read(board, rom, name, track) | {name: data}))
    if len(image) > rom.size and replace:
        image = _filled(romfs.build({name: data}))
    if len(image) > rom.size:
        kept = "" if replace else "; with --replace nothing else is kept there"
        raise ValueError(f"/rom/{name}: the ROMFS image has {len(image):,} B, the partition {rom.size:,} B{kept}")
    with _saved(board.port, name, image, tell) as remedy:
        if not rom.state:
            tell(f"the ROMFS partition has no blank stretch for {len(data):,} B: it is erased and written anew; "
                 f"if that is interrupted, the board has no ROMFS, and {remedy}")  # fmt: skip
        size = len(image)
        board.exec(UNMOUNT)
        _check_erased(int(board.exec(ERASE.format(size=size, block=rom.block, anywhere=rom.anywhere), SECONDS)))
        _send(board, image, 0, track(f"writing /rom/{name}", size))


def _read(board: Board, rom: Rom, but: str, track: Track) -> dict[str, bytes]:
    """What the board's ROMFS holds, `but` excepted."""
    files = {path: where for path, where in rom.files.items() if path != but}
    if not files:
        return {}
    tick, found = track("reading what is in the ROMFS", sum(size for _, size in files.values())), {}
    with Link(board, READ, 32) as link:
        for path, (start, size) in files.items():
            found[path] = b""
            for at in range(start, start + size, FRAME_BYTES):
                piece = link.ask(b"%d %d" % (at, min(FRAME_BYTES, start + size - at)))
                found[path] += piece
                tick(len(piece))
    return found


# ---------------------------------------------------------------- flash


def _up(n: int, step: int) -> int:
    return -(-n // step) * step


def _filled(data: bytes) -> bytes:
    return data.ljust(_up(len(data), UNIT), b"\xff")


def _check_erased(answer: int) -> None:
    if answer < 0:
        raise ValueError(f"the board cannot erase its ROMFS partition (error {-answer})")


def _check_written(same: bool) -> None:
    if not same:
        raise ValueError("the ROMFS partition does not hold what was written")


def _send(board: Board, data: bytes, to: int, tick: Callable[[int], None]) -> None:
    """Writes to blank flash at offset `to`, the first UNIT last, and compares."""
    data = _filled(data)
    with Link(board, WRITE, FRAME_BYTES + 4) as link:
        for at in [*range(UNIT, len(data), FRAME_BYTES), 0]:
            piece = data[at : at + (FRAME_BYTES if at else UNIT)]
            link.ask(piece + (to + at).to_bytes(4, "little"), 60 * PATIENCE)
            tick(len(piece))
        link.ask(b"\x00", 60 * PATIENCE)
    _check_written(int(board.exec(CHECKSUM.format(at=to, end=to + len(data)), 60 * PATIENCE)) == zlib.crc32(data))


@contextmanager
def _saved(port: str, name: str, image: bytes, tell: Callable[[str], None]) -> Iterator[str]:
    """Keeps what brings the ROMFS back in a file, for as long as the board may be without one; gives the words for
    that. The file has a name of its own: it may be all that is left of another board, or of an earlier try."""
    with tempfile.NamedTemporaryFile(prefix=f"{Path(name).stem}-", suffix=".romfs", delete=False) as f:
        f.write(image)
    remedy = f"`mpremote connect {shlex.quote(port)} romfs deploy {shlex.quote(f.name)}` brings it back"
    lost = f"the board may have no ROMFS now: {remedy}"
    try:
        yield remedy
    except (LinkLost, RemoteError, RemoteTimeout, ValueError) as e:
        raise _more(lost, e) from e
    except BaseException:  # Ctrl-C
        tell(lost)
        raise
    Path(f.name).unlink()
