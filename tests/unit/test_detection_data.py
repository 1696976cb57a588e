"""Detection sets in the formats of others: VOC, COCO, YOLO, and what is wrong in them."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from patchnet import data
from patchnet.data import boxed as detection_data
from patchnet.data.look import splits

WIDE, HIGH = 20, 10


def picture(path, value=9):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((HIGH, WIDE, 3), value, np.uint8)).save(path)


def xml(*objects):
    rows = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{box[0]}</xmin>"
        f"<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
        for name, difficult, box in objects
    )
    return f"<annotation><filename>whatever.jpg</filename>{rows}</annotation>"


@pytest.fixture
def voc(tmp_path):
    """Three pictures, the third one without objects; two of them in a part `few`."""
    for name, value in (("a", 10), ("b", 20), ("c", 30)):
        picture(tmp_path / "JPEGImages" / f"{name}.jpg", value)
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(xml(("dog", 0, (1, 1, 20, 10)), ("cat", 1, (3, 2, 4, 6))))
    (tmp_path / "Annotations" / "b.xml").write_text(xml(("cat", 0, (11, 6, 20, 10))))
    (tmp_path / "Annotations" / "c.xml").write_text(xml())
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "few.txt").write_text("b\nc\n")
    return tmp_path


@pytest.fixture
def coco(tmp_path):
    """A file of two pictures in `images` beside it; category ids are not in a row."""
    for name in ("a", "b"):
        picture(tmp_path / "images" / f"{name}.png")
    told = {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "b.png"}],
        "categories": [{"id": 12, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 12, "bbox": [0, 0, 10, 5]},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [5, 5, 15, 5.4], "iscrowd": 1},
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(told))
    return tmp_path


@pytest.fixture
def yolo(tmp_path):
    for name in ("a", "b"):
        picture(tmp_path / "images" / "train" / f"{name}.png")
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "a.txt").write_text("1 0.5 0.5 1 1\n0 0.25 0.5 0.5 0.2\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    return tmp_path


def test_voc_folder(voc):
    dataset = data.load(voc)
    assert dataset.classes == ("cat", "dog") and dataset.names == ("a", "b", "c")
    assert dataset.labels.tolist() == [-1] * 3 and abs(int(dataset[1][0].mean()) - 20) <= 1
    assert np.allclose(dataset.boxes[0], [[0, 0, 1, 1, 1, 0], [0.1, 0.1, 0.2, 0.6, 0, 1]])
    assert np.allclose(dataset.boxes[1], [[0.5, 0.5, 1, 1, 0, 0]]) and dataset.boxes[2].shape == (0, 6)


def test_part_of_a_voc_folder_has_the_classes_of_all_of_it(voc):
    dataset = data.load(voc / "ImageSets" / "Main" / "few.txt")
    assert dataset.names == ("b", "c") and dataset.classes == ("cat", "dog")


def test_list_of_classes_fixes_their_order(voc):
    (voc / "classes.txt").write_text("dog\nbird\ncat\n")
    dataset = data.load(voc)
    assert dataset.classes == ("dog", "bird", "cat") and dataset.boxes[0][:, 4].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (xml(("bird", 0, (1, 1, 9, 9))), r"a\.xml: unknown class 'bird' \(known: cat, dog\)"),
        (xml(("dog", 0, (1, "x", 9, 9))), r"a\.xml: wanted a number, got 'x'"),
        ("<annotation><object><name>dog</name></object></annotation>", r"a\.xml: <object> has no <bndbox>"),
        (xml(("", 0, (1, 1, 9, 9))), r"a\.xml: <object> has no <name>"),
        (xml(("dog", 0, ("4,5", 1, 9, 9))), r"a\.xml: wanted a number, got '4,5'"),
        ("<annotation>", r"a\.xml: no XML"),
    ],
)
def test_what_is_wrong_in_a_voc_folder(voc, text, message):
    (voc / "classes.txt").write_text("cat\ndog\n")
    (voc / "Annotations" / "a.xml").write_text(text)
    with pytest.raises(ValueError, match=message):
        data.load(voc)


def test_files_missing_in_a_voc_folder(voc):
    (voc / "ImageSets" / "Main" / "few.txt").write_text("b\nd\n")
    with pytest.raises(ValueError, match=r"d\.xml is missing"):
        data.load(voc / "ImageSets" / "Main" / "few.txt")
    (voc / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(ValueError, match=r"b\.xml: its picture .*b\.jpg is missing"):
        data.load(voc)


def test_coco_file(coco):
    dataset = data.load(coco / "instances.json")
    assert dataset.classes == ("cat", "dog") and dataset.names == ("a", "b")
    assert np.allclose(dataset.boxes[0], [[0, 0, 0.5, 0.5, 1, 0], [0.25, 0.5, 1, 1, 0, 1]])
    assert dataset.boxes[1].shape == (0, 6) and dataset[0][0].shape == (HIGH, WIDE, 3)


def test_pictures_of_a_coco_file_may_lie_in_a_folder_of_its_name(coco):
    (coco / "annotations").mkdir()
    shutil.move(coco / "instances.json", coco / "annotations" / "instances_val2017.json")
    shutil.move(coco / "images", coco / "val2017")
    assert len(data.load(coco / "annotations" / "instances_val2017.json")) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 4}, r"annotation 1: unknown category 4 \(known: 3, 12\)"),
        ({"image_id": 9}, "annotation 1: there is no image 9"),
        ({"bbox": None}, "annotation 1: wanted a bbox of four numbers, got None"),
        ({"bbox": []}, r"annotation 1: wanted a bbox of four numbers, got \[\]"),
        ({"bbox": [1, 2, 3]}, r"annotation 1: wanted a bbox of four numbers, got \[1, 2, 3\]"),
        ({"bbox": [float("nan"), 1, 2, 3]}, "annotation 1: wanted a box of four numbers, got nan, 1, nan, 4"),
    ],
)
def test_what_is_wrong_in_a_coco_file(coco, change, message):
    told = json.loads((coco / "instances.json").read_text())
    told["annotations"][0] |= change
    (coco / "instances.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match=message):
        data.load(coco / "instances.json")


def test_no_coco_file(coco):
    (coco / "images" / "b.png").unlink()
    with pytest.raises(ValueError, match=r"instances\.json: image 8: its picture .*b\.png is missing"):
        data.load(coco / "instances.json")
    for text in ("{}", "[1]", "nothing"):
        (coco / "instances.json").write_text(text)
        with pytest.raises(ValueError, match="wanted COCO's images, annotations and categories"):
            data.load(coco / "instances.json")


def test_yolo_folder(yolo):
    dataset = data.load(yolo)
    assert dataset.classes == ("cat", "dog") and dataset.names == ("a", "b")
    assert np.allclose(dataset.boxes[0], [[0, 0, 1, 1, 1, 0], [0, 0.4, 0.5, 0.6, 0, 0]])
    assert dataset.boxes[1].shape == (0, 6)


@pytest.mark.parametrize(
    "text", ["names: [cat, 'dog']\n", "nc: 2\nnames:\n  0: cat\n  1: dog\n", "names:\n- cat\n- dog"]
)
def test_yolo_classes_in_data_yaml(yolo, text):
    (yolo / "classes.txt").unlink()
    with pytest.raises(ValueError, match=r"wanted its classes in classes\.txt"):
        data.load(yolo)
    (yolo / "data.yaml").write_text("train: images/train\n" + text)
    assert data.load(yolo).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 1 1", r"a\.txt:1: unknown class 2 \(there are 2: cat, dog\)"),
        ("0 0.5 0.5 1", r"a\.txt:1: wanted `class x y w h`, .* got 4 numbers: '0 0\.5 0\.5 1'"),
        ("0 0.5 0.5 1 1 0.9", r"a\.txt:1: wanted `class x y w h`, .* got 6 numbers: '0 0\.5 0\.5 1 1 0.9'"),
    ],
)
def test_what_is_wrong_in_a_yolo_folder(yolo, line, message):
    (yolo / "labels" / "train" / "a.txt").write_text(line)
    with pytest.raises(ValueError, match=message):
        data.load(yolo)


def test_boxes_of_no_picture_in_a_yolo_folder(yolo, caplog):
    (yolo / "labels" / "train" / "z.txt").write_text("")
    with pytest.raises(ValueError, match=r"1 of 3 pictures are wrong: .*z\.txt: its picture .* is missing"):
        data.load(yolo)
    for i in range(10):
        picture(yolo / "images" / "train" / f"more{i}.png")
    assert len(data.load(yolo)) == 12 and "1 of 13 pictures: " in caplog.text


def coco_of(folder, boxes, **more):
    """A file of a picture with those boxes (None: no bbox), and its set."""
    picture(folder / "a.png")
    rows = [{"id": i, "image_id": 0, "category_id": 1} | ({"bbox": b} if b else {}) for i, b in enumerate(boxes)]
    for row in rows:
        row |= more
    told = {"images": [{"id": 0, "file_name": "images\\a.png"}], "categories": [{"id": 1, "name": "dog"}]}
    (folder / "x.json").write_text("\ufeff" + json.dumps(told | {"annotations": rows}))
    return data.load(folder / "x.json")


def test_odd_boxes_are_cut_off_or_left_out_and_counted(tmp_path, caplog):
    """COCO's own training set has two boxes without an area."""
    good = [[1, 1, 5, 5]] * 30
    dataset = coco_of(tmp_path, [*good, [9.98, 8.56, 5.54, 0.0], [15, 0, 10, 5], [-0.4, 0, 10, 5]])
    assert len(dataset.boxes[0]) == 32
    assert np.allclose(dataset.boxes[0][-2:, :4], [[0.75, 0, 1, 0.5], [0, 0, 0.48, 0.5]])
    assert "2 of 33 boxes: " in caplog.text and "annotation 30: box 9.98, 8.56, 15.52, 8.56 has no area" in caplog.text
    assert "annotation 31: box 15, 0, 25, 5 leaves the picture of 20 x 10 pixels and is cut off" in caplog.text
    with pytest.raises(ValueError, match="3 of 6 boxes are wrong: .*annotation 3: box 30, 0, 40, 5 has no area"):
        coco_of(tmp_path, [*good[:3], *[[30, 0, 10, 5]] * 3])


def test_polygons_become_boxes(tmp_path, yolo):
    polygon = [[2, 1, 10, 1, 10, 6], [4, 4, 12, 8]]
    boxes = coco_of(tmp_path / "coco", [None], segmentation=polygon).boxes[0]
    assert np.allclose(boxes[:, :4], [[0.1, 0.1, 0.6, 0.8]])
    (yolo / "labels" / "train" / "a.txt").write_text("1 0.1 0.2 0.5 0.1 0.3 0.9\n")
    assert np.allclose(data.load(yolo).boxes[0], [[0.1, 0.1, 0.5, 0.9, 1, 0]])


def test_polygons_of_a_voc_folder(voc):
    points = "".join(f"<x{i}>{x}</x{i}><y{i}>{y}</y{i}>" for i, (x, y) in enumerate(((3, 2), (8, 4), (5, 9)), 1))
    (voc / "Annotations" / "a.xml").write_text(
        f"<annotation><object><name>dog</name><polygon>{points}</polygon></object></annotation>"
    )
    assert np.allclose(data.load(voc).boxes[0][:, :4], [[0.1, 0.1, 0.4, 0.9]])


def test_categories_of_one_name_and_one_that_nothing_is_of(coco):
    told = json.loads((coco / "instances.json").read_text())
    told["categories"] += [{"id": 0, "name": "animals", "supercategory": "none"}, {"id": 90, "name": "cat"}]
    told["annotations"][0]["category_id"] = 90
    (coco / "_annotations.coco.json").write_text(json.dumps(told))
    dataset = data.load(coco)
    assert dataset.classes == ("cat", "dog") and dataset.boxes[0][:, 4].tolist() == [0, 0]


@pytest.mark.parametrize("told", [(40, 30), (30, 40), None], ids=["as stored", "upright", "not told"])
def test_boxes_of_turned_pictures_lie_where_they_were_drawn(tmp_path, told):
    """A phone's photo, stored 40 x 30, turned by 90 degrees to be looked at; a white thing in it, upper left."""
    upright = np.zeros((40, 30, 3), np.uint8)
    upright[4:16, 3:9] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "JPEGImages").mkdir()
    stored = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    stored.save(tmp_path / "JPEGImages" / "a.png", exif=exif)
    (tmp_path / "Annotations").mkdir()
    box = (5, 22, 16, 27) if told == (40, 30) else (4, 5, 9, 16)  # pixels count from 1
    size = f"<size><width>{told[0]}</width><height>{told[1]}</height></size>" if told else ""
    text = xml(("thing", 0, box)).replace("<object>", f"{size}<object>", 1)
    (tmp_path / "Annotations" / "a.xml").write_text(text)
    dataset = data.load(tmp_path)
    x0, y0, x1, y1 = (dataset.boxes[0][0, :4] * (30, 40, 30, 40)).round().astype(int)
    pixels, _ = dataset[0]
    assert pixels.shape == (40, 30, 3) and (pixels[y0:y1, x0:x1] == 255).all() and (x1 - x0) * (y1 - y0) == 72


def test_pictures_of_another_size_than_told(tmp_path, coco):
    told = json.loads((coco / "instances.json").read_text())
    told["images"][0] |= {"width": 10 * WIDE, "height": 10 * HIGH}
    (coco / "instances.json").write_text(json.dumps(told))
    assert np.allclose(data.load(coco / "instances.json").boxes[0][0, :4], [0, 0, 0.05, 0.05])
    told["images"][0] |= {"height": 20 * HIGH}
    (coco / "instances.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match="image 7: its picture is said to have 200 x 200 pixels, .* has 20 x 10"):
        data.load(coco / "instances.json")


def yolo_split(root, parts, images):
    """Pictures and labels of each part, where `images` says."""
    for part, n in parts.items():
        for i in range(n):
            file = root / images.format(part=part) / f"{part}{i}.png"
            picture(file)
            label = root / images.format(part=part).replace("images", "labels") / f"{part}{i}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(f"1 0.5 0.5 0.{i + 1} 0.3\n")
    return root


def test_roboflow(tmp_path, caplog):
    """Folders train, valid, test; data.yaml tells of them from a folder beside it on."""
    root = yolo_split(tmp_path / "rf", {"train": 3, "valid": 2, "test": 1}, "{part}/images")
    (root / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\n"
                                    "names: ['cat', 'dog']\nroboflow:\n  workspace: x\n")  # fmt: skip
    for name in ("", "data.yaml"):
        dataset = data.load(root / name)
        assert dataset.classes == ("cat", "dog") and dataset.names == ("train0", "train1", "train2")
        assert np.allclose(dataset.boxes[2], [[0.35, 0.35, 0.65, 0.65, 1, 0]])
    assert "taken is its part" in caplog.text
    assert data.load(root / "valid").names == ("valid0", "valid1")
    train, valid, test = (str(root / part / "images") for part in ("train", "valid", "test"))
    assert splits(root) == ((train, test), valid)


def test_ultralytics(tmp_path):
    """images/train and labels/train; data.yaml tells of them from its `path` on; comments, names as a mapping."""
    root = yolo_split(tmp_path / "ul", {"train": 3, "val": 2}, "images/{part}")
    (root / "data.yaml").write_text("# c\npath: ../datasets/ul  # root\ntrain: images/train\nval: images/val\n\n"
                                    "names:\n  0: cat  # small\n  1: dog\n")  # fmt: skip
    for name in ("", "data.yaml", "images/train"):
        assert data.load(root / name).names == ("train0", "train1", "train2")
    dataset = data.load(root / "images" / "val")
    assert dataset.classes == ("cat", "dog") and len(dataset) == 2
    assert splits(root / "data.yaml") == ((str(root / "images" / "train"), str(root / "images" / "val")), None)


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("names: {0: cat, 1: dog}\n", ("cat", "dog")),
        ("nc: 2  # two\nnames: # list\n  - cat\n  - dog # big\n", ("cat", "dog")),
        ("names: ['cat, small', \"dog's\"]\n", ("cat, small", "dog's")),
        ("names: {1: cat, 2: dog}\n", "names: wanted numbers from 0 on, got 1, 2"),
        ("names: 3\n", "names: wanted a list or a mapping, got 3"),
        ("names: [cat\n", "no YAML"),
        ("- a\n", "wanted names and the folders of a data set"),
    ],
)
def test_names_of_data_yaml(yolo, text, classes):
    (yolo / "classes.txt").unlink()
    (yolo / "data.yaml").write_text(text)
    if isinstance(classes, tuple):
        assert data.load(yolo).classes == classes
    else:
        with pytest.raises(ValueError, match=rf"data\.yaml: {classes}"):
            data.load(yolo)


def test_text_files_beside_pictures(tmp_path):
    picture(tmp_path / "0.png")
    picture(tmp_path / "1.png")
    (tmp_path / "0.txt").write_text("0 0.5 0.5 0.2 0.3\n")
    (tmp_path / "classes.txt").write_text("\ufeffcat\n")
    dataset = data.load(tmp_path)
    assert dataset.classes == ("cat",) and [len(rows) for rows in dataset.boxes] == [1, 0]


def test_annotations_beside_pictures(tmp_path, caplog):
    picture(tmp_path / "train" / "a.jpeg")
    picture(tmp_path / "train" / "extra.png")
    text = xml(("cat", 0, (1, 1, 20, 10))).replace("whatever.jpg", "C:\\Users\\anna\\a.JPG")
    (tmp_path / "train" / "a.xml").write_text(text, encoding="utf-16")
    dataset = data.load(tmp_path)
    assert dataset.names == ("a",) and np.allclose(dataset.boxes[0], [[0, 0, 1, 1, 0, 0]])
    assert "1 pictures have no annotation and are left out" in caplog.text


def test_some_classes_of_a_set(voc):
    dataset = detection_data.of_classes(data.load(voc), ("dog",))
    assert dataset.classes == ("dog",) and [len(rows) for rows in dataset.boxes] == [1, 0, 0]
    swapped = detection_data.of_classes(data.load(voc), ("dog", "cat"))
    assert swapped.boxes[0][:, 4].tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"no class 'cow' in the data set \(it has cat, dog\)"):
        detection_data.of_classes(data.load(voc), ("cow",))
    with pytest.raises(ValueError, match="wanted a set of boxes"):
        detection_data.of_classes(data.Dataset(("a",), [], np.zeros(0), ()), ("a",))
