"""Verbs that are killed, before each file that they leave and at random, that find the disk full, or files damaged:
what was there stays whole, and the verb ends well when it is run again. `PATCHNET_KILLS`: how often each at random."""

import itertools
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tflites
import toys
from patchnet import Model, cli, whole
from patchnet.blob import qnet_file
from patchnet.net.toml import read_toml, write_toml
from patchnet.train.modules import load_float

NETWORK = {
    "labels": list(toys.COLOURS), "height": 16, "width": 16, "k": 1, "central": False, "stem_out": 8,
    "stages": [{"out": 16, "stride": 2, "t": 2}],
}  # fmt: skip
OLD = Path(__file__).resolve().parents[1] / "golden" / "old" / "format5.pnb"
KILLS = int(os.environ.get("PATCHNET_KILLS", "3"))
# what each process is forked from has imported everything, and run nothing: threads would not survive
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["test_killed", "patchnet.train.loop", "patchnet.train.quantize", "patchnet.report.run"])


def verb(argv: list[str], folder: Path, files: int, most: int, said) -> None:
    """In a process of its own: runs `argv` in `folder`, and dies where its file number `files` would be there. No file
    gets larger than `most` bytes, as if the disk were full then."""
    left, replace = [files], os.replace
    os.dup2(said.fileno(), 2)
    tempfile.gettempdir()  # which is found by writing to it
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    def replaced(source, target):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.chdir(folder)
    torch.set_num_threads(1)
    whole.os.replace = replaced
    raise SystemExit(cli.main(argv))


UNLIMITED = resource.RLIM_INFINITY


def said_by(argv: list[str], folder: Path, files: int = 0, seconds: float | None = None, most: int = UNLIMITED):
    """The exit status of a verb that is killed after so many seconds, or files; and what it said to stderr."""
    mine, other = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=verb, args=(argv, folder, files, most, other))
    process.start()
    other.close()
    process.join(seconds)
    process.kill()
    process.join()
    with open(mine.fileno(), closefd=False) as f:
        return process.exitcode, f.read()


def run(*args, **kwargs) -> int:
    return said_by(*args, **kwargs)[0]


READERS = {
    "float.npz": load_float,
    "qnet.npz": qnet_file.load,
    "toy.pnb": Model,
    "checkpoint.pt": lambda path: torch.load(path, weights_only=True),
    "config.toml": read_toml,
    "report.html": lambda path: path.read_text().rindex("</html>"),
}


def state(folder: Path) -> dict[str, bytes]:
    """All files that a run is made of, each of which can be read."""
    for name, reader in READERS.items():
        if (folder / "run" / name).exists():
            reader(folder / "run" / name)
    rows = (folder / "run" / "log.csv").read_text()
    assert rows.endswith("\n") and len({row.count(",") for row in rows.splitlines()}) == 1
    return {path.name: path.read_bytes() for path in (folder / "run").iterdir() if path.suffix != ".part"}


VERBS = {
    "train": ["train", "toy.toml", "--out", "run", "--resume", "--set", "epochs=4"],
    "quantize": ["quantize", "run", "--epochs", "0", "--calibration", "5"],
    "pack": ["pack", "run", "--budget", "4K"],
    "report": ["report", "run", "--data", "squares"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Gives a folder with a run in it that was trained, quantized and packed."""
    first = tmp_path_factory.mktemp("first")
    toys.folder(first / "squares", 8)
    usual = {"name": "toy", "train": "squares", "epochs": 2, "batch": 8, "validation": 0.2, "network": NETWORK}
    (first / "toy.toml").write_text(write_toml(usual))
    (first / "old.pnb").write_bytes(OLD.read_bytes())
    (first / "stranger.tflite").write_bytes(tflites.small(np.random.default_rng(0), 6 / 255))
    for argv in (["train", "toy.toml", "--out", "run"], ["quantize", "run", "--epochs", "0"], ["pack", "run"]):
        assert run(argv, first) == 0
    return first


@pytest.mark.parametrize("name", VERBS)
def test_killed(name, made, tmp_path):
    argv, folder, whole_one = VERBS[name], tmp_path / "killed", tmp_path / "whole"
    for copy in (folder, whole_one):
        shutil.copytree(made, copy)
    before, began = state(folder), time.monotonic()
    assert run(argv, whole_one) == 0
    seconds, after = time.monotonic() - began, state(whole_one)
    timed = {"log.csv", "report.html", "checkpoint.pt", "batch.png"}  # have seconds in them, or where it went on
    assert any(before.get(file) != data for file, data in after.items())

    def holds() -> None:
        now = state(folder)
        for file in now.keys() | before.keys():
            assert file in timed or now.get(file) in (before.get(file), after.get(file)), file

    for files in itertools.count(1):
        status = run(argv, folder, files)
        state(folder)
        if name != "train":  # which goes on from where it was: at weights of other epochs
            holds()
        if status != -signal.SIGKILL:
            break
    assert status == 0 and files > 1
    rng = random.Random(1)
    for _ in range(KILLS):
        run(argv, folder, seconds=rng.uniform(0, seconds))
        state(folder)
    assert run(argv, folder) == 0
    now = state(folder)
    assert {file: data for file, data in now.items() if file not in timed} == {
        file: data for file, data in after.items() if file not in timed
    }
    assert not list((folder / "run").glob("*.part"))


WRITERS = VERBS | {
    "analyze": ["analyze", "run", "--plot", "run/plot.png"],
    "predict": ["predict", "run", "squares", "--out", "run/pages.pdf"],
    "design": ["design", "--budget", "64K", "--height", "32", "--width", "32", "-o", "run/config.toml"],
    "import": ["import", "stranger.tflite", "-o", "new"],
    "convert": ["convert", "old.pnb", "-o", "run/toy.pnb"],
    "make": ["make", "squares", "--ram", "64K", "--minutes", "0.02", "-o", "new"],
}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["analyze", "predict", "design", "import", "convert"])
def test_killed_writers(name, made, tmp_path):
    """Killed before each of its files: there is the old one or the new one, and the same command then ends well."""
    argv, folder, whole_one = WRITERS[name], tmp_path / "killed", tmp_path / "whole"
    for copy in (folder, whole_one):
        shutil.copytree(made, copy)
    before = files(folder)
    assert run(argv, whole_one) == 0
    after = files(whole_one)
    assert after != before
    for left in itertools.count(1):
        status = run(argv, folder, left)
        now = {file: data for file, data in files(folder).items() if ".part" not in file}
        assert [file for file, data in now.items() if data not in (before.get(file), after.get(file))] == []
        if status != -signal.SIGKILL:
            break
    assert status == 0 and left > 1
    assert files(folder) == after


@pytest.mark.parametrize("name", WRITERS)
def test_full_disk(name, made, tmp_path):
    """An error of one line where no file, or no larger one, can be written: nothing is half."""
    folder = tmp_path / "full"
    shutil.copytree(made, folder)
    before, failed = state(folder), []
    for most in (0, 1000)[: 1 if name == "make" else 2]:  # which plans for long
        status, said = said_by(WRITERS[name], folder, most=most)
        assert status in (0, 2) and "Traceback" not in said, said
        if status == 2:
            failed.append(most)
            assert "File too large" in said.splitlines()[-1], said
        now = state(folder)
        assert name == "train" or status == 0 or now == before
        assert not list(folder.rglob("*.part"))
    assert 0 in failed


RESUMED = ["train", "toy.toml", "--out", "run", "--resume", "--set", "epochs=3"]
READS = {
    "run/qnet.npz": (VERBS["pack"], ["predict", "run", "squares"]),
    "run/float.npz": (VERBS["quantize"], ["val", "run", "--on", "float", "--data", "squares"]),
    "run/config.toml": (VERBS["quantize"], VERBS["report"], RESUMED),
    "run/log.csv": (VERBS["report"], RESUMED),
    "run/checkpoint.pt": (RESUMED,),
    "run/toy.pnb": (["analyze", "run/toy.pnb"], ["predict", "run/toy.pnb", "squares"]),
    "old.pnb": (WRITERS["convert"],),
    "toy.toml": (["train", "toy.toml", "--out", "new"], ["analyze", "toy.toml"]),
}


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Cut off, empty, some bytes of it others, gone or there twice, a number of it another thing, or anything."""
    at, n, numbers = rng.randrange(len(data)), rng.randrange(1, 30), list(re.finditer(rb"\b\d+\b", data))
    number = rng.choice(numbers) if numbers else re.match(b"", data)
    other = rng.choice([b"-1", b"0", b"99999999999", b'"a"', b"[]", b"nan", b"1e400", b"true", b"{}", b"1.5"])
    return rng.choice([
        data[:at], b"", data[:at] + rng.randbytes(n) + data[at + n :], data[:at] + data[at + n :],
        data[:at] + data[at : at + n] + data[at:], data[: number.start()] + other + data[number.end() :],
        rng.randbytes(10 * n),
    ])  # fmt: skip


@pytest.mark.parametrize("file", READS)
def test_damaged_files(file, made, tmp_path, monkeypatch, capsys):
    """An error of one line, or what is damaged is of no matter."""
    rng, statuses = random.Random(file), set()
    monkeypatch.chdir(tmp_path)
    for i in range(int(os.environ.get("PATCHNET_DAMAGED", "6"))):
        folder = tmp_path / str(i)
        shutil.copytree(made, folder)
        monkeypatch.chdir(folder)
        (folder / file).write_bytes(damaged((folder / file).read_bytes(), rng))
        statuses.add(status := cli.main(rng.choice(READS[file])))
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("patchnet: ")]
        errors = [line for line in said if not line.startswith("patchnet: note: ")]
        assert (status, len(errors)) in ((0, 0), (2, 1)), (i, said)
    assert 2 in statuses


def test_a_checkpoint_of_other_weights(made, tmp_path, monkeypatch, capsys):
    """Which can be read, but is none."""
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    saved = torch.load("run/checkpoint.pt", weights_only=True)
    weights = next(value for value in saved.values() if isinstance(value, dict) and "module" in str(list(value)[-1]))
    weights["other"] = weights.pop(list(weights)[-1])
    torch.save(saved, "run/checkpoint.pt")
    assert cli.main(RESUMED) == 2 and "checkpoint.pt: damaged, --force begins anew" in capsys.readouterr().err


@pytest.mark.parametrize("row", ["3,0.5", "3,0.5,x,0.1,1.0", "x,0.5,,0.1,1.0"])
def test_a_log_with_a_damaged_row(row, made, tmp_path, monkeypatch, capsys):
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    with open("run/log.csv", "a") as f:
        f.write(f"{row}\n")
    assert cli.main(VERBS["report"]) == 2 and "log.csv: damaged in line 4" in capsys.readouterr().err
