"""Two processes that torchrun starts train as one does, step by step; and where one of them fails, all end.

This file is also what they run: the cases, each into a directory of the folder that is named.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import toys
from conftest import PATIENT
from patchnet import cli
from patchnet.net.recipe import PatchTunnels, Stage
from patchnet.net.toml import recipe_to_dict
from patchnet.tasks.classify import training
from patchnet.tasks.detect.end import Detection, Scale
from patchnet.train import loop, modules, processes

torch.set_num_threads(1)

SMALL = PatchTunnels("toy", (), 16, 16, k=1, central=False, stem_out=8, stages=(Stage(16, 1, 2, 2),))
BOXES = replace(SMALL, labels=toys.CLASSES, height=24, width=32, k=4, margin_h=8, margin_w=8)
USUAL = {"epochs": 2, "batch": 8, "validation": 0.0, "test": "", "ema": 0.9, "lr": 1e-2}
SQUARES = {"train": "squares", "network": replace(SMALL, labels=tuple(toys.COLOURS))}
CASES = {
    "labels": {**SQUARES, "mixup": 0.4, "cutmix": 1.0, "balanced": True},
    "sgd": {**SQUARES, "optimizer": "sgd", "minutes": 9.0},
    "presence": {"train": "boxes.npz", "network": BOXES, "auxiliary": 1.0, "mosaic": 0.5, "tied": True},
    "one class": {"train": "boxes.npz", "network": replace(BOXES, labels=("none", "disc"))},
    "boxes": {"train": "boxes.npz", "network": replace(BOXES, end=Detection((Scale(((15, 15),)),), 50))},
}  # fmt: skip


def trained(case: str, folder: Path, data: Path, monkeypatch, **how) -> list[float]:
    """The losses of all steps of a case, trained into `folder` / `case`; `how` is for loop.run."""
    e, losses = USUAL | CASES[case] | how, []
    e |= {"train": str(data / e["train"]), "network": recipe_to_dict(e["network"])}
    with monkeypatch.context() as patched:
        patched.setattr(loop.Reporter, "step", lambda self, n, loss, share: losses.append(loss))
        loop.run("digits", folder / case, smoothing=0.0, name="toy", **e)
    return losses


def stopped(case: str, folder: Path, data: Path, monkeypatch) -> list[float]:
    """The same in two trainings, the first of which is stopped in the middle of its second epoch."""
    return begun(case, folder, data, monkeypatch) + trained(case, folder, data, monkeypatch, resume=True)


def begun(case: str, folder: Path, data: Path, monkeypatch) -> list[float]:
    asked = iter([False] * 4)
    return trained(case, folder, data, monkeypatch, stop=lambda: next(asked, True))


def started(*arguments: str | Path) -> subprocess.CompletedProcess:
    """This file, in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__]
    path = os.pathsep.join(p for p in sys.path if p)
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, env=env, timeout=PATIENT)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    toys.folder(folder / "squares", 9)
    toys.save(folder / "boxes.npz", 27)
    return folder


@pytest.fixture(scope="module")
def two(sets, tmp_path_factory):
    """The folder into which two processes have trained all cases, and the losses that the first one was told."""
    folder = tmp_path_factory.mktemp("two")
    begun("sgd", folder / "begun", sets, pytest.MonkeyPatch())
    done = started("train", sets, folder)
    assert done.returncode == 0, done.stderr
    return folder, json.loads((folder / "losses.json").read_text())


def weights(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / "float.npz") as arrays:
        return {name: arrays[name] for name in arrays.files if name != "network"}


def test_what_one_process_began_two_go_on_with(two):
    """The fourth of the six steps of a case was its last."""
    folder, losses = two
    np.testing.assert_allclose(losses["sgd, begun by one"], losses["sgd"][4:], rtol=1e-5)
    for name, value in weights(folder / "sgd").items():
        np.testing.assert_allclose(weights(folder / "begun" / "sgd")[name], value, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one(case, two, sets, tmp_path, monkeypatch):
    """What differs is the order of sums: 1e-6 of a loss. AdamW steps by the sign of a gradient that is next to none."""
    folder, losses = two
    alone = trained(case, tmp_path, sets, monkeypatch)
    assert len(alone) == 6
    np.testing.assert_allclose(losses[case], alone, rtol=1e-5)
    ours, theirs, off = weights(tmp_path / case), weights(folder / case), 1e-5 if case == "sgd" else 5e-3
    for name, value in ours.items():
        np.testing.assert_allclose(theirs[name], value, atol=off, err_msg=name)
    assert {p.name for p in (folder / case).iterdir()} == {p.name for p in (tmp_path / case).iterdir()}


def test_a_training_that_goes_on_is_as_one_that_never_ended(two, sets, tmp_path, monkeypatch):
    """To the last bit: the same losses, weights and log. So do two processes, which go on from a step of their own."""
    alone = trained("labels", tmp_path, sets, monkeypatch)
    assert stopped("labels", tmp_path / "again", sets, monkeypatch) == alone
    folder, losses = two
    assert losses["labels, stopped"] == losses["labels"]
    for ours, theirs in ((tmp_path, tmp_path / "again"), (folder, folder / "stopped")):
        one, other = (weights(at / "labels") for at in (ours, theirs))
        assert all(np.array_equal(one[name], other[name]) for name in one)
        logs = ((at / "labels" / "log.csv").read_text().splitlines() for at in (ours, theirs))
        assert len({tuple(line.rpartition(",")[0] for line in log) for log in logs}) == 1, "but for the seconds"


def test_a_batch_has_equal_parts(sets, monkeypatch):
    e = loop.load_experiment("digits", train=str(sets / "squares"), batch=9)
    with pytest.raises(ValueError, match=r"digits: batch: wanted a multiple of 6 \(processes x parts: 2 x 3\), got 9"):
        training.ClassBatches(loop.data.load(e.train), replace(e, accumulate=3), 0, 2)
    with pytest.raises(ValueError, match="squares: wanted 3 items or more for a step, got 2"):
        training.ClassBatches(loop.data.load(e.train, limit=2), e, 0, 3)


def test_a_batch_in_parts_is_the_batch(sets, tmp_path, monkeypatch):
    """Where norms do not count what is in it; where they do, its losses differ."""
    whole = trained("sgd", tmp_path / "a", sets, monkeypatch)
    parts = trained("sgd", tmp_path / "b", sets, monkeypatch, accumulate=2)
    assert np.abs(np.array(parts) / whole - 1).max() > 1e-3
    monkeypatch.setattr(modules.Norm, "forward", lambda self, x: x * self.weight[:, None, None])
    whole, parts = (
        trained("sgd", tmp_path / f"{n}", sets, monkeypatch, accumulate=n, mixup=0.4, lr=0.1) for n in (1, 4)
    )
    assert whole[-1] < whole[0]
    np.testing.assert_allclose(parts, whole, rtol=1e-5)
    one, other = weights(tmp_path / "1" / "sgd"), weights(tmp_path / "4" / "sgd")
    for name, value in one.items():
        np.testing.assert_allclose(other[name], value, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("fault", ["error", "kill"])
def test_one_that_fails_ends_all(fault, sets, tmp_path):
    """With one line of ours, whatever torchrun has to say of it."""
    done = started(fault, sets, tmp_path)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("patchnet: ")]
    wanted = {"error": ["patchnet: the second one fails"], "kill": ["patchnet: another of the 2 processes has ended"]}
    assert lines == wanted[fault] or fault == "kill" and not lines  # torchrun may be faster
    assert not (tmp_path / "run" / "float.npz").exists()


def fail(fault: str, sets: Path, folder: Path) -> int:
    """The second process, in its third step."""
    steps = iter(range(3))

    def jitter(x, *_):
        if os.environ["RANK"] == "1" and next(steps) == 2:
            if fault == "kill":
                os.kill(os.getpid(), 9)
            raise ValueError("the second one fails")
        return x

    training.jitter = jitter
    e = folder / "toy.toml"
    values = USUAL | CASES["labels"] | {"name": "toy", "train": str(sets / "squares")}
    e.write_text(
        loop.to_toml(loop.load_experiment("digits", **values | {"network": recipe_to_dict(values["network"])}))
    )
    return cli.main(["train", str(e), "--out", str(folder / "run")])


def main(what: str, sets: Path, folder: Path) -> int:
    if what != "train":
        return fail(what, sets, folder)
    losses = {case: trained(case, folder, sets, pytest.MonkeyPatch()) for case in CASES}
    losses["labels, stopped"] = stopped("labels", folder / "stopped", sets, pytest.MonkeyPatch())
    losses["sgd, begun by one"] = trained("sgd", folder / "begun", sets, pytest.MonkeyPatch(), resume=True)
    if int(os.environ["RANK"]) == 0:
        (folder / "losses.json").write_text(json.dumps(losses))
    assert processes.count() == 1, "they part when a training is over"
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(Path, sys.argv[2:])))
