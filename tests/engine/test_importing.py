"""From a file of someone else's to a run: `import_file`, the command `import`, and what the original says."""

import json
from html import unescape
from pathlib import Path

import numpy as np
import pytest

import tflites
from patchnet import cli
from patchnet.blob import qnet_file
from patchnet.data import load
from patchnet.engine.model import Model
from patchnet.evaluate import agreement as agreements
from patchnet.evaluate.importing import TOLD, import_file, labels_of
from patchnet.evaluate.val import val
from patchnet.importers.source import Source
from patchnet.report.run import by_hand
from patchnet.tasks.heatmap.answers import ANSWERS as HEAT

LABELS = ("left", "right", "none")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A small int8 network of 8x8 pictures and three classes."""
    path = tmp_path_factory.mktemp("import") / "small.tflite"
    path.write_bytes(tflites.small(np.random.default_rng(0), 6 / 255))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("data") / "pictures.npz"
    images, labels = rng.integers(0, 256, (40, 8, 8, 3)).astype(np.uint8), rng.integers(0, 3, 40)
    np.savez(path, images=images, labels=labels, classes=np.array(LABELS))
    return path


@pytest.fixture(scope="module")
def run(file, tmp_path_factory):
    return import_file(file, tmp_path_factory.mktemp("runs") / "mine", labels=LABELS)


def test_what_is_in_a_run(run, file):
    folder = Path(run.run)
    names = {path.name for path in folder.iterdir()}
    assert names == {"qnet.npz", "small.pnb", "small.test.npz", "source.tflite", "labels.txt", TOLD}
    assert (folder / "source.tflite").read_bytes() == file.read_bytes()
    told = json.loads((folder / TOLD).read_text())
    assert (told["file"], told["calibration"], told["notes"]) == ("small.tflite", None, list(run.notes))
    assert qnet_file.load(folder / "qnet.npz").design.labels == LABELS
    assert Model(run.packed.path).labels == LABELS and run.task == "classify"


def test_its_page_has_the_command_that_makes_it_again(run, file, pictures):
    folder = Path(run.run)
    again = f"patchnet import {folder}/source.tflite --name small --labels {folder}/labels.txt -o {folder}-again"
    assert again in by_hand(folder, "", None).body
    told = json.loads((folder / TOLD).read_text())
    how = {"calibration": {"data": "my set", "pictures": 64, "tune": 0, "ram": 7168}, "pixels": "127.5/127.5"}
    (folder / TOLD).write_text(json.dumps(told | how))
    options = "--calibrate 'my set' --calibration 64 --ram 7168 --pixels=127.5/127.5"
    assert options in unescape(by_hand(folder, "", None).body)
    (folder / TOLD).write_text(json.dumps(told))


def test_pixels_of_a_file_that_tells_them(file, pictures, tmp_path, capsys):
    order = ["import", str(file), "--calibrate", str(pictures), "-o", str(tmp_path / "run"), "--pixels", "-1..1"]
    assert cli.main(order) == cli.USER_ERROR
    assert capsys.readouterr().err.startswith(f"patchnet: --pixels: has no effect with {file}: ")


def test_it_says_what_the_original_says(run, pictures):
    found = agreements.agreement(run.run, str(pictures))
    assert (
        found.n == 40 and found.top1 >= 0.95 and found.mean <= 2 and found.largest <= 8
    )  # a step before the dense layer


def test_each_output_within_a_few_steps(run, file, pictures):
    """The same by hand, raw: int8 in, int8 out."""
    model, source = Model(run.packed.path), Source(file)
    for x, _ in load(pictures):
        raw = (x.astype(int) - 128).astype(np.int8)
        got = np.frombuffer(model.predict(raw.tobytes()), np.int8).astype(int)
        assert np.abs(got - source.run(raw).integers.reshape(-1)).max() <= 8


def test_val_asks_the_original_too(run, pictures):
    original, host = val(run.run, str(pictures), ("source", "host"))
    assert (original.on, original.ram, original.n) == ("source", None, 40)
    assert abs(original.top1 - host.top1) <= 0.05
    assert host.reference is None and original.identical is None


def test_an_earlier_import_is_replaced_and_nothing_else_is(run, file, tmp_path):
    again = import_file(file, run.run, name="other", labels=LABELS)
    assert [path.name for path in Path(again.run).glob("*.pnb")] == ["other.pnb"]
    import_file(file, run.run, labels=LABELS)
    (tmp_path / "float.npz").write_bytes(b"weeks of work")
    with pytest.raises(ValueError, match="wanted a new folder, or that of an earlier import"):
        import_file(file, tmp_path)
    assert (tmp_path / "float.npz").read_bytes() == b"weeks of work"


REFUSED = {
    "budget": (["--budget", "9"], "budget 9 B"),
    "check of nothing": (["--check", "nowhere"], "no data set 'nowhere'"),
    "check of other pictures": (["--check", "{tmp}/sounds.npz"], "wanted"),
    "calibrate with nothing": (["--calibrate", "nowhere"], "no data set 'nowhere'"),
    "calibrate with sounds": (["--calibrate", "{tmp}/sounds.npz"], "wanted"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_leaves_nothing(case, file, tmp_path, monkeypatch, capsys):
    """Or the run that was there, as it was."""
    if "calibrate" in case:
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    np.savez("sounds.npz", audio=np.zeros(99, np.int16), lengths=np.array([99]), labels=[0], classes=["a"], rate=8000)
    options, said = REFUSED[case]
    argv = ["import", str(file), *(o.format(tmp=tmp_path) for o in options)]
    assert cli.main(argv) == 2 and said in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["sounds.npz"]
    before = Path(import_file(file, tmp_path / "old", name="first").run)
    kept = {path.name: path.read_bytes() for path in before.iterdir()}
    assert cli.main([*argv, "-o", "old"]) == 2
    assert kept == {path.name: path.read_bytes() for path in before.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {"old", "sounds.npz"}


def test_labels_come_from_a_text_file(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufeffäpfel\r\n  pears \n\n".encode())
    assert labels_of(path) == ("äpfel", "pears")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="wanted a text file of labels"):
        labels_of(path)


@pytest.mark.parametrize(("name", "data", "said"), [
    ("x.tflite", b"", "not a TFLite model"),
    ("x.tflite", b"PK\x03\x04" + bytes(200), "not a TFLite model"),
    ("x.onnx", b"hello", "not an ONNX model"),
    ("x.pth", bytes(100), "wanted --family"),
    ("x.h5", bytes(100), "wanted .tflite, .onnx"),
])  # fmt: skip
def test_what_is_no_model_is_told_in_a_line(tmp_path, capsys, name, data, said):
    (tmp_path / name).write_bytes(data)
    assert cli.main(["import", str(tmp_path / name), "-o", str(tmp_path / "run")]) == 2
    out, err = capsys.readouterr()
    assert said in err and err.count("\n") == 1 and not out
    assert not (tmp_path / "run").exists()


def test_the_command(file, pictures, tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    where = ["-o", str(tmp_path / "run"), "--labels", str(tmp_path / "labels.txt")]
    assert cli.main(["import", str(file), *where, "--check", str(pictures), "--limit", "10", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["packed"]["path"] == str(tmp_path / "run" / "small.pnb") and told["agreement"]["n"] == 10
    assert cli.main(["import", str(file), *where]) == 0
    assert "arena" in capsys.readouterr().out


def test_wrong_labels_and_obstacles_are_told(file, tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    assert cli.main(["import", str(file), "--labels", str(tmp_path / "labels.txt"), "-o", str(tmp_path / "a")]) == 2
    err = capsys.readouterr().err
    assert "3" in err and "2" in err
    odd = tmp_path / "odd.tflite"
    odd.write_bytes(two_obstacles())
    assert cli.main(["import", str(odd), "-o", str(tmp_path / "b")]) == 2
    first, *lines = capsys.readouterr().err.splitlines()
    assert first.endswith("odd.tflite: cannot be imported:") and len(lines) >= 2
    assert any(line.startswith("op 1 HARD_SWISH") for line in lines)
    assert any(line.startswith("op 2 TANH") for line in lines)


def two_obstacles() -> bytes:
    w = tflites.Writer()
    steps = {"scale": 0.5, "zero": -128}
    x = w.tensor("x", (1, 8, 8, 3), "int8", **steps)
    weight = w.constant("w", np.ones((4, 3, 3, 3), np.int8), "int8", scale=[0.1] * 4, zero=[0] * 4)
    a, b, c = (w.tensor(name, (1, 8, 8, 4), "int8", **steps) for name in "abc")
    w.op("CONV_2D", [x, weight, -1], [a], "Conv2DOptions", StrideH=1, StrideW=1, Padding=tflites.SAME,
         DilationHFactor=1, DilationWFactor=1)  # fmt: skip
    w.op("HARD_SWISH", [a], [b])
    w.op("TANH", [b], [c])
    return w.built([x], [c])


def conv(w: tflites.Writer, x: int, outputs: int, scale: float) -> int:
    """A 3x3 convolution over a map of 8x8x3 in steps of 1/128."""
    rng = np.random.default_rng(3)
    weight = rng.integers(-127, 128, (outputs, 3, 3, 3)).astype(np.int8)
    k, y = w.constant("w", weight, "int8", scale=0.01), w.tensor("y", (1, 8, 8, outputs), scale=scale, zero=5)
    bias = w.constant("b", np.arange(outputs) * 1000, scale=0.01 / 128)
    w.op("CONV_2D", [x, k, bias], [y], "Conv2DOptions", StrideH=1, StrideW=1, DilationHFactor=1, DilationWFactor=1)
    return y


def test_an_original_that_prepares_its_pixels_itself_is_given_them(pictures, tmp_path):
    w = tflites.Writer()
    x = w.tensor("x", (1, 8, 8, 3), scale=1.0, zero=-128)
    small = w.tensor("small", (1, 8, 8, 3), scale=1 / 128, zero=-128)
    w.op("MUL", [x, w.constant("by", np.array([127]), "int8", scale=1 / 128 / 127)], [small], "MulOptions")
    (tmp_path / "a.tflite").write_bytes(w.built([x], [conv(w, small, 4, 0.03)]))
    import_file(tmp_path / "a.tflite", tmp_path / "run")
    assert agreements.agreement(tmp_path / "run", str(pictures), 5).largest <= 1


def test_a_heat_map_of_one_class_is_told_from_none(pictures, tmp_path):
    w = tflites.Writer()
    x, out = w.tensor("x", (1, 8, 8, 3), scale=1 / 128), w.tensor("out", (1, 8, 8, 1), scale=1 / 256, zero=-128)
    w.op("LOGISTIC", [conv(w, x, 1, 0.03)], [out])
    (tmp_path / "a.tflite").write_bytes(w.built([x], [out]))
    run = import_file(tmp_path / "a.tflite", tmp_path / "run")
    found = agreements.agreement(run.run, str(pictures), 5)
    assert run.task == "heatmap" and found.top1 >= 0.97 and found.largest <= 1
    network, logits = qnet_file.load(tmp_path / "run" / "qnet.npz").design, np.full((8, 8, 1), -9.0)
    logits[3, 5] = 9.0
    assert len(HEAT.of_logits(logits, np.zeros((8, 8, 3), np.uint8), network, HEAT.asked_to_measure)) == 1
