"""Augmented batches of pictures, made two ahead in threads."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .. import data
from ..data import Clip, Dataset, as_picture, decode
from ..data.dataset import Source, named
from .experiment import Experiment, held_out

log = logging.getLogger(__name__)
ITEM, STEP = 1, 2  # what random numbers are of, beside seed, epoch and place
SOME = 32  # pictures by which it is judged how much memory all of them take
MOST_KEPT = 8 << 30  # bytes of decoded pictures
WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])  # xmin, ymin, xmax, ymax
SAME = {"airplane": "aeroplane", "automobile": "car", "ship": "boat"}  # CIFAR-10's and VOC's names


def as_boxes(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    """A set of class labels as a detection set: one box around each picture, none if `classes` lacks its class."""
    columns = [classes.index(c) if c in classes else None for c in (SAME.get(c, c) for c in dataset.classes)]
    found = [columns[label] for label in dataset.labels]
    boxes = tuple(np.array([[0, 0, 1, 1, c, 0]] if c is not None else np.zeros((0, 6)), np.float32) for c in found)
    return replace(dataset, classes=classes, boxes=boxes)


class Draws:
    """Random numbers of a step. Those of its items are drawn for the whole batch, whatever part of it is here."""

    def __init__(self, key: tuple[int, ...], whole: int, start: int = 0):
        self.rng, self.whole, self.start = np.random.default_rng(key), whole, start

    def uniform(self, like: Tensor, *shape: int) -> Tensor:
        """Between 0 and 1, of this shape for each item of `like`."""
        drawn = self.rng.random((self.whole, *shape), np.float32)
        return torch.from_numpy(drawn[self.start : self.start + len(like)]).to(like.device)


class Batches:
    """Augmented batches of a data set: uint8 (N, H, W, C) and targets, whatever `sample` makes. Of a step's batch each
    process has equal parts, as many as the experiment accumulates; what its items are depends on seed, epoch and item
    alone."""

    def __init__(self, dataset: Dataset, experiment: Experiment, rank: int = 0, ranks: int = 1):
        self.dataset, self.e, self.rank, self.ranks = dataset, experiment, rank, ranks
        self.parts = ranks * experiment.accumulate
        if experiment.batch % self.parts:
            wanted = f"{self.parts} (processes x parts: {ranks} x {experiment.accumulate})"
            raise ValueError(f"{experiment.name}: batch: wanted a multiple of {wanted}, got {experiment.batch}")
        if len(dataset) < self.parts:
            raise ValueError(f"{experiment.train}: wanted {self.parts} items or more for a step, got {len(dataset)}")
        self.batch = min(experiment.batch, len(dataset) // self.parts * self.parts)
        self.size = self.batch // self.parts
        if self.batch < experiment.batch:
            log.warning("%s: %d items make batches of %d", experiment.train, len(dataset), self.batch)

    def __len__(self) -> int:
        """Steps of an epoch; items that are too few for another one have their turn in other epochs."""
        return len(self.dataset) // self.batch

    def epoch(self, number: int, done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass, but for the steps that are done, in an order that depends on seed and number only: this process's
        parts of each step's batch. They are made two ahead, by two threads."""
        order = np.random.default_rng((self.e.seed, number)).permutation(len(self.dataset))
        parts = order[: len(self) * self.batch].reshape(len(self), self.parts, self.size)[done:]
        chunks = parts[:, self.rank :: self.ranks].reshape(-1, self.size)
        with ThreadPoolExecutor(2) as pool:
            jobs = iter(chunks)
            ahead = [pool.submit(self.collate, number, chunk) for chunk in islice(jobs, 2)]
            while ahead:
                ahead.extend(pool.submit(self.collate, number, chunk) for chunk in islice(jobs, 1))
                yield ahead.pop(0).result()

    def collate(self, epoch: int, chunk: np.ndarray) -> tuple[Tensor, Tensor]:
        made = [self.sample(i, np.random.default_rng((self.e.seed, epoch, i, ITEM))) for i in chunk]
        pixels, targets = zip(*made, strict=True)
        return torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(targets))

    def draws(self, epoch: int, step: int, part: int = 0) -> Draws:
        """Random numbers for what a step does with this process's part of its batch."""
        return Draws((self.e.seed, epoch, step, STEP), self.batch, self.size * (self.ranks * part + self.rank))

    def sample(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | np.int64]:
        """One picture as the network reads it, and its target."""
        raise NotImplementedError


def reduced(pixels: np.ndarray, e: Experiment) -> Image.Image:
    """A picture in the network's mode. Large photographs are kept in a size of which the smallest crop still has as
    many pixels as the network: a hundred of twelve megapixels would take 3.6 GB."""
    image = Image.fromarray(pixels).convert("L" if e.network.channels == 1 else "RGB")
    enough = max(e.network.height, e.network.width) * math.sqrt(e.aspect / max(e.crop[0], 0.01))
    times = int(min(image.size) // enough)
    return image.reduce(times) if times > 1 else image


def kept(source: Source, e: Experiment) -> Source:
    """A file decoded, as trainings keep it: a picture `reduced`, or a clip. ValueError if it cannot be read."""
    item = decode(source)
    return item if isinstance(source, np.ndarray) or isinstance(item, Clip) else reduced(item, e)


def fits(dataset: Dataset, e: Experiment) -> bool:
    """Whether all of its pictures, `reduced`, have room in memory, judged by some of them. Sounds always have."""
    taken = list[int]()
    for i in range(0, len(dataset), max(1, len(dataset) // SOME)):
        with suppress(ValueError):  # what cannot be read is told elsewhere
            if isinstance(dataset.sources[i], np.ndarray) or isinstance(item := dataset[i][0], Clip):
                return True
            taken.append(np.asarray(reduced(item, e)).nbytes)
    return not taken or len(dataset) * sum(taken) <= MOST_KEPT * len(taken)


def pictures(dataset: Dataset, e: Experiment) -> list[Source]:
    """All of a set, decoded once, or as they are if they would have no room; what is `kept` already is taken as it
    is."""

    def read(i: int) -> Source:
        source = dataset.sources[i]
        return source if isinstance(source, Image.Image) else reduced(as_picture(dataset[i][0]), e)

    if len(dataset) and not isinstance(dataset.sources[0], Image.Image) and not fits(dataset, e):
        log.warning("%s: %d pictures have no room in memory: each is read when it is its turn", e.train, len(dataset))
        return list(dataset.sources)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(read, range(len(dataset))))


class PictureBatches(Batches):
    """Those of pictures, cropped, resized, flipped, or several in one; `boxes` are empty where the set has none."""

    def __init__(self, dataset: Dataset, experiment: Experiment, rank: int = 0, ranks: int = 1):
        super().__init__(dataset, experiment, rank, ranks)
        self.images = pictures(dataset, experiment)
        self.boxes = (np.zeros((0, 6), np.float32),) * len(dataset) if dataset.boxes is None else dataset.boxes
        if experiment.extra:
            extra = data.load(experiment.extra)
            if not isinstance(experiment.validation, str):
                extra, _ = held_out(extra, experiment.validation)
            self.images += pictures(extra, experiment)
            self.boxes = dataset.need_boxes() + as_boxes(extra, dataset.classes).need_boxes()

    def image(self, i: int) -> Image.Image:
        own = self.images[i]
        if isinstance(own, Image.Image):
            return own
        try:
            return reduced(as_picture(decode(own)), self.e)
        except ValueError as e:
            raise ValueError(named(str(own) if isinstance(own, Path) else f"picture {i}", e)) from None

    def part(self, i: int, size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A random part of picture i (all of an extra one), resized to `size` (width, height), and its boxes."""
        image = self.image(i)
        x0, y0, x1, y1 = area = self.area_of(i, rng) if i < len(self.dataset) else WHOLE[0]
        box = (x0 * image.width, y0 * image.height, x1 * image.width, y1 * image.height)
        shrinks = box[2] - box[0] > size[0]
        if self.e.via and rng.random() < 0.5:
            image = image.resize((self.e.via, self.e.via), Image.Resampling.LANCZOS, box)
            box, shrinks = (0, 0, *image.size), True
        how = Image.Resampling.BOX if shrinks or self.e.enlarge == "box" else Image.Resampling.BILINEAR
        pixels = np.asarray(image.resize(size, how, box))
        flipped = self.e.flip and rng.random() < 0.5
        pixels = (pixels[:, ::-1] if flipped else pixels).reshape(*size[::-1], -1)
        return pixels, moved(self.boxes[i], np.array(area), flipped)

    def mosaic(self, i: int, size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Parts of picture i and three others side by side, with their boxes."""
        (w, h), own, every = size, len(self.dataset), len(self.images)
        others = [
            int(rng.integers(own, every) if own < every and rng.random() < 0.5 else rng.integers(own)) for _ in range(3)
        ]
        x, y = (int(n * rng.uniform(0.3, 0.7)) for n in size)
        pixels, found = np.empty((h, w, self.e.network.channels), np.uint8), []
        places = rng.permutation([(0, 0, x, y), (x, 0, w, y), (0, y, x, h), (x, y, w, h)])
        for j, (x0, y0, x1, y1) in zip((i, *others), places, strict=True):
            tile, boxes = self.part(j, (x1 - x0, y1 - y0), rng)
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


def jitter(x: Tensor, strength: float, draws: Draws) -> Tensor:
    """Random brightness, contrast and, for colour, saturation and white balance of normalised pictures (N, C, H, W)."""

    def drawn(channels: int = 1) -> Tensor:
        return strength * (2 * draws.uniform(x, channels, 1, 1) - 1)

    gain, offset = 1 + drawn(), drawn()
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * gain + mean + offset
    if x.shape[1] == 1:
        return x
    grey = x.mean(1, keepdim=True)
    return (x - grey) * (1 + drawn()) + grey + 0.2 * drawn(x.shape[1])


def unmixed(e: Experiment) -> None:
    """ValueError if pictures shall be mixed, for a set of boxes, which would stay where they are."""
    if e.mixup or e.cutmix:
        raise ValueError(
            f"{e.name}: {'mixup' if e.mixup else 'cutmix'} is for sets of class labels, {e.train} has boxes"
        )


def mixed(x: Tensor, targets: Tensor, e: Experiment, draws: Draws) -> tuple[Tensor, Tensor]:
    """Pictures and their target distributions by mixup or cutmix, as the experiment has it; by one of them where it has
    both."""
    if e.cutmix and (not e.mixup or draws.rng.random() < 0.5):
        return cutmix(x, targets, e.cutmix, draws)
    return mixup(x, targets, e.mixup, draws) if e.mixup else (x, targets)


def mixup(x: Tensor, targets: Tensor, alpha: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Each picture (and its target distribution) blended with its neighbour in the batch (Zhang et al. 2018)."""
    share, other = draws.rng.beta(alpha, alpha), neighbours(len(x))
    return share * x + (1 - share) * x[other], share * targets + (1 - share) * targets[other]


def cutmix(x: Tensor, targets: Tensor, alpha: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """In each picture a box out of its neighbour in the batch, which reaches as far as the picture does; targets by the
    areas (Yun et al. 2019)."""
    side, other = math.sqrt(1 - draws.rng.beta(alpha, alpha)), neighbours(len(x))

    def span(size: int) -> slice:
        length, middle = round(side * size), int(draws.rng.integers(size))
        return slice(max(0, middle - length // 2), min(size, middle - length // 2 + length))

    rows, columns = span(x.shape[2]), span(x.shape[3])
    out = x.clone()
    out[:, :, rows, columns] = x[other][:, :, rows, columns]
    share = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (x.shape[2] * x.shape[3])
    return out, share * targets + (1 - share) * targets[other]


def neighbours(n: int) -> Tensor:
    """0 and 1 have each other, 2 and 3, and so on: the order of a batch is random already, and pairs are in one part of
    it. An odd last one has itself."""
    return (torch.arange(n) ^ 1).clamp(max=n - 1)
