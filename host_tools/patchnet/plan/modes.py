"""Kinds of layers and the modes that they may run in (modpatchnet/FORMAT.md, The plan): a row for each.

The engine has the same rows (modpatchnet/engine/plan), and the tests a third writing of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..format import MAX_FAST_GROUP, MAX_FAST_INPUTS, MAX_KERNEL, MAX_SIDE
from ..format import MODE_COVER as COVER
from ..format import MODE_DIRECT as DIRECT
from ..format import MODE_FAST as FAST
from ..format import MODE_GROUPS as GROUPS
from ..format import MODE_ROLLING as ROLLING
from ..format import MODE_STORED as STORED
from ..format import MODE_SWEEP as SWEEP
from ..format import MODE_WINDOW as WINDOW
from ..net.layers import CASTS, Layer

Choice = tuple[int, int, int]  # a layer's mode, rows and group
# Besides modes fast and sweep, flags of their own in a blob: sums have 24 bits, pixels are read as bytes
NARROW, AS_BYTES = 8, 16
FAST24, SWEEP24, FAST_BYTES, SWEEP_BYTES = FAST | NARROW, SWEEP | NARROW, FAST | AS_BYTES, SWEEP | AS_BYTES
MODE_NAMES = dict(enumerate(("direct", "rolling", "window", "groups", "stored", "fast", "sweep", "cover")))
MODE_NAMES |= {mode | NARROW: f"{MODE_NAMES[mode]}24" for mode in (FAST, SWEEP)}
MODE_NAMES |= {mode | AS_BYTES: f"{MODE_NAMES[mode]} bytes" for mode in (FAST, SWEEP, FAST24, SWEEP24)}
# those of the fast kernels, with arrays in an order of their own
FAST_MODES = (FAST, SWEEP, FAST24, SWEEP24, *(mode | AS_BYTES for mode in (FAST, SWEEP, FAST24, SWEEP24)))
FAST_SHIFT = 8  # the largest of the shifts of their expanded and depthwise sums: pixels stay within 16 bits


def fast_order(layer: Layer) -> bool:
    """Whether a layer has a shape for which there is the order of these modes' arrays."""
    kernel = layer.square in ((3, 5, 7) if layer.expand else (3,)) and layer.sh <= 2
    bottleneck = layer.kind == "bottleneck" and layer.act != "none" and kernel and layer.value_bytes == 1
    return bottleneck and layer.cexp % 4 == 0 and layer.cout % 2 == 0


def fast_shape(layer: Layer) -> bool:
    """Whether a layer has the shape for these modes; its integers decide the rest, see `order.fast_fault`."""
    return fast_order(layer) and not (layer.expand and layer.cin > MAX_FAST_INPUTS)


def fast_group(layer: Layer, group: int) -> bool:
    """Whether so many channels may be a group in these modes."""
    return group == layer.cexp or (group % 4 == 0 and 4 <= group <= min(layer.cexp, MAX_FAST_GROUP))


def paired_shape(layer: Layer, mode: int, group: int) -> bool:
    """Whether a layer in this mode has the shape for weights of two outputs in one number (FORMAT.md, Weights in
    pairs); its integers decide the rest, see `order.paired`."""
    if layer.value_bytes > 1:
        return False
    if layer.kind == "block":
        return min(layer.cexp, layer.cout) > 1
    whole = mode != GROUPS or layer.cout % 2 == group % 2 == 0
    return layer.kind == "conv" and mode != COVER and layer.cout > 1 and whole


NOT_FAST, FULL_SUMS, NARROW_SUMS = range(3)  # whether a layer may run in them, and with sums of 24 bits
# Expanded channels that 24 bits are enough for as far as a shape tells: a projection's weights would have to be more
# than 42 on an average. What is packed is looked at (`order.fast_layers`).
NARROW_CHANNELS = 768


def fast_sums(layer: Layer) -> int:
    """What a layer may that has the shape for these modes."""
    return NARROW_SUMS if layer.cexp <= NARROW_CHANNELS else FULL_SUMS


def plain(mode: int) -> int:
    """The mode without what goes besides it."""
    return mode & ~(NARROW | AS_BYTES)


def sweeps(mode: int) -> bool:
    return plain(mode) == SWEEP


def as_bytes(mode: int) -> bool:
    """Whether pixels are read as bytes."""
    return mode & AS_BYTES > 0


def eight(layer: Layer, mode: int = FAST) -> bool:
    """Whether the weights of the expansion are kept in registers, which makes a difference to its lines."""
    return layer.expand and layer.cin == 8 and layer.square == 3 and not as_bytes(mode)


def fours(channels: int) -> int:
    """Input channels with those that are added to make fours."""
    return -(-channels // 4) * 4


# ---------------------------------------------------------------- the table


@dataclass(frozen=True)
class Where:
    """Where a layer stands. `first`: it reads the picture. `alone`: it is all of an unstripped segment that feeds the
    pooling. `columns`: its lines are the columns of strips."""

    first: bool
    alone: bool
    columns: bool


@dataclass(frozen=True)
class Row:
    """What a layer of some kind does in some mode. `may`: whether it has the shape, and the place, for it.

    `chunks`: it makes several lines at a time; `takes_lines`: it brings each input line into memory of its own once,
    and only the residual is read again; `fast`: its arrays lie in the order of the fast kernels.
    `group`: what the number of that name counts: "channels" (expanded ones, a convolution's outputs), "pixels" of a
    line, or "" for none (0). `multiple`: of which it is one.
    """

    may: Callable[[Layer, Where], bool]
    chunks: bool = False
    takes_lines: bool = False
    fast: bool = False
    group: str = ""
    multiple: int = 1

    def group_range(self, layer: Layer) -> tuple[int, int]:
        """The least and the largest group."""
        if self.group == "channels":
            return 1, layer.cexp if layer.kind == "bottleneck" else layer.cout
        return 0, MAX_SIDE if self.group == "pixels" and layer.value_bytes == 1 else 0


def _small(layer: Layer, where: Where) -> bool:
    """Whether the kernel's lines are few enough to be read at once."""
    return max(layer.kh, layer.kw) <= MAX_KERNEL


def _expands(layer: Layer, where: Where) -> bool:
    return layer.expand


def _stores(layer: Layer, where: Where) -> bool:
    return layer.expand and layer.value_bytes == 1


def _windows(layer: Layer, where: Where) -> bool:
    return where.first and _small(layer, where) and layer.value_bytes == 1


def _covers(layer: Layer, where: Where) -> bool:
    return layer.covers and not where.columns


def _fast(layer: Layer, where: Where) -> bool:
    return fast_shape(layer)


def _fast_expands(layer: Layer, where: Where) -> bool:
    return fast_shape(layer) and layer.expand


def _in_fours(layer: Layer, where: Where) -> bool:
    return _fast_expands(layer, where) and layer.cin % 4 == 0


ROWS: dict[tuple[str, int], Row] = {
    ("conv", DIRECT): Row(_small, group="pixels", multiple=2),
    ("conv", WINDOW): Row(_windows, group="pixels", multiple=2),
    ("conv", GROUPS): Row(
        lambda layer, where: where.alone and not where.first and _small(layer, where), group="channels"
    ),
    ("conv", COVER): Row(_covers, takes_lines=True),
    ("bottleneck", DIRECT): Row(lambda layer, where: not layer.expand),
    ("bottleneck", ROLLING): Row(_expands, takes_lines=True),
    ("bottleneck", GROUPS): Row(_expands, chunks=True, group="channels"),
    ("bottleneck", STORED): Row(_stores, chunks=True, group="channels"),
    **{
        ("bottleneck", mode | sums): Row(may, not takes, takes, fast=True, group="channels", multiple=4)
        for mode, may, takes in (
            (FAST, _fast, True),
            (SWEEP, _fast_expands, False),
            (FAST_BYTES, _in_fours, True),
            (SWEEP_BYTES, _in_fours, False),
        )
        for sums in (0, NARROW)
    },
    ("block", ROLLING): Row(_small, takes_lines=True),
    ("maxpool", DIRECT): Row(_small),
    ("maxpool", COVER): Row(_covers, takes_lines=True),
    ("meanpool", DIRECT): Row(_small),
    ("meanpool", COVER): Row(_covers, takes_lines=True),
    **{(kind, DIRECT): Row(_small) for kind in CASTS},
}


def row(layer: Layer, mode: int) -> Row:
    return ROWS[layer.kind, mode]


def modes(layer: Layer, first: bool, alone: bool, columns: bool = False) -> tuple[int, ...]:
    """Modes that a layer may run in; the arguments are those of `Where`. None in strips for a large kernel."""
    where = Where(first, alone, columns)
    return tuple(mode for (kind, mode), row in ROWS.items() if kind == layer.kind and row.may(layer, where))


def takes_lines(layer: Layer, mode: int) -> bool:
    """Whether a layer brings each input line into its own memory once; only what is added is read again."""
    return row(layer, mode).takes_lines and (layer.kind != "bottleneck" or layer.expand)


def fast_modes(layer: Layer) -> tuple[int, ...]:
    """Which of FAST_MODES the layer's shape has, those with sums of 24 bits left out."""
    return tuple(mode for mode in modes(layer, False, False) if mode in FAST_MODES and not mode & NARROW)
