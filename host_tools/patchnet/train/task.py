"""What training and quantization need to know of a task: the interface of its module `training`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from ..data import Dataset
from ..net.network import Network
from .batches import Batches
from .experiment import Experiment
from .fake import FakeNet
from .modules import Tunnels


@dataclass(frozen=True)
class Goal:
    """`module`, which is trained, with the network as its `net`; the loss of a batch, of which the processes have
    equal parts; what is measured on held-out items (`measured` is its name)."""

    module: nn.Module
    loss: Callable[..., Tensor]  # of what computes it, pixels, targets and draws (batches.Draws)
    measure: Callable[[Tunnels, Dataset], float]
    measured: str


class Training:
    """`TRAINING` of a room's module `training` is one of these. `options`: a dataclass of what only experiments of this
    task have (Experiment.options)."""

    options: type

    def model(self, network: Network, tied: bool = False) -> Tunnels:
        """The float network with random weights. `tied` as in `Tunnels`."""
        raise NotImplementedError

    def fake(self, model: Tunnels) -> FakeNet:
        """The fake-quantized form of a trained network."""
        raise NotImplementedError

    def batches(self, dataset: Dataset, e: Experiment, rank: int = 0, ranks: int = 1) -> Batches:
        """Batches that the network learns from. ValueError if the set does not fit it."""
        raise NotImplementedError

    def goal(self, e: Experiment, training: Dataset) -> Goal:
        """ValueError if the set does not fit the network."""
        raise NotImplementedError
