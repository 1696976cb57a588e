"""Bytes of the arena that a segment's layers need: rings, work areas, maps over each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..format import QUAD_BYTES, STATE_BYTES, WIDENED_BYTES
from ..net.layers import PLAIN, Layer, input_bytes
from ..net.network import aligned
from . import float32
from .float32 import is_float32
from .lines import View, axes, chunks, ring_lines, strips
from .modes import (
    COVER,
    DIRECT,
    FAST_MODES,
    GROUPS,
    NARROW,
    ROLLING,
    STORED,
    WINDOW,
    Choice,
    as_bytes,
    eight,
    fours,
    sweeps,
    takes_lines,
)


def map_bytes(layer: Layer) -> int:
    """Output map."""
    return layer.oh * layer.ow * layer.cout * layer.value_bytes


def input_map_bytes(layer: Layer) -> int:
    """Of the map that a layer reads, which is not the network's input."""
    return layer.h * layer.w * layer.cin * layer.value_bytes


Parts = dict[str, int]  # of a work area, by WORK_PARTS
WORK_PARTS = ("sums", "window", "group_ring", "values", "staging")

# Expanded lines begin at a multiple of 8 bytes: what that may cost.
GAP = 4


def work_parts(view: View, step: Choice, staged: bool) -> Parts:
    """What a layer needs at `work_at` while it makes a chunk. `staged`: its lines do not go into a map or to another
    layer, but by way of the work area to the task."""
    layer, (mode, _, group) = view.layer, step
    own = float32.work(view, step) if is_float32(layer) else WORK[layer.kind, mode](view, step)
    parts = dict.fromkeys(WORK_PARTS, 0) | own
    if staged:
        grouped = layer.kind == "conv" and mode == GROUPS
        parts["staging"] = view.n_out * (group if grouped else layer.cout) * layer.value_bytes
    return parts


def _windows(quads: int, pixels: int) -> int:
    """Room for as many windows of 16-bit values, and for one as it is brought."""
    return 8 * quads * pixels + 4 * quads


def _conv_work(view: View, step: Choice) -> Parts:
    return dict(values=_windows(conv_quads(view.layer), conv_pixels(view, step)))


def _conv_window_work(view: View, step: Choice) -> Parts:
    """The part of the picture under the pixels that are made at a time, too."""
    along, across = view.lines.axis, view.across
    reach = (conv_pixels(view, step) - 1) * across.stride + across.kernel
    return _conv_work(view, step) | dict(window=along.kernel * reach * view.layer.cin)


def block_windows(view: View) -> tuple[tuple[int, int], ...]:
    """(quads of a window, pixels that are made at a time) of a block's convolutions: the two, and the shortcut's."""
    layer = view.layer
    second = layer.cexp * view.lines.axis.second * view.across.second
    both = (layer.taps * layer.cin, view.n_mid), (second, view.n_out)
    return tuple(
        (-(-values // 4), windows_at_once(-(-values // 4), 0, pixels))
        for values, pixels in (*both, *[(layer.cin, view.n_out)] * layer.expand)
    )


def _block_work(view: View, step: Choice) -> Parts:
    """Windows of the convolutions in turn, and a line that the shortcut makes."""
    return dict(
        values=max(_windows(*windows) for windows in block_windows(view)),
        window=view.layer.expand * view.n_out * view.layer.cout,
    )


def _no_work(view: View, step: Choice) -> Parts:
    return {}


def _pixel_work(view: View, step: Choice) -> Parts:
    """Depthwise values of a pixel."""
    return dict(values=view.layer.cexp)


def _group_ring(view: View, group: int) -> int:
    """Expanded lines of a group of channels."""
    return min(view.lines.axis.kernel, view.lines.lines_in) * view.n_in * group


def _groups_work(view: View, step: Choice) -> Parts:
    _, rows, group = step
    return dict(sums=4 * rows * view.n_out * view.layer.cout, group_ring=_group_ring(view, group), values=group)


def _stored_work(view: View, step: Choice) -> Parts:
    _, rows, group = step
    return dict(values=rows * view.n_out * view.layer.cexp, group_ring=_group_ring(view, group))


def conv_quads(layer: Layer) -> int:
    """Fours of values of a convolution's window."""
    return -(-layer.taps * layer.cin // 4)


def windows_at_once(quads: int, most: int, pixels: int) -> int:
    """Pixels of a line that a convolution makes at a time, an even number: `most`, or (0) as many as are worth it."""
    return min(most or 2 * max(1, WIDENED_BYTES // QUAD_BYTES // quads), 2 * -(-pixels // 2))


def conv_pixels(view: View, step: Choice) -> int:
    """Pixels of an output line that a convolution makes at a time, an even number."""
    mode, _, group = step
    return windows_at_once(conv_quads(view.layer), 0 if mode == GROUPS else group, view.n_out)


def _widened_line(view: View, mode: int) -> int:
    """Bytes of a line of 16-bit pixels (FORMAT.md, Fast schedules: X)."""
    layer = view.layer
    if as_bytes(mode) or not layer.expand:
        return 0
    return 16 * view.n_in if eight(layer) else 4 * ((view.padded + 1) // 2) * fours(layer.cin)


def _row_sums(view: View) -> int:
    """Sums of a channel that kernels above 3 keep (FORMAT.md, Fast schedules: S)."""
    pairs = (view.n_out + 1) // 2
    return (pairs + 1) // 2 * 4 if view.layer.sh == 1 else 2 * pairs


def _row_bytes(view: View) -> int:
    """Bytes of an expanded row of a channel under kernels above 3 (R)."""
    layer = view.layer
    return (_row_sums(view) * layer.sh // 2 + layer.kh // 2 + 1) // 2 * 4


def _kept(view: View) -> int:
    """Bytes of an expanded channel's lines that are kept from line to line in modes fast and sweep."""
    layer, words = view.layer, (view.reached + 1) // 2
    if layer.kh > 3:
        return (layer.kh - layer.sh) * _row_bytes(view)
    return 4 * (words if layer.sh == 1 else (words + 1) // 2)


def _fast_work(view: View, step: Choice) -> Parts:
    """Of modes fast and sweep (FORMAT.md, Fast schedules)."""
    layer, (mode, chunk, group), words, pairs = view.layer, step, (view.reached + 1) // 2, (view.n_out + 1) // 2
    lines = layer.sh if layer.expand else layer.kh
    sums = (6 if mode & NARROW else 8) * pairs * layer.cout * chunk if group < layer.cexp else 0
    if not layer.expand:
        words = (pairs if layer.sh == 1 else view.n_out) + 1
    elif layer.kh > 3:
        words = _row_bytes(view) // 2
        sums += 8 * _row_sums(view)
    return dict(
        window=lines * _widened_line(view, mode) + 8 * words * lines + GAP,
        values=4 * pairs * group,
        sums=sums,
        group_ring=group * _kept(view) if sweeps(mode) else 0,
    )


WORK: dict[tuple[str, int], Callable[[View, Choice], Parts]] = {
    ("conv", DIRECT): _conv_work,
    ("conv", WINDOW): _conv_window_work,
    ("conv", GROUPS): _conv_work,
    ("bottleneck", DIRECT): _pixel_work,
    ("bottleneck", ROLLING): _pixel_work,
    ("bottleneck", GROUPS): _groups_work,
    ("bottleneck", STORED): _stored_work,
    **{("bottleneck", mode): _fast_work for mode in FAST_MODES},
    ("block", ROLLING): _block_work,
    **{(kind, DIRECT): _no_work for kind in PLAIN},
    **{(kind, COVER): _no_work for kind in ("conv", "maxpool", "meanpool")},
}


def work_bytes(parts: Parts) -> int:
    """Bytes at `work_at` of one layer: its staged lines begin at a multiple of 4."""
    return aligned(sum(parts.values()) - parts["staging"]) + aligned(parts["staging"])


def wide_bytes(view: View, mode: int) -> int:
    """What a layer keeps from line to line: expanded lines, lines between convolutions, or sums."""
    layer, axis = view.layer, view.lines.axis
    if not takes_lines(layer, mode):
        return 0
    if mode == COVER:
        return layer.cout * (layer.value_bytes if layer.kind == "maxpool" else 4)
    if layer.kind == "block":
        return min(axis.second, axis.outputs) * view.n_mid * layer.cexp * layer.value_bytes
    if mode == ROLLING:
        return min(axis.kernel, axis.size) * view.n_in * layer.cexp * layer.value_bytes
    return layer.cexp * _kept(view)


def lead(part: Sequence[View], strip: int, takes: bool, rows: int) -> int:
    """Bytes by which an input map must lie above the output map over it: no row is read after it was written over.

    `takes`: the first layer takes its lines, `rows` are those of the last layer's chunks.
    """
    first, last = part[0].layer, part[-1].layer
    row_in, row_out = first.w * first.cin * first.value_bytes, last.ow * last.cout * last.value_bytes
    reads = _strip_reads(part, strip) if strip < last.oh else _row_reads(part, takes, rows)
    return aligned(max(0, max(written * row_out - lowest * row_in for written, lowest in reads)))


def _strip_reads(part: Sequence[View], strip: int) -> Iterator[tuple[int, int]]:
    """(output rows written, lowest input row read then or later) after each strip."""
    for start, end in strips(part[-1].layer, strip):
        lowest = start
        for view in reversed(part):
            lowest = axes(view.layer)[0].lowest[lowest]
        yield end, lowest


def _row_reads(part: Sequence[View], takes: bool, rows: int) -> Iterator[tuple[int, int]]:
    """(output rows written, lowest input row read then or later) at each writing of output rows."""
    first, last = part[0], part[-1]
    for start, end in chunks((last.lines.lines_out,), rows):
        if len(part) > 1:
            made = end
            for view in reversed(part[1:]):
                made = view.lines.need(made)
            yield end, _still_read(first, takes, made)
        elif first.layer.kind == "block":
            yield end, min(first.lines.added(start), _still_read(first, takes, end))
        elif not first.layer.expand and not takes:
            yield end, first.lines.lowest(start)
        else:  # row by row: the chunk's next rows are expanded later, as are those of the next chunk
            later = _still_read(first, takes, end)
            for row in range(start, end):
                yield row + 1, min(later, row if first.layer.residual else first.lines.need(row + 1))


def _still_read(view: View, takes: bool, made: int) -> int:
    """The lowest input row that a layer, `made` of whose output rows are there, has yet to read."""
    if not takes:
        return view.lines.lowest(made)
    unread = view.lines.unread(made)
    return min(view.lines.added(made), unread) if view.lines.adds else unread


@dataclass(frozen=True)
class Areas:
    """Bytes that are alive together in a segment. `rings`, `wides` and `works` have one entry per layer.

    `persistent` is what outlives the segment: feature sums, features. The input map begins `lead` bytes after the
    output map (before it, if negative, as only a plan from elsewhere may have it). `works` are the parts of each
    layer's work (sums, window, group_ring, values, staging); `work` is the area that they share. Rings and maps begin
    at multiples of 4: `total` counts that too.
    """

    persistent: int
    input: int
    output: int
    lead: int
    rings: tuple[int, ...]
    wides: tuple[int, ...]
    state: int
    work: int
    works: tuple[Parts, ...]

    @property
    def maps(self) -> int:
        """Input and output map together."""
        span = max(self.lead + self.input, self.output) - min(self.lead, 0)
        return min(aligned(span), aligned(self.input) + aligned(self.output))

    @property
    def overlap(self) -> int:
        """Bytes that belong to both maps."""
        return max(0, min(self.lead + self.input, self.output) - max(self.lead, 0))

    @property
    def total(self) -> int:
        rings = sum(map(aligned, self.rings)) + sum(map(aligned, self.wides))
        return self.persistent + self.maps + rings + self.state + self.work


def segment_areas(
    part: Sequence[View],
    strip: int,
    schedule: Sequence[Choice],
    first: bool,
    last: bool,
    lines: Sequence[int] | None = None,
) -> Areas:
    """The areas of a segment by itself, nothing persistent counted, its maps one over the other as far as may be.

    `first`, `last`: it reads the picture, its lines do not go into a map (`staged`). `lines` are the rings' if they are
    known already.
    """
    n = len(part)
    if lines is None:
        lines, _ = ring_lines(part, schedule, first)
    works = tuple(
        work_parts(view, step, last and i == n - 1) for i, (view, step) in enumerate(zip(part, schedule, strict=True))
    )
    size_in = 0 if first else input_map_bytes(part[0].layer)
    size_out, takes = 0 if last else map_bytes(part[-1].layer), takes_lines(part[0].layer, schedule[0][0])
    return Areas(
        persistent=0,
        input=size_in,
        output=size_out,
        lead=lead(part, strip, takes, schedule[-1][1]) if size_in and size_out else 0,
        rings=tuple(
            k * view.n_in * input_bytes(view.layer, first and i == 0)
            for i, (k, view) in enumerate(zip(lines, part, strict=True))
        ),
        wides=tuple(wide_bytes(view, step[0]) for view, step in zip(part, schedule, strict=True)),
        state=STATE_BYTES * n,
        work=max(map(work_bytes, works)),
        works=works,
    )
