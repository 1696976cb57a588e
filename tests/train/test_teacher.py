"""A teacher's answers are those of its network, and a pupil learns from them alone where it is told nothing else."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

import torch.nn.functional as F

from patchnet import data
from patchnet.net.recipe import PatchTunnels, Stage
from patchnet.train import loop
from patchnet.train.modules import build, load_float, normalise, save_float
from patchnet.train.teacher import NOBODY_KNOWS, Teacher, labelled, taught

torch.set_num_threads(1)

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
    teacher = Teacher(saved, pupil.labels)
    wanted = load_float(saved).predict(pixels.numpy())
    np.testing.assert_allclose(teacher(normalise(pixels, pupil), pupil).numpy(), wanted, atol=1e-5)
    flat = torch.full((1, 8, 8, 3), 77, dtype=torch.uint8)
    wanted = load_float(saved).predict(np.full((1, 16, 16, 3), 77, np.uint8))
    np.testing.assert_allclose(teacher(normalise(flat, pupil), pupil).numpy(), wanted, atol=1e-5)
    assert np.ptp(wanted) > 1e-3


def test_another_one_is_refused(saved):
    with pytest.raises(ValueError, match="wanted a network that tells x, y, got one for a, b, c"):
        Teacher(saved, ("x", "y"))


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
