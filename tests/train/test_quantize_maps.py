"""Raw networks and heat maps with real weights: calibrated to integers, and not trained here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from networks import free_network
from patchnet import Model
from patchnet.blob.pack import pack
from patchnet.net.layers import Layer
from patchnet.net.network import Network
from patchnet.net.toml import to_dict, write_toml
from patchnet.tasks.heatmap.answers import ANSWERS
from patchnet.tasks.heatmap.end import HeatMap
from patchnet.tasks.raw.end import LastMap
from patchnet.train import loop, modules, quantize

CHAIN = (
    Layer("conv", 24, 32, 3, 0, 8, 3, 2),
    Layer("bottleneck", 12, 16, 8, 24, 12, 3, 2, True),
    Layer("conv", 6, 8, 12, 0, 3, 1, 1, act="none"),
)


def network(end) -> Network:
    labels = ("nothing", "a", "b") if end.task == "heatmap" else ()
    shell = free_network("maps", ("a",), 24, 32, 3, 1, False, chain=CHAIN)
    return replace(shell, end=end, labels=labels)


def made(end, seed: int = 0) -> tuple[modules.Tunnels, np.ndarray]:
    torch.manual_seed(seed)
    pictures = np.random.default_rng(seed).integers(0, 256, (24, 24, 32, 3), np.uint8)
    return modules.build(network(end)).eval(), pictures


@pytest.mark.parametrize("end", [LastMap(), HeatMap()])
def test_integers_give_the_float_map(end):
    model, pictures = made(end)
    m = Model(pack(quantize.quantized(model, pictures)))
    assert m.task == end.task and m.output_shape == (6, 8, 3)
    wanted = model.predict(pictures)
    got = np.stack([np.frombuffer(m.predict(x), np.int8).reshape(6, 8, 3) for x in pictures]).astype(float)
    real = (got - m.output_zero_point) * m.output_scale
    assert np.abs(real - wanted).mean() < 0.05 * wanted.std()


def test_the_float_network_finds_what_the_integers_find():
    model, pictures = made(HeatMap())
    m = Model(pack(quantize.quantized(model, pictures)))
    asked = ANSWERS.options(0.5, 0.45)
    rows = ANSWERS.of_float(model, list(pictures), asked)
    same = [len(row) == len(ANSWERS.of_host(m, x, m.labels, asked)) for row, x in zip(rows, pictures, strict=True)]
    assert any(map(len, rows)) and np.mean(same) > 0.6


def test_saved_and_loaded(tmp_path):
    model, pictures = made(HeatMap())
    modules.save_float(model, tmp_path / "float.npz")
    np.testing.assert_array_equal(modules.load_float(tmp_path).predict(pictures), model.predict(pictures))


def test_training_is_refused_in_one_line(tmp_path):
    values = {"name": "maps", "train": "digits", "network": to_dict(network(LastMap()))}
    (tmp_path / "maps.toml").write_text(write_toml(values))
    with pytest.raises(ValueError, match="^maps: networks of task raw are not trained here: import one with weights$"):
        loop.run(str(tmp_path / "maps.toml"), tmp_path / "run")
