"""The weights to begin with mean what they did where they were learnt."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from patchnet import models
from patchnet.importers.families import Chain, Style
from patchnet.net import trunk
from patchnet.net.recipe import PatchTunnels, Stage
from patchnet.tasks.detect.end import Detection, Scale
from patchnet.train import loop
from patchnet.train.modules import build, read_float


def recipe(blocks: int, size: int = 64, **more) -> PatchTunnels:
    given = {"k": 1, "central": False, "stem_out": trunk.STEM, "stages": trunk.cut(blocks)} | more
    return PatchTunnels("t", ("a", "b"), size, size, mean=trunk.MEAN, std=trunk.STD, **given)


def begun(network) -> torch.nn.Module:
    """The network with the backbone's weights where it has a place for them."""
    net = build(network)
    module = torch.nn.Module()
    module.net = net
    loop.start_from(module, *read_float(models.weights("lite0")))
    return net.eval()


def test_stages_are_cut():
    assert trunk.cut(1) == (Stage(16, 1, 1, 1, 3),)
    assert trunk.cut(7)[-1] == Stage(80, 2, 2, 6, 3) and trunk.cut(11) == trunk.STAGES
    for blocks in (0, 12):
        with pytest.raises(ValueError, match=f"blocks: wanted 1 to 11, got {blocks}"):
            trunk.cut(blocks)


def original(state: dict[str, torch.Tensor], blocks: int) -> Chain:
    """The network that the weights are of, with TensorFlow's padding."""
    names = {"0": "stem"} | {str(i + 1): f"blocks.{i}" for i in range(blocks)}
    own = {}
    for name, value in state.items():
        _, _, layer, rest = name.split(".", 3)
        if layer in names:
            own[f"{names[layer]}.{rest}"] = value
    last = own[f"blocks.{blocks - 1}.project.conv.weight"].shape[0]
    own |= {"classifier.weight": torch.zeros(2, last), "classifier.bias": torch.zeros(2)}
    strides = [2] + [s.stride if i == 0 else 1 for s in trunk.cut(blocks) for i in range(s.n)]
    residuals = [i > 0 for s in trunk.cut(blocks) for i in range(s.n)]
    chain = Chain(own, strides, residuals, Style(True, torch.nn.BatchNorm2d(1).eps, ((0,) * 3, (1,) * 3)))
    chain.load_state_dict(own)
    return chain.eval()


def test_layers_behind_merging_tunnels_begin_with_what_comes_later():
    early, late = trunk.cut(7)[:2], trunk.cut(7)[2:]
    network = recipe(7, k=4, margin_h=16, margin_w=16, stages=early, merged=late).network()
    net, state = begun(network), read_float(models.weights("lite0"))[1]
    for i, layer in enumerate(net.merged):
        theirs = state[f"tunnels.0.{len(network.chain) + i}.depthwise.conv.weight"]
        assert torch.equal(layer.depthwise.conv.weight, theirs)
    assert all(torch.equal(t[0].conv.weight, state["tunnels.0.0.conv.weight"]) for t in net.tunnels)


def test_maps_are_those_of_the_original_a_few_pixels_on():
    """TensorFlow's strides of two look one pixel further to the right and down, at each scale: 1 + 2 + 4 + 8."""
    blocks, size = 8, 256
    chain = original(read_float(models.weights("lite0"))[1], blocks)
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 3, size + 16, size + 16)).astype(np.float32))
    with torch.no_grad():
        wanted = chain.blocks(chain.stem(x))
        got = begun(recipe(blocks, size).network()).maps(x[:, :, 15 : 15 + size, 15 : 15 + size])[:, 0]
    inner = slice(6, 10)  # of 16 cells, where no border is seen
    assert wanted.abs().max() > 1
    np.testing.assert_allclose(got[:, :, inner, inner], wanted[:, :, inner, inner], atol=1e-3)


def test_every_tunnel_begins_with_them_and_what_is_new_at_random():
    net = begun(recipe(5, 48, k=4, margin_h=4, margin_w=4, head=24).network())
    _, theirs = read_float(models.weights("lite0"))
    for i in range(4):
        assert torch.equal(net.tunnels[i][5].project.conv.weight, theirs["tunnels.0.5.project.conv.weight"])
    assert net.tunnels[0][6].conv.weight.shape == (24, 40, 1, 1)


def test_layers_behind_the_tunnels_go_on_with_them():
    end = Detection((Scale(((8, 8),)), Scale(((20, 20),), (Stage(80, 3, 2), Stage(112, 1, 1, kernel=5)))))
    net = begun(recipe(5, 64, end=end).network())
    _, theirs = read_float(models.weights("lite0"))
    assert torch.equal(net.scales[1].layers[2].depthwise.conv.weight, theirs["tunnels.0.8.depthwise.conv.weight"])
    assert torch.equal(net.scales[1].layers[3].expand.norm.bias, theirs["tunnels.0.9.expand.norm.bias"])
    assert net.scales[0].head.depthwise.conv.weight.shape[0] == 40
