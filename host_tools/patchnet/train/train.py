"""Training in float32: one TOML file per experiment, read from top to bottom.

`run("person")` leaves runs/classify/person/{config.toml,float.npz,log.csv,checkpoint.pt}. Started by torchrun it
trains on several processes (DDP). Data sets of class labels train a softmax classifier; detection sets train on
random crops whose labels follow from the boxes, as a multi-label classifier, or as a two-way one (no_person, person),
or, where the network detects, on the boxes themselves (`train_detect`).
"""

from __future__ import annotations

import csv
import functools
import math
import os
import time
import tomllib
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ..data import sets as data
from ..data.sets import Dataset
from ..net.design import Network, from_dict, known, to_dict, write_toml
from .model import PatchTunnelNet, Tunnels, load_float, normalise, save_float

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])  # xmin, ymin, xmax, ymax
SAME = {"airplane": "aeroplane", "automobile": "car", "ship": "boat"}  # CIFAR-10's and VOC's names
ABSENT, UNSURE, PRESENT = 0.0, -1.0, 1.0  # presence labels; unsure ones take no part in the loss


@dataclass(frozen=True)
class Experiment:
    """Everything that a training depends on. `train` and `test` are data sets as `data.load` takes them.

    `validation` is the part of `train` held out by name (the same pictures in every experiment); `init` a run whose
    tunnels are the starting point. Augmentation: random crops of `crop` (min, max) of the area, sides stretched by
    up to `aspect`, a part `whole` of the pictures uncropped; `via` > 0 shrinks half of them through that many pixels;
    crops smaller than the network are enlarged "bilinear" or in "box"es, as the engine enlarges small pictures; `flip`;
    `colour` jitter; `mixup` (alpha of its beta distribution). Detection sets: a part `mosaic` of the pictures are made
    of crops of four, half of the other three from `extra`, a set of class labels, if there is one; `auxiliary` weighs
    the loss of the classes present in each cell of the tunnels' last maps. `tied` tunnels learn the same weights, which
    few pictures may ask for.

    Sounds (train_audio): `shift` (seconds) moves a clip, `speed` plays it faster or slower by up to that part, `gain`
    (dB) changes its level, `noise` is how many dB below the clip noise may reach (0: none), `masks` bands and rows of
    the spectrogram are blanked out; a part `background` of the clips are made to be none of the words.

    Networks that detect: anchors whose IoU with a box lies in `ignore` (low, high) are left out of the loss, from
    `high` on they learn it; `focal` (alpha, gamma) of the class loss, `box_weight` of the boxes' share. `turn` also
    mirrors half of the pictures top to bottom.
    """

    name: str
    network: Network
    train: str
    test: str = ""
    validation: float = 0.1
    init: str = ""
    epochs: int = 30
    batch: int = 64
    optimizer: str = "adamw"
    lr: float = 2e-3
    weight_decay: float = 0.02
    warmup: float = 0.03
    smoothing: float = 0.0
    ema: float = 0.999
    crop: tuple[float, float] = (0.3, 1.0)
    aspect: float = 1.33
    whole: float = 0.0
    via: int = 0
    enlarge: str = "bilinear"
    flip: bool = True
    colour: float = 0.3
    mixup: float = 0.0
    mosaic: float = 0.0
    extra: str = ""
    auxiliary: float = 0.0
    tied: bool = False
    shift: float = 0.0
    speed: float = 0.0
    gain: float = 0.0
    noise: float = 0.0
    masks: int = 0
    background: float = 0.0
    ignore: tuple[float, float] = (0.4, 0.5)
    focal: tuple[float, float] = (0.25, 2.0)
    box_weight: float = 1.0
    turn: bool = False
    evaluate_every: int = 1
    tensorboard: bool = False
    seed: int = 1


def load_experiment(path_or_name: str | Path, **overrides) -> Experiment:
    """An Experiment from a TOML file, or by the name of a shipped one. ValueError names unknown keys."""
    path = Path(path_or_name)
    if not path.is_file():
        path = EXPERIMENTS / f"{path_or_name}.toml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in EXPERIMENTS.glob("*.toml")))
        raise FileNotFoundError(f"no experiment {path_or_name!r} (no such file; shipped: {shipped})")
    values = known(Experiment, {**tomllib.loads(path.read_text()), **overrides}, str(path))
    network = from_dict({"name": values["name"], **values["network"]})
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Experiment(**{**values, "network": network})


def to_toml(experiment: Experiment) -> str:
    return write_toml({**asdict(experiment), "network": to_dict(experiment.network)})


def held_out(dataset: Dataset, part: float) -> tuple[Dataset, Dataset]:
    """(the rest, held-out part), chosen by a checksum of the picture's name, hence equal in every run."""
    inside = np.array([zlib.crc32(name.encode()) % 10000 < part * 10000 for name in dataset.names])
    return dataset.take(np.flatnonzero(~inside)), dataset.take(np.flatnonzero(inside))


def boxed(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    """A set of class labels as a detection set: one box around each picture, none if `classes` lacks its class."""
    columns = [classes.index(c) if c in classes else None for c in (SAME.get(c, c) for c in dataset.classes)]
    found = [columns[label] for label in dataset.labels]
    boxes = tuple(np.array([[0, 0, 1, 1, c, 0]] if c is not None else np.zeros((0, 6)), np.float32) for c in found)
    return replace(dataset, classes=classes, boxes=boxes)


# ---------------------------------------------------------------- pictures and targets


def presence(boxes: np.ndarray, areas: np.ndarray, classes: int) -> np.ndarray:
    """Which classes are to be seen in each of `areas` (m, 4), boxes (n, 6) being in the same coordinates: (m, classes).

    A class is PRESENT where an object that is not difficult covers 0.5% of the area (the Visual Wake Words rule) and
    is not cut off to less than a third, or covers a tenth of the area; UNSURE where only less than that is visible.
    """
    low = np.maximum(boxes[None, :, :2], areas[:, None, :2])
    high = np.minimum(boxes[None, :, 2:4], areas[:, None, 2:])
    visible = np.prod(np.maximum(0, high - low), 2)
    covers = visible / np.prod(areas[:, 2:] - areas[:, :2], 1)[:, None]
    shown = visible / np.maximum(1e-9, np.prod(boxes[:, 2:4] - boxes[:, :2], 1))[None, :]
    present = (covers >= 0.005) & ((shown > 0.33) | (covers > 0.1)) & (boxes[None, :, 5] == 0)
    out = np.full((len(areas), classes), ABSENT, np.float32)
    for found, label in ((visible > 0, UNSURE), (present, PRESENT)):
        area, box = np.nonzero(found)
        out[area, boxes[box, 4].astype(int)] = label
    return out


def cell_areas(network: Network) -> np.ndarray:
    """The whole picture and then the cells of each tunnel's last map, as fractions of the picture (1 + cells, 4)."""
    (ph, pw), last = network.patch, network.layers()[-1]
    size = np.array([network.width, network.height] * 2)
    rows, columns = np.linspace(0, ph, last.oh + 1), np.linspace(0, pw, last.ow + 1)
    cells = [
        (x + columns[j], y + rows[i], x + columns[j + 1], y + rows[i + 1])
        for y, x in network.patches()
        for i in range(last.oh)
        for j in range(last.ow)
    ]
    return np.concatenate([WHOLE, np.array(cells) / size])


def make_batches(dataset: Dataset, e: Experiment, rank: int = 0, ranks: int = 1) -> Batches:
    """Batches of the kind that the experiment's network learns from. ValueError if the set does not fit it."""
    if e.network.task == "detect":
        from ..tasks.detect.train_detect import BoxBatches

        return BoxBatches(dataset, e, rank, ranks)
    if e.network.task == "audio":
        from ..tasks.sound.train_audio import SoundBatches

        return SoundBatches(dataset, e, rank, ranks)
    return Batches(dataset, e, rank, ranks)


class Batches:
    """Augmented batches of a data set: uint8 (N, H, W, C) and targets.

    Targets are class indices (N,), or for detection sets presence labels (N, 1 + cells, classes).
    """

    def __init__(self, dataset: Dataset, experiment: Experiment, rank: int = 0, ranks: int = 1):
        self.dataset, self.e, self.rank, self.ranks = dataset, experiment, rank, ranks
        mode = "L" if experiment.network.channels == 1 else "RGB"
        self.images, self.boxes = [Image.fromarray(picture).convert(mode) for picture, _ in dataset], dataset.boxes
        if experiment.extra:
            extra, _ = held_out(data.load(experiment.extra), experiment.validation)
            self.images += [Image.fromarray(picture).convert(mode) for picture, _ in extra]
            self.boxes += boxed(extra, dataset.classes).boxes
        self.areas = None if experiment.network.detection else cell_areas(experiment.network)

    def __len__(self) -> int:
        return len(self.dataset) // (self.e.batch * self.ranks)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass in an order that depends on seed and number only; batches are made two ahead, by two threads."""
        order = np.random.default_rng((self.e.seed, number)).permutation(len(self.dataset))
        chunks = order[: len(self) * self.e.batch * self.ranks].reshape(-1, self.e.batch)[self.rank :: self.ranks]
        with ThreadPoolExecutor(2) as pool:
            jobs = ((chunk, np.random.default_rng((self.e.seed, number, *chunk[:2]))) for chunk in chunks)
            ahead = [pool.submit(self.collate, *job) for job in islice(jobs, 2)]
            while ahead:
                ahead.extend(pool.submit(self.collate, *job) for job in islice(jobs, 1))
                yield ahead.pop(0).result()

    def collate(self, chunk: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        pixels, targets = zip(*(self.sample(i, rng) for i in chunk), strict=True)
        return torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(targets))

    def sample(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One picture, cropped, resized and flipped, and its target."""
        size = self.e.network.width, self.e.network.height
        if self.dataset.boxes is None:
            pixels, _ = self.part(i, size, rng)
            return pixels, self.dataset.labels[i]
        pixels, boxes = self.mosaic(i, size, rng) if rng.random() < self.e.mosaic else self.part(i, size, rng)
        return pixels, presence(boxes, self.areas, len(self.dataset.classes))

    def part(self, i: int, size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
        """A random part of picture i (all of an extra one), resized to `size` (width, height), and its boxes."""
        image = self.images[i]
        x0, y0, x1, y1 = area = self.area_of(i, rng) if i < len(self.dataset) else WHOLE[0]
        box = (x0 * image.width, y0 * image.height, x1 * image.width, y1 * image.height)
        if self.e.via and rng.random() < 0.5:
            image, box = image.resize((self.e.via, self.e.via), Image.LANCZOS, box), None
        shrinks = box is None or box[2] - box[0] > size[0]
        blocks = shrinks or self.e.enlarge == "box"
        pixels = np.asarray(image.resize(size, Image.BOX if blocks else Image.BILINEAR, box))
        flipped = self.e.flip and rng.random() < 0.5
        pixels = (pixels[:, ::-1] if flipped else pixels).reshape(*size[::-1], -1)
        boxes = None if self.boxes is None else moved(self.boxes[i], np.array(area), flipped)
        return pixels, boxes

    def mosaic(self, i: int, size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Parts of picture i and three others side by side, with their boxes."""
        (w, h), own, every = size, len(self.dataset), len(self.images)
        others = [
            rng.integers(own, every) if own < every and rng.random() < 0.5 else rng.integers(own) for _ in range(3)
        ]
        x, y = (int(n * rng.uniform(0.3, 0.7)) for n in size)
        pixels, found = None, []
        places = rng.permutation([(0, 0, x, y), (x, 0, w, y), (0, y, x, h), (x, y, w, h)])
        for j, (x0, y0, x1, y1) in zip((i, *others), places, strict=True):
            tile, boxes = self.part(j, (x1 - x0, y1 - y0), rng)
            pixels = np.empty((h, w, tile.shape[2]), np.uint8) if pixels is None else pixels
            pixels[y0:y1, x0:x1] = tile
            boxes = cut(boxes)
            boxes[:, :4] = (boxes[:, :4] * np.tile((x1 - x0, y1 - y0), 2) + np.tile((x0, y0), 2)) / np.tile(size, 2)
            found.append(boxes)
        return pixels, np.concatenate(found)

    def area_of(self, i: int, rng: np.random.Generator) -> tuple[float, float, float, float]:
        """Fractions (xmin, ymin, xmax, ymax) of the part of picture i to take: any."""
        return self.random_area(rng)

    def random_area(self, rng: np.random.Generator) -> tuple[float, float, float, float]:
        """Fractions (xmin, ymin, xmax, ymax) of the part of a picture to take."""
        if rng.random() < self.e.whole:
            return 0.0, 0.0, 1.0, 1.0
        side = math.sqrt(rng.uniform(*self.e.crop))
        stretch = self.e.aspect ** rng.uniform(-0.5, 0.5)
        w, h = min(1, side * stretch), min(1, side / stretch)
        x, y = rng.uniform(0, 1 - w), rng.uniform(0, 1 - h)
        return x, y, x + w, y + h


def moved(boxes: np.ndarray, area: np.ndarray, flipped: bool) -> np.ndarray:
    """Boxes (n, 6) in the coordinates of a part of the picture, mirrored if `flipped`."""
    boxes = boxes.copy()
    boxes[:, :4] = (boxes[:, :4] - np.tile(area[:2], 2)) / np.tile(area[2:] - area[:2], 2)
    if flipped:
        boxes[:, [0, 2]] = 1 - boxes[:, [2, 0]]
    return boxes


def cut(boxes: np.ndarray) -> np.ndarray:
    """Boxes cut off at the picture's edges; those of which less than a third is left count as difficult."""
    inside = boxes.copy()
    inside[:, :4] = boxes[:, :4].clip(0, 1)
    left, full = (np.prod(b[:, 2:4] - b[:, :2], 1) for b in (inside, boxes))
    inside[3 * left < full, 5] = 1
    return inside[left > 0]


def jitter(x: Tensor, strength: float) -> Tensor:
    """Random brightness, contrast and, for colour, saturation and white balance of normalised pictures (N, C, H, W)."""
    n, channels = x.shape[:2]
    gain, balance = 1 + strength * (2 * torch.rand(n, 1, 1, 1) - 1), torch.rand(n, channels, 1, 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * gain + mean + strength * (2 * torch.rand(n, 1, 1, 1) - 1)
    if channels == 1:
        return x
    grey = x.mean(1, keepdim=True)
    return (x - grey) * (1 + strength * (2 * torch.rand(n, 1, 1, 1) - 1)) + grey + strength * 0.4 * (balance - 0.5)


def mix(x: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """mixup: each picture (and its target distribution) blended with another one of the batch."""
    share = torch.distributions.Beta(alpha, alpha).sample()
    order = torch.randperm(len(x))
    return share * x + (1 - share) * x[order], share * targets + (1 - share) * targets[order]


# ---------------------------------------------------------------- model and loss


class Heads(nn.Module):
    """The network and, while training on boxes, one linear layer that tells the classes in each cell of the
    tunnels' last maps."""

    def __init__(self, net: PatchTunnelNet, classes: int):
        super().__init__()
        self.net = net
        self.auxiliary = nn.Linear(net.network.layers()[-1].cout, classes) if classes else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        maps = self.net.maps(x)
        cells = None if self.auxiliary is None else self.auxiliary(maps.permute(0, 1, 3, 4, 2)).flatten(1, 3)
        return self.net.classify(maps.mean((3, 4))), cells


def presence_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy over the classes, those that are UNSURE left out."""
    sure = targets != UNSURE
    return F.binary_cross_entropy_with_logits(logits[sure], targets[sure])


def loss_for(e: Experiment, dataset: Dataset) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of logits that goes with the labels: of class distributions (N, classes), or for sets of boxes of
    presence labels (N, classes), all of them or one class against none of it. ValueError if labels do not match."""
    labels, classes = e.network.labels, dataset.classes
    if e.network.audio and e.network.audio.background:
        classes = (*classes, e.network.audio.background)  # which no set has: train_audio makes it
    if dataset.boxes is None and labels == classes:
        return lambda logits, target: F.cross_entropy(logits, target, label_smoothing=e.smoothing)
    if dataset.boxes is not None and labels == classes:
        return presence_loss
    if dataset.boxes is None or len(labels) != 2 or labels[1] not in classes:
        two = "" if dataset.boxes is None else " (or two labels, the second one of these)"
        raise ValueError(f"{e.name}: network has labels {labels}, {e.train} has {classes}{two}")
    column = classes.index(labels[1])
    whole = np.concatenate([presence(boxes, WHOLE, len(classes)) for boxes in dataset.boxes])[:, column]
    counts = torch.tensor([(whole == ABSENT).sum(), (whole == PRESENT).sum()])
    weight = counts.sum() / (2 * counts)  # both answers count alike

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        sure = target[:, column] != UNSURE
        return F.cross_entropy(logits[sure], target[sure, column].long(), weight, label_smoothing=e.smoothing)

    return loss


def batch_loss(model: nn.Module, e: Experiment, loss_of: Callable, pixels: Tensor, targets: Tensor) -> Tensor:
    """Loss of one batch as `Batches` makes it, augmented further here, where whole batches are quick."""
    x = normalise(pixels, e.network)
    x = jitter(x, e.colour) if e.colour else x
    if targets.ndim == 3:
        logits, cells = model(x)
        loss = loss_of(logits, targets[:, 0])
        return loss if cells is None else loss + e.auxiliary * presence_loss(cells, targets[:, 1:])
    targets = F.one_hot(targets, len(e.network.labels)).float()
    x, targets = mix(x, targets, e.mixup) if e.mixup else (x, targets)
    return loss_of(model(x)[0], targets)


def start_from(module: nn.Module, source: Tunnels) -> None:
    """Warm start: every tunnel takes the weights of one of the source's tunnels, where shapes agree, and so do other
    parts of the same name; an auxiliary head takes those of the source's fully connected layer."""
    mine, theirs = module.state_dict(), source.state_dict()
    for name, value in mine.items():
        part = name.split(".")
        if part[0] == "auxiliary":
            origin = f"fc.{part[1]}"
        elif part[1] == "tunnels":
            origin = ".".join(["tunnels", str(int(part[2]) % source.network.tunnels), *part[3:]])
        else:
            origin = ".".join(part[1:])
        if origin in theirs and theirs[origin].shape == value.shape:
            value.copy_(theirs[origin])


def moving_average(decay: float) -> Callable:
    """Exponential moving average that starts fast: the variances of the first steps must not stay in it."""

    def update(averaged: list[Tensor], current: list[Tensor], n: Tensor | int) -> None:
        rate = 1 - min(decay, (1 + int(n)) / (10 + int(n)))
        for mine, new in zip(averaged, current, strict=True):
            mine.lerp_(new, rate) if mine.is_floating_point() else mine.copy_(new)

    return update


def float_accuracy(model: PatchTunnelNet, dataset: Dataset) -> float:
    """Top-1 accuracy over a whole data set. For sets of boxes: how often the best class is present, unsure left out."""
    scores = model.predict(picture for picture, _ in dataset)
    best = scores.argmax(1)
    if dataset.boxes is None:
        return float((best == dataset.labels).mean())
    found = np.concatenate([presence(boxes, WHOLE, len(dataset.classes)) for boxes in dataset.boxes])
    if model.network.labels != dataset.classes:
        column = found[:, dataset.classes.index(model.network.labels[1])]
        return float((best == column)[column != UNSURE].mean())
    return float((found[np.arange(len(best)), best] == PRESENT).mean())


# ---------------------------------------------------------------- the run


@dataclass(frozen=True)
class Task:
    """What the run needs to know of a task: `module`, which is trained, with the network as its `net`; the loss of a
    batch; what is measured on held-out pictures (`measured` is its name)."""

    module: nn.Module
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor]
    measure: Callable[[Tunnels, Dataset], float]
    measured: str


def classification(e: Experiment, training: Dataset) -> Task:
    loss_of = loss_for(e, training)
    heads = Heads(PatchTunnelNet(e.network, e.tied), len(training.classes) if e.auxiliary else 0)
    loss = functools.partial(batch_loss, e=e, loss_of=loss_of)
    return Task(heads, loss, float_accuracy, "accuracy")


def task_of(e: Experiment, training: Dataset) -> Task:
    """The task of the experiment's network. ValueError where the data set does not fit it."""
    if e.network.task == "detect":
        from ..tasks.detect.train_detect import detection

        return detection(e)
    return classification(e, training)


def run(experiment: str | Path, out_dir: str | Path | None = None, resume: bool = False, **overrides) -> Path:
    """Train an experiment (TOML file or shipped name), fields replaced by `overrides`; returns the run directory.

    `float.npz` always holds the newest averaged weights: with a cosine schedule the last are the best, and nothing is
    chosen by the held-out pictures.
    """
    e = load_experiment(experiment, **overrides)
    out = Path(out_dir) if out_dir else Path("runs") / e.network.task / e.name
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    training, validation = held_out(data.load(e.train), e.validation)
    torch.manual_seed(e.seed)
    batches = make_batches(training, e, rank, ranks)
    task = task_of(e, training)
    if ranks > 1:
        torch.distributed.init_process_group("gloo")
    if rank == 0:
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.toml").write_text(to_toml(e))

    module = task.module
    if e.init:
        start_from(module, load_float(init_of(e, out)))
    module = module.to(memory_format=torch.channels_last)
    model = nn.parallel.DistributedDataParallel(module) if ranks > 1 else module
    average = AveragedModel(module.net, multi_avg_fn=moving_average(e.ema), use_buffers=True)
    steps = e.epochs * len(batches)
    optimizer, schedule = make_optimizer(module, e, steps)

    done = 0
    parts = {"heads": module, "average": average, "optimizer": optimizer, "schedule": schedule}
    if resume:
        saved = torch.load(out / "checkpoint.pt", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        done = saved["epoch"]

    report = Reporter(out, e, resume, task.measured) if rank == 0 else None
    for epoch in range(done, e.epochs):
        start, losses = time.time(), []
        torch.manual_seed((e.seed * 1000 + epoch) * ranks + rank)  # so that a resumed run goes on as it would have
        model.train()
        for pixels, targets in batches.epoch(epoch):
            loss = task.loss(model, pixels=pixels, targets=targets)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(module.net)
            losses.append(loss.item())
        if rank == 0:
            due = len(validation) and ((epoch + 1) % e.evaluate_every == 0 or epoch + 1 == e.epochs)
            measured = task.measure(average.module, validation) if due else None
            save_float(average.module, out / "float.npz")
            torch.save({**{k: p.state_dict() for k, p in parts.items()}, "epoch": epoch + 1}, out / "checkpoint.pt")
            report(epoch + 1, float(np.mean(losses)), measured, time.time() - start)
    if rank == 0 and e.test:
        print(f"{e.name}: test {task.measured} {task.measure(load_float(out), data.load(e.test)):.4f} ({e.test})")
    if ranks > 1:
        torch.distributed.destroy_process_group()
    return out


def init_of(e: Experiment, out: Path) -> Path:
    """Where the experiment's `init` lies: a path, or a run beside `out` or of another task."""
    places = [Path(e.init), out.parent / e.init, *sorted(out.parent.parent.glob(f"*/{e.init}"))]
    return next((place for place in places if place.exists()), places[1])


def make_optimizer(model: nn.Module, e: Experiment, steps: int):
    """AdamW or SGD and its schedule: linear warm-up, then a cosine to zero. No decay on norms, biases and depthwise
    weights, which are too few to overfit."""
    decays = [p for p in model.parameters() if p.ndim > 1 and p.shape[1] > 1]
    others = [p for p in model.parameters() if p.ndim <= 1 or p.shape[1] == 1]
    groups = [{"params": decays, "weight_decay": e.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if e.optimizer not in ("adamw", "sgd"):
        raise ValueError(f"{e.name}: optimizer {e.optimizer!r} (known: adamw, sgd)")
    adamw = e.optimizer == "adamw"
    optimizer = torch.optim.AdamW(groups, e.lr) if adamw else torch.optim.SGD(groups, e.lr, 0.9, nesterov=True)
    warm = max(1, int(e.warmup * steps))

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


class Reporter:
    """One line per epoch in log.csv, and a progress bar on a terminal or a plain line elsewhere."""

    def __init__(self, out: Path, e: Experiment, resume: bool, measured: str = "accuracy"):
        self.measured = measured
        self.path, self.e, self.board, self.progress = out / "log.csv", e, None, None
        if not resume:
            self.path.write_text(f"epoch,loss,{measured},seconds\n")
        if e.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(out)
        if Console().is_terminal:
            self.progress = Progress()
            self.progress.start()
            self.task = self.progress.add_task(e.name, total=e.epochs)

    def __call__(self, epoch: int, loss: float, result: float | None, seconds: float) -> None:
        shown = "" if result is None else f"{result:.4f}"
        with self.path.open("a", newline="") as f:
            csv.writer(f).writerow([epoch, f"{loss:.4f}", shown, f"{seconds:.1f}"])
        line = f"{self.e.name} epoch {epoch}/{self.e.epochs} loss {loss:.4f} held-out {shown or '-'} {seconds:.1f} s"
        if self.board:
            self.board.add_scalar("loss", loss, epoch)
            if result is not None:
                self.board.add_scalar(self.measured, result, epoch)
        if self.progress:
            self.progress.update(self.task, completed=epoch, description=line)
            if epoch == self.e.epochs:
                self.progress.stop()
        else:
            print(line, flush=True)
