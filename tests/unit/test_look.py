"""Looking at data of one's own: what is odd, and which pictures are for the test."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import toys
from patchnet import data
from patchnet.data.look import changes, contents, difference_hash, look, near, store

RNG = np.random.default_rng(3)


def fill(root, classes=("cat", "dog"), each=20, size=(24, 32)):
    for label in classes:
        (root / label).mkdir(parents=True)
        for i in range(each):
            save(root / label / f"{i}.png", RNG.integers(0, 256, (*size, 3), np.uint8))
    return root


def save(path, pixels):
    Image.fromarray(pixels).save(path)


def test_a_folder_of_classes(tmp_path):
    seen = look(fill(tmp_path / "pets"))
    assert (seen.kind, seen.classes, seen.notes) == ("pictures", ("cat", "dog"), ())
    assert seen.sizes == ((24, 32),) * 3 and sum(seen.train.counts()) + sum(seen.test.counts()) == 40
    assert not set(seen.train.names) & set(seen.test.names)
    again = look(tmp_path / "pets")
    assert again.test.names == seen.test.names


def test_pictures_that_are_nearly_the_same_stay_on_one_side(tmp_path):
    root = fill(tmp_path / "pets", each=6)
    smooth = np.kron(RNG.integers(0, 256, (6, 8, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    for i in range(12):
        save(root / "cat" / f"same{i}.png", (smooth * (0.97 + 0.002 * i)).astype(np.uint8))
    seen = look(root)
    sides = {name.startswith("cat/same"): part for part in (seen.train, seen.test) for name in part.names}
    assert sides[True] in (seen.train, seen.test)
    counts = [sum(name.startswith("cat/same") for name in part.names) for part in (seen.train, seen.test)]
    assert sorted(counts) == [0, 12] and "11 pictures are nearly the same" in seen.notes[0]


def test_hashes_that_are_near_go_together():
    assert near([0b0, 0b11111, 0b1, None, None, 0xFFFF]) == [0, 0, 0, 3, 4, 5]
    grey = RNG.integers(0, 256, (9, 8), np.uint8)
    assert difference_hash(np.stack([grey] * 3, 2)) == difference_hash(grey) != difference_hash(255 - grey)


def test_files_that_cannot_be_read_are_left_out_and_named(tmp_path):
    root = fill(tmp_path / "pets")
    (root / "cat" / "broken.jpg").write_bytes(b"no picture")
    seen = look(root)
    assert len(seen.train) + len(seen.test) == 40
    assert (
        seen.notes[0]
        == f"{root}: 1 of 41 files cannot be read and are left out: cat/broken.jpg: no picture, or of an unknown kind"
    )
    for i in range(10):
        (root / "dog" / f"broken{i}.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="11 of 51 files cannot be read: cat/broken.jpg"):
        look(root)


def test_a_split_that_is_there_stays(tmp_path):
    fill(tmp_path / "set" / "train")
    fill(tmp_path / "set" / "valid", each=3)
    same = tmp_path / "set" / "train" / "cat" / "0.png"
    (tmp_path / "set" / "valid" / "cat" / "again.png").write_bytes(same.read_bytes())
    seen = look(tmp_path / "set")
    assert (len(seen.train), len(seen.test)) == (40, 7)
    assert [note.split(" ")[0] for note in seen.notes] == ["1", "split"] and "flatters" in seen.notes[0]
    fill(tmp_path / "set" / "test", ("cat", "cow"), 3)
    with pytest.raises(ValueError, match="has classes cat, dog, .*test has cat, cow"):
        look(tmp_path / "set")


@pytest.mark.parametrize(
    ("classes", "each", "line"),
    [
        (("cat",), 20, "wanted two classes or more, got cat"),
        (("cat", "dog"), 4, "5 to learn from or more of each class"),
    ],
)
def test_sets_of_which_nothing_can_be_learnt(tmp_path, classes, each, line):
    with pytest.raises(ValueError, match=line):
        look(fill(tmp_path / "pets", classes, each))


def test_values_that_are_no_pictures_are_refused(tmp_path):
    values = RNG.integers(-128, 128, (20, 9, 9, 5), np.int8)
    np.savez(tmp_path / "five.npz", features=values, labels=np.arange(20) % 2, classes=["a", "b"])
    with pytest.raises(ValueError, match=r"five\.npz: wanted pictures of 1 or 3 channels, got values of \(9, 9, 5\)"):
        look(tmp_path / "five.npz")


def test_a_class_that_the_test_has_nothing_of(tmp_path):
    fill(tmp_path / "train")
    pixels = RNG.integers(0, 256, (3, 24, 32, 3), np.uint8)
    np.savez(tmp_path / "test.npz", images=pixels, labels=[1, 1, 1], classes=["cat", "dog"])
    seen = look(tmp_path / "train", str(tmp_path / "test.npz"))
    assert "the test has nothing of cat: it does not tell whether that is learnt" in seen.notes


def test_what_has_changed_since(tmp_path):
    root = fill(tmp_path / "pets", each=3)
    before = contents(root)
    assert changes(before, contents(root)) == ""
    (root / "cat" / "0.png").unlink()
    assert changes(before, contents(root)) == f"1 removed ({root}/cat/0.png)"
    toys.save(tmp_path / "toys.npz", 4)
    toys.save(tmp_path / "others.npz", 5, seed=1)
    boxes = contents(tmp_path / "toys.npz")
    key = f"{tmp_path / 'toys.npz'}/0-0"
    assert changes(boxes | {key: [1, boxes[key][1]]}, boxes) == f"1 labelled otherwise ({key})"
    told = changes(boxes, contents(tmp_path / "others.npz"))
    assert told.startswith("5 added (") and ", 4 removed (" in told


def test_what_is_stored_is_the_set(tmp_path):
    seen = look(fill(tmp_path / "pets", size=(60, 90)))
    store(seen.train, tmp_path / "train.npz", 30)
    again = data.load(tmp_path / "train.npz")
    assert (again.classes, again.names) == (seen.train.classes, seen.train.names)
    assert again[0][0].shape == (30, 45, 3) and np.array_equal(again.labels, seen.train.labels)
    boxes = tuple(np.array([[0, 0, 0.5, 1, 1, 0]] * (i % 3), np.float32).reshape(-1, 6) for i in range(len(again)))
    store(replace(again, boxes=boxes, labels=again.labels * 0 - 1), tmp_path / "boxes.npz", 30)
    rows = data.load(tmp_path / "boxes.npz").boxes
    assert all(np.array_equal(a, b) for a, b in zip(rows, boxes, strict=True))
