"""What `analyze` counts against what plan, pack and the engine do, and against figures worked out by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from networks import random_network, random_qnet
from patchnet import Model, analyze, plots
from patchnet import format as fmt
from patchnet.analyze import KINDS, blob_bytes, layer_by_layer
from patchnet.design import Layer, Network, Stage, design, to_dict, write_toml
from patchnet.pack import pack, read, seal
from patchnet.plan import plan

TINY = Network(
    "tiny", ("a", "b"), 16, 12, k=4, margin_h=2, margin_w=2, stem_out=4, stages=(Stage(4, 1, 1, 3), Stage(6, 1, 2, 1)),
)  # fmt: skip


def written(tmp_path, blob: bytes, name: str = "net.pnb"):
    path = tmp_path / name
    path.write_bytes(blob)
    return path


def stored_layers(blob: bytes) -> int:
    """How many different layers' arrays are in a blob."""
    header = read(blob).header
    records = range(header["tunnels"] * header["layers"])
    params = (fmt.PARAM.unpack(blob, header["param_off"] + i * fmt.PARAM.size) for i in records)
    return len({param["weight_off"] for param in params})


@pytest.mark.parametrize("seed", range(40))
def test_blob_and_design_agree_with_pack_plan_and_engine(seed, tmp_path):
    rng = np.random.default_rng(seed)
    qnet = random_qnet(rng, random_network(rng, 200_000))
    chosen = plan(qnet.design, 2 * plan(qnet.design).arena_bytes) if seed % 2 else plan(qnet.design)
    blob = pack(qnet, chosen)
    seen = analyze.analyze(written(tmp_path, blob))
    assert seen.arena == Model(blob).ram == max(b.live for b in seen.blocks)
    assert seen.blob_bytes == len(blob)
    if stored_layers(blob) == seen.tunnels * len(chosen.steps):
        assert len(blob) == blob_bytes(qnet.design)
    else:  # by chance two layers are equal, and stored once
        assert len(blob) < blob_bytes(qnet.design)
    assert [(b.rows, b.group or b.shape_out[2]) for b in seen.blocks[:-1]] == [(s.rows, s.group) for s in chosen.steps]
    assert all(sum(getattr(b, kind) for kind in KINDS) == b.live for b in seen.blocks)
    assert all(getattr(b, kind) >= 0 for b in seen.blocks for kind in KINDS)
    assert {b.live for b in seen.blocks if b.binding} == {seen.arena}
    designed = analyze.analyze_network(qnet.design, chosen)
    assert designed.blocks == seen.blocks
    assert (designed.macs, designed.executed_macs, designed.tunnels) == (seen.macs, seen.executed_macs, seen.tunnels)


def test_figures_by_hand():
    """Patches of 10 x 8, stem to 5 x 4 x 4, block 1 (t 3, residual), block 2 (no expansion, stride 2) to 3 x 2 x 6."""
    a = analyze.analyze_network(TINY)
    stem, one, two, end = a.blocks
    assert [b.name for b in a.blocks] == ["stem", "block 1", "block 2", "pool, fc"]
    assert (stem.shape_in, stem.shape_out) == ((10, 8, 3), (5, 4, 4))
    assert (one.shape_out, two.shape_out) == ((5, 4, 4), (3, 2, 6))
    assert stem.macs == 20 * 9 * 3 * 4
    assert one.macs == 20 * 4 * 12 + 20 * 12 * 9 + 20 * 12 * 4
    assert two.macs == 6 * 4 * 9 + 6 * 4 * 6
    assert a.macs == 5 * (stem.macs + one.macs + two.macs) + 6 * 2
    assert a.weights == 5 * (108 + 48 + 108 + 48 + 36 + 24) + 12
    assert a.paper_accounting == 10 * 8 * 3 + 5 * 4 * 4
    assert (one.map_in, one.map_out, one.features, one.residual) == (80, 80, 24, True)
    assert end.shape_out == (1, 1, 2) and end.map_in == 36
    assert a.layerwise == 20 * 12 * 2 + 80  # block 1's depthwise convolution, the input kept for the residual


@pytest.mark.parametrize("aggregate", ["sum", "concat"])
def test_many_classes_bind_at_the_end(aggregate):
    many = replace(TINY, labels=tuple(map(str, range(1000))), aggregate=aggregate)
    a = analyze.analyze_network(many)
    assert [b.name for b in a.blocks if b.binding] == ["pool, fc"]
    assert a.arena == plan(many).arena_bytes == a.blocks[-1].live > 2000


def test_layer_by_layer_memory():
    block = Layer("bottleneck", 8, 8, 4, 24, 6, 3, 2, True, False)
    assert layer_by_layer(block) == (("expand", 256 + 1536), ("depthwise", 1536 + 384), ("project", 384 + 96))
    residual = replace(block, stride=1, cout=4, residual=True)
    assert layer_by_layer(residual)[1:] == (("depthwise", 1536 + 1536 + 256), ("project", 1536 + 256 + 256))
    assert layer_by_layer(Layer("conv", 8, 8, 3, 0, 5, 3, 2)) == (("conv", 192 + 80),)
    assert layer_by_layer(replace(block, expand=False, cexp=4)) == (("depthwise", 256 + 64), ("project", 64 + 96))


def test_shared_weights_are_counted_once(tmp_path):
    qnet = random_qnet(np.random.default_rng(3), TINY)
    own = replace(qnet, tunnels=tuple(random_qnet(np.random.default_rng(i), TINY).tunnels[0] for i in range(5)))
    # chains end with one zero point: give all that of the first
    zero = own.tunnels[0][-1].zero_out
    own = replace(own, tunnels=tuple((*t[:-1], replace(t[-1], zero_out=zero)) for t in own.tunnels))
    assert analyze.analyze(written(tmp_path, pack(own))).weights == analyze.analyze_network(TINY).weights
    blob = bytearray(pack(own))
    h = read(blob).header
    step = h["layers"] * analyze.fmt.PARAM.size
    first = bytes(blob[h["param_off"] : h["param_off"] + step])
    blob[h["param_off"] : h["param_off"] + 5 * step] = first * 5
    assert analyze.analyze(written(tmp_path, seal(blob))).weights == 108 + 48 + 108 + 48 + 36 + 24 + 12


def test_budget_replans(tmp_path):
    path = written(tmp_path, pack(random_qnet(np.random.default_rng(1), TINY)))
    least = analyze.analyze(path)
    more = analyze.analyze(path, budget=least.arena * 2)
    assert least.arena == least.smallest < more.arena <= 2 * least.arena
    assert more.macs == least.macs <= more.executed_macs < least.executed_macs
    with pytest.raises(ValueError, match=r"needs [\d,]+ B at least \(.*\), budget 100 B"):
        analyze.analyze(path, budget=100)


def test_toml_designs(tmp_path):
    path = tmp_path / "some.toml"
    path.write_text(write_toml({"name": "exp", "train": "x", "network": {**to_dict(TINY), "name": "tiny"}}))
    assert analyze.analyze(path).blocks == analyze.analyze_network(TINY).blocks
    path.write_text(write_toml(to_dict(TINY)))
    assert analyze.analyze(path).name == "tiny"
    path.write_text("height = [")
    with pytest.raises(ValueError, match="some.toml: not TOML"):
        analyze.analyze(path)
    path.write_text("height = 3\ndepth = 4\n")
    with pytest.raises(ValueError, match="unknown key 'depth'"):
        analyze.analyze(path)


def test_damaged_blob_is_refused_by_name(tmp_path):
    blob = bytearray(pack(random_qnet(np.random.default_rng(1), TINY)))
    blob[-1] ^= 1
    with pytest.raises(ValueError, match="net.pnb: .*CRC"):
        analyze.analyze(written(tmp_path, bytes(blob)))


def test_json_and_text_tell_the_same():
    a = analyze.analyze_network(TINY)
    values = json.loads(json.dumps(analyze.to_dict(a)))
    assert {"arena", "paper_accounting", "layerwise", "macs", "executed_macs", "weights", "blob_bytes"} <= set(values)
    assert values["blocks"][1]["shape_in"] == [5, 4, 4]
    text = "\n".join(analyze.summary(a))
    assert all(f"{values[key]:,}" in text for key in ("arena", "paper_accounting", "layerwise", "macs", "blob_bytes"))


def test_designs_are_described():
    (best, *_) = found = design(("a", "b"), 32, 32, 6000, ks=(4,), max_macs=2_000_000)
    d = analyze.describe(best)
    assert d["paper_accounting"] <= 6000 and (d["k"], d["tunnels"]) == (4, 5)
    assert d["macs"] == analyze.analyze_network(best.network).macs
    assert d["arena"] == plan(best.network).arena_bytes
    assert analyze.design_table(found).row_count == len(found)


def test_plot_shows_each_kind_of_memory(tmp_path):
    a = analyze.analyze_network(TINY, budget=4096)
    plots.memory(a, tmp_path / "m.png")
    pixels = {tuple(p) for p in np.asarray(Image.open(tmp_path / "m.png").convert("RGB")).reshape(-1, 3).tolist()}
    for kind in ("map_in", "map_out", "sums", "ring", "features"):
        assert tuple(bytes.fromhex(plots.COLOURS[kind][1:])) in pixels, kind
    assert (0xE4, 0x57, 0x56) in pixels, "budget"
