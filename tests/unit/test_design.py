"""Equations 1 to 3 of the paper, its own figures, and the search for a network under a budget."""

import json
import re
import tomllib
from dataclasses import replace

import pytest

import toys
from patchnet import cli
from patchnet.net.budget import bottleneck_bytes, check_budget, layer_bytes, paper_peak, plain_bytes
from patchnet.net.layers import Layer
from patchnet.net.recipe import PatchTunnels, Stage, patch_tunnels
from patchnet.net.search import design
from patchnet.net.toml import from_dict, read_experiment, recipe_from_dict, recipe_to_dict, to_dict, write_toml
from patchnet.plan import choice
from patchnet.tasks.classify.end import Pooled
from patchnet.tasks.detect.end import Detection, Scale, scales

VWW_RECIPE = PatchTunnels(
    "vww", ("no", "yes"), 66, 66, margin_h=9, margin_w=9, stem_out=16,
    stages=(Stage(24), Stage(32, 2, 2), Stage(48, 2, 2), Stage(64)),
)  # fmt: skip
VWW = VWW_RECIPE.network()


@pytest.mark.parametrize(
    ("side", "k", "margin", "patch"),
    [(224, 4, 18, 130), (66, 4, 9, 42), (66, 9, 4, 26), (66, 16, 3, 20), (66, 1, 9, 66), (65, 4, 0, 33)],
)
def test_patch_size_is_equation_1(side, k, margin, patch):
    network = patch_tunnels("n", ("a",), side, side, k=k, margin_h=margin, margin_w=margin)
    assert network.patch == (patch, patch)


@pytest.mark.parametrize("k", [1, 4, 9, 16])
@pytest.mark.parametrize("central", [True, False])
def test_patches_cover_the_picture_and_stay_inside(k, central):
    network = patch_tunnels("n", ("a",), 67, 50, k=k, central=central, margin_h=5, margin_w=3)
    ph, pw = network.patch
    seen = set()
    for y, x, *size in network.patches():
        assert 0 <= y <= 67 - ph and 0 <= x <= 50 - pw and size == [67, 50]
        seen |= {(i, j) for i in range(y, y + ph) for j in range(x, x + pw)}
    assert len(network.patches()) == k + central == network.tunnels
    assert len(seen) == 67 * 50


def test_paper_figure_for_imagenet():
    """63 KB (254 KB in float32): 130 x 130 x 3 + 65 x 65 x 3."""
    network = patch_tunnels("in", ("a",), 224, 224, margin_h=18, margin_w=18, stem_out=3)
    assert paper_peak(network) == 63_375
    assert paper_peak(network, bytes_per_element=4) == 253_500


def test_paper_figure_for_visual_wake_words():
    """17.6 KB: 21 x 21 x (16 + 24), above the stem's 42 x 42 x 3 + 21 x 21 x 16."""
    assert plain_bytes(VWW.layers()[0]) == 12_348
    assert paper_peak(VWW) == 17_640


def test_equation_3_adds_one_channel_after_each_inner_convolution():
    layer = Layer("bottleneck", 9, 7, 8, 48, 16, 3, 2, expand=True)
    assert (layer.oh, layer.ow) == (5, 4)
    assert bottleneck_bytes(layer) == 9 * 7 * 8 + 9 * 7 + 5 * 4 + 5 * 4 * 16
    assert bottleneck_bytes(layer, 4) == 4 * bottleneck_bytes(layer)
    unexpanded = replace(layer, expand=False, cexp=8)
    assert bottleneck_bytes(unexpanded) == bottleneck_bytes(layer) - 9 * 7
    wider = replace(layer, cexp=480)
    assert bottleneck_bytes(wider) == bottleneck_bytes(layer), "memory must not depend on the expansion"


def test_macs_and_weights_of_a_bottleneck():
    layer = Layer("bottleneck", 5, 5, 4, 12, 6, 3, 1, expand=True)
    assert layer.macs == 25 * (4 * 12 + 9 * 12 + 12 * 6)
    assert layer.weights == 4 * 12 + 9 * 12 + 12 * 6


@pytest.mark.parametrize(("aggregate", "features"), [("sum", 64), ("concat", 5 * 64)])
def test_macs_and_weights_of_a_picture_count_the_fully_connected_layer(aggregate, features):
    network = replace(VWW, end=Pooled(aggregate), labels=("no", "yes", "maybe"))
    layers = network.layers()
    assert network.macs == 5 * sum(layer.macs for layer in layers) + features * 3
    assert network.weights == 5 * sum(layer.weights for layer in layers) + features * 3


def test_budget_error_names_block_need_and_budget():
    with pytest.raises(ValueError, match="block 1: needs 18,522 B, budget 18,000 B"):
        check_budget(VWW, 18_000)
    check_budget(VWW, 18_522)


def test_plain_values_and_toml_round_trip():
    text = write_toml({"name": "x", "flip": True, "lr": 1e-3, "network": to_dict(VWW)})
    values = tomllib.loads(text)
    assert from_dict(values.pop("network")) == VWW
    assert values == {"name": "x", "flip": True, "lr": 1e-3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"marginh": 3}, "network: unknown key 'marginh'"),
        ({"stages": [{"out": 8, "m": 2}]}, "stage: unknown key 'm'"),
        ({"stages": [{"n": 2}]}, "stage: 'out' is missing"),
    ],
)
def test_wrong_keys_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        from_dict({**recipe_to_dict(VWW_RECIPE), **change})
    values = recipe_to_dict(VWW_RECIPE)
    del values["height"]
    with pytest.raises(ValueError, match="'height' is missing"):
        from_dict(values)


OUT_OF_RANGE = {
    "stem_out = 0": "stem_out: wanted 1 to 4096, got 0",
    "stem_out = -8": "stem_out: wanted 1 to 4096, got -8",
    "stem_out = 8.5": "stem_out: wanted a whole number, got 8.5",
    "stem_kernel = 16": "stem_kernel: wanted 1 to 15, got 16",
    "stem_stride = 0": "stem_stride: wanted 1 to 15, got 0",
    "head = -1": "head: wanted 0 to 4096, got -1",
    "std = 0": "std: wanted more than 0, at most 10000, got 0",
    "std = nan": "std: wanted a number, got nan",
    "height = 9999": "height: wanted 1 to 4096, got 9999",
    "k = 5": "k: wanted 1, 4, 9 or 16, got 5",
    "channels = 2": "channels: wanted 1 or 3, got 2",
    "mean = [1, 2, 300]": "mean: wanted 0 to 255, got [1, 2, 300]",
    "margin_h = -1": "margin_h: wanted 0 to 4096, got -1",
    "margin_h = 40": "margin_h: wanted 33 or less, for 2 patches in 66 pixels, got 40",
    "labels = []": "labels: wanted one or more, got none",
    'act = "gelu"': "act: wanted relu6, relu or none, got 'gelu'",
    "stages = [{out = 0}]": "stage: out: wanted 1 to 4096, got 0",
    "stages = [{out = 8, t = -1}]": "stage: t: wanted 0 to 255, got -1",
    "stages = [{out = 8, n = 0}]": "stage: n: wanted 1 to 255, got 0",
    "stages = [{out = 8, stride = 0}]": "stage: stride: wanted 1 to 15, got 0",
    "stages = [{out = 8, kernel = 4}]": "stage: kernel: wanted 1, 3, 5 or 7, got 4",
    "stages = [8]": "stage: wanted a table, got 8",
    "coarse = 2": "coarse: wanted true or false, got 2",
    "k = 16\ncoarse = true": "coarse: wanted 17 tunnels or less, got 18",
    "coarse = true\ndetection = {scales = []}": "coarse: wanted none where a grid's maps are stitched, got True",
    "places = [[0, 0, 33]]": "places: wanted a list of a list (a whole number, a whole number, a whole number, a whole "
    "number), got [[0, 0, 33]]",
    "places = [[0, 0, 0, 33]]": "wanted a patch of 33 x 33 inside 0 x 33, got one at 0, 0",
    "places = [[0, 34, 66, 66]]": "wanted a patch of 33 x 33 inside 66 x 66, got one at 0, 34",
    "places = [[0, 0, 33, 67]]": "wanted patches in pictures of at most 66 x 66, got 33 x 67",
    f"places = {[[0, 0, 66, 66]] * 17}": "places: wanted 17 tunnels or less, got 18",
    "places = [[0, 0, 9, 9]]\ndetection = {scales = []}": "places: wanted none where a grid's maps are stitched, got "
    "((0, 0, 9, 9),)",
    "merged = [{out = 0}]": "stage: out: wanted 1 to 4096, got 0",
    "merged = [{out = 8}]\ncoarse = true": "coarse: wanted none where a grid's maps are stitched, got True",
    "merged = [{out = 8}]\ndetection = {scales = []}": "merged: is for networks that classify pictures, not for task "
    "detect",
    'merged = [{out = 8}]\nmargin_h = 9\nmargin_w = 9\naggregate = "concat"': "aggregate: wanted sum where tunnels "
    "merge, got concat",
    "repeat = 0": "repeat: wanted 1 to 17, got 0",
    "repeat = 4": "repeat: wanted 17 tunnels or less, got 20",
    "repeat = 2\ndetection = {scales = []}": "repeat: wanted 1 where a grid's maps are stitched, got 2",
    "base = 3": "base: wanted the name of an experiment in FOLDER, got 3",
    'base = "none"': "base: wanted the name of an experiment in FOLDER, got 'none'",
    'base = "some"': "base: 'some' has it as its base",
}


@pytest.mark.parametrize("wrong", OUT_OF_RANGE)
def test_what_is_out_of_range_is_told_with_file_and_key(wrong, tmp_path, capsys):
    given = {"labels": '["no", "yes"]', "height": "66", "width": "66"}
    given |= dict([wrong.split(" = ", 1)])
    path = tmp_path / "some.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in given.items()))
    assert cli.main(["analyze", str(path)]) == cli.USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"patchnet: {path}: ") and line.endswith(
        OUT_OF_RANGE[wrong].replace("FOLDER", str(tmp_path))
    )


def test_an_experiment_with_a_base_says_the_rest(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "one.toml").write_text('name = "one"\nlr = 1\n[network]\nlabels = ["a"]\nheight = 9\nwidth = 9\n')
    (tmp_path / "below" / "two.toml").write_text('base = "../one"\nlr = 2\n[network]\nwidth = 8\n')
    (tmp_path / "below" / "three.toml").write_text('base = "two"\nname = "three"\n[network]\nstem_out = 5\n')
    values = read_experiment(tmp_path / "below" / "three.toml")
    wanted = {"labels": ["a"], "height": 9, "width": 8, "stem_out": 5}
    assert values == {"name": "three", "lr": 2, "network": wanted}
    assert "name" not in read_experiment(tmp_path / "below" / "two.toml")
    (tmp_path / "one.toml").write_text('base = "below/three"\n')
    with pytest.raises(ValueError, match="two.toml: base: '../one' has it as its base"):
        read_experiment(tmp_path / "one.toml")


def test_tunnels_may_see_the_same():
    network = patch_tunnels("n", ("a",), 66, 66, k=1, central=False, repeat=3)
    assert network.patches() == [(0, 0, 66, 66)] * 3 and network.patch == (66, 66)
    twice = patch_tunnels("n", ("a",), 66, 66, margin_h=9, margin_w=9, repeat=2)
    assert twice.patches() == patch_tunnels("n", ("a",), 66, 66, margin_h=9, margin_w=9).patches() * 2


def test_tunnels_that_merge():
    recipe = replace(VWW_RECIPE, stages=(Stage(16, 1, 2),), merged=(Stage(24, 2, 2), Stage(32)), head=64)
    network = recipe.network()
    assert [layer.cout for layer in network.chain] == [recipe.stem_out, 16]
    assert (
        network.end.map == (17, 17) and network.tail()[0].h == 17 and network.features == 64 == network.tail()[-1].cout
    )
    assert from_dict(tomllib.loads(write_toml(recipe_to_dict(recipe)))) == network
    assert from_dict(json.loads(json.dumps(to_dict(network)))) == network
    with pytest.raises(ValueError, match="float32 is not for networks of task classify whose tunnels merge"):
        network.float32()
    for wrong in (dict(sizes=((66, 66),) * 5), dict(readouts=()), dict(end=replace(network.end, places=()))):
        with pytest.raises(ValueError, match="patches in one picture|readouts: wanted 1|places: wanted 5"):
            replace(network, **wrong).check()


def test_patches_of_other_sizes():
    shape = dict(margin_h=9, margin_w=9)
    plain, coarse = (patch_tunnels("n", ("a",), 66, 66, coarse=some, **shape) for some in (False, True))
    assert plain.sizes is None and coarse.patches() == [*plain.patches(), (0, 0, 42, 42)] and coarse.patch == (42, 42)
    assert choice.plan(coarse).segments == choice.plan(plain).segments
    recipe = replace(VWW_RECIPE, places=((0, 0, 66, 66), (8, 3, 50, 60)), central=False, coarse=True, repeat=2)
    network = recipe.network()
    assert network.patches() == [(0, 0, 66, 66), (8, 3, 50, 60), (0, 0, 42, 42)] * 2
    assert from_dict(tomllib.loads(write_toml(recipe_to_dict(recipe)))) == network
    assert from_dict(json.loads(json.dumps(to_dict(network)))) == network and "sizes" not in to_dict(plain)
    same = replace(recipe, places=((0, 0, 66, 66),), coarse=False).network()
    assert same.sizes is None, "a blob needs no sizes where all are the picture's"


@pytest.mark.parametrize(("side", "budget"), [(66, 18_000), (96, 16_384), (224, 65_536)])
def test_designed_networks_keep_the_budget(side, budget):
    found = design(("a", "b"), side, side, budget)
    assert found
    for candidate in found:
        layers = candidate.network.layers()
        assert candidate.peak == max(map(layer_bytes, layers)) <= budget
        assert (candidate.macs, candidate.weights) == (candidate.network.macs, candidate.network.weights)
        assert candidate.network.end.aggregate == "sum" and layers[-1].oh <= 7
    assert found == sorted(found, key=lambda c: c.macs, reverse=True)


def test_more_memory_gives_no_smaller_network():
    macs = [design(("a", "b"), 96, 96, budget, ks=(4,))[0].macs for budget in (12_288, 18_432, 32_768)]
    assert macs == sorted(macs) and macs[0] < macs[-1]


def test_margins_of_a_narrow_picture():
    """By default they fit its shorter side."""
    assert all(c.recipe.margin_h <= 40 // 7 for c in design(("a", "b"), 240, 40, 18_432))


def test_mac_limit_is_kept():
    limit = 20_000_000
    assert all(c.macs <= limit for c in design(("a", "b"), 66, 66, 18_000, max_macs=limit))
    with pytest.raises(ValueError, match="MACs, wanted at most 1,000"):
        design(("a", "b"), 66, 66, 18_000, max_macs=1_000)


def test_infeasible_budget_names_the_block():
    with pytest.raises(ValueError, match=r"block 0: needs [0-9,]+ B, budget 2,048 B"):
        design(("a", "b"), 224, 224, 2_048)
    with pytest.raises(
        ValueError, match=r"wanted a margin of 0 or more than one patch, got margins \(9,\) and k \(1,\)"
    ):
        design(("a", "b"), 66, 66, 18_000, ks=(1,), margins=(9,))


def told(capsys, *args):
    """What `patchnet design` prints as JSON; of what is wrong, its one line."""
    status = cli.main(["design", *map(str, args), "--json"])
    out, err = capsys.readouterr()
    return json.loads(out) if status == 0 else err.splitlines()[-1]


def test_designs_for_data_keep_to_real_budgets(tmp_path, capsys):
    folder, out = toys.folder(tmp_path / "squares", 12), tmp_path / "d.toml"
    limits = ("--flash", "60K", "--ms", 20, "--max-macs", "4M")
    found = told(capsys, "--ram", "10K", *limits, "--data", folder, "--pick", 2, "-o", out)
    assert 2 <= len(found) <= 4
    for one in found:
        plan = choice.plan(recipe_from_dict(one["recipe"]).network(), 10 << 10)
        assert one["arena"] == plan.arena_bytes <= 10 << 10 and one["flash"] <= 60 << 10 and one["ms"] <= 20
    written = tomllib.loads(out.read_text())
    assert recipe_from_dict(written["network"]) == recipe_from_dict(found[1]["recipe"])
    assert (written["train"], written["test"], written["init"]) == (str(folder), "", "lite0")
    assert "for task classify, not detect" in told(capsys, "--ram", "10K", "--data", folder, "--task", "detect")
    board = ("--data", folder, "--board", "NUCLEO_H723ZG", "--max-macs", "4M")
    least = told(capsys, "--ram", "10K", *board)
    assert all(one["flash"] <= 252 << 10 for one in least) and least[0]["ms"] == pytest.approx(
        least[0]["cycles"] / 550e3
    )
    assert "--ram: NUCLEO_H723ZG has room for 75,776 B, got 81,920 B" in told(capsys, "--ram", "80K", *board)
    assert "--ram: wanted --data as well" in told(capsys, "--ram", "10K")


def test_designs_by_equations_keep_to_flash_and_time(tmp_path, capsys):
    size = ("--budget", "6K", "--height", 32, "--width", 32, "-k", 4)
    best = told(capsys, *size, "--top", 1)[0]
    limits = ("--flash", best["blob_bytes"] // 2, "--ms", best["cycles"] / 480e3 / 2)
    found = told(capsys, *size, "--top", 2, *limits)
    assert all(2 * one["blob_bytes"] <= best["blob_bytes"] and 2 * one["cycles"] <= best["cycles"]
               for one in found)  # fmt: skip
    assert "keeps to 1,024 B of flash" in told(capsys, *size, "--flash", "1K")
    assert "wanted --height and --width" in told(capsys, "--budget", "18K")
    toys.save(tmp_path / "toys.npz", 12)
    assert "toys.npz has boxes: --ram is for them" in told(capsys, *size, "--data", tmp_path / "toys.npz")


DETECT_RECIPE = PatchTunnels(
    "boxes", ("a", "b", "c"), 130, 130, margin_h=18, margin_w=18,
    stages=(Stage(24, 2, 2), Stage(32, 2, 2), Stage(48, 1, 2)),
    end=Detection((Scale(((16, 12), (24, 30))), Scale(((60, 80),), (Stage(64, 1, 2),)))),
)  # fmt: skip
DETECT = DETECT_RECIPE.network()


def test_detection_has_a_stitched_map_scales_and_heads():
    assert (DETECT.task, DETECT.stride, DETECT.end.map, VWW.task) == ("detect", 16, (9, 9), "classify")
    fine, coarse = scales(DETECT)
    assert (fine.layers, fine.stride, coarse.stride) == ((), 16, 32)
    assert (fine.head.h, fine.head.cin, fine.head.cout) == (9, 48, 14)
    assert not fine.head.expand and not fine.head.residual
    assert [(s.oh, s.cout) for s in (*coarse.layers, coarse.head)] == [(5, 64), (5, 7)]
    assert DETECT.tail() == [fine.head, *coarse.layers, coarse.head]
    tail = sum(layer.macs for layer in DETECT.tail())
    assert DETECT.macs == 5 * sum(layer.macs for layer in DETECT.layers()) + tail
    assert fine.head.macs == 81 * 48 * (9 + 14) and fine.head.weights == 48 * (9 + 14)
    assert DETECT.features == 0


@pytest.mark.parametrize(
    ("side", "k", "margin", "central"),
    [(130, 4, 18, True), (224, 4, 18, True), (300, 9, 20, False), (128, 1, 0, False)],
)
def test_grid_patches_tile_the_stitched_map_once(side, k, margin, central):
    recipe = replace(DETECT_RECIPE, height=side, width=side, k=k, margin_h=margin, margin_w=margin, central=central)
    network = recipe.network()
    rows, last = network.end.map[0], network.layers()[-1]
    seen = [[0] * rows for _ in range(rows)]
    for i, p in enumerate(network.end.places):
        assert p.from_y + p.h <= last.oh and p.from_x + p.w <= last.ow and p.to_y + p.h <= rows and p.to_x + p.w <= rows
        top, left = network.corners[i]
        assert abs((p.to_y - p.from_y) * 16 - top) <= 8 and abs((p.to_x - p.from_x) * 16 - left) <= 8
        for y in range(p.to_y, p.to_y + p.h):
            for x in range(p.to_x, p.to_x + p.w):
                seen[y][x] += i < k
    assert all(n == 1 for row in seen for n in row)


def test_detection_round_trips():
    values = tomllib.loads(write_toml({"network": to_dict(DETECT), "train": {"more": {"x": 1}}}))
    assert from_dict(values["network"]) == DETECT and values["train"] == {"more": {"x": 1}}
    assert "detection" not in recipe_to_dict(VWW_RECIPE)
    values = tomllib.loads(write_toml(recipe_to_dict(DETECT_RECIPE)))
    assert recipe_from_dict(values) == DETECT_RECIPE and from_dict(values) == DETECT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"margin_h": 14}, r"boxes: patch 2: wanted rows 4..8 of the stitched map, got 3..7 \(a larger margin_h"),
        ({"aggregate": "concat"}, "aggregate: wanted sum"),
        ({"detection": {"scales": []}}, "wanted a scale or more"),
        ({"detection": {"scales": [{"anchors": [[8, 8]]}], "top": 0}}, "detection: top: wanted 1 to 1000, got 0"),
        ({"detection": {"scales": [{"anchors": [[8, 260]]}]}}, r"scale 0: wanted 1..255 anchors .* got \[\(8, 260\)\]"),
        ({"detection": {"scales": [{"anchors": []}]}}, "scale 0: wanted 1..255 anchors .* got none"),
        ({"detection": {"scales": [3]}}, "detection: scale: wanted a table, got 3"),
        ({"detection": {"scales": [{"stages": []}]}}, "scale: 'anchors' is missing"),
        ({"detection": {"scales": [], "tops": 3}}, "detection: unknown key 'tops'"),
    ],
)
def test_impossible_detection_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        from_dict({**recipe_to_dict(DETECT_RECIPE), **change})


@pytest.mark.parametrize(("where", "values", "said"), [
    (("chain", 1), dict(kind="foo"), "layer 1: kind: wanted conv or bottleneck or block or maxpool or meanpool or"),
    (("chain", 0), dict(act="bar"), "layer 0: act: wanted relu6 or relu or none, got bar"),
    (("chain", 0), dict(stride=0), "layer 0: stride: wanted 1 or more, got 0"),
    (("chain", 1), dict(cin=7), "layer 1: wanted an input of"),
    (("readouts", 0, "head"), dict(h=3), "readout 0: head 0: wanted an input of"),
    ((), dict(chain=[]), "wanted a layer and a patch or more, got 0"),
    ((), dict(corners=[[0, 60]]), "inside 130 x 130, got one at 0, 60"),
    ((), dict(sizes=[[130, 130]] * 4), "sizes: wanted 1 or 3 channels and sizes of 5 patches, got 3 and 4"),
    ((), dict(sizes=[[130, 131]] * 5), "wanted patches in pictures of at most 130 x 130, got 130 x 131"),
    ((), dict(sizes=[[130, 100]] * 5), "inside 130 x 100, got one at"),
    ((), dict(sizes=[[130, 130]] * 5), "wanted all patches in one picture for maps to be stitched, got"),
    ((), dict(end={}), "'task' is missing"),
])  # fmt: skip
def test_what_is_wrong_with_an_explicit_network_is_named(where, values, said):
    table = to_dict(DETECT_RECIPE.network())
    part = table
    for key in where:
        part = part[key]
    part.update(values)
    with pytest.raises(ValueError, match=said):
        from_dict(table)


@pytest.mark.parametrize(("values", "said"), [
    (dict(), ""),
    (dict(stride=0), "stride: wanted 1 or more, got 0"),
    (dict(kernel=5, pads=(4, 4, 2, 2)), "pads: wanted of a block such that each output has an input to add"),
    (dict(kernel=5, pads=(2, 2, 4, 4)), "pads: wanted of a block such that each output has an input to add"),
    (dict(kernel=5, pads=(2, 1, 2, 2), stride=2), ""),
    (dict(second=(3, 2)), "second: wanted odd numbers, got \\(3, 2\\)"),
    (dict(kind="maxpool", cexp=0), "cout: wanted 4, the input's, got 5"),
    (dict(kind="int4", cexp=0, kernel=1), "cout: wanted 2, half the input's, got 5"),
    (dict(kind="int8", cexp=0, kernel=1), "cout: wanted 8, twice the input's, got 5"),
    (dict(kind="int4", cexp=0, kernel=1, cin=5, cout=2), "cin: wanted an even number, got 5"),
    (dict(kind="int4", cexp=0, kernel=3, cout=2), "kernel: wanted 1, a stride of 1, got 3"),
    (dict(kind="bottleneck", cexp=40_000), "products in a sum: wanted at most 32768, got 40000"),
])  # fmt: skip
def test_what_is_wrong_with_a_layer_is_named(values, said):
    layer = replace(Layer("block", 6, 6, 4, 3, 5, 3, 1, True), **values)
    assert re.match(said, layer.fault()) and bool(layer.fault()) == bool(said)
