"""An integer network and a plan become a .pnb blob (modpatchnet/FORMAT.md), and a blob's tables are read back."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from . import audio, fast
from . import format as fmt
from .design import Layer, Network
from .fast import Order
from .plan import Plan, Step, stream_bytes, views
from .planner import plan as make_plan
from .quantized import QBottleneck, QConv, QDetect, QNet, Scaled

WIDE_PIXELS = 24  # in longer lines 16-bit weights save less than 1% of the instructions


def softmax_mult(output_scale: float) -> int:
    """FORMAT.md, Scores: a difference of logits (8 fraction bits) times this is a power of two with 24."""
    return round(output_scale / 256 * math.log2(math.e) * (1 << 24))


def detect_mults(detect: QDetect) -> dict[str, int]:
    """FORMAT.md, Detection: what steps of a class, of a centre and of a size are worth, with 24 fraction bits."""
    power = math.log2(math.e) * (1 << 24)
    return dict(
        cls_mult=round(detect.cls_scale * power),
        centre_mult=round(fmt.CENTRE * detect.box_scale * (1 << 24)),
        size_mult=round(fmt.SIZE * detect.box_scale * power),
    )


def _padded(piece: bytes) -> bytes:
    return piece + bytes(-len(piece) % fmt.ALIGN)


class _Writer:
    """Bytes that grow by aligned pieces, from offset `start` of the blob on."""

    def __init__(self, start: int):
        self.start, self.data, self.known = start, bytearray(), {}

    def add(self, piece: bytes) -> int:
        """Appends `piece`; returns its offset in the blob."""
        at = self.start + len(self.data)
        self.data += _padded(piece)
        return at

    def add_once(self, piece: bytes) -> int:
        """The same, but a piece that is there already is used again: tunnels may share their weights."""
        if piece not in self.known:
            self.known[piece] = self.add(piece)
        return self.known[piece]


def _check(scaled: Scaled, weight_shape: tuple[int, ...], where: str) -> None:
    n = weight_shape[0]
    for name, array, shape, dtype in (
        ("weight", scaled.weight, weight_shape, np.int8),
        ("bias", scaled.bias, (n,), np.int32),
        ("mult", scaled.mult, (n,), np.int32),
    ):
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"{where}: {name}: wanted {np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}")
    if (scaled.mult <= 0).any():
        raise ValueError(f"{where}: mult: wanted 1..2^31-1, got {scaled.mult.min()}")


def _check_sums(scaled: Scaled, bits: int, shift: int, where: str) -> None:
    """No sum may leave int32, by the bound that the loader uses (FORMAT.md, What is trusted)."""
    products = scaled.weight[0].size
    bias = int(np.abs(scaled.bias.astype(np.int64)).max())
    fits = (products << bits) + bias <= (2**31 - 1) >> shift
    if products > fmt.MAX_REDUCTION or not 0 <= shift <= fmt.MAX_SHIFT or not fits:
        raise ValueError(f"{where}: {products} products and |bias| up to {bias} could overflow (shift {shift})")


def _scaled(scaled: Scaled, axes: tuple[int, ...]) -> bytes:
    """bias, mult and weights, these transposed to the blob's order."""
    weight = np.ascontiguousarray(scaled.weight.transpose(axes)).tobytes()
    return scaled.bias.astype("<i4").tobytes() + scaled.mult.astype("<i4").tobytes() + _padded(weight)


def _conv(q: QConv, where: str) -> bytes:
    s = q.shape
    _check(q.conv, (s.cout, s.kernel, s.kernel, s.cin), where)
    _check_sums(q.conv, 15, q.shift, where)
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
        _check(scaled, shape, where)
        _check_sums(scaled, 15, shift, where)
        out += _scaled(scaled, axes)
    return out


def _check_fast(q: QConv | QBottleneck, order: Order, where: str) -> None:
    fault, most = fast.fast_fault(q), q.shape.cexp
    if fault:
        raise ValueError(f"{where}: modes fast and sweep are not for {fault}")
    if order.group % 4 or not 4 <= order.group <= most:
        raise ValueError(f"{where}: group: wanted a multiple of 4, 4..{most}, got {order.group}")


def orders(layers: Sequence[Layer], plan: Plan, flags: Sequence[int]) -> list[Order | None]:
    """In which order each layer's arrays are: None for the usual one."""
    out: list[Order | None] = []
    for segment in plan.segments:
        stop = segment.first + segment.layers
        columns = segment.strip < layers[stop - 1].oh
        for step, bits in zip(plan.steps[segment.first : stop], flags[segment.first : stop], strict=True):
            order = Order(step.group, columns, bool(bits & fmt.FLAG_WIDE))
            out.append(order if step.mode in fast.MODES else None)
    return out


def _flags(s: Layer, step: Step, wide: bool, head: bool) -> int:
    own = fmt.FLAG_HEAD * head
    if s.kind == "conv":
        return own
    signed = fmt.FLAG_SIGNED if s.act == "none" else 0
    wide = wide and step.mode in fast.MODES
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


def _param_records(qnet: QNet, writer: _Writer, orders: Sequence[Order | None]) -> bytes:
    out, n = b"", len(qnet.tunnels[0])
    chains = [(f"tunnel {t}, ", tunnel, orders[:n]) for t, tunnel in enumerate(qnet.tunnels)]
    for name, chain, own in (*chains, ("", qnet.tail(), orders[n:])):
        for i, (q, order) in enumerate(zip(chain, own, strict=True), 0 if name else n):
            where = f"{name}layer {i}"
            if name and q.shape != qnet.tunnels[0][i].shape:
                raise ValueError(f"{where}: shape differs from tunnel 0: {q.shape}")
            conv = isinstance(q, QConv)
            piece = _conv(q, where) if conv else _bottleneck(q, where)
            if order:
                _check_fast(q, order, where)
                piece = fast.to_bytes(q, order)
            res_mult = 0 if conv else q.res_mult
            at = writer.add_once(piece)
            out += fmt.PARAM.pack(zero_out=q.zero_out, shift=q.shift, res_mult=res_mult, weight_off=at)
    return out


def _check_net(qnet: QNet) -> None:
    d = qnet.design
    for name, got, wanted in (
        ("tunnels", len(qnet.tunnels), d.tunnels),
        ("layers", [q.shape for q in qnet.tunnels[0]], d.layers()),
        ("layers behind the tunnels", [q.shape for q in qnet.tail()], d.tail()),
        ("input_zero", len(qnet.input_zero), d.channels),
        ("last zero_out", len({tunnel[-1].zero_out for tunnel in qnet.tunnels}), 1),
    ):
        if got != wanted:
            raise ValueError(f"{d.name}: {name}: wanted {wanted}, got {got}")
    if any("\n" in label for label in d.labels):
        raise ValueError(f"{d.name}: a label contains a line feed")
    if d.detection:
        _check_detect(qnet)
        return
    last = d.layers()[-1]
    pixels = last.oh * last.ow * (1 if d.aggregate == "concat" else d.tunnels)
    if (pixels * 255) << qnet.pool.shift >= 2**31:
        raise ValueError(f"{d.name}: pooling {pixels} pixels overflows (shift {qnet.pool.shift})")
    _check(qnet.fc, (len(d.labels), d.features), "fully connected")
    _check_sums(qnet.fc, 14, qnet.fc_shift, "fully connected")


def _check_detect(qnet: QNet) -> None:
    d = qnet.design
    d.check()
    for scale in qnet.detect.scales:
        if scale.head.zero_out != 0:
            raise ValueError(f"{d.name}: zero_out of a head: wanted 0, got {scale.head.zero_out}")


def _detect_records(qnet: QNet, p: Plan, head: _Writer) -> int:
    """What a detection network has besides its layers. Returns the offset of its own record."""
    d, q = qnet.design, qnet.detect
    scales = b""
    for layers, scale in zip(d.scales(), d.detection.scales, strict=True):
        anchors = [fmt.ANCHOR.pack(h=_part(h, d.height, 15), w=_part(w, d.width, 15)) for w, h in scale.anchors]
        steps = dict(step_y=_part(layers.stride, d.height, 30), step_x=_part(layers.stride, d.width, 30))
        scales += fmt.SCALE.pack(**steps, anchors=len(anchors), anchor_off=head.add(b"".join(anchors)))
    tail = sum(segment.first >= len(d.layers()) for segment in p.segments)
    return head.add(
        fmt.DETECT.pack(
            map_h=d.stitched[0], map_w=d.stitched[1], top=d.detection.top, cls_zero=q.cls_zero, **detect_mults(q),
            layers=len(d.tail()), segments=tail, scales=len(q.scales), box_scale=q.box_scale,
            place_off=head.add(b"".join(fmt.PLACE.pack(**asdict(place)) for place in d.places())),
            scale_off=head.add(scales), stitch_at=p.stitch_at, candidate_at=p.candidate_at,
        )
    )  # fmt: skip


def detect_bytes(d: Network) -> int:
    """Bytes of the tables that only a detection network has."""
    if not d.detection:
        return 0
    scales = d.detection.scales
    anchors = sum(len(scale.anchors) for scale in scales)
    sizes = fmt.DETECT.size, d.tunnels * fmt.PLACE.size, len(scales) * fmt.SCALE.size, anchors * fmt.ANCHOR.size
    return sum(sizes)


def _part(pixels: int, side: int, bits: int) -> int:
    """Pixels as a part of a side, with `bits` fraction bits."""
    return ((2 * pixels << bits) + side) // (2 * side)


def _header(qnet: QNet, p: Plan, sections: dict) -> dict:
    d = qnet.design
    ends = dict(pool_mult=0, pool_shift=0, pool_zero=0, fc_shift=0, fc_zero=0, softmax_mult=0)
    if not d.detection:
        ends = dict(
            pool_mult=qnet.pool.mult, pool_shift=qnet.pool.shift, pool_zero=qnet.pool.zero_out,
            fc_shift=qnet.fc_shift, fc_zero=qnet.fc_zero_out, softmax_mult=softmax_mult(qnet.output_scale),
        )  # fmt: skip
    return dict(
        magic=fmt.MAGIC, version=fmt.VERSION, header_bytes=fmt.HEADER.size, size=0, crc=0,
        task=fmt.TASK_DETECT if d.detection else fmt.TASK_AUDIO if d.audio else fmt.TASK_CLASSIFY,
        channels=d.channels, tunnels=d.tunnels, layers=len(d.layers()), height=d.height, width=d.width,
        patch_h=d.patch[0], patch_w=d.patch[1], input_zero=(*qnet.input_zero, *(0,) * (4 - d.channels)),
        fit=fmt.FIT_CROP if d.fit == "crop" else fmt.FIT_STRETCH,
        aggregate=fmt.AGGREGATE_CONCAT if d.aggregate == "concat" else fmt.AGGREGATE_SUM, classes=len(d.labels),
        input_scale=1 / d.std, output_scale=qnet.output_scale,
        arena_bytes=p.arena_bytes, sum_at=p.sum_at, feature_at=p.feature_at, logit_at=p.logit_at,
        segments=sum(segment.first < len(d.layers()) for segment in p.segments), **ends, **sections,
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
    the plan's mode fast or sweep (`fast.fast_layers` tells beforehand).
    """
    _check_net(qnet)
    d, p = qnet.design, plan or make_plan(qnet.design, fast=fast.fast_layers(qnet))
    layers, heads = d.run(), d.heads()
    flags = [
        _flags(*layer, wide and short, i in heads)
        for i, (*layer, short) in enumerate(zip(layers, p.steps, short_lines(layers, p), strict=True))
    ]
    labels = "".join(label + "\n" for label in d.labels).encode()
    tables = (
        len(d.patches()) * fmt.PATCH.size
        + len(p.steps) * fmt.LAYER.size
        + len(p.segments) * fmt.SEGMENT.size
        + sum(map(len, qnet.chains())) * fmt.PARAM.size
        + detect_bytes(d)
        + len(labels)
    )
    # sections of known size come first, so weights are written knowing where they start
    front, task, task_off = fmt.HEADER.size + -(-tables // fmt.ALIGN) * fmt.ALIGN, b"", 0
    if d.audio:
        stream_at = (p.arena_bytes - stream_bytes(d)) // fmt.ALIGN * fmt.ALIGN
        task, task_off = audio.section(d, front, stream_at)
    weights = _Writer(front + len(task))
    params = _param_records(qnet, weights, orders(layers, p, flags))
    fc_off = weights.add(_scaled(qnet.fc, (0, 1))) if qnet.fc else 0
    head = _Writer(fmt.HEADER.size)
    sections = dict(
        patch_off=head.add(b"".join(fmt.PATCH.pack(y=y, x=x) for y, x in d.patches())),
        layer_off=head.add(_layer_records(layers, p, flags)),
        segment_off=head.add(b"".join(fmt.SEGMENT.pack(**asdict(s)) for s in p.segments)),
        param_off=head.add(params),
        task_off=_detect_records(qnet, p, head) if d.detection else task_off,
        label_off=head.add(labels),
        label_bytes=len(labels),
        weight_off=weights.start,
        fc_off=fc_off,
    )
    return seal(bytearray(fmt.HEADER.pack(**_header(qnet, p, sections))) + head.data + task + weights.data)


@dataclass(frozen=True)
class BlobInfo:
    """The tables of a blob, as dicts of the fields that FORMAT.md lists. Weights stay in the blob.

    A detection network's record, places and scales (each with its `list` of anchors) come last.
    """

    header: dict
    patches: list[dict]
    layers: list[dict]
    segments: list[dict]
    labels: list[str]
    detect: dict | None = None
    places: list[dict] = ()
    scales: list[dict] = ()
    audio: dict | None = None  # the record of a front-end


def read(blob: bytes) -> BlobInfo:
    """Reads the tables of a blob that the engine has accepted; it checks nothing but the magic."""
    if blob[:4] != fmt.MAGIC:
        raise ValueError(f"magic: wanted {fmt.MAGIC!r}, got {bytes(blob[:4])!r}")
    h = fmt.HEADER.unpack(blob)

    def records(table: fmt.Table, off: int, n: int) -> list[dict]:
        return [table.unpack(blob, off + i * table.size) for i in range(n)]

    detect = fmt.DETECT.unpack(blob, h["task_off"]) if h["task"] == fmt.TASK_DETECT else None
    tail, more = (detect["layers"], detect["segments"]) if detect else (0, 0)
    scales = records(fmt.SCALE, detect["scale_off"], detect["scales"]) if detect else []
    for scale in scales:
        scale["list"] = records(fmt.ANCHOR, scale["anchor_off"], scale["anchors"])
    text = blob[h["label_off"] : h["label_off"] + h["label_bytes"]].decode()
    return BlobInfo(
        h,
        records(fmt.PATCH, h["patch_off"], h["tunnels"]),
        records(fmt.LAYER, h["layer_off"], h["layers"] + tail),
        records(fmt.SEGMENT, h["segment_off"], h["segments"] + more),
        text.split("\n")[:-1],
        detect,
        records(fmt.PLACE, detect["place_off"], h["tunnels"]) if detect else [],
        scales,
        fmt.AUDIO.unpack(blob, h["task_off"]) if h["task"] == fmt.TASK_AUDIO else None,
    )
