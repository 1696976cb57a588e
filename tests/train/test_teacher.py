"""A teacher's answers are those of its network, and a pupil learns from them alone where it is told nothing else."""

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

import torch.nn.functional as F
from torch import nn

from patchnet import data
from patchnet.net.recipe import PatchTunnels, Stage
from patchnet.train import loop
from patchnet.train.modules import build, load_float, normalise, save_float
from patchnet.train.teacher import NOBODY_KNOWS, Teacher, labelled, taught

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

NETWORK = {
    "labels": list("0123456789"), "height": 16, "width": 16, "channels": 1, "mean": [128], "k": 1, "central": False,
    "stem_out": 8, "stages": [{"out": 16, "stride": 2, "t": 3}],
}  # fmt: skip


def network(size=16, mean=(100, 110, 120), std=50.0, labels=("a", "b", "c")):
    stages = (Stage(8, 1, 2, 2),)
    return PatchTunnels("n", labels, size, size, 3, 1, False, stem_out=8, stages=stages, mean=mean, std=std).network()


@pytest.fixture
def saved(tmp_path):
    model = build(network())
    with torch.no_grad():
        model.fc.weight.normal_(0, 2)
    save_float(model, tmp_path / "float.npz")
    return tmp_path


def test_it_sees_what_the_pupil_sees(saved):
    """However the pupil's pixels are scaled; of a larger picture, its mean where pixels are one by one the same."""
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (5, 16, 16, 3), np.uint8))
    pupil = network(mean=(7, 8, 200), std=31.0)
    teacher = Teacher(saved, pupil)
    wanted = load_float(saved).predict(pixels.numpy())
    np.testing.assert_allclose(teacher(normalise(pixels, pupil)).numpy(), wanted, atol=1e-5)
    flat = torch.full((1, 8, 8, 3), 77, dtype=torch.uint8)
    wanted = load_float(saved).predict(np.full((1, 16, 16, 3), 77, np.uint8))
    np.testing.assert_allclose(teacher(normalise(flat, pupil)).numpy(), wanted, atol=1e-5)
    assert np.ptp(wanted) > 1e-3


def test_another_one_is_refused(saved):
    with pytest.raises(ValueError, match="wanted a network that tells x, y, got one for a, b, c"):
        Teacher(saved, network(labels=("x", "y")))
    with pytest.raises(ValueError, match="teacher_mean, teacher_std and teacher_size are for files"):
        Teacher(saved, network(), size=(8, 8))


def test_what_is_told_and_what_is_known_make_up_the_loss():
    """Weights of classes count for labels alone; a picture without a label is learnt from the teacher."""
    logits, told = (
        torch.randn(3, 2, generator=torch.Generator().manual_seed(1)),
        torch.tensor([[0.5, 0.5], [0.1, 0.9], [1, 0.0]]),
    )
    labels = labelled(torch.tensor([1, 0, NOBODY_KNOWS]), 2)
    assert labels.tolist() == [[0, 1], [1, 0], [0, 0]]
    weight, logs = torch.tensor([5.0, 0.5]), logits.log_softmax(1)

    def own(logits, labels):
        return F.cross_entropy(logits, labels, weight)

    got = taught(logits, labels, told, 0.25, own)
    soft = -(told * logs).sum(1)
    hard = -0.5 * logs[0, 1], -5 * logs[1, 0]
    wanted = (0.25 * soft[:2].sum() + soft[2]) / 3 + 0.75 * 2 / 3 * sum(hard) / 2
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(taught(logits, labels, told, 1.0, own), soft.mean())


def test_a_pupil_learns_what_it_is_told(tmp_path):
    """Its own labels are wrong, those of the other set are of other classes; the teacher's answers are right."""
    few = {"test": "", "evaluate_every": 12, "ema": 0.8, "network": NETWORK, "train": "digits_test"}
    few |= {"epochs": 12, "batch": 16, "lr": 1e-2, "smoothing": 0.0}
    loop.run("digits", tmp_path / "teacher", **few)
    known = data.load("digits_test")
    images = np.stack([np.asarray(picture) for picture, _ in known])
    np.savez(tmp_path / "wrong.npz", images=images, labels=(known.labels + 1) % 10, classes=known.classes)
    np.savez(tmp_path / "other.npz", images=images[:100], labels=np.zeros(100, int), classes=["thing"])
    told = {"teacher": str(tmp_path / "teacher"), "teaching": 1.0, "extra": str(tmp_path / "other.npz")}
    few |= {"train": str(tmp_path / "wrong.npz")}
    run = loop.run("digits", tmp_path / "pupil", **few, **told)
    assert (load_float(run).predict(images).argmax(1) == known.labels).mean() > 0.7

    with pytest.raises(ValueError, match="want a teacher, who tells what they are"):
        loop.run("digits", tmp_path / "alone", extra=told["extra"], **few)


# ---------------------------------------------------------------- files


class Someone(nn.Module):
    """A network of someone else's, for pictures in their own scale."""

    def __init__(self, classes=3, channels=3, ending=None):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, 2, 1)
        self.fc, self.ending = nn.Linear(4, classes), ending

    def forward(self, x):
        x = self.fc(torch.relu(self.conv(x)).mean((2, 3)))
        return x if self.ending is None else self.ending(x)


def someone(seed=0, **own):
    torch.manual_seed(seed)
    return Someone(**own).eval()


def probabilities(x):
    return x.softmax(1)


def written(model, path, size=12, batch=None):
    """As `path` ends; `size` or `batch` None: any. TorchScript does not tell either."""
    example = torch.zeros(batch or 2, model.conv.in_channels, size or 12, size or 12)
    if path.suffix == ".pt2":
        free = {0: "n"} if batch is None else {}
        free |= {2: "h", 3: "w"} if size is None else {}
        dims = {axis: torch.export.Dim(name, min=1 if axis == 0 else 4, max=64) for axis, name in free.items()}
        torch.export.save(torch.export.export(model, (example,), dynamic_shapes=(dims,)), path)
    elif path.suffix == ".onnx":
        save_onnx(model, path, ("n" if batch is None else batch, example.shape[1], size or "h", size or "w"))
    else:
        torch.jit.save(torch.jit.trace(model, example), path)
    return path


def save_onnx(model, path, shape):
    onnxes = pytest.importorskip("onnxes")
    pytest.importorskip("onnxruntime")
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    m = onnxes.Model(shape)
    x = m.add("Conv", "x", m.constant(weights["conv.weight"]), m.constant(weights["conv.bias"]), strides=(2, 2),
              pads=(1, 1, 1, 1))  # fmt: skip
    x = m.add("Flatten", m.add("GlobalAveragePool", m.add("Relu", x)))
    x = m.add("Gemm", x, m.constant(weights["fc.weight"]), m.constant(weights["fc.bias"]), transB=1)
    m.save(path, m.add("Softmax", x, axis=1) if model.ending else x)


FILES = ["t.pt", "t.torchscript", "t.pt2", "t.onnx"]


@pytest.mark.parametrize("ending", [None, probabilities], ids=["logits", "probabilities"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_tells_what_its_network_tells(tmp_path, name, ending):
    """In its own scale and size, of any number of pictures."""
    model, pupil = someone(ending=ending), network(mean=(7, 8, 200), std=31.0)
    own = {"mean": (100.0, 120.0, 140.0), "std": (60.0, 50.0, 40.0)}
    own |= {"size": (12, 12)} if name in FILES[:2] else {}
    teacher = Teacher(written(model, tmp_path / name), pupil, **own)
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (5, 16, 16, 3), np.uint8))
    mean, std = (torch.tensor(own[key])[:, None, None] for key in ("mean", "std"))
    theirs = (pixels.permute(0, 3, 1, 2).float() - mean) / std
    with torch.no_grad():
        wanted = model(F.interpolate(theirs, (12, 12), mode="bilinear"))
    wanted = wanted if ending else wanted.softmax(1)
    got = teacher(normalise(pixels, pupil))
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)
    assert wanted.std(0).max() > 1e-3 and teacher.logits == (ending is None)


@pytest.mark.parametrize("name", FILES[2:])
@pytest.mark.parametrize("batch", [2, None])
@pytest.mark.parametrize("size", [12, None])
def test_a_file_takes_what_it_is_written_for(tmp_path, name, batch, size):
    """Of five pictures two at a time, the last beside none; and, where it takes any, of the pupil's size and scale."""
    model, pupil = someone(), network()
    teacher = Teacher(written(model, tmp_path / name, size, batch), pupil)
    x = torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        wanted = model(F.interpolate(x, (size or 16,) * 2, mode="bilinear")).softmax(1)
    torch.testing.assert_close(teacher(x), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_refused(tmp_path, name):
    path, pupil = tmp_path / name, network()
    with pytest.raises(FileNotFoundError, match=f"teacher .*{name}: no such file"):
        Teacher(path, pupil)
    path.write_bytes(b"no")
    with pytest.raises(
        ValueError, match=f"^teacher .*{name}: no (TorchScript|program of torch.export|ONNX model): .*$"
    ):
        Teacher(path, pupil)
    torch.save(someone().state_dict(), path)
    with pytest.raises(
        ValueError, match=f"^teacher .*{name}: no (TorchScript|program of torch.export|ONNX model): .*$"
    ):
        Teacher(path, pupil)
    written(someone(classes=5), path, size=16)
    with pytest.raises(ValueError, match=f"{name}: wanted 3 outputs, one for each label, got 4 x 5 of 4 pictures$"):
        Teacher(path, pupil)
    written(someone(channels=1), path, size=16)
    wrong = (
        "it gives no answer: .*" if "t.pt2" != name != "t.onnx" else "wanted an input of any x 3 x 16 x 16, got any x 1"
    )
    with pytest.raises(ValueError, match=f"^teacher .*{name}: {wrong}"):
        Teacher(path, pupil)
    written(someone(), path, size=16)
    for wrong, line in (
        ({"mean": (1.0, 2.0)}, "teacher_mean: wanted 1 or 3 numbers, got 2"),
        ({"std": (1.0,) * 4}, "teacher_std: wanted 1 or 3 numbers, got 4"),
        ({"size": (16,)}, "teacher_size: wanted 2 numbers, got 1"),
    ):
        with pytest.raises(ValueError, match=f"{name}: {line}"):
            Teacher(path, pupil, **wrong)
    if name in FILES[2:]:
        with pytest.raises(ValueError, match="wanted an input of any x 3 x 8 x 8, got any x 3 x 16 x 16"):
            Teacher(path, pupil, size=(8, 8))


def test_onnx_without_its_package(tmp_path, monkeypatch):
    (tmp_path / "t.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    wanted = r"t.onnx: reading .onnx needs the package onnxruntime: pip install 'patchnet\[import\]'"
    with pytest.raises(ValueError, match=wanted):
        Teacher(tmp_path / "t.onnx", network())


def test_a_pupil_of_a_file(tmp_path):
    """A training by its settings, as a TOML file has them."""
    path = written(someone(classes=10, channels=1), tmp_path / "t.pt2", size=None)
    few = {"test": "", "network": NETWORK, "train": "digits_test", "epochs": 1, "batch": 100, "colour": 0.0}
    with pytest.raises(ValueError, match=r"t.pt2: it gives no answer: Guard failed: x.size\(\)\[0\] <= 64"):
        loop.run("digits", tmp_path / "large", **few, teacher=str(path))
    few["batch"] = 50
    run = loop.run("digits", tmp_path / "run", **few, teacher=str(path), teacher_mean=[128], teaching=1.0)
    assert "teacher_mean = [128]" in (run / "config.toml").read_text()
