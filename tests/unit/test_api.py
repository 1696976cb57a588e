"""The API on CPython: what only a PC has (numpy, Pillow, shipped names), and what is easier to prove there.

What it shares with a board is in tests/device/scripts, run by test_device_api.py.
"""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as Pillow

import blobs
import patchnet
from conftest import PATIENT
from networks import free_network, random_picture, random_qnet
from oracle import RGB888 as ORACLE_RGB888
from oracle import Oracle
from patchnet import GRAYSCALE, RGB565, RGB888, Image, Model, api, models
from patchnet.blob.pack import pack
from patchnet.engine.library import engine
from patchnet.net.layers import Layer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=[1, 3], ids=["grey", "colour"])
def model(request):
    with Model(blobs.small(request.param)) as m:
        yield m


@pytest.fixture
def rgb():
    return random_picture(np.random.default_rng(1), 23, 31, 3)


def test_import_is_light():
    code = "import sys, patchnet; print([m for m in ('numpy', 'torch', 'PIL', 'rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_the_api_is_the_boards_file():
    assert Path(api.__file__).resolve().read_text() == (ROOT / "modpatchnet" / "patchnet.py").read_text()


def test_agrees_with_the_oracle(rgb):
    for seed in range(20):
        blob = pack(random_qnet(np.random.default_rng(seed), max_macs=200_000))
        model = Model(blob)
        wanted = Oracle(blob).run_image(rgb.tobytes(), 31, 23, ORACLE_RGB888, (2, 3, 20, 17))
        got = dict(model.classify(rgb, roi=(2, 3, 20, 17)))
        assert [got[label] * 65536 for label in model.labels] == list(wanted.scores)


def test_best_first_and_equal_ones_in_the_order_of_classes():
    blob = blobs.tied()
    results = Model(blob).classify(Image(5, 5, GRAYSCALE, bytes(25)))
    assert [label for label, _ in results] == ["b", "d", "a", "c", "e"]
    assert results[0][1] == results[1][1] > results[2][1] == results[3][1]


def test_numpy_pictures(model, rgb):
    wanted = model.classify(Image(31, 23, RGB888, rgb.tobytes()))
    assert model.classify(rgb) == wanted
    assert model.classify(np.asfortranarray(rgb)) == wanted
    assert model.classify(rgb[::-1, ::-1][::-1, ::-1]) == wanted
    grey = rgb[..., 1]
    wanted = model.classify(Image(31, 23, GRAYSCALE, grey.tobytes()))
    assert model.classify(grey) == model.classify(grey[..., None]) == wanted
    assert model.predict(grey) == model.predict(Image(31, 23, GRAYSCALE, grey.tobytes()))
    two = rgb[..., :2]
    assert model.classify(two) == model.classify(Image(31, 23, RGB565, two.tobytes()))


def test_numpy_raw_values(model):
    x = np.random.default_rng(2).integers(-128, 128, model.input_shape).astype(np.int8)
    wanted = model.predict(x.tobytes())
    out = np.zeros(model.output_shape, np.int8)
    assert model.predict(x, out) is out
    assert list(out) == list(model.predict(x)) == list(wanted)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4)), np.zeros((4, 4), np.int8), np.zeros(16, np.uint8)])
def test_arrays_that_are_no_pictures(model, wrong):
    with pytest.raises(TypeError, match="picture"):
        model.classify(wrong)


@pytest.mark.parametrize("wrong", [(4, 4, 4), (3, 4, 4), (1, 8, 8, 3)])
def test_arrays_of_other_shapes(model, wrong):
    with pytest.raises((ValueError, TypeError), match=f"picture: wanted .* got .*{' x '.join(map(str, wrong))}"):
        model.classify(np.zeros(wrong, np.uint8))


def test_pillow_pictures(model, rgb):
    wanted = model.classify(rgb)
    assert model.classify(Pillow.fromarray(rgb)) == wanted
    assert model.classify(Pillow.fromarray(rgb).convert("RGBA")) == wanted
    assert model.classify(Pillow.fromarray(rgb[..., 0])) == model.classify(rgb[..., 0])


def test_shipped_networks_by_bare_name(tmp_path, monkeypatch, model):
    blob = blobs.small(model.input_shape[2])
    (tmp_path / "tiny.pnb").write_bytes(blob)
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    assert models.names() == ["tiny"]
    assert models.resolve("tiny") == tmp_path / "tiny.pnb"
    assert models.resolve("tiny.pnb") == Path("tiny.pnb")
    assert models.resolve("./tiny") == Path("tiny")
    assert models.resolve("folder/tiny") == Path("folder/tiny")
    assert patchnet.load("tiny").labels == model.labels
    with pytest.raises(FileNotFoundError):
        patchnet.load("tine")
    assert patchnet.load(tmp_path / "tiny.pnb").labels == model.labels


def test_classify_without_load_loads_the_default_place(monkeypatch, rgb):
    monkeypatch.setattr(api, "_model", None)
    with pytest.raises(FileNotFoundError, match="/rom/model.pnb"):
        patchnet.classify(rgb)


def test_nothing_outside_the_arena_is_touched(model, rgb):
    wanted = model.classify(rgb)
    whole = np.full(model.ram + 128, 0x5C, np.uint8)
    at = -whole.ctypes.data % 8 + 64
    blob = blobs.small(model.input_shape[2])
    assert Model(blob, memoryview(whole)[at : at + model.ram]).classify(rgb) == wanted
    assert (whole[:at] == 0x5C).all() and (whole[at + model.ram :] == 0x5C).all()
    assert (whole[at : at + model.ram] != 0x5C).any()


def test_an_arena_in_use_cannot_be_resized(model):
    arena = bytearray(model.ram + 8)
    with Model(blobs.small(model.input_shape[2]), arena), pytest.raises(BufferError):
        arena.append(0)
    arena.append(0)


def test_a_model_in_use_is_busy(model, rgb, monkeypatch):
    wanted, tries = model.classify(rgb), []

    def meddle(_):
        for act in (model.deinit, lambda: model.predict(rgb), lambda: model.classify(rgb)):
            with pytest.raises(RuntimeError, match="model is busy"):
                act()
            tries.append(act)
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(engine(), "pn_state", meddle)  # which is called while it runs
        assert model.classify(rgb) == wanted
    assert tries


class Camera:
    """Gives black windows, the first when it may; `began` is set before it."""

    def __init__(self):
        self.began, self.may = threading.Event(), threading.Event()

    def width(self):
        return 40

    height = width

    def window(self, x, y, w, h):
        self.began.set()
        assert self.may.wait(PATIENT)
        return Image(w, h, GRAYSCALE, bytes(w * h))


def test_threads_may_not_share_an_arena_at_the_same_time(model):
    blob, black = blobs.small(model.input_shape[2]), Image(40, 40, GRAYSCALE, bytes(1600))
    arena, wanted = bytearray(model.ram + 8), model.predict(black)
    first, second, apart = Model(blob, arena), Model(blob, arena), Model(blob)
    cameras, runs = [Camera(), Camera()], []
    with ThreadPoolExecutor() as pool:
        for m, camera in zip((first, apart), cameras, strict=True):
            runs.append(pool.submit(m.predict, camera))
            assert camera.began.wait(PATIENT)
        with pytest.raises(RuntimeError, match="^arena is in use$"):
            second.predict(black)
        for run, camera in zip(runs, cameras, strict=True):  # the one that began first ends first
            camera.may.set()
            assert run.result(PATIENT) == wanted
            assert second.predict(black) == wanted


def test_a_model_whose_file_does_not_close_is_closed(model, tmp_path, monkeypatch):
    path = tmp_path / "small.pnb"
    path.write_bytes(blobs.small(model.input_shape[2]))
    streamed = Model(path, stream=True)
    with monkeypatch.context() as patch, streamed._stream.file as file:
        patch.setattr(streamed._stream, "file", SimpleNamespace(close=lambda: 1 / 0))
        with pytest.raises(ZeroDivisionError):
            streamed.deinit()
    streamed.deinit()
    assert file.closed and repr(streamed) == "<Model closed>"


def test_a_failed_run_leaves_the_model_usable(model, rgb, monkeypatch):
    wanted = model.classify(rgb)
    with monkeypatch.context() as patch:
        patch.setattr(engine(), "pn_state", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model.classify(rgb)
    assert model.classify(rgb) == wanted


def test_profile_sums_to_the_time_taken(rgb):
    model = Model(blobs.long(1, 2))
    names, ops, times = zip(*model.profile(rgb), strict=True)
    assert names == ("layer 0", "layer 1", "layer 2", "head")
    assert ops == ("conv 3x3 stride 1", *["bottleneck 5x5 stride 1"] * 2, "pool, dense")
    assert all(t > 1000 for t in times[1:3])


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_zero_points_of_the_input(channels):
    """One of each channel of a picture, where they differ; other inputs have one alone."""
    layer = Layer("conv", 4, 4, channels, 0, 2, 1, 1)
    network = free_network("channels", ("a", "b"), 4, 4, channels, 1, False, chain=(layer,))
    qnet = random_qnet(np.random.default_rng(1), network)
    zeros = (7, 8, -9) if channels == 3 else (7,)
    assert Model(pack(replace(qnet, input_zero=zeros))).input_zero_point == (zeros if channels == 3 else 7)
