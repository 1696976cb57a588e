"""Detection sets in the formats of others: VOC, COCO, YOLO, and what is wrong in them."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from patchnet import data
from patchnet.data import boxed as detection_data

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
        (xml(("dog", 0, (1, 1, 23, 10))), r"a\.xml: box 0, 0, 23, 10 leaves the picture of 20 x 10 pixels"),
        (xml(("dog", 0, (5, 5, 4, 9))), r"a\.xml: box 4, 4, 4, 9 has no area"),
        (xml(("bird", 0, (1, 1, 9, 9))), r"a\.xml: unknown class 'bird' \(known: cat, dog\)"),
        (xml(("dog", 0, (1, "x", 9, 9))), r"a\.xml: wanted a number, got 'x'"),
        ("<annotation><object><name>dog</name></object></annotation>", r"a\.xml: <object> has no <bndbox>"),
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
        ({"bbox": [15, 0, 10, 5]}, "annotation 1: box 15, 0, 25, 5 leaves the picture"),
        ({"bbox": [1, 1, 0, 5]}, "annotation 1: box .* has no area"),
        ({"category_id": 4}, r"annotation 1: unknown category 4 \(known: 3, 12\)"),
        ({"image_id": 9}, "annotation 1: there is no image 9"),
        ({"bbox": None}, "wanted COCO's images"),
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
    with pytest.raises(ValueError, match=r"instances\.json: its picture .*b\.png is missing"):
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
        ("0 0.5 0.5 1", r"a\.txt:1: wanted `class x y w h`, got '0 0\.5 0\.5 1'"),
        ("0 0.5 0.5 1.5 1", r"a\.txt:1: box -5, 0, 25, 10 leaves the picture"),
        ("0 0.5 0.5 0 1", r"a\.txt:1: box .* has no area"),
    ],
)
def test_what_is_wrong_in_a_yolo_folder(yolo, line, message):
    (yolo / "labels" / "train" / "a.txt").write_text(line)
    with pytest.raises(ValueError, match=message):
        data.load(yolo)


def test_boxes_of_no_picture_in_a_yolo_folder(yolo):
    (yolo / "labels" / "train" / "z.txt").write_text("")
    with pytest.raises(ValueError, match=r"z\.txt: its picture .* is missing"):
        data.load(yolo)


def test_some_classes_of_a_set(voc):
    dataset = detection_data.of_classes(data.load(voc), ("dog",))
    assert dataset.classes == ("dog",) and [len(rows) for rows in dataset.boxes] == [1, 0, 0]
    swapped = detection_data.of_classes(data.load(voc), ("dog", "cat"))
    assert swapped.boxes[0][:, 4].tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"no class 'cow' in the data set \(it has cat, dog\)"):
        detection_data.of_classes(data.load(voc), ("cow",))
    with pytest.raises(ValueError, match="wanted a set of boxes"):
        detection_data.of_classes(data.Dataset(("a",), [], np.zeros(0), ()), ("a",))
