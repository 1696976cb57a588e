"""Folders as notebooks, file managers and export tools leave them."""

import numpy as np
import pytest
from PIL import Image

from patchnet import cli, data
from patchnet.data.look import splits


def fill(folder, n=2, ending="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        Image.new("RGB", (8, 8), (i, 90, 90)).save(folder / f"{i}.{ending}")
    return folder


def test_what_others_leave_behind_is_no_class(tmp_path):
    for label in ("cat", "dog"):
        fill(tmp_path / label)
    fill(tmp_path / ".ipynb_checkpoints")
    fill(tmp_path / "__MACOSX" / "cat")
    fill(tmp_path / "cat" / ".ipynb_checkpoints")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / "cat" / name).write_bytes(b"\0\5\x16\7")
    dataset = data.load(tmp_path)
    assert dataset.classes == ("cat", "dog") and dataset.names == ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")


def test_pictures_below_a_class_are_of_it(tmp_path, caplog):
    fill(tmp_path / "cat")
    fill(tmp_path / "cat" / "persian" / "young", 3)
    fill(tmp_path / "elsewhere", 2)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "cat")
    (tmp_path / "set" / "cat" / "notes.docx").touch()
    (tmp_path / "set" / "bird").mkdir()
    dataset = data.load(tmp_path / "set")
    assert dataset.classes == ("bird", "cat", "dog") and np.bincount(dataset.labels).tolist() == [0, 5, 2]
    assert "1 files of other kinds are left out: 1 .docx" in caplog.text
    assert "nothing in it is of class bird" in caplog.text


def test_inputs_need_no_classes(tmp_path, caplog):
    """For calibration: beside each other, or of classes; what cannot be read is left out."""
    fill(tmp_path / "loose", 20)
    (tmp_path / "loose" / "bad.png").write_bytes(b"none")
    (tmp_path / "loose" / "notes.txt").touch()
    assert len(data.load_inputs(tmp_path / "loose")) == 20 and "1 of 21 files cannot be read" in caplog.text
    assert [x.shape for x, _ in data.load_inputs(tmp_path / "loose", 5)] == 5 * [(8, 8, 3)]
    fill(tmp_path / "set" / "cat", 3)
    fill(tmp_path / "set", 2)
    assert data.load_inputs(tmp_path / "set").names == data.load(tmp_path / "set").names


def test_parts_stay_apart(tmp_path, caplog):
    for part, n in (("train", 3), ("val", 2)):
        for label in ("cat", "dog"):
            fill(tmp_path / part / label, n)
    dataset = data.load(tmp_path)
    assert dataset.classes == ("cat", "dog") and len(dataset) == 6
    assert f"taken is its part {tmp_path / 'train'}; by themselves are {tmp_path / 'val'}" in caplog.text
    train, val, test = (str(tmp_path / part) for part in ("train", "val", "test"))
    assert splits(tmp_path) == ((train, val), None)
    fill(tmp_path / "test" / "cat")
    assert splits(tmp_path) == ((train, test), val)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda root: fill(root), "2 beside each other, in no folder of a class"),
        (lambda root: [fill(root / part) for part in ("train", "val")], "but have no folders of classes in them"),
        (lambda root: (fill(root / "a").rename(root / "b\nc"), fill(root / "a")), r"got 'b\nc'"),
        (lambda root: [(root / label).mkdir() for label in "ab"], "got none"),
        (lambda root: ((root / "a").mkdir(), (root / "a" / "0.heic").touch()), "got 1 .heic"),
        (
            lambda root: (fill(root / "a"), (root / "a" / "b.wav").touch()),
            "got both: 2 pictures (ROOT/a/0.png), 1 sounds",
        ),
        (
            lambda root: (root / "instances.json").touch(),
            "got instances.json: if it is COCO's, name ROOT/instances.json",
        ),
        (lambda root: (fill(root), (root / "all.json").touch()), "if it is COCO's, name ROOT/all.json"),
        (lambda root: fill(root / "JPEGImages"), "has JPEGImages, but no Annotations beside it"),
        (
            lambda root: (fill(root / "JPEGImages"), (root / "Annotations").mkdir()),
            "wanted an .xml for each picture in ROOT/Annotations, got none",
        ),
        (lambda root: fill(root / "images"), "has images, but no labels beside it"),
        (
            lambda root: (fill(root / "images"), (root / "labels").mkdir(), (root / "classes.txt").write_text("a\n")),
            "wanted a .txt with boxes for each picture in ROOT/labels, got none",
        ),
    ],
)
def test_what_is_no_set(tmp_path, make, line, capsys):
    make(tmp_path)
    assert cli.main(["val", "person", "--data", str(tmp_path)]) == cli.USER_ERROR
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and line.replace("ROOT", str(tmp_path)) in told[0]


def test_packed_sets_and_names(tmp_path, capsys, caplog):
    (tmp_path / "a.zip").write_bytes(b"PK\3\4")
    assert cli.main(["val", "person", "--data", str(tmp_path / "a.zip")]) == cli.USER_ERROR
    assert "is packed: unpack it first" in capsys.readouterr().err
    for label in ("Cat", "cat ", "a, b"):
        fill(tmp_path / "set" / label)
    data.load(tmp_path / "set")
    assert "several differ from 'cat' in case or blanks only" in caplog.text and "'a, b' has a comma" in caplog.text
    with pytest.raises(ValueError, match="there are two classes 'a'"):
        data.sets.check_classes(("a", "b", "a"), "x")
    with pytest.raises(ValueError, match="wanted printable characters on a line, got ' '"):
        data.sets.check_classes(("a", " "), "x")
