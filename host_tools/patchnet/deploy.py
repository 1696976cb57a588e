"""Puts a network on a board: checks that it will fit, copies it beside the old one, tries it there, and only then lets
it take the old one's place.

    deployed = deploy("person", "auto")   # /flash/person.pnb, 141,364 B, answers as this PC does

A file system keeps the old file until the new one has been read back and has given the right answer. The ROMFS
partition has room for one image only: that one is erased and written anew, its beginning last, so that a board which
loses its power meanwhile has no ROMFS rather than half of one. What else was in it goes in again, and lies on the PC
until then.
"""

from __future__ import annotations

import ast
import re
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import Model, boards, evaluate, romfs, vector
from .boards import Facts
from .link import FRAME_BYTES, Link
from .remote import ROOT, Board, LinkLost, RemoteError, RemoteTimeout, connect

MODEL_BYTES = 512  # of heap for the objects of a model, beside blob and arena
NATMOD = ROOT / "build" / "natmod"
NATIVE_ARCH = {"armv7emsp": "armv7emsp", "armv7emdp": "armv7emsp", "x64": "x64"}  # board -> what `make natmod` makes

WRITE_FILE = """
f = open({path!r}, "wb")
def answer(data):
    if data[0] == 0:
        f.close()
    elif f.write(data[1:]) != len(data) - 1:
        raise OSError(28)
"""
CHECKSUM = """
import binascii
def checksum(path):
    crc = size = 0
    part = memoryview(bytearray(1024))
    with open(path, "rb") as f:
        while True:
            n = f.readinto(part)
            if not n:
                return size, crc & 0xffffffff
            crc = binascii.crc32(part[:n], crc)
            size += n
try:
    print(repr(checksum({path!r})))
except OSError:
    print(None)
"""
TRY = """
import patchnet
m = patchnet.Model({path!r})
def answer(data):
    return bytes(m.predict(patchnet.Image({width}, {height}, patchnet.{format}, data)))
"""
# The ROMFS as it is: [(path, bytes), ...], or what the partition holds instead.
LIST_ROM = """
import vfs
dev = vfs.rom_ioctl(2, 0)
def walk(path):
    for entry in rom.ilistdir(path or "/"):
        name = path + "/" + entry[0]
        if entry[1] == 0x4000:
            for inner in walk(name):
                yield inner
        else:
            yield name, entry[3]
try:
    rom = vfs.VfsRom(dev)
    found = list(walk(""))
except OSError:
    rom = None
    found = "blank" if bytes(dev[:16]) in (b"\\xff" * 16, bytes(16)) else "unknown"
print(repr(found))
"""
READ_ROM = """
def answer(data):
    at, n, path = str(data, "utf8").split(" ", 2)
    return memoryview(rom.open(path, "rb"))[int(at):int(at) + int(n)]
"""
ERASE_ROM = """
import os, vfs
dev = vfs.rom_ioctl(2, 0)
os.chdir("/")
try:
    vfs.umount("/rom")
except OSError:
    pass
def erase(size):
    block = vfs.rom_ioctl(6, 0)
    if block <= 0:  # older firmware erases in one go
        return vfs.rom_ioctl(3, 0, size)
    for at in range(0, size, block):
        err = vfs.rom_ioctl(3, 0, at, block)
        if err < 0:
            return err
    return err
print(erase({size}))
"""
WRITE_ROM = """
def answer(data):
    if len(data) == 1:
        vfs.rom_ioctl(5, 0)
        return
    err = vfs.rom_ioctl(4, 0, int.from_bytes(data[-4:], "little"), data[:-4])
    if err < 0:
        raise OSError(-err)
"""
MOUNT_ROM = """
import binascii
print(binascii.crc32(dev[:{size}]) & 0xffffffff)
vfs.mount(vfs.VfsRom(dev), "/rom")
"""
ROM_UNIT = 16  # bytes: what flash writes at once is no more on any board


@dataclass(frozen=True)
class Deployed:
    """What lies on the board now. `copied`: False if that very file was there already."""

    port: str
    machine: str
    path: str
    blob_bytes: int
    ram: int
    copied: bool
    seconds: float


def deploy(
    model: str | Path,
    port: str = "auto",
    to: str | None = None,
    replace: bool = False,
    install: Callable[[str], bool] = lambda _question: False,
    track: evaluate.Track = evaluate.no_track,
) -> Deployed:
    """Puts `model` (shipped name, .pnb or run directory) on the board at `port`, into `to` (rom, flash, sd; by default
    rom if the board has it). `replace`: where there is not room for both, drop what is there first. `install` is asked
    before patchnet itself is put on a board that lacks it.

    ValueError where it cannot work, before anything is changed; LinkLost when the board goes away.
    """
    began = time.monotonic()
    path = evaluate.model_file(model, "host")
    blob, expected = path.read_bytes(), vector.load(path)
    ram = Model(blob).ram
    with connect(port) as board:
        facts = boards.ask(board)
        if facts.patchnet is None:
            facts = _install(board, facts, install, track)
        place = _place(facts, to)
        target = f"{facts.places[place].rstrip('/')}/{path.stem}.pnb"
        _check_heap(board, path, ram, place)
        there = _checksum(board, target) == (len(blob), zlib.crc32(blob))
        if there:
            _try(board, target, expected)
        elif place == "rom":
            _write_rom(board, facts, target, blob, replace, track)
            _try(board, target, expected)
        else:
            _write_file(board, facts, target, blob, replace, track, lambda new: _try(board, new, expected))
    seconds = round(time.monotonic() - began, 3)
    return Deployed(board.port, facts.machine, target, len(blob), ram, not there, seconds)


# ---------------------------------------------------------------- before


def _place(facts: Facts, to: str | None) -> str:
    places = facts.places
    if not places:
        raise ValueError(f"{facts.machine}: has no file system and no ROMFS partition")
    if to is not None and to not in places:
        raise ValueError(f"--to {to}: {facts.machine} has {', '.join(places)}")
    return to or next(iter(places))


def _check_heap(board: Board, path: Path, ram: int, place: str) -> None:
    """In ROMFS a model is used in place. A file is read into the heap in one piece or, where that fails, streamed."""
    needs = {"model objects": MODEL_BYTES, "arena": ram}
    if place != "rom":
        needs = {"model": path.stat().st_size} | needs
    trouble = boards.missing_room(board, needs)
    if not trouble:
        return
    if place == "rom":
        raise ValueError(trouble)
    streamed = {"model objects": MODEL_BYTES, "streamed model": Model(path, stream=True).ram}
    if boards.missing_room(board, streamed):
        raise ValueError(f"{trouble}; in ROMFS (--to rom) a model is used in place")


def _install(board: Board, facts: Facts, install: Callable[[str], bool], track: evaluate.Track) -> Facts:
    """Puts patchnet.mpy on a board whose firmware has none."""
    why = f" ({facts.error})" if facts.error else ""
    native = NATIVE_ARCH.get(facts.arch or "")
    version = (facts.mpy & 0xFF, facts.mpy >> 8 & 3)
    if native is None or version != (boards.MPY_VERSION, boards.MPY_SUBVERSION):
        raise ValueError(f"{facts.machine} has no patchnet{why}, and there is no .mpy for {facts.arch}, .mpy version "
                         f"{version[0]}.{version[1]}: build the firmware with it, see ports/README.md")  # fmt: skip
    file = NATMOD / native / "patchnet.mpy"
    if not file.is_file():
        raise ValueError(f"{facts.machine} has no patchnet{why}; `make natmod` builds {file}, which can be installed")
    if "flash" not in facts.places:
        raise ValueError(f"{facts.machine} has no patchnet{why}, and no flash file system to install it to")
    folder = facts.places["flash"].rstrip("/") + "/lib"
    if not install(f"{facts.machine} has no patchnet{why}. Install {file.name} to {folder}?"):
        raise ValueError(f"{facts.machine} has no patchnet{why}: --install puts patchnet.mpy to {folder}")
    board.exec(f"import os\ntry:\n    os.mkdir({folder!r})\nexcept OSError:\n    pass")
    _write_file(board, facts, f"{folder}/patchnet.mpy", file.read_bytes(), False, track, lambda _new: None)
    board.reset()
    facts = boards.ask(board)
    if facts.patchnet is None:
        raise ValueError(
            f"{facts.machine}: patchnet.mpy is at {folder}, `import patchnet` does not take it: {facts.error}"
        )
    return facts


def _checksum(board: Board, path: str) -> tuple[int, int] | None:
    """Bytes and CRC-32 of a file on the board, None if there is none."""
    return ast.literal_eval(board.exec(CHECKSUM.format(path=path), 120))


def _try(board: Board, path: str, expected: vector.Vector | None) -> None:
    """Runs the test picture on the board, or only opens the model if there is none. ValueError if the answer is not the
    expected one."""
    if expected is None:
        board.exec(f"import patchnet\npatchnet.Model({path!r}).deinit()")
        return
    height, width, *depth = expected.picture.shape
    code = TRY.format(path=path, width=width, height=height, format="RGB888" if depth else "GRAYSCALE")
    data = expected.picture.tobytes()
    with Link(board, code, max(len(data), 16)) as link:
        answer = link.ask(data, 120)
    board.exec("m.deinit()\ndel m")
    wanted = expected.outputs.tobytes()
    if answer != wanted:
        raise ValueError(f"{path}: answers {list(answer[:8])}, wanted {list(wanted[:8])}: do not use it")


# ---------------------------------------------------------------- a file


def _write_file(
    board: Board, facts: Facts, path: str, data: bytes, replace: bool, track: evaluate.Track,
    check: Callable[[str], None],
) -> None:  # fmt: skip
    """Writes `path` by way of PATH.part, which `check` may look at before it takes the place of `path`."""
    part = f"{path}.part"
    _remove(board, part)  # of an earlier try
    _make_room(board, facts, path, len(data), replace)
    try:
        _send_file(board, part, data, track(f"copying {path}", len(data)))
        if _checksum(board, part) != (len(data), zlib.crc32(data)):
            raise ValueError(f"{part}: what the board reads back is not what was sent")
        check(part)
        board.exec(f"import os\nos.rename({part!r}, {path!r})\ngetattr(os, 'sync', int)()")
    except LinkLost as e:
        raise LinkLost(f"{e}; {path} is what it was, start again") from e
    except (ValueError, RemoteError, RemoteTimeout) as e:
        _remove(board, part)
        if re.search(r"ENOSPC|OSError: 28$", str(e).strip()):
            raise ValueError(f"{path}: no space left on the board; what was there is what it was") from e
        raise


def _remove(board: Board, path: str) -> None:
    board.exec(f"import os\ntry:\n    os.remove({path!r})\nexcept OSError:\n    pass")


def _make_room(board: Board, facts: Facts, path: str, size: int, replace: bool) -> None:
    """ValueError if the file system has no room for `size` bytes more; with `replace` the file at `path` goes first."""
    root = max((d for d in facts.disks if path.startswith(d.rstrip("/") + "/")), key=len)
    block = facts.disks[root][1]
    needed = -(-size // block) * block + 2 * block  # and what the file system notes about it
    free = f"import os\ns = os.statvfs({root!r})\nprint(s[1] * s[4])"
    room = int(board.exec(free))
    if room < needed and replace:
        _remove(board, path)
        room = int(board.exec(free))
    if room < needed:
        more = "" if replace else "; the old file stays until the new one is there, --replace removes it first"
        raise ValueError(f"{path}: needs {needed:,} B, {root} has {room:,} B free{more}")


def _send_file(board: Board, path: str, data: bytes, tick: Callable[[int], None]) -> None:
    with Link(board, WRITE_FILE.format(path=path)) as link:
        step = link.size - 1
        for at in range(0, len(data), step):
            piece = data[at : at + step]
            link.ask(b"\x01" + piece, 60)
            tick(len(piece))
        link.ask(b"\x00", 60)


# ---------------------------------------------------------------- ROMFS


def _write_rom(board: Board, facts: Facts, path: str, data: bytes, replace: bool, track: evaluate.Track) -> None:
    """Erases the ROMFS partition and writes it with `data` at `path` and, as far as there is room, what it held."""
    name = path.removeprefix("/rom/")
    with tempfile.TemporaryDirectory(prefix="patchnet-rom-") as temporary:
        folder = Path(temporary)
        _read_rom(board, folder, f"/{name}", replace, track)
        image = _rom_image(folder, name, data)
        if len(image) > facts.rom and replace:
            folder = folder / "new"
            folder.mkdir()
            image = _rom_image(folder, name, data)
        if len(image) > facts.rom:
            kept = "" if replace else "; with --replace nothing else is kept there"
            raise ValueError(f"{path}: the ROMFS image has {len(image):,} B, the partition {facts.rom:,} B{kept}")
        try:
            _send_rom(board, image, track(f"writing {path}", len(image)))
        except (LinkLost, RemoteError, RemoteTimeout, ValueError) as e:
            saved = Path(tempfile.gettempdir()) / f"{Path(name).stem}.romfs"
            saved.write_bytes(image)
            raise type(e)(f"{e}; the board has no ROMFS now; start again, or `mpremote romfs deploy {saved}`") from e


def _rom_image(folder: Path, name: str, data: bytes) -> bytes:
    """The image of `folder` with the file `name`; filled up, as flash is written in units."""
    (folder / name).write_bytes(data)
    image = romfs.build(folder)
    return image + b"\xff" * (-len(image) % ROM_UNIT)


def _read_rom(board: Board, folder: Path, but: str, replace: bool, track: evaluate.Track) -> None:
    """Copies what the board's ROMFS holds into `folder`, `but` excepted."""
    found = ast.literal_eval(board.exec(LIST_ROM))
    if found == "unknown" and not replace:
        raise ValueError("the ROMFS partition holds something that is no ROMFS: --replace overwrites it")
    files = [] if isinstance(found, str) else [(path, size) for path, size in found if path != but]
    if not files:
        return
    tick = track("reading what is in the ROMFS", sum(size for _, size in files))
    with Link(board, READ_ROM) as link:
        for path, size in files:
            data = b""
            while len(data) < size:
                got = link.ask(b"%d %d %s" % (len(data), FRAME_BYTES, path.encode()))
                data += got
                tick(len(got))
            to = folder / path[1:]
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(data)


def _send_rom(board: Board, image: bytes, tick: Callable[[int], None]) -> None:
    result = int(board.exec(ERASE_ROM.format(size=len(image)), 300))
    if result < 0:
        raise ValueError(f"the board cannot erase its ROMFS partition (error {-result})")
    with Link(board, WRITE_ROM, FRAME_BYTES + 4) as link:
        starts = list(range(0, len(image), FRAME_BYTES))
        for at in starts[1:] + starts[:1]:
            piece = image[at : at + FRAME_BYTES]
            link.ask(piece + at.to_bytes(4, "little"), 60)
            tick(len(piece))
        link.ask(b"\x00", 60)
    crc = int(board.exec(MOUNT_ROM.format(size=len(image)), 60))
    if crc != zlib.crc32(image):
        raise ValueError("the ROMFS partition does not hold what was written")
