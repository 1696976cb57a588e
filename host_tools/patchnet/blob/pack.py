"""An integer network and a plan become a .pnb blob (modpatchnet/FORMAT.md)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from .. import format as fmt
from ..net.layers import PLAIN, Layer, pair
from ..net.network import Network, aligned
from ..plan import choice, streaming
from ..plan.modes import FAST, NARROW, as_bytes, fast_group, modes, plain
from ..plan.place import Plan, Step, place
from . import order as order_of
from .order import Order, fast_layers
from .quantized import QBlock, QBottleneck, QConv, QLayer, QNet, QPooling, Scaled
from .record import Writer, check_arrays, check_sums, padded
from .unpack import orders, record_of


def _scaled(scaled: Scaled, axes: tuple[int, ...], paired: bool = False) -> bytes:
    """bias, mult and weights, these transposed to the blob's order."""
    weight = np.ascontiguousarray(scaled.weight.transpose(axes))
    if paired:
        return order_of.pairs_to_bytes(replace(scaled, weight=weight.reshape(len(weight), -1)))
    return scaled.bias.astype("<i4").tobytes() + scaled.mult.astype("<i4").tobytes() + padded(weight.tobytes())


def _checked(
    scaled: Scaled, shape: tuple[int, ...], axes: tuple[int, ...], shift: int, where: str, paired: bool = False
) -> bytes:
    check_arrays(scaled, shape, where)
    check_sums(scaled, 15, shift, where)
    return _scaled(scaled, axes, paired)


def _kernel_axes(columns: bool) -> tuple[int, ...]:
    """A dense convolution's weights as they lie in a blob, row by row or column by column."""
    return (0, 2, 1, 3) if columns else (0, 1, 2, 3)


def _conv(q: QConv, where: str, order: Order) -> bytes:
    s = q.shape
    return _checked(q.conv, (s.cout, s.kh, s.kw, s.cin), _kernel_axes(order.columns), q.shift, where, order.paired)


def _bottleneck(q: QBottleneck, where: str) -> bytes:
    s = q.shape
    if (q.expand is not None) != s.expand or (q.res_mult > 0) != s.residual:
        raise ValueError(f"{where}: expand and res_mult must go with the shape {s}")
    out = b""
    if q.expand is not None:
        out = _checked(q.expand, (s.cexp, s.cin), (0, 1), q.expand_shift, where)
    out += _checked(q.depthwise, (s.cexp, s.kh, s.kw), (1, 2, 0), q.depthwise_shift, where)
    return out + _checked(q.project, (s.cout, s.cexp), (1, 0), q.shift, where)


def _block(q: QBlock, where: str, order: Order) -> bytes:
    s, axes, paired = q.shape, _kernel_axes(order.columns), order.paired
    if (q.shortcut is not None) != s.expand or q.res_mult < 1:
        raise ValueError(f"{where}: shortcut and res_mult must go with the shape {s}")
    out = _checked(q.first, (s.cexp, s.kh, s.kw, s.cin), axes, q.first_shift, where, paired)
    out += _checked(q.second, (s.cout, *pair(s.second), s.cexp), axes, q.shift, where, paired)
    if q.shortcut is not None:
        out += _checked(q.shortcut, (s.cout, s.cin), (0, 1), q.shortcut_shift, where, paired)
    return out


def _pooling(q: QPooling, where: str) -> bytes:
    if q.shape.kind == "maxpool":
        return b""
    if not 0 < q.mult < 2**31 or (255 * q.shape.taps) << q.shift >= 2**31:
        raise ValueError(f"{where}: multiplier {q.mult} or shift {q.shift} is out of range")
    return struct.pack("<i", q.mult)


def layer_bytes(q: QLayer, where: str, order: Order) -> bytes:
    """The arrays of a layer in their usual order, dense convolutions' kernels column by column and in pairs as `order`
    says. ValueError, beginning with `where`, if they do not fit its shape or a sum could leave its range."""
    if isinstance(q, QConv):
        return _conv(q, where, order)
    if isinstance(q, QBottleneck):
        return _bottleneck(q, where)
    if isinstance(q, QBlock):
        return _block(q, where, order)
    return _pooling(q, where) if isinstance(q, QPooling) else b""


def _patch_records(d: Network) -> bytes:
    table = fmt.patch_table(d.sizes is not None)
    return b"".join(table.pack(**{name: getattr(patch, name) for name, _ in table.fields}) for patch in d.patches())


def _params(q: QLayer) -> dict[str, int]:
    """The fields of a param but the place of its arrays."""
    own = dict(zero_out=q.zero_out, zero_mid=0, zero_add=0, shift=q.shift, shift_1=0, shift_2=0, res_mult=0)
    if isinstance(q, QBottleneck):
        own |= dict(shift_1=q.expand_shift, shift_2=q.depthwise_shift, res_mult=q.res_mult)
    elif isinstance(q, QBlock):
        own |= dict(zero_mid=q.zero_mid, zero_add=q.zero_add, shift_1=q.first_shift, shift_2=q.shortcut_shift)
        own |= dict(res_mult=q.res_mult)
    return own


def _fast(q: QLayer, order: Order, where: str) -> bytes:
    fault, most = order_of.fast_fault(q), q.shape.cexp
    if fault or not isinstance(q, QBottleneck):  # other layers have a fault in any case
        raise ValueError(f"{where}: modes fast and sweep are not for {fault}")
    if not fast_group(q.shape, order.group):
        wanted = f"a multiple of 4, 4..{min(most, fmt.MAX_FAST_GROUP)}, or all {most}"
        raise ValueError(f"{where}: group: wanted {wanted}, got {order.group}")
    return order_of.to_bytes(q, order)


def _flags(layers: tuple[QLayer, ...], step: Step, columns: bool, head: bool) -> int:
    """Of a layer, as it is in all tunnels."""
    own, s = fmt.FLAG_HEAD * head, layers[0].shape
    if s.kind != "bottleneck":
        own |= fmt.FLAG_PAIRS * order_of.paired(layers, step.mode, step.group)
        return own | fmt.FLAG_EXPAND * s.expand | fmt.FLAG_COLUMNS * (columns and s.kind not in PLAIN)
    signed = fmt.FLAG_SIGNED if s.act == "none" else 0
    own |= fmt.FLAG_NARROW * (step.mode & NARROW > 0) | fmt.FLAG_BYTES * as_bytes(step.mode)
    return fmt.FLAG_EXPAND * s.expand | fmt.FLAG_RESIDUAL * s.residual | signed | own


def _columns(layers: Sequence[Layer], plan: Plan) -> list[bool]:
    """Of each layer, whether its lines are columns."""
    columns: list[bool] = []
    for segment in plan.segments:
        last = layers[segment.first + segment.layers - 1]
        columns += [segment.strip < last.oh] * segment.layers
    return columns


def _layer_records(layers: Sequence[Layer], p: Plan, flags: Sequence[int]) -> bytes:
    out = b""
    for s, step, bits in zip(layers, p.steps, flags, strict=True):
        second = pair(s.second) if s.kind == "block" else (0, 0)
        pads = dict(zip(("pad_top", "pad_bottom", "pad_left", "pad_right"), s.pad, strict=True))
        out += fmt.LAYER.pack(
            kind=fmt.KINDS[s.kind], flags=bits, kernel_h=s.kh, kernel_w=s.kw, stride_h=s.sh, stride_w=s.sw, **pads,
            second_h=second[0], second_w=second[1], cexp=s.cexp, cout=s.cout,
            **asdict(step) | dict(mode=plain(step.mode)),
        )  # fmt: skip
    return out


def _param_records(qnet: QNet, writer: Writer, orders: Sequence[Order]) -> bytes:
    out, n = b"", len(qnet.tunnels[0])
    chains = [(f"tunnel {t}, ", tunnel, orders[:n]) for t, tunnel in enumerate(qnet.tunnels)]
    for name, chain, own in (*chains, ("", qnet.behind, orders[n:])):
        for i, (q, order) in enumerate(zip(chain, own, strict=True), 0 if name else n):
            where = f"{name}layer {i}"
            if name and q.shape != qnet.tunnels[0][i].shape:
                raise ValueError(f"{where}: shape differs from tunnel 0: {q.shape}")
            piece = layer_bytes(q, where, order)
            at = writer.add_once(_fast(q, order, where) if order.fast else piece) if piece else 0
            out += fmt.PARAM.pack(**_params(q), weight_off=at)
    return out


def _check_net(qnet: QNet) -> None:
    d = qnet.design
    for name, got, wanted in (
        ("tunnels", len(qnet.tunnels), d.tunnels),
        ("layers", [q.shape for q in qnet.tunnels[0]], d.layers()),
        ("layers behind the tunnels", [q.shape for q in qnet.behind], d.tail()),
        ("input_zero", len(qnet.input_zero), d.channels if d.channels in (1, 3) else 1),
        ("last zero_out", len({tunnel[-1].zero_out for tunnel in qnet.tunnels}), 1),
    ):
        if got != wanted:
            raise ValueError(f"{d.name}: {name}: wanted {wanted}, got {got}")
    if any("\n" in label for label in d.labels):
        raise ValueError(f"{d.name}: a label contains a line feed")
    record_of(d.task).check(qnet)


def _check_bits(qnet: QNet, plan: Plan) -> None:
    for i, (step, layers) in enumerate(zip(plan.steps, order_of.alike(qnet), strict=True)):
        if step.mode & NARROW and (bits := max(map(order_of.sum_bits, layers))) > 24:
            raise ValueError(f"layer {i}: sums: wanted 24 bits at most, got {bits}")


@dataclass(frozen=True)
class Content:
    """What a blob is made of besides its layers' params: the network, its plan, the flags of its layers, fields of the
    header that belong to the end, arrays of the fully connected layer (none: empty), the type of its values."""

    design: Network
    plan: Plan
    flags: Sequence[int]
    input_zero: tuple[int, ...]
    end: dict[str, float]
    dense: bytes
    dtype: int = fmt.DTYPES["int8"]


def _header(c: Content, sections: dict) -> dict:
    d, p = c.design, c.plan
    return dict(
        magic=fmt.MAGIC, version=fmt.VERSION, header_bytes=fmt.HEADER.size, size=0, crc=0,
        task=fmt.TASKS[d.task],
        channels=d.channels, tunnels=d.tunnels, layers=len(d.layers()), height=d.height, width=d.width,
        patch_h=d.patch[0], patch_w=d.patch[1], dtype=c.dtype, sized=d.sizes is not None,
        input_zero=(*c.input_zero, *(0,) * (4 - len(c.input_zero))),
        fit=fmt.FIT_CROP if d.fit == "crop" else fmt.FIT_STRETCH,
        classes=len(d.labels), input_scale=1 / d.std, arena_bytes=p.arena_bytes,
        **{name: p.places.get(name, 0) for name in ("sum_at", "feature_at", "logit_at")},
        segments=sum(segment.first < len(d.layers()) for segment in p.segments),
        **c.end, **sections,
    )  # fmt: skip


def seal(blob: bytearray) -> bytes:
    """Writes size and CRC into a blob's header."""
    at = fmt.HEADER.offsets()
    struct.pack_into("<I", blob, at["size"], len(blob))
    crc = zlib.crc32(blob[at["crc"] + 4 :], zlib.crc32(blob[: at["crc"]]))
    struct.pack_into("<I", blob, at["crc"], crc)
    return bytes(blob)


def layerwise(qnet: QNet) -> Plan:
    """Layer by layer, every map stored whole: fast where that may be, else the cheapest portable mode."""
    layers = qnet.design.run()
    schedule = []
    for i, (layer, fast) in enumerate(zip(layers, fast_layers(qnet), strict=True)):
        step = (FAST, 1, layer.cexp) if fast else (modes(layer, i == 0, True)[0], 1, 0)
        schedule.append((layer.oh, (step,)))
    return place(qnet.design, schedule)


def pack(qnet: QNet, plan: Plan | None = None) -> bytes:
    """The blob of a network, run by `plan` (the smallest one if None).

    ValueError, naming layer, wanted and got, where shapes, types or ranges do not hold, or where a layer may not run in
    the plan's mode fast or sweep (`order.fast_layers` tells beforehand).
    """
    _check_net(qnet)
    d, p = qnet.design, plan or choice.plan(qnet.design, fast=fast_layers(qnet))
    _check_bits(qnet, p)
    layers, heads = d.run(), d.heads()
    flags = [
        _flags(alike, step, columns, i in heads)
        for i, (alike, step, columns) in enumerate(zip(order_of.alike(qnet), p.steps, _columns(layers, p), strict=True))
    ]
    record = record_of(d.task)
    dense = record.dense(qnet)
    content = Content(d, p, flags, qnet.input_zero, record.header(qnet), _scaled(dense, (0, 1)) if dense else b"")
    order = orders(layers, p, flags)
    return assemble(
        content, sum(map(len, qnet.chains())), lambda writer: _param_records(qnet, writer, order),
        lambda head: record.tables(qnet, p, head),
    )  # fmt: skip


def assemble(
    c: Content,
    n: int,
    params: Callable[[Writer], bytes],
    tables: Callable[[Writer], int] = lambda head: 0,
) -> bytes:
    """The blob. `params` writes the arrays of all layers and gives their `n` params, `tables` those of the task's into
    the head, and gives the record's offset."""
    d, p = c.design, c.plan
    record, layers = record_of(d.task), d.run()
    labels = "".join(label + "\n" for label in d.labels).encode()
    fixed = (
        d.tunnels * fmt.patch_table(d.sizes is not None).size
        + len(p.steps) * fmt.LAYER.size
        + len(p.segments) * fmt.SEGMENT.size
        + n * fmt.PARAM.size
        + record.table_bytes(d)
        + len(labels)
    )
    # sections of known size come first, so weights are written knowing where they start
    front = fmt.HEADER.size + -(-fixed // fmt.ALIGN) * fmt.ALIGN
    section, section_off = record.section(d, p, front)
    weights = Writer(front + len(section))
    param_records = params(weights)
    fc_off = weights.add(c.dense) if c.dense else 0
    head = Writer(fmt.HEADER.size)
    sections = dict(
        patch_off=head.add(_patch_records(d)),
        layer_off=head.add(_layer_records(layers, p, c.flags)),
        segment_off=head.add(b"".join(fmt.SEGMENT.pack(**asdict(s)) for s in p.segments)),
        param_off=head.add(param_records),
        task_off=tables(head) or section_off,
        label_off=head.add(labels),
        label_bytes=len(labels),
        weight_off=weights.start,
        fc_off=fc_off,
    )
    return seal(bytearray(fmt.HEADER.pack(**_header(c, sections))) + head.data + section + weights.data)


def blob_bytes(network: Network, plan: Plan, shared: bool = False) -> int:
    """The length of the network's blob; `shared`: all tunnels have the same weights, which it holds once."""
    layers, tail = network.layers(), network.tail()
    tunnels, n = network.tunnels, len(layers)
    labels = sum(len(label.encode()) + 1 for label in network.labels)
    tables = tunnels * fmt.patch_table(network.sizes is not None).size + len(plan.segments) * fmt.SEGMENT.size + labels
    tables += n * (fmt.LAYER.size + tunnels * fmt.PARAM.size)
    record = record_of(network.task)
    front_end = len(record.section(network, None, 0)[0])
    tables += len(tail) * (fmt.LAYER.size + fmt.PARAM.size) + record.table_bytes(network)
    sizes = [streaming.layer_bytes(one, step.mode) for one, step in zip(network.run(), plan.steps, strict=True)]
    arrays = (1 if shared else tunnels) * sum(sizes[:n]) + sum(sizes[n:]) + streaming.end_bytes(network)
    return fmt.HEADER.size + aligned(tables) + front_end + arrays


def most_bytes(network: Network, shared: bool = False) -> int:
    """The length of its longest blob, of those with plans of the front."""
    return max(blob_bytes(network, place(network, point.schedule), shared) for point in choice.front(network))
