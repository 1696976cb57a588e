"""Published sets in the layouts in which they come, made small here."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchnet import cli, data
from patchnet.data import as_clip
from patchnet.data.look import splits
from patchnet.data.parts import parts_of


def picture(path, colour=(9, 90, 90), size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def told(capsys, name):
    """What the command says of a set that it cannot read."""
    assert cli.main(["val", "person", "--data", str(name)]) == cli.USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    return line


# ---------------------------------------------------------------- CIFAR-10

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def cifar(tmp_path):
    """cifar-10-batches-bin with three pictures a file."""
    root = tmp_path / "cifar-10-batches-bin"
    root.mkdir()
    (root / "batches.meta.txt").write_text("\n".join(CIFAR) + "\n\n")
    (root / "readme.html").write_text("<html>")
    rng = np.random.default_rng(1)
    for i, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        records = rng.integers(0, 256, (3, 3073), np.uint8)
        records[:, 0] = i, 9 - i, 3
        (root / f"{name}.bin").write_bytes(records.tobytes())
    return root


def test_cifar10(cifar, caplog):
    train, test = data.load(cifar), data.load(cifar / "test")
    assert f"taken is its part {cifar / 'train'}; by themselves are {cifar / 'test'}" in caplog.text
    assert train.classes == test.classes == tuple(CIFAR) and (len(train), len(test)) == (15, 3)
    assert train.labels.tolist()[:6] == [0, 9, 3, 1, 8, 3] and test.labels.tolist() == [5, 4, 3]
    assert train.names[3] == "data_batch_2/0" and len(set(train.names)) == 15
    records = np.frombuffer((cifar / "test_batch.bin").read_bytes(), np.uint8).reshape(3, 3073)
    red_row_2 = records[1, 1 + 2 * 32 : 1 + 3 * 32]
    np.testing.assert_array_equal(test[1][0][2, :, 0], red_row_2)
    np.testing.assert_array_equal(test[1][0][31, 31], records[1, [1024, 2048, 3072]])
    assert splits(cifar) == ((str(cifar / "train"), str(cifar / "test")), None)


def test_cifar10_of_a_name(cifar, monkeypatch):
    monkeypatch.setenv("PATCHNET_DATA", str(cifar.parent))
    assert len(data.load("cifar-10-batches-bin/test")) == 3


def test_wrong_cifar10(cifar, capsys):
    whole = (cifar / "test_batch.bin").read_bytes()
    (cifar / "test_batch.bin").write_bytes(whole[:-1])
    assert "test_batch.bin: wanted records of 3,073 B, got 9,218 B" in told(capsys, cifar / "test")
    (cifar / "test_batch.bin").write_bytes(b"\x0a" + whole[1:])
    assert "test_batch.bin: wanted labels below 10, got 10" in told(capsys, cifar / "test")
    assert "no data set" in told(capsys, cifar / "validation")


class Bomb:
    def __reduce__(self):
        return os.mkdir, (str(Path(os.environ["BOMB"])),)


def test_pickles_are_not_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    root = tmp_path / "cifar-10-batches-py"
    root.mkdir()
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (root / name).write_bytes(pickle.dumps(Bomb()))
    assert "holds pickles, which could run anything: wanted CIFAR-10's binary version" in told(capsys, root)
    told(capsys, root / "data_batch_1")
    assert not (tmp_path / "exploded").exists()


# ---------------------------------------------------------------- ImageNet

WNIDS = ("n01440764", "n01443537", "n02979186")
TRUTH = {1: "n02979186", 2: "n01440764", 3: "n02979186"}  # of the pictures for validation


def imagenet(folder, val):
    for i, wnid in enumerate(WNIDS):
        for j in range(2):
            picture(folder / "train" / wnid / f"{wnid}_{i}{j}.JPEG")
    for i in TRUTH:
        picture(val / f"ILSVRC2012_val_{i:08d}.JPEG", (i, 0, 0))


def kaggle(root):
    folder = root / "ILSVRC" / "Data" / "CLS-LOC"
    imagenet(folder, folder / "val")
    rows = [f"ILSVRC2012_val_{i:08d},{wnid} 85 1 499 272 {wnid} 3 4 5 6 " for i, wnid in reversed(TRUTH.items())]
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "\n".join(rows) + "\n")
    return folder


def devkit(root):
    """The classes' numbers are not in the order of their WordNet ids; those above 1000 are no leaves."""
    from scipy.io import savemat

    imagenet(root, root / "val")
    kit = root / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    numbers = {WNIDS[0]: 7, WNIDS[1]: 2, WNIDS[2]: 1, "n00001740": 1001}
    synsets = np.zeros((4, 1), [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")])
    for i, (wnid, number) in enumerate(numbers.items()):
        synsets[i, 0] = float(number), wnid, "a fish", float(number > 1000)
    savemat(kit / "meta.mat", {"synsets": synsets})
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{numbers[w]}\n" for w in TRUTH.values()))
    return root


@pytest.mark.parametrize("make", [kaggle, devkit])
def test_imagenet(make, tmp_path):
    pytest.importorskip("scipy")
    root = make(tmp_path / "imagenet")
    assert parts_of(root) == {"train": root / "train", "validation": root / "val"}
    train, val = data.load(root), data.load(root / "val")
    assert train.classes == WNIDS and train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert val.classes == (WNIDS[0], WNIDS[2]) and [val.classes[i] for i in val.labels] == list(TRUTH.values())
    assert val.names[0] == "ILSVRC2012_val_00000001.JPEG" and val[0][0].shape == (10, 12, 3)


def test_wrong_imagenet(tmp_path, capsys):
    root = kaggle(tmp_path / "imagenet")
    picture(root / "val" / "ILSVRC2012_val_00000009.JPEG")
    assert "1 pictures are not in its map: ILSVRC2012_val_00000009.JPEG" in told(capsys, root / "val")
    (tmp_path / "imagenet" / "LOC_val_solution.csv").write_text("Image,Class\n")
    assert "LOC_val_solution.csv: wanted a column 'ImageId', got Image, Class" in told(capsys, root / "val")
    (tmp_path / "imagenet" / "LOC_val_solution.csv").unlink()
    assert "wanted LOC_val_solution.csv or ILSVRC2012_devkit_t12/data in it or above" in told(capsys, root / "val")


@pytest.mark.parametrize(
    ("name", "text"),
    [("meta.mat", "no"), ("meta.mat", ""), ("ILSVRC2012_validation_ground_truth.txt", "7\n8\n9\n")],
)
def test_a_damaged_development_kit(name, text, tmp_path, capsys):
    pytest.importorskip("scipy")
    root = devkit(tmp_path / "imagenet")
    (root / "ILSVRC2012_devkit_t12" / "data" / name).write_text(text)
    assert "data: wanted meta.mat and ILSVRC2012_validation_ground_truth.txt" in told(capsys, root / "val")


# ---------------------------------------------------------------- Visual Wake Words


def coco(root, split, rows, year=2014):
    """instances_SPLIT.json of (id, [(category, area, crowd), ...]), and its pictures of 12 x 10 pixels."""
    names = {i: f"COCO_{split}{year}_{i:012d}.jpg" if year == 2014 else f"{i:012d}.jpg" for i, _ in rows}
    images = [{"id": i, "file_name": names[i], "width": 120, "height": 100} for i, _ in rows]
    objects = [(i, *one) for i, own in rows for one in own]
    annotations = [
        {"id": n, "image_id": i, "category_id": c, "area": area, "iscrowd": crowd, "bbox": [1, 1, 99, 99]}
        for n, (i, c, area, crowd) in enumerate(objects)
    ]
    categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    values = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"instances_{split}{year}.json").write_text(json.dumps(values))
    for i, _ in rows:
        picture(root / f"{split}{year}" / names[i], size=(120, 100))


LEAST = 60.0  # 0.5% of 120 x 100
PERSONS = [(10, [(1, LEAST, 0)]), (11, [(1, LEAST - 0.01, 0), (18, 9000, 0)]), (12, []), (13, [(1, 5, 0), (1, 700, 1)])]


def test_visual_wake_words(tmp_path):
    """The area is that of the object, not of its box; a crowd counts."""
    root = tmp_path / "coco"
    coco(root, "train", PERSONS)
    coco(root, "val", [(20, [(18, 400, 0)]), (21, [(1, 61, 0)])])
    coco(root, "val", [(10, []), (21, [])], 2017)  # the same pictures once more
    (root / "annotations" / "mscoco_minival_ids.txt").write_text("21\n12\n")
    train, val = data.load(root / "vww-train"), data.load(root / "vww-val")
    assert train.classes == val.classes == ("no_person", "person") and train.boxes is None
    names = [f"{i:012d}" for i in (10, 11, 13, 20)]
    assert list(train.names) == names and train.labels.tolist() == [1, 0, 1, 0]
    assert list(val.names) == [f"{i:012d}" for i in (12, 21)] and val.labels.tolist() == [0, 1]
    assert train[0][0].shape == (100, 120, 3)


def test_boxes_of_a_part_of_cocos_pictures(tmp_path):
    """The files of the paper's split: minival's pictures lie in val2014."""
    root = tmp_path / "coco"
    coco(root, "val", [(20, [(18, 400, 0)]), (21, [(1, 61, 0)])])
    (root / "annotations" / "instances_val2014.json").rename(root / "annotations" / "instances_minival2014.json")
    minival = data.load(root / "annotations" / "instances_minival2014.json")
    assert minival.classes == ("person", "dog") and [len(rows) for rows in minival.boxes] == [1, 1]


def test_wrong_visual_wake_words(tmp_path, capsys, caplog):
    root = tmp_path / "coco"
    coco(root, "train", [(i, []) for i in range(20)])
    assert "wanted mscoco_minival_ids.txt in it or in annotations" in told(capsys, root / "vww-train")
    (root / "mscoco_minival_ids.txt").write_text("1\n")
    assert f"wanted a part of it ({root}/vww-train, {root}/vww-val) or a file of boxes" in told(capsys, root)
    (root / "train2014" / "COCO_train2014_000000000003.jpg").unlink()
    assert len(data.load(root / "vww-train")) == 18
    assert "1 of 19 pictures" in caplog.text and "COCO_train2014_000000000003.jpg is missing" in caplog.text
    for i in (4, 5):
        (root / "train2014" / f"COCO_train2014_{i:012d}.jpg").unlink()
    assert "3 of 19 pictures are wrong" in told(capsys, root / "vww-train")
    for text in ("{}", "[", '{"images": 1, "categories": [], "annotations": []}'):
        (root / "annotations" / "instances_train2014.json").write_text(text)
        assert "wanted COCO's images, annotations and categories" in told(capsys, root / "vww-train")
    (root / "mscoco_minival_ids.txt").write_text("1\nsix\n")
    assert "mscoco_minival_ids.txt: wanted an id of COCO a line, got 'six'" in told(capsys, root / "vww-train")


@pytest.mark.data
@pytest.mark.parametrize("name", ["vww_coco_train", "vww_coco_test"])
def test_the_rule_gives_the_labels_that_are_there(name, tmp_path):
    """Of the ids in the set at hand, the official and MLPerf's among them, by the largest area of a person that is
    known of each; the list of ids keeps back those that are official for tests."""
    path = Path(os.environ.get("PATCHNET_DATA", "data")) / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"needs data set {name} in $PATCHNET_DATA")
    z = np.load(path)
    ids, areas, held = z["names"], z["person_area"], z["official"] == "val"
    images = [{"id": int(i), "file_name": f"{i}.jpg", "width": 1000, "height": 1000} for i in ids]
    found = [(int(i), float(a) * 1e6) for i, a in zip(ids, areas, strict=True) if a > 0]
    objects = [{"image_id": i, "category_id": 1, "area": area} for i, area in found]
    values = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train2014.json").write_text(json.dumps(values))
    (tmp_path / "annotations" / "mscoco_minival_ids.txt").write_text("".join(f"{int(i)}\n" for i in ids[held]))
    (tmp_path / "train2014").mkdir()
    for i in ids:
        (tmp_path / "train2014" / f"{i}.jpg").touch()
    sets = {part: data.load(tmp_path / part) for part in ("vww-train", "vww-val") if part == "vww-train" or held.any()}
    wanted = dict(zip(ids.tolist(), z["labels"].tolist(), strict=True))
    assert {n: int(label) for own in sets.values() for n, label in zip(own.names, own.labels, strict=True)} == wanted
    assert "vww-val" not in sets or set(sets["vww-val"].names) == set(ids[held].tolist())
    assert all(own.classes == tuple(z["classes"]) for own in sets.values())


# ---------------------------------------------------------------- sounds


def wav(path, hz=440):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.sounds.to_wav((9000 * np.sin(np.arange(1600) * hz / 2000)).astype(np.int16), 16000))


def test_speech_commands(tmp_path, caplog):
    root = tmp_path / "speech_commands_v0.02"
    for word in ("yes", "no"):
        for name in ("0a7c2a8d_nohash_0", "0a7c2a8d_nohash_1", "004ae714_nohash_0", "ffd2ba2f_nohash_4"):
            wav(root / word / f"{name}.wav")
    wav(root / "_background_noise_" / "doing_the_dishes.wav")
    (root / "_background_noise_" / "README.md").write_text("noise")
    for name in ("README.md", "LICENSE", ".DS_Store"):
        (root / name).write_text("x")
    (root / "validation_list.txt").write_text("no/004ae714_nohash_0.wav\nyes/004ae714_nohash_0.wav\n")
    (root / "testing_list.txt").write_text("yes/ffd2ba2f_nohash_4.wav\n")
    sets = {part: data.load(root / part) for part in ("train", "validation", "test")}
    assert all(own.classes == ("no", "yes") for own in sets.values())
    assert [len(own) for own in sets.values()] == [5, 2, 1] and sets["test"].names == ("yes/ffd2ba2f_nohash_4.wav",)
    assert sets["validation"].labels.tolist() == [0, 1] and sets["train"].labels.tolist() == [0, 0, 0, 1, 1]
    assert as_clip(sets["test"][0][0]).rate == 16000
    assert splits(root) == ((str(root / "train"), str(root / "test")), str(root / "validation"))
    assert len(data.load(root)) == 5 and "taken is its part" in caplog.text
    (root / "yes" / "ffd2ba2f_nohash_4.wav").unlink()
    with pytest.raises(ValueError, match="1 of 1 sounds are wrong: .*ffd2ba2f_nohash_4.wav is missing|nothing in it"):
        data.load(root / "test")


def test_esc50(tmp_path):
    root = tmp_path / "ESC-50-master"
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target, category in ((3, "cow"), (0, "dog")):
            name = f"{fold}-10003{target}-A-{target}.wav"
            wav(root / "audio" / name)
            rows.append(f"{name},{fold},{target},{category},{target == 0},10003{target},A")
    (root / "meta").mkdir()
    (root / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    train, test, second = (data.load(root / part) for part in ("train", "test", "fold2"))
    assert train.classes == test.classes == ("dog", "cow") and (len(train), len(test), len(second)) == (8, 2, 2)
    assert test.names == ("5-100033-A-3.wav", "5-100030-A-0.wav") and test.labels.tolist() == [1, 0]
    assert {name[0] for name in second.names} == {"2"} and as_clip(test[0][0]).rate == 16000
    assert parts_of(root) == {"train": root / "train", "test": root / "test"}
    (root / "meta" / "esc50.csv").write_text("filename,fold\n")
    with pytest.raises(ValueError, match="esc50.csv: wanted a column 'target', got filename, fold"):
        data.load(root / "train")


# ---------------------------------------------------------------- boxes


def test_voc_of_two_years(tmp_path, monkeypatch):
    """VOCdevkit as it comes, and the parts that the paper learns from."""
    devkit = tmp_path / "VOCdevkit"
    for year, names, thing in ((2007, ("000005", "000007"), "dog"), (2012, ("2008_000008",), "horse")):
        root = devkit / f"VOC{year}"
        for name in names:
            picture(root / "JPEGImages" / f"{name}.jpg", size=(50, 40))
            box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>25</xmax><ymax>40</ymax></bndbox>"
            text = f"<annotation><filename>{name}.jpg</filename><size><width>50</width><height>40</height></size>"
            text += f"<object><name>{thing}</name><difficult>0</difficult>{box}</object></annotation>"
            (root / "Annotations").mkdir(exist_ok=True)
            (root / "Annotations" / f"{name}.xml").write_text(text)
        (root / "ImageSets" / "Main").mkdir(parents=True)
        (root / "ImageSets" / "Main" / "trainval.txt").write_text("\n".join(names[:1]) + "\n")
        (root / "ImageSets" / "Main" / "dog_trainval.txt").write_text("\n".join(f"{n} -1" for n in names[:1]) + "\n")
    monkeypatch.setenv("PATCHNET_DATA", str(tmp_path))
    both = data.load(",".join(f"VOCdevkit/VOC{year}/ImageSets/Main/trainval.txt" for year in (2007, 2012)))
    assert both.names == ("000005", "2008_000008") and both.classes == ("dog", "horse")
    np.testing.assert_allclose(both.boxes[1], [[0, 0, 0.5, 1, 1, 0]])
