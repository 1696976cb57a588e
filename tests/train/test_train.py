"""Experiments, targets from boxes, augmentation and a whole small run, stopped and resumed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

import toys
from patchnet import data
from patchnet.net.recipe import patch_tunnels
from patchnet.tasks.classify import training
from patchnet.train import batches, experiment, loop
from patchnet.train.batches import Draws, as_boxes, cut, cutmix, mixed, mixup, moved, pictures
from patchnet.train.modules import load_float

torch.set_num_threads(1)  # with networks this small, threads would only wait for each other

ONE_TUNNEL = {
    "labels": list("0123456789"), "height": 16, "width": 16, "channels": 1, "mean": [128], "k": 1, "central": False,
    "stem_out": 8, "stages": [{"out": 16, "stride": 2, "t": 3}],
}  # fmt: skip
FEW = {"epochs": 3, "test": "", "evaluate_every": 3, "ema": 0.8, "network": ONE_TUNNEL}
SMALL = {**FEW, "train": "digits_test"}
WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])


SHIPPED = [path.relative_to(experiment.EXPERIMENTS) for path in experiment.EXPERIMENTS.rglob("*.toml")]


@pytest.mark.parametrize("path", sorted(p for p in SHIPPED if p.name != "tables.toml"), ids=str)
def test_shipped_experiments_load(path):
    e = experiment.load_experiment(str(path.with_suffix("")))
    assert e.name == path.stem == e.network.name


def test_wrong_experiments_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no experiment 'nothing'.*digits"):
        experiment.load_experiment("nothing")
    with pytest.raises(ValueError, match="unknown key 'epocs'"):
        experiment.load_experiment("digits", epocs=3)
    text = (experiment.EXPERIMENTS / "digits.toml").read_text()
    (tmp_path / "x.toml").write_text(text.replace("margin_h", "margin_x"))
    with pytest.raises(ValueError, match="network: unknown key 'margin_x'"):
        experiment.load_experiment(tmp_path / "x.toml")


def test_experiment_survives_its_own_toml(tmp_path):
    e = experiment.load_experiment("person66", epochs=3)
    (tmp_path / "config.toml").write_text(experiment.to_toml(e))
    assert experiment.load_experiment(tmp_path / "config.toml") == e


def test_a_shipped_network_without_float_weights_is_no_beginning(tmp_path):
    e = experiment.load_experiment("digits", init="person")
    wanted = "digits: init 'person': wanted a run, .* lite0, person66, spoken-digits, efficientnet-lite0$"
    with pytest.raises(FileNotFoundError, match=wanted):
        loop.beginning(e, tmp_path / "classify" / "digits")


def box(x0, y0, x1, y1, label=0, difficult=0):
    return np.array([[x0, y0, x1, y1, label, difficult]], np.float32)


@pytest.mark.parametrize(
    ("boxes", "wanted"),
    [
        (np.zeros((0, 6), np.float32), training.ABSENT),
        (box(0.1, 0.1, 0.2, 0.2), training.PRESENT),
        (box(0.1, 0.1, 0.15, 0.15), training.UNSURE),  # a quarter of a percent
        (box(0.1, 0.1, 0.9, 0.9, difficult=1), training.UNSURE),
        (box(-0.9, 0.1, 0.05, 0.4), training.UNSURE),  # 5% of it is inside
        (box(-0.9, 0.0, 0.2, 0.9), training.PRESENT),  # cut, but it fills a sixth of the picture
        (box(1.1, 0.1, 1.5, 0.4), training.ABSENT),
        (box(0.1, 0.1, 0.5, 0.5, label=1), training.ABSENT),
    ],
)
def test_presence(boxes, wanted):
    assert training.presence(boxes, WHOLE, 2)[0, 0] == wanted


def test_presence_in_cells():
    e = experiment.load_experiment("person66")
    last = e.network.layers()[-1]
    areas = training.cell_areas(e.network)
    assert areas.shape == (1 + 5 * last.oh * last.ow, 4) and last.oh == last.ow == 6
    found = training.presence(box(0.0, 0.0, 0.15, 0.15), areas, 1)[:, 0]
    assert found[0] == training.PRESENT
    cells = found[1:].reshape(5, 6, 6)
    assert (cells[0, 0] == [1, 1, 0, 0, 0, 0]).all() and (cells[1:4] == training.ABSENT).all()
    assert (cells[4] == training.ABSENT).all(), "the central patch begins at a fifth of the picture"


def test_a_coarse_patch_sees_all_of_the_picture():
    network = patch_tunnels("n", ("a",), 66, 66, margin_h=9, margin_w=9, coarse=True)
    areas, cells = training.cell_areas(network), network.chain[-1].oh * network.chain[-1].ow
    assert len(areas) == 1 + network.tunnels * cells
    assert (areas[-cells:].min(0)[:2] == 0).all() and np.allclose(areas[-cells:].max(0)[2:], 1)
    assert areas[1:-cells, 2:].max() <= 1 and np.allclose(np.ptp(areas[1 : 1 + cells, [1, 3]]), network.patch[0] / 66)


def test_boxes_move_with_the_part_and_are_mirrored():
    area = np.array([0.5, 0.0, 1.0, 0.5])
    row = box(0.5, 0.1, 0.75, 0.5, label=2)
    assert np.allclose(moved(row, area, False), box(0.0, 0.2, 0.5, 1.0, label=2))
    assert np.allclose(moved(row, area, True), box(0.5, 0.2, 1.0, 1.0, label=2))


def test_boxes_cut_off_lose_their_certainty():
    rows = np.concatenate([box(-0.2, 0.0, 0.2, 0.2), box(-0.8, 0.0, 0.2, 0.2), box(1.1, 0.0, 1.2, 0.2)])
    wanted = np.concatenate([box(0.0, 0.0, 0.2, 0.2), box(0.0, 0.0, 0.2, 0.2, difficult=1)])
    assert np.allclose(cut(rows), wanted)


@pytest.fixture(params=["grey", pytest.param("cifar10_train", marks=pytest.mark.data)])
def extra(request, tmp_path, data_set):
    """Pictures without a box, for mosaics: grey ones, or those that the experiment has."""
    if request.param != "grey":
        return data_set(request.param)
    images, classes = np.full((4, 32, 32, 3), 128, np.uint8), ["frog", "ship"]
    np.savez(tmp_path / "grey.npz", images=images, labels=[0, 1, 0, 1], classes=classes)
    return tmp_path / "grey.npz"


def test_mosaic_puts_boxes_where_their_pictures_are(extra):
    e = experiment.load_experiment("person66", mosaic=1.0, whole=1.0, via=0, extra=str(extra))
    black, white = np.zeros((9, 9, 3), np.uint8), np.full((9, 9, 3), 255, np.uint8)
    rows = np.zeros((0, 6), np.float32), box(0.0, 0.0, 1.0, 1.0, label=1)
    dataset = data.Dataset(("a", "b", "c"), [black, white], np.full(2, -1), ("p", "q"), rows)
    pixels, targets = next(training.ClassBatches(dataset, replace(e, batch=1)).epoch(0))
    areas = np.round(training.cell_areas(e.network)[1:] * 66).astype(int)
    bright = np.array([pixels[0, y0:y1, x0:x1].float().mean() / 255 for x0, y0, x1, y1 in areas])
    cells = targets[0, 1:, 1].numpy()
    assert (cells[bright == 1] == training.PRESENT).all() and (cells[bright == 0] != training.PRESENT).all()
    assert (targets[0, :, [0, 2]] == training.ABSENT).all()


def test_class_labels_become_boxes_around_pictures():
    pictures = data.Dataset(("ship", "frog", "cat"), [None] * 3, np.array([0, 1, 2]), ("p", "q", "r"))
    boxed = as_boxes(pictures, ("cat", "person", "boat"))
    assert [boxes.tolist() for boxes in boxed.boxes] == [[[0, 0, 1, 1, 2, 0]], [], [[0, 0, 1, 1, 0, 0]]]


def test_extra_pictures_appear_in_mosaics_only():
    e = experiment.load_experiment("person66", extra="digits_test", validation=0.0, batch=8)
    own = data.Dataset(
        ("a",), [np.zeros((9, 9, 3), np.uint8)] * 8, np.full(8, -1), tuple("abcdefgh"), (box(0, 0, 1, 1),) * 8
    )
    for mosaic in (0.0, 1.0):
        batches = training.ClassBatches(own, replace(e, mosaic=mosaic))
        pixels, targets = next(batches.epoch(0))
        assert len(batches) == 1
        assert (pixels.amax() > 0) == (mosaic > 0) == bool((targets[:, 1:] == training.ABSENT).any())


def test_a_set_of_its_own_is_held_out(tmp_path):
    learnt, watched = (data.Dataset(("a", "b"), [np.zeros((4, 4), np.uint8)] * n, np.arange(n) % 2, tuple("abcd"[:n]))
                       for n in (4, 2))  # fmt: skip
    for name, classes in (("watched", watched.classes), ("other", ("a", "c"))):
        np.savez(tmp_path / f"{name}.npz", images=np.stack(watched.sources), labels=watched.labels, classes=classes)
    rest, part = experiment.held_out(learnt, str(tmp_path / "watched.npz"))
    assert rest is learnt and len(part) == 2
    with pytest.raises(ValueError, match="wanted the classes a, b, got a, c"):
        experiment.held_out(learnt, str(tmp_path / "other.npz"))


def test_held_out_part_goes_by_name():
    dataset = data.load("digits_train")
    rest, part = experiment.held_out(dataset, 0.2)
    assert len(rest) + len(part) == len(dataset) and 0.15 < len(part) / len(dataset) < 0.25
    backwards = dataset.take(range(len(dataset))[::-1])
    assert set(experiment.held_out(backwards, 0.2)[1].names) == set(part.names)


def test_large_pictures_are_kept_as_large_as_crops_need():
    """16 pixels of a quarter of the area, sides 4:1 at most: 64 pixels along a side."""
    e = experiment.load_experiment("digits", crop=(0.25, 1.0), aspect=4.0, network=ONE_TUNNEL)
    shapes = (900, 1200), (64, 64), (127, 500), (130, 128), (20, 20)
    kept = pictures(data.Dataset(("a",), [np.full(s, 7, np.uint8) for s in shapes], np.zeros(5, int), "abcde"), e)
    assert [image.size for image in kept] == [(86, 65), (64, 64), (500, 127), (64, 65), (20, 20)]
    assert all(np.asarray(image).min() == 7 for image in kept)


def test_pictures_without_room_are_read_when_it_is_their_turn(tmp_path, monkeypatch, caplog):
    """The same batches, and the one that cannot be read is named."""
    for i, name in enumerate("abcdef"):
        place = tmp_path / "ab"[i % 2]
        place.mkdir(exist_ok=True)
        Image.fromarray(np.full((40 + i, 50, 3), 40 * i, np.uint8)).save(place / f"{name}.png")
    e = experiment.load_experiment("digits", train=str(tmp_path), validation=0.0, batch=6)
    few = replace(e, network=replace(e.network, labels=("a", "b")))
    made = []
    for most in (batches.MOST_KEPT, 0):
        monkeypatch.setattr(batches, "MOST_KEPT", most)
        learnt, _ = loop.parts_of(few)
        made.append(training.ClassBatches(learnt, few))
    assert isinstance(made[0].images[0], Image.Image) and isinstance(made[1].images[0], Path)
    assert "6 pictures have no room in memory" in caplog.text
    for one, two in zip(*(next(made_by.epoch(0)) for made_by in made), strict=True):
        assert torch.equal(one, two)
    (tmp_path / "a" / "c.png").write_bytes(b"no")
    with pytest.raises(ValueError, match="c.png: no picture, or of an unknown kind"):
        next(made[1].epoch(0))


def test_batches_depend_on_seed_and_epoch_only():
    e = experiment.load_experiment("digits", batch=16)
    batches = training.ClassBatches(data.load("digits_train", limit=50), e)
    first, again, other = (list(batches.epoch(n)) for n in (0, 0, 1))
    assert len(first) == len(batches) == 3
    assert first[0][0].shape == (16, 16, 16, 1) and first[0][0].dtype == torch.uint8
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0][1], other[0][1])


def test_mixed_pictures_have_mixed_labels():
    """Of a picture that is its own label everywhere, what is seen of each label is what the target says."""
    labels = torch.eye(5)
    x = labels[:, :, None, None].expand(5, 5, 12, 20)
    shares = []
    for seed in range(40):
        blended, cut = (how(x, labels, 1.0, Draws((seed,), 5)) for how in (mixup, cutmix))
        for pixels, targets in (blended, cut):
            torch.testing.assert_close(pixels.mean((2, 3)), targets)
            torch.testing.assert_close(targets[[1, 0, 3, 2, 4]] + targets, labels[[1, 0, 3, 2, 4]] + labels)
        assert torch.equal(blended[0][:, :, 0, 0], blended[0][:, :, 9, 9])
        box = cut[0][0, 1]  # what picture 0 has of its neighbour: ones, in a box
        assert set(box.unique().tolist()) <= {0.0, 1.0}
        assert torch.equal(box, box.amax(1, keepdim=True) * box.amax(0, keepdim=True))
        shares.append(cut[1][0, 0].item())
    assert min(shares) < 0.3 and max(shares) > 0.9 and x[0, 0].min() == 1, "all sizes; and what came in stays"


@pytest.mark.parametrize(("mixup", "cutmix", "wanted"), [(0.2, 0.0, {"mixup"}), (0, 1.0, {"cutmix"}), (0, 0, {"none"}),
                                                         (0.2, 1.0, {"mixup", "cutmix"})])  # fmt: skip
def test_each_batch_is_mixed_in_one_way(monkeypatch, mixup, cutmix, wanted):
    e, used = experiment.load_experiment("digits", mixup=mixup, cutmix=cutmix), []
    for name in ("mixup", "cutmix"):
        how = lambda x, targets, alpha, draws, name=name: used.append((name, alpha)) or (x, targets)  # noqa: E731
        monkeypatch.setattr(batches, name, how)
    for step in range(30):
        mixed(torch.zeros(2, 1, 4, 4), torch.eye(2), e, Draws((1, step), 2))
    assert {name for name, _ in used} | ({"none"} if not used else set()) == wanted
    assert set(used) <= {("mixup", mixup), ("cutmix", cutmix)}
    assert len(used) == (0 if wanted == {"none"} else 30)


@pytest.mark.parametrize("how", ["mixup", "cutmix"])
@pytest.mark.parametrize("task", ["classify", "detect"])
def test_boxes_are_not_mixed(tmp_path, how, task):
    toys.save(tmp_path / "boxes.npz", 4)
    table = {"labels": list(toys.CLASSES), "height": 16, "width": 16, "k": 1, "central": False, "stem_out": 8,
             "stages": [{"out": 16, "stride": 2, "t": 2}]}  # fmt: skip
    if task == "detect":
        table["detection"] = {"scales": [{"anchors": [[8, 8]]}]}
    wanted = f"digits: {how} is for sets of class labels, .*boxes.npz has boxes"
    with pytest.raises(ValueError, match=wanted):
        loop.run("digits", tmp_path / "run", **FEW | {"network": table, "train": str(tmp_path / "boxes.npz"), how: 0.2})
    assert not (tmp_path / "run").exists()


def test_ranks_share_an_epoch():
    e = experiment.load_experiment("digits", batch=8)
    dataset = data.load("digits_train", limit=64)
    parts = [list(training.ClassBatches(dataset, e, rank, 2).epoch(0)) for rank in (0, 1)]
    together = torch.cat([targets for part in parts for _, targets in part])
    assert together.sort().values.tolist() == sorted(dataset.labels.tolist())


def test_run_learns(tmp_path):
    out = loop.run("digits", out_dir=tmp_path / "run", **FEW)
    assert {p.name for p in out.iterdir()} == {"config.toml", "float.npz", "log.csv", "checkpoint.pt", "batch.png"}
    rows = (out / "log.csv").read_text().splitlines()
    assert rows[0] == "epoch,loss,accuracy,lr,seconds" and len(rows) == 4
    assert float(rows[3].split(",")[1]) < float(rows[1].split(",")[1])
    assert training.float_accuracy(load_float(out), data.load("digits", limit=200)) > 0.3


def test_resumed_run_ends_like_an_uninterrupted_one(tmp_path, monkeypatch):
    straight = load_float(loop.run("digits", out_dir=tmp_path / "straight", **SMALL))
    report = loop.Reporter.__call__

    def stop_after_two(self, epoch, *args):
        report(self, epoch, *args)
        if epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop.Reporter, "__call__", stop_after_two)
        loop.run("digits", out_dir=tmp_path / "stopped", **SMALL)
    resumed = load_float(loop.run("digits", out_dir=tmp_path / "stopped", resume=True, **SMALL))
    for a, b in zip(straight.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.allclose(a.float(), b.float(), atol=1e-4)


def test_labels_must_be_those_of_the_data(tmp_path):
    with pytest.raises(ValueError, match="cifar10: network has labels .*, digits_train has"):
        loop.run("cifar10", out_dir=tmp_path, train="digits_train")


# ---------------------------------------------------------------- experiments


def test_a_run_stays_what_it_was(tmp_path):
    """Its config has what the recipe takes for granted; keys of other tasks, which older runs have, are dropped."""
    e = experiment.load_experiment("digits", noise=5.0)
    text = experiment.to_toml(e)
    assert "stem_kernel = 3" in text and "noise" not in text
    (tmp_path / "config.toml").write_text(text)
    assert experiment.load_experiment(tmp_path / "config.toml") == e


def test_sounds_for_a_network_that_sees_are_refused(tmp_path):
    np.savez(tmp_path / "s.npz", audio=np.zeros((20, 80), np.int16), rate=8000, labels=[0, 1] * 10, classes=["a", "b"])
    with pytest.raises(ValueError, match="digits, of .*s.npz: reads pictures, got sounds"):
        loop.run("digits", tmp_path / "run", train=str(tmp_path / "s.npz"))


def test_classes_of_few_pictures_count_as_much():
    assert training.class_weights(np.array([0, 0, 0, 1]), 3).tolist() == pytest.approx([2 / 3, 2, 4 / 2])
    e = experiment.load_experiment("digits", balanced=True, smoothing=0.0)
    few = data.load("digits_train", limit=64)
    labels = np.where(few.labels == 0, 0, 1)
    loss = training.loss_for(e, replace(few, labels=labels))
    logits, wanted = torch.zeros(2, 10), torch.eye(10)[:2]
    alone = [loss(logits[:1], wanted[i : i + 1]).item() for i in (0, 1)]
    assert alone[0] / alone[1] == pytest.approx((labels == 1).sum() / (labels == 0).sum())


def test_a_training_of_so_many_minutes_ends_with_its_learning_rate(tmp_path, monkeypatch):
    """Each look at the clock takes a second here."""
    now = iter(range(10_000))
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(now)))
    out = loop.run("digits", tmp_path / "run", **{**SMALL, "epochs": 1000, "minutes": 1})
    rows = [line.split(",") for line in (out / "log.csv").read_text().splitlines()[1:]]
    assert 1 <= len(rows) < 20 and float(rows[-1][3]) < 1e-4 and rows[-1][2]
    assert torch.load(out / "checkpoint.pt", weights_only=True)["seconds"] >= 60


def test_a_training_that_is_stopped_keeps_what_it_learnt(tmp_path):
    asked = iter([False] * 5 + [True] * 100)
    out = loop.run("digits", tmp_path / "run", stop=lambda: next(asked), **SMALL)
    rows = (out / "log.csv").read_text().splitlines()
    assert len(rows) < 2 + SMALL["epochs"] and rows[-1].split(",")[2]
    assert load_float(out).network.name == "digits"
