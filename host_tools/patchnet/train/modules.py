"""The layers and tunnels of a network in PyTorch (float32), built from a `net.network.Network`.

Submodules follow `Network.layers()`: `tunnels[i][j]` is layer j of the tunnel over patch i.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import rooms
from ..blob.files import network_in
from ..net.layers import POOLS, Layer, Pads, Pair, pair
from ..net.network import Network
from ..net.stitching import Stitched
from ..net.toml import to_dict
from ..npz import npz
from ..whole import whole
from . import processes
from .experiment import NoNumber

ACTIVATION = {"relu6": nn.ReLU6, "relu": nn.ReLU, "none": nn.Identity}
NO_PADS = (0, 0, 0, 0)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, pads: Pads, groups: int = 1) -> Tensor:
    """Convolution of x (N, C, H, W) with zeros around it: `pads` rows and columns (top, bottom, left, right)."""
    top, bottom, left, right = pads
    if (top, left) == (bottom, right):
        return F.conv2d(x, weight, bias, stride, (top, left), groups=groups)
    return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, stride, groups=groups)


def pool(x: Tensor, layer: Layer) -> Tensor:
    """The pooling of x (N, C, H, W) that `layer` is. What is outside takes no part in a maximum, and is 0 in a mean."""
    (top, bottom, left, right), highest = layer.pad, layer.kind == "maxpool"
    x = F.pad(x, (left, right, top, bottom), value=-math.inf if highest else 0.0) if any(layer.pad) else x
    kernel, stride = (layer.kh, layer.kw), (layer.sh, layer.sw)
    return F.max_pool2d(x, kernel, stride) if highest else F.avg_pool2d(x, kernel, stride)


def second_pads(layer: Layer) -> Pads:
    """Those of a block's second convolution."""
    kh, kw = pair(layer.second)
    return kh // 2, kh // 2, kw // 2, kw // 2


class Conv(nn.Conv2d):
    """Convolution without bias that may be padded otherwise on each side."""

    def __init__(self, cin: int, cout: int, kernel: Pair, stride: Pair, pads: Pads, groups: int):
        super().__init__(cin, cout, kernel, stride, groups=groups, bias=False)
        self.pads = pads

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, None, self.stride, self.pads, self.groups)


class Norm(nn.BatchNorm2d):
    """Batch norm by the statistics of the batch of all processes; torch's own for that wants a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or processes.count() == 1:
            return super().forward(x)
        y, mean, variance = SharedNorm.apply(x.float(), self.weight, self.bias, self.eps)
        with torch.no_grad():
            n = y.numel() // len(mean) * processes.count()
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
        return y.to(x.dtype)


class SharedNorm(torch.autograd.Function):
    """x (N, C, H, W), of which each process has as many values, normalised by mean and variance of all of them, which
    come too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        means, variances = processes.gathered(torch.stack(torch.batch_norm_update_stats(x, None, None, 0.0))).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps))
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps), mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """That of torch's own, but for the two sums over all values."""
        x, weight, mean, scale = ctx.saved_tensors
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, None, None, mean, scale, True, 0.0, [False, True, True]
        )
        n = x.numel() // len(mean) * processes.count()
        by_weight, by_bias = (processes.summed(torch.stack([of_weight, of_bias])) / n).unbind(0)
        gain, slope = weight * scale, -weight * scale.square() * by_weight
        offset = -slope * mean - gain * by_bias
        of_x = torch.addcmul(offset[:, None, None], x, slope[:, None, None])
        return of_x.addcmul_(grad, gain[:, None, None]), of_weight, of_bias, None


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm and, unless it is linear, an activation."""

    def __init__(
        self,
        cin: int,
        cout: int,
        act: str,
        kernel: Pair = (1, 1),
        stride: Pair = (1, 1),
        pads: Pads = NO_PADS,
        groups: int = 1,
    ):
        super().__init__()
        self.conv = Conv(cin, cout, kernel, stride, pads, groups)
        self.norm = Norm(cout)
        self.act = ACTIVATION[act]()

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution that equals convolution and batch norm in evaluation."""
        gain = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        weight = self.conv.weight * gain[:, None, None, None]
        return weight.detach(), (self.norm.bias - self.norm.running_mean * gain).detach()


def main_convolution(layer: Layer, cin: int, cout: int, groups: int = 1) -> ConvNorm:
    """The one of the layer's kernel, stride and pads: dense, first, or depthwise."""
    act, kernel, stride = "none" if layer.linear else layer.act, (layer.kh, layer.kw), (layer.sh, layer.sw)
    return ConvNorm(cin, cout, act, kernel, stride, layer.pad, groups)


class Bottleneck(nn.Module):
    """Inverted bottleneck: 1x1 expand, depthwise, 1x1 project, residual where shapes allow, mostly no activation."""

    def __init__(self, layer: Layer):
        super().__init__()
        self.residual = layer.residual
        self.expand = ConvNorm(layer.cin, layer.cexp, layer.act) if layer.expand else None
        self.depthwise = main_convolution(layer, layer.cexp, layer.cexp, layer.cexp)
        self.project = ConvNorm(layer.cexp, layer.cout, "none")
        self.act = ACTIVATION[layer.out_act]()

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return self.act(x + y if self.residual else y)


class Block(nn.Module):
    """Two dense convolutions, what goes in (through a 1x1 convolution, the shortcut, if there is one) added,
    activation."""

    def __init__(self, layer: Layer):
        super().__init__()
        self.first = main_convolution(layer, layer.cin, layer.cexp)
        self.second = ConvNorm(layer.cexp, layer.cout, "none", pair(layer.second), pads=second_pads(layer))
        stride = layer.sh, layer.sw
        self.shortcut = ConvNorm(layer.cin, layer.cout, "none", stride=stride) if layer.expand else None
        self.act = ACTIVATION[layer.act]()

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return self.act(y + as_large(x if self.shortcut is None else self.shortcut(x), y))


def as_large(x: Tensor, y: Tensor) -> Tensor:
    """A shortcut's map without the last rows and columns that the map `y` beside it, by its padding, lacks."""
    return x[:, :, : y.shape[2], : y.shape[3]]


class Pooling(nn.Module):
    """Pooling, which has no weights."""

    def __init__(self, layer: Layer):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return pool(x, self.layer)


def build_layer(layer: Layer) -> nn.Module:
    if layer.kind in POOLS:
        return Pooling(layer)
    if layer.kind == "conv":
        return main_convolution(layer, layer.cin, layer.cout)
    return {"bottleneck": Bottleneck, "block": Block}[layer.kind](layer)


@lru_cache
def averaging(first: int, n: int, pixels: int, size: int) -> Tensor:
    """(n, size): how much of each of `size` pixels lies under the `n` from `first` on of `pixels` that share them, in
    units of 1 / pixels."""
    i, at = torch.arange(size), torch.arange(first, first + n)[:, None]
    over = torch.minimum((i + 1) * pixels, (at + 1) * size) - torch.maximum(i * pixels, at * size)
    return over.clamp(min=0).double()


def patches_of(x: Tensor, network: Network) -> list[Tensor]:
    """Of normalised pictures (N, C, H, W) what each tunnel sees (N, C, h, w). Where that is averaged, it is rounded to
    whole pixels as the engine does."""
    (h, w), own = network.patch, (network.height, network.width)
    mean = torch.tensor(network.mean[: network.channels]).to(x.device)[:, None, None]
    out = []
    for y, z, height, width in network.patches():
        if (height, width) == own:
            out.append(x[:, :, y : y + h, z : z + w])
            continue
        rows, columns = (averaging(*one).to(x.device) for one in ((y, h, height, own[0]), (z, w, width, own[1])))
        sums = rows @ (x.double() * network.std + mean).round() @ columns.T
        pixels = torch.div(sums + own[0] * own[1] // 2, own[0] * own[1], rounding_mode="floor")
        out.append(((pixels - mean) / network.std).to(x.dtype).contiguous(memory_format=torch.channels_last))
    return out


class Tunnels(nn.Module):
    """What all networks begin with: the tunnels over the patches."""

    def __init__(self, network: Network, tied: bool = False):
        """`tied`: all tunnels are one and the same module. Files hold its weights once for each tunnel."""
        super().__init__()
        self.network, self.tied = network, tied
        built = [nn.Sequential(*(build_layer(layer) for layer in network.layers())) for _ in range(network.tunnels)]
        self.tunnels = nn.ModuleList(built[:1] * network.tunnels if tied else built)

    def behind(self) -> list[nn.Module]:
        """The modules of `network.tail()`."""
        return []

    def maps(self, x: Tensor) -> Tensor:
        """Normalised pictures (N, channels, height, width) to the tunnels' last maps (N, tunnels, channels, h, w)."""
        patches = patches_of(x, self.network)
        if self.tied:  # one batch, whose norms then see all patches
            return self.tunnels[0](torch.cat(patches)).unflatten(0, (len(patches), -1)).transpose(0, 1)
        # tunnel by tunnel: on CPUs quicker than one grouped convolution over all of them
        return torch.stack([tunnel(patch) for tunnel, patch in zip(self.tunnels, patches, strict=True)], 1)


def stitch(maps: Sequence[Tensor], network: Network) -> Tensor:
    """The tunnels' last maps, each (N, C, h, w), as one map (N, C, SH, SW): each gives its part; where two
    meet they are added."""
    end, out = Stitched.of(network), 0.0
    rows, columns = end.map
    for x, p in zip(maps, end.places, strict=True):
        part = x[:, :, p.from_y : p.from_y + p.h, p.from_x : p.from_x + p.w]
        part = F.pad(part, (p.to_x, columns - p.to_x - p.w, p.to_y, rows - p.to_y - p.h))
        out = out + part
    return out


def start_weights(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            # torch's own fan_out forgets the groups and starts depthwise weights far too small
            fan_out = math.prod(module.kernel_size) * module.out_channels / module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))


def build(network: Network, tied: bool = False) -> Tunnels:
    """The module that goes with the network's task, with random weights."""
    return rooms.part(network.task, "training").TRAINING.model(network, tied)


def normalise(pixels: Tensor, network: Network) -> Tensor:
    """uint8 (N, H, W, C) to float32 (N, C, H, W): (p - mean) / std. Floats are real inputs, and stay as they are."""
    x = pixels.float()
    if not pixels.is_floating_point():
        mean = torch.tensor(network.mean[: network.channels], dtype=torch.float32, device=x.device)
        x = (x - mean) / network.std
    return x.permute(0, 3, 1, 2)  # stays channels-last in memory, which oneDNN wants


def save_float(model: Tunnels, path: Path) -> None:
    """Weights and network in one .npz, no pickles: arrays by their state-dict names, the network as JSON."""
    write_float(path, model.network, {name: value.detach().numpy() for name, value in model.state_dict().items()})


def write_float(path: Path, network: Network, arrays: dict[str, Any]) -> None:
    """The same from arrays, which may be float16."""
    with whole(path) as beside, beside.open("wb") as file:
        np.savez(file, network=json.dumps(to_dict(network)), **arrays)


def read_float(path: str | Path) -> tuple[Network, dict[str, Tensor]]:
    """Network and weights of a `float.npz`, or of the run directory that holds one. ValueError where it is damaged, or
    weights are no numbers."""
    path = Path(path)
    path = path / "float.npz" if path.is_dir() else path
    with npz(path) as z:
        network = network_in(z, path)
        arrays = {name: torch.from_numpy(z[name]) for name in z.files if name != "network"}
    wrong = [name for name, value in arrays.items() if value.is_floating_point() and not value.isfinite().all()]
    if wrong:
        raise NoNumber(f"{path}: {wrong[0]} has weights that are no numbers: its training went wrong")
    return network, {n: value.float() if value.dtype == torch.float16 else value for n, value in arrays.items()}


def load_float(path: str | Path, tied: bool = False) -> Tunnels:
    """The model in a `float.npz` (or in the run directory that holds one), in evaluation mode. `tied`: its tunnels
    have the same weights, and are to be one."""
    network, arrays = read_float(path)
    model = build(network, tied)
    model.load_state_dict(arrays)
    return model.eval()
