"""Modelled cycles of a network's layers on a Cortex-M7: QEMU counts how often each block of the engine's code runs in
each layer (ports/qemu/blocks.c), and `pipeline` models how long a block takes.

What is between two steps of the engine, in MicroPython and the binding, is left out, and so is what is called outside
of the engine, as to copy memory.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ..board.remote import FIRMWARE, PATIENCE, ROM_ADDRESS, ROM_SIZE, Board, check_built
from ..engine.model import Model

if TYPE_CHECKING:
    from .pipeline import Instruction

PLUGIN = "blocks.so"  # beside the firmware
MOST_LAYERS = 64  # numbers that the plugin counts by, for each network
ENGINE = "pn_"  # what the names of the engine's functions and source files begin with
STEP, OPEN = "pn_step", "pn_open_begin"
LINE = 32  # bytes of the data cache's lines


@dataclass(frozen=True)
class Cycles:
    """Of a layer, or several: instructions of the engine, the least and most cycles that they are modelled to take, and
    bytes that are read of flash behind a data cache."""

    instructions: int = 0
    least: int = 0
    most: int = 0
    read: int = 0

    def __add__(self, other: Cycles) -> Cycles:
        return Cycles(
            self.instructions + other.instructions, self.least + other.least, self.most + other.most,
            self.read + other.read,
        )  # fmt: skip


class Firmware:
    """Code of a firmware, by address."""

    def __init__(self, path: Path):
        """FileNotFoundError without it, ImportError without pyelftools."""
        from elftools.elf.elffile import ELFFile  # imported here: only this needs it
        from elftools.elf.sections import SymbolTableSection  # imported here: the same

        with path.open("rb") as file:
            elf = ELFFile(file)
            text, table = (elf.get_section_by_name(name) for name in (".text", ".symtab"))
            if text is None or not isinstance(table, SymbolTableSection):
                raise ValueError(f"{path}: wanted a program with its symbols")
            self.start, self.code = text["sh_addr"], text.data()
            source, self.functions = "", []
            for s in table.iter_symbols():  # those of a source file behind its name, then those that others know
                kind, where = s["st_info"]["type"], s["st_info"]["bind"]
                source = s.name if kind == "STT_FILE" else source
                if kind == "STT_FUNC":
                    own = s.name if where != "STB_LOCAL" else source
                    self.functions.append((s["st_value"] & ~1, own.startswith(ENGINE), s.name))
            self.functions.sort()

    def address(self, name: str) -> int:
        return next(at for at, _, own in self.functions if own == name)

    def of_engine(self, address: int) -> bool:
        """Whether a function of the engine lies there."""
        return self.functions[bisect_right(self.functions, (address, True, "\x7f")) - 1][1]

    @cache  # noqa: B019, one firmware lives as long as its blocks are asked for
    def disassembled(self, address: int, instructions: int) -> list[Instruction]:
        """ImportError without capstone."""
        from . import pipeline  # imported here: a wheel's user need not have what disassembles

        at = address - self.start
        # an instruction has four bytes at most
        return pipeline.disassembled(self.code[at : at + 4 * instructions], address, instructions)

    @cache  # noqa: B019, the same
    def cycles(self, *blocks: tuple[int, int]) -> tuple[int, int]:
        """Least and most cycles of blocks that follow each other, (address, instructions) each."""
        from . import pipeline  # imported here: the same

        return pipeline.modelled(chain.from_iterable(self.disassembled(*block) for block in blocks))

    def block(self, address: int, instructions: int, known: Mapping[int, int]) -> tuple[int, int]:
        """Least and most cycles of a block. One that QEMU ends without a jump, as at the end of a page of 1 KB, goes on
        in the next one of the `known`, instructions by address: what both take together but for that one's."""
        blocks = [(address, instructions)]
        while not (code := self.disassembled(*blocks[-1]))[-1].jumps:
            address = blocks[-1][0] + sum(one.bytes for one in code)
            if address not in known:
                break
            blocks.append((address, known[address]))
        least, most = self.cycles(*blocks)
        without = self.cycles(*blocks[1:]) if len(blocks) > 1 else (0, 0)
        return least - without[0], most - without[1]


def counted(blocks: str, firmware: Firmware, steps: int) -> dict[int, Cycles]:
    """What the plugin wrote, as cycles of each number. RuntimeError if the engine did not take so many steps."""
    head, *lines = blocks.splitlines()
    if int(head.split()[1]) != steps:
        raise RuntimeError(f"the emulated board took {head.split()[1]} steps, wanted {steps}")
    words = [line.split() for line in lines]
    out = {int(number): Cycles(read=LINE * int(count)) for name, number, count, *_ in words if name == "read"}
    rows = [(int(start, 16), *map(int, own)) for start, *own in words if start != "read"]
    known = {address: instructions for address, instructions, *_ in rows}
    for address, instructions, number, count in rows:
        if firmware.of_engine(address):
            least, most = firmware.block(address, instructions, known)
            own = Cycles(count * instructions, count * least, count * most)
            out[number] = out.get(number, Cycles()) + own
    return out


# for the board: what a network reads, pictures cut from the file "picture"
FRAME = """
import patchnet
def frame(m, width, height):
    h, w, channels = m.input_shape
    if m.task == "audio" or channels not in (1, 3):  # no picture; docs/audio.md has the front-end of sounds
        return bytes(h * w * channels)
    with open("picture", "rb") as f:
        return patchnet.Image(width, height, patchnet.RGB565, f.read(width * height * 2))
"""
_RUN = (
    FRAME
    + """
with patchnet.Model("{name}") as m:
    m.predict(frame(m, m.input_shape[1], m.input_shape[0]))
"""
)


def measured(blobs: Sequence[bytes], picture: bytes, path: Path = FIRMWARE) -> list[list[Cycles]]:
    """Of each network the cycles of each layer, all tunnels together, then of what follows them. They read pictures of
    their own size, in RGB565 and cut from `picture`. FileNotFoundError without firmware and plugin (`make qemu`)."""
    plugin = path.parent / PLUGIN
    for needed in (path, plugin):
        check_built(needed, "qemu")
    firmware = Firmware(path)
    steps = [Model(blob)._steps() for blob in blobs]
    numbers = [MOST_LAYERS * i + layer for i, own in enumerate(steps) for layer in own]
    with tempfile.TemporaryDirectory() as folder:
        files, out, order = (Path(folder) / name for name in ("files", "blocks", "steps"))
        files.mkdir()
        (files / "picture").write_bytes(picture)
        for i, blob in enumerate(blobs):
            (files / f"{i}.pnb").write_bytes(blob)
        order.write_bytes(b"".join(n.to_bytes(2, "little") for n in numbers))
        marks = (
            f"step={firmware.address(STEP):#x},stop={firmware.address(OPEN):#x},flash={ROM_ADDRESS:#x},bytes={ROM_SIZE}"
        )
        own = f"{plugin},{marks},steps={order},out={out}"
        with Board.qemu(files, path, more=("-plugin", own)) as board:
            for i in range(len(blobs)):
                board.exec(_RUN.format(name=f"{i}.pnb"), 600 * PATIENCE)
        found = counted(out.read_text(), firmware, len(numbers))
    return [
        [found.get(MOST_LAYERS * i + layer, Cycles()) for layer in range(max(own) + 1)] for i, own in enumerate(steps)
    ]
