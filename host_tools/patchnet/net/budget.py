"""Memory as the paper counts it (equations 2 and 3). What an engine really needs is told by its plan."""

from __future__ import annotations

from .layers import Layer
from .network import Network
from .recipe import PatchTunnels


def plain_bytes(layer: Layer, bytes_per_element: int = 1) -> int:
    """Eq. 2: input plus output of a layer. For a bottleneck this is the paper's figure, its intermediates ignored."""
    return bytes_per_element * (layer.h * layer.w * layer.cin + layer.oh * layer.ow * layer.cout)


def bottleneck_bytes(layer: Layer, bytes_per_element: int = 1) -> int:
    """Eq. 3: input, one channel of the expansion (where there is one), one of the depthwise convolution, output."""
    channels = layer.h * layer.w * layer.expand + layer.oh * layer.ow
    return plain_bytes(layer, bytes_per_element) + bytes_per_element * channels


def layer_bytes(layer: Layer, bytes_per_element: int = 1) -> int:
    """Eq. 2 or eq. 3, whichever is the layer's."""
    return (bottleneck_bytes if layer.kind == "bottleneck" else plain_bytes)(layer, bytes_per_element)


def paper_peak(network: Network, bytes_per_element: int = 1) -> int:
    """Peak memory as the paper counts it: the largest input plus output of any layer of a tunnel, or behind it.

    No accumulators, single channels or scratch.
    """
    return max(plain_bytes(layer, bytes_per_element) for layer in network.run())


def check_budget(network: Network | PatchTunnels, budget: int, bytes_per_element: int = 1) -> None:
    """ValueError "block i: needs n B, budget m B" for the first layer (0 is the stem) that breaks eq. 2 or eq. 3."""
    for i, layer in enumerate(network.layers()):
        needs = layer_bytes(layer, bytes_per_element)
        if needs > budget:
            raise ValueError(f"block {i}: needs {needs:,} B, budget {budget:,} B")
