"""Loading of every kind of data set, and the exact resize against its definition written as loops."""

import io

import numpy as np
import pytest
from PIL import Image

from patchnet import data
from patchnet.net.recipe import patch_tunnels
from patchnet.tasks.pictures import prepare

RNG = np.random.default_rng(5)


def slow_resize(picture, height, width):
    """The definition: integer overlaps of [x*S, (x+1)*S) with [i*T, (i+1)*T), rounded half up."""
    sh, sw, channels = picture.shape
    out = np.zeros((height, width, channels), np.uint8)
    for y in range(height):
        for x in range(width):
            total = np.zeros(channels, int)
            for i in range(sh):
                wy = min((y + 1) * sh, (i + 1) * height) - max(y * sh, i * height)
                for j in range(sw):
                    wx = min((x + 1) * sw, (j + 1) * width) - max(x * sw, j * width)
                    if wy > 0 and wx > 0:
                        total += wy * wx * picture[i, j].astype(int)
            out[y, x] = (total + sw * sh // 2) // (sw * sh)
    return out


@pytest.mark.parametrize("size", [(7, 5), (10, 13), (3, 2), (20, 26), (1, 1)])
def test_resize_is_the_exact_area_mean(size):
    picture = RNG.integers(0, 256, (*size, 3), np.uint8)
    assert (data.resize(picture, 10, 13) == slow_resize(picture, 10, 13)).all()


def test_resize_of_the_own_size_and_of_one_colour_changes_nothing():
    picture = RNG.integers(0, 256, (9, 11, 3), np.uint8)
    assert (data.resize(picture, 9, 11) == picture).all()
    assert (data.resize(np.full((480, 640, 1), 255, np.uint8), 66, 66) == 255).all()


def test_resize_of_a_region():
    picture = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    assert (data.resize(picture, 4, 4, roi=(7, 3, 10, 12)) == slow_resize(picture[3:15, 7:17], 4, 4)).all()
    for roi in ((25, 0, 6, 5), (-1, 0, 5, 5), (0, 0, 0, 5)):
        with pytest.raises(ValueError, match="not inside the 30 x 20 picture"):
            data.resize(picture, 4, 4, roi=roi)


@pytest.mark.parametrize(
    ("size", "aspect", "wanted"),
    [
        ((320, 240), (66, 66), (40, 0, 240, 240)),
        ((240, 321), (66, 66), (0, 40, 240, 240)),
        ((100, 100), (10, 20), (0, 25, 100, 50)),
        ((1, 9), (1, 20), (0, 4, 1, 1)),
        ((64, 64), (8, 8), (0, 0, 64, 64)),
    ],
)
def test_crop_is_the_largest_centred_rectangle(size, aspect, wanted):
    assert data.crop(*size, None, aspect, "crop") == wanted
    assert data.crop(*size, None, aspect, "stretch") == (0, 0, *size)


def test_crop_fit_resizes_the_centre():
    picture = RNG.integers(0, 256, (24, 32, 3), np.uint8)
    assert (data.resize(picture, 6, 6, fit="crop") == slow_resize(picture[:, 4:28], 6, 6)).all()


def test_channels():
    grey = RNG.integers(0, 256, (4, 5), np.uint8)
    assert (data.channels_of(grey, 3) == grey[:, :, None]).all()
    colour = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert data.channels_of(colour, 1)[0, :, 0].tolist() == [77, 149, 29, 255]
    with pytest.raises(ValueError, match="wanted uint8"):
        data.channels_of(grey.astype(float), 3)


def test_prepare_gives_what_the_network_reads():
    network = patch_tunnels("n", ("a",), 6, 8, channels=1, mean=(128,), fit="crop")
    picture = RNG.integers(0, 256, (30, 30, 3), np.uint8)
    ready = prepare(picture, network)
    assert ready.shape == (6, 8, 1) and ready.dtype == np.uint8
    assert (ready == data.resize(data.channels_of(picture, 1), 6, 8, fit="crop")).all()


def encoded(picture):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


def test_packed_file_of_encoded_pictures(tmp_path):
    pictures = [RNG.integers(0, 256, (5 + i, 6, 3), np.uint8) for i in range(4)]
    files = [encoded(p) for p in pictures]
    offsets = np.cumsum([0, *map(len, files)])
    blob = np.frombuffer(b"".join(files), np.uint8)
    labels = np.array([1, 0, 1, 1], np.int16)
    np.savez(tmp_path / "set.npz", data=blob, offsets=offsets, labels=labels, classes=["x", "y"], names=list("abcd"))
    dataset = data.load(tmp_path / "set.npz")
    assert len(dataset) == 4 and dataset.classes == ("x", "y")
    for (got, label), picture, wanted in zip(dataset, pictures, labels, strict=True):
        assert (got == picture).all() and label == wanted
    spread = data.load(tmp_path / "set.npz", limit=2)
    assert spread.names == ("a", "c") and len(data.load(tmp_path / "set.npz", limit=9)) == 4


def test_packed_file_of_pixels_and_boxes(tmp_path):
    images = RNG.integers(0, 256, (2, 4, 4, 3), np.uint8)
    boxes = np.array([[0, 0, 1, 0.5], [0.25, 0.25, 1, 1], [0, 0, 0.5, 0.5]], np.float32)
    np.savez(
        tmp_path / "set.npz",
        images=images,
        classes=["x", "y"],
        boxes=boxes,
        box_labels=[0, 1, 1],
        box_difficult=[False, True, False],
        box_start=[0, 1, 3],
    )
    dataset = data.load(tmp_path / "set.npz")
    assert dataset.labels.tolist() == [-1, -1] and (dataset[1][0] == images[1]).all()
    assert [len(b) for b in dataset.boxes] == [1, 2]
    assert dataset.boxes[1][0].tolist() == [0.25, 0.25, 1, 1, 1, 1]
    assert len(dataset.take([1]).boxes) == 1 and (dataset.take([1]).boxes[0] == dataset.boxes[1]).all()


def test_folder_of_pictures(tmp_path):
    for label, value in (("cat", 10), ("ant", 20)):
        (tmp_path / label).mkdir()
        Image.fromarray(np.full((3, 4, 3), value, np.uint8)).save(tmp_path / label / "a.png")
        Image.fromarray(np.full((3, 4), value, np.uint8)).save(tmp_path / label / "b.bmp")
        (tmp_path / label / "notes.txt").write_text("not a picture")
    dataset = data.load(tmp_path)
    assert dataset.classes == ("ant", "cat") and dataset.labels.tolist() == [0, 0, 1, 1]
    assert [picture.shape for picture, _ in dataset] == [(3, 4, 3), (3, 4), (3, 4, 3), (3, 4)]
    assert dataset[0][0].max() == 20


def test_what_is_not_a_data_set(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data set 'nothing_here': looked for"):
        data.load("nothing_here")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="wanted pictures or sounds as .*got none"):
        data.load(tmp_path)
    np.savez(tmp_path / "sound.npz", audio=np.zeros(3), classes=["x"])
    with pytest.raises(ValueError, match="holds no pictures"):
        data.load(tmp_path / "sound.npz")


def test_digits_split_is_fixed_and_disjoint():
    pytest.importorskip("sklearn")
    train, test = data.load("digits_train"), data.load("digits_test")
    assert (len(train), len(test)) == (1437, 360)
    assert not set(train.names) & set(test.names)
    assert np.ptp(np.bincount(test.labels)) <= 3
    assert data.load("digits").names == test.names
    picture, label = test[0]
    assert picture.shape == (8, 8) and picture.dtype == np.uint8 and 0 <= label < 10


def test_several_sets_are_one(tmp_path):
    grey = np.zeros((2, 4, 4), np.uint8)
    np.savez(tmp_path / "a.npz", images=grey, labels=[0, 1], classes=["cat", "dog"], names=["1", "2"])
    np.savez(tmp_path / "b.npz", images=grey + 9, labels=[0, 1], classes=["dog", "fox"], names=["3", "4"])
    both = data.load(f"{tmp_path}/a.npz, {tmp_path}/b.npz")
    assert both.classes == ("cat", "dog", "fox") and both.labels.tolist() == [0, 1, 1, 2]
    assert both.names == ("1", "2", "3", "4") and [int(x.max()) for x, _ in both] == [0, 0, 9, 9]
    boxes = dict(boxes=np.array([[0, 0, 1, 1]]), box_labels=[1], box_difficult=[0], box_start=[0, 1, 1])
    np.savez(tmp_path / "c.npz", images=grey, classes=["owl", "cat"], **boxes)
    np.savez(tmp_path / "d.npz", images=grey, classes=["cat"], **(boxes | {"box_labels": [0]}))
    both = data.load(f"{tmp_path}/d.npz,{tmp_path}/c.npz")
    assert both.classes == ("cat", "owl") and [rows[:, 4].tolist() for rows in both.boxes] == [[0], [], [0], []]
    with pytest.raises(ValueError, match="wanted sets of one kind"):
        data.load(f"{tmp_path}/a.npz,{tmp_path}/c.npz")
    with pytest.raises(FileNotFoundError, match="no data set 'nosuch'"):
        data.load(f"{tmp_path}/a.npz,nosuch")
