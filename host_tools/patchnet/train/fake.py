"""Layers whose roundings are those of the integers, imitated in float ("fake quantization") so that gradients flow.

The arithmetic that the integers are for stands in `blob.quantized`; here it is imitated, calibrated, and read off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blob.quantized import QBottleneck, QConv, QNet, Scaled
from ..net.layers import Layer
from .modules import ConvNorm, Tunnels

CEILING = {"relu6": 6.0, "relu": float("inf")}
SAMPLE = 1 << 19  # values, drawn at random, by which a scale is chosen where there are more


# ---------------------------------------------------------------- scales


def best_shrink(error: Callable[[float], Tensor]) -> Tensor:
    """For each entry of `error(factor)`, the factor from 0.5 to 1 with the least error."""
    factors = torch.linspace(1.0, 0.5, 11)
    errors = torch.stack([error(float(factor)) for factor in factors])
    return factors[errors.argmin(0)]


def sample(x: Tensor) -> Tensor:
    """At most SAMPLE of the values along the last axis, the same ones in every run."""
    n = x.shape[-1]
    return x if n <= SAMPLE else x[..., torch.randint(n, (SAMPLE,), generator=torch.Generator().manual_seed(0))]


def wide_scale(x: Tensor, act: str) -> Tensor:
    """Scales (C,) of intermediates x (N, C, H, W): per channel, top of scale by least squared error.

    With an activation 0..255 stand for 0..top, without one -128..127 for -top..top.
    """
    columns = x.transpose(0, 1).flatten(1)
    if act == "none":
        low, high, top = -128, 127, columns.abs().amax(1)
    else:
        low, high, top = 0, 255, columns.amax(1).clamp(max=CEILING[act])
    step = (top / high).clamp(min=1e-6)
    columns = sample(columns)

    def error(factor: float) -> Tensor:
        scale = (step * factor)[:, None]
        return ((columns / scale).round().clamp(low, high) * scale - columns).square().mean(1)

    return step * best_shrink(error)


def narrow_range(x: Tensor, act: str) -> tuple[float, float]:
    """Real (low, high) that int8 should span for values x of any shape: least squared error, 0 always inside."""
    if act != "none":
        x = x.clamp(0, CEILING[act])
    low, high = min(0.0, float(x.min())), max(float(x.max()), 1e-3)
    x = sample(x.flatten())

    def error(factor: float) -> Tensor:
        scale, zero = affine(factor * low, factor * high)
        return (fake(x, scale, zero) - x).square().mean()

    factor = float(best_shrink(error))
    return factor * low, factor * high


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


def narrow(weight: Tensor, bias: Tensor, scale: Tensor, scale_in, zero_in, scale_out) -> tuple[Scaled, int]:
    """(integers, shift) of a step that ends in `narrow`: the smallest shift that brings all multipliers into range.

    `scale_out` is one number, or one for each output channel.
    """
    ratio = scale.double() * scale_in / scale_out
    shift = next((s for s in range(9) if round(float(ratio.max()) * 2.0 ** (40 - s)) < 2**31), 8)
    scaled = integers(weight, bias, scale, scale_in, zero_in, ratio, 40 - shift)
    worst = 255 * np.abs(scaled.weight.astype(np.int64)).reshape(len(scaled.weight), -1).sum(1)
    if (worst + np.abs(scaled.bias.astype(np.int64))).max() << shift >= 2**31:
        raise ValueError(f"sums could overflow int32 (shift {shift})")
    return scaled, shift


# ---------------------------------------------------------------- layers


class FakeConv(nn.Module):
    """A folded convolution whose weights and int8 output are fake-quantized."""

    def __init__(self, layer: Layer, conv: ConvNorm):
        super().__init__()
        self.layer = layer
        self.weight, self.bias = map(nn.Parameter, conv.folded())

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, self.bias, self.layer.stride, self.layer.kernel // 2)

    def calibrate(self, x: Tensor, scale_in: float) -> Tensor:
        """Chooses the output's scale from float inputs; returns the float output."""
        y = self.convolve(x, self.weight)
        self.scale_in, self.range = scale_in, narrow_range(y, self.layer.act)
        return activate(y, self.layer.act)

    def forward(self, x: Tensor) -> Tensor:
        scale = weight_scale(self.weight, self.bias, self.scale_in)
        return fake(self.convolve(x, fake_weight(self.weight, scale)), *affine(*self.range))

    def quantized(self, zero_in) -> QConv:
        scale_out, zero_out = affine(*self.range)
        scale = weight_scale(self.weight, self.bias, self.scale_in)
        scaled, shift = narrow(self.weight, self.bias, scale, self.scale_in, zero_in, scale_out)
        conv = replace(scaled, weight=np.ascontiguousarray(scaled.weight.transpose(0, 2, 3, 1)))
        return QConv(self.layer, conv, shift, zero_out)


class FakeBottleneck(nn.Module):
    """A folded inverted bottleneck. Each expanded channel has scales of its own after the expansion and after the
    depthwise convolution; they are folded into the weights that follow before those are quantized."""

    def __init__(self, layer: Layer, block: nn.Module):
        super().__init__()
        self.layer = layer
        if layer.expand:
            self.expand_weight, self.expand_bias = map(nn.Parameter, block.expand.folded())
        self.depthwise_weight, self.depthwise_bias = map(nn.Parameter, block.depthwise.folded())
        self.project_weight, self.project_bias = map(nn.Parameter, block.project.folded())

    def depthwise(self, x: Tensor, weight: Tensor) -> Tensor:
        s = self.layer
        return F.conv2d(x, weight, self.depthwise_bias, s.stride, s.kernel // 2, groups=s.cexp)

    def calibrate(self, x: Tensor, scale_in: float) -> Tensor:
        """Chooses all scales from float inputs; returns the float output."""
        s, y = self.layer, x
        self.scale_in = scale_in
        if s.expand:
            y = F.conv2d(x, self.expand_weight, self.expand_bias)
            self.top_expand = wide_scale(y, s.act)
            y = activate(y, s.act)
        y = self.depthwise(y, self.depthwise_weight)
        self.top_depthwise = wide_scale(y, s.act)
        y = F.conv2d(activate(y, s.act), self.project_weight, self.project_bias)
        y = x + y if s.residual else y
        self.range = narrow_range(y, "none")
        return y

    def end_bias(self) -> Tensor:
        """The projection's bias as the integers have it."""
        return self.project_bias

    def output(self) -> tuple[float | Tensor, int]:
        """Scale (for a head one per channel) and zero point of the output."""
        return affine(*self.range)

    def scales(self) -> tuple[tuple[Tensor, Tensor] | None, Tensor, Tensor, Tensor]:
        """Scales of: expand's weights and its output (None without it), depthwise's weights, its output, project's
        (folded) weights.

        An output's scale is at least twice that of its sums, which keeps the multiplier below 2^31.
        """
        wide, scale_in = None, self.scale_in
        if self.layer.expand:
            expand = weight_scale(self.expand_weight, self.expand_bias, scale_in)
            scale_in = torch.maximum(self.top_expand, 2.01 * scale_in * expand)
            wide = expand, scale_in
        depthwise = weight_scale(self.depthwise_weight, self.depthwise_bias, scale_in)
        out = torch.maximum(self.top_depthwise, 2.01 * scale_in * depthwise)
        project = weight_scale(self.folded_project(out), self.end_bias(), 1.0)
        return wide, depthwise, out, project

    def folded_project(self, scale_in: Tensor) -> Tensor:
        return self.project_weight * scale_in[None, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        wide, depthwise, out, project = self.scales()
        y = x
        if wide is not None:
            expand, expanded = wide
            y = F.conv2d(x, fake_weight(self.expand_weight, expand), self.expand_bias)
            y = fake_wide(y, expanded, self.layer.act)
        y = self.depthwise(y, fake_weight(self.depthwise_weight, depthwise))
        y = fake_wide(y, out, self.layer.act)
        weight = fake_weight(self.folded_project(out), project) / out[None, :, None, None]
        y = F.conv2d(y, weight, self.project_bias)
        return self.rounded(x, y)

    def rounded(self, x: Tensor, y: Tensor) -> Tensor:
        """The projection `y` with the residual of the input `x` and the rounding to int8."""
        scale_out, zero_out = affine(*self.range)
        if self.layer.residual:  # with the very gain that the integer multiplier has
            y = y + x * (self.res_mult() * scale_out / (256 * self.scale_in))
        return fake(y, scale_out, zero_out)

    def res_mult(self) -> int:
        return round(256 * self.scale_in / affine(*self.range)[0]) if self.layer.residual else 0

    def quantized(self, zero_in: int) -> QBottleneck:
        s = self.layer
        wide, depthwise, out, project = self.scales()
        first, scale_in, zero = None, self.scale_in, zero_in
        if wide is not None:
            expand, expanded = wide
            ratio = scale_in * expand / expanded
            weight = self.expand_weight.flatten(1)
            first = integers(weight, self.expand_bias, expand, scale_in, zero_in, ratio, 32)
            scale_in, zero = expanded, 0
        ratio = scale_in * depthwise / out
        weight = self.depthwise_weight.squeeze(1)
        second = integers(weight, self.depthwise_bias, depthwise, scale_in, zero, ratio, 32)
        scale_out, zero_out = self.output()
        weight = self.folded_project(out).flatten(1)
        third, shift = narrow(weight, self.end_bias(), project, 1.0, 0, scale_out)
        if s.residual and not 1 <= self.res_mult() <= 32767:
            raise ValueError(f"residual multiplier {self.res_mult()} is not in 1..32767")
        return QBottleneck(s, first, second, third, shift, zero_out, self.res_mult())


def activate(x: Tensor, act: str) -> Tensor:
    return x if act == "none" else x.clamp(0, CEILING[act])


# ---------------------------------------------------------------- the network


class FakeTunnels(nn.Module):
    """The tunnels of a trained network with their batch norms folded and every rounding of the integers imitated."""

    def __init__(self, model: Tunnels, tied: bool = False):
        """`tied`: the model's tunnels are all equal, and stay so."""
        super().__init__()
        self.network, self.tied = model.network, tied
        built = [fake_layers(self.network.layers(), tunnel) for tunnel in model.tunnels]
        self.tunnels = nn.ModuleList(built[:1] * len(built) if tied else built)

    def patches(self, x: Tensor) -> list[Tensor]:
        ph, pw = self.network.patch
        return [x[:, :, y : y + ph, z : z + pw] for y, z in self.network.patches()]

    def maps(self, x: Tensor) -> list[Tensor]:
        """Normalised pictures (N, C, H, W) to the last map of each tunnel, (N, channels, h, w)."""
        return [tunnel(patch) for tunnel, patch in zip(self.tunnels, self.patches(x), strict=True)]

    def calibrate_tunnels(self, x: Tensor) -> list[Tensor]:
        """Chooses the scales of all tunnels; returns their float maps. What they end with has yet to be made one."""
        outputs, patches = [], self.patches(x)
        for tunnel, patch in zip(self.tunnels, [torch.cat(patches)] if self.tied else patches, strict=False):
            outputs.extend(calibrate_layers(tunnel, patch, 1 / self.network.std).split(len(x)))
        return outputs

    def end_with(self, low: float, high: float) -> None:
        """All tunnels end with one scale, that of values from low to high."""
        for tunnel in self.tunnels:
            tunnel[-1].range = low, high

    def quantized_tunnels(self) -> tuple[tuple[int, ...], tuple[tuple[QConv | QBottleneck, ...], ...]]:
        """The input's zero points and the integers of all tunnels."""
        input_zero = tuple(m - 128 for m in self.network.mean[: self.network.channels])
        zero = np.array(input_zero, float)[:, None, None]
        chains = [quantized_layers(tunnel, zero, f"tunnel {t}") for t, tunnel in enumerate(self.tunnels)]
        return input_zero, tuple(chains)


def fake_layers(shapes: Iterable[Layer], modules: Iterable[nn.Module]) -> nn.Sequential:
    kinds = {"conv": FakeConv, "bottleneck": FakeBottleneck}
    return nn.Sequential(*(kinds[s.kind](s, m) for s, m in zip(shapes, modules, strict=True)))


def calibrate_layers(layers: Iterable[nn.Module], x: Tensor, scale: float) -> Tensor:
    """Chooses the scales of layers that follow each other; `scale`: that of the input. Returns the float output."""
    for layer in layers:
        x = layer.calibrate(x, scale)
        scale, _ = affine(*layer.range)
    return x


def quantized_layers(layers: Iterable[nn.Module], zero, where: str) -> tuple[QConv | QBottleneck, ...]:
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

    def distance(self, out: Tensor, target: Tensor) -> Tensor:
        """How far the answers `out` are from those of the float network."""
        raise NotImplementedError

    def quantized(self) -> QNet:
        """The integers. ValueError names the layer that cannot be represented."""
        raise NotImplementedError
