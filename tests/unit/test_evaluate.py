"""Accuracy on generated pictures against the oracle, on every engine, and what happens when an engine misbehaves."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from networks import random_picture, random_qnet
from oracle import GREY, RGB888, Oracle
from patchnet import Model, data
from patchnet.blob import files
from patchnet.blob.pack import pack
from patchnet.blob.quantized import QNet
from patchnet.board import remote
from patchnet.evaluate import engines
from patchnet.evaluate import val as evaluation
from patchnet.net.network import Network
from patchnet.net.recipe import Stage, patch_tunnels
from patchnet.tasks.classify import answers
from patchnet.tasks.detect import answers as detecting

LABELS = ("fox", "ant", "dog", "cat", "bee", "elk", "cow")


def network(labels=LABELS, **changes) -> Network:
    values = dict(k=4, margin_h=3, margin_w=2, stem_out=6, stages=(Stage(8, 1, 2, 3), Stage(8, 1, 1, 2)), fit="crop")
    return patch_tunnels("zoo", labels, 20, 24, **{**values, **changes})


def qnet_that_tells(net: Network, pictures: list[np.ndarray], wanted: int = 3) -> QNet:
    """A random network that gives at least `wanted` different answers to the pictures, and finds as many different
    ones the least likely."""
    for seed in range(100):
        qnet = random_qnet(np.random.default_rng(seed), net)
        best, worst = (set(oracle_answers(pack(qnet), pictures, by)) for by in (np.argmax, np.argmin))
        if min(len(best), len(worst)) >= wanted:
            return qnet
    raise AssertionError("no network tells these pictures apart")


def oracle_answers(blob: bytes, pictures: list[np.ndarray], by=np.argmax) -> list[str]:
    oracle = Oracle(blob)
    return [oracle.labels[int(by(oracle_run(oracle, p).logits16))] for p in pictures]


def oracle_run(oracle: Oracle, picture: np.ndarray):
    h, w = picture.shape[:2]
    return oracle.run_image(picture.tobytes(), w, h, RGB888 if picture.ndim == 3 else GREY)


def make_pictures(n: int) -> list[np.ndarray]:
    """Of different sizes, larger and smaller than the network's; every fourth one grey."""
    rng = np.random.default_rng(7)
    sizes = rng.integers(11, 60, (n, 2))
    return [random_picture(rng, h, w, 3)[:, :, 0 if i % 4 == 3 else slice(None)] for i, (h, w) in enumerate(sizes)]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A folder of class folders (three of the model's seven), its pictures in order, and a blob beside it."""
    root = tmp_path_factory.mktemp("zoo")
    pictures = make_pictures(21)
    for i, picture in enumerate(pictures):
        folder = root / "pictures" / ("ant", "cat", "dog")[i // 7]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(picture)).save(folder / f"{i:02d}.png")
    blob = pack(qnet_that_tells(network(), pictures))
    (root / "zoo.pnb").write_bytes(blob)
    return root, pictures, blob


def val(zoo, on, **kwargs):
    root = zoo[0]
    return evaluation.val(str(root / "zoo.pnb"), str(root / "pictures"), on, **kwargs)


# ---------------------------------------------------------------- host


def test_host_accuracy_is_that_of_the_oracle(zoo):
    _, pictures, blob = zoo
    truth = [("ant", "cat", "dog")[i // 7] for i in range(21)]
    answers = oracle_answers(blob, pictures)
    (result,) = val(zoo, ["host"])
    assert result.top1 == pytest.approx(np.mean([a == t for a, t in zip(answers, truth, strict=True)]))
    confusion = np.zeros((7, 7), int)
    for t, a in zip(truth, answers, strict=True):
        confusion[LABELS.index(t), LABELS.index(a)] += 1
    assert (np.array(result.confusion) == confusion).all()
    assert (result.n, result.ram, result.identical) == (21, Model(blob).ram, None)


def test_host_scores_are_those_of_the_oracle(zoo):
    root, pictures, blob = zoo
    answers = engines.run("host", root / "zoo.pnb", data.load(root / "pictures"))
    oracle = Oracle(blob)
    for i, picture in enumerate(pictures):
        result = oracle_run(oracle, picture)
        assert answers.scores[i].tolist() == result.scores
        assert answers.order[i].tolist() == np.argsort(-np.array(result.logits16), kind="stable").tolist()


def test_many_items_are_answered_alike_by_a_quicker_plan(zoo, monkeypatch):
    """RAM is that of the network's own plan all the same."""
    root, made = zoo[0], []
    monkeypatch.setattr(engines, "Model", lambda blob: made.append(blob) or Model(blob))
    few, many = (
        monkeypatch.setattr(engines, "MANY", most)
        or engines.run("host", root / "zoo.pnb", data.load(root / "pictures"))
        for most in (21, 20)
    )
    assert engines.room_of(network()).same(few, many) and len(set(made)) == 2


def test_top5_is_the_share_with_the_truth_among_five(zoo):
    _, pictures, blob = zoo
    oracle, hits = Oracle(blob), 0
    for i, picture in enumerate(pictures):
        order = np.argsort(-np.array(oracle_run(oracle, picture).logits16), kind="stable")[:5]
        hits += LABELS.index(("ant", "cat", "dog")[i // 7]) in order
    (result,) = val(zoo, ["host"])
    assert result.top5 == pytest.approx(hits / 21) and result.top1 < result.top5 < 1


def test_no_top5_with_few_classes(tmp_path):
    net = network(("ant", "cat", "dog"))
    (tmp_path / "few.pnb").write_bytes(pack(random_qnet(np.random.default_rng(0), net)))
    (tmp_path / "p" / "cat").mkdir(parents=True)
    Image.fromarray(make_pictures(1)[0]).save(tmp_path / "p" / "cat" / "x.png")
    (result,) = evaluation.val(str(tmp_path / "few.pnb"), str(tmp_path / "p"))
    assert result.top5 is None and not {"top5", "identical"} & set(evaluation.to_dict(result))


def test_limit_spreads_over_the_set(zoo):
    (result,) = val(zoo, ["host"], limit=6)
    assert result.n == 6 and [sum(row) for row in result.confusion] == [0, 2, 2, 2, 0, 0, 0]


def test_progress_counts_every_picture(zoo):
    done, told = [], []
    val(zoo, ["host"], track=lambda what, total: told.append((what, total)) or done.append)
    assert sum(done) == 21 and told == [("zoo on host", 21)]


# ---------------------------------------------------------------- names


def test_classes_are_matched_by_name():
    assert answers.match(("b", "c", "a"), ("a", "b"), "m", "d").tolist() == [2, 0]
    with pytest.raises(ValueError, match="d has classes a, x; m tells b, c, a"):
        answers.match(("b", "c", "a"), ("a", "x"), "m", "d")
    with pytest.raises(ValueError, match="two of its labels are equal"):
        answers.match(("b", "b"), ("b",), "m", "d")


def test_data_without_one_class_each_is_refused(zoo, tmp_path):
    boxes = dict(boxes=np.zeros((1, 4)), box_labels=np.zeros(1, int), box_difficult=np.zeros(1, int))
    np.savez(tmp_path / "boxes.npz", images=np.zeros((1, 8, 8), np.uint8), classes=["ant"], box_start=[0, 1], **boxes)
    np.savez(tmp_path / "nothing.npz", images=np.zeros((0, 8, 8), np.uint8), classes=["ant"], labels=[])
    (tmp_path / "text.npz").write_text("no")
    for name, message in (("boxes", "with boxes"), ("nothing", "got 0 pictures"), ("text", "no .npz file")):
        with pytest.raises(ValueError, match=message):
            evaluation.val(str(zoo[0] / "zoo.pnb"), str(tmp_path / f"{name}.npz"))


def test_model_files(tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("run/a.pnb", "run/float.npz", "net.pnb", "net.npz", "other.pnb"):
        (tmp_path / name).write_bytes(b"")

    def find(name, on):
        return str(files.model_file(tmp_path / name, on).relative_to(tmp_path))

    assert find("run", "host") == find("run/a.pnb", "qemu") == "run/a.pnb"
    assert find("run", "float") == find("run/a.pnb", "float") == find("run/float.npz", "float") == "run/float.npz"
    assert find("net.pnb", "float") == "net.npz"
    for name, on in (("none.pnb", "host"), ("other.pnb", "float"), ("nowhere", "float")):
        with pytest.raises(FileNotFoundError, match="no (network|trained weights) "):
            find(name, on)
    np.savez(tmp_path / "net.npz", network="")
    with pytest.raises(
        ValueError, match=r"net.npz: wanted a network \(.pnb\) or a run with one, this is trained weights"
    ):
        find("net.npz", "unix")
    (tmp_path / "run" / "b.pnb").write_bytes(b"")
    with pytest.raises(ValueError, match="holds 2 blobs"):
        find("run", "host")


def test_qnet_in_place_of_weights_is_refused(tmp_path):
    np.savez(tmp_path / "qnet.npz", meta="{}")
    with pytest.raises(ValueError, match="wanted trained weights"):
        files.network_of(tmp_path / "qnet.npz")


# ---------------------------------------------------------------- devices


def test_device_gives_the_host_s_scores(zoo, where):
    if where not in engines.ENGINES:
        pytest.skip("val knows the unix port and the emulated board")
    host, device = val(zoo, ["host", where], limit=5)
    assert device.identical is True and device.reference == "host"
    assert (device.top1, device.confusion, device.ram) == (host.top1, host.confusion, host.ram)


class FakeDevice:
    """In place of remote.run: answers as a device would, from the files that it is given."""

    def __init__(self, spoil=lambda lines: lines, timeouts: int = 0):
        self.spoil, self.timeouts, self.sizes = spoil, timeouts, []

    def __call__(self, on, script, root, timeout, **settings):
        if self.timeouts:
            self.timeouts -= 1
            raise remote.RemoteTimeout("busy")
        model = Model((Path(root) / "model.pnb").read_bytes())
        paths = sorted((Path(root) / "pictures").iterdir())
        self.sizes.append(len(paths))
        lines = [f"ram {model.ram}"]
        for path in paths:
            ranking = model.classify(np.asarray(Image.open(path)))
            lines.append(path.name + "".join(f" {model.labels.index(c)}:{round(s * 65536)}" for c, s in ranking))
        return "\n".join(self.spoil(lines))


def test_chunks_keep_the_order(zoo, monkeypatch):
    fake = FakeDevice()
    monkeypatch.setattr(remote, "run", fake)
    monkeypatch.setattr(answers.Answering, "most", 4)
    host, device = val(zoo, ["host", "unix"])
    assert fake.sizes == [4, 4, 4, 4, 4, 1] and device.identical and device.confusion == host.confusion
    fake.sizes.clear()
    monkeypatch.setattr(engines, "CHUNK_BYTES", 1)
    assert val(zoo, ["host", "unix"])[1].identical and fake.sizes == [1] * 21


def test_one_different_score_is_noticed(zoo, monkeypatch):
    def spoil(lines):
        name, first, *rest = lines[-1].split()
        label, score = first.split(":")
        return [*lines[:-1], " ".join([name, f"{label}:{int(score) + 1}", *rest])]

    monkeypatch.setattr(remote, "run", FakeDevice(spoil))
    assert val(zoo, ["host", "qemu"])[1].identical is False
    monkeypatch.setattr(remote, "run", FakeDevice(lambda lines: ["ram 1", *lines[1:]]))
    assert val(zoo, ["host", "qemu"])[1].identical is False


def test_missing_answers_are_an_error(zoo, monkeypatch):
    for spoil in (lambda lines: lines[:-1], lambda lines: lines[1:], lambda lines: [lines[0], *lines[:0:-1]]):
        monkeypatch.setattr(remote, "run", FakeDevice(spoil))
        with pytest.raises(RuntimeError, match="qemu: answers are missing"):
            val(zoo, ["qemu"])


@pytest.mark.parametrize("answered", [0, 1, 3])
def test_what_a_device_raises_names_the_picture(zoo, monkeypatch, answered):
    """By how much it had printed: m.ram, then a line for each picture."""

    def raises(*_, **__):
        raise remote.RemoteError("Traceback (most recent call last):\nMemoryError: too large\n", "line\n" * answered)

    monkeypatch.setattr(remote, "run", raises)
    with pytest.raises(ValueError, match="MemoryError") as e:
        val(zoo, ["unix"])
    named = data.load(zoo[0] / "pictures").names[answered - 1] if answered else zoo[0] / "zoo.pnb"
    assert str(e.value) == f"{named}: unix says MemoryError: too large"


def test_a_picture_too_large_for_the_emulated_board_is_named(zoo, monkeypatch):
    monkeypatch.setattr(engines, "CHUNK_BYTES", 1)
    monkeypatch.setattr(remote, "ROM_SIZE", len(zoo[2]) + engines.ROM_BYTES + 100)
    name = re.escape(data.load(zoo[0] / "pictures").names[0])
    with pytest.raises(ValueError, match=rf"^{name}: [\d,]+ B, the emulated board has room for 100 B$"):
        val(zoo, ["qemu"])


def test_one_timeout_is_forgiven(zoo, monkeypatch):
    monkeypatch.setattr(remote, "run", FakeDevice(timeouts=1))
    assert val(zoo, ["host", "qemu"])[1].identical
    monkeypatch.setattr(remote, "run", FakeDevice(timeouts=2))
    with pytest.raises(remote.RemoteTimeout):
        val(zoo, ["qemu"])


# ---------------------------------------------------------------- float


def test_float_engine(zoo, tmp_path):
    torch = pytest.importorskip("torch")
    from patchnet.tasks.classify.net import PatchTunnelNet
    from patchnet.train.modules import save_float

    torch.manual_seed(0)
    model = PatchTunnelNet(network()).eval()
    save_float(model, tmp_path / "float.npz")
    (tmp_path / "zoo.pnb").write_bytes(zoo[2])
    pictures = data.load(zoo[0] / "pictures")
    wanted = model.predict([p for p, _ in pictures])
    answers = engines.run("float", tmp_path / "float.npz", pictures)
    assert np.allclose(answers.scores, wanted, atol=1e-6) and (answers.order[:, 0] == wanted.argmax(1)).all()
    assert answers.ranking(0, 1) == [(LABELS[wanted[0].argmax()], pytest.approx(wanted[0].max()))]
    both = evaluation.val(str(tmp_path), str(zoo[0] / "pictures"), ["float", "host"])
    truth = np.array([LABELS.index(pictures.classes[i]) for i in pictures.labels])
    assert both[0].top1 == pytest.approx((wanted.argmax(1) == truth).mean())
    assert [r.on for r in both] == ["float", "host"] and both[0].ram is None and both[1].identical is None


@pytest.mark.parametrize("classes", [3, 20])
def test_precision_of_each_class(classes):
    """Columns for a few classes; of more a table of their own, which fits into a terminal."""
    labels = tuple(f"class {i}" for i in range(classes))
    one = detecting.DetectResult(
        "host", "m", "d", 9, 30, 0.5, 0.25, 40, 1000, 1.0, labels, (None, *[0.5] * (classes - 1))
    )
    names, rows = detecting.ANSWERS.columns([one, one])
    what, each = detecting.ANSWERS.by_class([one, one])
    assert [len(row) for row in rows] == [len(names)] * 2
    if classes == 3:
        assert names[-3:] == labels and rows[0][-3:] == ("", "50.00%", "50.00%") and not each
    else:
        assert names[-1] == "mAP50-95" and (what, len(each)) == ("AP50", 20)
        assert each[0] == ["class 0", "", ""] and each[1] == ["class 1", "50.00%", "50.00%"]
