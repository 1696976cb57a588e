"""Random integer networks for the tests: odd shapes, extreme zero points, multipliers that spread what comes out.

Every choice comes from the generator that is passed in, so a failing network is named by its seed. Multipliers and
biases are fitted to what the network does on one random picture, as a calibration would: values that are all
saturated, or all the same, would prove nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

import oracle
from patchnet.blob.floats import FloatNet, Real
from patchnet.blob.quantized import QBlock, QBottleneck, QCast, QConv, QLayer, QNet, QPooling, Scaled
from patchnet.format import MAX_SHIFT
from patchnet.net.layers import ACTIVATIONS, CASTS, POOLS, Layer, Pads, casts, pair
from patchnet.net.network import Network
from patchnet.net.recipe import PatchTunnels, Stage
from patchnet.plan.modes import FAST_SHIFT, fast_shape
from patchnet.tasks.classify.end import Merged, Pooled
from patchnet.tasks.classify.record import QPool, QPooled
from patchnet.tasks.detect.end import Detection, Scale
from patchnet.tasks.detect.record import QDetect
from patchnet.tasks.heatmap.end import HeatMap
from patchnet.tasks.raw.end import LastMap
from patchnet.tasks.raw.record import QMap

INT31 = (1 << 31) - 1
KEEP_ZERO = ("maxpool", *CASTS)  # kinds of layers that have their input's zero point


@dataclass(frozen=True)
class Free(PatchTunnels):
    """A recipe of which the tunnels are any chain of layers, not only stem, bottlenecks and head."""

    chain: tuple[Layer, ...] = ()

    def layers(self) -> list[Layer]:
        return list(self.chain)


def free_network(*args, **kwargs) -> Network:
    return Free(*args, **kwargs).network()


def macs(network: Network) -> int:
    """Of the convolutions."""
    return network.tunnels * sum(layer.macs for layer in network.layers()) + sum(s.macs for s in network.tail())


def random_kernel(rng, h: int, w: int, sizes=(1, 3, 5, 7)) -> dict:
    """Kernel, stride and padding for a map of h x w: mostly square with padding kernel // 2, else of any shape."""
    if rng.random() < 0.6:
        kernel = int(rng.choice(sizes))
        return dict(kernel=kernel, stride=int(rng.choice([1, 1, 2])))
    square = int(rng.choice(sizes))
    sides = [square if rng.random() < 0.4 else int(rng.choice([1, 2, 3, 4, 5, 6, 9, 15])) for _ in range(2)]
    stride = int(rng.choice([1, 1, 2, 3]))
    strides = [stride if rng.random() < 0.7 else int(rng.choice([1, 2, 3, 4])) for _ in range(2)]
    pads: list[int] = []
    for kernel, size in zip(sides, (h, w), strict=True):
        before, after = (int(n) for n in rng.integers(0, kernel, 2))
        missing = max(0, kernel - size - before - after)
        more = min(missing, kernel - 1 - before)
        pads += [before + more, min(kernel - 1, after + missing - more)]
    return dict(kernel=tuple(sides), stride=tuple(strides), pads=tuple(pads))


def random_block(rng, h: int, w: int, cin: int, wide: int, act: str) -> Layer:
    second = int(rng.choice([1, 3, 3, 5]))
    second = second if rng.random() < 0.8 else (second, int(rng.choice([1, 3, 5])))
    cexp, cout = (int(n) for n in rng.integers(1, wide + 1, 2))
    if rng.random() < 0.5:
        kernel = int(rng.choice([1, 3, 3, 5]))
        return Layer("block", h, w, cin, cexp, cin, kernel, 1, act=act, second=second)
    layer = Layer("block", h, w, cin, cexp, cout, **random_kernel(rng, h, w), expand=True, act=act, second=second)
    return layer if not layer.fault() else random_block(rng, h, w, cin, wide, act)


def random_layer(rng, first: bool, h: int, w: int, cin: int, wide: int) -> Layer:
    """Any layer that may follow a map of h x w x cin; up to `wide` output and 3 * `wide` expanded channels."""
    cout = int(rng.integers(1, wide + 1))
    act = str(rng.choice(ACTIVATIONS))
    if rng.random() < 0.08:  # the kernel is the whole map
        kind = "conv" if first else str(rng.choice(["conv", *POOLS]))
        return Layer(kind, h, w, cin, 0, cout if kind == "conv" else cin, (h, w), 1, act=act, pads=(0, 0, 0, 0))
    if first or rng.random() < 0.25:
        return Layer("conv", h, w, cin, 0, cout, **random_kernel(rng, h, w), act=act)
    if rng.random() < 0.2:
        return random_block(rng, h, w, cin, wide, act)
    if rng.random() < 0.25:
        kind = str(rng.choice(POOLS))
        return Layer(kind, h, w, cin, 0, cin, **random_kernel(rng, h, w, (1, 2, 3)), act="none")
    expand = bool(rng.random() < 0.75)
    cexp = int(rng.integers(1, 3 * wide + 1)) if expand else cin
    shape = random_kernel(rng, h, w, (3, 3, 5, 7))
    residual = shape["stride"] == 1 and "pads" not in shape and bool(rng.random() < 0.6)
    return Layer(
        "bottleneck", h, w, cin, cexp, cin if residual else cout, expand=expand, residual=residual, act=act, **shape
    )


def random_chain(rng, h: int, w: int, channels: int, depth: int, wide: int, halves: float = 0.3) -> tuple[Layer, ...]:
    """`halves`: how many of the maps that may have 4 bits do."""
    (own,) = rng.spawn(1)  # else all that comes next would be another network
    chain = [random_layer(rng, True, h, w, channels, wide)]
    while len(chain) < depth or chain[-1].kind in KEEP_ZERO:  # chains end with a zero point of their own
        last = chain[-1]
        if last.cout % 2 == 0 and own.random() < halves:
            chain += casts(last)
        chain.append(random_layer(rng, False, last.oh, last.ow, last.cout, wide))
    return tuple(chain)


def without_casts(network: Network) -> tuple[Network, tuple[int, ...]]:
    """The network of which it is `halved` behind these layers; its tunnels' alone."""
    kept = [layer.kind for layer in network.chain if layer.kind != "int8"]
    plain = replace(network, chain=tuple(layer for layer in network.chain if layer.kind not in CASTS))
    return plain, tuple(i - 1 - n for n, i in enumerate(i for i, kind in enumerate(kept) if kind == "int4"))


def random_recipe(
    rng, max_macs: int = 1_000_000, k: int | None = None, channels: tuple[int, ...] = (1, 3), halves: float = 0.3
) -> Free:
    """Shapes only. k, central patch, margins, sides, layers, classes, aggregation: all by chance, within max_macs. k 0:
    the whole picture, and nothing else."""
    central = k != 0 and bool(rng.random() < 0.5)
    k = int(rng.choice([1, 4, 9, 16])) if k is None else max(k, 1)
    grid = int(k**0.5)
    while True:
        height, width = (int(n) for n in rng.integers(max(3, 2 * grid), 24 + 4 * grid, 2))
        margins = [int(rng.integers(0, min(6, n - -(-n // grid)) + 1)) if k > 1 else 0 for n in (height, width)]
        classes = int(rng.integers(1, 12))
        shell = Free(
            "random", tuple(f"class {i}" for i in range(classes)), height, width, int(rng.choice(channels)), k, central,
            *margins, fit=str(rng.choice(["stretch", "crop"])), aggregate=str(rng.choice(["sum", "concat"])),
        )  # fmt: skip
        deep, wide = (int(rng.integers(1, n)) for n in (7, 17))
        chain = random_chain(rng, *shell.patch, shell.channels, deep, wide, halves)
        recipe = replace(shell, chain=chain)
        if macs(recipe.network()) <= max_macs:
            return recipe


def classifier(rng, network: Network) -> Network:
    """The network, at times without a fully connected layer, or with scores of each class by itself."""
    end = Pooled(network.end.aggregate, bool(rng.random() < 0.8), str(rng.choice(["softmax", "softmax", "sigmoid"])))
    labels = network.labels if end.dense else tuple(f"class {i}" for i in range(end.features(network)))
    return replace(network, end=end, labels=labels)


def random_network(rng, max_macs: int = 1_000_000, k: int | None = None) -> Network:
    return sized(rng, classifier(rng, random_recipe(rng, max_macs, k).network()))


def sized(rng, network: Network) -> Network:
    """The network, at times with patches anywhere in pictures of sizes of their own."""
    (own,) = rng.spawn(1)  # else all that comes next would be another network
    if own.random() < 0.7:
        return network
    height, width = (side + int(own.choice([0, 1, 9])) for side in (network.height, network.width))
    sizes, corners = [], []
    for _ in network.corners:
        both = [
            (n, side, int(own.integers(n, side + 1))) for n, side in zip(network.patch, (height, width), strict=True)
        ]
        size = tuple(int(own.choice([n, side, some])) for n, side, some in both)
        sizes.append(size)
        corners.append(tuple(int(own.integers(0, of - n + 1)) for of, n in zip(size, network.patch, strict=True)))
    return replace(network, height=height, width=width, corners=tuple(corners), sizes=tuple(sizes))


ANY_CHANNELS = (1, 3, 1, 3, 2, 4, 5, 8, 40)  # a picture's, and others


def random_last_map(rng, max_macs: int = 1_000_000) -> Network:
    """A raw network or a heat map, of any input."""
    base = random_recipe(rng, max_macs, 0, ANY_CHANNELS).network()
    if rng.random() < 0.4:
        return replace(base, end=LastMap(), labels=())
    n = base.chain[-1].cout
    some = int(rng.choice([0, n - 1, rng.integers(0, n)])) if n > 1 and rng.random() < 0.8 else -1
    scores = str(rng.choice(["softmax", "softmax", "sigmoid"]))
    end = HeatMap(some, int(rng.choice([1, 2, 5, 20, 100])), scores)
    return replace(base, end=end, labels=tuple(f"class {i}" for i in range(n)))


def random_raw_input(rng, max_macs: int = 1_000_000) -> Network:
    """A classifier of an input that is no picture."""
    return classifier(rng, random_recipe(rng, max_macs, None, (2, 4, 5, 8, 40)).network())


def random_scale(rng, first: bool, height: int, width: int) -> Scale:
    """Up to two stages of any kind (the first scale often has none), up to four anchors."""
    n = int(rng.integers(0, 3)) if first else int(rng.integers(1, 3))
    stages = [
        Stage(int(rng.integers(1, 13)), int(rng.integers(1, 3)), int(rng.integers(1, 3)), int(rng.integers(0, 4)),
              int(rng.choice([3, 3, 5])))
        for _ in range(n)
    ]  # fmt: skip
    most = 2 * min(height, width) - 1
    anchors = [tuple(int(side) for side in rng.integers(1, most + 1, 2)) for _ in range(int(rng.integers(1, 5)))]
    return Scale(tuple(anchors), tuple(stages))


def random_detector(rng, max_macs: int = 1_000_000, k: int | None = None) -> Network:
    """Shapes of a detection network: tunnels as in random_network, 1 to 3 scales, few or many candidates."""
    while True:
        base = random_recipe(rng, max_macs, k)
        scales = [random_scale(rng, i == 0, base.height, base.width) for i in range(int(rng.integers(1, 4)))]
        detection = Detection(tuple(scales), int(rng.choice([1, 3, 20, 100])))
        act = str(rng.choice(ACTIVATIONS))
        try:
            network = replace(base, aggregate="sum", end=detection, labels=base.labels[:4], act=act).network()
        except ValueError:
            continue
        if macs(network) <= max_macs:
            return network


def random_merging(rng, max_macs: int = 1_000_000) -> Network:
    """A classifier whose tunnels merge before some more layers."""
    while True:
        base = random_recipe(rng, max_macs)
        scale = random_scale(rng, False, base.height, base.width)
        try:
            network = replace(base, aggregate="sum", merged=scale.stages, act=str(rng.choice(ACTIVATIONS))).network()
        except ValueError:
            continue
        end = replace(network.end, dense=bool(rng.random() < 0.8), scores=str(rng.choice(["softmax", "sigmoid"])))
        labels = network.labels if end.dense else tuple(f"class {i}" for i in range(end.features(network)))
        if macs(network) <= max_macs:
            return replace(network, end=end, labels=labels)


class Filler:
    """Draws the integers of one network. `extreme`: all weights are -127 or 127, and many biases at the limit.

    In some networks all multipliers are powers of two: then sums lie just between two values, where rounding shows.
    """

    def __init__(self, rng, extreme: bool = False):
        self.rng, self.extreme, self.ties = rng, extreme, rng.random() < 0.2

    def weight(self, *shape: int) -> np.ndarray:
        if self.extreme:
            sign = self.rng.choice([-1, 1]) if self.rng.random() < 0.5 else self.rng.choice([-1, 1], shape)
            return (127 * sign * np.ones(shape)).astype(np.int8)
        return self.rng.integers(-127, 128, shape).astype(np.int8)

    def zero(self, act: str = "none") -> int:
        if act != "none":
            return -128
        return int(self.rng.choice([-128, 127, 0, self.rng.integers(-128, 128)]))

    def fit(self, sums, weight, unit: float, spread, centre, limit: int) -> Scaled:
        """Bias and mult per output channel (last axis of `sums`) for a result of about `spread` around `centre`.

        A result is sum * mult / unit. `limit` is the largest |bias| allowed.
        """
        flat = sums.reshape(-1, sums.shape[-1])
        std = np.maximum(flat.std(0), 1)
        mult = np.clip(unit * spread / std, 1, INT31).astype(np.int64)
        if self.ties:
            mult = 1 << np.log2(mult).astype(np.int64)
        bias = np.clip(centre * unit / mult - flat.mean(0), -limit, limit).astype(np.int64)
        if self.rng.random() < (0.7 if self.extreme else 0.05):
            far = self.rng.random(len(mult)) < 0.3
            bias[far] = self.rng.choice([-limit, limit], len(mult))[far]
            mult[far] = np.clip(100 * unit / limit, 1, INT31)
        return Scaled(weight, bias.astype(np.int32), mult.astype(np.int32))

    def wide(self, sums, weight, products: int, signed: bool) -> tuple[Scaled, int]:
        """At times with a shift, never one that could overflow."""
        n, shift = sums.shape[-1], 0
        if self.rng.random() < 0.2:
            top = max(s for s in range(MAX_SHIFT + 1) if products << 15 <= INT31 >> s)
            shift = int(self.rng.integers(0, top + 1))
        limit = (INT31 >> shift) - (products << 15)
        lo, hi = ((-40, 40) if signed else (0, 120)) if not self.extreme else (-128, 256)
        spread, centre = self.rng.uniform(20, 80, n), self.rng.uniform(lo, hi, n)
        return self.fit(sums, weight, 2.0 ** (32 - shift), spread, centre, limit), shift

    def narrow(self, sums, weight, products: int, zero: int) -> tuple[Scaled, int]:
        """The smallest shift that the multipliers need, at times a larger one; never one that could overflow."""
        n = sums.shape[-1]
        spread, centre = self.rng.uniform(20, 80, n), self.rng.uniform(-60, 60, n) - zero
        top = max(s for s in range(MAX_SHIFT + 1) if products << 15 <= INT31 >> s)
        need = 2.0**40 * spread.max() / max(1, sums.std(axis=tuple(range(sums.ndim - 1))).min()) / INT31
        shift = int(np.clip(np.ceil(np.log2(need)) + self.rng.integers(0, 2), 0, top))
        limit = (INT31 >> shift) - (products << 15)
        return self.fit(sums, weight, 2.0 ** (40 - shift), spread, centre, limit), shift


def steps_of(layer: Layer) -> oracle.Steps:
    return oracle.Steps((layer.kh, layer.kw), (layer.sh, layer.sw), layer.pad)


def fill_conv(f: Filler, layer: Layer, x, zero_in, zero_out: int):
    weight = f.weight(layer.cout, layer.kh, layer.kw, layer.cin)
    sums = oracle.conv_sums(x, zero_in, weight, 0, steps_of(layer))
    conv, shift = f.narrow(sums, weight, weight[0].size, zero_out)
    out = oracle.narrow(sums + conv.bias, conv.mult.astype(np.int64), shift, zero_out)
    return QConv(layer, conv, shift, zero_out), out


def fill_bottleneck(f: Filler, layer: Layer, x, zero_in, zero_out: int):
    signed = layer.act == "none"
    expand, e, outside, expand_shift = None, x, zero_in, 0
    if layer.expand:
        weight = f.weight(layer.cexp, layer.cin)
        sums = oracle.pixel_sums(x, weight.T, 0)
        expand, expand_shift = f.wide(sums, weight, layer.cin, signed)
        e, outside = oracle.wide(sums + expand.bias, expand.mult.astype(np.int64), expand_shift, signed), 0
    weight = f.weight(layer.cexp, layer.kh, layer.kw)
    sums = oracle.depthwise_sums(e, outside, weight.transpose(1, 2, 0), 0, steps_of(layer))
    depthwise, depthwise_shift = f.wide(sums, weight, layer.taps, signed)
    d = oracle.wide(sums + depthwise.bias, depthwise.mult.astype(np.int64), depthwise_shift, signed)
    weight = f.weight(layer.cout, layer.cexp)
    sums = oracle.pixel_sums(d, weight.T, 0)
    project, shift = f.narrow(sums, weight, layer.cexp, zero_out)
    res_mult = int(f.rng.choice([1, 32767, f.rng.integers(20, 500)])) if layer.residual else 0
    extra = res_mult * (x.astype(np.int64) - zero_in) if layer.residual else 0
    out = oracle.narrow(sums + project.bias, project.mult.astype(np.int64), shift, zero_out, extra)
    shifts = expand_shift, depthwise_shift
    return QBottleneck(layer, expand, depthwise, project, shift, zero_out, res_mult, *shifts), out


def fill_block(f: Filler, layer: Layer, x, zero_in: int, zero_out: int):
    zero_mid, second = f.zero(layer.act), oracle.Steps(pair(layer.second), (1, 1), ())
    y, w = (k // 2 for k in second.kernel)
    weight = f.weight(layer.cexp, layer.kh, layer.kw, layer.cin)
    sums = oracle.conv_sums(x, zero_in, weight, 0, steps_of(layer))
    first, first_shift = f.narrow(sums, weight, weight[0].size, zero_mid)
    mid = oracle.narrow(sums + first.bias, first.mult.astype(np.int64), first_shift, zero_mid)
    weight = f.weight(layer.cout, *second.kernel, layer.cexp)
    sums = oracle.conv_sums(mid, zero_mid, weight, 0, second._replace(pads=(y, y, w, w)))
    conv, shift = f.narrow(sums, weight, weight[0].size, zero_out)
    added, zero_add = x[:: layer.sh, :: layer.sw][: layer.oh, : layer.ow].astype(np.int64), zero_in
    shortcut, shortcut_shift = None, 0
    if layer.expand:
        weight, zero_add = f.weight(layer.cout, layer.cin), f.zero()
        short_sums = oracle.pixel_sums(added, weight.T, 0)
        shortcut, shortcut_shift = f.narrow(short_sums, weight, layer.cin, zero_add)
        mult = shortcut.mult.astype(np.int64)
        added = oracle.narrow(short_sums + shortcut.bias, mult, shortcut_shift, zero_add)
    res_mult = int(f.rng.choice([1, 32767, *f.rng.integers(20, 500, 4)]))
    extra = res_mult * (added - zero_add)
    out = oracle.narrow(sums + conv.bias, conv.mult.astype(np.int64), shift, zero_out, extra)
    ends = first_shift, zero_mid, shift, zero_out, res_mult, shortcut_shift, zero_add if layer.expand else 0
    return QBlock(layer, first, conv, shortcut, *ends), out


def fill_pooling(f: Filler, layer: Layer, x, zero_in: int, zero_out: int):
    if layer.kind == "maxpool":
        seen = oracle.windows(x, -np.inf, steps_of(layer))
        return QPooling(layer, zero_in), seen.max((3, 4)).astype(np.int64)
    sums = oracle.windows(x.astype(np.int64) - zero_in, 0, steps_of(layer)).sum((3, 4)).astype(np.int64)
    steps = f.rng.uniform(0.5, 4) / layer.taps  # of the output, for each 1 of a sum
    shift = max(0, int(np.ceil(np.log2(2.0**40 * steps / INT31))))
    mult = int(2.0 ** (40 - shift) * steps)
    return QPooling(layer, zero_out, mult, shift), oracle.narrow(sums, mult, shift, zero_out)


def fill_cast(f: Filler, layer: Layer, x, zero_in: int, zero_out: int):
    if layer.kind == "int4":
        steps = np.minimum((x.astype(np.int64) + 8) // 16, 7)
        out = (steps[..., ::2] % 16 + steps[..., 1::2] % 16 * 16 + 128) % 256 - 128
    else:
        out = (np.stack([x % 16, x // 16 % 16], -1).reshape(*x.shape[:2], -1) * 16 + 128) % 256 - 128
    return QCast(layer, zero_in), out.astype(np.int64)


def fill_layer(f: Filler, layer: Layer, x, zero_in, zero_out: int):
    """(integers, output map)."""
    fills = {"conv": fill_conv, "bottleneck": fill_bottleneck, "block": fill_block, **dict.fromkeys(CASTS, fill_cast)}
    fill = fills.get(layer.kind, fill_pooling)
    return fill(f, layer, x, zero_in, zero_out)


def own_zero(f: Filler, layer: Layer) -> int:
    return f.zero(layer.act if layer.kind in ("conv", "block") else "none")


def fill_chain(f: Filler, network: Network, x, input_zero, last_zero: int):
    """One tunnel over its patch x (patch_h, patch_w, channels): its quantized layers and its last map."""
    chain, zero = [], np.array(input_zero)
    layers = network.layers()
    for i, layer in enumerate(layers):
        zero_out = last_zero if i == len(layers) - 1 else own_zero(f, layer)
        step, x = fill_layer(f, layer, x, zero, zero_out)
        chain.append(step)
        zero = step.zero_out
    return tuple(chain), x


def stitched(network: Network, last: list[np.ndarray], zero: int) -> np.ndarray:
    (h, w), cout = network.end.map, network.layers()[-1].cout
    x = np.full((h, w, cout), zero, np.int64)
    for p, own in zip(network.end.places, last, strict=True):
        part = own[p.from_y : p.from_y + p.h, p.from_x : p.from_x + p.w].astype(np.int64) - zero
        here = x[p.to_y : p.to_y + p.h, p.to_x : p.to_x + p.w]
        here[:] = np.clip(here + part, -128, 127)
    return x


def fill_pool(f: Filler, network: Network, last: list[np.ndarray], zero: int):
    """The pool and the features that it makes of the tunnels' last maps."""
    sums = [(x.astype(np.int64) - zero).sum((0, 1)) for x in last]
    acc = np.concatenate(sums) if network.end.aggregate == "concat" else np.sum(sums, axis=0)
    pixels = len(last) * last[0].shape[0] * last[0].shape[1]
    top = max(s for s in range(MAX_SHIFT + 1) if pixels * 255 <= INT31 >> s)
    steps = f.rng.uniform(60, 250) / max(1, np.abs(acc).max())  # of the feature, for each 1 of the sum
    shift = int(np.clip(np.ceil(np.log2(2.0**40 * steps / INT31)), 0, top))
    mult = int(np.clip(2.0 ** (40 - shift) * steps, 1, INT31))
    middle = int(np.clip(-acc.mean() * steps, -128, 127))
    zero_out = middle if f.rng.random() < 0.8 else f.zero()
    return QPool(mult, shift, zero_out), oracle.narrow(acc, mult, shift, zero_out)


def fill_fc(f: Filler, features, classes: int) -> tuple[Scaled, int, int]:
    """The fully connected layer, its shift and its zero point: logits spread over most of the 16 bits."""
    weight, zero = f.weight(classes, len(features)), f.zero()
    sums = oracle.pixel_sums(features, weight.T, 0)
    around = sums + f.rng.normal(0, 40 * 73 * len(features) ** 0.5, (50, classes))
    fc, shift = f.narrow(around.astype(np.int64), weight, len(features), zero)
    return fc, shift, zero


def fill_tail(f: Filler, network: Network, last: list[np.ndarray], zero: int) -> tuple[tuple, QDetect]:
    """What follows the tunnels, whose last maps these are."""
    x, behind = stitched(network, last, zero), []
    for scale in network.readouts:
        for layer in scale.layers:
            q, x = fill_layer(f, layer, x, zero, own_zero(f, layer))
            behind.append(q)
            zero = q.zero_out
        behind.append(fill_bottleneck(f, scale.head, x, zero, 0)[0])
    rng = f.rng
    cls_zero = int(rng.choice([0, 60, rng.integers(-200, 200)]))
    end = QDetect(cls_zero, float(rng.uniform(0.005, 0.2)), float(rng.choice([0.01, 0.05, 0.4, 3.0])))
    return tuple(behind), end


def random_picture(rng, height: int, width: int, channels: int) -> np.ndarray:
    """uint8 (height, width, channels): something smooth under something rough, the full range in use."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(rng.uniform(1, 9) * x + rng.uniform(1, 9) * y + rng.uniform(0, 6)) for _ in range(channels)]
    picture = 128 + 100 * np.stack(waves, 2) + rng.normal(0, 40, (height, width, channels))
    return np.clip(picture, 0, 255).astype(np.uint8)


def extreme_picture(rng, height: int, width: int, channels: int) -> np.ndarray:
    """Only 0 and 255: all one, or by chance."""
    kinds = [np.zeros, np.ones, lambda shape: rng.integers(0, 2, shape)]
    return (255 * kinds[rng.integers(3)]((height, width, channels))).astype(np.uint8)


def random_qnet(rng, network: Network | None = None, max_macs: int = 1_000_000, extreme: bool = False) -> QNet:
    """A network with integers. At times two tunnels share theirs."""
    network = network or random_network(rng, max_macs)
    f = Filler(rng, extreme)
    picture = (extreme_picture if extreme else random_picture)(rng, network.height, network.width, network.channels)
    input_zero = tuple(f.zero() for _ in range(network.channels if network.channels in (1, 3) else 1))
    last_zero = own_zero(f, network.layers()[-1])
    ph, pw = network.patch
    patches = []
    for y, left, height, width in network.patches():
        seen = oracle.sample(picture, (0, 0, network.width, network.height), height, width)
        patches.append(seen[y : y + ph, left : left + pw].astype(np.int64))
    pairs = [fill_chain(f, network, patch, input_zero, last_zero) for patch in patches]
    tunnels, last_maps = [chain for chain, _ in pairs], [out for _, out in pairs]
    if rng.random() < 0.1:
        tunnels[0] = tunnels[-1]
    behind: tuple[QLayer, ...] = ()
    if isinstance(network.end, Merged):
        x, zero, chain = stitched(network, last_maps, last_zero), last_zero, []
        for layer in network.tail():
            step, x = fill_layer(f, layer, x, zero, own_zero(f, layer))
            chain.append(step)
            zero = step.zero_out
        behind, last_maps, last_zero = tuple(chain), [x], zero
    elif network.readouts:
        behind, end = fill_tail(f, network, last_maps, last_zero)
        return QNet(network, input_zero, tuple(tunnels), end, behind)
    if isinstance(network.end, LastMap):
        return QNet(network, input_zero, tuple(tunnels), QMap(float(rng.choice([0.002, 0.02, 0.1, 1.0]))))
    pool, features = fill_pool(f, network, last_maps, last_zero)
    if not network.end.dense:
        scale = float(rng.choice([0.002, 0.02, 0.1, 1.0]))
        return QNet(network, input_zero, tuple(tunnels), QPooled(pool, None, 0, 0, scale), behind)
    fc, fc_shift, fc_zero = fill_fc(f, features, len(network.labels))
    scale = float(rng.choice([0.002, 0.02, 0.1, 1.0]))
    return QNet(network, input_zero, tuple(tunnels), QPooled(pool, fc, fc_shift, fc_zero, scale), behind)


def conv_network(rng, max_macs: int) -> Network:
    """Dense convolutions alone: narrow maps, 1..70 channels, odd numbers of them among them."""
    while True:
        sides, channels = rng.integers(1, int(rng.choice([4, 10, 30])), 2), int(rng.choice([1, 3]))
        chain: list[Layer] = []
        for cout in rng.choice([1, 2, 3, 4, 5, 8, 12, 16, 17, 24, 36, 70], int(rng.integers(1, 5))).tolist():
            h, w, cin = (chain[-1].oh, chain[-1].ow, chain[-1].cout) if chain else (*map(int, sides), channels)
            chain.append(
                Layer("conv", h, w, cin, 0, cout, int(rng.choice([1, 1, 3, 3, 5, 7])), int(rng.choice([1, 2])))
            )
        size = chain[0].h, chain[0].w
        network = free_network("convs", ("a", "b", "c"), *size, channels, 1, False, chain=tuple(chain))
        if macs(network) <= max_macs:
            return sized(rng, network)


# ---------------------------------------------------------------- layers for modes fast and sweep


def fast_pads(rng, h: int, w: int, kernel: int, residual: bool) -> Pads:
    """Any padding for a map of h x w, a residual's such that a map as large comes out."""
    pads: list[int] = []
    for size in (h, w):
        before, after = (int(n) for n in rng.integers(0, kernel, 2))
        pads += [before, kernel - 1 - before if residual else max(after, kernel - size - before)]
    return pads[0], pads[1], pads[2], pads[3]


def fast_recipe(rng, depth: int = 4, wide: int = 5, k: int = 1) -> Free:
    """A convolution and `depth` bottlenecks with shapes for modes fast and sweep, of up to 4 * `wide` channels: of all
    kernels, a few without an expansion, some with input channels that are no multiple of 4, some with padding of any
    size."""
    shell = Free("fast", ("a", "b", "c"), *(int(n) for n in rng.integers(8, 30, 2)), 3, k, False)
    cin, strides = 4 * int(rng.integers(1, wide + 1)), rng.choice([1, 1, 2], depth)
    cin -= int(rng.choice([0, 0, 0, 1, 2]))
    chain = [Layer("conv", *shell.patch, 3, 0, cin, 3, 2)]
    for stride in strides.tolist():
        last, cexp = chain[-1], 4 * int(rng.integers(1, 3 * wide + 1))
        residual = stride == 1 and last.cout % 2 == 0 and bool(rng.random() < 0.5)
        cout = last.cout if residual else 4 * int(rng.integers(1, wide + 1)) + 2 * int(rng.random() < 0.2)
        plain = last.cout % 4 == 0 and rng.random() < 0.2
        kernel, cexp = (3, last.cout) if plain else (int(rng.choice([3, 3, 5, 7])), cexp)
        pads = fast_pads(rng, last.oh, last.ow, kernel, residual) if rng.random() < 0.4 else None
        sizes = last.oh, last.ow, last.cout, cexp, cout, kernel, stride
        chain.append(Layer("bottleneck", *sizes, not plain, residual, "relu6", pads))
    return replace(shell, chain=tuple(chain))


def fast_network(rng, depth: int = 4, wide: int = 5, k: int = 1) -> Network:
    return fast_recipe(rng, depth, wide, k).network()


def mixed_network(rng, max_macs: int) -> Network:
    """A `fast_network` of at most so many MACs, at times with a bottleneck among them or a head that is not for these
    modes."""
    while True:
        k, depth, wide = int(rng.choice([1, 1, 4])), int(rng.integers(1, 5)), int(rng.integers(1, 6))
        plain = fast_network(rng, depth, wide, k)
        chain = [replace(s, act="none") if s.kind == "bottleneck" and rng.random() < 0.15 else s for s in plain.chain]
        if rng.random() < 0.3:
            chain.append(Layer("conv", chain[-1].oh, chain[-1].ow, chain[-1].cout, 0, int(rng.integers(1, 12)), 1, 1))
        aggregate = str(rng.choice(["sum", "concat"]))
        network = classifier(rng, replace(plain, chain=tuple(chain), end=Pooled(aggregate)))
        if macs(network) <= max_macs:
            return sized(rng, network)


def made_fast(rng, q: QLayer) -> QLayer:
    """`q` with shifts that let it run in modes fast and sweep, if its shape does, and at times a larger one."""
    if not isinstance(q, QBottleneck) or not fast_shape(q.shape):
        return q
    sums = (q.shape.cexp << 15) + int(np.abs(q.project.bias.astype(np.int64)).max())
    shift = max(s for s in range(int(rng.integers(0, 4)) + 1) if sums <= INT31 >> s)
    mult = np.minimum(q.project.mult.astype(np.int64) << q.shift, INT31) >> shift
    project = replace(q.project, mult=np.maximum(mult, 1).astype(np.int32))
    wide = {name: min(getattr(q, name), FAST_SHIFT) for name in ("expand_shift", "depthwise_shift")}
    return replace(q, project=project, shift=shift, **wide)


def fast_qnet(rng, network: Network, extreme: bool = False) -> QNet:
    """A network with integers: every bottleneck whose shape allows it may run in modes fast and sweep."""
    qnet = random_qnet(rng, network, extreme=extreme)
    tunnels = tuple(tuple(made_fast(rng, q) for q in chain) for chain in qnet.tunnels)
    return replace(qnet, tunnels=tunnels, behind=tuple(made_fast(rng, q) for q in qnet.behind))


# float32


def random_real(rng, shape: tuple[int, ...], extreme: bool) -> Real:
    """Weights that keep values as large as they are; some are nought, or (`extreme`) of any size."""
    weight = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
    bias = rng.normal(0, 0.3, shape[0])
    weight[rng.random(shape) < 0.05] = 0.0
    if extreme:
        weight *= 10.0 ** rng.choice([0, 0, 0, -30, -20, 8, 18], shape)
        bias *= rng.choice([1, 0, 1e-40, 1e30], shape[0])
    return Real(weight.astype(np.float32), bias.astype(np.float32))


def real_parts(rng, s: Layer, extreme: bool) -> dict[str, Real]:
    """Of a layer, by their names."""
    if s.kind in POOLS:
        return {}
    shapes = {"": (s.cout, s.cin, s.kh, s.kw)}
    if s.kind == "bottleneck":
        shapes = dict(expand=(s.cexp, s.cin, 1, 1), depthwise=(s.cexp, 1, s.kh, s.kw), project=(s.cout, s.cexp, 1, 1))
    if s.kind == "block":
        shapes = dict(
            first=(s.cexp, s.cin, s.kh, s.kw),
            second=(s.cout, s.cexp, *pair(s.second)),
            shortcut=(s.cout, s.cin, 1, 1),
        )
    optional = () if s.expand else ("expand", "shortcut")
    return {name: random_real(rng, shape, extreme) for name, shape in shapes.items() if name not in optional}


def random_floats(rng, network: Network, extreme: bool = False) -> FloatNet:
    """The network with float32 weights; pixels in their usual units are divided by 64. At times two tunnels share
    theirs, and bottlenecks have an activation behind them, or a linear depthwise convolution."""
    chain = []
    for layer in network.chain:
        if layer.kind == "bottleneck" and rng.random() < 0.3:
            layer = replace(layer, out_act=str(rng.choice(ACTIVATIONS)), linear=layer.act != "none")
        chain.append(layer)
    mean = tuple(int(m) for m in rng.integers(0, 256, 3))
    network = replace(network, chain=tuple(chain), mean=mean).float32()
    tunnels = []
    for _ in range(network.tunnels):
        parts = [real_parts(rng, layer, extreme) for layer in network.chain]
        first = parts[0][""]
        parts[0] = {"": Real(first.weight / np.float32(64), first.bias)}
        tunnels.append(tuple(parts))
    if rng.random() < 0.1:
        tunnels[0] = tunnels[-1]
    dense = network.end.fully_connected(network)
    return FloatNet(network, tuple(tunnels), random_real(rng, dense, extreme) if dense else None)


def random_float_network(rng, max_macs: int = 300_000) -> Network:
    """Of any task and input that a float32 network may have."""
    if rng.random() < 0.15:
        network = random_raw_input(rng, max_macs)
    elif rng.random() < 0.2:
        base = random_recipe(rng, max_macs, 0, ANY_CHANNELS).network()
        network = replace(base, end=LastMap(), labels=())
    else:
        network = random_network(rng, max_macs)
    return network


def identity_qnet(height: int, width: int, channels: int, k: int = 1, **shape) -> QNet:
    """One 1x1 convolution that copies: its map is the network's input, or a tunnel's patch of it."""
    shell = Free("identity", ("only",), height, width, channels, k, False, **shape)
    layer = Layer("conv", *shell.patch, channels, 0, channels, 1, 1, act="none")
    network = replace(shell, chain=(layer,)).network()
    weight = 4 * np.eye(channels, dtype=np.int8).reshape(channels, 1, 1, channels)
    ones = np.ones(channels, np.int32)
    copy = QConv(layer, Scaled(weight, 0 * ones, ones << 30), 8, 0)  # (4 x << 8) * 2^30 >> 40 = x
    fc = Scaled(np.ones((1, network.features), np.int8), np.zeros(1, np.int32), np.ones(1, np.int32))
    zeros = (0,) * (channels if channels in (1, 3) else 1)
    return QNet(network, zeros, ((copy,),) * k, QPooled(QPool(1, 0, 0), fc, 0, 0, 1.0))
