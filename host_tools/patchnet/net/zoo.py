"""Networks by name, to plan and to measure with: shapes only. Weights exist for vww-18k alone (it is `person66`)."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files

from .network import Network
from .recipe import Stage, patch_tunnels
from .toml import from_dict

# MCUNet, as its authors publish it: (expansion, output channels, stride, kernel) of each block
MCUNET_IN3 = (
    (1, 8, 1, 3), (3, 16, 2, 7), (5, 16, 1, 3), (5, 16, 1, 7), (4, 16, 1, 5), (5, 24, 2, 5), (5, 24, 1, 5),
    (5, 24, 1, 5), (5, 40, 2, 3), (6, 40, 1, 7), (4, 40, 1, 5), (5, 48, 1, 5), (5, 48, 1, 7), (5, 48, 1, 3),
    (6, 96, 2, 3), (5, 96, 1, 7), (4, 96, 1, 3), (5, 160, 1, 7),
)  # fmt: skip
MCUNET_VWW1 = (
    (1, 8, 1, 3), (6, 16, 2, 3), (3, 16, 1, 3), (3, 16, 1, 3), (3, 24, 2, 7), (6, 24, 1, 3), (5, 24, 1, 5),
    (6, 40, 2, 7), (6, 40, 1, 7), (6, 48, 1, 3), (4, 48, 1, 3), (5, 96, 2, 5), (5, 96, 1, 3), (4, 96, 1, 3),
    (3, 160, 1, 7),
)  # fmt: skip

# MobileNetV2: (expansion, output channels at width 1.0, blocks, stride) of each stage
MOBILENET_V2 = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip

# The 63 KB network of the paper: 63,375 = 130*130*3 + 65*65*3
IMAGENET_63K = ((8, 16, 1, 2), (8, 16, 1, 1), (8, 24, 2, 2), (8, 40, 3, 2), (8, 64, 3, 1), (8, 96, 2, 2))

# Detection of the 20 classes of VOC at the sides of the paper's table 7: side, margin. The paper gives neither
# layers nor patches; these have maps of stride 16 like MobileNetV2's, and scales of stride 16, 32 and 64.
VOC_SIDES = {"voc-130": (130, 18), "voc-224": (224, 18), "voc-300": (300, 22)}
VOC = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 3, 2), (6, 96, 2, 1))
VOC_SCALES = ((), ((4, 128, 2),), ((4, 128, 2),))  # (expansion, channels, stride) of the blocks before each head
VOC_ANCHORS = (0.15, 0.35, 0.65)  # of the side, at each scale: a square one, a wide one and a high one


def _classes(n: int) -> tuple[str, ...]:
    return tuple(f"class {i}" for i in range(n))


def _ordinary(name: str, side: int, classes: int, **shape) -> Network:
    """One tunnel over the whole picture."""
    return patch_tunnels(name, _classes(classes), side, side, k=1, central=False, **shape)


def _mcunet(name: str, side: int, classes: int, blocks: Sequence[tuple[int, int, int, int]]) -> Network:
    stages = tuple(Stage(out, 1, stride, t, kernel) for t, out, stride, kernel in blocks)
    return _ordinary(name, side, classes, stem_out=16, stages=stages)


def _divisible(channels: float) -> int:
    """To the nearest multiple of 8, but never more than a tenth less (MobileNetV2's rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _mobilenet_v2(name: str, width: float, side: int) -> Network:
    stages = tuple(Stage(_divisible(width * out), n, stride, t) for t, out, n, stride in MOBILENET_V2)
    return _ordinary(name, side, 1000, stem_out=_divisible(width * 32), stages=stages, head=1280)


def _imagenet_63k(name: str) -> Network:
    stages = tuple(Stage(out, n, stride, t) for t, out, n, stride in IMAGENET_63K)
    return patch_tunnels(name, _classes(1000), 224, 224, k=4, margin_h=18, margin_w=18, stem_out=3, stages=stages)


def _vww_18k(name: str) -> Network:
    text = files("patchnet").joinpath("experiments", "person66.toml").read_text()
    return from_dict({"name": name, **tomllib.loads(text)["network"]})


def _voc(name: str) -> Network:
    side, margin = VOC_SIDES[name]
    scales = []
    for blocks, size in zip(VOC_SCALES, VOC_ANCHORS, strict=True):
        sides = [round(size * side * factor) for factor in (1, 1.4, 0.7)]
        anchors = [[sides[0], sides[0]], [sides[1], sides[2]], [sides[2], sides[1]]]
        scales.append({"anchors": anchors, "stages": [dict(out=out, stride=s, t=t) for t, out, s in blocks]})
    return from_dict(
        dict(
            name=name, labels=list(_classes(20)), height=side, width=side, k=4, margin_h=margin, margin_w=margin,
            stem_out=16, stages=[dict(out=out, n=n, stride=s, t=t) for t, out, n, s in VOC],
            detection={"scales": scales},
        )
    )  # fmt: skip


_MADE_BY = {
    "imagenet-63k": _imagenet_63k,
    "vww-18k": _vww_18k,
    "mcunet-in3": lambda name: _mcunet(name, 176, 1000, MCUNET_IN3),
    "mcunet-vww1": lambda name: _mcunet(name, 80, 2, MCUNET_VWW1),
    "mobilenetv2-0.35": lambda name: _mobilenet_v2(name, 0.35, 144),
    "mobilenetv2-1.0": lambda name: _mobilenet_v2(name, 1.0, 224),
    **dict.fromkeys(VOC_SIDES, _voc),
}
NAMES = tuple(_MADE_BY)


def network(name: str) -> Network:
    """The network of one of NAMES; ValueError for any other name."""
    if name not in _MADE_BY:
        raise ValueError(f"no network {name!r} (known: {', '.join(NAMES)})")
    return _MADE_BY[name](name)
