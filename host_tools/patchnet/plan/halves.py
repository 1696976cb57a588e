"""Which maps to keep in 4 bits, so that a network runs in fewer bytes or, in as many, quicker: peak-memory-aware
quantization ("int4" and "int8" layers around each such map, modpatchnet/FORMAT.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..net.network import Network
from . import choice
from .place import block_name
from .search import Progress, Schedule
from .sizes import map_bytes

FAR = 2  # times the wanted arena, or the smallest one: what plans store that take more is too large for any
ENOUGH = 0.99  # times the cycles with fewer maps of 4 bits: no more are tried where that is not reached
NEAR = 1.05  # times the cycles that most maps of 4 bits would bring: fewer of them, and less is lost


@dataclass(frozen=True)
class Halved:
    """A network with some of its maps in 4 bits.

    `after`: the layers of the original's `run()` behind which they lie, `maps` their names and bytes; `least`: bytes of
    the smallest arena; `cycles` of a picture within the wanted one, None if it does not fit.
    """

    after: tuple[int, ...]
    maps: tuple[tuple[str, int], ...]
    network: Network
    least: int
    cycles: float | None


def options(network: Network, ram: int, progress: Progress | None = None) -> Iterator[Halved]:
    """None in 4 bits, then more and more of the maps that plans of the front store whole, the largest ones first."""
    yield _halved(network, (), ram, progress)
    least, *more = choice.front(network, progress)
    most = FAR * max(ram, least.arena_bytes)
    plans = [least, *(point for point in more if point.arena_bytes <= most)]
    stored = {i for point in plans for i in _stored(point.schedule) if network.may_halve(i)}
    sizes = {i: map_bytes(network.run()[i]) for i in stored}
    before = None
    for size in sorted(set(sizes.values()), reverse=True):
        found = _halved(network, tuple(sorted(i for i in stored if sizes[i] >= size)), ram, progress)
        yield found
        if before is not None and found.cycles is not None and found.cycles > ENOUGH * before:
            return
        before = found.cycles


def _stored(schedule: Schedule) -> Iterator[int]:
    """The last layer of each segment."""
    stop = 0
    for _, steps in schedule:
        stop += len(steps)
        yield stop - 1


def _halved(network: Network, after: tuple[int, ...], ram: int, progress: Progress | None) -> Halved:
    halved, layers = network.halved(after), network.run()
    points = choice.front(halved, progress)
    maps = tuple((block_name(network, i), map_bytes(layers[i])) for i in after)
    fits = [point.cost for point in points if point.arena_bytes <= ram]
    return Halved(after, maps, halved, points[0].arena_bytes, fits[-1] if fits else None)


def chosen(network: Network, ram: int, progress: Progress | None = None) -> tuple[Halved, Halved]:
    """The network as it is, and with the fewest maps of 4 bits with which it fits into `ram` bytes and takes nearly as
    few cycles as with more. ValueError if it never fits."""
    found = list(options(network, ram, progress))
    costs = [one.cycles for one in found if one.cycles is not None]
    if not costs:
        least = min(found, key=lambda one: one.least)
        raise ValueError(
            f"{network.name}: needs {least.least:,} B at least (maps of 4 bits: {len(least.maps)}), ram {ram:,} B"
        )
    return found[0], next(one for one in found if one.cycles is not None and one.cycles <= NEAR * min(costs))
