"""Networks for what a user has: bytes of RAM and of flash, milliseconds a picture.

Budgets are those that hold in the end: the arena of a plan, the bytes of a blob, the cycles that the planner
predicts. Which networks there may be the task's room knows (`tasks.making`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from typing import Any

from .. import rooms
from ..blob.pack import pack
from ..blob.random import random_qnet
from ..data.look import Looked
from ..net import trunk
from ..net.network import Network
from ..net.recipe import PatchTunnels
from ..net.toml import recipe_to_dict
from ..plan import choice, costs
from ..plan.place import Plan
from ..plan.sources import Flash
from ..tasks.making import Making

SLOW = 1.6  # cycles per multiply-accumulate: plans beyond save memory by working several times as long
FEWEST = 0.7  # cycles per multiply-accumulate: no plan has less, so that many need not be made
DEPTHS = 3  # networks of so many, the deepest that fit, are weighed
SHOWN = 4
TASKS = {"pictures": "classify", "boxes": "detect", "sounds": "audio"}  # what such data are for
BOTH = ("boxes", "classify")  # and may be for


@dataclass(frozen=True)
class Wanted:
    """At most so much; None: as it comes. `ram`, `flash`: bytes. `ms`: a picture at `clock` Hz.
    `macs`: multiply-accumulates. `source`: the flash of a board, reading which takes time."""

    ram: int | None = None
    flash: int | None = None
    ms: float | None = None
    clock: int = costs.CLOCK
    macs: int | None = None
    source: Flash | None = None

    def cycles(self) -> float | None:
        return None if self.ms is None else self.ms * self.clock / 1000

    def reading(self, network: Network, plan: Plan) -> float:
        """Cycles that reading takes, for a picture."""
        return self.source.read * self.source.reads(network, plan) if self.source else 0

    def allow(self, flash: int, cycles: float) -> bool:
        """A network with so many bytes of blob and cycles a picture."""
        most = self.cycles()
        return (self.flash is None or flash <= self.flash) and (most is None or cycles <= most)

    def limits(self) -> str:
        """They, told."""
        told = (
            "" if self.ram is None else f"{self.ram:,} B of RAM",
            "" if self.flash is None else f"{self.flash:,} B of flash",
            "" if self.ms is None else f"{self.ms:g} ms at {self.clock / 1e6:g} MHz",
            "" if self.macs is None else f"{self.macs:,} multiply-accumulates",
        )
        return ", ".join(filter(None, told))


@dataclass(frozen=True)
class Candidate:
    """What a network would need: bytes of arena and flash, cycles of a picture by its plan. `worth`: the
    multiply-accumulates that it would be without what patches do twice."""

    recipe: PatchTunnels
    depth: int
    arena: int
    flash: int
    macs: int
    cycles: float
    worth: int

    def ms(self, clock: int) -> float:
        return 1000 * self.cycles / clock


def making_for(name: str, seen: Looked, task: str | None = None) -> Making:
    """The networks for a data set, and a task if it is not what such data are for. ValueError if it cannot be."""
    usual = TASKS[seen.kind]
    if task not in (None, usual) and (seen.kind, task) != BOTH:
        raise ValueError(f"{seen.where[0]}: has {seen.kind}, which are for task {usual}, not {task}")
    making: Making = rooms.part(task or usual, "making").making(name, seen)
    return making


def rounds(making: Making) -> int:
    """How many times `candidates` ticks at most."""
    return len(making.depths) * len(making.patches)


def candidates(making: Making, wanted: Wanted, tick: Callable[[int], None] = lambda _done: None) -> list[Candidate]:
    """Those that keep to `wanted`, at most SHOWN, the one to take first: that of the most worth, of the same worth the
    quickest. ValueError tells which budget is in the way."""
    found: list[Candidate] = []
    left = rounds(making)
    fitting = depths(making, wanted.flash)
    for depth, heads in fitting if hopeful(making, wanted) else ():
        for patches in making.patches:
            every = (largest(making, wanted, patches, depth, head) for head in heads)
            best = next(filter(None, every), None)
            tick(1)
            left -= 1
            if best:
                found.append(best)
        if len({c.depth for c in found}) == DEPTHS:
            break
    tick(left)
    if not found:
        raise ValueError(f"{making.name}: no network of this kind keeps to {wanted.limits()}; {least(making, wanted)}")
    return sorted(found, key=lambda c: (-c.worth, c.cycles))[:SHOWN]


def listed(making: Making, found: list[Candidate], clock: int) -> list[str]:
    """The networks that were weighed, a line each."""
    return [
        f"  {i}. {making.described(c.recipe, c.depth)}: RAM {c.arena:,} B, flash {c.flash:,} B, "
        f"{c.macs / 1e6:.1f} M MACs, {c.ms(clock):.0f} ms at {clock / 1e6:g} MHz"
        for i, c in enumerate(found, 1)
    ]


def training_of(making: Making, recipe: PatchTunnels, begin: str = trunk.NAME) -> dict[str, Any]:
    """What a training of that network is, but for its data, name and length."""
    init = begin if making.pretrained else ""
    return {"init": init, **making.settings(recipe, bool(init)), "network": recipe_to_dict(recipe)}


def smallest(making: Making, depth: int) -> Iterator[Network]:
    """Those of the smallest picture, in all patches, with the narrowest and the widest head."""
    for head, patches in product((making.heads[-1], making.heads[0]), making.patches):
        with suppress(ValueError):  # patches that do not go together
            yield making.recipe(making.sizes[-1], patches, depth, head).network()


def hopeful(making: Making, wanted: Wanted) -> bool:
    """Whether larger networks need be tried: first by those of least depth, whose plans may be twice as slow, because
    in deeper ones layers that are not slow weigh more; then by the others."""
    first = smallest(making, making.depths[-1])
    if not any(may_keep(network, wanted, 2 * SLOW) for network in first):
        return False
    return any(may_keep(n, wanted, SLOW) for depth in reversed(making.depths) for n in smallest(making, depth))


def may_keep(network: Network, wanted: Wanted, slow: float) -> bool:
    """Whether it does by a plan that is at most that slow, whatever its flash is. A tiny network is slow at best."""
    if wanted.macs is not None and network.macs > wanted.macs:
        return False
    try:
        plan = choice.plan(network, wanted.ram, source=wanted.source)
    except ValueError:
        return False
    cost = costs.predicted(network, plan)
    usual = max(network.macs, costs.predicted(network, choice.fastest(network)))
    return cost <= slow * usual and wanted.allow(0, cost + wanted.reading(network, plan))


def least(making: Making, wanted: Wanted) -> str:
    """What the smallest of them needs."""
    networks = list(smallest(making, making.depths[-1]))
    fronts = [(n, choice.front(n, source=wanted.source)) for n in networks]
    points = [p for n, front in fronts for p in front if p.cost - p.reading <= SLOW * n.macs]
    points = points or [front[-1] for _, front in fronts]
    little, quick = min(points, key=lambda p: p.arena_bytes), min(points, key=lambda p: p.cost)
    needs = [f"{p.arena_bytes:,} B at {1000 * p.cost / wanted.clock:.1f} ms" for p in (little, quick)]
    macs = min(network.macs for network in networks)
    return f"the smallest needs {' to '.join(dict.fromkeys(needs))}, and has {macs:,} multiply-accumulates"


def depths(making: Making, flash: int | None) -> list[tuple[int, tuple[int, ...]]]:
    """(depth, heads): those of which a blob fits, the deepest and the widest first."""
    out = []
    for depth in making.depths:
        heads = tuple(making.heads)
        while heads and flash is not None and not fits_flash(making, depth, heads[0], flash):
            heads = heads[1:]
        if heads:
            out.append((depth, heads))
    if not out:
        least = blob_bytes(small(making, making.depths[-1], making.heads[-1]))
        raise ValueError(f"{making.name}: needs {least:,} B of flash at least, wanted at most {flash:,} B")
    return out


def small(making: Making, depth: int, head: int) -> Network:
    """The smallest picture's network, in whose place of flash any other's goes but for some bytes."""
    return making.recipe(making.sizes[-1], 1, depth, head).network()


def fits_flash(making: Making, depth: int, head: int, flash: int) -> bool:
    """Its weights alone tell of most that they do not."""
    network = small(making, depth, head)
    return network.weights <= flash and blob_bytes(network) <= flash


@lru_cache
def blob_bytes(network: Network) -> int:
    """Flash of such a network; its picture's size, patches and plan make a difference of some bytes, which are
    added."""
    return len(pack(random_qnet(network), choice.fastest(network))) + 512


def largest(making: Making, wanted: Wanted, patches: int, depth: int, head: int) -> Candidate | None:
    """The one with the largest picture that keeps to RAM and time: where one does, smaller ones do."""
    recipes = []
    for size in filter(making.fits, making.sizes):
        with suppress(ValueError):  # patches that do not go together
            recipe = making.recipe(size, patches, depth, head)
            recipes.append((recipe, recipe.network(), making.recipe(size, 1, depth, head).network().macs))
    flash = blob_bytes(small(making, depth, head))

    @cache
    def keeps(i: int) -> Candidate | None:
        recipe, network, worth = recipes[i]
        plan = None if wanted.macs is not None and network.macs > wanted.macs else planned(network, wanted)
        if plan is None:
            return None
        cycles = costs.predicted(network, plan) + wanted.reading(network, plan)
        if not wanted.allow(flash, cycles):
            return None
        return Candidate(recipe, depth, plan.arena_bytes, flash, network.macs, cycles, worth)

    first = bisect_left(range(len(recipes)), True, key=lambda i: keeps(i) is not None)
    return keeps(first) if first < len(recipes) else None


def planned(network: Network, wanted: Wanted) -> Plan | None:
    """The quickest plan within its bytes of arena, if there is one that is not SLOW."""
    try:
        plan = choice.plan(network, wanted.ram, source=wanted.source)
    except ValueError:
        return None
    return plan if costs.predicted(network, plan) <= SLOW * network.macs else None
