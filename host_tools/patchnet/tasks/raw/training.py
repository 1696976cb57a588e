"""Networks whose last map is their output are imported: their weights come from elsewhere, and are quantized here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...data import Dataset
from ...net.network import Network
from ...train.batches import Batches, PictureBatches
from ...train.experiment import Experiment
from ...train.modules import Tunnels
from ...train.task import Goal, Training
from .fake import FakeMap
from .net import MapNet


class MapBatches(PictureBatches):
    """Pictures without targets, to be fine-tuned with towards the float network."""

    def sample(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.int64]:
        n = self.e.network
        return self.part(i, (n.width, n.height), rng)[0], np.int64(0)


@dataclass(frozen=True)
class Options:
    """There are none."""


class MapTraining(Training):
    options = Options

    def model(self, network: Network, tied: bool = False) -> MapNet:
        return MapNet(network, tied)

    def fake(self, model: Tunnels) -> FakeMap:
        return FakeMap(model)

    def batches(self, dataset: Dataset, e: Experiment, rank: int = 0, ranks: int = 1) -> Batches:
        return MapBatches(dataset, e, rank, ranks)

    def goal(self, e: Experiment, training: Dataset) -> Goal:
        raise ValueError(f"{e.name}: networks of task {e.network.task} are not trained here: import one with weights")


TRAINING = MapTraining()
