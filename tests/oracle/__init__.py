"""The slow oracle: runs a .pnb blob in numpy, layer by layer, written from modpatchnet/FORMAT.md alone.

It shares nothing with the engine, nor with the host's format, pack and plan modules, and ignores the plan, from which
only the order of arrays follows: whole maps, usual order, 64-bit integers. Agreement of two independent writings is the
proof that both say what FORMAT.md says.
Products are summed by float64 matrix products, which are exact here: no sum reaches 2^53.
"""

from __future__ import annotations

import struct
import zlib
from collections import namedtuple
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

# Byte order of the fields as FORMAT.md lists them.
HEADER = struct.Struct("<4sHHII4B6H4b3BbBb2B7Ii2I2f6I")
Header = namedtuple(
    "Header",
    "magic version header_bytes size crc task tunnels layers fit channels classes height width patch_h patch_w"
    " z0 z1 z2 z3 aggregate scores pool_shift pool_zero fc_shift fc_zero dtype sized patch_off layer_off"
    " segment_off segments param_off label_off label_bytes pool_mult fc_off softmax_mult input_scale output_scale"
    " arena_bytes sum_at feature_at logit_at task_off weight_off",
)
Patch = namedtuple("Patch", "y x height width")
LAYER = struct.Struct("<2BH10B5H2I")
Layer = namedtuple(
    "Layer",
    "kind mode flags kernel_h kernel_w stride_h stride_w pad_top pad_bottom pad_left pad_right second_h second_w cexp"
    " cout rows group lines ring_at wide_at",
)
SEGMENT = struct.Struct("<2BH4I")
Segment = namedtuple("Segment", "first layers strip in_at out_at state_at work_at")
PARAM = struct.Struct("<2b3BbHI")
Param = namedtuple("Param", "zero_out zero_mid shift shift_1 shift_2 zero_add res_mult weight_off")

DETECT = struct.Struct("<3Hh2BH7If")
Detect = namedtuple(
    "Detect",
    "map_h map_w top cls_zero layers segments scales cls_mult centre_mult size_mult place_off scale_off stitch_at"
    " candidate_at box_scale",
)
PLACE = struct.Struct("<6H")
Part = namedtuple("Part", "from_y from_x to_y to_x h w")
SCALE = struct.Struct("<4I")
Scale = namedtuple("Scale", "step_y step_x anchors anchor_off")
ANCHOR = struct.Struct("<2H")
Anchor = namedtuple("Anchor", "h w")
HEATMAP = struct.Struct("<2H2I")
HeatMap = namedtuple("HeatMap", "background top cell_at spot_at")
Box = namedtuple("Box", "x y w h label score")
Candidate = namedtuple("Candidate", "value label left right top bottom")

CLASSIFY, DETECTION, AUDIO, RAW, HEAT = 1, 2, 3, 4, 5
NO_CLASS = 65535
CONV, BOTTLENECK, BLOCK, MAXPOOL, MEANPOOL, INT4, INT8 = range(1, 8)
EXPAND, RESIDUAL, SIGNED, PAIRS, HEAD, COLUMNS, NARROW, BYTES = 1, 2, 4, 8, 16, 32, 64, 128
FAST, SWEEP, COVER = 5, 6, 7
GREY, RGB565, RGB888 = 1, 2, 3

# round(2^30 * 2^(-2^-b)) for b = 1..16, as FORMAT.md defines (and lists) them
POWERS = [round(2.0 ** (30 - 2.0**-b)) for b in range(1, 17)]


@dataclass
class Result:
    """What one run gives. input_q int8 (height, width, channels); logits16, outputs8, scores: one per class.

    maps[tunnel][layer] int8 (h, w, c); features int8; layer -1 of every chain is what is pooled. Without a fully
    connected layer there are no features. Of a raw network and of a heat map outputs8 are the last map; all else is
    empty, but for a heat map's boxes.
    Of a float32 network maps, features and outputs8 are float32 values, the latter its logits, and logits16 is empty.
    Of a detection network outputs8 are the heads' outputs one after the other, `heads`; logits16, scores and features
    are empty, and behind[i] is the output of layer i behind the chains.
    """

    input_q: np.ndarray
    logits16: np.ndarray
    outputs8: np.ndarray
    scores: list[int]
    features: np.ndarray
    maps: list[list[np.ndarray]] = field(repr=False)
    stitched: np.ndarray | None = None
    heads: list[np.ndarray] = field(default_factory=list)
    behind: list[np.ndarray] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)


def int32(acc: np.ndarray) -> np.ndarray:
    """The same sums, after a look that each fits the int32 that the engine keeps it in."""
    assert acc.min() >= -(1 << 31) and acc.max() < 1 << 31, "a sum left 32 bits"
    return acc


def wide(acc, mult, shift: int, signed: bool) -> np.ndarray:
    lo, hi = (-128, 127) if signed else (0, 255)
    return np.clip((int32(acc << shift) * mult + (1 << 31)) >> 32, lo, hi)


def narrow(acc, mult, shift: int, zero_out: int, extra=0) -> np.ndarray:
    return np.clip(((int32(acc << shift) * mult >> 32) + 256 * zero_out + 128 + extra) >> 8, -128, 127)


class Steps(namedtuple("Steps", "kernel stride pads")):
    """How a kernel goes over a map: (height, width) of it and of its stride, rows and columns outside (top, bottom,
    left, right)."""

    @classmethod
    def of(cls, layer: Layer) -> Steps:
        """The first, or only, kernel of a layer."""
        pads = layer.pad_top, layer.pad_bottom, layer.pad_left, layer.pad_right
        return cls((layer.kernel_h, layer.kernel_w), (layer.stride_h, layer.stride_w), pads)

    @classmethod
    def second(cls, layer: Layer) -> Steps:
        """A block's other kernel."""
        y, x = layer.second_h // 2, layer.second_w // 2
        return cls((layer.second_h, layer.second_w), (1, 1), (y, y, x, x))

    def size(self, h: int, w: int) -> tuple[int, int]:
        """Of what comes out of a map of h x w."""
        top, bottom, left, right = self.pads
        all_h, all_w = h + top + bottom - self.kernel[0], w + left + right - self.kernel[1]
        return all_h // self.stride[0] + 1, all_w // self.stride[1] + 1


def windows(x: np.ndarray, zero, steps: Steps) -> np.ndarray:
    """(h, w, c) -> (oh, ow, c, kernel_h, kernel_w): what each output pixel sees; outside, `zero` (one, or for each
    channel)."""
    top, bottom, left, right = steps.pads
    h, w, c = x.shape
    padded = np.empty((h + top + bottom, w + left + right, c), np.float64)
    padded[:] = zero
    padded[top : top + h, left : left + w] = x
    seen = np.lib.stride_tricks.sliding_window_view(padded, steps.kernel, (0, 1))
    return seen[:: steps.stride[0], :: steps.stride[1]]


def conv_sums(x, zero, weight, bias, steps: Steps) -> np.ndarray:
    """Dense convolution. weight (cout, kernel_h, kernel_w, cin)."""
    seen = windows(x, zero, steps)
    return bias + np.tensordot(seen, weight.astype(np.float64), ((3, 4, 2), (1, 2, 3))).astype(np.int64)


def depthwise_sums(x, zero, weight, bias, steps: Steps) -> np.ndarray:
    """weight (kernel_h, kernel_w, c)."""
    seen = windows(x, zero, steps)
    return bias + np.einsum("hwcyx,yxc->hwc", seen, weight.astype(np.float64)).astype(np.int64)


def pixel_sums(x, weight, bias) -> np.ndarray:
    """1x1 convolution. weight (cin, cout)."""
    return bias + (x.astype(np.float64) @ weight.astype(np.float64)).astype(np.int64)


def power(t: int) -> int:
    """2^30 * 2^(-t / 65536), as Scores has it."""
    e = 1 << 30
    for b in range(1, 17):
        if t >> (16 - b) & 1:
            e = (e * POWERS[b - 1] + (1 << 29)) >> 30
    return 0 if t >> 16 > 30 else e >> (t >> 16)


def sigmoid(d: int, mult: int) -> int:
    """Of a value d away from where it is a half (FORMAT.md, Scores): n of n / 65536."""
    e = power(abs(d) * mult >> 8)
    total = (1 << 30) + e
    return (65536 * (e if d < 0 else 1 << 30) + total // 2) // total


def softmax(logits16, softmax_mult: int) -> list[int]:
    """n of n / 65536 for each class."""
    top = int(max(logits16))
    powers = []
    for logit in logits16:
        powers.append(power((top - int(logit)) * softmax_mult >> 8))
    total = sum(powers)
    return [(65536 * e + total // 2) // total for e in powers]


def decode_pixels(data: bytes, w: int, h: int, pixfmt: int, channels: int) -> np.ndarray:
    """A picture's bytes -> (h, w, channels) values 0..255 as the network's colours."""
    if pixfmt == GREY:
        grey = np.frombuffer(data, np.uint8).reshape(h, w, 1).astype(np.int64)
        return np.repeat(grey, channels, axis=2)
    if pixfmt == RGB565:
        v = np.frombuffer(data, "<u2").reshape(h, w).astype(np.int64)
        r5, g6, b5 = v >> 11, v >> 5 & 63, v & 31
        rgb = np.stack([r5 << 3 | r5 >> 2, g6 << 2 | g6 >> 4, b5 << 3 | b5 >> 2], axis=2)
    else:
        rgb = np.frombuffer(data, np.uint8).reshape(h, w, 3).astype(np.int64)
    if channels == 3:
        return rgb
    return (rgb @ np.array([77, 150, 29]) + 128)[..., None] >> 8


def crop(roi, height: int, width: int):
    """The largest centred part (x, y, w, h) of a region that has the network's aspect."""
    x, y, w, h = roi
    if w * height > h * width:
        new = max(1, h * width // height)
        return x + (w - new) // 2, y, new, h
    if w * height < h * width:
        new = max(1, w * height // width)
        return x, y + (h - new) // 2, w, new
    return roi


def overlaps(n: int, size: int) -> np.ndarray:
    """(n, size): how much of source pixel i lies under output pixel X, in units of 1 / n of a source pixel."""
    i, X = np.arange(size)[None, :], np.arange(n)[:, None]
    return np.clip(np.minimum((i + 1) * n, (X + 1) * size) - np.maximum(i * n, X * size), 0, None)


def sample(pixels: np.ndarray, roi, height: int, width: int) -> np.ndarray:
    """(h, w, c) pixels 0..255, region (x, y, w, h) -> (height, width, c) int8: averaged by area."""
    x, y, w, h = roi
    part = pixels[y : y + h, x : x + w].astype(np.float64)
    sums = np.einsum("Yi,ijc,Xj->YXc", overlaps(height, h), part, overlaps(width, w), optimize=True)
    return ((sums.astype(np.int64) + w * h // 2) // (w * h) - 128).astype(np.int8)


def quads(numbers: list[int]) -> tuple[list[int], list[int]]:
    """The weights a0 a1 a2 a3 and b0 b1 b2 b3 of two outputs, of four numbers for c0 c2 c1 c3."""
    v0, v2, v1, v3 = numbers
    a = [(v + 128) % 256 - 128 for v in (v0, v1, v2, v3)]
    return a, [(v - low) // 256 for v, low in zip((v0, v1, v2, v3), a, strict=True)]


class Arrays:
    """Reads one array after the other, each padded to a multiple of 4 bytes."""

    def __init__(self, blob: bytes, offset: int):
        self.blob, self.at = blob, offset

    def take(self, dtype: str, *shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        out = np.frombuffer(self.blob, dtype, count, self.at).astype(np.int64)
        self.at += (out.size * np.dtype(dtype).itemsize + 3) // 4 * 4
        return out.reshape(shape)

    def scaled(self, n: int, *shape: int):
        """bias, mult (n each) and weight of `shape`."""
        return self.take("<i4", n), self.take("<i4", n), self.take("<i1", *shape)

    def kernels(self, layer: Layer, n: int, steps: Steps, cin: int):
        """Of a dense convolution: (n, kernel_h, kernel_w, cin)."""
        height, width = steps.kernel
        if layer.flags & COLUMNS:
            bias, mult, weight = self.outputs(layer, n, width, height, cin)
            return bias, mult, weight.swapaxes(1, 2)
        return self.outputs(layer, n, height, width, cin)

    def outputs(self, layer: Layer, n: int, *shape: int):
        """bias, mult (n each) and weight (n, *shape) of a dense convolution, in pairs of outputs or not."""
        if not layer.flags & PAIRS:
            return self.scaled(n, n, *shape)
        inputs = int(np.prod(shape))
        bias, mult, weight = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros((n, -(-inputs // 4) * 4), np.int64)
        for a in [*range(0, n - 1, 2), *([n - 2] if n % 2 else [])]:
            for i in range(0, weight.shape[1], 4):
                weight[a, i : i + 4], weight[a + 1, i : i + 4] = quads(self.take("<i2", 4).tolist())
            bias[a : a + 2], mult[a : a + 2] = self.take("<i4", 2), self.take("<i4", 2)
        assert not weight[:, inputs:].any()
        return bias, mult, weight[:, :inputs].reshape(n, *shape)


class FastArrays:
    """Reads the arrays of a bottleneck of mode 5 or 6, number after number (FORMAT.md, Fast schedules)."""

    def __init__(self, blob: bytes, offset: int, layer: Layer, cin: int, columns: bool):
        self.blob, self.at, self.layer, self.cin, self.columns = blob, offset, layer, cin, columns

    def numbers(self, form: str) -> tuple[int, ...]:
        out = struct.unpack_from("<" + form, self.blob, self.at)
        self.at += struct.calcsize("<" + form)
        return out

    def read(self):
        """Expansion (None without one), depthwise convolution and projection: bias, mult, weight of each, the weights
        (cexp, cin), (kernel, kernel, cexp) and (cexp, cout)."""
        cexp, cout, kernel, group = self.layer.cexp, self.layer.cout, self.layer.kernel_h, self.layer.group
        inputs = -(-self.cin // 4) * 4
        expand = self.empty(cexp, (cexp, inputs))
        depthwise = self.empty(cexp, (kernel, kernel, cexp))
        project = self.empty(cout, (cexp, cout))
        for a in range(0, cout, 2):
            self.pair(project, a)
        for first in range(0, cexp, group):
            channels = range(first, min(first + group, cexp))
            if self.layer.flags & EXPAND:
                self.expansion(*expand, channels)
            self.projection(project[2], channels)
            self.depthwise(*depthwise, channels)
        assert not expand[2][:, self.cin :].any()
        some = (*expand[:2], expand[2][:, : self.cin]) if self.layer.flags & EXPAND else None
        return some, depthwise, project

    @staticmethod
    def empty(n: int, shape: tuple[int, ...]):
        return np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(shape, np.int64)

    def pair(self, arrays, a: int):
        bias, mult, _ = arrays
        bias[a], bias[a + 1], mult[a], mult[a + 1] = self.numbers("4i")

    def expansion(self, bias, mult, weight, channels: range):
        for a in channels[::2]:
            self.pair((bias, mult, weight), a)
            for i in range(0, weight.shape[1], 4):
                weight[a, i : i + 4], weight[a + 1, i : i + 4] = quads(list(self.numbers("4h")))

    def depthwise(self, bias, mult, weight, channels: range):
        for channel in channels:
            kernel = self.layer.kernel_h
            lines = self.lines_of(self.numbers(f"{2 * kernel * (kernel - 1)}b"))
            weight[:, :, channel] = lines.T if self.columns else lines
            bias[channel], mult[channel] = self.numbers("2i")

    def projection(self, weight, channels: range):
        for a in range(0, self.layer.cout, 2):
            for c in channels[::4]:
                at = [c, c + 2, c + 1, c + 3]
                weight[at, a], weight[at, a + 1] = quads(list(self.numbers("4h")))

    def lines_of(self, w: tuple[int, ...]) -> np.ndarray:
        """t[l][p] from the numbers of a channel."""
        kernel, three = self.layer.kernel_h, self.layer.kernel_h == 3
        if three and self.layer.stride_h == 2:
            t00, t10, t01, t11, t20, t02, t21, t12, t22, *rest = w
            assert rest == [0, 0, 0]
        elif three and self.layer.flags & EXPAND:
            t10, t11, t00, t01, t12, t20, t02, t21, again, none, t22, no = w
            assert again == t21 and none == no == 0
        else:
            lines = np.zeros((kernel, kernel), np.int64)
            fours, places = iter(w), [(line, pixel) for line in range(kernel) for pixel in range(0, kernel - 1, 2)]
            for line, pixel in places:
                t0, t1, again, t2 = (next(fours) for _ in range(4))
                assert again == t1 and pixel in (0, pixel * (t0 == lines[line, pixel]))
                lines[line, pixel : pixel + 3] = t0, t1, t2
            return lines
        return np.array([[t00, t01, t02], [t10, t11, t12], [t20, t21, t22]])


class Oracle:
    """One blob. `layers`, `segments`, `params[tunnel][layer]`, `patches`, `labels` are as they lie in it.

    `threshold` and `iou`, of 65536, are for a detection network's boxes.
    """

    threshold, iou = 26214, 29491

    def __init__(self, blob: bytes):
        self.blob = bytes(blob)
        self.header = h = Header(*HEADER.unpack_from(self.blob))
        assert h.magic == b"PNB\x1a" and h.version == 8 and h.header_bytes == HEADER.size == 116 and h.sized in (0, 1)
        assert h.size == len(self.blob) and h.crc == zlib.crc32(self.blob[16:], zlib.crc32(self.blob[:12]))
        self.input_zero = np.array([h.z0, h.z1, h.z2, h.z3][: h.channels if h.channels in (1, 3) else 1])
        self.patches = [self._patch(i) for i in range(h.tunnels)]
        assert h.task in (CLASSIFY, DETECTION, AUDIO, RAW, HEAT) and h.scores in (0, 1)
        self.detect, self.heat, self.behind, more, segments = None, None, [], 0, 0
        self.maps, self.dense = h.task in (RAW, HEAT), h.fc_off != 0  # `maps`: the last map is the output
        if h.task == HEAT:
            self.heat = HeatMap(*HEATMAP.unpack_from(self.blob, h.task_off))
        self.merge = None  # of a classifier whose chains' maps become one
        if h.task == CLASSIFY and h.task_off:
            self.merge = d = Detect(*DETECT.unpack_from(self.blob, h.task_off))
            more, segments = d.layers, d.segments
            self.places = self._records(PLACE, Part, d.place_off, h.tunnels)
        if h.task == DETECTION:
            self.detect = d = Detect(*DETECT.unpack_from(self.blob, h.task_off))
            more, segments = d.layers, d.segments
            self.places = self._records(PLACE, Part, d.place_off, h.tunnels)
            self.scales = self._records(SCALE, Scale, d.scale_off, d.scales)
        self.layers = self._records(LAYER, Layer, h.layer_off, h.layers + more)
        self.segments = self._records(SEGMENT, Segment, h.segment_off, h.segments + segments)
        params = self._records(PARAM, Param, h.param_off, h.tunnels * h.layers + more)
        self.params = [params[i * h.layers : (i + 1) * h.layers] for i in range(h.tunnels)]
        self.behind = params[h.tunnels * h.layers :]
        text = self.blob[h.label_off : h.label_off + h.label_bytes].decode()
        self.labels = text.split("\n")[:-1]
        assert len(self.labels) == h.classes

    def _patch(self, i: int) -> Patch:
        """Of a chain: where it is, and in a picture of which size."""
        h = self.header
        if h.sized:
            return Patch(*struct.unpack_from("<4H", self.blob, h.patch_off + 8 * i))
        return Patch(*struct.unpack_from("<2H", self.blob, h.patch_off + 4 * i), h.height, h.width)

    def _records(self, struct_: struct.Struct, record, off: int, n: int) -> list:
        return [record(*struct_.unpack_from(self.blob, off + i * struct_.size)) for i in range(n)]

    @cached_property
    def shapes(self) -> list[tuple[tuple[int, int, int], tuple[int, int, int]]]:
        """Of each layer: (h, w, channels) of its input and of its output."""
        head, out, source = self.header, [], (self.header.patch_h, self.header.patch_w, self.header.channels)
        for i, layer in enumerate(self.layers):
            if i == head.layers:
                joined = self.detect or self.merge
                source = joined.map_h, joined.map_w, source[2]
            out.append((source, (*Steps.of(layer).size(*source[:2]), layer.cout)))
            source = source if layer.flags & HEAD else out[-1][1]
        return out

    @cached_property
    def columns(self) -> list[bool]:
        """Of each layer: are lines columns? They are where a strip is lower than the output of the segment."""
        heights = [oh for _, (oh, _, _) in self.shapes]
        return [s.strip < heights[s.first + s.layers - 1] for s in self.segments for _ in range(s.layers)]

    def run_image(self, data: bytes, w: int, h: int, pixfmt: int, roi=None) -> Result:
        """A camera picture: `data` of w x h pixels, region (x, y, w, h) of it or all."""
        net = self.header
        roi = self.region(w, h, roi)
        pixels = decode_pixels(data, w, h, pixfmt, net.channels)
        return self._run(pixels, roi, roi)

    def run_raw(self, x, region=None) -> Result:
        """int8 values (or their bytes), height x width x channels. `region`: what they show of a picture."""
        h = self.header
        x = np.frombuffer(bytes(x), np.int8).reshape(h.height, h.width, h.channels)
        whole = 0, 0, h.width, h.height
        return self._run(x.astype(np.int64) + 128, whole, region or whole)

    def _run(self, pixels, roi, region) -> Result:
        """Pixels 0..255 of which the part `roi` is seen; `region` is what that shows of a picture."""
        h, sizes = self.header, {(p.height, p.width) for p in self.patches}
        seen = {size: sample(pixels, roi, *size) for size in {*sizes, (h.height, h.width)}}
        parts = [seen[p.height, p.width][p.y : p.y + h.patch_h, p.x : p.x + h.patch_w] for p in self.patches]
        x = seen[h.height, h.width]
        if h.dtype:
            from . import real  # which is made of what is here

            return real.run(self, x, parts)
        maps = [self._chain(part, params) for part, params in zip(parts, self.params, strict=True)]
        if self.detect:
            return self._detection(x, maps, region)
        if self.maps:
            return self._last_map(x, maps, region)
        stitched, behind, _ = self._joined(maps) if self.merge else (None, [], [])
        last = [behind[-1]] if self.merge else [chain[-1] for chain in maps]
        features, acc, mult, shift, zero = self._logit_sums(last)
        logits16 = np.clip((int32(acc << shift) * mult >> 32) + 256 * zero, -32768, 32767)
        assert len(logits16) == h.classes
        outputs8 = np.clip((logits16 + 128) >> 8, -128, 127).astype(np.int8)
        scores = self._scores(logits16, zero)
        return Result(x, logits16.astype(np.int16), outputs8, scores, features, maps, stitched, [], behind)

    def _logit_sums(self, last: list[np.ndarray]):
        """The features, if a fully connected layer reads them; sums, multiplier, shift and zero point of the logits."""
        h, sums = self.header, self._pooled(last)
        if not self.dense:
            return np.zeros(0, np.int8), sums, h.pool_mult, h.pool_shift, h.pool_zero
        features = narrow(sums, h.pool_mult, h.pool_shift, h.pool_zero).astype(np.int8)
        bias, mult, weight = Arrays(self.blob, h.fc_off).scaled(h.classes, h.classes, len(features))
        return features, pixel_sums(features, weight.T, bias), mult, h.fc_shift, h.fc_zero

    def _scores(self, logits16, zero: int) -> list[int]:
        mult = self.header.softmax_mult
        if self.header.scores == 1:
            return [sigmoid(int(logit) - 256 * zero, mult) for logit in logits16]
        return softmax(logits16, mult)

    def _chain(self, x, params) -> list[np.ndarray]:
        maps, zero = [], self.input_zero
        for i, param in enumerate(params):
            x = self._layer(x, zero, i, param)
            zero = param.zero_out
            maps.append(x)
        return maps

    def _layer(self, x, zero, i: int, param) -> np.ndarray:
        layer = self.layers[i]
        if layer.kind == BOTTLENECK:
            return self._bottleneck(x, zero, layer, param, self.columns[i]).astype(np.int8)
        kinds = {CONV: self._conv, BLOCK: self._block, MAXPOOL: self._maximum, MEANPOOL: self._mean}
        kinds |= {INT4: self._int4, INT8: self._int8}
        return kinds[layer.kind](x, zero, layer, param).astype(np.int8)

    # Detection

    def _joined(self, maps):
        """The stitched map, the maps of the layers behind it, and those of them that are heads'."""
        d, h = self.detect or self.merge, self.header
        zero = self.params[0][-1].zero_out
        assert all(params[-1].zero_out == zero for params in self.params)
        stitched = np.full((d.map_h, d.map_w, maps[0][-1].shape[2]), zero, np.int64)
        for p, chain in zip(self.places, maps, strict=True):
            part = chain[-1][p.from_y : p.from_y + p.h, p.from_x : p.from_x + p.w].astype(np.int64)
            here = stitched[p.to_y : p.to_y + p.h, p.to_x : p.to_x + p.w]
            here[:] = np.clip(here + part - zero, -128, 127)
        source, behind, heads = stitched.astype(np.int8), [], []
        for i, param in enumerate(self.behind, h.layers):
            behind.append(self._layer(source, zero, i, param))
            if self.layers[i].flags & HEAD:
                heads.append(behind[-1])
            else:
                source, zero = behind[-1], param.zero_out
        assert self.layers[-1].flags & HEAD and len(heads) == (d.scales if self.detect else 1)
        return stitched.astype(np.int8), behind, heads

    def _detection(self, x, maps, region) -> Result:
        stitched, behind, heads = self._joined(maps)
        outputs = np.concatenate([head.reshape(-1) for head in heads])
        none = np.zeros(0, np.int16)
        boxes = self.boxes(heads, region)
        return Result(x, none, outputs, [], none, maps, stitched.astype(np.int8), heads, behind, boxes)

    def score(self, value: int) -> int:
        """Of 65536."""
        return sigmoid(value - self.detect.cls_zero, self.detect.cls_mult)

    def _ends(self, cell: int, step: int, side: int, c: int, s: int) -> tuple[int, int]:
        """A box along one axis, in 1 / 32768 of the picture."""
        d = self.detect
        centre = ((2 * cell + 1) * step >> 16) + ((c * side * d.centre_mult + (1 << 23)) >> 24)
        t = abs(s) * d.size_mult >> 8
        n = (t + 65535) >> 16
        smaller, larger = side * power(t) >> 30, 65535 if n > 15 else side * power(65536 * n - t) << n >> 30
        half = (min(smaller if s < 0 else larger, 65535) + 1) >> 1
        return min(max(centre - half, 0), 32768), min(max(centre + half, 0), 32768)

    def candidates(self, heads: list[np.ndarray]) -> list[Candidate]:
        """The best ones of all heads."""
        least = next((q for q in range(-128, 128) if self.score(q) >= self.threshold), 128)
        found = []
        for head, scale in zip(heads, self.scales, strict=True):
            anchors = self._records(ANCHOR, Anchor, scale.anchor_off, scale.anchors)
            rows, columns, channels = head.shape
            assert channels == len(anchors) * (4 + self.header.classes)
            for y, x, a in np.ndindex(rows, columns, len(anchors)):
                dx, dy, dw, dh, *values = head[y, x].reshape(len(anchors), -1)[a].tolist()
                for label, value in enumerate(values):
                    if value >= least:
                        left, right = self._ends(x, scale.step_x, anchors[a].w, dx, dw)
                        top, bottom = self._ends(y, scale.step_y, anchors[a].h, dy, dh)
                        if left < right and top < bottom:
                            found.append(Candidate(value, label, left, right, top, bottom))
        return sorted(found, key=lambda c: -c.value)[: self.detect.top]  # stable: equal ones stay in order

    def boxes(self, heads: list[np.ndarray], region) -> list[Box]:
        """Boxes in the picture, best first; `region` of it is what the network saw."""

        def area(c: Candidate) -> int:
            return max(0, c.right - c.left) * max(0, c.bottom - c.top)

        kept: list[Candidate] = []
        for c in self.candidates(heads):
            for k in kept:
                shared = area(
                    Candidate(
                        0, 0, max(c.left, k.left), min(c.right, k.right), max(c.top, k.top), min(c.bottom, k.bottom)
                    )
                )
                if k.label == c.label and shared * 65536 > self.iou * (area(c) + area(k) - shared):
                    break
            else:
                kept.append(c)
        x, y, w, h = region
        out = []
        for c in kept:
            left, right = (x + ((end * w + 16384) >> 15) for end in (c.left, c.right))
            top, bottom = (y + ((end * h + 16384) >> 15) for end in (c.top, c.bottom))
            out.append(Box(left, top, right - left, bottom - top, c.label, self.score(c.value)))
        return out

    # Raw output and heat maps

    def _last_map(self, x, maps, region) -> Result:
        none, (chain,) = np.zeros(0, np.int16), maps
        boxes = self.spots(chain[-1], region) if self.heat else []
        return Result(x, none, chain[-1].reshape(-1), [], none, maps, boxes=boxes)

    def cell(self, q: np.ndarray) -> tuple[int, int]:
        """The best class of a cell's logits but the background, and its score."""
        classes = [k for k in range(len(q)) if k != self.heat.background]
        best = max(classes, key=lambda k: q[k])  # the first of equal ones
        return best, self._scores([256 * int(v) for v in q], self.params[0][-1].zero_out)[best]

    def spots(self, heat: np.ndarray, region) -> list[Box]:
        """Boxes in the picture, best first; `region` of it is what the network saw."""
        rows, columns, classes = heat.shape
        assert classes == self.header.classes and rows * columns < NO_CLASS
        left = {}  # candidates: (row, column) -> (class, score), in the order of rows
        for at in np.ndindex(rows, columns):
            label, score = self.cell(heat[at])
            if score >= self.threshold:
                left[at] = label, score
        found = []
        while left:
            start = next(iter(left))
            (label, best), cells, reached = left.pop(start), [start], [start]
            while reached:
                y, x = reached.pop()
                for near in [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                    if near in left and left[near][0] == label:
                        best = max(best, left.pop(near)[1])
                        cells.append(near)
                        reached.append(near)
            found.append((cells, label, best))
        found = sorted(found, key=lambda spot: -spot[2])[: self.heat.top]  # stable
        return [self.spot_box(*spot, (rows, columns), region) for spot in found]

    def spot_box(self, cells, label: int, score: int, size: tuple[int, int], region) -> Box:
        ends = []
        for axis, first, side in ((1, region[0], region[2]), (0, region[1], region[3])):
            places, n = [cell[axis] for cell in cells], size[axis]
            ends.append([first + (2 * at * side + n) // (2 * n) for at in (min(places), max(places) + 1)])
        (left, right), (top, bottom) = ends
        return Box(left, top, right - left, bottom - top, label, score)

    def region(self, w: int, h: int, roi=None) -> tuple[int, int, int, int]:
        """The region of a picture that the network sees."""
        roi = roi or (0, 0, w, h)
        return crop(roi, self.header.height, self.header.width) if self.header.fit == 1 else roi

    # Layers

    def _conv(self, x, zero, layer, param) -> np.ndarray:
        steps, cout = Steps.of(layer), layer.cout
        arrays = Arrays(self.blob, param.weight_off)
        bias, mult, weight = arrays.kernels(layer, cout, steps, x.shape[2])
        return narrow(conv_sums(x, zero, weight, bias, steps), mult, param.shift, param.zero_out)

    def _block(self, x, zero, layer, param) -> np.ndarray:
        arrays, cin, first, second = (
            Arrays(self.blob, param.weight_off),
            x.shape[2],
            Steps.of(layer),
            Steps.second(layer),
        )
        bias, mult, weight = arrays.kernels(layer, layer.cexp, first, cin)
        mid = narrow(conv_sums(x, zero, weight, bias, first), mult, param.shift_1, param.zero_mid)
        bias, mult, weight = arrays.kernels(layer, layer.cout, second, layer.cexp)
        acc = conv_sums(mid, param.zero_mid, weight, bias, second)
        oh, ow, _ = acc.shape
        y = x[:: layer.stride_h, :: layer.stride_w][:oh, :ow].astype(np.int64) - zero
        if layer.flags & EXPAND:
            short_bias, short_mult, short = arrays.outputs(layer, layer.cout, cin)
            sums = pixel_sums(y + zero, short.T, short_bias)
            y = narrow(sums, short_mult, param.shift_2, param.zero_add) - param.zero_add
        return narrow(acc, mult, param.shift, param.zero_out, param.res_mult * y)

    def _maximum(self, x, zero, layer, param) -> np.ndarray:
        assert param.zero_out == zero
        return windows(x, -np.inf, Steps.of(layer)).max((3, 4))

    def _mean(self, x, zero, layer, param) -> np.ndarray:
        mult = Arrays(self.blob, param.weight_off).take("<i4", 1)
        sums = windows(x.astype(np.int64) - zero, 0, Steps.of(layer)).sum((3, 4)).astype(np.int64)
        return narrow(sums, mult, param.shift, param.zero_out)

    def _int4(self, x, zero, layer, param) -> np.ndarray:
        """Bytes of two values, the first one in the lower half."""
        assert param.zero_out == zero
        sixteenths = np.minimum((x.astype(np.int64) + 8) // 16, 7)
        return (sixteenths[..., ::2] % 16 + sixteenths[..., 1::2] % 16 * 16).astype(np.uint8).view(np.int8)

    def _int8(self, x, zero, layer, param) -> np.ndarray:
        assert param.zero_out == zero
        halves = np.stack([x.view(np.uint8) % 16, x.view(np.uint8) // 16], -1).reshape(*x.shape[:2], -1)
        return (halves * 16).astype(np.uint8).view(np.int8)

    def _parts(self, layer, param, cin: int, columns: bool):
        """bias, mult and weight of the expansion (None without one), the depthwise convolution and the projection."""
        if layer.mode in (FAST, SWEEP):
            return FastArrays(self.blob, param.weight_off, layer, cin, columns).read()
        arrays = Arrays(self.blob, param.weight_off)
        expand = arrays.scaled(layer.cexp, layer.cexp, cin) if layer.flags & EXPAND else None
        depthwise = arrays.scaled(layer.cexp, layer.kernel_h, layer.kernel_w, layer.cexp)
        return expand, depthwise, arrays.scaled(layer.cout, layer.cexp, layer.cout)

    def _bottleneck(self, x, zero, layer, param, columns: bool) -> np.ndarray:
        expand, depthwise, project = self._parts(layer, param, x.shape[2], columns)
        signed = bool(layer.flags & SIGNED)
        e, outside = x, zero
        if expand is not None:
            bias, mult, weight = expand
            e, outside = wide(pixel_sums(x, weight.T, bias), mult, param.shift_1, signed), 0
        bias, mult, weight = depthwise
        d = wide(depthwise_sums(e, outside, weight, bias, Steps.of(layer)), mult, param.shift_2, signed)
        bias, mult, weight = project
        extra = param.res_mult * (x.astype(np.int64) - zero) if layer.flags & RESIDUAL else 0
        return narrow(pixel_sums(d, weight, bias), mult, param.shift, param.zero_out, extra)

    def _pooled(self, last: list[np.ndarray]) -> np.ndarray:
        """Sums of the last maps' channels."""
        zero = (self.behind or self.params[0])[-1].zero_out
        assert len({params[-1].zero_out for params in self.params}) == 1, "all chains must end with the same zero_out"
        sums = [(x.astype(np.int64) - zero).sum((0, 1)) for x in last]
        return np.concatenate(sums) if self.header.aggregate == 1 else np.sum(sums, axis=0)
