"""Precision of a network that detects, against the oracle's boxes, on every engine, and boxes for people."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import toys
from networks import random_qnet
from oracle import RGB888, Oracle
from patchnet import Model, cli, data
from patchnet.blob.pack import pack
from patchnet.board import remote
from patchnet.evaluate import engines
from patchnet.evaluate import val as evaluation
from patchnet.net.recipe import Stage, patch_tunnels
from patchnet.net.toml import to_dict, write_toml
from patchnet.tasks.detect import answers as detecting
from patchnet.tasks.detect import precision
from patchnet.tasks.detect.end import Detection, Scale

NETWORK = patch_tunnels(
    "toy", toys.CLASSES, 24, 32, margin_h=8, margin_w=8, stem_out=6, stages=(Stage(8, 1, 2, 3),), fit="crop",
    end=Detection((Scale(((8, 8), (12, 9))), Scale(((16, 16),), (Stage(8, 1, 2, 2),)))),
)  # fmt: skip
LEVELS = detecting.LEAST, detecting.OVERLAP


def oracle_boxes(blob: bytes, pictures, levels=LEVELS) -> list[list[tuple]]:
    oracle = Oracle(blob)
    oracle.threshold, oracle.iou = (round(level * 65536) for level in levels)
    found = []
    for picture in pictures:
        height, width = picture.shape[:2]
        found.append([tuple(box) for box in oracle.run_image(picture.tobytes(), width, height, RGB888).boxes])
    return found


def qnet_that_finds(pictures):
    """A random network that tells boxes of both classes, with different scores."""
    for seed in range(200):
        qnet = random_qnet(np.random.default_rng(seed), NETWORK)
        found = [box for boxes in oracle_boxes(pack(qnet), pictures[:3]) for box in boxes]
        if len({box[4] for box in found}) == 2 and len({box[5] for box in found}) > 5:
            return qnet
    raise AssertionError("no network finds anything")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A detection set, its pictures, and a blob beside it."""
    root = tmp_path_factory.mktemp("toy")
    toys.save(root / "set.npz", 11)
    pictures = [picture for picture, _ in data.load(root / "set.npz")]
    blob = pack(qnet_that_finds(pictures))
    (root / "toy.pnb").write_bytes(blob)
    return root, pictures, blob


def val(toy, on, **kwargs):
    return evaluation.val(str(toy[0] / "toy.pnb"), str(toy[0] / "set.npz"), on, **kwargs)


def test_host_precision_is_that_of_the_oracles_boxes(toy):
    pytest.importorskip("faster_coco_eval")
    root, pictures, blob = toy
    boxes = oracle_boxes(blob, pictures)
    found = [np.array([(x, y, x + w, y + h, c, s) for x, y, w, h, c, s in rows]).reshape(-1, 6) for rows in boxes]
    truth = [rows * (64, 48, 64, 48, 1, 1) for rows in data.load(root / "set.npz").boxes]
    wanted = precision.voc_precisions(found, truth, 2)
    (result,) = val(toy, ["host"])
    assert result.ap50 == tuple(pytest.approx(p) for p in wanted) and result.map50 == pytest.approx(np.mean(wanted))
    assert result.map == pytest.approx(precision.coco_map(found, truth, 2))
    assert (result.n, result.objects, result.boxes) == (11, sum(map(len, truth)), sum(map(len, found)))
    assert result.ram == Model(blob).ram and result.identical is None
    plain = evaluation.to_dict(result)
    assert {"map50", "map", "ap50"} <= set(plain) and json.dumps(plain)


def test_exact_answers_are_worth_everything(toy):
    pytest.importorskip("faster_coco_eval")
    pictures = data.load(toy[0] / "set.npz")
    rows = []
    for boxes in pictures.boxes:
        x0, y0, x1, y1 = np.round(boxes[:, :4] * (64, 48, 64, 48)).T
        rows.append(np.column_stack([x0, y0, x1 - x0, y1 - y0, boxes[:, 4], np.full(len(boxes), 40000)]).astype(int))
    found = detecting.Found("host", toys.CLASSES, tuple(rows), 1, 1.0)
    result = detecting.judge(found, pictures, "m", "d")
    assert result.map50 == 1 and result.map == pytest.approx(1)


def test_device_finds_the_hosts_boxes(toy, where):
    pytest.importorskip("faster_coco_eval")
    if where not in engines.ENGINES:
        pytest.skip("val knows the unix port and the emulated board")
    host, device = val(toy, ["host", where], limit=4)
    assert device.identical is True and device.reference == "host" and host.boxes > 4
    assert (device.map50, device.map, device.ap50, device.ram) == (host.map50, host.map, host.ap50, host.ram)


def test_one_different_box_is_noticed(toy, monkeypatch):
    pytest.importorskip("faster_coco_eval")
    root, pictures, blob = toy
    lines = []
    for i, rows in enumerate(oracle_boxes(blob, pictures)):
        lines.append(" ".join([f"{i:04d}.ppm", *(":".join(map(str, row)) for row in rows)]))
    answers = [f"ram {Model(blob).ram}", *lines]
    monkeypatch.setattr(remote, "run", lambda *_, **__: "\n".join(answers))
    assert val(toy, ["host", "unix"])[1].identical is True
    i = next(i for i, line in enumerate(answers) if line.count(":") >= 5)
    name, first, *rest = answers[i].split()
    for place in range(6):
        words = first.split(":")
        words[place] = str(1 - int(words[place]) if place == 4 else int(words[place]) + 1)
        answers[i] = " ".join([name, ":".join(words), *rest])
        assert val(toy, ["host", "unix"])[1].identical is False
    answers[i] = " ".join([name, *rest])
    assert val(toy, ["host", "unix"])[1].identical is False


def test_float_engine(toy, tmp_path):
    pytest.importorskip("faster_coco_eval")
    torch = pytest.importorskip("torch")
    from patchnet.tasks.detect.net import DetectNet
    from patchnet.train.modules import save_float

    torch.manual_seed(0)
    model = DetectNet(NETWORK).eval()
    for scale in model.scales:
        scale.head.project.bias.data.zero_()
    save_float(model, tmp_path / "float.npz")
    pictures = data.load(toy[0] / "set.npz")
    found = engines.run("float", tmp_path / "float.npz", pictures, LEVELS)
    wanted = model.predict([picture for picture, _ in pictures], *LEVELS)
    assert all(np.allclose(found.corners(i), wanted[i]) for i in range(11)) and sum(map(len, wanted)) > 20
    (result,) = evaluation.val(str(tmp_path / "float.npz"), str(toy[0] / "set.npz"), ["float"])
    assert result.boxes == sum(map(len, wanted)) and result.ram is None


def test_wrong_sets_are_refused(toy, tmp_path):
    (tmp_path / "cat").mkdir()
    Image.fromarray(toy[1][0]).save(tmp_path / "cat" / "a.png")
    with pytest.raises(ValueError, match="wanted a set of boxes"):
        evaluation.val(str(toy[0] / "toy.pnb"), str(tmp_path))
    made = np.load(toy[0] / "set.npz")
    np.savez(tmp_path / "other.npz", **{**made, "classes": ["square", "ring"]})
    with pytest.raises(ValueError, match=r"no class 'disc' in the data set \(it has square, ring\)"):
        evaluation.val(str(toy[0] / "toy.pnb"), str(tmp_path / "other.npz"))


def run(capsys, *arguments) -> tuple[int, str]:
    status = cli.main([str(a) for a in arguments])
    return status, capsys.readouterr().out


def test_anchors_of_a_set(toy, capsys):
    """Objects of 10 to 20 pixels, as wide as high, in pictures of 64 x 48; twice as large at 128 x 96."""
    command = "anchors", "--data", toy[0] / "set.npz", "--height", "96", "--width", "128", "-k", "2"
    status, text = run(capsys, *command, "--json")
    told = json.loads(text)
    (small, also_small), (large, also_large) = told["anchors"]
    assert status == 0 and 20 <= small < large <= 40 and 0.7 < told["overlap"] < 1
    assert abs(small - also_small) <= 1 and abs(large - also_large) <= 1
    assert f"anchors = {told['anchors']}" in run(capsys, *command)[1]
    assert cli.main(["anchors", "--data", str(toy[0] / "set.npz"), "--height", "9", "--width", "9", "-k", "99"]) == 2


def test_chain_ends_with_precision(toy, tmp_path, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("faster_coco_eval")
    data_file = str(toy[0] / "set.npz")
    head = {"name": "toy", "train": data_file, "test": data_file, "epochs": 1, "batch": 4, "validation": 0.0}
    (tmp_path / "toy.toml").write_text(write_toml({**head, "network": to_dict(NETWORK)}))
    out = tmp_path / "run"
    status, text = run(capsys, "train", tmp_path / "toy.toml", "--out", out, "--chain", "--tune", "1", "--json")
    made = json.loads(text)
    float_, host = json.loads(run(capsys, "val", out, "--data", data_file, "--on", "float,host", "--json")[1])
    assert status == 0 and [made["float_map50"], made["host_map50"]] == [float_["map50"], host["map50"]]
    assert "float_top1" not in made and made["packed"]["ram"] == host["ram"]


def test_val_prints_precision(toy, capsys):
    pytest.importorskip("faster_coco_eval")
    command = "val", toy[0] / "toy.pnb", "--data", toy[0] / "set.npz"
    status, text = run(capsys, *command)
    (result,) = val(toy, ["host"])
    assert status == 0 and f"{result.map50:.2%}" in text and "mAP50" in text and "disc" in text
    status, text = run(capsys, *command, "--json")
    assert json.loads(text)["map50"] == result.map50
    assert cli.main([*map(str, command), "--confusion", str(toy[0] / "c.png")]) == cli.USER_ERROR


def test_predict_tells_and_draws_boxes(toy, tmp_path, capsys):
    _, pictures, blob = toy
    files = [tmp_path / f"{i}.png" for i in range(2)]
    for file, picture in zip(files, pictures, strict=False):
        Image.fromarray(picture).save(file)
    levels = 0.3, 0.6
    wanted = oracle_boxes(blob, pictures[:2], levels)
    command = "predict", toy[0] / "toy.pnb", *files, "--threshold", levels[0], "--iou", levels[1]
    status, text = run(capsys, *command, "--json", "--out", tmp_path / "boxes.png")
    told = json.loads(text)
    assert status == 0 and [row["picture"] for row in told] == [str(f) for f in files]
    got = [[(*b["box"], toys.CLASSES.index(b["label"]), round(b["score"] * 65536)) for b in r["boxes"]] for r in told]
    assert got == wanted and sum(map(len, wanted)) > 2
    assert Image.open(tmp_path / "boxes.png").size[0] > 300
    status, text = run(capsys, *command)
    assert f"{Path(files[0]).name}: {len(wanted[0])} objects" in text
    with pytest.raises(SystemExit):
        run(capsys, *command, "--threshold", "2")
