"""Layers whose roundings are those of the integers, imitated in float ("fake quantization") so that gradients flow.

The arithmetic that the integers are for stands in `blob.quantized`; here it is imitated, calibrated, and read off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blob.quantized import QBlock, QBottleneck, QCast, QConv, QLayer, QNet, QPooling, Scaled
from ..net.layers import CASTS, POOLS, Layer
from ..net.stitching import Stitched
from .modules import Block, Bottleneck, ConvNorm, Tunnels, as_large, convolve, patches_of, pool, stitch

CEILING = {"relu6": 6.0, "relu": math.inf, "none": math.inf}
SAMPLE = 1 << 19  # values, drawn at random, by which a scale is chosen where there are more
MAX_SHIFT = 16

Range = tuple[float, float]  # real (low, high) that int8 values span


# ---------------------------------------------------------------- scales


def best_shrink(error: Callable[[float], Tensor], least: float = 0.5) -> Tensor:
    """For each entry of `error(factor)`, the factor from `least` to 1 with the least error."""
    factors = torch.linspace(1.0, least, round(1 + 20 * (1 - least)))
    errors = torch.stack([error(float(factor)) for factor in factors])
    return factors[errors.argmin(0)]


def sample(x: Tensor) -> Tensor:
    """At most SAMPLE of the values along the last axis, the same ones in every run."""
    n = x.shape[-1]
    return x if n <= SAMPLE else x[..., torch.randint(n, (SAMPLE,), generator=torch.Generator().manual_seed(0))]


def wide_scale(x: Tensor, act: str) -> Tensor:
    """Scales (C,) of intermediates x (N, C, H, W): with an activation 0..255 stand for 0..top, without one -128..127
    for -top..top.

    Channels of deep layers are silent in most inputs, so that calibration meets few of their values or none. What is
    lost above too low a top costs far more than steps that are too coarse: the top is the activation's ceiling, or
    without a ceiling the channel's maximum, at least half of the layer's. Without an activation no channel is silent,
    and it is chosen by least squared error.
    """
    columns = x.transpose(0, 1).flatten(1)
    if math.isfinite(CEILING[act]):
        return torch.full((len(columns),), CEILING[act] / 255)
    if act != "none":
        top = columns.amax(1)
        return torch.maximum(top, top.max() / 2).clamp(min=1e-4) / 255
    step = (columns.abs().amax(1) / 127).clamp(min=1e-6)
    columns = sample(columns)

    def error(factor: float) -> Tensor:
        scale = (step * factor)[:, None]
        return ((columns / scale).round().clamp(-128, 127) * scale - columns).square().mean(1)

    return step * best_shrink(error)


def lifted_scale(x: Tensor) -> tuple[Tensor, Tensor]:
    """(scales, lifts), (C,) each, of intermediates x (N, C, H, W) without activation that 0..255 are to stand for: per
    channel, what is added to them so that they begin with 0, by least squared error."""
    columns = x.transpose(0, 1).flatten(1)
    low, high = columns.amin(1), columns.amax(1)
    middle, half = (low + high) / 2, ((high - low) / 2).clamp(min=1e-4)
    columns = sample(columns) - middle[:, None]

    def error(factor: float) -> Tensor:
        scale, lift = (2 * half * factor / 255)[:, None], (half * factor)[:, None]
        return (((columns + lift) / scale).round().clamp(0, 255) * scale - lift - columns).square().mean(1)

    half = half * best_shrink(error)
    return 2 * half / 255, half - middle


def roomy(step: Tensor, sums: Tensor, act: str) -> Tensor:
    """Scales of wide values: `step`, or coarser ones, up to twice the scale of their sums, where that is too fine to
    mean anything: multipliers then need no shift. The activation's ceiling stays within the scale, and no scale is so
    fine that sums, shifted as it wants, leave 32 bits."""
    return torch.maximum(torch.maximum(step, (2.01 * sums).clamp(max=CEILING[act] / 255)), sums / 16)


def narrow_range(x: Tensor, act: str, halved: bool = False) -> Range:
    """Real (low, high) that int8 should span for values x of any shape: least squared error, 0 always inside. `halved`:
    they become int4 then, fewer steps for which more is cut off."""
    if act != "none":
        x = x.clamp(0, CEILING[act])
    low, high = min(0.0, float(x.min())), max(float(x.max()), 1e-3)
    x = sample(x.flatten())

    def error(factor: float) -> Tensor:
        span = factor * low, factor * high
        y = fake4(x, in_fours(*span)) if halved else fake(x, *affine(*span))
        return (y - x).square().mean()

    factor = float(best_shrink(error, 0.25 if halved else 0.5))
    return in_fours(factor * low, factor * high) if halved else (factor * low, factor * high)


def in_fours(low: float, high: float) -> Range:
    """What int8 spans where each sixteenth of its values is one of int4's, which span low..high and have a 0."""
    step = (high - low) / 15
    zero = max(-8, min(7, round(-8 - low / step)))
    return (-8 - zero) * step, (8 - 1 / 16 - zero) * step


def fake4(x: Tensor, span: Range) -> Tensor:
    """x, values of int8 that spans this, rounded to int4 and back; gradients as those of `fake`."""
    scale, zero = affine(*span)
    sixteenths = ((x / scale).round() + zero + 8).div(16).floor().clamp(-8, 7)
    inside = x.clamp((-128 - zero) * scale, (112 - zero) * scale)
    return inside + ((16 * sixteenths - zero) * scale - inside).detach()


def at_least(span: Range, scale: float, halved: bool = False) -> Range:
    """`span`, wider where a step of int8 would be less than `scale`; `halved`: by as much above as below 0."""
    low, high = span
    more = max(1.0, 255 * scale / (high - low)) if halved else 1.0
    return low * more, max(high * more, low * more + 255 * scale)


def finest(sums: Tensor, inputs: int) -> float:
    """The finest scale that sums of `inputs` products may become int8 of, `sums` being their own scales: shifted as it
    wants they have just room in 32 bits. Only what is nearly always 0 would ask for a finer one."""
    return float(sums.detach().max()) * (2 + inputs / 42)


def affine(low: float, high: float) -> tuple[float, int]:
    """(scale, zero point) of int8 values that span low..high."""
    scale = (high - low) / 255
    return scale, max(-128, min(127, round(-128 - low / scale)))


def fake(x: Tensor, scale: float, zero: int) -> Tensor:
    """x rounded to int8 steps and back, gradients passed straight through inside the range."""
    return torch.fake_quantize_per_tensor_affine(x, scale, zero, -128, 127)


def fake_wide(x: Tensor, scale: Tensor, act: str) -> Tensor:
    """The same for intermediates (N, C, H, W): a scale for each channel, zero point 0. Applies the activation."""
    low, high = (-128, 127) if act == "none" else (0, 255)
    zero = torch.zeros(len(scale), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(x, scale, zero, 1, low, high)


def weight_scale(weight: Tensor, bias: Tensor, scale_in: float | Tensor) -> Tensor:
    """Symmetric scale of each output channel. A channel that is (nearly) only bias gets a larger one, so that its
    integer bias stays below 2^22."""
    largest = weight.detach().flatten(1).abs().amax(1) / 127
    return torch.maximum(largest, (bias.detach().abs() / (scale_in * 2**22)).clamp(min=1e-9))


def fake_weight(weight: Tensor, scale: Tensor) -> Tensor:
    zero = torch.zeros(len(scale), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)


def fake_parts(weight: Tensor, bias: Tensor, scale: Tensor, scale_in: float | Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias rounded as integers are, `scale` being that of the weights; gradients pass straight through."""
    step = scale * scale_in
    return fake_weight(weight, scale), bias + ((bias / step).round() * step - bias).detach()


# ---------------------------------------------------------------- integers


def integers(weight: Tensor, bias: Tensor, scale: Tensor, scale_in, zero_in, ratio: Tensor, bits: int) -> Scaled:
    """Weights, bias and multipliers round(ratio * 2^bits) as `quantized.Scaled`.

    `zero_in` is a number, or an array that weights of one output channel can be multiplied with.
    ValueError if a multiplier or a sum could leave its range.
    """
    w = (weight / scale.view(-1, *[1] * (weight.ndim - 1))).round().clamp(-127, 127).double().numpy()
    b = (bias.double() / (scale_in * scale.double())).round().numpy()
    b = b - (w * zero_in).reshape(len(w), -1).sum(1)
    mult = np.maximum(1, np.round(ratio.double().numpy() * 2.0**bits))
    if mult.max() >= 2**31 or np.abs(b).max() > 2**30:
        raise ValueError(f"multiplier up to {mult.max():.0f}, bias up to {np.abs(b).max():.0f}: out of range")
    return Scaled(w.astype(np.int8), b.astype(np.int32), mult.astype(np.int32))


def shift_for(ratio: float, bits: int) -> int:
    """The smallest shift by which a multiplier round(ratio * 2^(bits - shift)) is in range. ValueError for none."""
    shift = next((s for s in range(MAX_SHIFT + 1) if round(ratio * 2.0 ** (bits - s)) < 2**31), None)
    if shift is None:
        raise ValueError(f"ratio of scales: wanted less than {2.0 ** (31 + MAX_SHIFT - bits):g}, got {ratio:.3g}")
    return shift


def scaled(weight: Tensor, bias: Tensor, scale: Tensor, scale_in, zero_in, scale_out, bits: int) -> tuple[Scaled, int]:
    """(integers, shift) of a step whose multipliers have `bits` bits behind the point, the shift taken off.

    `scale_in` and `scale_out` are numbers, or there is one for each output channel. ValueError where sums could
    overflow.
    """
    ratio = scale.double() * scale_in / scale_out
    shift = shift_for(float(ratio.max()), bits)
    found = integers(weight, bias, scale, scale_in, zero_in, ratio, bits - shift)
    worst = 255 * np.abs(found.weight.astype(np.int64)).reshape(len(found.weight), -1).sum(1)
    if (worst + np.abs(found.bias.astype(np.int64))).max() << shift >= 2**31:
        raise ValueError(f"sums could overflow int32 (shift {shift})")
    return found, shift


narrow, wide = partial(scaled, bits=40), partial(scaled, bits=32)  # what `blob.quantized` calls so


def residual_mult(scale_in: float, scale_out: float) -> int:
    """By which what is added to a layer's output goes. ValueError if it is out of range."""
    mult = round(256 * scale_in / scale_out)
    if not 1 <= mult <= 32767:
        raise ValueError(f"residual multiplier: wanted 1..32767, got {mult}")
    return mult


def residual_gain(scale_in: float, scale_out: float) -> float:
    """The very gain that this integer is, of real values."""
    return residual_mult(scale_in, scale_out) * scale_out / (256 * scale_in)


# ---------------------------------------------------------------- layers


class Corrected(nn.Module):
    """What has biases that can be corrected: calibration notes the means of float sums, by the name of their bias, and
    while `correcting` is set a run shifts each bias until the means of the fake-quantized sums are those."""

    def __init__(self) -> None:
        super().__init__()
        self.means: dict[str, Tensor] = {}
        self.correcting = False

    def noted(self, bias: str, sums: Tensor) -> Tensor:
        """The float sums (N, C, ...), which have `bias`, as they are."""
        self.means[bias] = channel_means(sums)
        return sums

    def settled(self, bias: str, sums: Tensor) -> Tensor:
        """The fake-quantized sums (N, C, ...) with what `bias` has become."""
        if not self.correcting:
            return sums
        error = self.means[bias] - channel_means(sums)
        getattr(self, bias).data += error
        return sums + error.view(-1, *[1] * (sums.ndim - 2))


def channel_means(x: Tensor) -> Tensor:
    """(C,) of (N, C, ...)."""
    return x.transpose(0, 1).flatten(1).mean(1)


class Dense(Corrected):
    """A folded dense convolution whose weights are fake-quantized."""

    def __init__(self, unit: ConvNorm):
        super().__init__()
        self.weight, self.bias = map(nn.Parameter, unit.folded())
        self.stride, self.pads = unit.conv.stride, unit.conv.pads

    def exact(self, x: Tensor) -> Tensor:
        return self.noted("bias", convolve(x, self.weight, self.bias, self.stride, self.pads))

    def range_of(self, y: Tensor, act: str, scale_in: float, halved: bool = False) -> Range:
        """What int8 should span for the output's values y, before the activation."""
        sums = weight_scale(self.weight, self.bias, scale_in) * scale_in
        return at_least(narrow_range(y, act, halved), finest(sums, self.weight[0].numel()), halved)

    def forward(self, x: Tensor, scale_in: float) -> Tensor:
        scale = weight_scale(self.weight, self.bias, scale_in)
        weight, bias = fake_parts(self.weight, self.bias, scale, scale_in)
        return self.settled("bias", convolve(x, weight, bias, self.stride, self.pads))

    def quantized(self, scale_in: float, zero_in, scale_out: float) -> tuple[Scaled, int]:
        """Integers, the weights (cout, kh, kw, cin), and the shift, for `narrow`."""
        scale = weight_scale(self.weight, self.bias, scale_in)
        found, shift = narrow(self.weight, self.bias, scale, scale_in, zero_in, scale_out)
        return replace(found, weight=np.ascontiguousarray(found.weight.transpose(0, 2, 3, 1))), shift


class FakeLayer(nn.Module):
    """What a layer is: `halved` is set where its output becomes int4."""

    halved = False


class FakeConv(FakeLayer):
    """A convolution whose weights and int8 output are fake-quantized."""

    def __init__(self, layer: Layer, unit: ConvNorm):
        super().__init__()
        self.layer, self.conv = layer, Dense(unit)

    def calibrate(self, x: Tensor, range_in: Range) -> Tensor:
        """Chooses the output's range from float inputs, those of int8 being known; returns the float output."""
        y, self.scale_in = self.conv.exact(x), affine(*range_in)[0]
        self.range = self.conv.range_of(y, self.layer.act, self.scale_in, self.halved)
        return activate(y, self.layer.act)

    def forward(self, x: Tensor) -> Tensor:
        return fake(self.conv(x, self.scale_in), *affine(*self.range))

    def quantized(self, zero_in) -> QConv:
        """The integers, `zero_in` (a number, or one for each input channel) being the input's zero point."""
        scale_out, zero_out = affine(*self.range)
        return QConv(self.layer, *self.conv.quantized(self.scale_in, zero_in, scale_out), zero_out)


class FakeBlock(FakeLayer):
    """Two convolutions around which the input goes: int8 between them, after the shortcut, and after the sum."""

    def __init__(self, layer: Layer, block: Block):
        super().__init__()
        self.layer, self.first, self.second = layer, Dense(block.first), Dense(block.second)
        self.shortcut = None if block.shortcut is None else Dense(block.shortcut)

    def calibrate(self, x: Tensor, range_in: Range) -> Tensor:
        """As FakeConv's; chooses all ranges."""
        self.scale_in, act = affine(*range_in)[0], self.layer.act
        y = self.first.exact(x)
        self.middle, self.added = self.first.range_of(y, act, self.scale_in), range_in
        y = self.second.exact(activate(y, act))
        if self.shortcut is not None:
            x = as_large(self.shortcut.exact(x), y)
            self.added = self.shortcut.range_of(x, "none", self.scale_in)
        self.range = self.second.range_of(x + y, act, affine(*self.middle)[0], self.halved)
        return activate(x + y, act)

    def forward(self, x: Tensor) -> Tensor:
        scale_mid, zero_mid = affine(*self.middle)
        scale_out, zero_out = affine(*self.range)
        y = self.second(fake(self.first(x, self.scale_in), scale_mid, zero_mid), scale_mid)
        if self.shortcut is not None:
            x = fake(as_large(self.shortcut(x, self.scale_in), y), *affine(*self.added))
        return fake(y + x * residual_gain(affine(*self.added)[0], scale_out), scale_out, zero_out)

    def quantized(self, zero_in) -> QBlock:
        """As FakeConv's."""
        scale_mid, zero_mid = affine(*self.middle)
        scale_add, zero_add = affine(*self.added)
        scale_out, zero_out = affine(*self.range)
        first, first_shift = self.first.quantized(self.scale_in, zero_in, scale_mid)
        second, shift = self.second.quantized(scale_mid, zero_mid, scale_out)
        mult = residual_mult(scale_add, scale_out)
        around = QBlock(self.layer, first, second, None, first_shift, zero_mid, shift, zero_out, mult)
        if self.shortcut is None:
            return around
        own, own_shift = self.shortcut.quantized(self.scale_in, zero_in, scale_add)
        own = replace(own, weight=own.weight.reshape(self.layer.cout, self.layer.cin))
        return replace(around, shortcut=own, shortcut_shift=own_shift, zero_add=zero_add)


class FakePooling(FakeLayer):
    """Pooling of int8 values. A maximum is one of them: it has its input's scale and zero point."""

    def __init__(self, layer: Layer, _module: nn.Module):
        super().__init__()
        self.layer, self.highest = layer, layer.kind == "maxpool"

    def calibrate(self, x: Tensor, range_in: Range) -> Tensor:
        """As FakeConv's."""
        y = pool(x, self.layer)
        self.scale_in = affine(*range_in)[0]
        self.range = (
            range_in
            if self.highest
            else at_least(narrow_range(y, "none", self.halved), self.scale_in / 8000, self.halved)
        )
        return y

    def forward(self, x: Tensor) -> Tensor:
        y = pool(x, self.layer)
        return y if self.highest else fake(y, *affine(*self.range))

    def quantized(self, zero_in: int) -> QPooling:
        if self.highest:
            return QPooling(self.layer, zero_in)
        scale_out, zero_out = affine(*self.range)
        ratio = self.scale_in / (self.layer.taps * scale_out)
        shift = shift_for(ratio, 40)
        return QPooling(self.layer, zero_out, round(ratio * 2.0 ** (40 - shift)), shift)


class FakeCast(FakeLayer):
    """Values as int4, or as int8 again, which changes none. `noise`: of calibration's values, signal to it in dB."""

    def __init__(self, layer: Layer):
        super().__init__()
        self.layer = layer

    def calibrate(self, x: Tensor, range_in: Range) -> Tensor:
        """As FakeConv's, but that there is nothing to choose."""
        self.range = range_in
        error = (fake4(x, range_in) - x).square().mean() / x.square().mean()
        self.noise = -10 * math.log10(max(float(error), 1e-12))
        return x

    def forward(self, x: Tensor) -> Tensor:
        return fake4(x, self.range) if self.layer.kind == "int4" else x

    def quantized(self, zero_in: int) -> QCast:
        return QCast(self.layer, zero_in)


class FakeBottleneck(Corrected, FakeLayer):
    """A folded inverted bottleneck. Each expanded channel has scales of its own after the expansion and after the
    depthwise convolution; they are folded into the weights that follow before those are quantized.

    Where that is linear its values are lifted above zero, and the projection's bias takes that back."""

    def __init__(self, layer: Layer, block: Bottleneck):
        super().__init__()
        self.layer = layer
        if block.expand is not None:
            self.expand_weight, self.expand_bias = map(nn.Parameter, block.expand.folded())
        self.depthwise_weight, self.depthwise_bias = map(nn.Parameter, block.depthwise.folded())
        self.project_weight, self.project_bias = map(nn.Parameter, block.project.folded())
        self.lift = torch.zeros(layer.cexp)

    def depthwise(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        s = self.layer
        return convolve(x, weight, bias, (s.sh, s.sw), s.pad, s.cexp)

    def calibrate(self, x: Tensor, range_in: Range) -> Tensor:
        """As FakeConv's; chooses the scales of wide values too."""
        s, y = self.layer, x
        self.scale_in = affine(*range_in)[0]
        if s.expand:
            y = self.noted("expand_bias", F.conv2d(x, self.expand_weight, self.expand_bias))
            self.top_expand = wide_scale(y, s.act)
            y = activate(y, s.act)
        y = self.noted("depthwise_bias", self.depthwise(y, self.depthwise_weight, self.depthwise_bias))
        if s.linear:
            self.top_depthwise, self.lift = lifted_scale(y)
            self.means["depthwise_bias"] += self.lift
        else:
            self.top_depthwise = wide_scale(y, s.act)
            y = activate(y, s.act)
        y = self.noted("project_bias", F.conv2d(y, self.project_weight, self.project_bias))
        y = x + y if s.residual else y
        self.range = at_least(narrow_range(y, s.out_act, self.halved), finest(self.scales()[3], s.cexp), self.halved)
        return activate(y, s.out_act)

    def middle_bias(self) -> Tensor:
        """The depthwise convolution's bias as the integers have it."""
        return self.depthwise_bias + self.lift

    def end_bias(self) -> Tensor:
        """The projection's."""
        return self.project_bias - self.project_weight.flatten(1) @ self.lift

    def output(self) -> tuple[float | Tensor, int]:
        """Scale (for a head one per channel) and zero point of the output."""
        return affine(*self.range)

    def scales(self) -> tuple[tuple[Tensor, Tensor] | None, Tensor, Tensor, Tensor]:
        """Scales of: expand's weights and its output (None without it), depthwise's weights, its output, project's
        (folded) weights."""
        wide, scale_in, act = None, self.scale_in, self.layer.act
        if self.layer.expand:
            expand = weight_scale(self.expand_weight, self.expand_bias, scale_in)
            scale_in = roomy(self.top_expand, scale_in * expand, act)
            wide = expand, scale_in
        depthwise = weight_scale(self.depthwise_weight, self.middle_bias(), scale_in)
        out = roomy(self.top_depthwise, scale_in * depthwise, "none" if self.layer.linear else act)
        project = weight_scale(self.folded_project(out), self.end_bias(), 1.0)
        return wide, depthwise, out, project

    def folded_project(self, scale_in: Tensor) -> Tensor:
        return self.project_weight * scale_in[None, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        expansion, depthwise, out, project = self.scales()
        y, scale_in = x, self.scale_in
        if expansion is not None:
            expand, expanded = expansion
            y = F.conv2d(x, *fake_parts(self.expand_weight, self.expand_bias, expand, scale_in))
            y = self.settled("expand_bias", y)
            y, scale_in = fake_wide(y, expanded, self.layer.act), expanded
        y = self.depthwise(y, *fake_parts(self.depthwise_weight, self.middle_bias(), depthwise, scale_in))
        y = fake_wide(self.settled("depthwise_bias", y), out, self.layer.act)
        weight, bias = fake_parts(self.folded_project(out), self.end_bias(), project, 1.0)
        y = F.conv2d(y, weight / out[None, :, None, None], bias)
        return self.rounded(x, self.settled("project_bias", y))

    def rounded(self, x: Tensor, y: Tensor) -> Tensor:
        """The projection `y`, of `end_bias`, with the residual of the input `x` and the rounding to int8."""
        scale_out, zero_out = affine(*self.range)
        if self.layer.residual:
            y = y + x * residual_gain(self.scale_in, scale_out)
        return fake(y, scale_out, zero_out)

    def res_mult(self) -> int:
        return residual_mult(self.scale_in, affine(*self.range)[0]) if self.layer.residual else 0

    def quantized(self, zero_in: int) -> QBottleneck:
        expansion, depthwise, out, project = self.scales()
        first, first_shift, scale_in, zero = None, 0, self.scale_in, zero_in
        if expansion is not None:
            expand, expanded = expansion
            weight = self.expand_weight.flatten(1)
            first, first_shift = wide(weight, self.expand_bias, expand, scale_in, zero_in, expanded)
            scale_in, zero = expanded, 0
        weight = self.depthwise_weight.squeeze(1)
        second, second_shift = wide(weight, self.middle_bias(), depthwise, scale_in, zero, out)
        scale_out, zero_out = self.output()
        weight = self.folded_project(out).flatten(1)
        third, shift = narrow(weight, self.end_bias(), project, 1.0, 0, scale_out)
        shifts = first_shift, second_shift
        return QBottleneck(self.layer, first, second, third, shift, zero_out, self.res_mult(), *shifts)


def activate(x: Tensor, act: str) -> Tensor:
    return x if act == "none" else x.clamp(0, CEILING[act])


# ---------------------------------------------------------------- the network


class FakeTunnels(nn.Module):
    """The tunnels of a trained network with their batch norms folded and every rounding of the integers imitated."""

    def __init__(self, model: Tunnels):
        super().__init__()
        self.network, self.tied, self.real = model.network, model.tied, False
        built = [fake_layers(self.network.layers(), tunnel) for tunnel in model.tunnels]
        self.tunnels = nn.ModuleList(built[:1] * len(built) if self.tied else built)

    def scale_input(self, x: Tensor) -> None:
        """Gives an input that is real, not pixels, the scale that its values x ask for: the network's mean and std."""
        scale, zero = affine(*narrow_range(x, "none"))
        mean = (zero + 128,) * len(self.network.mean)
        self.network, self.real = replace(self.network, mean=mean, std=1 / scale), True

    def read(self, x: Tensor) -> Tensor:
        """The input as int8 has it: pixels are so already."""
        return fake(x, 1 / self.network.std, self.network.mean[0] - 128) if self.real else x

    def patches(self, x: Tensor) -> list[Tensor]:
        return patches_of(x, self.network)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Normalised pictures (N, C, H, W) to the last map of each tunnel, (N, channels, h, w)."""
        patches = self.patches(self.read(x))
        if self.tied:
            return list(self.tunnels[0](torch.cat(patches)).split(len(x)))
        return [tunnel(patch) for tunnel, patch in zip(self.tunnels, patches, strict=True)]

    def calibrate_tunnels(self, x: Tensor) -> list[Tensor]:
        """Chooses the scales of all tunnels; returns their float maps. What they end with has yet to be made one."""
        n, outputs, patches = self.network, [], self.patches(x)
        span = -n.mean[0] / n.std, (255 - n.mean[0]) / n.std  # of other channels as wide
        for tunnel, patch in zip(self.tunnels, [torch.cat(patches)] if self.tied else patches, strict=False):
            outputs.extend(calibrate_layers(tunnel, patch, span).split(len(x)))
        return outputs

    def end_with(self, low: float, high: float) -> None:
        """All tunnels end with one scale, that of values from low to high."""
        for tunnel in self.tunnels:
            for layer in reversed(tunnel):
                layer.range = low, high
                if layer.layer.kind != "maxpool":  # what it reads has the same scale
                    break

    def calibrate_stitched(self, outputs: list[Tensor]) -> tuple[Tensor, Range]:
        """The float stitched map of the tunnels' float maps, and its range, which becomes that of all of them."""
        y, last, overlaps = stitch(outputs, self.network), self.network.chain[-1], Stitched.of(self.network).overlaps
        self.end_with(*narrow_range(y, last.act if last.kind in ("conv", "block") and not overlaps else "none"))
        return y, self.tunnels[0][-1].range

    def stitched(self, maps: list[Tensor]) -> Tensor:
        """The tunnels' last maps as one, in which two of them may meet."""
        y = stitch(maps, self.network)
        return fake(y, *affine(*self.tunnels[0][-1].range)) if Stitched.of(self.network).overlaps else y

    def quantized_tunnels(self) -> tuple[tuple[int, ...], tuple[tuple[QLayer, ...], ...]]:
        """The input's zero points and the integers of all tunnels."""
        input_zero = tuple(m - 128 for m in self.network.mean[: self.network.channels])
        zero = np.array(input_zero, float)[:, None, None]
        chains = [quantized_layers(tunnel, zero, f"tunnel {t}") for t, tunnel in enumerate(self.tunnels)]
        return input_zero, tuple(chains)


def fake_layers(shapes: Iterable[Layer], modules: Iterable[nn.Module]) -> nn.Sequential:
    """Of layers in a row, and the modules of all but the casts between them."""
    kinds = {"conv": FakeConv, "bottleneck": FakeBottleneck, "block": FakeBlock, **dict.fromkeys(POOLS, FakePooling)}
    out: list[FakeLayer] = []
    there = iter(modules)
    for s in shapes:
        if s.kind == "int4":
            out[-1].halved = True
        out.append(FakeCast(s) if s.kind in CASTS else kinds[s.kind](s, next(there)))
    return nn.Sequential(*out)


def calibrate_layers(layers: Iterable[nn.Module], x: Tensor, range_in: Range) -> Tensor:
    """Chooses the scales of layers that follow each other, from float inputs and what those of int8 span. Returns the
    float output."""
    for layer in layers:
        x = layer.calibrate(x, range_in)
        range_in = layer.range
    return x


def quantized_layers(layers: Iterable[nn.Module], zero, where: str) -> tuple[QLayer, ...]:
    """The integers of layers that follow each other, `zero` being the input's zero point. ValueError names the layer
    that cannot be represented."""
    chain = []
    for i, layer in enumerate(layers):
        try:
            chain.append(layer.quantized(zero))
        except ValueError as err:
            raise ValueError(f"{where}, layer {i}: {err}") from None
        zero = chain[-1].zero_out
    return tuple(chain)


class FakeNet(FakeTunnels):
    """A whole network with its batch norms folded and every rounding of the integers imitated: a subclass for each
    task, in its room."""

    def calibrate(self, x: Tensor) -> None:
        """Post-training quantization: chooses every scale from normalised pictures (N, C, H, W)."""
        raise NotImplementedError

    @torch.no_grad()
    def correct(self, x: Tensor) -> None:
        """Bias correction (Nagel et al. 2019, section 4.2): one layer after the other gets the means of its sums over
        the x of `calibrate` back, which rounded weights and clipped values have moved."""
        layers = [layer for layer in self.modules() if isinstance(layer, Corrected)]
        for layer in layers:
            layer.correcting = True
        self(x)
        for layer in layers:
            layer.correcting = False

    def distance(self, out: Tensor, target: Tensor) -> Tensor:
        """How far the answers `out` are from those of the float network."""
        raise NotImplementedError

    def quantized(self) -> QNet:
        """The integers. ValueError names the layer that cannot be represented."""
        raise NotImplementedError
