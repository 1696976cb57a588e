"""filecam against pictures written by Pillow, on CPython and on the ports."""

import json
import struct

import numpy as np
import pytest
from PIL import Image

from patchnet import GRAYSCALE, RGB565, RGB888, filecam

HEIGHT, WIDTH = 13, 18  # rows of 54 and 18 bytes: BMP pads both
WHOLE_BMP = b"BM" + struct.pack("<IIIIiiHHIIIIII", 70, 0, 54, 40, 2, 2, 1, 24, 0, 16, 0, 0, 0, 0) + bytes(16)


@pytest.fixture(scope="module")
def rgb():
    return np.random.default_rng(7).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, rgb):
    grey = Image.fromarray(rgb[:, :, 1])
    Image.fromarray(rgb).save(tmp_path / "a.ppm")
    Image.fromarray(rgb).save(tmp_path / "b.bmp")
    top_down = bytearray((tmp_path / "b.bmp").read_bytes())
    top_down[22:26] = (-HEIGHT).to_bytes(4, "little", signed=True)
    (tmp_path / "c.bmp").write_bytes(top_down)
    grey.save(tmp_path / "d.pgm")
    grey.save(tmp_path / "e.bmp")
    (tmp_path / "f.raw").write_bytes(to_rgb565(rgb))
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def to_rgb565(rgb):
    red, green, blue = (rgb[..., i].astype("<u2") for i in range(3))
    return ((red >> 3) << 11 | (green >> 2) << 5 | blue >> 3).astype("<u2").tobytes()


def to_grey(rgb):
    return (rgb.astype(int) @ [38, 75, 15] >> 7).astype(np.uint8).tobytes()


def expected(rgb):
    """name -> (format, pixels) of each file as it is."""
    colour = (RGB888, rgb.tobytes())
    grey = (GRAYSCALE, rgb[:, :, 1].tobytes())
    return {"a.ppm": colour, "b.bmp": colour, "c.bmp": (RGB888, rgb[::-1].tobytes()), "d.pgm": grey, "e.bmp": grey,
            "f.raw": (RGB565, to_rgb565(rgb))}  # fmt: skip


SNAPSHOTS = f"""
import filecam, json
cam = filecam.FileCam(".", size=({WIDTH}, {HEIGHT}), format=filecam.RGB565)
for _ in range(len(cam)):
    image = cam.snapshot()
    print(json.dumps([cam.name, image.width(), image.height(), image.format(), list(bytes(image))]))
"""


def test_every_file_format(connect, where, folder, rgb):
    shots = [json.loads(line) for line in connect(where, folder).exec(SNAPSHOTS).splitlines()]
    assert {(width, height) for _, width, height, _, _ in shots} == {(WIDTH, HEIGHT)}
    assert {name: (format, bytes(pixels)) for name, _, _, format, pixels in shots} == expected(rgb)


def test_every_file_format_on_cpython(folder, rgb):
    cam = filecam.FileCam(str(folder), size=(WIDTH, HEIGHT), format=RGB565)
    shots = {}
    for _ in range(len(cam)):
        image = cam.snapshot()
        shots[cam.name] = image.format(), bytes(image)
    assert shots == expected(rgb)


def test_conversions(rgb):
    pixels = rgb.tobytes()
    assert bytes(filecam.convert(pixels, RGB888, GRAYSCALE)) == to_grey(rgb)
    rgb565 = filecam.convert(pixels, RGB888, RGB565)
    assert bytes(rgb565) == to_rgb565(rgb)
    back = np.frombuffer(filecam.convert(rgb565, RGB565, RGB888), np.uint8).reshape(rgb.shape)
    top = rgb & np.array([0xF8, 0xFC, 0xF8], np.uint8)
    assert np.array_equal(back, top | top >> np.array([5, 6, 5], np.uint8))
    assert bytes(filecam.convert(b"\x00\x80", GRAYSCALE, RGB888)) == b"\x00\x00\x00\x80\x80\x80"


def test_conversion_when_taken(folder, rgb):
    cam = filecam.FileCam(str(folder / "a.ppm"), pixformat=GRAYSCALE)
    image = cam.snapshot()
    assert (image.format(), bytes(image)) == (GRAYSCALE, to_grey(rgb))


def test_pictures_come_round_again(folder):
    cam = filecam.FileCam(str(folder), size=(WIDTH, HEIGHT), format=RGB565)
    names = []
    for _ in range(len(cam) + 1):
        cam.snapshot()
        names.append(cam.name)
    assert names[:2] == ["a.ppm", "b.bmp"] and names[-1] == "a.ppm"


HEADS = {  # of two rows of two pixels; the first of them is a line feed
    "P5 2 2 255\n": "one blank",
    "P5 # made by hand\n2\n# two rows\n 2 255\n": "comments",
    "P5\r\n2 2\r\n255\r\n": "lines as Windows ends them",
    "P5\r\n# made by hand\r\n2 2\r\n255\n": "a comment ended so",
    "P5\r2 2\r255\r": "lines as an old Macintosh ends them",
    "P5\n\n  2\t \n2   255 ": "several blanks",
    "P5 " + 300 * "# six\n" + "2 2 255\n": "a long comment",
}
ODD = """
import filecam, json
cam = filecam.FileCam(".")
print(json.dumps([list(bytes(cam.snapshot())) for _ in range(len(cam))]))
"""


def test_odd_heads(connect, where, tmp_path):
    pixels = b"\x0a\x02\x03\x04"
    for i, head in enumerate(HEADS):
        (tmp_path / f"{i}.pgm").write_bytes(head.encode() + pixels)
    (tmp_path / "9.pgm").write_bytes(b"P5\r\n2 2\r\n255\r\n" + pixels + b"\r\n")
    answers = [json.loads(connect(where, tmp_path).exec(ODD))]
    cam = filecam.FileCam(str(tmp_path))
    answers.append([list(bytes(cam.snapshot())) for _ in range(len(cam))])
    assert answers == [[list(pixels)] * (len(HEADS) + 1)] * 2


def test_windows_and_formats_of_a_large_picture(tmp_path):
    """Row by row, from each kind of file."""
    large = np.random.default_rng(1).integers(0, 256, (600, 801, 3), dtype=np.uint8)
    for ending in ("ppm", "bmp"):
        Image.fromarray(large).save(tmp_path / f"x.{ending}")
        cam = filecam.FileCam(str(tmp_path / f"x.{ending}"), pixformat=GRAYSCALE)
        assert bytes(cam.snapshot()) == to_grey(large)
        assert bytes(cam.window(700, 500, 101, 100)) == to_grey(large[500:, 700:])


LARGE = """
import filecam
cam = filecam.FileCam(".")
image = cam.snapshot()
print(image.width(), image.height(), sum(memoryview(image)[-10:]))
del image
try:
    cam.snapshot()
except MemoryError as error:
    print(error)
print(cam.snapshot().width())
"""


def test_large_pictures(connect, tmp_path):
    """They take their own size of memory (here two fifths of it), and what has no room is told, and gone past."""
    pixels = np.random.default_rng(2).integers(0, 256, (1200, 1600), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.pgm")
    with (tmp_path / "b.ppm").open("wb") as file:
        file.write(b"P6 4000 3000 255\n")
        file.truncate(36_000_100)
    told = connect("unix", tmp_path, heap="5m").exec(LARGE).splitlines()
    assert told == [
        f"1600 1200 {pixels[-1, -10:].sum()}",
        f"{tmp_path}/b.ppm: 4000 x 3000 needs 36000000 bytes at once; classify(cam), without snapshot(), reads patches",
        "1600",
    ]


@pytest.mark.parametrize("name, contents, message", [
    ("x.ppm", b"P6 2 2 255\n\x00", "needs 12 bytes of pixels, the file has 1"),
    ("x.ppm", b"P6 2 2 65535\n" + bytes(24), "maximum value is 65535"),
    ("x.ppm", b"P6 2 0 255\n", "2 x 0 needs"),
    ("x.ppm", b"P6 two", "x.ppm: wanted width, height and 255 in the first 2048 bytes"),
    ("x.ppm", b"P6 # without an end", "wanted width, height and 255"),
    ("x.ppm", b"P6 2 2 ", "wanted width, height and 255"),
    ("x.ppm", b"", "raw pixels need size="),
    ("x.raw", bytes(12), "raw pixels need size="),
    ("x.bmp", b"BM" + bytes(20), "cut off"),
    ("x.bmp", WHOLE_BMP[:-4], "2 x 2 needs 14 bytes of pixels, the file has 12"),
    ("x.bmp", b"BM" + bytes(60), "wanted 24 or 8 bits"),
])  # fmt: skip
def test_broken_files_are_named(tmp_path, name, contents, message):
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(ValueError, match=message):
        filecam.FileCam(str(tmp_path)).snapshot()


def test_colour_palettes_are_refused(tmp_path, rgb):
    Image.fromarray(rgb).quantize(16).save(tmp_path / "x.bmp")
    with pytest.raises(ValueError, match="x.bmp: .*(palette|bits)"):
        filecam.FileCam(str(tmp_path)).snapshot()


def test_a_folder_without_pictures(connect, where, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    code = "import filecam\ntry:\n filecam.FileCam()\nexcept OSError as error:\n print(error)"
    assert "no picture" in connect(where, tmp_path).exec(code)
