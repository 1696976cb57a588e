"""The scripts of examples/ on the emulated board; stubs/ stands for what only a real one has: camera and LED."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchnet import Model, filecam
from patchnet.board import remote

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
MODELS = ROOT / "host_tools" / "patchnet" / "models"
PICTURES = ROOT / "host_tools" / "patchnet" / "pictures"


@pytest.fixture
def rom(tmp_path):
    """What lies in /rom: networks, stubs, and pictures of each frame size that a camera may be set to."""
    for stub in (Path(__file__).parents[1] / "stubs").glob("*.py"):
        shutil.copy(stub, tmp_path)
    for name in ("person", "cifar10"):
        shutil.copy(MODELS / f"{name}.pnb", tmp_path)
    for size in ((160, 120), (320, 240)):
        folder = tmp_path / "pictures" / f"{size[0]}x{size[1]}"
        folder.mkdir(parents=True)
        for name in ("no_person-cat", "person-astronaut", "person-hopper"):
            picture = Image.open(PICTURES / f"{name}.ppm").resize(size)
            if size == (320, 240):
                picture.convert("L").save(folder / f"{name}.pgm")
            else:  # a camera's own format: to convert it there would take long
                rgb565 = filecam.convert(picture.tobytes(), filecam.RGB888, filecam.RGB565)
                (folder / f"{name}.raw").write_bytes(rgb565)
    return tmp_path


def run(connect, rom, name):
    """What an example prints until the camera has no more pictures."""
    try:
        return connect("qemu", rom).exec((EXAMPLES / name).read_text(), 300).splitlines()
    except remote.RemoteError as e:
        assert str(e).strip().endswith("RuntimeError: last picture")
        return e.output.splitlines()


def frames(rom, size, format):
    width, height = map(int, size.split("x"))
    cam = filecam.FileCam(str(rom / "pictures" / size), format, (width, height), filecam.RGB565)
    return [cam.snapshot() for _ in range(len(cam))]


def test_person_led(connect, rom):
    person, lines, light = 0.0, [], Model("person")
    for frame in frames(rom, "160x120", filecam.RGB565):
        person += 0.4 * (dict(light.classify(frame))["person"] - person)
        lines += ["LED_BLUE on"] if person > 0.6 else ["LED_BLUE off"] if person < 0.4 else []
        lines.append(f"person {person:.2f}")
    assert run(connect, rom, "person_led.py") == lines
    assert any(line.startswith("LED") for line in lines)


def test_two_models(connect, rom):
    person, thing, lines = Model("person"), Model("cifar10"), []
    for frame in frames(rom, "160x120", filecam.RGB565):
        label, score = person.classify(frame)[0]
        other = thing.classify(frame)[0]
        found = f"person {score:.2f}" if label == "person" else f"no person, perhaps: {other[0]} {other[1]:.2f}"
        lines.append(found)
    assert run(connect, rom, "two_models.py") == lines


def test_windowed(connect, rom):
    grey = frames(rom, "320x240", filecam.GRAYSCALE)
    lines = ["{} {:.2f}".format(*Model("person").classify(frame)[0]) for frame in grey]
    assert run(connect, rom, "windowed.py") == lines


def test_speed(connect, rom):
    lines = run(connect, rom, "speed.py")
    assert re.fullmatch(rf"/rom/person.pnb: \d+ us for a picture, {Model('person').ram} bytes of RAM", lines[0])
    layers = len(Model("person").profile(np.zeros((96, 96, 3), np.uint8)))
    assert len(lines) == 1 + layers
    assert all(re.fullmatch(r"(layer \d+|head) +\S.* +\d+ us +\d+%", line) for line in lines[1:])


def test_blood_cells(connect, rom):
    shutil.copy(MODELS / "bccd.pnb", rom)
    folder, lines = rom / "pictures" / "320x240", []
    for path in folder.iterdir():
        path.unlink()
    for path in sorted((PICTURES / "bccd").glob("*.ppm"))[:2]:
        picture = Image.open(path).resize((320, 240))
        rgb565 = filecam.convert(picture.tobytes(), filecam.RGB888, filecam.RGB565)
        (folder / f"{path.stem}.raw").write_bytes(rgb565)
    for frame in frames(rom, "320x240", filecam.RGB565):
        found = Model("bccd").detect(frame, 0.4)
        lines += [f"draw {label}" for *_, label, _ in found] + [f"{len(found)} cells,"]
    said = run(connect, rom, "blood_cells.py")
    assert [re.sub(r"cells,.*", "cells,", line) for line in said] == lines


def test_spoken_digits(connect, rom):
    shutil.copy(MODELS / "spoken-digits.pnb", rom)
    shutil.copytree(PICTURES.parent / "sounds", rom / "sounds")
    said = [line.split() for line in run(connect, rom, "spoken_digits.py")]
    assert said and all(name[0] == label for name, label, _ in said)


def test_every_example_is_run_and_listed():
    names = {path.name for path in EXAMPLES.glob("*.py")}
    here = Path(__file__).read_text()
    docs = (ROOT / "docs" / "deploy.md").read_text()
    assert names and all(f'"{name}"' in here and f"examples/{name}" in docs for name in names)
