"""Where a run gets its weights from, if they are not at hand in every cycle: a file, or a memory behind a cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..net.layers import Layer
from ..net.network import Network
from . import streaming
from .float32 import is_float32
from .lines import Passes, View
from .modes import COVER, FAST_MODES, GROUPS, STORED, Choice, row, sweeps
from .place import Plan, going
from .sizes import block_windows, conv_pixels


class Source(Protocol):
    """`read`: cycles that a byte of it costs."""

    @property
    def read(self) -> float: ...

    def fits(self, layer: Layer, step: Choice) -> bool:
        """Whether a layer may run so."""

    def together(self, arrays: int) -> bool:
        """Whether layers that have so many bytes of weights may run as one segment."""

    def parted(self, layer: Layer, step: Choice) -> bool:
        """Whether a larger group costs more reading."""

    def layer_reads(self, view: View, passes: Passes, step: Choice, others: int) -> int:
        """Bytes that a chain reads for a layer. `others`: arrays of the layers that follow in its segment."""

    def reads(self, network: Network, plan: Plan) -> int:
        """Bytes that a picture reads."""


@dataclass(frozen=True)
class Stream:
    """A file, through a `buffer` of so many bytes (FORMAT.md, Streaming)."""

    buffer: int
    read: float = 100  # some 5 MB a second at 480 MHz

    def fits(self, layer: Layer, step: Choice) -> bool:
        return streaming.part_bytes(layer, step) <= self.buffer

    def together(self, arrays: int) -> bool:
        """If all fit into the buffer, so that they are read once."""
        return arrays <= self.buffer

    def parted(self, layer: Layer, step: Choice) -> bool:
        mode = step[0]
        return (mode in FAST_MODES or mode == GROUPS) and streaming.layer_bytes(layer, mode) > self.buffer

    def layer_reads(self, view: View, passes: Passes, step: Choice, others: int) -> int:
        return streaming.read_bytes(view, passes, step, self.buffer)

    def reads(self, network: Network, plan: Plan) -> int:
        read = streaming.reads(network, plan, self.buffer)
        assert read is not None  # a search finds no segments that do not fit into the buffer
        return read


def _in_turn(layer: Layer, step: Choice) -> int:
    """Bytes of weights that are used in turn, before the next ones are: of a convolution in groups a group's."""
    whole = streaming.layer_bytes(layer, step[0])
    return whole * step[2] // layer.cout if layer.kind == "conv" and step[0] == GROUPS else whole


@dataclass(frozen=True)
class Flash:
    """A memory behind a data cache of `cache` bytes in `ways` ways, an STM32H7's unless said. Nothing else lies in the
    cache, as where the arena is in tightly coupled memory, and its least recently used line goes. Arrays are used in
    turn, so those that fit together are read once, and of others all that shares its lines with too many."""

    read: float
    cache: int = 16384
    ways: int = 4

    def fits(self, layer: Layer, step: Choice) -> bool:
        return True

    def together(self, arrays: int) -> bool:
        return True

    def parted(self, layer: Layer, step: Choice) -> bool:
        """A group's weights are used for each line of a chunk, one line after the other."""
        return (sweeps(step[0]) or step[0] in (GROUPS, STORED)) and streaming.layer_bytes(layer, step[0]) > self.cache

    def layer_reads(self, view: View, passes: Passes, step: Choice, others: int) -> int:
        whole = streaming.layer_bytes(view.layer, step[0])
        if view.layer.kind == "block" and not is_float32(view.layer):
            return self._block_reads(view, passes, step, whole + others)
        again = self._crowded(_in_turn(view.layer, step) + others) * (self._times(view, passes, step) - 1)
        return round(whole * (1 + again))

    def _block_reads(self, view: View, passes: Passes, step: Choice, together: int) -> int:
        """Each of its convolutions goes through a line, a few pixels at a time, before the next one does."""
        lines, total, pixels = passes.made * view.strips, 0.0, (view.n_mid, view.n_out, view.n_out)
        for own, (_, at_once), n in zip(
            streaming.block_bytes(view.layer, step[0]), block_windows(view), pixels, strict=False
        ):
            more = lines * (-(-n // at_once) - 1)
            total += own * (1 + self._crowded(together) * (lines - 1) + self._crowded(own) * more)
        return round(total)

    def _crowded(self, together: int) -> float:
        """The part of so many bytes that share their lines of the cache with more others than there are ways."""
        deep = together * self.ways / self.cache
        if deep <= self.ways:
            return 0
        return min(1, (deep - self.ways) * (self.ways + 1) / deep)

    def _times(self, view: View, passes: Passes, step: Choice) -> float:
        """How often a layer's arrays are gone through. Lines that are taken in beforehand need the expansion's."""
        layer, (mode, _, group) = view.layer, step
        its = row(layer, mode)
        if its.chunks and streaming.layer_bytes(layer, mode) * group // layer.cexp <= self.cache:
            return passes.chunks * view.strips
        if its.fast:
            ahead = min(view.lines.ahead, view.lines.lines_in)
            if sweeps(mode):
                ahead = max(ahead, passes.read - passes.made * layer.sh)
            return (passes.made + streaming.expand_share(layer) * ahead) * view.strips
        if layer.kind == "conv" and mode != COVER:
            return passes.made * view.strips * -(-view.n_out // conv_pixels(view, step))
        return 1 if mode == COVER else passes.made * view.strips

    def reads(self, network: Network, plan: Plan) -> int:
        n, total = len(network.layers()), streaming.end_bytes(network)
        for segment, ways in going(network, plan):
            own = [streaming.layer_bytes(view.layer, step[0]) for view, _, step in ways]
            total += (network.tunnels if segment.first < n else 1) * sum(
                self.layer_reads(*way, sum(own) - its) for way, its in zip(ways, own, strict=True)
            )
        return total
