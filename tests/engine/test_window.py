"""Cameras without memory for a frame: a window per patch gives the bytes that the whole frame gives."""

import numpy as np
import pytest
from PIL import Image as Pillow

import blobs
from networks import random_network, random_qnet
from patchnet import GRAYSCALE, RGB565, RGB888, Image, Model, filecam
from patchnet.blob.pack import pack
from patchnet.blob.unpack import blob_network, read

FORMATS = {1: GRAYSCALE, 2: RGB565, 3: RGB888}


class Sensor:
    """A frame (H, W, bytes per pixel) of which there are windows only. `asked`: those that were taken."""

    def __init__(self, frame):
        self.frame, self.asked = frame, []

    def width(self):
        return self.frame.shape[1]

    def height(self):
        return self.frame.shape[0]

    def window(self, x, y, w, h):
        assert x >= 0 and y >= 0 and x + w <= self.width() and y + h <= self.height()
        self.asked.append((x, y, w, h))
        part = self.frame[y : y + h, x : x + w]
        return Image(w, h, FORMATS[part.shape[2]], part.tobytes())


def whole(frame):
    height, width, depth = frame.shape
    return Image(width, height, FORMATS[depth], frame.tobytes())


def random_blob(rng):
    network = random_network(rng, 60_000)
    return pack(random_qnet(rng, network))


@pytest.mark.parametrize("seed", range(12))
def test_windows_give_the_bytes_of_the_frame(seed):
    rng = np.random.default_rng(seed)
    blob = random_blob(rng)
    model = Model(blob)
    height, width, _ = model.input_shape
    for _ in range(4):
        h, w = (int(n) for n in rng.integers(1, 4 * max(height, width), 2))
        frame = rng.integers(0, 256, (h, w, int(rng.integers(1, 4))), dtype=np.uint8)
        sensor = Sensor(frame)
        assert model.predict(sensor).tobytes() == model.predict(whole(frame)).tobytes()
        y, x = int(rng.integers(0, h)), int(rng.integers(0, w))
        roi = (x, y, int(rng.integers(1, w - x + 1)), int(rng.integers(1, h - y + 1)))
        sensor = Sensor(frame)
        assert model.classify(sensor, roi=roi) == model.classify(whole(frame), roi=roi)
        check_windows(sensor.asked, blob, roi)


def check_windows(asked, blob, roi):
    """One for each patch, inside the region, and no row or column that no pixel of the patch is averaged from."""
    network = blob_network(read(blob), "test")
    x0, y0, w, h = region(network, roi)
    for patch, (wx, wy, ww, wh) in zip(network.patches(), asked, strict=True):
        for corner, pixels, side, size, at, n in (
            (patch.x, network.patch[1], patch.width, w, wx - x0, ww),
            (patch.y, network.patch[0], patch.height, h, wy - y0, wh),
        ):
            used = [i for i in range(size) if i * side < (corner + pixels) * size and (i + 1) * side > corner * size]
            assert (at, n) == (used[0], len(used))


def region(network, roi):
    """FORMAT.md, From camera to input: `fit`."""
    x, y, w, h = roi
    if network.fit == "crop" and w * network.height > h * network.width:
        cut = max(1, h * network.width // network.height)
        x, w = x + (w - cut) // 2, cut
    elif network.fit == "crop" and w * network.height < h * network.width:
        cut = max(1, w * network.height // network.width)
        y, h = y + (h - cut) // 2, cut
    return x, y, w, h


@pytest.mark.parametrize("seed", range(3))
def test_windows_of_a_streamed_model(seed, tmp_path):
    rng = np.random.default_rng(seed)
    (tmp_path / "net.pnb").write_bytes(random_blob(rng))
    frame = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    streamed, plain = Model(tmp_path / "net.pnb", stream=True), Model(tmp_path / "net.pnb")
    assert streamed.predict(Sensor(frame)).tobytes() == plain.predict(whole(frame)).tobytes()


def test_the_largest_window_is_smaller_than_the_frame():
    model, sensor = Model("person"), Sensor(np.zeros((240, 320, 3), np.uint8))
    model.classify(sensor)
    assert len(sensor.asked) == 4
    assert max(w * h for _, _, w, h in sensor.asked) == 187 * 140  # 56 of 96 pixels either way


WRONG = """
import patchnet
class Source:
    def __init__(self, make): self.make = make
    def width(self): return 40
    def height(self): return 40
    def window(self, x, y, w, h): return self.make(w, h)
def attempt(make):
    try:
        print(patchnet.classify(Source(make)))
    except Exception as e:
        print(type(e).__name__, e)
def grey(w, h): return patchnet.Image(w, h, patchnet.GRAYSCALE, bytes(w * h))
patchnet.load("grey.pnb")
attempt(lambda w, h: grey(w + 1, h))
attempt(lambda w, h: grey(w, h - 1))
attempt(lambda w, h: patchnet.Image(w, h, patchnet.JPEG, bytes(w * h)))
attempt(lambda w, h: b"no picture")
attempt(lambda w, h: Source(None))
attempt(lambda w, h: 1 // 0)
attempt(lambda w, h: patchnet.load("grey.pnb") and patchnet.classify(grey(w, h)) and None)
m = patchnet.load("grey.pnb")
attempt(lambda w, h: m.classify(grey(w, h)))
frame = patchnet.Image(40, 40, patchnet.GRAYSCALE, bytes(1600))
print(patchnet.classify(frame) == patchnet.classify(Source(grey)))
"""


def test_wrong_windows_are_told_and_the_next_run_is_right(connect, where, tmp_path):
    (tmp_path / "grey.pnb").write_bytes(blobs.small(1))
    lines = connect(where, tmp_path).exec(WRONG).splitlines()
    model, sensor = Model(blobs.small(1)), Sensor(np.zeros((40, 40, 1), np.uint8))
    model.predict(sensor)
    _, _, w, h = sensor.asked[0]
    told = f"ValueError window: wanted {w} x {h} pixels, got"
    assert lines[:2] == [f"{told} {w + 1} x {h}", f"{told} {w} x {h - 1}"]
    assert lines[2].startswith("ValueError format: picture is JPEG")
    assert lines[3].startswith("TypeError picture: wanted")
    assert lines[4] == f"{told} 40 x 40" and lines[5].startswith("ZeroDivisionError")
    assert lines[6].startswith("TypeError") and lines[7] == "RuntimeError model is busy" and lines[8] == "True"


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(5)
    for name, size in (("a.ppm", (120, 90)), ("b.pgm", (64, 80)), ("c.bmp", (53, 47))):
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        picture = Pillow.fromarray(pixels)
        (picture.convert("L") if name.endswith("pgm") else picture).save(tmp_path / name)
    Pillow.fromarray(rng.integers(0, 256, (30, 41), dtype=np.uint8)).save(tmp_path / "d.bmp")
    (tmp_path / "e.raw").write_bytes(rng.integers(0, 256, 50 * 40 * 2, dtype=np.uint8).tobytes())
    (tmp_path / "grey.pnb").write_bytes(blobs.small(1))
    (tmp_path / "colour.pnb").write_bytes(blobs.small(3))
    return tmp_path


SAME = """
import filecam, patchnet
cam = filecam.FileCam(".", size=(50, 40), format=patchnet.RGB565)
for name in ("grey.pnb", "colour.pnb"):
    m = patchnet.Model(name)
    for _ in range(len(cam)):
        by_window = m.predict(cam)
        print(bytes(by_window) == bytes(m.predict(cam.snapshot())), cam.name)
cam = filecam.FileCam("a.ppm", pixformat=patchnet.RGB565)
s = patchnet.Model("colour.pnb", stream=True)
print(s.classify(cam) == m.classify(cam.snapshot()), m.classify(cam) == m.classify(cam.snapshot()), m.classify(cam, roi=(5, 6, 70, 50)) == m.classify(cam.snapshot(), roi=(5, 6, 70, 50)))
"""  # noqa: E501


def test_file_camera(connect, where, pictures):
    lines = connect(where, pictures).exec(SAME, 120).splitlines()
    assert lines[:-1] == 2 * [f"True {name}" for name in ("a.ppm", "b.pgm", "c.bmp", "d.bmp", "e.raw")]
    assert lines[-1] == "True True True"


def test_file_camera_on_cpython(pictures):
    cam = filecam.FileCam(str(pictures), size=(50, 40), format=RGB565)
    model = Model(blobs.small(3))
    for _ in range(len(cam)):
        by_window = bytes(model.predict(cam))
        assert by_window == bytes(model.predict(cam.snapshot()))
    with pytest.raises(ValueError, match="window: 100, 0, 21 x 5 is outside of 120 x 90"):
        cam.window(100, 0, 21, 5)
    cam.skip()
    assert (cam.width(), cam.height()) == (64, 80)


def test_a_frame_larger_than_the_heap(connect, tmp_path):
    """400 x 300 x 3 bytes are 352 KB; the five windows of 255 x 192 need 143 KB one after the other."""
    rng = np.random.default_rng(9)
    Pillow.fromarray(rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(tmp_path / "a.ppm")
    person = Model("person66")
    (tmp_path / "person66.pnb").write_bytes(person._blob)
    code = """
import filecam, patchnet
cam = filecam.FileCam("a.ppm")
m = patchnet.load("person66.pnb")
try:
    cam.snapshot()
except MemoryError:
    print("no memory for a frame")
for _ in range(3):
    print([(label, int(score * 65536)) for label, score in patchnet.classify(cam)])
"""
    device = connect("unix", tmp_path, heap="500k")
    answer = person.classify(filecam.FileCam(str(tmp_path / "a.ppm")).snapshot())
    lines = device.exec(code).splitlines()
    assert lines == ["no memory for a frame"] + 3 * [str([(label, int(score * 65536)) for label, score in answer])]
