"""Picture files as people have them."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

import patchnet
from patchnet import cli, data
from patchnet.data import pictures
from patchnet.data.dataset import readable
from patchnet.data.pictures import read_picture

RNG = np.random.default_rng(5)
UPRIGHT = Image.fromarray(RNG.integers(0, 256, (30, 40, 3), np.uint8))
STORED = {  # how a picture lies in a file of each EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip


def turned(path, orientation, picture=UPRIGHT):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.transpose(STORED[orientation]).save(path, exif=exif)


@pytest.mark.parametrize("orientation", STORED)
def test_pictures_are_read_upright(tmp_path, orientation):
    turned(tmp_path / "a.png", orientation)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), np.asarray(UPRIGHT))


def test_a_turned_copy_scores_as_the_upright_one(tmp_path, capsys):
    for name, orientation in (("a", 6), ("b", 3)):
        turned(tmp_path / f"{name}.png", orientation)
    UPRIGHT.save(tmp_path / "c.png")
    assert cli.main(["predict", "person", *(str(tmp_path / f"{n}.png") for n in "abc")]) == 0
    scores = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()]
    assert scores[0] == scores[1] == scores[2]


def test_pictures_of_pillow_are_taken_as_their_files_are(tmp_path):
    turned(tmp_path / "a.png", 6)
    model = patchnet.Model("person")
    wanted = model.classify(np.asarray(UPRIGHT))
    with Image.open(tmp_path / "a.png") as stored:
        assert model.classify(stored) == wanted
    grey = RNG.integers(0, 65536, (20, 30), np.uint16)
    assert model.classify(Image.fromarray(grey)) == model.classify((grey >> 8).astype(np.uint8))


def test_sixteen_bits(tmp_path):
    grey = RNG.integers(0, 65536, (8, 9), np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(grey).save(tmp_path / "a.tif")
    Image.fromarray(grey.astype(np.int32)).save(tmp_path / "b.tif")
    for name in ("a.png", "a.tif", "b.tif"):
        np.testing.assert_array_equal(read_picture(tmp_path / name), grey >> 8)
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "f.tif")
    Image.fromarray(grey.astype(np.int32) * 70_000 + 70_000).save(tmp_path / "w.tif")
    for name, got in (("f.tif", "floating point"), ("w.tif", "values from")):
        with pytest.raises(ValueError, match=f"wanted 8 or 16 bits a channel, got {got}"):
            read_picture(tmp_path / name)


def test_what_is_transparent_lies_on_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:, :2] = (255, 0, 0, 0)  # hidden red
    pixels[:, 2] = (0, 0, 0, 255)
    pixels[:, 3] = (0, 0, 200, 51)  # a fifth of blue
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    Image.fromarray(pixels[..., 2:]).save(tmp_path / "la.png")
    palette = Image.fromarray(np.array([[0, 1]], np.uint8))
    palette.putpalette([250, 0, 0, 10, 20, 30])
    palette.save(tmp_path / "p.png", transparency=0)
    got = read_picture(tmp_path / "rgba.png")
    assert (got[:, :2] == 255).all() and (got[:, 2] == 0).all() and got[0, 3].tolist() == [204, 204, 244]
    assert read_picture(tmp_path / "la.png")[0].tolist() == [255, 255, 0, 244]
    assert read_picture(tmp_path / "p.png")[0].tolist() == [[255, 255, 255], [10, 20, 30]]


@pytest.mark.parametrize("ending", ["webp", "tif", "tiff", "gif", "bmp", "jfif", "png"])
def test_endings(tmp_path, ending):
    kind = {"tif": "TIFF", "jfif": "JPEG"}.get(ending, ending.upper())
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        Image.new("RGB", (8, 8), (200, 10, 10)).save(tmp_path / label / f"0.{ending}", kind)
    dataset = data.load(tmp_path)
    assert len(dataset) == 2 and np.abs(dataset[0][0][4, 4].astype(int) - (200, 10, 10)).max() <= 3


def test_enormous_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_SIDE", 100)
    wide = Image.fromarray(np.tile(np.arange(450) // 2, (30, 1)).astype(np.uint8))
    for name in ("a.png", "a.jpg"):
        wide.save(tmp_path / name)
        got = read_picture(tmp_path / name, 100)
        assert got.shape[0] <= 8 and 50 <= got.shape[1] <= 100 and abs(int(got[2].mean()) - 102) < 20
    assert read_picture(tmp_path / "a.png", 450).shape == (30, 450)


def bomb(path, side=30_000):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b""))


@pytest.fixture
def damaged(tmp_path):
    """Files that cannot be read, and what is said of each."""
    UPRIGHT.save(tmp_path / "ok.jpg")
    UPRIGHT.save(tmp_path / "ok.png")
    jpg, png = ((tmp_path / f"ok.{e}").read_bytes() for e in ("jpg", "png"))
    spoilt = bytearray(png)
    spoilt[60] ^= 0xFF
    files = {"cut.jpg": jpg[: len(jpg) // 2], "cut.png": png[: len(png) // 2], "spoilt.png": bytes(spoilt),
             "zero.jpg": b"", "page.jpg": b"<!DOCTYPE html>"}  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    bomb(tmp_path / "bomb.png")
    return tmp_path, dict.fromkeys(files, "damaged") | {
        "zero.jpg": "no picture", "page.jpg": "no picture", "bomb.png": "wanted at most 178 million pixels",
    }  # fmt: skip


def test_what_is_damaged_is_named(damaged, capsys):
    root, files = damaged
    for name, line in files.items():
        assert cli.main(["predict", "person", str(root / "ok.jpg"), str(root / name)]) == cli.USER_ERROR
        assert f"{name}: {line}" in capsys.readouterr().err.splitlines()[-1]


def test_what_is_damaged_is_left_out_of_a_set(damaged, caplog):
    root, files = damaged
    (root / "set" / "person").mkdir(parents=True)
    (root / "set" / "none").mkdir()
    for i in range(30):
        UPRIGHT.save(root / "set" / ("person", "none")[i % 2] / f"{i}.png")
    for name in ("cut.jpg", "bomb.png"):
        (root / name).rename(root / "set" / "person" / name)
    whole = data.load(root / "set")
    assert len(readable(whole)) == len(whole) - 2 == 30
    assert "2 of 32 files cannot be read and are left out: person/bomb.png: wanted at most" in caplog.text
    for name in ("cut.png", "zero.jpg"):
        (root / name).rename(root / "set" / "none" / name)
    with pytest.raises(ValueError, match="4 of 34 files cannot be read: none/cut.png: damaged"):
        readable(data.load(root / "set"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "PPM"])
def test_damage_anywhere_is_a_line_or_a_picture(kind):
    out = io.BytesIO()
    UPRIGHT.save(out, kind)
    whole, rng = out.getvalue(), np.random.default_rng(11)
    for i in range(120):
        spoilt = bytearray(whole[: len(whole) if i % 3 else int(rng.integers(len(whole)))])
        for at in rng.integers(0, min(len(spoilt), 200) or 1, 3) if spoilt else ():
            spoilt[at] = rng.integers(256)
        with contextlib.suppress(ValueError):
            read_picture(bytes(spoilt))
