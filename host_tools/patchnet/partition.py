"""The ROMFS partition of a board: puts a file into it.

Flash is erased in blocks, and writing fills in what is blank. A ROMFS may have a file's data anywhere behind its
directory (romfs.directory). So a new file's data goes to a blank stretch, is read back and tried there, and only then
the first block, with the directory, is erased and written: by one call on the board, which has all it needs by then.
Until that moment the old ROMFS is in use as it was. Nothing else in it is touched; files whose data lies in the first
block, as in an image of one piece, are copied behind it before.

Where there is no such stretch, all is read, erased and written anew as one piece, the beginning last: a board that
loses its power meanwhile has no ROMFS rather than half of one.
"""

from __future__ import annotations

import ast
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import romfs
from .link import FRAME_BYTES, Link
from .remote import Board, LinkLost, RemoteError, RemoteTimeout

UNIT = 32  # bytes: what flash writes at once is no more on any board
SECONDS = 900  # patience while all is erased: 8 MiB in blocks of 4 KiB

Track = Callable[[str, int], Callable[[int], None]]  # as evaluate's

# What the partition holds: [(path, bytes, offset), ...], "blank" or "unknown"; its first record; the bytes of an erase
# block (0: not known), and whether any of them can be erased; the partition's bytes.
# rom_ioctl(6) tells the block from MicroPython's June 2026 on. Before, erasing starts at the beginning always; its
# answer, here to erasing nothing, tells the kind of flash: 4 for QSPI, 16 for an STM32H7's internal one.
LOOK = """
import binascii, os, uctypes, vfs
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
block = vfs.rom_ioctl(6, 0)
anywhere = block > 0
if not anywhere:
    block = {{4: 4096, 16: 131072}}.get(vfs.rom_ioctl(3, 0, 0), 0)
print(repr((found, bytes(dev[8:{mark}]), block, anywhere, len(dev))))
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
        piece = bytes(dev[at + i:at + min(i + 1024, size)])
        write(to + i, piece + b"\\xff" * (-len(piece) % {unit}))
    return dev[at:at + size] == dev[to:to + size]
print(copy({at}, {to}, {size}))
"""
SWITCH = """
import os, vfs
def answer(data):
    os.chdir("/")
    try:
        vfs.umount("/rom")
    except OSError:
        pass
    if vfs.rom_ioctl(3, 0, {block}) < 0 or vfs.rom_ioctl(4, 0, 0, data) < 0:
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
os.chdir("/")
try:
    vfs.umount("/rom")
except OSError:
    pass
print(erase({size}))
"""
CHECKSUM = "print(binascii.crc32(dev[{at}:{end}]) & 0xffffffff)"
MOUNT = 'vfs.mount(vfs.VfsRom(dev), "/rom")'


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
    found, head, block, anywhere, size = ast.literal_eval(board.exec(LOOK.format(mark=mark)))
    state = found if isinstance(found, str) else ""
    files = {} if state else {path: (at, n) for path, n, at in found}
    return Rom(size, block, anywhere, files, state, bool(state) or head == romfs.MARK)


def write(
    board: Board, name: str, data: bytes, replace: bool, check: Callable[[str], None], track: Track,
    tell: Callable[[str], None],
) -> None:  # fmt: skip
    """Puts `data` into the partition as `name`. `check` tries it, given a MicroPython expression for it, and raises if
    it is wrong; it may reset the board. `tell` hears of it before the board will be without ROMFS for a while.
    `replace`: where there is no room for all, or what is there is no ROMFS, that goes.

    LinkLost when the board goes away, ValueError where it cannot work; both say what the board has then.
    """
    rom = look(board)
    if rom.state == "unknown" and not replace:
        raise ValueError("the ROMFS partition holds something that is no ROMFS: --replace overwrites it")
    if not _insert(board, rom, name, data, check, track):
        _rewrite(board, rom, name, data, replace, track, tell)
        check(repr(f"/rom/{name}"))


# ---------------------------------------------------------------- beside what is there


def _insert(board: Board, rom: Rom, name: str, data: bytes, check: Callable[[str], None], track: Track) -> bool:
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
            if board.exec(COPY.format(at=at, to=to, size=size, unit=UNIT), 120).strip() != "True":
                raise ValueError("the ROMFS partition does not hold what was written")
        check(f"__import__('vfs').rom_ioctl(2, 0)[{spots[0]}:{spots[0] + len(data)}]")
        last = Link(board, SWITCH.format(block=rom.block), len(directory))
    except LinkLost as e:
        raise LinkLost(f"{e}; /rom/{name} is what it was, start again") from e
    with _saved(name, directory), last:
        if last.ask(directory, 60) != directory:
            raise ValueError("the ROMFS partition does not hold what was written")
    return True


def _spots(board: Board, rom: Rom, sizes: list[int]) -> list[int] | None:
    """Where data of these sizes can be written now; None if there is no room for all of it."""
    if not rom.block:
        return None
    gaps = rom.gaps()
    starts = ast.literal_eval(board.exec(f"print([blank(a, b) for a, b in {gaps}])", 60))
    # Where any block can be erased, each file has blocks of its own, so that another can take its place.
    spots = _fit(zip(starts, (end for _, end in gaps), strict=True), sizes, rom.block if rom.anywhere else UNIT)
    if spots is not None or not (rom.anywhere and rom.ours):
        return spots
    spots = _fit(((start, end // rom.block * rom.block) for start, end in gaps), sizes, rom.block)
    for at, size in zip(spots or [], sizes, strict=False):
        _check_erased(board.exec(f"print(vfs.rom_ioctl(3, 0, {at}, {-(-size // rom.block) * rom.block}))", SECONDS))
    return spots


def _fit(stretches: Iterable[tuple[int, int]], sizes: list[int], align: int) -> list[int] | None:
    """An offset for each of `sizes` in the stretches (from, to), a multiple of `align`."""
    free, spots = list(stretches), []
    for size in sizes:
        for i, (start, end) in enumerate(free):
            at = -(-start // align) * align
            if at + size + -size % UNIT <= end:
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
    with tempfile.TemporaryDirectory(prefix="patchnet-rom-") as temporary:
        folder = Path(temporary)
        _read(board, rom, folder, name, track)
        image = _image(folder, name, data)
        if len(image) > rom.size and replace:
            folder = folder / "new"
            folder.mkdir()
            image = _image(folder, name, data)
    if len(image) > rom.size:
        kept = "" if replace else "; with --replace nothing else is kept there"
        raise ValueError(f"/rom/{name}: the ROMFS image has {len(image):,} B, the partition {rom.size:,} B{kept}")
    if not rom.state:
        tell(f"the ROMFS partition has no blank stretch for {len(data):,} B: it is erased and written anew; "
             "if that is interrupted, the board has no ROMFS")  # fmt: skip
    with _saved(name, image):
        size = len(image)
        _check_erased(board.exec(ERASE.format(size=size, block=rom.block, anywhere=rom.anywhere), SECONDS))
        _send(board, image, 0, track(f"writing /rom/{name}", size))
        board.exec(MOUNT)


def _image(folder: Path, name: str, data: bytes) -> bytes:
    """The image of `folder` with the file `name`."""
    (folder / name).write_bytes(data)
    return _filled(romfs.build(folder))


def _read(board: Board, rom: Rom, folder: Path, but: str, track: Track) -> None:
    """Copies what the board's ROMFS holds into `folder`, `but` excepted."""
    files = {path: where for path, where in rom.files.items() if path != but}
    if not files:
        return
    tick = track("reading what is in the ROMFS", sum(size for _, size in files.values()))
    with Link(board, READ, 32) as link:
        for path, (start, size) in files.items():
            to = folder / path
            to.parent.mkdir(parents=True, exist_ok=True)
            with to.open("wb") as f:
                for at in range(start, start + size, FRAME_BYTES):
                    tick(f.write(link.ask(b"%d %d" % (at, min(FRAME_BYTES, start + size - at)))))


# ---------------------------------------------------------------- flash


def _filled(data: bytes) -> bytes:
    return data + b"\xff" * (-len(data) % UNIT)


def _check_erased(answer: str) -> None:
    if int(answer) < 0:
        raise ValueError(f"the board cannot erase its ROMFS partition (error {-int(answer)})")


def _send(board: Board, data: bytes, to: int, tick: Callable[[int], None]) -> None:
    """Writes to blank flash at offset `to`, the beginning last, and compares."""
    data = _filled(data)
    with Link(board, WRITE, FRAME_BYTES + 4) as link:
        starts = list(range(0, len(data), FRAME_BYTES))
        for at in starts[1:] + starts[:1]:
            piece = data[at : at + FRAME_BYTES]
            link.ask(piece + (to + at).to_bytes(4, "little"), 60)
            tick(len(piece))
        link.ask(b"\x00", 60)
    if int(board.exec(CHECKSUM.format(at=to, end=to + len(data)), 60)) != zlib.crc32(data):
        raise ValueError("the ROMFS partition does not hold what was written")


@contextmanager
def _saved(name: str, image: bytes) -> Iterator[None]:
    """Keeps what brings the ROMFS back in a file, for as long as the board may be without one."""
    saved = Path(tempfile.gettempdir()) / f"{Path(name).stem}.romfs"
    saved.write_bytes(image)
    try:
        yield
    except (LinkLost, RemoteError, RemoteTimeout, ValueError) as e:
        raise type(e)(
            f"{e}; the board may have no ROMFS now: `mpremote romfs deploy {saved}` brings it back, or start again"
        ) from e
    saved.unlink()
