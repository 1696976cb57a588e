"""What `analyze` counts against what plan, pack and the engine do, and against figures worked out by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cases import random_plan
from networks import KEEP_ZERO, random_network, random_qnet
from patchnet import Model
from patchnet import format as fmt
from patchnet.blob.order import fast_layers
from patchnet.blob.pack import pack, seal
from patchnet.blob.unpack import read
from patchnet.net.layers import Layer
from patchnet.net.recipe import Stage, patch_tunnels
from patchnet.net.search import design
from patchnet.net.toml import to_dict, write_toml
from patchnet.plan import choice
from patchnet.plan.choice import plan
from patchnet.plan.modes import DIRECT, GROUPS, MODE_NAMES, ROLLING, STORED
from patchnet.plan.place import areas, place
from patchnet.report import analyze, plots, tables
from patchnet.report.analyze import KINDS, blob_bytes, layer_by_layer
from patchnet.report.narrower import narrower
from patchnet.tasks.classify.end import Pooled

TINY = patch_tunnels(
    "tiny", ("a", "b"), 16, 12, k=4, margin_h=2, margin_w=2, stem_out=4, stages=(Stage(4, 1, 1, 3), Stage(6, 1, 2, 1)),
)  # fmt: skip
FUSED = place(TINY, [(5, [(DIRECT, 1, 0), (ROLLING, 1, 0)]), (3, [(DIRECT, 1, 0)])])
STRIPS = place(TINY, [(3, [(DIRECT, 1, 0), (GROUPS, 2, 5)]), (3, [(DIRECT, 1, 0)])])


def written(tmp_path, blob: bytes, name: str = "net.pnb"):
    path = tmp_path / name
    path.write_bytes(blob)
    return path


def stored_layers(blob: bytes) -> int:
    """How many different layers' arrays are in a blob. Maximum pooling has none."""
    info = read(blob)
    params = fmt.PARAM.unpack_all(blob, info.header["param_off"], len(info.patches) * len(info.layers))
    return len({param["weight_off"] for param in params if param["weight_off"]})


def text(table) -> str:
    """A rich table without colours."""
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as out:
        console.print(table)
    return out.get()


# ---------------------------------------------------------------- the plan's figures


@pytest.mark.parametrize("seed", range(40))
def test_blob_and_design_agree_with_plan_pack_and_engine(seed, tmp_path):
    rng = np.random.default_rng(seed)
    qnet = random_qnet(rng, random_network(rng, 200_000))
    chosen = random_plan(rng, qnet.design)
    blob = pack(qnet, chosen)
    seen = analyze.analyze(written(tmp_path, blob))
    assert seen.arena == Model(blob).ram == max(b.live for b in seen.blocks)
    assert seen.blob_bytes == len(blob)
    if stored_layers(blob) == seen.tunnels * sum(layer.kind not in KEEP_ZERO for layer in qnet.design.layers()):
        assert len(blob) == blob_bytes(qnet.design, chosen)
    else:  # by chance two layers are equal, and stored once
        assert len(blob) < blob_bytes(qnet.design, chosen)
    assert [(b.mode, b.rows, b.group, b.lines) for b in seen.blocks[:-1]] == [
        (MODE_NAMES[s.mode], s.rows, s.group, s.lines) for s in chosen.steps
    ]
    designed = analyze.analyze_network(qnet.design, chosen)
    assert (designed.blocks, designed.segments) == (seen.blocks, seen.segments)
    assert (designed.macs, designed.executed_macs, designed.tunnels) == (seen.macs, seen.executed_macs, seen.tunnels)


@pytest.mark.parametrize("seed", range(60))
def test_live_bytes_are_those_of_the_places(seed):
    """Everything that lives with a block ends where its work does: nothing is left out, nothing is counted twice."""
    rng = np.random.default_rng([7, seed])
    network = random_network(rng)
    chosen = random_plan(rng, network)
    a = analyze.analyze_network(network, chosen)
    for i, (segment, record) in enumerate(zip(a.segments, chosen.segments, strict=True)):
        assert (segment.first, segment.layers, segment.strip) == (record.first, record.layers, record.strip)
        assert segment.live == record.work_at + segment.work == areas(network, chosen, i).total
        part = a.blocks[segment.first : segment.first + segment.layers]
        assert max(b.live for b in part) == segment.live and {b.segment for b in part} == {i}
        for b, step in zip(part, chosen.steps[segment.first :], strict=False):
            assert 0 <= b.live - record.work_at - b.sums - b.scratch < 8
            assert max(step.ring_at + b.ring, step.wide_at + b.wide_ring) <= record.state_at
    for b in a.blocks:
        assert set(b.alive) == set(KINDS) and min(b.alive.values()) >= 0 and sum(b.alive.values()) == b.live
        assert b.alive["other"] < 4 * (2 + 2 * len(a.blocks)) or a.segments[b.segment].overlap == 0
    (bound,) = (b for b in a.blocks if b.binding)
    assert a.arena == (bound.live if bound.segment is None else a.segments[bound.segment].live)
    assert all(s.binding == (bound.segment is not None and s.live == a.arena) for s in a.segments)


def test_figures_by_hand():
    """Patches of 10 x 8, stem to 5 x 4 x 4, block 1 (t 3, residual), block 2 (no expansion, stride 2) to 3 x 2 x 6."""
    a = analyze.analyze_network(TINY, FUSED)
    stem, one, two, end = a.blocks
    assert [b.name for b in a.blocks] == ["stem", "block 1", "block 2", "fc"]
    assert [b.mode for b in a.blocks] == ["direct", "rolling", "direct", ""]
    assert (stem.shape_in, stem.shape_out) == ((10, 8, 3), (5, 4, 4))
    assert (one.shape_out, two.shape_out, end.shape_in, end.shape_out) == ((5, 4, 4), (3, 2, 6), (1, 1, 6), (1, 1, 2))
    assert stem.macs == 20 * 9 * 3 * 4
    assert one.macs == 20 * 4 * 12 + 20 * 12 * 9 + 20 * 12 * 4
    assert two.macs == 6 * 4 * 9 + 6 * 4 * 6
    assert a.macs == a.executed_macs == 5 * (stem.macs + one.macs + two.macs) + 6 * 2
    assert a.weights == 5 * (108 + 48 + 108 + 48 + 36 + 24) + 12
    assert a.paper_accounting == 10 * 8 * 3 + 5 * 4 * 4
    assert a.layerwise == 20 * 12 * 2 + 80  # block 1's depthwise convolution, the input kept for the residual


def test_bytes_by_hand():
    """A ring of 3 sampled rows, one of 2 rows for the residual, one of 3 expanded rows; sums of 5 tunnels below."""
    a = analyze.analyze_network(TINY, FUSED)
    stem, one, two, end = a.blocks
    assert (stem.lines, stem.ring, stem.map_in, stem.map_out) == (3, 3 * 8 * 3, 0, 0)
    assert (one.lines, one.ring, one.wide_ring, one.scratch, one.map_out) == (2, 2 * 4 * 4, 3 * 4 * 12, 12, 80)
    assert (two.map_in, two.map_out, two.scratch) == (80, 0, 4 + 2 * 6)
    assert stem.live == a.arena == 24 + 80 + 72 + 32 + 144 + 2 * 60 + stem.scratch
    assert stem.scratch == (8 * 4 + 4) * 7  # 7 fours of values of a window, 4 pixels at a time, and one more
    assert one.live == stem.live - stem.scratch + 12
    assert two.live == 24 + 8 + 80 + 60 + 4 + 12
    assert end.live == 24 + 8 + 4
    fused, last = a.segments
    assert (fused.layers, fused.strips, fused.rings, fused.live, fused.binding) == (2, 1, 72 + 32, a.arena, True)
    assert (last.first, last.layers, last.map_in, last.live, last.binding) == (2, 1, 80, two.live, False)
    assert stem.binding and not one.binding


def test_strips_by_hand():
    """Output rows 0..2 and 3..4 of block 1 need its input rows 0..3 and 2..4: seven rows of the stem, not five. A strip
    is made in columns, two at a time: a chunk expands the column before and the one after it again."""
    a = analyze.analyze_network(TINY, STRIPS)
    stem, one, two, _ = a.blocks
    assert stem.executed_macs == stem.macs // 5 * 7
    columns = 3 + 3  # of 4: 0..2 for chunk 0, 1; 1..3 for chunk 2, 3
    assert one.executed_macs == 7 * columns * 4 * 12 + 20 * 12 * 9 + 20 * 12 * 4
    assert one.sums == 4 * 2 * 3 * 4  # two columns of three rows
    assert one.scratch == 3 * 4 * 5 + 5  # three columns of four rows, 5 channels at a time, and these channels' values
    assert a.executed_macs == 5 * (stem.executed_macs + one.executed_macs + two.macs) + 12
    assert (a.segments[0].strip, a.segments[0].strips) == (3, 2)


def test_overlapping_maps_are_counted_once():
    network = patch_tunnels("line", ("a",), 8, 8, 1, 1, False, stem_out=4, stem_stride=1, stages=(Stage(4, 2, 1, 4),))
    schedule = [(8, [(DIRECT, 1, 0)]), (8, [(STORED, 1, 4)]), (8, [(STORED, 1, 4)])]
    over, beside = (analyze.analyze_network(network, place(network, schedule, packed)) for packed in (True, False))
    row, all_rows = 8 * 4, 8 * 8 * 4
    assert over.segments[1].overlap == all_rows - row and beside.segments[1].overlap == 0
    assert over.blocks[1].alive["map_in"] == all_rows and over.blocks[1].alive["map_out"] == row
    assert beside.blocks[1].live - over.blocks[1].live == all_rows - row


@pytest.mark.parametrize("aggregate", ["sum", "concat"])
def test_many_classes_bind_at_the_end(aggregate):
    many = replace(TINY, labels=tuple(map(str, range(1000))), end=Pooled(aggregate))
    a = analyze.analyze_network(many, plan(many))
    assert [b.name for b in a.blocks if b.binding] == ["fc"] and not any(s.binding for s in a.segments)
    assert a.arena == plan(many).arena_bytes == a.blocks[-1].live > 2000
    assert a.blocks[-1].alive["logits"] == 2000


def test_layer_by_layer_memory():
    block = Layer("bottleneck", 8, 8, 4, 24, 6, 3, 2, True, False)
    assert layer_by_layer(block) == (("expand", 256 + 1536), ("depthwise", 1536 + 384), ("project", 384 + 96))
    residual = replace(block, stride=1, cout=4, residual=True)
    assert layer_by_layer(residual)[1:] == (("depthwise", 1536 + 1536 + 256), ("project", 1536 + 256 + 256))
    assert layer_by_layer(Layer("conv", 8, 8, 3, 0, 5, 3, 2)) == (("conv", 192 + 80),)
    assert layer_by_layer(replace(block, expand=False, cexp=4)) == (("depthwise", 256 + 64), ("project", 64 + 96))


# ---------------------------------------------------------------- weights, flash


def test_shared_weights_are_counted_once(tmp_path):
    qnet = random_qnet(np.random.default_rng(3), TINY)
    own = replace(qnet, tunnels=tuple(random_qnet(np.random.default_rng(i), TINY).tunnels[0] for i in range(5)))
    # chains end with one zero point: give all that of the first
    zero = own.tunnels[0][-1].zero_out
    own = replace(own, tunnels=tuple((*t[:-1], replace(t[-1], zero_out=zero)) for t in own.tunnels))
    assert analyze.analyze(written(tmp_path, pack(own))).weights == TINY.weights
    blob = bytearray(pack(own))
    h = read(blob).header
    step = h["layers"] * analyze.fmt.PARAM.size
    first = bytes(blob[h["param_off"] : h["param_off"] + step])
    blob[h["param_off"] : h["param_off"] + 5 * step] = first * 5
    assert analyze.analyze(written(tmp_path, seal(blob))).weights == 108 + 48 + 108 + 48 + 36 + 24 + 12


def test_narrower_numbers(tmp_path):
    """Bits of a sum are known where there are weights; the bytes are 1 of 4 of a sum and half of a stored map."""
    qnet = random_qnet(np.random.default_rng(5), TINY)
    seen = analyze.analyze(written(tmp_path, pack(qnet, STRIPS))).narrower
    designed = analyze.analyze_network(TINY, STRIPS).narrower
    assert seen == tuple(narrower(TINY, STRIPS, qnet)[1:2])
    assert [(n.layer, n.sums, n.map) for n in seen] == [(1, 2 * 3 * 4, 40)]
    assert 8 < seen[0].sum_bits <= 32 and designed == (replace(seen[0], sum_bits=None),)
    assert "24 B" in text(tables.narrower(analyze.analyze_network(TINY, STRIPS)))


# ---------------------------------------------------------------- where a network comes from


def test_budget_replans(tmp_path):
    qnet = random_qnet(np.random.default_rng(1), TINY)
    path = written(tmp_path, pack(qnet, choice.smallest(TINY, fast=fast_layers(qnet))))
    least = analyze.analyze(path)
    more = analyze.analyze(path, budget=least.arena * 2)
    assert more.smallest == least.arena < more.arena <= 2 * least.arena
    assert least.smallest is None, "nothing was planned"
    assert more.macs == least.macs <= more.executed_macs <= least.executed_macs and more.cost < least.cost
    assert more.blob_bytes == least.blob_bytes + fmt.SEGMENT.size * (len(more.segments) - len(least.segments))
    with pytest.raises(ValueError, match=r"needs [\d,]+ B at least \(.*\), budget 100 B"):
        analyze.analyze(path, budget=100)


def test_front(tmp_path):
    qnet = random_qnet(np.random.default_rng(1), TINY)
    path = written(tmp_path, pack(qnet))
    a, points = analyze.analyze(path, pareto=True), choice.front(TINY, fast=fast_layers(qnet))
    assert [(c.arena, c.executed_macs) for c in a.front] == [(p.arena_bytes, p.macs) for p in points]
    assert (a.arena, a.executed_macs) in {(c.arena, c.executed_macs) for c in a.front} and a.cost > 0
    own = next(c for c in a.front if c.arena == a.arena)
    assert (own.cost, own.segments, own.times) == (a.cost, len(a.segments), a.executed_macs / a.macs)
    assert a.smallest == a.front[0].arena and replace(a, front=None, smallest=None) == analyze.analyze(path)
    shown = text(tables.front(a))
    assert f"{a.front[0].arena:,} B" in shown and f"{a.front[-1].arena:,} B" in shown and shown.count("<") == 2
    many = replace(a, front=tuple(replace(own, arena=own.arena + i) for i in range(500)))
    assert tables.front(many).row_count <= tables.FRONT_ROWS + 1


def test_named_shapes():
    a = analyze.analyze("vww-18k", budget=9_000)
    assert (a.name, a.source, a.paper_accounting, a.tunnels) == ("vww-18k", "design", 17_640, 5)
    assert a.smallest < a.arena <= 9_000 and a.executed_macs < 1.2 * a.macs
    b = analyze.analyze("vww-18k", budget=9_000, by="instructions")
    assert b.arena <= 9_000 and b.executed_macs > a.executed_macs and (b.by, b.cost > b.macs) == ("instructions", True)


def test_toml_designs(tmp_path):
    path = tmp_path / "some.toml"
    path.write_text(write_toml({"name": "exp", "train": "x", "network": {**to_dict(TINY), "name": "tiny"}}))
    assert analyze.analyze(path).blocks == analyze.analyze_network(TINY, plan(TINY)).blocks
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


# ---------------------------------------------------------------- for people and for programs


def test_json_and_text_tell_the_same():
    a = analyze.analyze_network(TINY, STRIPS)
    values = json.loads(json.dumps(analyze.to_dict(a)))
    assert {"arena", "paper_accounting", "layerwise", "macs", "executed_macs", "weights", "blob_bytes"} <= set(values)
    assert {"mode", "segment", "live", "ring", "sums", "macs", "executed_macs", "binding"} <= set(values["blocks"][0])
    assert values["blocks"][1]["shape_in"] == [5, 4, 4] and values["segments"][0]["strips"] == 2
    summary = "\n".join(tables.summary(a))
    names = ("arena", "paper_accounting", "layerwise", "macs", "executed_macs", "blob_bytes")
    assert all(f"{values[key]:,}" in summary for key in names)
    assert "bound by stem of stem .. block 1" in summary


def test_table_ties_segments_together():
    a = analyze.analyze_network(TINY, STRIPS)
    lines = [line for line in text(tables.blocks(a)).splitlines() if "x" in line and ">" in line]
    assert [line[:3].strip() for line in lines] == ["┌", "└", "", ""]
    assert "2x3 rows" in lines[0] and "rows" not in lines[1] and "groups" in lines[1]
    assert [" < " in line for line in lines] == [b.binding for b in a.blocks]
    assert all(f"{b.live:,}" in line for b, line in zip(a.blocks, lines, strict=True))


def test_designs_are_described():
    (best, *_) = found = design(("a", "b"), 32, 32, 6000, ks=(4,), max_macs=2_000_000, top=2)
    d = analyze.describe(best)
    a = analyze.analyze_network(best.network, plan(best.network))
    assert d["paper_accounting"] <= 6000 and (d["k"], d["tunnels"]) == (4, 5)
    assert all(d[key] == getattr(a, key) for key in ("macs", "arena", "weights", "blob_bytes"))
    assert tables.designs([analyze.describe(c) for c in found]).row_count == 2


def colours(path) -> set:
    return {colour for _, colour in Image.open(path).convert("RGB").getcolors(1 << 24)}


def rgb(colour: str) -> tuple:
    return tuple(bytes.fromhex(colour[1:]))


def test_plot_shows_each_kind_of_memory(tmp_path):
    plots.memory(replace(analyze.analyze_network(TINY, FUSED), budget=600), tmp_path / "m.png")
    plots.memory(analyze.analyze_network(TINY, STRIPS), tmp_path / "s.png")
    seen, other = colours(tmp_path / "m.png"), colours(tmp_path / "s.png")
    for kind in ("features", "map_in", "map_out", "rings", "wide_rings", "state", "scratch", "logits"):
        assert rgb(plots.COLOURS[kind]) in seen, kind
    assert rgb(plots.COLOURS["sums"]) in other - seen
    assert rgb(plots.BUDGET) in seen - other and rgb(plots.PAPER) in seen


def test_plot_of_the_front(tmp_path):
    a = analyze.with_front(analyze.analyze_network(TINY, plan(TINY)), choice.front(TINY))
    plots.front(replace(a, budget=600), tmp_path / "f.png")
    assert {rgb(plots.PAPER), rgb(plots.BUDGET), (0, 0, 0)} <= colours(tmp_path / "f.png")
