"""Distillation: a larger network, trained on the same classes, tells a smaller one what it sees in each picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..net.network import Network
from ..words import apart
from .modules import load_float

NOBODY_KNOWS = -1  # the label of a picture that has none: the teacher's answer is all that there is of it


class Teacher:
    """The float network of a run, which stays as it is."""

    def __init__(self, run: str | Path, labels: tuple[str, ...]):
        """ValueError if it does not tell `labels`."""
        self.model = load_float(run).to(memory_format=torch.channels_last)
        self.network = self.model.network
        if self.network.labels != labels or self.network.task != "classify":
            wanted, got = apart(labels, self.network.labels)
            raise ValueError(f"teacher {run}: wanted a network that tells {wanted}, got one for {got}")

    @torch.no_grad()
    def __call__(self, x: Tensor, pupil: Network) -> Tensor:
        """Probabilities (N, classes) for the pictures (N, C, H, W) as `pupil` sees them, enlarged to its own size."""
        own = self.network

        def row(values: tuple[int, ...]) -> Tensor:
            return torch.tensor(values[: x.shape[1]], dtype=torch.float32, device=x.device)[:, None, None]

        x = (x * pupil.std + row(pupil.mean) - row(own.mean)) / own.std
        x = F.interpolate(x, (own.height, own.width), mode="bilinear", align_corners=False)
        return self.model.to(x.device)(x.contiguous(memory_format=torch.channels_last)).softmax(1)


Loss = Callable[[Tensor, Tensor], Tensor]


def taught(logits: Tensor, labels: Tensor, told: Tensor, share: float, own: Loss) -> Tensor:
    """The loss of a batch: `share` of it tells how far the answers are from what the teacher `told`, the rest is
    `own`, of the labels (N, classes) that there are; those that NOBODY_KNOWS are all zeros. What a teacher tells needs
    no weights of classes: they were weighed when it learnt."""
    known = labels.sum(1) > 0
    soft = F.cross_entropy(logits, told, reduction="none")
    loss = (soft * torch.where(known, share, 1.0)).mean()
    if known.any():
        loss = loss + (1 - share) * known.float().mean() * own(logits[known], labels[known])
    return loss


def labelled(labels: Tensor, classes: int) -> Tensor:
    """Labels (N,) as distributions (N, classes): zeros where NOBODY_KNOWS."""
    hard = F.one_hot(labels.clamp(min=0), classes).float()
    return hard * (labels != NOBODY_KNOWS)[:, None]
