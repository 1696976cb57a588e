"""The shape of the trunk whose weights come with patchnet (models/lite0.npz, made by `train.backbone`): the stem and
all but the last two stages of EfficientNet-Lite0, which are three quarters of its weights."""

from __future__ import annotations

from dataclasses import replace

from .recipe import Stage

NAME = "lite0"
STEM = 32
MEAN, STD = (127, 127, 127), 128.0  # of the pixels that it learnt from
STAGES = (
    Stage(16, 1, 1, 1, 3),
    Stage(24, 2, 2, 6, 3),
    Stage(40, 2, 2, 6, 5),
    Stage(80, 3, 2, 6, 3),
    Stage(112, 3, 1, 6, 5),
)
BLOCKS = sum(stage.n for stage in STAGES)
LITE0 = "efficientnet-lite0"  # all of it:
WHOLE = (*STAGES, Stage(192, 4, 2, 6, 5), Stage(320, 1, 1, 6, 3))
HEAD = 1280  # and the 1x1 convolution behind it


def cut(blocks: int) -> tuple[Stage, ...]:
    """The stages of the first `blocks` bottlenecks, 1..BLOCKS."""
    if not 1 <= blocks <= BLOCKS:
        raise ValueError(f"blocks: wanted 1 to {BLOCKS}, got {blocks}")
    out, left = [], blocks
    for stage in STAGES:
        if left > 0:
            out.append(replace(stage, n=min(left, stage.n)))
        left -= stage.n
    return tuple(out)
