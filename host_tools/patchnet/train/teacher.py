"""Distillation: a larger network, trained on the same classes, tells a smaller one what it sees in each picture.

It is a run, or a file of someone else's: an ONNX model, which is read as data, or a program of torch.export or
TorchScript, which PyTorch runs with all the rights that it has itself.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..importers.packages import package
from ..net.network import Network
from ..words import apart
from .modules import load_float

NOBODY_KNOWS = -1  # the label of a picture that has none: the teacher's answer is all that there is of it
PROBES = 4  # pictures of noise by which is seen what a file answers

Run = Callable[[Tensor], Any]
Shape = tuple[int | None, ...]  # (N, C, H, W), None for any length


class Teacher:
    """A trained network, which stays as it is. `run` takes (p - mean) / std of pixels p, (N, C, *size), and gives
    logits or, if `logits` is False, probabilities."""

    def __init__(
        self,
        path: str | Path,
        pupil: Network,
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
        size: tuple[int, ...] = (),
    ):
        """A run, or a file, of which `mean`, `std` and `size` are those of the pupil, or the file's own, where they are
        empty. ValueError if it does not tell the pupil's labels."""
        self.pupil, self.name, self.logits = pupil, f"teacher {path}", True
        self.mean, self.std, self.size = mean, std, size
        self.run: Run
        path = Path(path)
        run = path / "float.npz" if path.is_dir() else path
        if path.suffix.lower() in FILES:
            self.of_file(path)
            self.look()
        elif run.suffix == ".npz" and run.is_file():
            self.of_run(path)
        else:
            wanted = f"a trained run, with float.npz, or a file that ends in {', '.join(FILES)}"
            raise ValueError(f"{self.name}: wanted {wanted}, there is {'none' if path.exists() else 'nothing'}")

    def of_run(self, path: str | Path) -> None:
        model = load_float(path).to(memory_format=torch.channels_last)
        network, labels = model.network, self.pupil.labels
        if network.labels != labels or network.task != "classify":
            wanted, got = apart(labels, network.labels)
            raise ValueError(f"{self.name}: wanted a network that tells {wanted}, got one for {got}")
        if self.mean or self.std or self.size:
            raise ValueError(
                f"{self.name}: teacher_mean, teacher_std and teacher_size are for files: a run has its own"
            )
        self.run = lambda x: model.to(x.device)(x.contiguous(memory_format=torch.channels_last))
        self.mean, self.std, self.size = network.mean, (network.std,), (network.height, network.width)

    def of_file(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"{self.name}: no such file")
        n, (what, read) = self.pupil, FILES[path.suffix.lower()]
        with silent():
            self.run, shape = self.tried(f"no {what}", lambda: read(path))
        self.mean, self.std = self.mean or n.mean[: n.channels], self.std or (n.std,)
        says = zip(shape[2:], (n.height, n.width), strict=False)
        self.size = self.size or tuple(length or ours for length, ours in says)
        for setting, given, lengths in (
            ("mean", self.mean, {1, n.channels}),
            ("std", self.std, {1, n.channels}),
            ("size", self.size, {2}),
        ):
            if len(given) not in lengths:
                wanted = " or ".join(map(str, sorted(lengths)))
                raise ValueError(f"{self.name}: teacher_{setting}: wanted {wanted} numbers, got {len(given)}")
        wanted_shape = (None, n.channels, *self.size)
        if len(shape) != 4 or any(a and b and a != b for a, b in zip(shape, wanted_shape, strict=True)):
            raise ValueError(f"{self.name}: wanted an input of {sides(wanted_shape)}, got {sides(shape)}")
        if shape[0]:
            self.run = in_batches(self.run, shape[0])

    def look(self) -> None:
        """A first look at what a file answers: how much, and whether these are probabilities."""
        n, classes = self.pupil, len(self.pupil.labels)
        noise = torch.randn(PROBES, n.channels, n.height, n.width, generator=torch.Generator().manual_seed(0))
        told = self.asked(noise)
        got = sides(tuple(told.shape)) if isinstance(told, Tensor) else type(told).__name__
        if not isinstance(told, Tensor) or told.shape != (PROBES, classes):
            raise ValueError(
                f"{self.name}: wanted {classes} outputs, one for each label, got {got} of {PROBES} pictures"
            )
        self.logits = bool((told < 0).any() or (told.sum(1) - 1).abs().max() > 1e-3)

    def tried(self, what: str, call: Callable[[], Any]) -> Any:
        """ValueError, one line, for whatever the code of others makes of a file."""
        try:
            return call()
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None
        except Exception as error:
            said = str(error).strip() or type(error).__name__
            raise ValueError(f"{self.name}: {what}: {said.splitlines()[0][:200]}") from None

    @torch.no_grad()
    def asked(self, x: Tensor) -> Any:
        """What `run` gives for pictures (N, C, H, W) as the pupil sees them."""

        def row(values: tuple[float, ...]) -> Tensor:
            return torch.tensor(values[: x.shape[1]], dtype=torch.float32, device=x.device)[:, None, None]

        x = (x * self.pupil.std + row(self.pupil.mean) - row(self.mean)) / row(self.std)
        x = F.interpolate(x, self.size, mode="bilinear", align_corners=False)
        return self.tried("it gives no answer", lambda: self.run(x))

    def __call__(self, x: Tensor) -> Tensor:
        """Probabilities (N, classes) for pictures (N, C, H, W) as the pupil sees them."""
        told = self.asked(x).float()
        return told.softmax(1) if self.logits else told


# ---------------------------------------------------------------- files


def scripted(path: Path) -> tuple[Run, Shape]:
    """TorchScript, which does not tell the size of its input."""
    module = torch.jit.load(path, map_location="cpu").eval()
    return lambda x: module.to(x.device)(x), (None,) * 4


def exported(path: Path) -> tuple[Run, Shape]:
    """A program of torch.export."""
    program = torch.export.load(path)
    given = program.graph_signature.user_inputs
    if len(given) != 1:
        raise ValueError(f"wanted one input, got {len(given)}")
    (node,) = (node for node in program.graph.nodes if node.name == given[0])
    module = program.module()
    lengths = (length if isinstance(length, int) else None for length in node.meta["val"].shape)
    return lambda x: module.to(x.device)(x), tuple(lengths)


def onnx(path: Path) -> tuple[Run, Shape]:
    """On the CPU, wherever pictures come from."""
    runtime = package("onnxruntime", ".onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given, made = session.get_inputs(), session.get_outputs()
    if len(given) != 1 or given[0].type != "tensor(float)":
        raise ValueError(f"wanted one input of float32, got {', '.join(one.type for one in given)}")

    def run(x: Tensor) -> Tensor:
        told = session.run([made[0].name], {given[0].name: x.cpu().numpy()})
        return torch.from_numpy(told[0]).to(x.device)

    return run, tuple(length if isinstance(length, int) else None for length in given[0].shape)


FILES = {
    ".pt": ("TorchScript", scripted),
    ".torchscript": ("TorchScript", scripted),
    ".pt2": ("program of torch.export", exported),
    ".onnx": ("ONNX model", onnx),
}


def in_batches(run: Run, n: int) -> Run:
    """Of what takes n pictures at a time, no more and no fewer."""

    def whole(x: Tensor) -> Tensor:
        parts = x.split(n)
        return torch.cat([run(F.pad(part, (0,) * 7 + (n - len(part),)))[: len(part)] for part in parts])

    return whole


def sides(shape: Shape) -> str:
    return " x ".join("any" if length is None else str(length) for length in shape)


@contextmanager
def silent() -> Iterator[None]:
    """What libraries have to say of a file is told in the one line of an error."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


# ---------------------------------------------------------------- the loss


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
