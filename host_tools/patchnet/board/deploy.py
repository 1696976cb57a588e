"""Puts a network on a board: checks that it will fit, copies it beside the old one, tries it there, and only then lets
it take the old one's place.

    deployed = deploy("person", "auto")   # /rom/person.pnb, 304,296 B, answers as this PC does

The old file is kept until the new one has been read back and has given the right answer: in a file system under
another name, in the ROMFS partition where nothing else lies (see partition).
"""

from __future__ import annotations

import ast
import re
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..blob import vector
from ..blob.files import model_file
from ..blob.unpack import read_blob
from ..engine.model import Model
from ..progress import Track, no_track
from . import boards, partition
from .boards import Facts
from .link import Link
from .remote import CLONE, PATIENCE, ROOT, Board, LinkLost, RemoteError, RemoteTimeout, connect

MODEL_BYTES = 512  # of heap for the objects of a model, beside blob and arena
NATMOD = ROOT / "build" / "natmod"
RELEASED = Path(__file__).resolve().parents[1] / "patchnet.mpy"  # for every H7; `make release` puts it into the wheel
NATIVE_ARCH = {"armv7emsp": "armv7emsp", "armv7emdp": "armv7emsp", "x64": "x64"}  # board -> what `make natmod` makes

WRITE_FILE = """
f = open({path!r}, "wb")
def answer(data):
    if data[0] == 0:
        f.close()
    elif f.write(data[1:]) != len(data) - 1:
        raise OSError(28)
"""
IS_FOLDER = """
import os
try:
    print(os.stat({path!r})[0] & 0x4000 != 0)
except OSError:
    print(False)
"""
DISK = """
import os
s = os.statvfs({root!r})
try:
    old = os.stat({path!r})[6]
except OSError:
    old = 0
print((s[1] * s[4], old))
"""
OPEN = """
import array, patchnet
m = patchnet.Model({model})
"""
TRY = """
def answer(data):
    return {as_bytes}(m.predict({input}))
"""
CLOSE = "m.deinit()\ndel m"
ADDRESS = "import uctypes\nwith open({path!r}, 'rb') as f:\n    print(uctypes.addressof(f))"  # in ROMFS


@dataclass(frozen=True)
class Deployed:
    """What lies on the board now. `copied`: False if that very file was there already. `tried`: whether it answered the
    test vector, False if the heap has no room for its outputs and it was only opened."""

    port: str
    machine: str
    path: str
    blob_bytes: int
    ram: int
    copied: bool
    tried: bool
    seconds: float


def deploy(
    model: str | Path,
    port: str = "auto",
    to: str | None = None,
    replace: bool = False,
    install: Callable[[str], bool] = lambda _question: False,
    track: Track = no_track,
    tell: Callable[[str], None] = lambda _text: None,
) -> Deployed:
    """Puts `model` (shipped name, .pnb or run directory) on the board at `port`, into `to` (rom, flash, sd; by default
    rom if the board has it). `replace`: where there is not room for both, drop what is there first. `install` is asked
    before patchnet itself is put on a board that lacks it. `tell` hears what the user should know before it happens.

    ValueError where it cannot work, before anything is changed; LinkLost when the board goes away.
    """
    began = time.monotonic()
    path = model_file(model, "host")
    blob = read_blob(path)
    ram, expected = Model(blob).ram, vector.load(path)
    with connect(port) as board:
        facts = boards.ask(board)
        if facts.no_patchnet:
            facts = _install(board, facts, install, track)
        place = _place(facts, to)
        target = f"{facts.places[place].rstrip('/')}/{path.stem}.pnb"
        _check_heap(board, path, ram, place)
        there = _is_there(board, place, target, blob)
        tried, name = False, target if there else f"the new {target}"

        def check(new: str) -> None:
            nonlocal tried
            tried = _try(board, name, new, expected)

        if there:
            check(repr(target))
        elif place == "rom":
            partition.write(board, f"{path.stem}.pnb", blob, replace, check, track, tell)
        else:
            _write_file(board, facts, target, blob, replace, track, lambda part: check(repr(part)))
    seconds = round(time.monotonic() - began, 3)
    return Deployed(board.port, facts.machine, target, len(blob), ram, not there, tried, seconds)


# ---------------------------------------------------------------- before


def _is_there(board: Board, place: str, path: str, blob: bytes) -> bool:
    """Whether `path` is that very blob and, in ROMFS, aligned: from mpremote's images it may have to be copied."""
    same = boards.checksum(board, path) == (len(blob), zlib.crc32(blob))
    return same and (place != "rom" or int(board.exec(ADDRESS.format(path=path))) % 4 == 0)


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
    with Model(path, stream=True) as model:
        head, least = model.ram - ram - model.streamed, model.stream_sizes[0]
    if boards.missing_room(board, {"model objects": MODEL_BYTES, "head": head, "arena": ram, "weights": least}):
        raise ValueError(f"{trouble}; in ROMFS (--to rom) a model is used in place")


def _install(board: Board, facts: Facts, install: Callable[[str], bool], track: Track) -> Facts:
    """Puts patchnet.mpy on a board whose firmware has none, or in the place of one that is of no use."""
    why, native = facts.no_patchnet, NATIVE_ARCH.get(facts.arch or "")
    version = (facts.mpy & 0xFF, facts.mpy >> 8 & 3)
    if facts.patchnet == "":
        raise ValueError(f"{why}: build the firmware anew, see ports/README.md")
    if native is None or version != (boards.MPY_VERSION, boards.MPY_SUBVERSION):
        raise ValueError(f"{why}, and there is no .mpy for {facts.arch}, .mpy version "
                         f"{version[0]}.{version[1]}: build the firmware with it, see ports/README.md")  # fmt: skip
    file = RELEASED if RELEASED.is_file() and native == "armv7emsp" else NATMOD / native / "patchnet.mpy"
    if not file.is_file():
        where = "" if CLONE else " in a clone of patchnet's repository"
        raise ValueError(f"{why}; `make natmod`{where} builds {file.name}, which can be installed")
    if facts.file.startswith("/rom/"):
        raise ValueError(f"{why}: a ROMFS is changed as a whole, `mpremote romfs deploy` one without it")
    if not facts.file and "flash" not in facts.places:
        raise ValueError(f"{why}, and no flash file system to install it to")
    folder = facts.file.rsplit("/", 1)[0] if facts.file else facts.places["flash"].rstrip("/") + "/lib"
    data, path = file.read_bytes(), f"{folder}/{file.name}"
    if boards.checksum(board, path) != (len(data), zlib.crc32(data)):
        if not install(f"{why}. Install {file.name} to {folder}?"):
            raise ValueError(f"{why}: --install puts {file.name} to {folder}")
        with suppress(RemoteError):  # it is there, or writing to it will tell
            board.exec(f"import os\nos.mkdir({folder!r})")
        _write_file(board, facts, path, data, bool(facts.file), track, lambda _new: None)
        board.reset()
        facts = boards.ask(board)
        if not facts.no_patchnet:
            return facts
    raise ValueError(f"{facts.no_patchnet}; it is the one of this PC: build the firmware with it, see ports/README.md")


def _try(board: Board, name: str, model: str, expected: vector.Vector) -> bool:
    """Runs the test vector on the board, with what the expression `model` is there, called `name`. False if the model
    could be opened, but the heap has no room for the outputs, of which a network that detects has many. ValueError if
    the answer is not the expected one."""
    data = vector.raw(expected.input)
    board.reset()  # for a heap that is not in pieces
    board.exec(OPEN.format(model=model))
    try:
        as_bytes = "bytes" if expected.outputs.itemsize > 1 else ""  # a copy that the heap may have no room for
        with Link(board, TRY.format(input=_input(expected), as_bytes=as_bytes), max(len(data), 16)) as link:
            answer = link.ask(data, 120 * PATIENCE)
    except RemoteError as e:
        if "MemoryError" not in str(e):
            raise
        answer = None
    board.exec(CLOSE)
    if answer is None:
        return False
    wanted = expected.outputs.tobytes()
    if answer != wanted:
        same = min(len(answer), len(wanted))
        at = next((i for i in range(same) if answer[i] != wanted[i]), same)
        raise ValueError(f"{name}: answers {list(answer[at : at + 8])}, wanted {list(wanted[at : at + 8])} "
                         f"from output {at} on: do not use it")  # fmt: skip
    return True


def _input(test: vector.Vector) -> str:
    """MicroPython for the input of a test vector, whose bytes are `data`."""
    if test.kind == "sound":
        return "array.array('h', bytes(data))"
    if test.kind == "raw":
        return "data"
    height, width, *depth = test.input.shape
    return f"patchnet.Image({width}, {height}, patchnet.{'RGB888' if depth else 'GRAYSCALE'}, data)"


# ---------------------------------------------------------------- a file


# What an OSError of a board means for a file there. FAT has EINVAL for a name, littlefs and ROMFS have it for none.
OS_ERRORS = {
    2: "there is no such folder",
    5: "the board cannot read or write there: a worn-out or loose card",
    13: "the file system does not allow it",
    19: "the card or flash is gone",
    20: "what should be its folder is a file",
    22: "the file system does not take that name",
    28: "no space left on the board",
    30: "the file system is read-only",
    36: "the name is too long for the file system",
}


def _os_error(error: Exception) -> str | None:
    """What the OSError says that code on a board raised; None for any other error."""
    found = re.match(r"OSError: (?:\[Errno )?(\d+)", error.line) if isinstance(error, RemoteError) else None
    return OS_ERRORS.get(int(found[1]), f"the board's file system gives error {found[1]}") if found else None


def _write_file(
    board: Board, facts: Facts, path: str, data: bytes, replace: bool, track: Track,
    check: Callable[[str], None],
) -> None:  # fmt: skip
    """Writes `path` by way of PATH.part, which `check` may look at before it takes the place of `path`."""
    part, kept = f"{path}.part", f"{path} is what it was"
    try:
        if board.exec(IS_FOLDER.format(path=path)) == "True\n":
            raise ValueError(f"{path}: on the board that is a folder: remove it, or give the network another name")
        _remove(board, part)  # of an earlier try
        if _make_room(board, facts, path, len(data), replace):
            kept = f"{path} had to go before"
        _send_file(board, part, data, track(f"copying {path}", len(data)))
        if boards.checksum(board, part) != (len(data), zlib.crc32(data)):
            raise ValueError(f"{part}: what the board reads back is not what was sent")
        check(part)
        board.exec(f"import os\nos.rename({part!r}, {path!r})\ngetattr(os, 'sync', int)()")
    except LinkLost as e:
        raise LinkLost(f"{e}; {kept}, start again") from e
    except BaseException as e:  # Ctrl-C, too
        with suppress(LinkLost, RemoteError, RemoteTimeout):
            _remove(board, part)
        why = _os_error(e) if isinstance(e, Exception) else None
        if why:
            raise ValueError(f"{path}: {why}; {kept}") from e
        raise


def _remove(board: Board, path: str) -> None:
    board.exec(f"import os\ntry:\n    os.remove({path!r})\nexcept OSError:\n    pass")


def _make_room(board: Board, facts: Facts, path: str, size: int, replace: bool) -> bool:
    """ValueError if the file system has no room for `size` bytes more. With `replace` the file at `path` goes first, if
    that makes the room; whether it did."""
    root = max((d for d in facts.disks if path.startswith(d.rstrip("/") + "/")), key=len)
    block = facts.disks[root][1]
    needed = -(-size // block) * block + 2 * block  # and what the file system notes about it
    room, old = ast.literal_eval(board.exec(DISK.format(root=root, path=path)))
    if room >= needed:
        return False
    if not (replace and room + old // block * block >= needed):
        more = "" if replace else "; the old file stays until the new one is there, --replace removes it first"
        raise ValueError(f"{path}: needs {needed:,} B, {root} has {room:,} B free{more}")
    _remove(board, path)
    return True


def _send_file(board: Board, path: str, data: bytes, tick: Callable[[int], None]) -> None:
    with Link(board, WRITE_FILE.format(path=path)) as link:
        step = link.size - 1
        for at in range(0, len(data), step):
            piece = data[at : at + step]
            link.ask(b"\x01" + piece, 60 * PATIENCE)
            tick(len(piece))
        link.ask(b"\x00", 60 * PATIENCE)
