"""The end of a network that detects: the tunnels' maps stitched together, and readouts with anchors (SSDLite)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Annotated, NamedTuple

from ...format import CANDIDATE_BYTES, MAX_TOP
from ...net.layers import Layer
from ...net.network import Lasting, Network, Readout
from ...net.recipe import EndRecipe, PatchTunnels, Stage
from ...net.stitching import Place, Stitched, Stitching
from ...net.toml import known, stages

Anchors = tuple[tuple[int, int], ...]  # (width, height) in pixels of the network's picture


class ScaleLayers(NamedTuple):
    """One scale: layers, the head that reads the map after them, and pixels of the picture from cell to cell.

    The head's channels: anchor by anchor dx, dy, dw, dh, then one per class.
    """

    layers: tuple[Layer, ...]
    head: Layer
    stride: int


@dataclass(frozen=True)
class Boxes(Stitched):
    """`places[i]` is where tunnel i's last map goes in the stitched one of `map` (rows, columns); where two meet they
    are added. Readout i predicts a box for each of `anchors[i]` at each cell of its map. At most the best `top`
    candidates of a picture are kept."""

    map: tuple[int, int]
    places: tuple[Place, ...]
    anchors: tuple[Anchors, ...]
    top: int = 100
    task = "detect"
    areas = "stitch_at", "candidate_at"

    def check(self, network: Network) -> None:
        if not network.readouts or not 1 <= self.top <= MAX_TOP:
            got = f"{len(network.readouts)}, {self.top}"
            raise ValueError(f"{network.name}: wanted a scale or more and top 1..{MAX_TOP}, got {got}")
        self.check_stitched(network)
        if len(self.anchors) != len(network.readouts):
            n = len(network.readouts)
            raise ValueError(f"{network.name}: wanted anchors of {n} scales, got {len(self.anchors)}")
        for layer in network.run():
            if layer.sh != layer.sw:
                raise ValueError(f"{network.name}: wanted the same stride along rows and columns, got {layer.stride}")
        most = 2 * min(network.height, network.width) - 1
        for i, anchors in enumerate(self.anchors):
            bad = [a for a in anchors if len(a) != 2 or not all(1 <= side <= most for side in a)]
            if bad or not 1 <= len(anchors) <= 255:
                wrong = bad[:4] or len(anchors)  # a damaged blob has many
                raise ValueError(f"{network.name}: scale {i}: wanted 1..255 anchors (w, h), 1..{most}, got {wrong}")
            wanted = len(anchors) * (4 + len(network.labels))
            if (channels := network.readouts[i].head.cout) != wanted:
                raise ValueError(f"{network.name}: scale {i}: wanted a head of {wanted} channels, got {channels}")
        for i, scale in enumerate(scales(network)):
            if scale.stride >= 4 * min(network.height, network.width):
                size, stride = f"{network.height}x{network.width}", scale.stride
                raise ValueError(f"{network.name}: scale {i}: cells of {stride} pixels are too large for {size}")

    def fully_connected(self, network: Network) -> None:
        return None

    def pools(self) -> bool:
        return False

    def lasting(self, network: Network, groups: int) -> Lasting:
        """The stitched map outlives the segments of the tunnels, the candidates all others."""
        stitched = self.stitched_bytes(network)
        places, tail = (("stitch_at", 0),), CANDIDATE_BYTES * self.top
        return Lasting(places, stitched, stitched, tail=tail, tail_places=(("candidate_at", 0),))

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Boxes:
        anchors = tuple(tuple(map(tuple, scale)) for scale in values["anchors"])
        places = tuple(Place(**place) for place in values["places"])
        return cls(tuple(values["map"]), places, anchors, values["top"])


END = Boxes


def scales(network: Network) -> list[ScaleLayers]:
    """The layers of each scale, and the stride of its cells."""
    stride, out = network.stride, []
    for readout in network.readouts:
        stride *= math.prod(layer.sh for layer in readout.layers)
        out.append(ScaleLayers(readout.layers, readout.head, stride))
    return out


# ---------------------------------------------------------------- as a recipe


@dataclass(frozen=True)
class Scale:
    """A map, and a head that predicts a box for each anchor at each cell of it."""

    anchors: Anchors
    """Sides of the boxes that its boxes are told by, in pixels of the network's picture (`patchnet anchors`)."""
    stages: tuple[Stage, ...] = ()
    """What makes its map of the scale's before, of the first scale of the stitched map; none: it is that map."""


@dataclass(frozen=True)
class Detection(EndRecipe):
    """What follows the tunnels: their maps, stitched together, are one map of the whole picture, read by the scales.
    The grid's patches supply their parts of it, the central one is added."""

    scales: tuple[Scale, ...]
    """One after the other, each reading the map of the one before."""
    top: Annotated[int, "1 to 1000"] = 100
    """Candidates that are kept of a picture, the best, before overlapping ones are dropped."""
    task = "detect"

    def ends(self, recipe: PatchTunnels, chain: tuple[Layer, ...]) -> tuple[tuple[Readout, ...], Boxes]:
        if recipe.aggregate != "sum":
            raise ValueError(f"{recipe.name}: aggregate: wanted sum for detection, got {recipe.aggregate}")
        stitching = Stitching.of(recipe, chain)
        (h, w), cin, readouts = stitching.size, chain[-1].cout, []
        for i, scale in enumerate(self.scales):
            if not scale.anchors:
                raise ValueError(f"{recipe.name}: scale {i}: wanted 1..255 anchors (w, h), got none")
            layers: list[Layer] = []
            for stage in scale.stages:
                layers.extend(stage.layers(h, w, cin, recipe.act))
                h, w, cin = layers[-1].oh, layers[-1].ow, layers[-1].cout
            channels = len(scale.anchors) * (4 + len(recipe.labels))
            head = Layer("bottleneck", h, w, cin, cin, channels, 3, 1, act=recipe.act)
            readouts.append(Readout(tuple(layers), head))
        anchors = tuple(scale.anchors for scale in self.scales)
        return tuple(readouts), Boxes(stitching.size, tuple(stitching.places()), anchors, self.top)


def recipe_from_dict(values: dict, where: str) -> Detection:
    """The table [network.detection]. ValueError names an unknown or missing key."""
    known(Detection, values, where)
    found = []
    for scale in values["scales"]:
        known(Scale, scale, f"{where}: scale")
        found.append(Scale(tuple(map(tuple, scale["anchors"])), stages(scale.get("stages", ()))))
    return Detection(**{**values, "scales": tuple(found)})
