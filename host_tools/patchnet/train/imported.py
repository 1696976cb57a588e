"""Networks of someone else's with real weights as modules, from which `quantize` goes on as from trained ones."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from ..blob.order import Order
from ..blob.pack import layer_bytes
from ..blob.quantized import QNet
from ..importers.dequantized import dequantized
from ..importers.graph import FloatLayer, Imported
from .modules import ConvNorm, Tunnels, build


def float_model(imported: Imported) -> Tunnels:
    """The module of `imported.network` with the weights of `imported.floats`, in evaluation mode. ValueError, naming
    layer and convolution, where those are missing, too many, or of another shape."""
    network = imported.network
    if len(imported.floats) != len(network.chain) + 1:
        wanted = f"weights of {len(network.chain)} layers and of an end"
        raise ValueError(f"{network.name}: wanted {wanted}, got {len(imported.floats)} in all")
    model = build(network)
    *chain, end = imported.floats
    for i, (module, layer) in enumerate(zip(model.tunnels[0], chain, strict=True)):
        load(convolutions(module), layer, f"layer {i}")
    dense = getattr(model, "fc", None)
    load({} if dense is None else {"dense": dense}, end, "end")
    return model.eval()


def dequantized_model(qnet: QNet) -> Tunnels:
    """The module of the real numbers that integers stand for, in evaluation mode; tunnels that share their weights are
    tied. ValueError for a network that `dequantized` does not take."""
    network, tunnels, end = dequantized(qnet)
    model = build(network, shared(qnet))
    for t, (modules, layers) in enumerate(zip(model.tunnels, tunnels, strict=True)):
        for i, (module, layer) in enumerate(zip(modules, layers, strict=True)):
            load(convolutions(module), layer, f"tunnel {t}, layer {i}")
    dense = getattr(model, "fc", None)
    load({} if dense is None else {"dense": dense}, end, "end")
    return model.eval()


def shared(qnet: QNet) -> bool:
    """Whether all tunnels have the same weights: of a packed network nothing else tells."""
    first, *others = qnet.tunnels
    pairs = (pair for chain in others for pair in zip(first, chain, strict=True))
    order = Order(0, columns=False, fast=False)
    return all(layer_bytes(one, "", order) == layer_bytes(other, "", order) for one, other in pairs)


def convolutions(module: nn.Module) -> dict[str, ConvNorm]:
    """Those of a layer's module, by the names that FloatLayer has for them."""
    if isinstance(module, ConvNorm):
        return {"conv": module}
    return {name: unit for name, unit in module.named_children() if isinstance(unit, ConvNorm)}


@torch.no_grad()
def load(units: dict[str, ConvNorm] | dict[str, nn.Linear], layer: FloatLayer, where: str) -> None:
    """The layer's weights into its modules."""
    if units.keys() != layer.parts.keys():
        raise ValueError(f"{where}: wanted {listed(units)}, got {listed(layer.parts)}")
    for name, unit in units.items():
        weight, bias = (torch.from_numpy(np.asarray(part, np.float32)) for part in layer.parts[name])
        target, offset = laid_out(unit, name), unit.norm.bias if isinstance(unit, ConvNorm) else unit.bias
        for what, wanted, got in (("weights", target.shape, weight.shape), ("biases", offset.shape, bias.shape)):
            if wanted != got:
                raise ValueError(f"{where}: {name}: wanted {what} of {tuple(wanted)}, got {tuple(got)}")
        target.copy_(weight)
        offset.copy_(bias)
        if isinstance(unit, ConvNorm):
            plain(unit.norm)


def laid_out(unit: ConvNorm | nn.Linear, name: str) -> Tensor:
    """Its weights seen as `blob.quantized.Scaled` lays them out."""
    if not isinstance(unit, ConvNorm):
        return unit.weight
    weight = unit.conv.weight
    if name == "depthwise":
        return weight[:, 0]
    return weight[:, :, 0, 0] if name in ("expand", "project", "shortcut") else weight.permute(0, 2, 3, 1)


def plain(norm: nn.BatchNorm2d) -> None:
    """A batch norm that adds its bias and does nothing else, to the last bit."""
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.fill_(1)


def listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
