"""Networks for what a user has: bytes of RAM and of flash, milliseconds a picture.

All begin with the layers of EfficientNet-Lite0 that come with patchnet (models/lite0.npz), cut where flash ends, over
a picture as large as RAM and time allow, whole or in four overlapping patches. Budgets are those that hold in the end:
the arena of a plan, the bytes of a blob, the instructions that the planner predicts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from ..blob.pack import pack
from ..blob.random import random_qnet
from ..net.network import Network
from ..net.recipe import PatchTunnels
from ..net.trunk import BLOCKS, MEAN, STD, STEM, cut
from ..plan import choice, costs
from ..plan.place import Plan

SIZES = (224, 192, 160, 144, 128, 112, 96, 80, 64, 48, 32)
FEWEST_BLOCKS = 3
HEADS = (256, 192, 160, 128, 96, 64)
SLOW = 1.6  # instructions per multiply-accumulate: plans beyond save memory by working several times as long
ENLARGED = 1.25  # a network's picture may be that much larger than what most pictures are


@dataclass(frozen=True)
class Wanted:
    """`ram`, `flash`: bytes (flash None: as it comes). `ms`: a picture at `clock` Hz, an instruction a cycle."""

    ram: int
    flash: int | None = None
    ms: float | None = None
    clock: int = 480_000_000

    def instructions(self) -> float | None:
        return None if self.ms is None else self.ms * self.clock / 1000


@dataclass(frozen=True)
class Candidate:
    """What a network would need: bytes of arena and flash, instructions of a picture by its plan."""

    recipe: PatchTunnels
    blocks: int
    arena: int
    flash: int
    macs: int
    instructions: float

    def ms(self, clock: int) -> float:
        return 1000 * self.instructions / clock


def recipe(name: str, labels: tuple[str, ...], size: int, patches: int, blocks: int, head: int) -> PatchTunnels:
    """A trunk of `blocks` over a picture of size x size in that many patches, and a 1x1 convolution of `head`."""
    margin = size // 12 if patches > 1 else 0
    return PatchTunnels(
        name, labels, size, size, 3, patches, False, margin, margin, STEM, stages=cut(blocks), head=head, mean=MEAN,
        std=STD,
    )  # fmt: skip


def candidates(
    name: str, labels: tuple[str, ...], side: int, wanted: Wanted, tick: Callable[[int], None] = lambda _done: None
) -> list[Candidate]:
    """Those that keep to `wanted`, at most four, that with the most work first, which is the one to take. `side`: the
    shorter side of most pictures. ValueError tells which budget is in the way."""
    found: list[Candidate] = []
    for blocks, head in depths(name, labels, wanted.flash):
        for patches in (1, 4):
            best = largest(name, labels, side, wanted, patches, blocks, head)
            tick(1)
            if best:
                found.append(best)
    if not found:
        limit = f", {wanted.ms:g} ms at {wanted.clock / 1e6:g} MHz" if wanted.ms else ""
        raise ValueError(f"{name}: no network of this kind keeps to {wanted.ram:,} B of RAM{limit}")
    return sorted(found, key=lambda c: c.macs, reverse=True)[:4]


def depths(name: str, labels: tuple[str, ...], flash: int | None) -> list[tuple[int, int]]:
    """(blocks, head): the three deepest trunks of which a blob fits, each with the largest head that does."""
    out = []
    for blocks in range(BLOCKS, FEWEST_BLOCKS - 1, -1):
        fits = (head for head in HEADS if flash is None or fits_flash(name, labels, blocks, head, flash))
        if head := next(fits, 0):
            out.append((blocks, head))
        if len(out) == 3:
            break
    if not out:
        least = blob_bytes(name, labels, FEWEST_BLOCKS, HEADS[-1])
        raise ValueError(f"{name}: needs {least:,} B of flash at least, wanted at most {flash:,} B")
    return out


def fits_flash(name: str, labels: tuple[str, ...], blocks: int, head: int, flash: int) -> bool:
    """Its weights alone tell of most that they do not."""
    network = recipe(name, labels, 64, 1, blocks, head).network()
    return network.weights <= flash and blob_bytes(name, labels, blocks, head) <= flash


@lru_cache
def blob_bytes(name: str, labels: tuple[str, ...], blocks: int, head: int) -> int:
    """Flash of such a network; its picture's size and plan make a difference of a few bytes, which is added."""
    network = recipe(name, labels, 64, 4, blocks, head).network()
    return len(pack(random_qnet(network), choice.fastest(network))) + 64


def largest(
    name: str, labels: tuple[str, ...], side: int, wanted: Wanted, patches: int, blocks: int, head: int
) -> Candidate | None:
    """The one with the largest picture that keeps to RAM and time."""
    most = wanted.instructions()
    for size in SIZES:
        if size > ENLARGED * side and size > SIZES[-1]:
            continue
        one = recipe(name, labels, size, patches, blocks, head)
        network = one.network()
        plan = planned(network, wanted.ram)
        if plan is None:
            continue
        instructions = costs.predicted(network, plan)
        if most is None or instructions <= most:
            flash = blob_bytes(name, labels, blocks, head)
            return Candidate(one, blocks, plan.arena_bytes, flash, network.macs, instructions)
    return None


def planned(network: Network, ram: int) -> Plan | None:
    """The quickest plan within `ram` bytes of arena, if there is one that is not SLOW."""
    try:
        plan = choice.plan(network, ram)
    except ValueError:
        return None
    return plan if costs.predicted(network, plan) <= SLOW * network.macs else None
