"""What a training refuses, and what it leaves then: nothing new, and all that was there."""

import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from rich.progress import Progress

torch = pytest.importorskip("torch")

from filelock import FileLock

import toys
from patchnet import cli
from patchnet.net.toml import write_toml
from patchnet.tasks.classify import training
from patchnet.train import folder, loop

torch.set_num_threads(1)

NETWORK = {
    "labels": list(toys.COLOURS), "height": 16, "width": 16, "k": 1, "central": False, "stem_out": 8,
    "stages": [{"out": 16, "stride": 2, "t": 2}],
}  # fmt: skip


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    return toys.folder(tmp_path_factory.mktemp("data") / "squares", 8)


@pytest.fixture
def experiment(tmp_path, squares):
    """Writes an experiment with other values, gives its path."""

    def write(**values):
        usual = {"name": "toy", "train": str(squares), "epochs": 1, "batch": 8, "validation": 0.0, "network": NETWORK}
        path = tmp_path / "toy.toml"
        path.write_text(write_toml(usual | values))
        return path

    return write


def said(capsys, *args) -> str:
    """The one line of a command that fails."""
    capsys.readouterr()
    assert cli.main([*map(str, args)]) == cli.USER_ERROR
    return capsys.readouterr().err.splitlines()[-1]


def test_fewer_pictures_than_a_batch_learn(experiment, tmp_path, caplog, monkeypatch):
    run = loop.run(experiment(batch=64, epochs=3, lr=1e-2), tmp_path / "run")
    losses = [float(row.split(",")[1]) for row in (run / "log.csv").read_text().splitlines()[1:]]
    assert len(losses) == 3 and losses[2] < losses[0]
    assert "24 items make batches of 24" in caplog.text


def test_settings_out_of_range(experiment, tmp_path, capsys):
    wrong = {
        "epochs=0": "epochs: wanted 1 to 1000000, got 0",
        "epochs=-3": "epochs: wanted",
        "epochs=ten": "epochs: wanted a whole number, got 'ten'",
        "epochs=2.5": "epochs: wanted a whole number, got 2.5",
        "validation=1": "validation: wanted 0 or more, less than 1, got 1",
        "batch=0": "batch: wanted",
        "accumulate=0": "accumulate: wanted 1 to 1000000, got 0",
        "accumulate=3": "toy: batch: wanted a multiple of 3 (processes x parts: 1 x 3), got 8",
        "precision=half": "precision: wanted float32, bfloat16 or float16, got 'half'",
        "precision=float16": "precision: wanted float32 or bfloat16, as device is cpu, got 'float16'",
        "lr=0": "lr: wanted more than 0, at most 1000, got 0",
        "lr=NaN": "lr: wanted a number, got nan",
        "seed=-1": "seed: wanted 0 to",
        "flip=1": "flip: wanted true or false, got 1",
        "crop=[0.9,0.3]": "crop: wanted two parts of the area",
        "crop=0.5": "crop: wanted a list (a number, a number), got 0.5",
        "optimizer=adam": "optimizer: wanted adamw or sgd, got 'adam'",
        'name="../up"': "name: wanted a name without slashes, got '../up'",
        "epoch=3": "unknown key 'epoch' (did you mean 'epochs'? known:",
        "teaching=x": "teaching: wanted a number, got 'x'",
        "teaching=2": "teaching: wanted 0 to 1, got 2",
    }
    path, out = experiment(), tmp_path / "run"
    for setting, line in wrong.items():
        assert line in said(capsys, "train", path, "--out", out, "--set", setting)
        assert not out.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(experiment, tmp_path, capsys):
    line = said(capsys, "train", experiment(device="cuda", precision="float16"), "--out", tmp_path / "run")
    assert line == "patchnet: device: wanted cpu, as PyTorch finds no GPU, got cuda" and not (tmp_path / "run").exists()


def test_layers_in_half_the_bits(experiment, tmp_path, monkeypatch):
    """Those compute in bfloat16; what is learnt, told and kept is float32, and near to what float32 learns."""
    seen, losses = [], []
    run, step = training.Heads.forward, loop.Reporter.step

    def forward(self, x):
        seen.append(self.net.tunnels[0][0].conv(x).dtype)
        return run(self, x)

    monkeypatch.setattr(training.Heads, "forward", forward)
    monkeypatch.setattr(loop.Reporter, "step", lambda self, n, loss, share: losses.append(loss) or step(self, n, 0, 0))
    for precision in ("float32", "bfloat16"):
        run_dir = loop.run(experiment(precision=precision, epochs=4, lr=1e-2), tmp_path / precision)
    assert seen == [torch.float32] * 12 + [torch.bfloat16] * 12
    one, other = losses[:12], losses[12:]
    assert one != other and np.allclose(one, other, rtol=0.1) and other[-1] < other[0]
    saved = torch.load(run_dir / "checkpoint.pt", weights_only=True)
    moments = [value for state in saved["optimizer"]["state"].values() for value in state.values()]
    kept = [*saved["heads"].values(), *saved["average"].values(), *moments]
    assert {value.dtype for value in kept} == {torch.float32, torch.int64}
    assert {a.dtype.name for a in np.load(run_dir / "float.npz").values() if a.dtype.kind == "f"} == {"float32"}


def test_nothing_to_learn(experiment, tmp_path, capsys, squares):
    one = tmp_path / "one"
    toys.folder(one, 2)
    for label in ("green", "red"):
        for path in (one / label).iterdir():
            path.unlink()
    out = tmp_path / "run"
    line = said(capsys, "train", experiment(train=str(one)), "--out", out)
    assert "wanted items of two classes or more to learn from, got nothing of green, red" in line
    for label in ("green", "red"):
        (one / label).rmdir()
    few = {**NETWORK, "labels": ["blue"]}
    assert "got only blue" in said(capsys, "train", experiment(train=str(one), network=few), "--out", out)
    assert not out.exists()


def test_a_loss_that_is_no_number_ends_it(experiment, tmp_path, capsys, monkeypatch):
    run = loop.run(experiment(), tmp_path / "run")
    before = {name: (run / name).read_bytes() for name in ("float.npz", "checkpoint.pt", "log.csv")}
    monkeypatch.setattr(training, "jitter", lambda x, *_: x * np.inf)
    line = said(capsys, "train", experiment(epochs=3), "--out", run, "--resume")
    assert "toy: epoch 2: the loss is nan: try a smaller lr than 0.002" in line
    assert before == {name: (run / name).read_bytes() for name in before}


@pytest.mark.parametrize("fails", [False, True])
def test_half_a_bar_is_gone_where_training_fails(experiment, tmp_path, monkeypatch, fails):
    bars = []
    monkeypatch.setattr(loop, "Console", lambda: SimpleNamespace(is_terminal=True))
    monkeypatch.setattr(loop, "Progress", lambda *columns: bars.append(Progress(*columns)) or bars[-1])
    if fails:
        monkeypatch.setattr(training, "jitter", lambda x, *_: x * np.inf)
    with pytest.raises(ValueError, match="the loss is nan") if fails else nullcontext():
        loop.run(experiment(), tmp_path / "run")
    assert [(bar.live.transient, bar.live.is_started) for bar in bars] == [(fails, False)]


def test_a_run_is_not_trained_over(experiment, tmp_path, capsys):
    path, out = experiment(), tmp_path / "run"
    command = "train", path, "--out", out
    assert cli.main([*map(str, command)]) == 0
    (out / "toy.pnb").write_bytes(b"of the first run")
    kept = {p.name: p.read_bytes() for p in out.iterdir()}
    assert "has a run (float.npz): --resume goes on, --force begins anew" in said(capsys, *command)
    assert kept == {p.name: p.read_bytes() for p in out.iterdir()}
    new = tmp_path / "a" / "new"
    assert "init 'nowhere': wanted a run" in said(capsys, "train", path, "--out", new, "--set", "init=nowhere")
    assert not new.parent.exists()
    tones = toys.sounds(tmp_path / "tones", 2)
    for wrong, line in {
        f'test="{tones}"': "wanted the classes blue, green, red, got high, low, noise",
        f'train="{tones}"': "reads pictures, got sounds",
        'test="gone"': "no data set 'gone'",
        'init="gone"': "init 'gone': wanted a run",
        "teacher=gone": "gone",
        "epochs=0": "epochs: wanted",
    }.items():
        assert line in said(capsys, *command, "--force", "--set", wrong)
        assert kept == {p.name: p.read_bytes() for p in out.iterdir()}
    assert cli.main([*map(str, command), "--force"]) == 0
    assert not (out / "toy.pnb").exists() and (out / "float.npz").exists()


def test_one_training_at_a_time(experiment, tmp_path, capsys):
    out = tmp_path / "run"
    out.mkdir()
    with FileLock(out / folder.LOCK):
        assert "another training is at work there" in said(capsys, "train", experiment(), "--out", out)
    assert cli.main(["train", str(experiment()), "--out", str(out)]) == 0
    assert not (out / folder.LOCK).exists()


def test_what_cannot_be_resumed(experiment, tmp_path, capsys):
    out = tmp_path / "run"
    command = "train", experiment(epochs=2), "--out", out, "--resume"
    assert "nothing to resume, there is no checkpoint.pt" in said(capsys, *command)
    assert not out.exists()
    loop.run(experiment(), out)
    kept = {p.name: p.read_bytes() for p in out.iterdir()}
    other = {**NETWORK, "stem_out": 16}
    line = said(capsys, "train", experiment(network=other, epochs=2), "--out", out, "--resume")
    assert "was begun with another network than toy's" in line
    whole = (out / "checkpoint.pt").read_bytes()
    for cut in (whole[: len(whole) // 2], b""):
        (out / "checkpoint.pt").write_bytes(cut)
        command = "train", experiment(epochs=2), "--out", out, "--resume"
        assert "checkpoint.pt: damaged, --force begins anew" in said(capsys, *command)
    (out / "checkpoint.pt").write_bytes(whole)
    assert kept == {p.name: p.read_bytes() for p in out.iterdir()}


def test_weights_that_are_damaged_or_no_numbers(experiment, tmp_path, capsys):
    run = loop.run(experiment(), tmp_path / "run")
    whole = (run / "float.npz").read_bytes()
    commands = ("quantize", run, "--epochs", 0), ("val", run, "--on", "float", "--data", "digits")
    for cut in (whole[: len(whole) // 2], b""):
        (run / "float.npz").write_bytes(cut)
        for command in commands:
            assert "float.npz: no .npz file, or a damaged one" in said(capsys, *command)
    (run / "float.npz").write_bytes(whole)
    arrays = dict(np.load(run / "float.npz"))
    name = next(n for n in arrays if n.endswith("conv.weight"))
    arrays[name].flat[0] = np.nan
    np.savez(run / "float.npz", **arrays)
    line = said(capsys, *commands[0])
    assert f"{name} has weights that are no numbers" in line and not (run / "qnet.npz").exists()


def test_a_test_of_other_classes_is_told_before_training(experiment, tmp_path, capsys):
    for label in ("ant", "bee"):
        shutil.copytree(toys.folder(tmp_path / label, 1) / next(iter(toys.COLOURS)), tmp_path / "other" / label)
    line = said(capsys, "train", experiment(test=str(tmp_path / "other")), "--out", tmp_path / "r")
    assert "test: " in line and line.endswith(f"wanted the classes {', '.join(sorted(toys.COLOURS))}, got ant, bee")
    assert not (tmp_path / "r" / "float.npz").exists()


def test_a_typed_interrupt_gives_the_cursor_back(experiment, tmp_path):
    """rich hides it while a bar is shown."""
    master, slave = pty.openpty()
    path, out = experiment(epochs=100_000), tmp_path / "r"
    command = [sys.executable, "-m", "patchnet.cli", "train", str(path), "--out", str(out)]
    own = {
        "stdin": slave, "stdout": slave, "stderr": slave, "start_new_session": True,
        "env": os.environ | {"TERM": "xterm"},
        # a shell's background jobs, and so the tests where they are one, ignore it
        "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    }  # fmt: skip
    with subprocess.Popen(command, **own) as process:
        os.close(slave)
        patience, seen = threading.Timer(300, process.kill), b""
        patience.start()
        while b"epoch 3/" not in seen:
            seen += os.read(master, 4096)
        process.send_signal(signal.SIGINT)
        while True:
            try:
                seen += os.read(master, 4096)
            except OSError:  # the other end is closed
                break
        patience.cancel()
    assert process.returncode == 130 and b"interrupted" in seen
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l") >= 0
    assert (out / "checkpoint.pt").is_file() and not (out / folder.LOCK).exists()
