"""Random integer networks for the tests: odd shapes, extreme zero points, multipliers that spread what comes out.

Every choice comes from the generator that is passed in, so a failing network is named by its seed. Multipliers and
biases are fitted to what the network does on one random picture, as a calibration would: values that are all
saturated, or all the same, would prove nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

import oracle
from patchnet.blob.quantized import QBottleneck, QConv, QNet, Scaled
from patchnet.format import MAX_SHIFT
from patchnet.net.layers import ACTIVATIONS, Layer
from patchnet.net.network import Network
from patchnet.net.recipe import PatchTunnels, Stage
from patchnet.plan.modes import fast_shape, largest_sums
from patchnet.tasks.classify.end import Pooled
from patchnet.tasks.classify.record import QPool, QPooled
from patchnet.tasks.detect.end import Detection, Scale
from patchnet.tasks.detect.record import QDetect

INT31 = (1 << 31) - 1


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


def random_layer(rng, first: bool, h: int, w: int, cin: int, wide: int) -> Layer:
    """Any layer that may follow a map of h x w x cin; up to `wide` output and 3 * `wide` expanded channels."""
    stride = int(rng.choice([1, 1, 2]))
    cout = int(rng.integers(1, wide + 1))
    act = str(rng.choice(ACTIVATIONS))
    if first or rng.random() < 0.25:
        return Layer("conv", h, w, cin, 0, cout, int(rng.choice([1, 3, 5, 7])), stride, act=act)
    expand = bool(rng.random() < 0.75)
    cexp = int(rng.integers(1, 3 * wide + 1)) if expand else cin
    residual = stride == 1 and bool(rng.random() < 0.6)
    kernel = int(rng.choice([3, 5, 7]))
    return Layer("bottleneck", h, w, cin, cexp, cin if residual else cout, kernel, stride, expand, residual, act)


def random_chain(rng, h: int, w: int, channels: int, depth: int, wide: int) -> tuple[Layer, ...]:
    chain = [random_layer(rng, True, h, w, channels, wide)]
    while len(chain) < depth:
        last = chain[-1]
        chain.append(random_layer(rng, False, last.oh, last.ow, last.cout, wide))
    return tuple(chain)


def random_recipe(rng, max_macs: int = 1_000_000, k: int | None = None) -> Free:
    """Shapes only. k, central patch, margins, sides, layers, classes, aggregation: all by chance, within max_macs."""
    k = int(rng.choice([1, 4, 9, 16])) if k is None else k
    grid = int(k**0.5)
    central = bool(rng.random() < 0.5)
    while True:
        height, width = (int(n) for n in rng.integers(max(3, 2 * grid), 24 + 4 * grid, 2))
        margins = [int(rng.integers(0, min(6, n - -(-n // grid)) + 1)) if k > 1 else 0 for n in (height, width)]
        classes = int(rng.integers(1, 12))
        shell = Free(
            "random", tuple(f"class {i}" for i in range(classes)), height, width, int(rng.choice([1, 3])), k, central,
            *margins, fit=str(rng.choice(["stretch", "crop"])), aggregate=str(rng.choice(["sum", "concat"])),
        )  # fmt: skip
        chain = random_chain(rng, *shell.patch, shell.channels, int(rng.integers(1, 7)), int(rng.integers(1, 17)))
        recipe = replace(shell, chain=chain)
        if macs(recipe.network()) <= max_macs:
            return recipe


def random_network(rng, max_macs: int = 1_000_000, k: int | None = None) -> Network:
    return random_recipe(rng, max_macs, k).network()


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

    def wide(self, sums, weight, products: int, signed: bool) -> Scaled:
        n, limit = sums.shape[-1], INT31 - (products << 15)
        lo, hi = ((-40, 40) if signed else (0, 120)) if not self.extreme else (-128, 256)
        return self.fit(sums, weight, 2.0**32, self.rng.uniform(20, 80, n), self.rng.uniform(lo, hi, n), limit)

    def narrow(self, sums, weight, products: int, zero: int) -> tuple[Scaled, int]:
        """The smallest shift that the multipliers need, at times a larger one; never one that could overflow."""
        n = sums.shape[-1]
        spread, centre = self.rng.uniform(20, 80, n), self.rng.uniform(-60, 60, n) - zero
        top = max(s for s in range(MAX_SHIFT + 1) if products << 15 <= INT31 >> s)
        need = 2.0**40 * spread.max() / max(1, sums.std(axis=tuple(range(sums.ndim - 1))).min()) / INT31
        shift = int(np.clip(np.ceil(np.log2(need)) + self.rng.integers(0, 2), 0, top))
        limit = (INT31 >> shift) - (products << 15)
        return self.fit(sums, weight, 2.0 ** (40 - shift), spread, centre, limit), shift


def fill_conv(f: Filler, layer: Layer, x, zero_in, zero_out: int):
    weight = f.weight(layer.cout, layer.kernel, layer.kernel, layer.cin)
    sums = oracle.conv_sums(x, zero_in, weight, 0, layer.stride)
    conv, shift = f.narrow(sums, weight, weight[0].size, zero_out)
    out = oracle.narrow(sums + conv.bias, conv.mult.astype(np.int64), shift, zero_out)
    return QConv(layer, conv, shift, zero_out), out


def fill_bottleneck(f: Filler, layer: Layer, x, zero_in, zero_out: int):
    signed = layer.act == "none"
    expand, e, outside = None, x, zero_in
    if layer.expand:
        weight = f.weight(layer.cexp, layer.cin)
        sums = oracle.pixel_sums(x, weight.T, 0)
        expand = f.wide(sums, weight, layer.cin, signed)
        e, outside = oracle.wide(sums + expand.bias, expand.mult.astype(np.int64), signed), 0
    weight = f.weight(layer.cexp, layer.kernel, layer.kernel)
    sums = oracle.depthwise_sums(e, outside, weight.transpose(1, 2, 0), 0, layer.stride)
    depthwise = f.wide(sums, weight, layer.kernel**2, signed)
    d = oracle.wide(sums + depthwise.bias, depthwise.mult.astype(np.int64), signed)
    weight = f.weight(layer.cout, layer.cexp)
    sums = oracle.pixel_sums(d, weight.T, 0)
    project, shift = f.narrow(sums, weight, layer.cexp, zero_out)
    res_mult = int(f.rng.choice([1, 32767, f.rng.integers(20, 500)])) if layer.residual else 0
    extra = res_mult * (x.astype(np.int64) - zero_in) if layer.residual else 0
    out = oracle.narrow(sums + project.bias, project.mult.astype(np.int64), shift, zero_out, extra)
    return QBottleneck(layer, expand, depthwise, project, shift, zero_out, res_mult), out


def fill_chain(f: Filler, network: Network, x, input_zero, last_zero: int):
    """One tunnel over its patch x (patch_h, patch_w, channels): its quantized layers and its last map."""
    chain, zero = [], np.array(input_zero)
    layers = network.layers()
    for i, layer in enumerate(layers):
        zero_out = last_zero if i == len(layers) - 1 else f.zero(layer.act if layer.kind == "conv" else "none")
        fill = fill_conv if layer.kind == "conv" else fill_bottleneck
        step, x = fill(f, layer, x, zero, zero_out)
        chain.append(step)
        zero = zero_out
    return tuple(chain), x


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
    (h, w), cout, behind = network.end.map, network.layers()[-1].cout, []
    x = np.full((h, w, cout), zero, np.int64)
    for p, own in zip(network.end.places, last, strict=True):
        part = own[p.from_y : p.from_y + p.h, p.from_x : p.from_x + p.w].astype(np.int64) - zero
        here = x[p.to_y : p.to_y + p.h, p.to_x : p.to_x + p.w]
        here[:] = np.clip(here + part, -128, 127)
    for scale in network.readouts:
        for layer in scale.layers:
            zero_out = f.zero(layer.act if layer.kind == "conv" else "none")
            fill = fill_conv if layer.kind == "conv" else fill_bottleneck
            q, x = fill(f, layer, x, zero, zero_out)
            behind.append(q)
            zero = zero_out
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
    x = picture.astype(np.int64) - 128
    input_zero = tuple(f.zero() for _ in range(network.channels))
    last = network.layers()[-1]
    last_zero = f.zero(last.act if last.kind == "conv" else "none")
    ph, pw = network.patch
    patches = [x[top : top + ph, left : left + pw] for top, left in network.patches()]
    pairs = [fill_chain(f, network, patch, input_zero, last_zero) for patch in patches]
    tunnels, last_maps = [chain for chain, _ in pairs], [out for _, out in pairs]
    if rng.random() < 0.1:
        tunnels[0] = tunnels[-1]
    if network.readouts:
        behind, end = fill_tail(f, network, last_maps, last_zero)
        return QNet(network, input_zero, tuple(tunnels), end, behind)
    pool, features = fill_pool(f, network, last_maps, last_zero)
    fc, fc_shift, fc_zero = fill_fc(f, features, len(network.labels))
    scale = float(rng.choice([0.002, 0.02, 0.1, 1.0]))
    return QNet(network, input_zero, tuple(tunnels), QPooled(pool, fc, fc_shift, fc_zero, scale))


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
            return network


# ---------------------------------------------------------------- layers for modes fast and sweep


def fast_recipe(rng, depth: int = 4, wide: int = 5, k: int = 1) -> Free:
    """A convolution and `depth` bottlenecks with shapes for modes fast and sweep, of up to 4 * `wide` channels: of all
    kernels, a few without an expansion, some with input channels that are no multiple of 4."""
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
        chain.append(
            Layer("bottleneck", last.oh, last.ow, last.cout, cexp, cout, kernel, stride, not plain, residual, "relu6")
        )
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
        network = replace(plain, chain=tuple(chain), end=Pooled(aggregate))
        if macs(network) <= max_macs:
            return network


def in_16_bits(scaled: Scaled, products: int) -> Scaled:
    """With multipliers that keep every value of up to `products` + |bias| below 2^15: often the largest such ones."""
    sums = products + np.abs(scaled.bias.astype(np.int64))
    most = ((1 << 47) - (1 << 31) - 1) // sums
    return replace(scaled, mult=np.minimum(scaled.mult, most).astype(np.int32))


def made_fast(rng, q: QConv | QBottleneck) -> QConv | QBottleneck:
    """`q` with multipliers that let it run in modes fast and sweep, if its shape does, and at times a larger shift."""
    if not fast_shape(q.shape):
        return q
    products = largest_sums(q.shape)
    expand = in_16_bits(q.expand, products[0]) if q.expand else None
    depthwise = in_16_bits(q.depthwise, products[1])
    sums = (q.shape.cexp << 15) + int(np.abs(q.project.bias.astype(np.int64)).max())
    shift = max(s for s in range(int(rng.integers(0, 4)) + 1) if sums <= INT31 >> s)
    mult = np.minimum(q.project.mult.astype(np.int64) << q.shift, INT31) >> shift
    project = replace(q.project, mult=np.maximum(mult, 1).astype(np.int32))
    return replace(q, expand=expand, depthwise=depthwise, project=project, shift=shift)


def fast_qnet(rng, network: Network, extreme: bool = False) -> QNet:
    """A network with integers: every bottleneck whose shape allows it may run in modes fast and sweep."""
    qnet = random_qnet(rng, network, extreme=extreme)
    tunnels = tuple(tuple(made_fast(rng, q) for q in chain) for chain in qnet.tunnels)
    return replace(qnet, tunnels=tunnels, behind=tuple(made_fast(rng, q) for q in qnet.behind))


def identity_qnet(height: int, width: int, channels: int, k: int = 1, **shape) -> QNet:
    """One 1x1 convolution that copies: its map is the network's input, or a tunnel's patch of it."""
    shell = Free("identity", ("only",), height, width, channels, k, False, **shape)
    layer = Layer("conv", *shell.patch, channels, 0, channels, 1, 1, act="none")
    network = replace(shell, chain=(layer,)).network()
    weight = 4 * np.eye(channels, dtype=np.int8).reshape(channels, 1, 1, channels)
    ones = np.ones(channels, np.int32)
    copy = QConv(layer, Scaled(weight, 0 * ones, ones << 30), 8, 0)  # (4 x << 8) * 2^30 >> 40 = x
    fc = Scaled(np.ones((1, network.features), np.int8), np.zeros(1, np.int32), np.ones(1, np.int32))
    return QNet(network, (0,) * channels, ((copy,),) * k, QPooled(QPool(1, 0, 0), fc, 0, 0, 1.0))
