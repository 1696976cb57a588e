"""What a board says of itself, and what there is room for on it."""

from __future__ import annotations

import ast
import struct
import zlib
from dataclasses import asdict, dataclass, replace  # noqa: F401

from .. import format
from .remote import PATIENCE, Board, LinkLost, Port, RemoteError, RemoteTimeout, ports

MPY_VERSION, MPY_SUBVERSION = 6, 3
MPY_ARCHS = {1: "x86", 2: "x64", 3: "armv6", 4: "armv6m", 5: "armv7m", 6: "armv7em", 7: "armv7emsp", 8: "armv7emdp"}

WHOLE = zlib.crc32(bytes(4))  # CRC-32 of what ends with its own CRC-32, as a patchnet.mpy does (ports/natmod/seal)
HEADER = struct.pack("<4sHH", format.MAGIC, format.VERSION, format.HEADER.size).ljust(format.HEADER.size, b"\0")

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
"""
# `file` is the patchnet.mpy that `import` would take, "" if it takes none. MicroPython's loader never returns from one
# that is cut off: only what is whole is imported. `patchnet` is its folder, "" for one in the firmware, None for none.
# Of a header alone a patchnet for networks of this version misses the rest.
ASK = """
import gc, os, sys
def module():
    for folder in sys.path:
        if folder == ".frozen":
            try:
                import _patchnet
                return ""
            except ImportError:
                continue
        for name in ("patchnet", "patchnet.py", "patchnet.mpy"):
            path = (folder or os.getcwd()).rstrip("/") + "/" + name
            try:
                os.stat(path)
                return path if name[-4:] == ".mpy" else ""
            except OSError:
                pass
    return ""
def look(facts):
    path = facts["file"]
    if path:
        size, crc = checksum(path)
        if crc != {whole}:
            return " is cut off, damaged or out of date" if size else " is empty"
        with open(path, "rb") as f:
            facts["head"] = f.read(4)
    try:
        import patchnet
        file = getattr(patchnet, "__file__", "")
        facts["patchnet"] = file.rsplit("/", 1)[0] or "/" if file[:1] == "/" else ""
        patchnet.Model(bytearray({header}))
    except ImportError as e:
        return ": " + str(e) if path else ""
    except Exception as e:
        if "bad model" not in str(e):
            return ": " + str(e)
        return " is for networks of another version" if "version" in str(e) else ""
def ask():
    i = sys.implementation
    facts = {{"name": i.name, "version": ".".join(str(n) for n in i.version[:3]), "platform": sys.platform,
        "machine": getattr(i, "_machine", sys.platform), "mpy": getattr(i, "_mpy", 0), "patchnet": None,
        "file": module(), "head": b""}}
    facts["error"] = look(facts)
    gc.collect()
    facts["free"] = gc.mem_free()
    disks = {{}}
    for name in [""] + os.listdir("/"):
        try:
            s = os.statvfs("/" + name)
            disks["/" + name] = s[1] * s[4], s[1]
        except OSError:
            pass
    facts["disks"] = disks
    facts["rom"] = None
    try:
        import vfs
        if vfs.rom_ioctl(1) > 0:
            facts["rom"] = len(vfs.rom_ioctl(2, 0))
    except (ImportError, AttributeError, TypeError):
        pass
    return facts
print(repr(ask()))
"""

# The largest block that the heap still has when it holds all but the last of some sizes; None if it has room for all.
ROOM = """
import gc
def block(n):
    try:
        return bytearray(n)
    except MemoryError:
        return None
def room(sizes):
    gc.collect()
    held = [block(n) for n in sizes]
    if None not in held:
        return
    held[-1] = None
    low, high = 0, sizes[-1]
    while low + 1 < high:
        middle = (low + high) // 2
        gc.collect()
        low, high = (low, middle) if block(middle) is None else (middle, high)
    return low
print(repr(room({})))
"""


@dataclass(frozen=True)
class Facts:
    """A board's answer. `free`: bytes of heap. `disks`: path -> (free bytes, bytes of a block). `rom`: bytes of the
    ROMFS partition. `patchnet`: "" for one in the firmware, else the folder of the .mpy, None if there is none. `file`:
    the patchnet.mpy that `import` finds, "" for none. `error`: what is wrong with either, "" for nothing."""

    name: str
    version: str
    platform: str
    machine: str
    mpy: int
    patchnet: str | None
    file: str
    error: str
    free: int
    disks: dict[str, tuple[int, int]]
    rom: int | None

    @property
    def arch(self) -> str | None:
        """Of the native code that the board loads from .mpy files."""
        return MPY_ARCHS.get(self.mpy >> 10 & 0xF)

    @property
    def no_patchnet(self) -> str:
        """Why networks cannot run there, "" if they can."""
        if self.error:
            return f"{self.machine}: {self.error}"
        return f"{self.machine} has no patchnet" if self.patchnet is None else ""

    @property
    def places(self) -> dict[str, str]:
        """What there is of rom, flash and sd, with the path of each."""
        found = {"rom": "/rom"} if self.rom else {}
        if "/flash" in self.disks:
            found["flash"] = "/flash"
        elif self.disks.get("/", (0, 0))[0]:
            found["flash"] = "/"
        card = next((path for path in ("/sd", "/sdcard") if path in self.disks), None)
        return found | ({"sd": card} if card else {})


def ask(board: Board) -> Facts:
    told = ast.literal_eval(board.exec(CHECKSUM + ASK.format(whole=WHOLE, header=HEADER), 30 * PATIENCE))
    head, error = told.pop("head"), told.pop("error")
    if "incompatible .mpy" in error:
        error += f" (it is for {MPY_ARCHS.get(head[2] >> 2 & 0xF)}, .mpy version {head[1]}.{head[2] & 3})"
    return Facts(**told, error=error and (told["file"] or "the firmware's patchnet") + error)


def checksum(board: Board, path: str) -> tuple[int, int] | None:
    """Bytes and CRC-32 of a file on the board, None if there is none."""
    code = f"{CHECKSUM}try:\n    print(repr(checksum({path!r})))\nexcept OSError:\n    print(None)"
    return ast.literal_eval(board.exec(code, 120 * PATIENCE))


def missing_room(board: Board, needs: dict[str, int]) -> str | None:
    """None if the board's heap gives blocks of all these bytes at once, else a sentence on the first refused."""
    sizes = list(needs.values())
    for i, (what, n) in enumerate(needs.items()):
        largest = ast.literal_eval(board.exec(ROOM.format(sizes[: i + 1])))
        if largest is not None:
            return f"{what}: needs {n:,} B in one piece, the board's heap has {largest:,} B"
    return None


@dataclass(frozen=True)
class Found:
    """A port and what answered there; `trouble` says why nothing did."""

    port: Port
    facts: Facts | None
    trouble: str = ""


def look(port: Port) -> Found:
    """Asks what is behind a port. A program that runs there is stopped."""
    try:
        with Board.serial(port.device, reset=False) as board:
            return Found(port, ask(board))
    except (LinkLost, RemoteError, RemoteTimeout) as e:
        return Found(port, None, " ".join(str(e).split()))


def to_dict(found: Found) -> dict:
    """Plain values for JSON; what is not known is left out."""
    facts = asdict(found.facts) | {"arch": found.facts.arch, "places": found.facts.places} if found.facts else {}
    flat = asdict(found.port) | facts | {"trouble": found.trouble}
    return {key: value for key, value in flat.items() if value not in (None, "") or key == "patchnet"}


def devices(extra: tuple[str, ...] = ()) -> list[Found]:
    """All boards on USB, and those at the ports of `extra`."""
    named = [Port(name, None, None, None) for name in extra]
    return [look(port) for port in named + ports()]
