"""An integer network and a plan become a .pnb blob (modpatchnet/FORMAT.md)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from .. import format as fmt
from ..net.layers import Layer
from ..plan.choice import plan as make_plan
from ..plan.lines import views
from ..plan.modes import FAST_MODES
from ..plan.place import Plan, Step
from . import order as order_of
from .order import Order, fast_layers
from .quantized import QBottleneck, QConv, QNet, Scaled
from .record import Writer, check_arrays, check_sums, padded
from .unpack import orders, record_of

WIDE_PIXELS = 24  # in longer lines 16-bit weights save less than 1% of the instructions


def _scaled(scaled: Scaled, axes: tuple[int, ...]) -> bytes:
    """bias, mult and weights, these transposed to the blob's order."""
    weight = np.ascontiguousarray(scaled.weight.transpose(axes)).tobytes()
    return scaled.bias.astype("<i4").tobytes() + scaled.mult.astype("<i4").tobytes() + padded(weight)


def _conv(q: QConv, where: str) -> bytes:
    s = q.shape
    check_arrays(q.conv, (s.cout, s.kernel, s.kernel, s.cin), where)
    check_sums(q.conv, 15, q.shift, where)
    return _scaled(q.conv, (0, 1, 2, 3))


def _bottleneck(q: QBottleneck, where: str) -> bytes:
    s = q.shape
    if (q.expand is not None) != s.expand or (q.res_mult > 0) != s.residual:
        raise ValueError(f"{where}: expand and res_mult must go with the shape {s}")
    parts = [(q.depthwise, (s.cexp, s.kernel, s.kernel), (1, 2, 0), 0), (q.project, (s.cout, s.cexp), (1, 0), q.shift)]
    if q.expand is not None:
        parts.insert(0, (q.expand, (s.cexp, s.cin), (0, 1), 0))
    out = b""
    for scaled, shape, axes, shift in parts:
        check_arrays(scaled, shape, where)
        check_sums(scaled, 15, shift, where)
        out += _scaled(scaled, axes)
    return out


def _fast(q: QConv | QBottleneck, order: Order, where: str) -> bytes:
    fault, most = order_of.fast_fault(q), q.shape.cexp
    if fault or not isinstance(q, QBottleneck):  # other layers have a fault in any case
        raise ValueError(f"{where}: modes fast and sweep are not for {fault}")
    if order.group % 4 or not 4 <= order.group <= most:
        raise ValueError(f"{where}: group: wanted a multiple of 4, 4..{most}, got {order.group}")
    return order_of.to_bytes(q, order)


def _flags(s: Layer, step: Step, wide: bool, head: bool) -> int:
    own = fmt.FLAG_HEAD * head
    if s.kind == "conv":
        return own
    signed = fmt.FLAG_SIGNED if s.act == "none" else 0
    wide = wide and step.mode in FAST_MODES
    return fmt.FLAG_EXPAND * s.expand | fmt.FLAG_RESIDUAL * s.residual | signed | fmt.FLAG_WIDE * wide | own


def short_lines(layers: Sequence[Layer], plan: Plan) -> list[bool]:
    """Of each layer, whether its output lines have at most WIDE_PIXELS pixels: weights are widened once a line, so that
    having them wide already pays where that is done for few pixels."""
    out: list[bool] = []
    for segment in plan.segments:
        part = views(tuple(layers[segment.first : segment.first + segment.layers]), segment.strip)
        out += [view.n_out <= WIDE_PIXELS for view in part]
    return out


def _layer_records(layers: Sequence[Layer], p: Plan, flags: Sequence[int]) -> bytes:
    kinds = {"conv": fmt.KIND_CONV, "bottleneck": fmt.KIND_BOTTLENECK}
    out = b""
    for s, step, bits in zip(layers, p.steps, flags, strict=True):
        out += fmt.LAYER.pack(
            kind=kinds[s.kind], kernel=s.kernel, stride=s.stride, flags=bits, cexp=s.cexp, cout=s.cout, **asdict(step)
        )
    return out


def _param_records(qnet: QNet, writer: Writer, orders: Sequence[Order | None]) -> bytes:
    out, n = b"", len(qnet.tunnels[0])
    chains = [(f"tunnel {t}, ", tunnel, orders[:n]) for t, tunnel in enumerate(qnet.tunnels)]
    for name, chain, own in (*chains, ("", qnet.behind, orders[n:])):
        for i, (q, order) in enumerate(zip(chain, own, strict=True), 0 if name else n):
            where = f"{name}layer {i}"
            if name and q.shape != qnet.tunnels[0][i].shape:
                raise ValueError(f"{where}: shape differs from tunnel 0: {q.shape}")
            if isinstance(q, QConv):
                piece, res_mult = _conv(q, where), 0
            else:
                piece, res_mult = _bottleneck(q, where), q.res_mult
            at = writer.add_once(_fast(q, order, where) if order else piece)
            out += fmt.PARAM.pack(zero_out=q.zero_out, shift=q.shift, res_mult=res_mult, weight_off=at)
    return out


def _check_net(qnet: QNet) -> None:
    d = qnet.design
    for name, got, wanted in (
        ("tunnels", len(qnet.tunnels), d.tunnels),
        ("layers", [q.shape for q in qnet.tunnels[0]], d.layers()),
        ("layers behind the tunnels", [q.shape for q in qnet.behind], d.tail()),
        ("input_zero", len(qnet.input_zero), d.channels),
        ("last zero_out", len({tunnel[-1].zero_out for tunnel in qnet.tunnels}), 1),
    ):
        if got != wanted:
            raise ValueError(f"{d.name}: {name}: wanted {wanted}, got {got}")
    if any("\n" in label for label in d.labels):
        raise ValueError(f"{d.name}: a label contains a line feed")
    record_of(d.task).check(qnet)


def _header(qnet: QNet, p: Plan, sections: dict) -> dict:
    d = qnet.design
    return dict(
        magic=fmt.MAGIC, version=fmt.VERSION, header_bytes=fmt.HEADER.size, size=0, crc=0,
        task=fmt.TASKS[d.task],
        channels=d.channels, tunnels=d.tunnels, layers=len(d.layers()), height=d.height, width=d.width,
        patch_h=d.patch[0], patch_w=d.patch[1], input_zero=(*qnet.input_zero, *(0,) * (4 - d.channels)),
        fit=fmt.FIT_CROP if d.fit == "crop" else fmt.FIT_STRETCH,
        classes=len(d.labels), input_scale=1 / d.std, arena_bytes=p.arena_bytes,
        **{name: p.places.get(name, 0) for name in ("sum_at", "feature_at", "logit_at")},
        segments=sum(segment.first < len(d.layers()) for segment in p.segments),
        **record_of(d.task).header(qnet), **sections,
    )  # fmt: skip


def seal(blob: bytearray) -> bytes:
    """Writes size and CRC into a blob's header."""
    at = fmt.HEADER.offsets()
    struct.pack_into("<I", blob, at["size"], len(blob))
    crc = zlib.crc32(blob[at["crc"] + 4 :], zlib.crc32(blob[: at["crc"]]))
    struct.pack_into("<I", blob, at["crc"], crc)
    return bytes(blob)


def pack(qnet: QNet, plan: Plan | None = None, wide: bool = False) -> bytes:
    """The blob of a network, run by `plan` (the smallest one if None).

    `wide`: layers of modes fast and sweep with `short_lines` get weights of 16 bits.

    ValueError, naming layer, wanted and got, where shapes, types or ranges do not hold, or where a layer may not run in
    the plan's mode fast or sweep (`order.fast_layers` tells beforehand).
    """
    _check_net(qnet)
    d, p = qnet.design, plan or make_plan(qnet.design, fast=fast_layers(qnet))
    record = record_of(d.task)
    layers, heads = d.run(), d.heads()
    flags = [
        _flags(layer, step, wide and short, i in heads)
        for i, (layer, step, short) in enumerate(zip(layers, p.steps, short_lines(layers, p), strict=True))
    ]
    labels = "".join(label + "\n" for label in d.labels).encode()
    tables = (
        len(d.patches()) * fmt.PATCH.size
        + len(p.steps) * fmt.LAYER.size
        + len(p.segments) * fmt.SEGMENT.size
        + sum(map(len, qnet.chains())) * fmt.PARAM.size
        + record.table_bytes(d)
        + len(labels)
    )
    # sections of known size come first, so weights are written knowing where they start
    front = fmt.HEADER.size + -(-tables // fmt.ALIGN) * fmt.ALIGN
    section, section_off = record.section(d, p, front)
    weights = Writer(front + len(section))
    params = _param_records(qnet, weights, orders(layers, p, flags))
    dense = record.dense(qnet)
    fc_off = weights.add(_scaled(dense, (0, 1))) if dense else 0
    head = Writer(fmt.HEADER.size)
    sections = dict(
        patch_off=head.add(b"".join(fmt.PATCH.pack(y=y, x=x) for y, x in d.patches())),
        layer_off=head.add(_layer_records(layers, p, flags)),
        segment_off=head.add(b"".join(fmt.SEGMENT.pack(**asdict(s)) for s in p.segments)),
        param_off=head.add(params),
        task_off=record.tables(qnet, p, head) or section_off,
        label_off=head.add(labels),
        label_bytes=len(labels),
        weight_off=weights.start,
        fc_off=fc_off,
    )
    return seal(bytearray(fmt.HEADER.pack(**_header(qnet, p, sections))) + head.data + section + weights.data)
