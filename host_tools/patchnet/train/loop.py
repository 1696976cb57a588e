"""Training in float32, read from top to bottom.

`run("person")` leaves runs/classify/person/{config.toml,float.npz,log.csv,checkpoint.pt,batch.png}. Started by torchrun
it trains on several processes, which share every batch; the first of them alone writes. What is trained, on which
batches, by which loss and measure, the room tells.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from .. import data, models, rooms
from ..data import Dataset
from ..data.dataset import checked
from ..net import trunk
from ..net.network import Network
from ..whole import whole, write_text
from ..words import apart, some
from . import backbone, processes
from .batches import Draws, fits, jitter, kept
from .experiment import Experiment, NoNumber, held_out, is_held, load_experiment, to_toml
from .folder import CHECKPOINT, checkpoint_of, claim, damaged, locked, make_way
from .modules import load_float, normalise, read_float, save_float

log = logging.getLogger(__name__)


def start_from(module: nn.Module, source: Network, theirs: dict[str, Tensor]) -> None:
    """Warm start: every tunnel takes the weights of one of the source's tunnels, where shapes agree, and so do other
    parts of the same name; layers behind the tunnels go on where those end, if the source has more of them; an
    auxiliary head takes those of the source's fully connected layer."""
    for name, value in module.state_dict().items():
        found = next((theirs[n] for n in origins(name.split("."), module.net.network, source) if n in theirs), None)
        if found is not None and found.shape == value.shape:
            value.copy_(found)


def origins(part: list[str], network: Network, source: Network) -> list[str]:
    """What the source may call the weight of that name, likely ones first."""
    if part[0] == "auxiliary":
        return [f"fc.{part[1]}"]
    if part[1] == "tunnels":
        return [".".join(["tunnels", str(int(part[2]) % source.tunnels), *part[3:]])]
    own = ".".join(part[1:])
    if part[1] == "merged":
        return [own, ".".join(["tunnels", "0", str(len(network.chain) + int(part[2])), *part[3:]])]
    if part[1] == "scales" and part[3] == "layers":
        before = network.readouts[: int(part[2])]
        index = len(network.chain) + sum(len(readout.layers) for readout in before) + int(part[4])
        return [own, ".".join(["tunnels", "0", str(index), *part[5:]])]
    return [own]


def moving_average(decay: float) -> Callable:
    """Exponential moving average that starts fast: the variances of the first steps must not stay in it."""

    def update(averaged: list[Tensor], current: list[Tensor], n: Tensor | int) -> None:
        rate = 1 - min(decay, (1 + int(n)) / (10 + int(n)))
        for mine, new in zip(averaged, current, strict=True):
            mine.lerp_(new, rate) if mine.is_floating_point() else mine.copy_(new)

    return update


def run(
    experiment: str | Path,
    out_dir: str | Path | None = None,
    resume: bool = False,
    seen: Callable[[Path], object] = lambda _run: None,
    stop: Callable[[], bool] = lambda: False,
    force: bool = False,
    **overrides,
) -> Path:
    """Train an experiment (TOML file or shipped name), fields replaced by `overrides`; returns the run directory.
    `seen` is called with it after each epoch, `stop` is asked after each step whether that was enough. `force`: what
    another training left in the directory goes.

    `float.npz` always holds the newest averaged weights: with a cosine schedule the last are the best, and nothing is
    chosen by the held-out pictures. ValueError where nothing can be learnt, the loss is no number, or the directory is
    another run's; what was there then stays as it was.
    """
    with processes.together():
        e = load_experiment(experiment, **overrides)
        out = Path(out_dir) if out_dir else Path("runs") / e.network.task / e.name
        training, validation = parts_of(e)
        saved = checkpoint_of(out, e) if resume else None
        first = processes.rank() == 0
        with locked(out) if first else nullcontext():
            if first and not resume and not force:
                claim(out)
            trainer = Trainer(e, out, training, validation)
            if first and not resume:
                make_way(out)  # only now that nothing is in the way
            return trainer.run(saved, seen, stop)


def parts_of(e: Experiment) -> tuple[Dataset, Dataset]:
    """What is learnt from, and what is held out. ValueError where nothing can be learnt of it."""
    dataset = data.load(e.train)
    held = is_held(dataset, 0.0 if isinstance(e.validation, str) else e.validation)
    # decoded once: what is learnt from is kept as batches want it; what is held out is looked at whole, after epochs
    read = dataset
    if fits(dataset, e):
        read = data.readable(dataset, lambda source, i: checked(source, i) if held[i] else kept(source, e))
    training, validation = held_out(read, e.validation)
    if not len(training):
        raise ValueError(f"{e.train}: nothing is left to learn from, {len(validation)} items being held out")
    rooms.part(e.network.task, "answers").ANSWERS.check(training[0][0], f"{e.name}, of {e.train}")
    counts = training.counts()
    none = [c for c, n in zip(training.classes, counts, strict=True) if n == 0]
    if training.boxes is None and (none or len(training.classes) < 2):
        what = f"nothing of {some(none)}" if none else f"only {some(training.classes) or 'none'}"
        raise ValueError(f"{e.train}: wanted items of two classes or more to learn from, got {what}")
    if training.boxes is not None and not any(counts):
        raise ValueError(f"{e.train}: wanted boxes to learn from, got none in {len(training)} pictures")
    if none:
        log.warning("%s: no box to learn from is of class %s", e.train, some(none))
    return training, validation


def test_of(e: Experiment, training: Dataset) -> Dataset | None:
    """What is tested with when the training is over. ValueError if it has classes that nothing is learnt of."""
    items = data.load(e.test) if e.test else None
    if items and training.boxes is None and not set(items.classes) <= set(training.classes):
        wanted, got = apart(training.classes, items.classes)
        raise ValueError(f"{e.name}: test: {e.test}: wanted the classes {wanted}, got {got}")
    return items


# ---------------------------------------------------------------- the training


class Trainer:
    """One training, and its state: weights, their average, optimizer and schedule."""

    def __init__(self, e: Experiment, out: Path, training: Dataset, validation: Dataset):
        torch.manual_seed(e.seed)
        room = rooms.part(e.network.task, "training").TRAINING
        self.e, self.out, self.validation = e, out, validation
        self.rank, self.ranks = processes.rank(), processes.count()
        self.batches = room.batches(training, e, self.rank, self.ranks)
        self.goal = goal = room.goal(e, training)
        self.test = test_of(e, training)
        if e.init:
            start_from(goal.module, *beginning(e, out))
        self.device = processes.place(e.device)
        self.module = goal.module.to(self.device, memory_format=torch.channels_last)
        self.model = processes.distributed(self.module)
        self.average = AveragedModel(self.module.net, multi_avg_fn=moving_average(e.ema), use_buffers=True)
        self.clock = Clock(e.minutes)
        steps = e.epochs * len(self.batches)
        self.optimizer, self.schedule = make_optimizer(self.module, e, steps, lambda: self.clock.share)
        self.losses = list[float]()  # of the steps of this epoch
        self.over = False  # the time is, or that was enough
        self.shown = False  # a batch
        self.parts = {
            "heads": self.module, "average": self.average, "optimizer": self.optimizer, "schedule": self.schedule
        }  # fmt: skip
        self.scaler = torch.amp.GradScaler("cuda", enabled=e.precision == "float16")
        if self.scaler.is_enabled():
            self.parts["scaler"] = self.scaler

    def run(self, saved: dict | None, seen: Callable[[Path], object], stop: Callable[[], bool]) -> Path:
        """All epochs, or those that are left after what was `saved`."""
        e, out, done = self.e, self.out, 0
        if saved is not None:
            try:
                for name, part in self.parts.items():
                    part.load_state_dict(saved[name])
                done, self.losses = saved["epoch"], list(saved.get("losses", []))
                self.clock.began -= saved.get("seconds", 0.0)
            except (AttributeError, KeyError, RuntimeError, TypeError, ValueError, IndexError) as error:
                raise damaged(out / CHECKPOINT, error) from None
        report = Reporter(out, e, done, self.goal.measured, len(self.batches)) if self.rank == 0 else None
        if self.rank == 0:
            write_text(out / "config.toml", to_toml(e))
        try:
            self.agree(0.0, stop)
            for epoch in range(done, e.epochs):
                if self.over:
                    break
                start = time.time()
                self.epoch(epoch, report, stop)
                if report is not None:
                    self.keep(epoch, report, start)
                    seen(out)
                self.losses = []
        except BaseException:
            if report is not None:
                report.end(cleared=True)
            raise
        if report is not None:
            report.end()
        if self.rank == 0 and self.test:
            measured = self.goal.measure(load_float(out), data.readable(self.test))
            print(f"{e.name}: test {self.goal.measured} {measured:.4f} ({e.test})")
        return out

    def epoch(self, epoch: int, report: Reporter | None, stop: Callable[[], bool]) -> None:
        """What is left of an epoch, up to the step after which it was enough. ValueError if the loss is no number."""
        self.module.train()
        parts = self.batches.epoch(epoch, len(self.losses))
        while len(self.losses) < len(self.batches):
            self.losses.append(self.step(epoch, islice(parts, self.e.accumulate), stop))
            if report is not None:
                report.step(len(self.losses), self.losses[-1], self.clock.share)
            if self.over:
                break

    def step(self, epoch: int, parts: Iterable[tuple[Tensor, Tensor]], stop: Callable[[], bool]) -> float:
        """The loss before it, of the whole batch."""
        loss = 0.0
        self.optimizer.zero_grad()
        for i, (pixels, targets) in enumerate(parts):
            if self.rank == 0 and not self.shown:
                save_batch(pixels, self.e, self.batches.draws(epoch, len(self.losses)), self.out / "batch.png")
                self.shown = True
            draws = self.batches.draws(epoch, len(self.losses), i)
            pixels, targets = pixels.to(self.device), targets.to(self.device)
            with processes.sending(self.model, i + 1 == self.e.accumulate):
                part = self.goal.loss(self.forward, pixels=pixels, targets=targets, draws=draws) / self.e.accumulate
                self.scaler.scale(part).backward()
            loss += part.item()
        loss = self.agree(loss, stop)
        if not math.isfinite(loss):
            raise NoNumber(f"{self.e.name}: epoch {epoch + 1}: the loss is {loss}: try a smaller lr than {self.e.lr:g}")
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.average.update_parameters(self.module.net)
        return loss

    def forward(self, x: Tensor) -> Any:
        """The module's outputs, one or several, in float32 whatever they are computed in."""
        half = torch.float16 if self.e.precision == "float16" else torch.bfloat16
        with torch.autocast(self.device.type, half, enabled=self.e.precision != "float32"):
            out = self.model(x)
        return tuple(y if y is None else y.float() for y in out) if isinstance(out, tuple) else out.float()

    def agree(self, loss: float, stop: Callable[[], bool]) -> float:
        """The mean of the processes' losses. What the time is, and whether that was enough, the first one tells all."""
        told = torch.tensor([loss / self.ranks, 0.0, 0.0], dtype=torch.float64)
        if self.rank == 0:
            told[1], told[2] = self.clock.look(), stop()
        loss, self.clock.share, enough = (processes.summed(told) if self.ranks > 1 else told).tolist()
        self.over = self.clock.share >= 1 or bool(enough)
        return loss

    def keep(self, epoch: int, report: Reporter, start: float) -> None:
        """Files of a run whose epoch is over, or which ends within it; the checkpoint last, for it is what a run goes
        on from, with the next step."""
        e, out, complete = self.e, self.out, len(self.losses) >= len(self.batches)
        last = epoch + 1 == e.epochs or self.over
        due = len(self.validation) and ((epoch + 1) % e.evaluate_every == 0 or last)
        average = copy.deepcopy(self.average.module).cpu()
        measured = self.goal.measure(average, self.validation) if due else None
        save_float(average, out / "float.npz")
        report(epoch + 1, float(np.mean(self.losses)), measured, self.schedule.get_last_lr()[0], time.time() - start)
        state = {"epoch": epoch + complete, "losses": [] if complete else self.losses, "seconds": self.clock.seconds()}
        with whole(out / CHECKPOINT) as beside:
            torch.save({k: p.state_dict() for k, p in self.parts.items()} | state, beside)


def save_batch(pixels: Tensor, e: Experiment, draws: Draws, path: Path) -> None:
    """At most 24 inputs (N, H, W, C) of a batch beside each other, as the network learns from them, but for mixup."""
    if pixels.dtype != torch.uint8:
        return
    network = e.network
    x = jitter(normalise(pixels[:24], network), e.colour, draws).permute(0, 2, 3, 1)
    x = x * network.std + torch.tensor(network.mean[: network.channels], dtype=torch.float32)
    some = x.round().clamp(0, 255).to(torch.uint8).numpy()
    columns = min(8, len(some))
    some = np.concatenate([some, np.zeros((-len(some) % columns, *some.shape[1:]), np.uint8)])
    rows = [np.concatenate(list(some[i : i + columns]), 1) for i in range(0, len(some), columns)]
    grid = np.concatenate(rows)
    with whole(path) as beside:
        Image.fromarray(grid[:, :, 0] if grid.shape[2] == 1 else grid).save(beside, "PNG")


def beginning(e: Experiment, out: Path) -> tuple[Network, dict[str, Tensor]]:
    """The experiment's `init`: a path, a run beside `out` or of another task, a shipped network, EfficientNet-Lite0.
    FileNotFoundError where there is none, or a shipped network has no float32 weights."""
    if e.init == trunk.LITE0:
        return backbone.packaged()
    beside = [out.parent / e.init, *sorted(out.parent.parent.glob(f"*/{e.init}"))]
    places = Path(e.init), *beside, models.weights(e.init)
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise FileNotFoundError(
            f"{e.name}: init {e.init!r}: wanted a run, a file of float32 weights, or one of "
            f"{', '.join([*models.beginnings(), trunk.LITE0])}"
        )
    return read_float(found)


class Clock:
    """Time of a training that may take `minutes` (0: as long as it takes). `share`: what of it was over, 0..1 and more,
    when it was last looked at, by the first process, for all."""

    def __init__(self, minutes: float):
        self.began, self.limit, self.share = time.monotonic(), 60 * minutes, 0.0

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def look(self) -> float:
        return self.seconds() / self.limit if self.limit else 0.0


def make_optimizer(model: nn.Module, e: Experiment, steps: int, share: Callable[[], float] = lambda: 0.0):
    """AdamW or SGD and its schedule: linear warm-up, then a cosine to zero, over so many `steps`, or as the `share` of
    the time that is over tells, whichever is further. No decay on norms, biases and depthwise weights, which are too
    few to overfit."""
    decays = [p for p in model.parameters() if p.ndim > 1 and p.shape[1] > 1]
    others = [p for p in model.parameters() if p.ndim <= 1 or p.shape[1] == 1]
    groups = [{"params": decays, "weight_decay": e.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if e.optimizer not in ("adamw", "sgd"):
        raise ValueError(f"{e.name}: optimizer {e.optimizer!r} (known: adamw, sgd)")
    adamw = e.optimizer == "adamw"
    optimizer = torch.optim.AdamW(groups, e.lr) if adamw else torch.optim.SGD(groups, e.lr, 0.9, nesterov=True)
    warm = max(1, int(e.warmup * steps))

    def factor(step: int) -> float:
        at = max(step, share() * steps)
        return warm_cosine(at, warm, at / max(1, steps))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def warm_cosine(step: float, warm: int, done: float) -> float:
    """The learning rate's factor: it rises over `warm` steps, and falls to 0 as `done` becomes 1."""
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class Reporter:
    """One line per epoch in log.csv, and a bar that moves with every step on a terminal or a plain line elsewhere. Of
    a log that is there the lines of the first `done` epochs stay."""

    def __init__(self, out: Path, e: Experiment, done: int, measured: str = "accuracy", steps: int = 1):
        self.measured, self.steps, self.epoch, self.best = measured, steps, done, 0.0
        self.path, self.e, self.board, self.progress = out / "log.csv", e, None, None
        old = self.path.read_text().splitlines()[1 : 1 + done] if done and self.path.is_file() else []
        self.rows = [f"epoch,loss,{measured},lr,seconds", *old]
        if e.tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # imported here: few have it

            self.board = SummaryWriter(out)
        if Console().is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
            self.progress = Progress(*columns)
            self.progress.start()
            self.task = self.progress.add_task(e.name, total=1.0)

    def step(self, n: int, loss: float, share: float) -> None:
        """After step `n` of an epoch, a `share` of the time being over."""
        if self.progress:
            done = max((self.epoch + n / self.steps) / self.e.epochs, share)
            best = f", best {self.best:.4f}" if self.best else ""
            said = f"{self.e.name} epoch {self.epoch + 1} loss {loss:.3f}{best}"
            self.progress.update(self.task, completed=min(1.0, done), description=said)

    def __call__(self, epoch: int, loss: float, result: float | None, lr: float, seconds: float) -> None:
        shown = "" if result is None else f"{result:.4f}"
        self.epoch, self.best = epoch, max(self.best, result or 0.0)
        self.rows.append(f"{epoch},{loss:.4f},{shown},{lr:.3g},{seconds:.1f}")
        write_text(self.path, "\n".join([*self.rows, ""]))
        line = f"{self.e.name} epoch {epoch}/{self.e.epochs} loss {loss:.4f} held-out {shown or '-'} {seconds:.1f} s"
        if self.board:
            self.board.add_scalar("loss", loss, epoch)
            if result is not None:
                self.board.add_scalar(self.measured, result, epoch)
        if self.progress:
            self.progress.console.print(line, highlight=False)
        else:
            print(line, flush=True)

    def end(self, cleared: bool = False) -> None:
        """`cleared`: no bar stays behind, for an error to be told."""
        if self.progress:
            self.progress.live.transient = cleared
            self.progress.stop()
