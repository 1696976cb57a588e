"""The float network: what each tunnel sees, how features are put together, folding, files."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import oracle
from networks import free_network, random_network
from patchnet import data
from patchnet.blob import floats
from patchnet.blob.files import float_net
from patchnet.engine.model import Model
from patchnet.net.layers import Layer
from patchnet.net.network import Network
from patchnet.net.recipe import Stage, patch_tunnels
from patchnet.tasks.classify.net import PatchTunnelNet
from patchnet.train.modules import ConvNorm, load_float, normalise, patches_of, save_float

torch.set_num_threads(1)  # with networks this small, threads would only wait for each other

NETWORK = patch_tunnels(
    "small",
    ("a", "b", "c"),
    20,
    24,
    margin_h=3,
    margin_w=2,
    stem_out=4,
    head=10,
    stages=(Stage(6, 1, 1, 2), Stage(8, 2, 2, 3, 5), Stage(8, 1, 1, 1)),
)


def settled(network: Network, seed: int = 0) -> PatchTunnelNet:
    """A network with random weights whose batch norms have seen data."""
    torch.manual_seed(seed)
    model = PatchTunnelNet(network)
    for _ in range(20):
        model(torch.randn(8, network.channels, network.height, network.width))
    return model.eval()


@pytest.mark.parametrize("aggregate", ["sum", "concat"])
@pytest.mark.parametrize(("k", "central"), [(1, False), (4, True), (9, False)])
def test_shapes(aggregate, k, central):
    network = patch_tunnels(
        "n",
        ("a", "b"),
        24,
        24,
        k=k,
        central=central,
        margin_h=2,
        margin_w=2,
        stem_out=4,
        stages=(Stage(8),),
        aggregate=aggregate,
    )
    model = PatchTunnelNet(network)
    assert len(model.tunnels) == k + central
    assert model.fc.in_features == network.features
    assert model(torch.zeros(2, 3, 24, 24)).shape == (2, 2)


def test_layers_have_the_shapes_that_design_says():
    model = settled(NETWORK)
    ph, pw = NETWORK.patch
    x = torch.zeros(1, 3, ph, pw)
    for layer, module in zip(NETWORK.layers(), model.tunnels[0], strict=True):
        assert x.shape[1:] == (layer.cin, layer.h, layer.w)
        x = module(x)
        assert x.shape[1:] == (layer.cout, layer.oh, layer.ow)


def test_weights_are_as_many_as_design_says():
    convolutions = [p for p in PatchTunnelNet(NETWORK).tunnels.parameters() if p.ndim == 4]
    assert sum(p.numel() for p in convolutions) == NETWORK.tunnels * sum(layer.weights for layer in NETWORK.layers())


def test_a_tunnel_sees_its_own_patch_only():
    model = settled(NETWORK)
    ph, pw = NETWORK.patch
    x = torch.randn(1, 3, 20, 24)
    with torch.no_grad():
        before = model.maps(x)
        for i, (y, z) in enumerate(NETWORK.corners):
            changed = x.clone()
            changed[:, :, y : y + ph, z : z + pw] = x[:, :, y : y + ph, z : z + pw]
            outside = torch.ones(20, 24, dtype=torch.bool)
            outside[y : y + ph, z : z + pw] = False
            changed[:, :, outside] += 1
            after = model.maps(changed)
            assert torch.equal(after[:, i], before[:, i])
            assert not torch.equal(after, before)


def test_patches_are_what_the_engine_samples():
    rng, seen = np.random.default_rng(2), 0
    while seen < 20:
        network = random_network(rng, 20_000)
        pixels = rng.integers(0, 256, (2, network.height, network.width, network.channels), np.uint8)
        (ph, pw), whole = network.patch, (0, 0, network.width, network.height)
        parts = patches_of(normalise(torch.from_numpy(pixels), network), network)
        for (y, x, height, width), part in zip(network.patches(), parts, strict=True):
            q = np.stack([oracle.sample(p.astype(np.int64), whole, height, width) for p in pixels])
            wanted = normalise(
                torch.from_numpy((q[:, y : y + ph, x : x + pw].astype(np.int64) + 128).astype(np.uint8)), network
            )
            assert part.dtype == torch.float32 and (part - wanted).abs().max() < 1e-6
        seen += network.sizes is not None


def test_sum_adds_the_tunnels():
    model = settled(NETWORK)
    pooled = torch.randn(2, NETWORK.tunnels, 10)
    total = sum(pooled[:, i] for i in range(NETWORK.tunnels))
    assert torch.allclose(model.classify(pooled), model.fc(total), atol=1e-6)


def test_folding_changes_nothing():
    torch.manual_seed(1)
    unit = ConvNorm(6, 6, "none", (3, 3), (2, 2), (1, 1, 1, 1), 6)
    for _ in range(30):
        unit(torch.randn(4, 6, 9, 9) * 3 + 1)
    unit.norm.weight.data.uniform_(0.5, 2)
    unit.norm.bias.data.normal_()
    unit.eval()
    x = torch.randn(2, 6, 9, 9)
    folded = torch.nn.functional.conv2d(x, *unit.folded(), stride=2, padding=1, groups=6)
    assert torch.allclose(unit(x), folded, atol=1e-4)


def test_normalise():
    network = patch_tunnels("n", ("a",), 2, 2, mean=(100, 128, 0), std=50.0)
    x = normalise(torch.full((1, 2, 2, 3), 150, dtype=torch.uint8), network)
    assert x.shape == (1, 3, 2, 2)
    assert np.allclose(x[0, :, 0, 0], [1.0, 0.44, 3.0])


def test_file_round_trip_and_predict(tmp_path):
    model = settled(NETWORK)
    save_float(model, tmp_path / "float.npz")
    again = load_float(tmp_path)
    assert again.network == NETWORK
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (h, 30, 3), np.uint8) for h in (20, 33, 8)]
    scores = again.predict(pictures, batch=2)
    assert scores.shape == (3, 3) and np.allclose(scores.sum(1), 1, atol=1e-5)
    assert np.allclose(scores, model.predict(pictures), atol=1e-6)
    one = torch.from_numpy(data.resize(pictures[1], 20, 24)[None])
    assert np.allclose(scores[1], model(normalise(one, NETWORK)).softmax(1).detach().numpy()[0], atol=1e-5)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("more", [dict(coarse=True), dict(merged=(Stage(8, 2, 2, 2),))], ids=["coarse", "merged"])
def test_coarse_patches_and_merging_tunnels_learn(more, tied):
    network = patch_tunnels("n", ("a", "b"), 20, 24, margin_h=4, margin_w=4, stem_out=4, head=10, **more)
    torch.manual_seed(0)
    model = PatchTunnelNet(network, tied)
    optimizer, x = torch.optim.Adam(model.parameters(), 0.02), torch.randn(8, 3, 20, 24)
    target = torch.arange(8) % 2
    losses = []
    for _ in range(20):
        losses.append(torch.nn.functional.cross_entropy(model(x), target))
        optimizer.zero_grad()
        losses[-1].backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
        optimizer.step()
    assert losses[-1] < losses[0] / 2


def test_tied_tunnels_learn_as_one(tmp_path):
    model = PatchTunnelNet(NETWORK, tied=True)
    assert sum(p.numel() for p in model.tunnels.parameters()) * NETWORK.tunnels == sum(
        p.numel() for p in PatchTunnelNet(NETWORK).tunnels.parameters()
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model(torch.randn(4, 3, 20, 24)).sum().backward()
    optimizer.step()
    save_float(model, tmp_path / "float.npz")
    weights = [tunnel[0].conv.weight for tunnel in load_float(tmp_path).tunnels]
    assert all(torch.equal(weights[0], w) for w in weights[1:]) and len({id(w) for w in weights}) == NETWORK.tunnels


ALL_KINDS = (
    Layer("conv", 12, 10, 3, 0, 6, 3, 1),
    Layer("bottleneck", 12, 10, 6, 9, 6, 3, 1, True, True, out_act="relu"),
    Layer("bottleneck", 12, 10, 6, 6, 8, 3, (1, 2), False, False, linear=True, out_act="relu6", pads=(0, 2, 1, 0)),
    Layer("block", 12, 5, 8, 5, 7, 3, 2, True, act="relu", second=(3, 1)),
    Layer("maxpool", 6, 3, 7, 0, 7, 3, 1, act="none"),
    Layer("block", 6, 3, 7, 4, 7, 3, 1, act="none", second=3),
    Layer("meanpool", 6, 3, 7, 0, 7, (2, 3), (2, 1), act="none", pads=(1, 0, 1, 1)),
    Layer("conv", 3, 3, 7, 0, 9, 1, 1, act="relu"),
)


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("aggregate", ["sum", "concat"])
def test_float32_on_the_device_is_this(aggregate, coarse, tmp_path):
    """All kinds of layers and activations, batch norms folded, mean and std of each channel: to 1e-4."""
    network = free_network(
        "kinds", ("a", "b", "c"), 16, 14, 3, 4, True, 4, 3, chain=ALL_KINDS, aggregate=aggregate,
        mean=(120, 90, 140), std=50.0, coarse=coarse,
    )  # fmt: skip
    assert network.patch == (12, 10)
    model = settled(network)
    save_float(model, tmp_path / "float.npz")
    device = Model(floats.pack(float_net(tmp_path / "float.npz")))
    pixels = np.random.default_rng(1).integers(0, 256, (6, 16, 14, 3), np.uint8)
    with torch.no_grad():
        wanted = model(normalise(torch.from_numpy(pixels), network)).numpy()
    got = np.array([device.predict((x.astype(np.int16) - 128).astype(np.int8)) for x in pixels])
    assert np.abs(got - wanted).max() < 1e-4 < np.abs(wanted).max() and np.ptp(wanted, axis=0).max() > 0.01
