"""From a trained float network to integers: fold, calibrate, fine-tune with quantization in the loop, read off.

`run("runs/classify/person")` leaves `qnet.npz` there; `calibrated` takes any model and its calibration data.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Collection, Iterable
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import data, rooms
from ..blob.files import integers_of, is_quantized, what_is
from ..blob.qnet_file import save
from ..blob.quantized import QNet
from ..net.network import Network
from ..plan import halves
from ..plan.place import block_name
from .batches import Batches, jitter
from .experiment import Experiment, held_out, load_experiment, options_of
from .fake import FakeCast, FakeNet
from .imported import dequantized_model
from .loop import make_optimizer, warm_cosine
from .modules import Tunnels, load_float, normalise
from .prune import Limits, Pruning

NO_LIMITS = Limits()


def fake_net(model: Tunnels, halved: Collection[int] = ()) -> FakeNet:
    """The fake-quantized form of a network, its scales not yet chosen. `halved`: the layers of `run()` behind which
    maps have 4 bits."""
    seen = copy(model)  # all of it is the model's but for the network
    seen.network = model.network.halved(halved)
    return rooms.part(model.network.task, "training").TRAINING.fake(seen)


def calibrated(model: Tunnels, pixels: np.ndarray, halved: Collection[int] = ()) -> FakeNet:
    """`fake_net` with all scales chosen by `pixels`, uint8 (N, H, W, C) as the network reads them, or float32 real
    inputs, which get a scale too. Its `quantized()` are the integers."""
    net, given = fake_net(model, halved), torch.from_numpy(pixels)
    x = normalise(given, model.network)
    if given.is_floating_point():
        net.scale_input(x)
    net.calibrate(x)
    net.correct(x)
    return net


def quantized(model: Tunnels, pixels: np.ndarray) -> QNet:
    """Post-training quantization of a model, by calibration data alone."""
    return calibrated(model, pixels).quantized()


def run(
    run_dir: str | Path,
    epochs: int = 6,
    lr: float = 2e-4,
    calibration: int = 256,
    out: str | Path | None = None,
    limits: Limits = NO_LIMITS,
) -> Path:
    """Quantize what `loop.run` left in `run_dir`; returns the path of the QNet, `qnet.npz` unless `out` says else.

    Calibrates on `calibration` training items; `epochs` of fine-tuning towards the float network's own answers on
    augmented training items follow (0: post-training quantization alone). To keep to the `limits` some maps have 4 bits
    (`plan.halves`), and inner channels are left out (`prune`); ValueError if the network never does.
    """
    run_dir = Path(run_dir)
    if not all((run_dir / name).is_file() for name in ("config.toml", "float.npz")):
        is_ = f", {what_is(run_dir)}" if run_dir.exists() else ""
        wanted = "the directory of a training, with its config.toml and float.npz"
        raise ValueError(f"{run_dir}: wanted {wanted}{is_} (a network that is quantized: with --data)")
    e = load_experiment(run_dir / "config.toml")
    e = replace(e, epochs=epochs, lr=lr, warmup=0.1, mixup=0.0, cutmix=0.0, weight_decay=0.0, accumulate=1)
    torch.manual_seed(e.seed)
    teacher = load_float(run_dir, e.tied)
    training, _ = held_out(data.readable(data.load(e.train)), e.validation)
    pixels = inputs_of(e.network, training.limit(calibration))
    net = calibrated_for(teacher, pixels, limits).to(memory_format=torch.channels_last)
    if epochs:
        batches = rooms.part(e.network.task, "training").TRAINING.batches(training, e)
        fine_tune(net, teacher.to(memory_format=torch.channels_last), batches, e)
    return saved(net, Path(out) if out else run_dir / "qnet.npz", epochs, lr, calibration, limits)


def again(
    model: str | Path,
    inputs: str,
    epochs: int = 0,
    lr: float = 3e-5,
    calibration: int = 256,
    out: str | Path | None = None,
    limits: Limits = NO_LIMITS,
) -> Path:
    """The same of a network that is quantized already, a shipped one also by its name, by `calibration` inputs of a
    data set; it is fine-tuned with all of them. By default the QNet is `<network's name>.npz` here."""
    file, qnet = integers_of(model)
    path = Path(out or f"{qnet.design.name}.npz")
    if not out and path.exists() and not is_quantized(path):
        raise ValueError(f"{path}: is there already, and holds no integers: -o FILE.npz tells where these go")
    if path.resolve() == file.resolve():
        raise ValueError(f"{file}: is what is quantized again: -o FILE.npz tells where the other integers go")
    real, items = dequantized_model(qnet), data.load_inputs(inputs, None if epochs else calibration)
    pixels = inputs_of(real.network, items.limit(calibration))
    net = calibrated_for(real, pixels, limits).to(memory_format=torch.channels_last)
    if epochs:
        task = real.network.task
        e = Experiment(
            qnet.design.name, real.network, inputs, epochs=epochs, lr=lr, batch=32, warmup=0.1, weight_decay=0.0,
            options=options_of(task)(),
        )  # fmt: skip
        batches = rooms.part(task, "training").TRAINING.batches(items, e)
        fine_tune(net, real.to(memory_format=torch.channels_last), batches, e)
    return saved(net, path, epochs, lr, calibration, limits)


def inputs_of(network: Network, items: Iterable[tuple[Any, Any]]) -> np.ndarray:
    """What the network reads of the items of a data set, as `calibrated` takes it."""
    prepare = rooms.part(network.task, "input").prepare
    return np.stack([prepare(x, network) for x, _ in items])


def calibrated_for(model: Tunnels, pixels: np.ndarray, limits: Limits = NO_LIMITS) -> FakeNet:
    """`calibrated`, with as few maps of 4 bits and as many inner channels as keep to the limits; says which they are,
    and what is given up. ValueError if none do."""
    fewer = pruned(model, pixels, limits) if limits.prune else model
    net = calibrated(fewer, pixels, after(fewer.network, limits.ram))
    tell_halved(net)
    return net


def pruned(model: Tunnels, pixels: np.ndarray, limits: Limits) -> Tunnels:
    """The model, or with fewer inner channels if it takes too much; says which are left."""
    before = limits.needs(model.network, model.tied)
    if limits.allow(before):
        return model
    print(f"{model.network.name} takes {before}: channels are pruned, by {len(pixels)} inputs", flush=True)
    fewer, _ = Pruning(model, pixels).within(limits)
    tell_pruned(model.network, fewer.network)
    return fewer


def tell_pruned(before: Network, now: Network) -> None:
    """How many inner channels the layers have left that lost some."""
    pairs = zip(before.run(), now.run(), strict=True)
    left = [f"{block_name(now, i)} {b.cexp} of {a.cexp}" for i, (a, b) in enumerate(pairs) if a.cexp != b.cexp]
    macs = f"{before.macs / 1e6:.1f} to {now.macs / 1e6:.1f} M"
    print(
        f"{now.name} channels left: {', '.join(left)}; weights {before.weights:,} to {now.weights:,}, "
        f"multiply-accumulates {macs}",
        flush=True,
    )


def saved(net: FakeNet, path: Path, epochs: int, lr: float, calibration: int, limits: Limits) -> Path:
    """Writes the integers, with how they were made."""
    how = {"epochs": epochs, "lr": lr, "calibration": calibration, **asdict(limits)}
    save(net.quantized(), path, {key: value for key, value in how.items() if value is not None})
    return path


def after(network: Network, ram: int | None) -> tuple[int, ...]:
    """The layers behind which maps have 4 bits so that the network takes `ram` bytes; says so."""
    if ram is None:
        return ()
    plain, found = halves.chosen(network, ram)
    maps = ", ".join(f"{name} ({size:,} B)" for name, size in found.maps)
    if not maps:
        print(
            f"{network.name} maps of 4 bits: none; in {ram:,} B: {(found.cycles or 0) / 1e6:.1f} M cycles without them",
            flush=True,
        )
        return ()
    fits = "does not fit" if plain.cycles is None else f"{plain.cycles / 1e6:.1f} M cycles"
    print(
        f"{network.name} maps of 4 bits: {maps}; smallest arena {plain.least:,} to {found.least:,} B; "
        f"in {ram:,} B: {fits}, then {(found.cycles or 0) / 1e6:.1f} M cycles",
        flush=True,
    )
    return found.after


def tell_halved(net: FakeNet) -> None:
    """How far rounding to int4 is from the values of calibration, map by map, in the worst of its tunnels."""
    noise: dict[str, float] = {}
    for name, layer in net.named_modules():
        if isinstance(layer, FakeCast) and layer.layer.kind == "int4":
            place = re.sub(r"tunnels\.\d+", "tunnel", name)
            noise[place] = min(layer.noise, noise.get(place, math.inf))
    if noise:
        told = ", ".join(f"{value:.1f}" for value in noise.values())
        print(f"{net.network.name} maps of 4 bits: signal to noise {told} dB", flush=True)


def fine_tune(net: FakeNet, teacher: Tunnels, batches: Batches, e: Experiment) -> None:
    """Quantization-aware training by self-distillation: the scales stay, the weights learn to live with them."""
    optimizer, schedule = make_optimizer(net, e, e.epochs * len(batches))
    for epoch in range(e.epochs):
        start, losses = time.time(), []
        for step, (pixels, _) in enumerate(batches.epoch(epoch)):
            x = normalise(pixels, e.network)
            x = jitter(x, e.colour, batches.draws(epoch, step)) if e.colour else x
            losses.append(step_towards(teacher, net, x, optimizer))
            schedule.step()
        print(
            f"{e.name} quantization-aware {epoch + 1}/{e.epochs} distance {np.mean(losses):.5f} "
            f"{time.time() - start:.1f} s",
            flush=True,
        )


def fine_tune_towards(
    net: FakeNet,
    teacher: Tunnels,
    pixels: np.ndarray,
    epochs: int,
    lr: float = 3e-5,
    batch: int = 32,
    seed: int = 1,
    seconds: float = math.inf,
) -> list[float]:
    """The same from inputs alone, without labels, experiment or augmentation. Returns the distance from `teacher`
    before each step.

    `pixels` as `calibrated` takes them; `seed` decides their order, and nothing else is random. It ends early when
    `seconds` have passed; the learning rate is zero by then. That is low, as folded weights of someone else's network
    may be of any size: with 2e-4 a MobileNetV2 forgets more than it learns.
    """
    x, start, distances = torch.from_numpy(pixels), time.monotonic(), []
    order, optimizer = torch.Generator().manual_seed(seed), torch.optim.Adam(net.parameters(), lr)
    chunks = [chunk for _ in range(epochs) for chunk in torch.randperm(len(x), generator=order).split(batch)]
    for step, chunk in enumerate(chunks):
        done = max(step / len(chunks), (time.monotonic() - start) / seconds)
        if done >= 1:
            break
        optimizer.param_groups[0]["lr"] = lr * warm_cosine(step, max(1, len(chunks) // 10), done)
        distances.append(step_towards(teacher, net, normalise(x[chunk], net.network), optimizer))
    return distances


def step_towards(teacher: Tunnels, net: FakeNet, x: Tensor, optimizer: torch.optim.Optimizer) -> float:
    """One step towards the float network's own answers to x, inputs (N, C, H, W); the distance before it."""
    with torch.no_grad():
        target = teacher(x)
    loss = net.distance(net(x), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
