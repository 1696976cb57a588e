"""The layers and tunnels of a network in PyTorch (float32), built from a `net.network.Network`.

Submodules follow `Network.layers()`: `tunnels[i][j]` is layer j of the tunnel over patch i.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .. import rooms
from ..net.layers import Layer
from ..net.network import Network
from ..net.toml import from_dict, to_dict

ACTIVATION = {"relu6": nn.ReLU6, "relu": nn.ReLU, "none": nn.Identity}


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm and, unless it is linear, an activation."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int, groups: int, act: str):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(cout)
        self.act = ACTIVATION[act]()

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution that equals convolution and batch norm in evaluation."""
        gain = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        weight = self.conv.weight * gain[:, None, None, None]
        return weight.detach(), (self.norm.bias - self.norm.running_mean * gain).detach()


class Bottleneck(nn.Module):
    """Inverted bottleneck: 1x1 expand, depthwise, 1x1 project without activation, residual where shapes allow."""

    def __init__(self, layer: Layer):
        super().__init__()
        self.residual = layer.residual
        self.expand = ConvNorm(layer.cin, layer.cexp, 1, 1, 1, layer.act) if layer.expand else None
        self.depthwise = ConvNorm(layer.cexp, layer.cexp, layer.kernel, layer.stride, layer.cexp, layer.act)
        self.project = ConvNorm(layer.cexp, layer.cout, 1, 1, 1, "none")

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


def build_layer(layer: Layer) -> nn.Module:
    if layer.kind == "bottleneck":
        return Bottleneck(layer)
    return ConvNorm(layer.cin, layer.cout, layer.kernel, layer.stride, 1, layer.act)


class Tunnels(nn.Module):
    """What all networks begin with: the tunnels over the patches."""

    def __init__(self, network: Network, tied: bool = False):
        """`tied`: all tunnels are one and the same module. Files hold its weights once for each tunnel."""
        super().__init__()
        self.network, self.tied = network, tied
        built = [nn.Sequential(*(build_layer(layer) for layer in network.layers())) for _ in range(network.tunnels)]
        self.tunnels = nn.ModuleList(built[:1] * network.tunnels if tied else built)

    def maps(self, x: Tensor) -> Tensor:
        """Normalised pictures (N, channels, height, width) to the tunnels' last maps (N, tunnels, channels, h, w)."""
        ph, pw = self.network.patch
        patches = [x[:, :, y : y + ph, z : z + pw] for y, z in self.network.patches()]
        if self.tied:  # one batch, whose norms then see all patches
            return self.tunnels[0](torch.cat(patches)).unflatten(0, (len(patches), -1)).transpose(0, 1)
        # tunnel by tunnel: on CPUs quicker than one grouped convolution over all of them
        return torch.stack([tunnel(patch) for tunnel, patch in zip(self.tunnels, patches, strict=True)], 1)


def start_weights(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            # torch's own fan_out forgets the groups and starts depthwise weights far too small
            fan_out = module.kernel_size[0] ** 2 * module.out_channels / module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))


def build(network: Network, tied: bool = False) -> Tunnels:
    """The module that goes with the network's task, with random weights."""
    return rooms.part(network.task, "training").TRAINING.model(network, tied)


def normalise(pixels: Tensor, network: Network) -> Tensor:
    """uint8 (N, H, W, C) to float32 (N, C, H, W): (p - mean) / std."""
    mean = torch.tensor(network.mean[: network.channels], dtype=torch.float32)
    x = (pixels.float() - mean) / network.std
    return x.permute(0, 3, 1, 2)  # stays channels-last in memory, which oneDNN wants


def save_float(model: Tunnels, path: Path) -> None:
    """Weights and network in one .npz, no pickles: arrays by their state-dict names, the network as JSON."""
    arrays = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    np.savez(path, network=json.dumps(to_dict(model.network)), **arrays)


def read_float(path: str | Path) -> tuple[Network, dict[str, Tensor]]:
    """Network and weights of a `float.npz`, or of the run directory that holds one."""
    path = Path(path)
    with np.load(path / "float.npz" if path.is_dir() else path, allow_pickle=False) as z:
        arrays = {name: torch.from_numpy(z[name]) for name in z.files if name != "network"}
        return from_dict(json.loads(str(z["network"]))), arrays


def load_float(path: str | Path) -> Tunnels:
    """The model in a `float.npz` (or in the run directory that holds one), in evaluation mode."""
    network, arrays = read_float(path)
    model = build(network)
    model.load_state_dict(arrays)
    return model.eval()
