"""The command `patchnet`: its help, its JSON, its errors of one line, and a chain from design to a verified blob."""

import argparse
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_evaluate import FakeDevice, make_pictures, qnet_that_tells

import patchnet
import toys
from conftest import PATIENT
from patchnet import cli, data, models, progress
from patchnet.blob import qnet_file
from patchnet.blob.pack import pack
from patchnet.board import remote
from patchnet.net.recipe import Stage, patch_tunnels

COMMANDS = (
    "make",
    "design",
    "search",
    "train",
    "quantize",
    "pack",
    "convert",
    "import",
    "analyze",
    "val",
    "predict",
    "report",
    "bench",
    "paper",
    "deploy",
)
NET = patch_tunnels(
    "pets", ("ant", "bee", "cat"), 20, 20, k=4, margin_h=3, margin_w=3, stem_out=4, stages=(Stage(6, 1, 2, 3),)
)

OLD = Path(__file__).resolve().parents[1] / "golden" / "old" / "format5.pnb"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """qnet.npz, pets.pnb, and pictures/ant, bee and cat."""
    root = tmp_path_factory.mktemp("cli")
    pictures = make_pictures(12)
    qnet = qnet_that_tells(NET, pictures)
    qnet_file.save(qnet, root / "qnet.npz")
    (root / "pets.pnb").write_bytes(pack(qnet))
    for i, picture in enumerate(pictures):
        place = root / "pictures" / NET.labels[i % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(picture)).save(place / f"{i}.png")
    return root


@pytest.fixture
def here(folder, monkeypatch):
    """Run in the folder, where the torch-free commands may write."""
    monkeypatch.chdir(folder)
    return folder


def run(capsys, *argv: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of main."""
    try:
        status = cli.main(argv)
    except SystemExit as e:  # argparse
        status = e.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def run_json(capsys, *argv: str):
    """What main prints with --json: nothing else, and no progress bars."""
    status, out, err = run(capsys, *argv, "--json")
    assert status == 0 and "━" not in err, err
    return json.loads(out)


def shell(*argv: str, cwd=None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "patchnet.cli", *argv]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=PATIENT)


# ---------------------------------------------------------------- help and arguments


def test_help_names_every_command_with_a_summary(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = run(capsys, "--help")
    assert status == 0 and "commands, in the order of work" in out and max(map(len, out.splitlines())) <= 80
    assert all(name in out for name in models.names()), "none is broken at a hyphen"
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith("    ") and line.split()}
    assert set(COMMANDS) <= set(lines) and all(len(lines[name]) > 1 for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_explains_its_options(capsys, command):
    status, out, _ = run(capsys, command, "--help")
    assert status == 0 and f"usage: patchnet {command}" in out and "--json" in out


def test_installed_command_runs():
    done = shell("analyze", "--help")
    assert done.returncode == 0 and "usage: patchnet analyze" in done.stdout and not done.stderr


def test_nothing_but_training_and_float_needs_torch(folder):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from patchnet.cli import main\n"
        "argv = ['val', 'pets.pnb', '--data', 'pictures', '--json']\n"
        "assert main(argv) == main(['analyze', 'pets.pnb']) == main(['pack', '.', '-o', 'again.pnb']) == 0\n"
        "assert main(['train', 'digits']) == 2 and main(['quantize', '.']) == 2"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, timeout=PATIENT)
    assert done.returncode == 0, done.stderr
    wanted = "patchnet: this needs the package 'torch': pip install 'patchnet[train]'"
    assert done.stderr.splitlines()[-2:] == [wanted, wanted]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("24K", 24576),
        ("24KB", 24576),
        ("24kb", 24576),
        ("24576", 24576),
        ("1.5K", 1536),
        ("1M", 1 << 20),
        ("7B", 7),
        ("32KiB", 32768),
        ("2 MiB", 2 << 20),
    ],
)
def test_sizes(text, value):
    assert cli.size(text) == value


@pytest.mark.parametrize("text", ["", "K", "0", "-1", "1.5", "24G", "nan", "inf", "1e400", "24 bananas"])
def test_wrong_sizes(text):
    with pytest.raises(argparse.ArgumentTypeError, match="wanted a size such as 24K"):
        cli.size(text)


# ---------------------------------------------------------------- errors


def test_what_make_refuses_leaves_nothing(tmp_path, capsys):
    """So that nothing stands in the way of the right order."""
    pytest.importorskip("torch")
    squares, out = toys.folder(tmp_path / "squares", 7), tmp_path / "new"
    assert cli.main(["make", str(squares), "--ram", "9K", "--flash", "2K", "-o", str(out)]) == cli.USER_ERROR
    assert "B of flash at least" in capsys.readouterr().err and not out.exists()


EQUATIONS = ["design", "--budget", "9K", "--height", "32", "--width", "32"]
SEARCH = ["search", "--data", "squares", "--ram", "20K"]
WRONG = {
    "no command": ([], "required: COMMAND"),
    "unknown command": (["fly"], "invalid choice: 'fly'"),
    "an empty word": (["analyze", ""], "patchnet: wanted a word after analyze, got '' (a variable that is not set?)"),
    "an empty option": (["quantize", ".", "--data="], "patchnet: wanted a word after --data, got ''"),
    "unknown option": (["analyze", "pets.pnb", "--fast"], "unrecognized arguments: --fast"),
    "no model": (["val", "none.pnb", "--data", "pictures"], "no network none.pnb"),
    "no data": (["val", "pets.pnb", "--data", "nowhere"], "no data set 'nowhere'"),
    "data missing": (["val", "pets.pnb"], "required: --data"),
    "data not an npz": (["val", "pets.pnb", "--data", "pets.pnb"], "pets.pnb: wanted an .npz file"),
    "other classes": (["val", "pets.pnb", "--data", "other"], "other has classes fox; pets.pnb tells ant, bee, cat"),
    "unknown engine": (["val", "pets.pnb", "--data", "pictures", "--on", "moon"], "qemu or a port, got 'moon'"),
    "limit of nothing": (["val", "pets.pnb", "--data", "pictures", "--limit", "0"], "from 1 on, got '0'"),
    "no weights": (["val", "pets.pnb", "--data", "pictures", "--on", "float"], "no trained weights pets.npz"),
    "integers for weights": (
        ["val", "ints.pnb", "--data", "pictures", "--on", "float"],
        "ints.npz (has integers), floa",
    ),
    "a shipped network's weights": (
        ["val", "person", "--data", "pictures", "--on", "float"],
        "float.npz (networks with a bare name: bccd",
    ),
    "model is no blob": (["analyze", "qnet.npz"], "this is a network that is not packed yet: patchnet pack qnet.npz"),
    "damaged blob": (["analyze", "cut.pnb"], "cut.pnb: bad model: length"),
    "budget in words": (["analyze", "pets.pnb", "--budget", "much"], "such as 24K, 24KB or 24576, got 'much'"),
    "budget too small": (
        ["pack", "qnet.npz", "-o", "x.pnb", "--budget", "100"],
        "376 B at least (stem, 13x13x3), budget 100 B",
    ),
    "buffer too small": (["pack", "qnet.npz", "--stream", "50"], "B of weights at a time, stream 50 B"),
    "streamed by macs": (["analyze", "pets.pnb", "--stream", "1K", "--by", "macs"], "counted in cycles"),
    "no such buffer": (["analyze", "pets.pnb", "--stream", "50"], "stream: needs "),
    "no plan so small": (["analyze", "pets.pnb", "--budget", "100"], "376 B at least (stem, 13x13x3), budget 100 B"),
    "no such network": (["analyze", "mobilenet"], "shapes to plan for: imagenet-63k"),
    "not a design": (["analyze", "bad.toml"], "bad.toml: not TOML"),
    "pareto in words": (["analyze", "pets.pnb", "--pareto", "all"], "unrecognized arguments: all"),
    "pack something else": (["pack", "bad.toml"], "wanted a qnet.npz"),
    "pack over what is packed": (["pack", "pets.pnb"], "pets.pnb: is packed: -o FILE.pnb tells where"),
    "teaching without a teacher": (
        ["train", "digits", "--set", "teaching=0.5"],
        "teaching has no effect without teacher",
    ),
    "size of no teacher": (
        ["train", "digits", "--set", "teacher_size=[20, 20]"],
        "teacher_size has no effect without teacher",
    ),
    "a network's key": (["train", "digits", "--set", "coarse=true"], "coarse: stands in the table [network]"),
    "a table's key": (["train", "digits", "--set", "network.coarse=true"], "KEY being no table's, got 'network.coarse"),
    "a teacher that is not there": (
        ["train", "digits", "--set", "teacher=gone"],
        "teacher gone: wanted a trained run, with float.npz, or a file that ends in .pt, .torchscript, .pt2, .onnx, "
        "there is nothing",
    ),
    "a teacher of another kind": (
        ["train", "digits", "--set", "teacher=pets.pnb"],
        "teacher pets.pnb: wanted a trained",
    ),
    "no such weights": (["pack", "person-mcunet", "--float32"], "a bare name: bccd, cifar10, digits, person66, "),
    "pack nothing": (["pack", "gone.npz"], "no gone.npz (packed networks with a bare name: "),
    "design impossible": (["design", "--budget", "1K", "--height", "99", "--width", "99"], "budget 1,024 B"),
    "no picture": (["predict", "pets.pnb", "gone.png"], "no such picture: gone.png"),
    "not a picture": (["predict", "pets.pnb", "qnet.npz"], "qnet.npz: no picture, or of an unknown kind"),
    "two engines": (["predict", "pets.pnb", "a.png", "--on", "host,unix"], "wanted one engine, got host, unix"),
    "no experiment": (["train", "gone.toml"], "no experiment 'gone.toml'"),
    "bad setting": (["train", "digits", "--set", "epochs"], "wanted KEY=VALUE, KEY being no table's, got 'epochs'"),
    "unknown setting": (["train", "digits", "--set", "epoch=1"], "unknown key 'epoch' (did you mean 'epochs'?"),
    "no table": (["paper"], "wanted --list, or table and its number"),
    "no number": (["paper", "table"], "wanted --list, or table and its number"),
    "no such table": (["paper", "table", "10"], "table: wanted 1 to 9, got 10"),
    "table in words": (["paper", "table", "two"], "from 1 on, got 'two'"),
    "list of a table": (["paper", "table", "1", "--list"], "--list: has no effect with a table"),
    "command mistyped": (["trian", "digits"], "invalid choice: 'trian' (did you mean 'train'?"),
    "network mistyped": (["predict", "persn", "a.png"], "no network persn (did you mean 'person'?"),
    "data mistyped": (["val", "pets.pnb", "--data", "digit"], "no data set 'digit': did you mean 'digits'?"),
    "experiment mistyped": (["train", "digit"], "no experiment 'digit' (did you mean 'digits'?"),
    "setting of another type": (["train", "digits", "--set", "epochs=ten"], "epochs: wanted a whole number, got 'ten'"),
    "setting out of range": (["train", "digits", "--set", "epochs=0"], "epochs: wanted 1 to 1000000, got 0"),
    "no training to resume": (["train", "digits", "--out", "new", "--resume"], "new: nothing to resume"),
    "epochs below nothing": (["quantize", ".", "--epochs", "-1"], "from 0 on, got '-1'"),
    "quantize no run": (["quantize", "pictures"], "pictures: wanted the directory of a training"),
    "toml with an error": (["train", "bad.toml"], "bad.toml: not TOML: Invalid value"),
    "toml without a network": (["train", "short.toml"], "short.toml: 'network' is missing"),
    "toml out of range": (["train", "range.toml"], "range.toml: network: stem_out: wanted 1 to 4096, got -3"),
    "toml with a wrong type": (["train", "odd.toml"], "odd.toml: network: height: wanted a whole number, got '16'"),
    "toml with a wrong table": (["train", "list.toml"], "list.toml: network: wanted a table, got [1, 2]"),
    "half a picture": (["predict", "pets.pnb", "a.png", "half.jpg"], "half.jpg: damaged"),
    "empty folder": (["predict", "pets.pnb", "none"], "none: no pictures or sounds in it"),
    "a sound for pictures": (["predict", "spoken-digits", "a.png"], "reads sounds, got pictures (a.png)"),
    "threshold of two": (["predict", "bccd", "a.png", "--threshold", "2"], "from 0 to 1, got '2'"),
    "data empty": (["val", "pets.pnb", "--data", "none"], "none: wanted pictures or sounds as none/<class>/"),
    "data loose": (["val", "pets.pnb", "--data", "other/fox"], "1 beside each other, in no folder of a class"),
    "data packed": (["val", "pets.pnb", "--data", "set.zip"], "set.zip: is packed: unpack it first"),
    "data of other arrays": (
        ["val", "pets.pnb", "--data", "arrays.npz"],
        "'audio' and 'rate', got block0, block1, block2, block3, block4, block5, block6, block7 and 32 more)",
    ),
    "data without classes": (["val", "pets.pnb", "--data", "nameless.npz"], "wanted 'classes', the names that labels"),
    "many other classes": (
        ["val", "pets.pnb", "--data", "many.npz"],
        "many.npz has classes c0, c1, c2, c3, c4, c5, c6, c7 and 92 more; pets.pnb tells ant, bee, cat",
    ),
    "data cut": (["val", "pets.pnb", "--data", "half.npz"], "half.npz: no .npz file, or a damaged one"),
    "boxes for classes": (["val", "pets.pnb", "--data", "boxes"], "pictures with one class each"),
    "classes for boxes": (
        ["val", "bccd", "--data", "pictures"],
        "pictures: wanted a set of boxes, got one of class labels",
    ),
    "anchors of classes": (["anchors", "--data", "pictures", "--height", "9", "--width", "9"], "wanted a set of boxes"),
    "anchors of no class": (
        ["anchors", "--data", "boxes", "--height", "9", "--width", "9", "--classes", "cow"],
        "boxes: no class 'cow' in the data set (it has thing)",
    ),
    "confusion of boxes": (["val", "bccd", "--data", "boxes", "--confusion", "c.png"], ""),
    "design without a budget": (["design"], "one of the arguments --ram --budget is required"),
    "design with both": (["design", "--ram", "9K", "--budget", "9K"], "not allowed with argument"),
    "design for no data": (["design", "--ram", "9K"], "--ram: wanted --data as well"),
    "design without a size": (["design", "--budget", "9K"], "--budget: wanted --height and --width"),
    "design of boxes by equations": (
        ["design", "--budget", "9K", "--height", "32", "--width", "32", "--data", "boxes"],
        "boxes has boxes: --ram is for them, or --task classify",
    ),
    "design for the wrong task": (
        ["design", "--ram", "9K", "--data", "squares", "--task", "audio"],
        "squares: has pictures, which are for task classify, not audio",
    ),
    "design for no such board": (["design", "--ram", "9K", "--data", "squares", "--board", "ESP32"], "'ESP32'"),
    "design beyond a board": (
        ["design", "--ram", "90K", "--data", "squares", "--board", "NUCLEO_H723ZG"],
        "has room for 75,776 B",
    ),
    "design in too little": (["design", "--ram", "1K", "--data", "squares"], "keeps to 1,024 B of RAM; the smallest"),
    "design in too little flash": (
        ["design", "--ram", "9K", "--flash", "2K", "--data", "squares"],
        "B of flash at least",
    ),
    "design in no milliseconds": (["design", "--ram", "1M", "--ms", "0.01", "--data", "squares"], "the smallest needs"),
    "design by equations in no milliseconds": (
        ["design", "--budget", "24K", "--height", "40", "--width", "40", "--ms", "0.01"],
        "the quickest takes ",
    ),
    "design picks too far": (
        ["design", "--ram", "20K", "--data", "squares", "--pick", "9", "-o", "x.toml"],
        "--pick 9: wanted 1 to 4, as --top says",
    ),
    "make without memory": (["make", "pictures"], "required: --ram"),
    "make of nothing": (["make", "nowhere", "--ram", "20K"], "no data set 'nowhere'"),
    "make of too few": (["make", "other", "--ram", "20K"], "wanted two classes or more, got fox"),
    "make into something": (["make", "pictures", "--ram", "20K", "-o", "pictures"], "wanted a new folder"),
    "make in no time": (["make", "squares", "--ram", "20K", "--minutes", "-1"], "--minutes: wanted a number above 0"),
    "make as another folder": (["make", "squares", "--ram", "20K", "--name", "../up"], "a name without slashes, got"),
    "design in no time": (
        ["design", "--ram", "9K", "--data", "squares", "--ms", "nan"],
        "--ms: wanted a number above 0",
    ),
    "design by RAM with a height": (
        ["design", "--ram", "9K", "--data", "squares", "--height", "32"],
        "--height: has no effect with --ram, it is for --budget",
    ),
    "design by RAM with patches": (["design", "--ram", "9K", "--data", "squares", "-k", "4"], "-k: has no effect with"),
    "design by equations for a task": ([*EQUATIONS, "--task", "detect"], "--task: has no effect with --budget and no"),
    "design by equations for boxes": (
        [*EQUATIONS, "--task", "detect", "--data", "squares"],
        "--task detect: networks of --budget are for task classify",
    ),
    "design by equations with a clock": (
        [*EQUATIONS, "--clock", "400M"],
        "--clock: has no effect with --budget and no",
    ),
    "design of one label": ([*EQUATIONS, "--labels", "cat"], "two different names or more, such as no,yes, got 'cat'"),
    "design of equal labels": ([*EQUATIONS, "--labels", "a,b,a"], "two different names or more"),
    "design of labels and data": ([*EQUATIONS, "--labels", "a,b", "--data", "squares"], "--labels: has no effect with"),
    "design with negative margins": (
        [*EQUATIONS, "--margins", "-3"],
        "wanted a whole number from 0 on, got '-3'",
    ),
    "design picks and writes nothing": ([*EQUATIONS, "--pick", "2"], "--pick: has no effect without -o"),
    "design in hertz": (
        ["design", "--ram", "9K", "--data", "squares", "--clock", "480"],
        "wanted Hz of a processor, 1M to 2000M, got '480' (did you mean 480M?)",
    ),
    "report by an impossible clock": (["report", ".", "--clock", "9000M"], "1M to 2000M, got '9000M'"),
    "macs below nothing": ([*EQUATIONS, "--max-macs=-5"], "wanted a number such as 30M, got '-5'"),
    "search for nothing": (["search", "-o", "new"], "search: wanted --data, --ram, and --ms or --cycles; or --show"),
    "search into nowhere": ([*SEARCH, "--ms", "9"], "required: -o"),
    "search by two clocks": ([*SEARCH, "--ms", "9", "--cycles", "9M", "-o", "new"], "not allowed with argument"),
    "search of boxes": (["search", "--data", "boxes", *SEARCH[3:], "--ms", "9", "-o", "new"], "boxes"),
    "search into something": (
        [*SEARCH, "--ms", "9", "-o", "pictures"],
        "pictures: wanted a new folder, or one that `s",
    ),
    "search of no share": (
        [*SEARCH, "--ms", "9", "-o", "new", "--share", "0"],
        "wanted a number above 0, at most 1, got",
    ),
    "search with no such teacher": (
        [*SEARCH, "--ms", "9", "-o", "new", "--teacher", "gone"],
        "--teacher: wanted a trained run, there is no gone/float.npz",
    ),
    "search in too little": (
        [*SEARCH[:-1], "512", "--ms", "9", "-o", "new"],
        "keeps to 512 B of RAM, 9 ms at 480 MHz; the smallest needs",
    ),
    "search in no such storage": (
        [*SEARCH, "--ms", "9", "-o", "new", "--storage", "nothing://x"],
        "storage nothing://x: ",
    ),
    "search in a folder for a storage": (
        [*SEARCH, "--ms", "9", "-o", "new", "--storage", "pictures"],
        "storage pictures: wanted a file, or a database's URL",
    ),
    "pack a search": (["pack", "sought"], "this is a search: patchnet search -o sought --show"),
    "show with a limit": (["search", "-o", "new", "--show", "--ms", "9"], "--ms: has no effect with --show"),
    "show of nothing": (["search", "-o", "none", "--show"], "none: wanted a folder that `search` began"),
    "tune without a chain": (["train", "digits", "--tune", "2"], "--tune: has no effect without --chain"),
    "resume and force": (["train", "digits", "--resume", "--force"], "not allowed with argument"),
    "learning at no rate": (["quantize", ".", "--lr", "-1"], "--lr: wanted a number above 0, got '-1'"),
    "streamed on a board": (
        ["analyze", "pets.pnb", "--stream", "1K", "--board", "ARDUINO_GIGA"],
        "--board: has no effect",
    ),
    "packed for both": (
        ["pack", "qnet.npz", "--stream", "1K", "--board", "ARDUINO_GIGA"],
        "--board: has no effect with",
    ),
    "narrow in JSON": (["analyze", "pets.pnb", "--narrow", "--json"], "--narrow: has no effect with --json"),
    "threshold of classes": (["predict", "pets.pnb", "a.png", "--iou", "0.3"], "--iou: has no effect with pets.pnb"),
    "bench repeats counting": (["bench", "pets.pnb", "--repeat", "3"], "--repeat: has no effect on qemu"),
    "bench of blocks and a model": (["bench", "pets.pnb", "--blocks"], "--blocks: has no effect with MODEL"),
    "4 bits without calibration": (["import", "net.tflite", "--ram", "3K"], "--ram: has no effect without --calibrate"),
    "pruned without calibration": (["import", "net.tflite", "--flash", "3K"], "--flash: has no effect without --cal"),
    "quantize what is quantized": (["quantize", "pets.pnb"], "(a network that is quantized: with --data)"),
    "quantize again what is none": (["quantize", "pictures", "--data", "pictures"], "wanted a qnet.npz, as"),
    "tune without calibration": (["import", "net.tflite", "--tune", "3"], "--tune: has no effect without --calibrate"),
    "limit without a check": (["import", "net.tflite", "--limit", "3"], "--limit: has no effect without --check"),
    "check of weights": (
        ["import", "net.pth", "--check", "pictures"],
        "wanted a file that has an interpreter, .tflite",
    ),
    "family of a file without one": (
        ["import", "net.tflite", "--family", "mobilenetv2"],
        "--family: has no effect with a .tflite file, which tells the network itself",
    ),
    "import as another folder": (["import", "net.tflite", "--name", "../up"], "a name without slashes, got"),
    "plot into no folder": (["analyze", "pets.pnb", "--plot", "no/m.png"], "--plot: no/m.png: there is no folder no"),
    "plot of words": (
        ["analyze", "pets.pnb", "--plot", "m.txt"],
        "that ends in .png or .pdf or .svg or .jpg, got 'm.t",
    ),
    "plot into a folder": (["analyze", "pets.pnb", "--plot", "none"], "--plot: wanted a file, got the folder none"),
    "confusion into no folder": (
        ["val", "pets.pnb", "--data", "pictures", "--confusion", "no/c.png"],
        "--confusion: no/c.png: there is no folder no",
    ),
    "confusion of no kind": (["val", "pets.pnb", "--data", "pictures", "--confusion", "c"], "got 'c'"),
    "drawing into no folder": (["predict", "pets.pnb", "a.png", "--out", "no/p.png"], "--out: no/p.png: there is no"),
    "pack into no folder": (["pack", "qnet.npz", "-o", "no/x.pnb"], "-o: no/x.pnb: there is no folder no"),
    "pack as something else": (["pack", "qnet.npz", "-o", "x.bin"], "-o: wanted a name that ends in .pnb, got 'x.bin'"),
    "pack into a device": (["pack", "qnet.npz", "-o", "/dev/null"], "-o: wanted a file, got the device /dev/null"),
    "quantize into no folder": (["quantize", ".", "-o", "no/q.npz"], "-o: no/q.npz: there is no folder no"),
    "design into no folder": ([*EQUATIONS, "-o", "no/x.toml"], "-o: no/x.toml: there is no folder no"),
    "design as something else": ([*EQUATIONS, "-o", "x.json"], "-o: wanted a name that ends in .toml, got 'x.json'"),
    "train into a file": (["train", "digits", "--out", "a.png/run"], "a.png/run: wanted a folder, but "),
    "make into a file": (
        ["make", "pictures", "--ram", "9K", "-o", "a.png"],
        "a.png: wanted a folder, but a.png is a file",
    ),
    "import into a file": (["import", "net.tflite", "-o", "a.png"], "a.png: wanted a folder, but a.png is a file"),
    "a drawing over a picture": (["predict", "pets.pnb", "a.png", "--out", "a.png"], "got one of the pictures"),
    "report of no run": (["report", "nowhere"], "nowhere: wanted a run"),
    "report of pictures": (["report", "pictures"], "pictures: wanted a run"),
    "data damaged": (["val", "pets.pnb", "--data", "torn"], "torn: 1 of 2 files cannot be read: cat/b.png: no picture"),
    "import of nothing": (["import", "gone.tflite"], "gone.tflite"),
    "import of something": (["import", "a.png"], "a.png"),
    "bench of nothing": (["bench", "gone.pnb"], "gone.pnb"),
    "convert of today's": (
        ["convert", "pets.pnb"],
        "pets.pnb: is of format 8 already, which is today's: there is nothing",
    ),
    "convert of a cut one": (["convert", "cut.pnb"], "cut.pnb: is of format 8 already"),
    "convert of nothing": (["convert", "gone.pnb"], "no network gone.pnb"),
    "convert into no folder": (["convert", "old.pnb", "-o", "no/x.pnb"], "-o: no/x.pnb: there is no folder no"),
    "convert as something else": (["convert", "old.pnb", "-o", "x.bin"], "-o: wanted a name that ends in .pnb, got"),
    "convert of a damaged one": (["convert", "oldcut.pnb"], "oldcut.pnb: bytes: wanted 1,404, as its header says, got"),
    "deploy to no board": (["deploy", "pets.pnb", "--port", "/dev/nowhere"], "/dev/nowhere"),
}


UNDONE = {  # what stands in the place of a network, and what to do next
    "untrained": "this is a run that is not trained yet: patchnet train untrained/config.toml --out untrained",
    "trained": "this is a trained run, not quantized yet: patchnet quantize trained, then patchnet pack trained",
    "unpacked": "this is a run that is not packed yet: patchnet pack unpacked",
    "begun": "this is a run that is not done: the same `patchnet make` again",
    "pictures": "this is a folder of pictures: patchnet make pictures --ram 64K",
    "none": "this is a folder without one",
    "a b.tflite": "this is a network of another tool: patchnet import 'a b.tflite'",
    "bad.toml": "this is an experiment: patchnet train bad.toml",
    "a.png": "this is a picture: patchnet predict person a.png",
    "weights.npz": "this is trained weights: patchnet quantize .",
    "tones.npz": "this is a data set: patchnet make tones.npz --ram 64K",
}
VERBS = {
    "analyze": ["analyze", "X"], "pack": ["pack", "X"], "convert": ["convert", "X"],
    "val": ["val", "X", "--data", "pictures"], "float": ["val", "X", "--data", "pictures", "--on", "float"],
    "predict": ["predict", "X", "a.png"], "deploy": ["deploy", "X"], "report": ["report", "X"],
    "bench": ["bench", "X", "--on", "auto"],
}  # fmt: skip
FITS = {("float", "trained"), ("float", "unpacked"), ("float", "weights.npz"), ("float", "tones.npz"),
        ("pack", "unpacked"), ("report", "trained"), ("report", "unpacked"), ("analyze", "bad.toml")}  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_no_network_is_told_with_what_to_do(verb, here, capsys):
    Image.new("L", (9, 9)).save(here / "a.png")
    for name, files in (("untrained", ["config.toml"]), ("trained", ["config.toml", "float.npz"]),
                        ("unpacked", ["float.npz", "qnet.npz"]), ("begun", ["make.json", "config.toml"]),
                        ("none", []), (".", ["a b.tflite", "bad.toml"])):  # fmt: skip
        (here / name).mkdir(exist_ok=True)
        for file in files:
            (here / name / file).touch()
    np.savez(here / "weights.npz", network="")
    np.savez(here / "tones.npz", classes=["a"])
    for what, told in UNDONE.items():
        if (verb, what) not in FITS:
            status, out, err = run(capsys, *(what if word == "X" else word for word in VERBS[verb]))
            lines = err.splitlines()
            assert status == 2 and not out and len(lines) == 1, err
            assert lines[0].startswith(f"patchnet: {what}: wanted") and told in lines[0]


@pytest.mark.parametrize("verb", ["analyze", "pack", "val", "predict", "deploy", "bench"])
def test_old_blobs_are_told_with_what_to_do(verb, here, capsys):
    (here / "old.pnb").write_bytes(OLD.read_bytes())
    Image.new("L", (9, 9)).save(here / "a.png")
    status, out, err = run(capsys, *("old.pnb" if word == "X" else word for word in VERBS[verb]))
    said = "old.pnb: bad model: version 5 of the format, wanted 8: patchnet convert old.pnb"
    assert (status, out, err.split()) == (2, "", f"patchnet: {said}".split())


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_is_one_line_and_status_2(case, here, capsys):
    argv, message = WRONG[case]
    if argv[:1] == ["search"]:
        pytest.importorskip("optuna")
    if argv[:1] in (["train"], ["quantize"], ["make"], ["search"]) and case != "bad setting":
        pytest.importorskip("torch")
    (here / "bad.toml").write_text("height = [")
    (here / "short.toml").write_text('name = "short"\n')
    (here / "odd.toml").write_text(
        'name = "odd"\ntrain = "digits"\nnetwork = {labels = ["a"], height = "16", width = 9}'
    )
    (here / "range.toml").write_text(
        'name = "odd"\ntrain = "digits"\nnetwork = {labels = ["a"], height = 16, width = 9, stem_out = -3}'
    )
    (here / "list.toml").write_text('name = "list"\ntrain = "digits"\nnetwork = [1, 2]\n')
    (here / "set.zip").write_bytes(b"PK\3\4")
    (here / "half.npz").write_bytes((here / "qnet.npz").read_bytes()[:999])
    np.savez(here / "arrays.npz", **{f"block{i}": np.zeros(1) for i in range(40)})
    pixels = np.zeros((1, 9, 9), np.uint8)
    np.savez(here / "nameless.npz", images=pixels, labels=[0])
    np.savez(here / "many.npz", images=pixels, labels=[0], classes=[f"c{i}" for i in range(100)])
    (here / "none").mkdir(exist_ok=True)
    (here / "sought").mkdir(exist_ok=True)
    (here / "sought" / "search.json").write_text("{}")
    (here / "torn" / "cat").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9)).save(here / "torn" / "cat" / "a.png")
    (here / "torn" / "cat" / "b.png").write_bytes(b"no picture")
    for folder_ in ("images", "labels"):
        (here / "boxes" / folder_).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9)).save(here / "boxes" / "images" / "a.png")
    (here / "boxes" / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (here / "boxes" / "classes.txt").write_text("thing\n")
    (here / "cut.pnb").write_bytes((here / "pets.pnb").read_bytes()[:300])
    (here / "ints.pnb").write_bytes((here / "pets.pnb").read_bytes())
    (here / "ints.npz").write_bytes((here / "qnet.npz").read_bytes())
    (here / "old.pnb").write_bytes(OLD.read_bytes())
    (here / "oldcut.pnb").write_bytes(OLD.read_bytes()[:1000])
    (here / "other" / "fox").mkdir(parents=True, exist_ok=True)
    Image.new("L", (9, 9)).save(here / "other" / "fox" / "a.png")
    Image.new("L", (9, 9)).save(here / "a.png")
    Image.effect_noise((40, 40), 99).save(here / "half.jpg")
    (here / "half.jpg").write_bytes((here / "half.jpg").read_bytes()[:-300])
    if ("design" in case or "search" in case) and not (here / "squares").exists():
        toys.folder(here / "squares", 7)
    status, out, err = run(capsys, *argv)
    lines = [line for line in err.splitlines() if line.startswith("patchnet")]
    assert status == 2 and not out and len(lines) == 1 and "━" not in err and "\n\n" not in f"\n{err}", err
    assert message in lines[0] and "Traceback" not in err


def test_the_pages_count_them():
    commands = {argv[0] for argv in VERBS.values()}
    told = f"{len(WRONG)} wrong usages of the commands, and {len(commands)} commands with {len(UNDONE)} things"
    assert told in (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text()


def test_errors_leave_the_process_with_status_2(folder):
    done = shell("val", "pets.pnb", "--data", "nowhere", cwd=folder)
    assert done.returncode == 2 and not done.stdout and len(done.stderr.splitlines()) == 1


def test_an_interrupted_import_of_a_package_is_told(monkeypatch, capsys):
    """^C while PyTorch is being imported comes as ImportError."""

    def importing(_args):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as e:
            raise ImportError("initialization failed") from e

    monkeypatch.setattr("patchnet.cli.looking.run_analyze", importing)
    assert run(capsys, "analyze", "person") == (130, "", "patchnet: interrupted\n")


def test_a_reader_may_leave_early(folder):
    command = f"{sys.executable} -m patchnet.cli analyze pets.pnb --json | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=folder, timeout=PATIENT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


# ---------------------------------------------------------------- looking


def test_analyze(here, capsys):
    values = run_json(capsys, "analyze", "pets.pnb")
    assert values["arena"] == patchnet.Model("pets.pnb").ram and values["budget"] is None
    assert [b["name"] for b in values["blocks"]] == ["stem", "block 1", "fc"]
    status, out, _ = run(capsys, "analyze", "pets.pnb")
    assert status == 0 and "…" not in out and f"{values['arena']:,} B" in out
    (bound,) = (b["name"] for b in values["blocks"] if b["binding"])
    assert f"bound by {bound}" in out and "4-bit" not in out
    assert "4-bit" in run(capsys, "analyze", "pets.pnb", "--narrow")[1]


def test_analyze_for_a_budget(here, capsys):
    values = run_json(capsys, "analyze", "pets.pnb", "--budget", "24K", "--plot", "m.png")
    smaller = run_json(capsys, "analyze", "pets.pnb", "--budget", str(values["arena"] - 1))
    assert values["budget"] == 24576 and smaller["smallest"] <= smaller["arena"] < values["arena"] <= 24576
    assert values["macs"] <= values["executed_macs"] and values["cost"] < smaller["cost"]
    assert Image.open("m.png").width > 600
    assert "budget 24,576 B; smallest plan" in run(capsys, "analyze", "pets.pnb", "--budget", "24K")[1]


def test_analyze_lists_the_plans_to_choose_from(here, capsys):
    values = run_json(capsys, "analyze", "pets.pnb", "--pareto", "--plot", "f.png")
    assert {"arena", "executed_macs", "times", "cost", "segments", "read", "reading"} == set(values["front"][0])
    assert values["front"][0]["arena"] == values["smallest"] < values["front"][-1]["arena"]
    status, out, err = run(capsys, "analyze", "pets.pnb", "--pareto", "--plot", "f.png")
    assert status == 0 and "x nominal" in out and f"{values['smallest']:,} B" in out and "wrote f.png" in err
    assert Image.open("f.png").width > 600


def test_analyze_knows_shapes_by_name(here, capsys):
    values = run_json(capsys, "analyze", "vww-18k", "--budget", "9K")
    assert (values["name"], values["source"], values["paper_accounting"]) == ("vww-18k", "design", 17640)


def test_val_on_one_and_on_several(here, capsys, monkeypatch):
    monkeypatch.setattr(remote, "run", FakeDevice())
    one = run_json(capsys, "val", "pets.pnb", "--data", "pictures")
    assert {"on", "n", "top1", "ram", "seconds"} <= set(one) and (one["on"], one["n"]) == ("host", 12)
    two = run_json(capsys, "val", "pets.pnb", "--data", "pictures", "--on", "host,unix", "--on", "unix", "--limit", "5")
    assert [(r["on"], r["n"], r.get("identical")) for r in two] == [("host", 5, None), ("unix", 5, True)]
    status, out, err = run(capsys, "val", "pets.pnb", "--data", "pictures", "--on", "host,qemu", "--confusion", "c.png")
    assert status == 0 and f"{one['top1']:.2%}" in out and "identical to host" in out and "wrote c.png" in err
    assert Image.open("c.png").width > 300


def test_val_fails_where_engines_differ(here, capsys, monkeypatch):
    monkeypatch.setattr(remote, "run", FakeDevice(lambda lines: ["ram 8", *lines[1:]]))
    status, out, _ = run(capsys, "val", "pets.pnb", "--data", "pictures", "--on", "host,qemu")
    assert status == 1 and "differ from host" in out


def test_device_errors_are_told(here, capsys, monkeypatch):
    def broken(*_args, **_kwargs):
        raise remote.RemoteError("Traceback (most recent call last):\n  File\nMemoryError: arena: needs 9 bytes, has 8")

    monkeypatch.setattr(remote, "run", broken)
    status, _, err = run(capsys, "val", "pets.pnb", "--data", "pictures", "--on", "qemu")
    assert status == 2 and "MemoryError: arena: needs 9 bytes, has 8" in err.splitlines()[-1]


def test_predict(here, capsys):
    pictures = [str(p) for p in sorted(Path("pictures").rglob("*.png"))[:4]]
    rows = run_json(capsys, "predict", "pets.pnb", *pictures, "--top", "2", "--out", "p.png")
    assert [row["picture"] for row in rows] == pictures and {row["on"] for row in rows} == {"host"}
    assert len({row["ranking"][0]["score"] for row in rows}) > 1
    for row in rows:
        wanted = patchnet.Model("pets.pnb").classify(data.decode(Path(row["picture"])), top=2)
        assert [(r["label"], r["score"]) for r in row["ranking"]] == wanted
    assert Image.open("p.png").height > 300
    status, out, _ = run(capsys, "predict", "pets.pnb", pictures[0])
    label, score = patchnet.Model("pets.pnb").classify(data.decode(Path(pictures[0])))[0]
    assert status == 0 and out.startswith(f"{pictures[0]}: {label} {score:.4f}, ")


def test_bare_names_of_shipped_networks(here, capsys, monkeypatch, tmp_path):
    (tmp_path / "house.pnb").write_bytes((here / "pets.pnb").read_bytes())
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    assert run_json(capsys, "analyze", "house")["name"] == "house"
    assert run_json(capsys, "val", "house", "--data", "pictures")["n"] == 12
    assert run_json(capsys, "predict", "house", "pictures/ant/0.png")[0]["ranking"]
    assert "house" in run(capsys, "--help")[1]


# ---------------------------------------------------------------- making


def test_names_in_capitals(here, capsys):
    """As FAT cards have them."""
    (here / "PETS.PNB").write_bytes((here / "pets.pnb").read_bytes())
    (here / "OLD.PNB").write_bytes(OLD.read_bytes())
    assert run_json(capsys, "analyze", "PETS.PNB")["arena"] == run_json(capsys, "analyze", "pets.pnb")["arena"]
    assert run_json(capsys, "pack", "PETS.PNB", "-o", "again.pnb")["ram"]
    assert run_json(capsys, "convert", "OLD.PNB")["path"] == "OLD-format8.pnb"
    one, other = (run_json(capsys, "val", name, "--data", "pictures") for name in ("PETS.PNB", "pets.pnb"))
    assert one["top1"] == other["top1"]


def test_convert(here, capsys):
    (here / "old.pnb").write_bytes(OLD.read_bytes())
    made = run_json(capsys, "convert", "old.pnb")
    assert made["path"] == "old-format8.pnb" and made["ram"] == patchnet.Model(made["path"]).ram
    assert Path("old-format8.test.npz").is_file() and Path("old.pnb").read_bytes() == OLD.read_bytes()
    status, out, _ = run(capsys, "convert", "old.pnb", "-o", "new.pnb")
    assert (status, out) == (0, f"new.pnb: {made['blob_bytes']:,} B, arena {made['ram']:,} B\n")
    assert Path("new.pnb").read_bytes() == Path(made["path"]).read_bytes()
    assert run_json(capsys, "analyze", "new.pnb")["arena"] == made["ram"]


def test_pack(here, capsys):
    packed = run_json(capsys, "pack", ".", "-o", "again.pnb")
    assert Path("again.pnb").read_bytes() == Path("pets.pnb").read_bytes()
    assert packed == {"path": "again.pnb", "blob_bytes": Path("pets.pnb").stat().st_size, "ram": packed["ram"]}
    wide = run_json(capsys, "pack", "qnet.npz", "-o", "wide.pnb", "--budget", "8K")
    small = run_json(capsys, "pack", "qnet.npz", "-o", "small.pnb", "--budget", str(wide["ram"] - 1))
    assert small["ram"] < wide["ram"] == patchnet.Model("wide.pnb").ram <= 8192
    for name, budget in (("wide.pnb", "8K"), ("small.pnb", str(wide["ram"] - 1))):
        read, planned = run_json(capsys, "analyze", name), run_json(capsys, "analyze", "pets.pnb", "--budget", budget)
        assert (read["blocks"], read["segments"]) == (planned["blocks"], planned["segments"])
    status, out, _ = run(capsys, "pack", "qnet.npz")
    assert status == 0 and out.startswith("pets.pnb: ")


def test_pack_what_is_packed(here, capsys):
    """Another plan, the same integers: `pack` of the run and of its blob give the same file."""
    small = run_json(capsys, "pack", "qnet.npz", "-o", "small.pnb", "--budget", "8K")
    again = run_json(capsys, "pack", "small.pnb", "-o", "large.pnb")
    assert Path("large.pnb").read_bytes() == Path("pets.pnb").read_bytes() and again["ram"] != small["ram"]
    shipped = run_json(capsys, "pack", "digits", "--budget", "1500")
    assert shipped["path"] == "digits.pnb" and shipped["ram"] <= 1500
    status, _, err = run(capsys, "pack", "digits")
    assert status == 2 and "digits.pnb: is there already: -o FILE.pnb tells where" in err
    status, _, err = run(capsys, "pack", "digits", "--board", "NUCLEO_H723ZG", "-o", "other.pnb")
    assert status == 0 and "has room for" not in err
    status, _, err = run(capsys, "pack", "cifar10", "--board", "NUCLEO_H723ZG", "-o", "large.pnb")
    assert status == 0 and "note: NUCLEO_H723ZG has room for 258,048 B, large.pnb takes 610,0" in err
    x = np.random.default_rng(0).integers(-128, 128, math.prod(patchnet.Model("digits").input_shape), np.int8)
    assert patchnet.Model("digits.pnb").predict(x.tobytes()) == patchnet.Model("digits").predict(x.tobytes())


def test_pack_for_a_file_that_is_streamed(here, capsys):
    """Both commands tell what the engine does with that buffer."""
    packed = run_json(capsys, "pack", "qnet.npz", "-o", "stream.pnb", "--stream", "468")
    model = patchnet.Model("stream.pnb", stream=468)
    assert packed["streamed"] == model.ram and model.streamed == 468
    assert packed["ram"] == patchnet.Model("stream.pnb").ram < packed["streamed"]
    told = run_json(capsys, "analyze", "stream.pnb", "--stream", "468")["streamed"]
    model.predict(bytes(math.prod(model.input_shape)))
    assert (told["ram"], told["buffer"], told["least"], told["most"]) == (model.ram, 468, *model.stream_sizes)
    assert (told["read"], told["pieces"]) == model.stream_read
    front = run_json(capsys, "analyze", "stream.pnb", "--stream", "468", "--pareto")["front"]
    assert any(choice["read"] == told["read"] and choice["arena"] == packed["ram"] for choice in front)
    status, out, _ = run(capsys, "analyze", "stream.pnb", "--stream", "468")
    assert status == 0 and f"{told['ram']:,} B   with the head and a buffer of 468 B" in out
    status, out, _ = run(capsys, "pack", "qnet.npz", "-o", "stream.pnb", "--stream", "468")
    assert status == 0 and f"Model('stream.pnb', stream=468) needs {model.ram:,} B of RAM" in out


def test_pack_for_a_board(here, capsys):
    """Both commands choose the same plan, and analyze tells what is read of the board's flash."""
    packed = run_json(capsys, "pack", "qnet.npz", "-o", "board.pnb", "--board", "ARDUINO_GIGA")
    planned = run_json(capsys, "analyze", "board.pnb", "--board", "ARDUINO_GIGA")
    assert packed["ram"] == planned["arena"] and planned["read"] > 0 and planned["reading"] == 8 * planned["read"]
    status, out, _ = run(capsys, "analyze", "board.pnb", "--board", "ARDUINO_GIGA")
    assert status == 0 and f"read of flash       {planned['read']:>13,} B   predicted, behind the data cache" in out


def test_planning_shows_progress_once_it_takes_long(monkeypatch):
    told, clock = [], iter([0.0, 0.4, 2.5])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    done = progress.planning(lambda what, total: told.append((what, total)) or told.append, "pets")
    for layers in range(1, 5):
        done(layers, 4)
    assert told == [("planning pets", 4), 2, 1, 1]


def test_design_writes_what_analyze_and_train_read(here, capsys, tmp_path):
    argv = ["design", "--budget", "6K", "--height", "32", "--width", "32", "-k", "4", "--max-macs", "2M", "--top", "3"]
    found = run_json(capsys, *argv, "--data", "pictures", "--pick", "2", "-o", str(tmp_path / "d.toml"))
    assert len(found) == 3 and all(d["paper_accounting"] <= 6144 and d["macs"] <= 2e6 for d in found)
    seen = run_json(capsys, "analyze", str(tmp_path / "d.toml"))
    assert (seen["arena"], seen["macs"], seen["classes"]) == (found[1]["arena"], found[1]["macs"], 3)
    status, out, _ = run(capsys, *argv, "--labels", "x,y,z")
    assert status == 0 and f"{found[0]['macs']:,}" in out
    status, _, err = run(capsys, *argv, "--pick", "10000", "-o", str(tmp_path / "e.toml"))
    assert status == 2 and "--pick 10000: wanted 1 to 3" in err


def test_chain_from_design_to_verified_blob(here, capsys, tmp_path):
    pytest.importorskip("torch")
    design = ["design", "--budget", "3K", "--height", "16", "--width", "16", "-k", "4", "--max-macs", "300k"]
    assert run(capsys, *design, "--data", "pictures", "--name", "mini", "-o", str(tmp_path / "mini.toml"))[0] == 0
    settings = [f"--set={text}" for text in ("epochs=1", "batch=4", "validation=0", 'test="pictures"', "mixup=0")]
    out = str(tmp_path / "run")
    made = run_json(capsys, "train", str(tmp_path / "mini.toml"), "--out", out, "--chain", "--tune", "0", *settings)
    assert made["run"] == out and made["packed"]["path"] == f"{out}/mini.pnb"
    assert made["packed"]["ram"] == patchnet.Model(f"{out}/mini.pnb").ram
    both = run_json(capsys, "val", out, "--data", "pictures", "--on", "float,host")
    assert [made["float_top1"], made["host_top1"]] == [r["top1"] for r in both]
    again = run_json(capsys, "quantize", out, "--epochs", "0", "--calibration", "6", "-o", f"{out}/six.npz")
    assert again == {"qnet": f"{out}/six.npz"} and run_json(capsys, "pack", f"{out}/six.npz")["ram"]
    status, told, _ = run(capsys, "quantize", out, "--epochs", "0", "--ram", "3K", "-o", f"{out}/four.npz")
    assert status == 0 and re.search(r"mini maps of 4 bits: none; in 3,072 B: [\d.]+ M cycles without", told)
    assert qnet_file.how_made(f"{out}/four.npz")["ram"] == 3072
    status, _, err = run(capsys, "quantize", out, "--ram", "300", "-o", f"{out}/no.npz")
    assert status == 2 and re.search(r"mini: needs [\d,]+ B at least \(maps of 4 bits: \d+\), ram 300 B", err)


# ---------------------------------------------------------------- pictures that are shipped


def test_demo_pictures_are_small_named_and_described():
    pictures = Path(patchnet.__file__).parent / "pictures"
    files = sorted(pictures.glob("*.ppm"))
    text = (pictures / "README.md").read_text()
    assert [f.name.split("-")[0] for f in files] == ["no_person"] * 3 + ["person"] * 3
    for file in files:
        assert file.stat().st_size < 60_000 and data.decode(file).shape == (120, 160, 3)
        assert f"`{file.name}`" in text
