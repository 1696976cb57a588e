"""Networks that detect: the stitched map, targets and losses against values worked out by hand, a whole small run."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import toys
from patchnet import data
from patchnet.net.recipe import PatchTunnels, Stage
from patchnet.net.toml import recipe_to_dict, to_dict
from patchnet.tasks.detect import boxes
from patchnet.tasks.detect import training as detect_training
from patchnet.tasks.detect.end import Detection, Scale
from patchnet.tasks.detect.net import DetectNet
from patchnet.train import experiment as experiments
from patchnet.train import loop
from patchnet.train.batches import cut, moved
from patchnet.train.modules import load_float, normalise, save_float, stitch

torch.set_num_threads(1)  # with networks this small, threads would only wait for each other

TOY_RECIPE = PatchTunnels(
    "toy", toys.CLASSES, 48, 64, k=4, central=False, margin_h=16, margin_w=16, stem_out=8,
    stages=(Stage(16, 1, 2, 3), Stage(24, 1, 2, 3)),
    end=Detection((Scale(((15, 15),)),), 50),
)  # fmt: skip
TWO_SCALES_RECIPE = replace(
    TOY_RECIPE, central=True,
    end=Detection((Scale(((10, 10), (14, 14))), Scale(((20, 20),), (Stage(24, 1, 2, 2),))), 50),
)  # fmt: skip
TOY, TWO_SCALES = TOY_RECIPE.network(), TWO_SCALES_RECIPE.network()


def experiment(**changes):
    values = dict(
        name="toy", network=to_dict(TOY), train="", epochs=12, batch=8, lr=1e-2, ema=0.9, validation=0.0,
        crop=[0.6, 1.0], tied=True, evaluate_every=100,
    )  # fmt: skip
    return experiments.load_experiment("digits", **{**values, "test": "", "smoothing": 0.0, **changes})


# ---------------------------------------------------------------- the network


def test_stitched_map_takes_each_cell_from_its_patch():
    """Cells of patch i are numbered by where they lie in the picture, plus 1000 * i."""
    network, maps = TWO_SCALES, []
    for i, (y, x) in enumerate(network.corners):
        last = network.layers()[-1]
        rows = np.arange(last.oh)[:, None] + y // 8
        maps.append(torch.from_numpy(1000.0 * i + 100 * rows + np.arange(last.ow)[None] + x // 8)[None, None])
    assert network.corners == ((0, 0), (0, 16), (8, 0), (8, 16), (4, 8)) and network.end.map == (6, 8)
    alone = stitch(maps[:4], replace(TWO_SCALES_RECIPE, central=False).network())[0, 0].numpy()
    cell = 100 * np.arange(6)[:, None] + np.arange(8)[None]
    own = 1000 * np.array([[0, 1], [2, 3]]).repeat(3, 0).repeat(4, 1)
    assert (alone == cell + own).all()
    both = stitch([*maps[:4], torch.full_like(maps[4], 0.5)], network)[0, 0].numpy() - alone
    assert both[1:6, 1:7].min() == both.max() == 0.5, "half a cell rounds up: the centre goes to (1, 1)"
    assert both[0].max() == both[:, [0, 7]].max() == 0


def test_output_is_in_scan_order():
    """Each head is made to tell the number of the channel, and its own from 100 on."""
    net = DetectNet(TWO_SCALES).eval()
    for s, scale in enumerate(net.scales):
        scale.head.project.weight.data.zero_()
        scale.head.project.bias.data = torch.arange(len(scale.head.project.bias)) + 100.0 * s
    out = net(torch.zeros(1, 3, 48, 64))[0].detach()
    assert out.shape == (6 * 8 * 2 + 3 * 4, 6) == (len(boxes.anchors_of(TWO_SCALES)), 6)
    assert out[0].tolist() == [0, 1, 2, 3, 4, 5] and out[1].tolist() == [6, 7, 8, 9, 10, 11]
    assert out[2].tolist() == out[0].tolist() and out[96].tolist() == [100, 101, 102, 103, 104, 105]


def test_heads_begin_with_rare_classes():
    net = DetectNet(TOY).eval()
    scores = net(normalise(torch.from_numpy(np.stack(toys.dataset(2).sources)), TOY))[:, :, 4:].sigmoid()
    assert scores.min() > 0.003 and scores.max() < 0.03


def test_boxes_are_told_in_the_pictures_own_pixels():
    """A picture of another size and aspect, fit "crop": the network sees columns 40 to 200 of 240."""
    network = replace(TOY, fit="crop")
    net = DetectNet(network)
    out = np.full((48, 6), -20.0)
    out[:, :4] = 0
    out[0, 4], out[9, 5], out[10, 5] = 2.0, 3.0, -1.0  # cells (0, 0), (1, 1), (1, 2)
    rows = net.read(out, (120, 240), 0.3, 0.45)
    # cell (1, 1): centre 12, 12, side 15: 4.5 .. 19.5 of 64 or 48, 2.5 picture's pixels each
    assert np.allclose(rows[0], [40 + 4.5 * 2.5, 11.25, 40 + 48.75, 48.75, 1, 1 / (1 + np.exp(-3))])
    assert np.allclose(rows[1], [40, 0, 40 + 11.5 * 2.5, 28.75, 0, 1 / (1 + np.exp(-2))]), "cut off at the edge"
    assert len(rows) == 2, "the third score is less than 0.3"
    assert len(net.read(out, (120, 240), 0.25, 0.45)) == 3
    few = replace(network, end=replace(network.end, top=1))
    assert len(DetectNet(few).read(out, (120, 240), 0.25, 0.45)) == 1


def test_file_round_trip(tmp_path):
    net = DetectNet(TWO_SCALES).eval()
    save_float(net, tmp_path / "float.npz")
    again = load_float(tmp_path)
    x = torch.randn(2, 3, 48, 64)
    assert again.network == TWO_SCALES and torch.equal(net(x), again(x))


# ---------------------------------------------------------------- targets and losses


def test_targets():
    anchors = np.array([[8, 8, 16, 16], [24, 8, 16, 16], [40, 8, 16, 16], [56, 8, 16, 16]], float)
    rows = np.array([[0, 0, 16, 16, 1, 0], [17.6, 0, 33.6, 16, 0, 0], [48, 0, 64, 16, 2, 1]], np.float32)
    found = detect_training.targets_of(rows, anchors, (0.4, 0.5))
    assert found.dtype == np.float32 and found[:, 0].tolist() == [1, 0, -1, -2]
    assert np.allclose(found[0, 1:], 0, atol=1e-6) and np.allclose(found[1, 1:], [1, 0, 0, 0], atol=1e-5)


def test_focal_loss():
    """p = 1/4 where the class is there: alpha * (3/4)^2 * ln 4; where it is not: (1 - alpha) * (1/4)^2 * ln(4/3)."""
    logit = torch.tensor([-np.log(3.0)] * 2)
    loss = detect_training.focal_loss(logit, torch.tensor([1.0, 0.0]), 0.25, 2.0)
    assert np.allclose(loss, [0.25 * 9 / 16 * np.log(4), 0.75 / 16 * np.log(4 / 3)])
    plain = detect_training.focal_loss(logit, torch.tensor([1.0, 0.0]), 0.5, 0.0)
    assert np.allclose(plain, [np.log(4) / 2, np.log(4 / 3) / 2])


def test_detection_loss():
    """Two anchors with a box, one without, one ignored, of two classes; all logits 0."""
    e = experiment(box_weight=0.5)
    out, targets = torch.zeros(1, 4, 6), torch.zeros(1, 4, 5)
    targets[0, :, 0] = torch.tensor([1.0, 0.0, -1.0, -2.0])
    targets[0, 0, 1:] = torch.tensor([3.0, 0.5, 0.0, 0.0])  # smooth L1: 2.5 and 0.125
    there, not_there = 0.25 / 4 * np.log(2), 0.75 / 4 * np.log(2)
    wanted = (2 * there + 4 * not_there + 0.5 * (2.5 + 0.125)) / 2
    assert detect_training.detection_loss(out, targets, e).item() == pytest.approx(wanted)
    out[0, 3] = 1e3  # what is ignored
    out[0, 2, :4] = 1e3  # the box of nothing
    assert detect_training.detection_loss(out, targets, e).item() == pytest.approx(wanted)
    targets[0, :, 0] = -1
    assert torch.isfinite(detect_training.detection_loss(out, targets, e)), "a batch without boxes"


def test_batches_of_boxes():
    """Targets of augmented pictures decode to boxes that hold pixels of their class's colour."""
    e = experiment(turn=True, mosaic=0.5, colour=0.0)
    batches = detect_training.BoxBatches(toys.dataset(24), e)
    pixels, targets = next(batches.epoch(0))
    again, _ = next(detect_training.BoxBatches(toys.dataset(24), e).epoch(0))
    assert torch.equal(pixels, again) and pixels.shape == (8, 48, 64, 3) and targets.shape == (8, 48, 5)
    seen = 0
    for picture, target in zip(pixels.numpy(), targets.numpy(), strict=True):
        hit = target[:, 0] >= 0
        found = boxes.decode(target[hit, 1:], batches.anchors[hit])
        for (x0, y0, x1, y1), label in zip(found.clip(0).round().astype(int), target[hit, 0], strict=True):
            if min(x1 - x0, y1 - y0) < 7:
                continue  # only that much of it is in the crop
            inside = picture[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].astype(int)
            bright, dark = inside[:, :, 0] > 180, inside[:, :, 0] < 60
            assert (bright if label == 0 else dark).mean() > 0.6, "discs fill pi/4 of their boxes"
            seen += 1
    assert seen > 10


def test_crops_show_an_object():
    rows = np.array([[0.0, 0.0, 0.1, 0.1, 0, 0]], np.float32)
    dataset = data.Dataset(("a",), [np.zeros((48, 64, 3), np.uint8)], np.full(1, -1), ("p",), (rows,))
    batches = detect_training.BoxBatches(
        dataset, experiment(network=recipe_to_dict(replace(TOY_RECIPE, labels=("a",))), crop=[0.5, 0.8])
    )
    areas = [batches.area_of(0, np.random.default_rng(seed)) for seed in range(30)]
    visible = [(cut(moved(rows, np.array(area), False))[:, 5] == 0).any() for area in areas]
    assert all(visible) and len(set(areas)) > 10


# ---------------------------------------------------------------- whole runs


def test_run_learns_to_detect(tmp_path):
    toys.save(tmp_path / "train.npz", 96)
    toys.save(tmp_path / "test.npz", 24, seed=1)
    e = experiment(train=str(tmp_path / "train.npz"))
    (tmp_path / "toy.toml").write_text(experiments.to_toml(e))
    assert experiments.load_experiment(tmp_path / "toy.toml") == e
    out = loop.run(tmp_path / "toy.toml", out_dir=tmp_path / "run")
    assert {p.name for p in out.iterdir()} == {"config.toml", "float.npz", "log.csv", "checkpoint.pt", "batch.png"}
    rows = (out / "log.csv").read_text().splitlines()
    assert rows[0] == "epoch,loss,map50,lr,seconds" and float(rows[-1].split(",")[1]) < float(rows[1].split(",")[1]) / 2
    assert detect_training.map50(load_float(out), data.load(tmp_path / "test.npz")) > 0.6


def test_untrained_network_detects_nothing_in_particular():
    torch.manual_seed(0)
    assert detect_training.map50(DetectNet(TOY), toys.dataset(24, seed=1)) < 0.1


def test_wrong_sets_are_refused():
    other = recipe_to_dict(replace(TOY_RECIPE, labels=("square", "triangle")))
    with pytest.raises(ValueError, match="no class 'triangle' in the data set"):
        detect_training.TRAINING.batches(toys.dataset(8), experiment(network=other))
    with pytest.raises(ValueError, match="wanted a set of boxes"):
        detect_training.TRAINING.batches(replace(toys.dataset(8), boxes=None), experiment())
