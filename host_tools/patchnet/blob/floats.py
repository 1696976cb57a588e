"""Float32 networks: from trained weights (float.npz) to a blob without integers (modpatchnet/FORMAT.md, Float32)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .. import format as fmt
from ..net.layers import POOLS, Layer
from ..net.network import Network
from ..plan.choice import plan as make_plan
from ..plan.place import Plan
from .pack import Content, assemble
from .record import Writer
from .unpack import record_of

EPS = 1e-5  # of batch norms, as PyTorch has it where nothing else is said

# The convolutions of a layer, each with the order that its weights (cout, cin, kh, kw) have in a blob.
DENSE, PIXEL, DEPTHWISE, PROJECT = (0, 2, 3, 1), (0, 1, 2, 3), (1, 2, 3, 0), (1, 0, 2, 3)
PARTS: dict[str, tuple[tuple[str, tuple[int, ...]], ...]] = {
    "conv": (("", DENSE),),
    "bottleneck": (("expand", PIXEL), ("depthwise", DEPTHWISE), ("project", PROJECT)),
    "block": (("first", DENSE), ("second", DENSE), ("shortcut", PIXEL)),
    **dict.fromkeys(POOLS, ()),
}
OPTIONAL = ("expand", "shortcut")


@dataclass(frozen=True)
class Real:
    """Weights (cout, cin, kh, kw), or (classes, features), and biases of a convolution: float32."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class FloatNet:
    """A float32 network, batch norms folded into its convolutions. tunnels[i][j] are the parts of layer j of the tunnel
    over patch i, by the names of PARTS; `fc` is None where no fully connected layer ends it."""

    design: Network
    tunnels: tuple[tuple[dict[str, Real], ...], ...]
    fc: Real | None


def folded(network: Network, arrays: Mapping[str, np.ndarray]) -> FloatNet:
    """A float32 network of trained weights, `arrays` by the names of PyTorch's state dict. The first layers read pixels
    minus their mean: the rest of what normalises those is in their weights."""
    tunnels = tuple(
        tuple(_layer(layer, arrays, f"tunnels.{t}.{i}", network.std if i == 0 else 1.0)
              for i, layer in enumerate(network.chain))
        for t in range(network.tunnels)
    )  # fmt: skip
    fc = Real(*(_float32(arrays[f"fc.{name}"]) for name in ("weight", "bias"))) if "fc.weight" in arrays else None
    return FloatNet(network, tunnels, fc)


def _layer(layer: Layer, arrays: Mapping[str, np.ndarray], where: str, std: float) -> dict[str, Real]:
    names = [name for name, _ in PARTS[layer.kind] if name not in OPTIONAL or layer.expand]
    return {name: _fold(arrays, f"{where}.{name}".rstrip("."), std) for name in names}


def _fold(arrays: Mapping[str, np.ndarray], where: str, std: float) -> Real:
    """A convolution and its batch norm as one convolution, whose input is divided by `std`."""
    names = "weight", "bias", "running_mean", "running_var"
    weight = arrays[f"{where}.conv.weight"].astype(np.float64)
    scale, bias, mean, variance = (arrays[f"{where}.norm.{name}"].astype(np.float64) for name in names)
    gain = scale / np.sqrt(variance + EPS)
    return Real(_float32(weight * (gain / std)[:, None, None, None]), _float32(bias - mean * gain))


def _float32(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)


# ---------------------------------------------------------------- a blob


def acts(layer: Layer) -> dict[str, int]:
    """The activations of a layer, by the fields that tell them."""
    inner, own = fmt.ACTS["none" if layer.linear else layer.act], fmt.ACTS[layer.act]
    if layer.kind == "conv":
        return dict(shift=inner, shift_1=0, shift_2=0)
    if layer.kind == "block":
        return dict(shift=own, shift_1=inner, shift_2=0)
    if layer.kind == "bottleneck":
        return dict(shift=fmt.ACTS[layer.out_act], shift_1=own if layer.expand else 0, shift_2=inner)
    return dict(shift=0, shift_1=0, shift_2=0)


def arrays_of(real: Real, order: Sequence[int] = (0, 1)) -> bytes:
    """Biases, then weights in the blob's order."""
    weight = np.ascontiguousarray(real.weight.transpose(order), "<f4")
    return real.bias.astype("<f4").tobytes() + weight.tobytes()


def layer_arrays(layer: Layer, parts: Mapping[str, Real]) -> bytes:
    return b"".join(arrays_of(parts[name], order) for name, order in PARTS[layer.kind] if name in parts)


def _params(net: FloatNet, writer: Writer) -> bytes:
    out = b""
    for tunnel in net.tunnels:
        for layer, parts in zip(net.design.chain, tunnel, strict=True):
            arrays = layer_arrays(layer, parts)
            at = writer.add_once(arrays) if arrays else 0
            out += fmt.PARAM.pack(zero_out=0, zero_mid=0, zero_add=0, res_mult=0, weight_off=at, **acts(layer))
    return out


def pack(net: FloatNet, plan: Plan | None = None) -> bytes:
    """The blob of a float32 network, run by `plan` (the planner's own choice if None)."""
    d = net.design
    content = Content(
        d,
        plan or make_plan(d),
        [fmt.FLAG_EXPAND * layer.expand | fmt.FLAG_RESIDUAL * layer.residual for layer in d.chain],
        tuple(m - 128 for m in d.mean[: d.channels]) if d.channels in (1, 3) else (d.mean[0] - 128,),
        record_of(d.task).float32_header(d),
        b"" if net.fc is None else arrays_of(net.fc),
        fmt.DTYPES["float32"],
    )
    return assemble(content, d.tunnels * len(d.chain), lambda writer: _params(net, writer))
