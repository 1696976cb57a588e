"""A blob read back gives what was packed."""

import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from cases import random_plan
from networks import random_merging, random_network, random_qnet
from patchnet import format as fmt
from patchnet.blob.pack import pack
from patchnet.blob.quantized import QNet, Scaled
from patchnet.blob.unpack import blob_network, blob_plan, blob_qnet, read, read_blob
from patchnet.format import OLDEST, VERSION
from patchnet.net.layers import KINDS, Layer, pair


def same(a, b) -> bool:
    """Two layers, two parts of them, or two numbers."""
    if isinstance(a, Scaled) and isinstance(b, Scaled):
        return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("weight", "bias", "mult"))
    if is_dataclass(a) and not isinstance(a, Layer):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return a == b


OLD = sorted((Path(__file__).parents[1] / "golden" / "old").glob("*.pnb"))


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_other_versions_are_refused_by_what_to_do(path):
    """Blobs as versions before wrote them; those of this version are golden/*.pnb, with the bytes that they give."""
    version = int(path.read_bytes()[4])
    said = f"bad model: version {version} of the format, wanted {VERSION}: patchnet convert {path}"
    with pytest.raises(ValueError, match="^" + re.escape(f"{path}: {said}") + "$"):
        read_blob(path)


def test_an_engine_of_another_version_is_told(tmp_path, monkeypatch):
    """As after an update, until it is built again."""
    monkeypatch.setattr(fmt, "VERSION", VERSION + 1)
    (tmp_path / "a.pnb").write_bytes(OLD[-1].read_bytes()[:4] + bytes([VERSION + 1]) + OLD[-1].read_bytes()[5:])
    with pytest.raises(ValueError, match="the engine here is another version's: make setup in a clone, or install"):
        read_blob(tmp_path / "a.pnb")


@pytest.mark.parametrize("version", [OLDEST - 1, VERSION + 1])
def test_versions_that_cannot_be_converted_are_packed_again(version, tmp_path):
    (tmp_path / "a b.pnb").write_bytes(OLD[-1].read_bytes()[:4] + bytes([version]) + OLD[-1].read_bytes()[5:])
    newer = "a newer patchnet wrote it: renew this one, or " if version > VERSION else ""
    with pytest.raises(
        ValueError, match=f"of the format, wanted {VERSION}: {newer}pack it again .*patchnet pack RUN.$"
    ):
        read_blob(tmp_path / "a b.pnb")


@pytest.mark.parametrize("seed", range(40))
def test_shapes_integers_and_plan(seed):
    qnet, rng = network_of(seed)
    plan = random_plan(rng, qnet.design)
    blob = pack(qnet, plan)
    info, again = read(blob), blob_qnet(blob, "again")
    assert blob_plan(info) == plan and blob_network(info, "again") == again.design
    assert again.design.patches() == qnet.design.patches() and again.input_zero == qnet.input_zero
    a, b = again.end, qnet.end
    assert (a.pool, a.fc_shift, a.fc_zero_out) == (b.pool, b.fc_shift, b.fc_zero_out)
    assert same(a.fc, b.fc) and a.output_scale == np.float32(b.output_scale)
    assert again.design.end == qnet.design.end and again.design.sizes == qnet.design.sizes
    for got, wanted in zip(again.chains(), qnet.chains(), strict=True):
        for a, b in zip(got, wanted, strict=True):
            assert same(replace(a, shape=b.shape), b) and told(a.shape) == told(b.shape)


def told(layer: Layer) -> Layer:
    """What a blob tells of a layer: of its activation only whether a bottleneck has one, and all in full."""
    act = ("none" if layer.act == "none" else "relu6") if layer.kind == "bottleneck" else "none"
    sides = dict(kernel=pair(layer.kernel), stride=pair(layer.stride), pads=layer.pad, second=pair(layer.second))
    return replace(layer, act=act, **sides)


def network_of(seed: int) -> tuple[QNet, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return random_qnet(rng, (random_merging if seed % 8 == 7 else random_network)(rng, 200_000)), rng


def test_networks_are_of_all_kinds():
    layers = [layer for seed in range(40) for layer in network_of(seed)[0].design.layers()]
    assert {layer.kind for layer in layers} == set(KINDS)
    assert {layer.expand for layer in layers if layer.kind == "block"} == {False, True}
    assert any(layer.kh != layer.kw for layer in layers) and any(layer.pad[0] != layer.pad[1] for layer in layers)
