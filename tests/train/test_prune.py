"""Structured pruning: which channels go, what makes up for them, and that a blob then has room."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import test_quantize_detect
from test_layers import network
from test_quantize import pixels, settled

from patchnet.blob import qnet_file
from patchnet.blob.pack import blob_bytes, most_bytes, pack
from patchnet.blob.random import random_qnet
from patchnet.net.recipe import Stage, patch_tunnels
from patchnet.plan import choice, costs
from patchnet.plan.place import place
from patchnet.train import prune, quantize
from patchnet.train.imported import shared
from patchnet.train.modules import Tunnels, normalise
from patchnet.train.prune import Limits, Needs

torch.set_num_threads(1)  # with networks this small, threads would only wait for each other

NETWORKS = {
    "tunnels": patch_tunnels(
        "n", ("a", "b", "c"), 20, 24, margin_h=3, margin_w=2, stem_out=12,
        stages=(Stage(10, 1, 1, 1), Stage(12, 2, 2, 3, 5)), head=20,
    ),
    "one": patch_tunnels(
        "n", ("a", "b", "c"), 16, 16, k=1, central=False, stem_out=12, stages=(Stage(12, 3, 2, 6),), act="relu",
    ),
    "merged": patch_tunnels(
        "n", ("a", "b", "c"), 32, 24, margin_h=8, margin_w=8, stem_out=5, stages=(Stage(6, 1, 2, 4),), head=12,
        merged=(Stage(8, 2, 2, 4),),
    ),
    "separable": network(
        [
            dict(kind="conv", cout=12, kernel=3, stride=2, act="relu"),
            dict(kind="bottleneck", cout=24, kernel=3, act="relu", linear=True, out_act="relu"),
            dict(kind="bottleneck", cout=20, kernel=3, stride=2, act="relu6", out_act="relu6"),
            dict(kind="bottleneck", cexp=30, cout=20, kernel=3, expand=True, residual=True),
            dict(kind="bottleneck", cout=20, kernel=3, act="relu6"),
        ],
        18, 18, 3,
    ),
    "residual": network(
        [
            dict(kind="conv", cout=12, kernel=3, stride=2),
            dict(kind="block", cexp=20, kernel=3, second=3, act="relu"),
            dict(kind="block", cexp=18, cout=10, kernel=3, stride=2, second=3, expand=True, act="relu"),
        ],
        18, 18, 3,
    ),
}  # fmt: skip


FLASH, MUCH = Limits(flash=0), Needs((), 1, 1.0)  # all of it is too much


def answers(model: Tunnels, count: int = 40) -> np.ndarray:
    n = model.network
    with torch.no_grad():
        return model(normalise(torch.from_numpy(pixels(n, count, seed=9)), n)).numpy()


@pytest.fixture(scope="module", params=NETWORKS)
def pruning(request) -> prune.Pruning:
    n = NETWORKS[request.param]
    return prune.Pruning(settled(n), pixels(n, 64))


def test_the_order_is_that_of_least_squares():
    """Each channel that goes is the one whose loss the others make up for best, and what is told is the error then."""
    rng = np.random.default_rng(0)
    channels, taps = 6, 2
    x = rng.normal(size=(500, channels * taps)) @ rng.normal(size=(channels * taps, channels * taps))
    weight = rng.normal(size=(3, channels, 1, taps))
    wanted = (x - x.mean(0)) @ weight.reshape(3, -1).T

    def error(gone: list[int]) -> float:
        left = np.delete(x - x.mean(0), [c * taps + t for c in gone for t in range(taps)], 1)
        return float(((wanted - left @ np.linalg.lstsq(left, wanted, rcond=None)[0]) ** 2).mean(0).sum())

    order, errors = prune.ranked(weight, np.cov(x.T, bias=True))
    gone: list[int] = []
    for n, c in enumerate(order[:-1], 1):
        assert c == min((error([*gone, one]), one) for one in range(channels) if one not in gone)[1]
        gone.append(c)
        np.testing.assert_allclose(errors[n], error(gone), rtol=1e-6)


def test_all_channels_are_the_model_itself(pruning):
    counts = next(pruning.path(FLASH, MUCH))
    assert prune.thinned(pruning.network, counts) == pruning.network
    np.testing.assert_array_equal(answers(pruning.with_counts(counts)), answers(pruning.model))


def test_layers_give_up_channels_one_after_the_other(pruning):
    path = list(pruning.path(FLASH, MUCH))
    for before, now in zip(path, path[1:], strict=False):
        (i,) = [i for i in now if now[i] != before[i]]
        assert now[i] % prune.STEP == 0 and 0 < before[i] - now[i] <= prune.STEP
        network = prune.thinned(pruning.network, now)
        network.check()
        assert network.weights < prune.thinned(pruning.network, before).weights
    assert set(path[-1].values()) <= {n for n in path[0].values() if n < prune.STEP} | {prune.STEP}


def test_answers_stay_near(pruning):
    """With the first channels gone nearer than with the last ones."""
    path, own = list(pruning.path(FLASH, MUCH)), answers(pruning.model)
    few, most = (answers(pruning.with_counts(path[i])) for i in (1, -1))
    assert np.abs(few - own).mean() < 0.35 * own.std()
    assert np.abs(few - own).mean() < np.abs(most - own).mean()


def test_what_says_nothing_goes_first_and_is_not_missed():
    """A channel that is always 0, and one that another one is a copy of."""
    n = NETWORKS["one"]
    model, dead = settled(n), list(range(3, 40))
    with torch.no_grad():
        layer = model.tunnels[0][2]
        layer.depthwise.norm.weight[dead[:-1]] = 0
        layer.depthwise.norm.bias[dead[:-1]] = -1
        for unit in (layer.expand, layer.depthwise):
            unit.conv.weight[dead[-1]] = unit.conv.weight[50]
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(unit.norm, name)[dead[-1]] = getattr(unit.norm, name)[50]
    pruning = prune.Pruning(model, pixels(n, 64))
    site = next(site for site in pruning.sites if site.layer == 2)
    assert site.errors[len(dead)] < 1e-3 * site.errors[-1]
    counts = next(pruning.path(FLASH, MUCH)) | {2: n.chain[2].cexp - 32}
    np.testing.assert_allclose(answers(pruning.with_counts(counts)), answers(model), atol=5e-3)


def test_others_make_up_for_what_goes():
    """By least squares: nearer to what the layer made than with the weights that it had."""
    n = NETWORKS["one"]
    pruning = prune.Pruning(settled(n), pixels(n, 64))
    counts = next(pruning.path(FLASH, MUCH)) | {2: 40}
    fewer, own = pruning.with_counts(counts), answers(pruning.model)
    got = answers(fewer)
    site = next(site for site in pruning.sites if site.layer == 2)
    with torch.no_grad():
        weight, bias = prune.last(site.module).folded()
        prune.put(prune.last(fewer.tunnels[0][2]), weight[:, site.kept(counts)], bias)
    assert np.abs(got - own).mean() < 0.7 * np.abs(answers(fewer) - own).mean()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("ram", [None, 880])
def test_a_blob_fits(tied, ram, tmp_path, monkeypatch, capsys):
    """By any plan, with maps of 4 bits too; tunnels that share their weights lose the same channels."""
    monkeypatch.chdir(tmp_path)
    n = NETWORKS["tunnels"]
    qnet = quantize.calibrated(settled(n, tied), pixels(n, 64)).quantized()
    qnet_file.save(qnet, "n.npz")
    np.savez("data.npz", images=pixels(n, 64), labels=np.arange(64) % 3, classes=list("abc"))
    flash = len(pack(qnet)) * 7 // 8
    path = quantize.again("n.npz", "data.npz", out="small.npz", limits=Limits(ram, flash), epochs=1)
    assert "n channels left: " in capsys.readouterr().out
    small = qnet_file.load(path)
    assert shared(small) == tied and small.design.weights < n.weights
    sizes = [len(pack(small, place(small.design, point.schedule))) for point in choice.front(small.design)]
    assert 0.9 * flash < max(sizes) <= flash
    if ram:
        assert any(s.kind == "int4" for s in small.design.chain)


def test_cycles_are_saved_where_they_are():
    """As the plan truly takes them, with maps of 4 bits; both limits are kept to."""
    n = patch_tunnels(
        "n", ("a", "b"), 32, 32, k=1, central=False, stem_out=8, stages=(Stage(8, 2, 1, 6), Stage(24, 3, 2, 6))
    )
    pruning = prune.Pruning(settled(n), pixels(n, 32))
    whole = Limits(4000).needs(n, False)
    cycles, flash = int(0.7 * whole.cycles), int(0.7 * whole.flash)
    by_cycles, needs = pruning.within(Limits(4000, None, cycles))
    assert 0.6 * whole.cycles < needs.cycles <= cycles
    halved = by_cycles.network.halved(needs.halved)
    assert needs.cycles == costs.predicted(halved, choice.plan(halved, 4000))
    _, other = pruning.within(Limits(4000, flash))
    assert 0.6 * whole.flash < other.flash <= flash
    _, both = pruning.within(Limits(4000, flash, cycles))
    assert both.flash <= flash and both.cycles <= cycles


def test_layers_are_compared_by_what_there_is_too_much_of():
    """All channels mattering alike, the first that go are those of most weights, or of most multiply-accumulates."""
    n = NETWORKS["merged"]
    for tied, most_weights in ((False, 1), (True, 3)):
        pruning = prune.Pruning(settled(n, tied), pixels(n, 16))
        once = {site.layer: replace(site, errors=np.arange(len(site.order) + 1.0)) for site in pruning.sites}
        pruning.sites = list(once.values())
        for limits, first in ((FLASH, most_weights), (Limits(cycles=0), 1)):
            before, now = islice(pruning.path(limits, MUCH), 2)
            assert [i for i in now if now[i] < before[i]] == [first]


def test_nothing_is_pruned_that_fits(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    n = NETWORKS["one"]
    qnet_file.save(quantize.calibrated(settled(n), pixels(n, 64)).quantized(), "n.npz")
    np.savez("data.npz", images=pixels(n, 64), labels=np.arange(64) % 3, classes=list("abc"))
    for name, limits in (("any", Limits()), ("much", Limits(None, 1 << 20, 10**9))):
        quantize.again("n.npz", "data.npz", out=f"{name}.npz", limits=limits)
    assert "channels" not in capsys.readouterr().out
    assert pack(qnet_file.load("any.npz")) == pack(qnet_file.load("much.npz"))


def test_a_detector_is_pruned_behind_its_tunnels_too():
    n = test_quantize_detect.NETWORKS["four tunnels"]
    n = n.with_run(
        [replace(s, cexp=3 * s.cin, expand=True) if s.kind == "bottleneck" and s.expand else s for s in n.run()]
    )
    model = test_quantize_detect.settled(n)
    pruning = prune.Pruning(model, pixels(n, 24))
    behind = {site.layer for site in pruning.sites if site.layer >= len(n.chain)}
    assert behind and not behind & set(n.heads())
    fewest = pruning.with_counts(list(pruning.path(FLASH, MUCH))[-1])
    assert all(fewest.network.run()[i].cexp < n.run()[i].cexp for i in behind if n.run()[i].cexp > prune.STEP)
    assert answers(fewest, 4).shape == answers(model, 4).shape


@pytest.mark.parametrize("name", NETWORKS)
def test_lengths_of_blobs(name):
    n = NETWORKS[name]
    qnet, plans = random_qnet(n), [place(n, point.schedule) for point in choice.front(n)]
    sizes = [len(pack(qnet, plan)) for plan in plans]  # of what random_qnet makes, all tunnels share the weights
    assert [blob_bytes(n, plan, shared=True) for plan in plans] == sizes and most_bytes(n, shared=True) == max(sizes)


def test_what_cannot_be_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = network([dict(kind="conv", cout=8, kernel=3), dict(kind="conv", cout=9, kernel=3)], 12, 12, 3)
    for n, told in (
        (plain, "n: wanted bottlenecks or residual blocks, whose inner channels can be pruned"),
        (
            NETWORKS["one"],
            r"n: needs \d,\d{3} B of flash and 0.\d M cycles at least, with the fewest inner channels, wanted at most",
        ),
    ):
        qnet_file.save(quantize.calibrated(settled(n), pixels(n, 32)).quantized(), "n.npz")
        np.savez("data.npz", images=pixels(n, 32), labels=np.arange(32) % 3, classes=list("abc"))
        with pytest.raises(ValueError, match=told):
            quantize.again("n.npz", "data.npz", out="new.npz", limits=Limits(flash=900))
    assert not Path("new.npz").exists()
