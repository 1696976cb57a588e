"""Every kind of layer, kernel, stride and padding: float modules against torch's functions, integers against the
fake-quantized network, weights of someone else's network."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F

from networks import random_network, without_casts
from oracle import Oracle
from patchnet.blob.pack import pack
from patchnet.blob.quantized import QNet
from patchnet.blob.unpack import blob_qnet
from patchnet.engine.model import Model
from patchnet.importers.graph import FloatLayer, Imported
from patchnet.net.layers import ACTIVATIONS, Layer, pair
from patchnet.net.network import Network
from patchnet.tasks.classify.end import Pooled
from patchnet.tasks.classify.fake import FakeClassifier
from patchnet.tasks.classify.net import PatchTunnelNet
from patchnet.train import fake, quantize
from patchnet.train.imported import convolutions, dequantized_model, float_model
from patchnet.train.modules import build_layer, load_float, normalise, save_float

torch.set_num_threads(1)  # with networks this small, threads would only wait for each other


@dataclass(frozen=True)
class Bare(Pooled):
    """No fully connected layer: as many classes as the last map has channels."""

    def fully_connected(self, network):
        return None


def network(chain: list[dict], height: int, width: int, channels: int) -> Network:
    """Layers, each with the last one's output as its input, over one patch; three classes."""
    layers, shape = [], (height, width, channels)
    for values in chain:
        given = {"cexp": 0, "cout": shape[2], "stride": 1, **values}
        if given["kind"] == "bottleneck" and not given.get("expand"):
            given["cexp"] = shape[2]
        layers.append(Layer(h=shape[0], w=shape[1], cin=shape[2], **given))
        assert not layers[-1].fault(), (values, layers[-1].fault())
        shape = layers[-1].oh, layers[-1].ow, layers[-1].cout
    size = height, width
    mean = (120, 128, 130) if channels == 3 else (120,)
    return Network("n", tuple("abc"), *size, channels, size, ((0, 0),), tuple(layers), Pooled(), mean=mean)


CHAINS = {
    "residual": network(
        [
            dict(kind="conv", cout=6, kernel=3, stride=2, pads=(0, 1, 0, 1)),
            dict(kind="block", cexp=6, kernel=3, second=3, act="relu"),
            dict(kind="block", cexp=8, cout=10, kernel=3, stride=2, second=3, expand=True, act="relu"),
            dict(kind="block", cexp=10, cout=8, kernel=3, stride=2, pads=(0, 1, 0, 1), second=1, expand=True),
            dict(kind="meanpool", kernel=(2, 3), stride=(1, 2), pads=(1, 0, 1, 1)),
        ],
        21, 20, 3,
    ),
    "keywords": network(
        [
            dict(kind="conv", cout=8, kernel=(10, 4), stride=(2, 2), pads=(4, 5, 1, 1), act="relu"),
            dict(kind="bottleneck", cout=8, kernel=3, residual=True, act="relu"),
            dict(kind="bottleneck", cexp=12, cout=10, kernel=(3, 5), stride=(2, 1), pads=(0, 1, 2, 2), expand=True),
            dict(kind="meanpool", kernel=(12, 5), stride=1, pads=(0, 0, 0, 0)),
            dict(kind="conv", cout=5, kernel=1, act="none"),
        ],
        49, 10, 1,
    ),
    "separable": network(
        [
            dict(kind="conv", cout=6, kernel=3, stride=2, act="relu"),
            dict(kind="bottleneck", cout=8, kernel=3, act="relu", linear=True, out_act="relu"),
            dict(kind="bottleneck", cexp=12, cout=8, kernel=3, expand=True, linear=True, residual=True),
            dict(kind="bottleneck", cout=12, kernel=3, stride=2, pads=(0, 1, 0, 1), act="relu6", out_act="relu6"),
        ],
        18, 18, 3,
    ),
    "plain": network(
        [
            dict(kind="conv", cout=6, kernel=5, act="relu"),
            dict(kind="maxpool", kernel=2, stride=2, pads=(0, 0, 0, 0)),
            dict(kind="conv", cout=8, kernel=(1, 3), act="none"),
            dict(kind="maxpool", kernel=3, stride=2, pads=(0, 1, 1, 1)),
            dict(kind="conv", cout=9, kernel=(5, 5), pads=(0, 0, 0, 0)),
        ],
        20, 20, 3,
    ),
    "linear": network(
        [
            dict(kind="conv", cout=6, kernel=3, stride=2, act="none"),
            dict(kind="bottleneck", cexp=14, cout=6, kernel=3, expand=True, residual=True, act="none"),
            dict(kind="bottleneck", cout=8, kernel=3, stride=2, pads=(0, 1, 0, 1), act="none"),
            dict(kind="block", cexp=8, kernel=(3, 1), second=(1, 3), act="none"),
            dict(kind="maxpool", kernel=2, stride=1, pads=(0, 0, 0, 0)),
        ],
        18, 17, 3,
    ),
    "raw": network(
        [
            dict(kind="conv", cout=12, kernel=1, act="relu"),
            dict(kind="conv", cout=10, kernel=1, act="relu"),
            dict(kind="block", cexp=4, kernel=1, second=1, act="relu6"),
        ],
        1, 1, 20,
    ),
}  # fmt: skip


def pictures(n: Network, count: int, seed: int = 0) -> np.ndarray:
    """Random inputs (count, H, W, C): smooth pixels, or real values of the network that has another kind of input."""
    rng = np.random.default_rng(seed)
    if n.channels not in (1, 3):
        return rng.normal(2, 3, (count, n.height, n.width, n.channels)).astype(np.float32)
    coarse = torch.from_numpy(rng.integers(0, 256, (count, n.channels, 5, 5)).astype(np.float32))
    return F.interpolate(coarse, (n.height, n.width), mode="bilinear").round().byte().permute(0, 2, 3, 1).numpy()


def inputs(n: Network, count: int, seed: int = 0) -> torch.Tensor:
    """The same as modules read them, (count, C, H, W)."""
    return normalise(torch.from_numpy(pictures(n, count, seed)), n)


def settled(n: Network) -> PatchTunnelNet:
    """A random network whose batch norms have seen data, of channels that differ in scale."""
    torch.manual_seed(3)
    model = PatchTunnelNet(n)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            parameter.data = torch.exp(0.7 * torch.randn_like(parameter))
        elif name.endswith("norm.bias"):
            parameter.data.normal_()
    for i in range(25):
        model(inputs(n, 16, seed=i))
    return model.eval()


# ---------------------------------------------------------------- float


def convolved(x, unit, stride=1, pads=(0, 0, 0, 0), groups=1):
    top, bottom, left, right = pads
    y = F.conv2d(F.pad(x, (left, right, top, bottom)), unit.conv.weight, None, stride, groups=groups)
    norm = unit.norm
    return F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


def straight(s: Layer, module, x):
    """The layer as its definition (net.layers) has it."""
    act = {"relu6": F.relu6, "relu": F.relu, "none": lambda y: y}[s.act]
    stride, (top, bottom, left, right) = (s.sh, s.sw), s.pad
    if s.kind == "conv":
        return act(convolved(x, module, stride, s.pad))
    if s.kind == "bottleneck":
        y = act(convolved(x, module.expand)) if s.expand else x
        y = convolved(y, module.depthwise, stride, s.pad, s.cexp)
        y = convolved(y if s.linear else act(y), module.project)
        end = {"relu6": F.relu6, "relu": F.relu, "none": lambda y: y}[s.out_act]
        return end(x + y if s.residual else y)
    if s.kind == "block":
        h, w = (k // 2 for k in pair(s.second))
        y = convolved(act(convolved(x, module.first, stride, s.pad)), module.second, 1, (h, h, w, w))
        at = x[:, :, : s.sh * s.oh : s.sh, : s.sw * s.ow : s.sw]
        return act(y + (convolved(at, module.shortcut) if s.expand else x))
    outside = -torch.inf if s.kind == "maxpool" else 0.0
    seen = F.pad(x, (left, right, top, bottom), value=outside).unfold(2, s.kh, s.sh).unfold(3, s.kw, s.sw)
    return seen.amax((4, 5)) if s.kind == "maxpool" else seen.sum((4, 5)) / s.taps


@torch.no_grad()
def check_modules(model: PatchTunnelNet) -> None:
    n = model.network
    (y, z), (h, w), x = n.corners[0], n.patch, inputs(n, 3)
    x = x[:, :, y : y + h, z : z + w]
    for layer, module in zip(n.layers(), model.tunnels[0], strict=True):
        wanted, x = straight(layer, module, x), module(x)
        assert x.shape[1:] == (layer.cout, layer.oh, layer.ow)
        assert torch.allclose(x, wanted, atol=1e-4), layer


@pytest.mark.parametrize("name", CHAINS)
def test_float_modules_are_what_layers_say(name):
    check_modules(settled(CHAINS[name]))


def test_weights_are_as_many_as_layers_say():
    for n in CHAINS.values():
        for layer in n.layers():
            held = sum(p.numel() for p in build_layer(layer).parameters() if p.ndim == 4)
            assert held == layer.weights, layer


# ---------------------------------------------------------------- integers


@pytest.fixture(scope="module", params=[(name, halved) for name in CHAINS for halved in (False, True)])
def case(request):
    """Network, its fake-quantized form, its integers; all maps that may have 8 bits, or 4."""
    name, halved = request.param
    n = CHAINS[name]
    after = [i for i in range(len(n.chain)) if halved and n.may_halve(i)]
    net = quantize.calibrated(settled(n), pictures(n, 64), halved=after)
    return n, net, net.quantized()


def steps_of(x: torch.Tensor, scale: float, zero) -> np.ndarray:
    """Real values (N, C, H, W) as integers (N, H, W, C)."""
    return (x.detach().numpy() / scale).round().transpose(0, 2, 3, 1).astype(int) + zero


def given_to(net: FakeClassifier, qnet: QNet, x: torch.Tensor) -> np.ndarray:
    """Real inputs (N, C, H, W) as int8 (N, H, W, C)."""
    given = steps_of(net.read(x), 1 / qnet.design.std, np.array(qnet.input_zero))
    assert given.min() >= -128 and given.max() <= 127
    return given.astype(np.int8)


def check_engine(net: FakeClassifier, qnet: QNet, x: torch.Tensor) -> None:
    """That it gives the oracle's bytes."""
    blob = pack(qnet)
    oracle, model = Oracle(blob), Model(blob)
    for one in given_to(net, qnet, x):
        assert bytes(model.predict(one.tobytes())) == oracle.run_raw(one).outputs8.tobytes()


@torch.no_grad()
def differences(net: FakeClassifier, qnet: QNet, x: torch.Tensor) -> Iterator[np.ndarray]:
    """Of each layer, tunnel by tunnel, how far the oracle's integers are from the fake-quantized values, in steps, both
    from the same input."""
    oracle = Oracle(pack(qnet))
    runs = [oracle.run_raw(one) for one in given_to(net, qnet, x)]
    for t, (tunnel, y) in enumerate(zip(net.tunnels, net.patches(net.read(x)), strict=True)):
        for i, layer in enumerate(tunnel):
            (scale, zero), got = fake.affine(*layer.range), np.stack([run.maps[t][i] for run in runs]).astype(int)
            if layer.layer.kind == "int4":
                got = np.stack([got << 28 >> 24, got & -16], -1).astype(np.int8).reshape(*got.shape[:3], -1).astype(int)
            assert qnet.tunnels[t][i].zero_out == zero
            yield np.abs(got - steps_of(layer(y), scale, zero))
            y = torch.from_numpy(((got - zero) * scale).transpose(0, 3, 1, 2).astype(np.float32))


def test_integers_follow_the_fake_quantized_layers(case):
    """But for what lies between two steps: half up here, half even there, and a multiplier's last bit."""
    n, net, qnet = case
    for layer, off in zip(qnet.design.layers(), differences(net, qnet, inputs(n, 8, seed=99)), strict=True):
        assert off.max() <= 1 and (off > 0).mean() < 0.002, layer


@pytest.mark.parametrize("seed", range(20))
def test_random_networks(seed):
    rng = np.random.default_rng(seed)
    n, halved = without_casts(random_network(rng, 100_000, k=int(rng.choice([1, 1, 4]))))
    ends = {"out_act": str(rng.choice(ACTIVATIONS)), "linear": bool(rng.random() < 0.5)}
    chain = tuple(replace(s, **ends) if s.kind == "bottleneck" and s.act != "none" else s for s in n.chain)
    model = settled(replace(n, chain=chain))
    check_modules(model)
    net = quantize.fake_net(model, halved=halved)
    net.calibrate(inputs(n, 32))
    for off in differences(net, net.quantized(), inputs(n, 2, seed=99)):
        assert off.max() <= 1 and (off > 0).mean() < 0.01


def test_engine_and_oracle_agree(case):
    n, net, qnet = case
    check_engine(net, qnet, inputs(n, 4, seed=98))


@torch.no_grad()
def test_integers_follow_the_float_network(case):
    n, net, _ = case
    x = inputs(n, 32, seed=7)
    wanted, got = settled(n)(x), net(x)
    for column in range(len(n.labels)):
        assert np.corrcoef(got[:, column], wanted[:, column])[0, 1] > (0.6 if net.network != n else 0.97)


@torch.no_grad()
@pytest.mark.parametrize("name", CHAINS)
def test_real_numbers_of_integers(name):
    """A blob's, which tells neither scales nor activations of convolutions: the answers are those of the float network
    again, and its integers, chosen anew, give them too."""
    n = CHAINS[name]
    qnet = quantize.calibrated(settled(n), pictures(n, 64)).quantized()
    x, given = inputs(n, 32, seed=7), pictures(n, 64)
    model = dequantized_model(blob_qnet(pack(qnet), "n"))
    for net in (model, quantize.calibrated(model, given)):
        check_alike(settled(n)(x), net(x))


def check_alike(wanted: torch.Tensor, got: torch.Tensor) -> None:
    """Logits, by classes."""
    for one, other in zip(wanted.T.numpy(), got.T.numpy(), strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.97 and 0.8 < np.ptp(other) / np.ptp(one) < 1.25


@torch.no_grad()
def test_without_a_fully_connected_layer_the_pooled_values_are_the_logits():
    n = replace(CHAINS["linear"], end=Bare(), labels=tuple("abcdefgh"))
    net, x = FakeClassifier(settled(n)), inputs(n, 8, seed=5)
    net.calibrate(inputs(n, 64))
    end = net.quantized().end
    assert end.fc is None
    (scale, zero), last = fake.affine(*net.tunnels[0][-1].range), net.maps(x)[0]
    acc = (steps_of(last, scale, zero) - zero).sum((1, 2))
    assert np.abs(acc << end.pool.shift).max() < 2**31
    logits = ((acc << end.pool.shift) * end.pool.mult >> 32) / 256 * end.output_scale
    assert np.abs(logits - net(x).numpy()).max() < end.output_scale / 64


def test_a_raw_input_gets_the_scale_that_it_asks_for():
    n = CHAINS["raw"]
    x = pictures(n, 64)
    qnet = quantize.quantized(settled(n), x)
    (mean,), std = qnet.design.mean, qnet.design.std
    assert qnet.input_zero == (mean - 128,)
    low, high = -mean / std, (255 - mean) / std  # what 0..255, or -128..127, stand for
    assert float(x.min()) * 0.5 > low > float(x.min()) * 1.02 and float(x.max()) * 0.5 < high < float(x.max()) * 1.02
    assert qnet.design.chain == n.chain


def test_activations_keep_their_ceiling_where_weights_are_large():
    """Multipliers are then more than a half, and need a shift."""
    n = network(
        [
            dict(kind="conv", cout=6, kernel=3, stride=2),
            dict(kind="bottleneck", cexp=8, cout=8, kernel=3, expand=True, out_act="relu"),
        ],
        16, 16, 3,
    )  # fmt: skip
    model = settled(n)
    model.tunnels[0][1].expand.norm.weight.data *= 60
    model.tunnels[0][1].depthwise.norm.weight.data *= 12
    net = FakeClassifier(model)
    net.calibrate(inputs(n, 64))
    qnet = net.quantized()
    q = qnet.tunnels[0][1]
    assert q.expand_shift > 0 and q.depthwise_shift > 0 and q.zero_out == -128
    check_engine(net, qnet, inputs(n, 4, seed=98))
    (_, expanded), _, out, _ = net.tunnels[0][1].scales()
    assert max(expanded.max(), out.max()) <= 6 / 255 + 1e-6
    for off in differences(net, qnet, inputs(n, 8, seed=99)):
        assert off.max() <= 1 and (off > 0).mean() < 0.002


def test_wide_scales_have_room_but_not_above_the_ceiling():
    step, sums = torch.tensor([0.01, 1e-6, 1e-6, 1e-6]), torch.tensor([0.001, 0.001, 1.0, 0.02])
    assert fake.roomy(step, sums, "relu6").tolist() == pytest.approx([0.01, 0.00201, 1 / 16, 6 / 255])
    assert fake.roomy(step, sums, "none").tolist() == pytest.approx([0.01, 0.00201, 2.01, 0.0402])


def test_tunnels_that_end_with_a_maximum_share_a_scale_with_what_it_reads():
    n = CHAINS["linear"]
    net = FakeClassifier(settled(n))
    net.calibrate(inputs(n, 16))
    net.end_with(-3.0, 5.0)
    *_, before, last = net.tunnels[0]
    assert before.range == last.range == (-3.0, 5.0)
    *_, q_before, q_last = net.quantized().tunnels[0]
    assert q_before.zero_out == q_last.zero_out == fake.affine(-3.0, 5.0)[1]


# ---------------------------------------------------------------- of someone else


def imported(model: PatchTunnelNet) -> Imported:
    """The network as an importer has it: folded weights in the layouts of integers."""
    floats = []
    for module in model.tunnels[0]:
        parts = {}
        for name, unit in convolutions(module).items():
            weight, bias = (part.numpy() for part in unit.folded())
            if name == "depthwise":
                weight = weight[:, 0]
            elif name in ("expand", "project", "shortcut"):
                weight = weight[:, :, 0, 0]
            else:
                weight = weight.transpose(0, 2, 3, 1)
            parts[name] = weight, bias
        floats.append(FloatLayer(parts))
    dense = {"dense": (model.fc.weight.detach().numpy(), model.fc.bias.detach().numpy())}
    return Imported(model.network, floats=[*floats, FloatLayer(dense)])


@pytest.mark.parametrize("name", CHAINS)
@torch.no_grad()
def test_networks_of_someone_else(name, tmp_path):
    model = settled(CHAINS[name])
    given = imported(model)
    again, x = float_model(given), inputs(CHAINS[name], 4)
    assert torch.allclose(again(x), model(x), atol=1e-4)
    for module, layer in zip(again.tunnels[0], given.floats, strict=False):
        for part, unit in convolutions(module).items():
            weight, bias = unit.folded()
            assert np.array_equal(np.sort(weight.flatten()), np.sort(layer.parts[part][0].flatten()))
            assert np.array_equal(bias, layer.parts[part][1])
    save_float(again, tmp_path / "float.npz")
    loaded = load_float(tmp_path)
    assert loaded.network == again.network and torch.equal(loaded(x), again(x))


def test_weights_that_do_not_fit_are_named():
    given = imported(settled(CHAINS["plain"]))
    first, pool, *rest = given.floats
    with pytest.raises(ValueError, match="wanted weights of 5 layers and of an end, got 5 in all"):
        float_model(replace(given, floats=[pool, *rest]))
    with pytest.raises(ValueError, match="layer 0: wanted conv, got none"):
        float_model(replace(given, floats=[pool, pool, *rest]))
    with pytest.raises(ValueError, match=r"end: wanted dense, got none"):
        float_model(replace(given, floats=[first, pool, *rest[:-1], pool]))
    weight, bias = first.parts["conv"]
    turned = FloatLayer({"conv": (weight.transpose(0, 3, 1, 2), bias)})
    with pytest.raises(ValueError, match=r"layer 0: conv: wanted weights of \(6, 5, 5, 3\), got \(6, 3, 5, 5\)"):
        float_model(replace(given, floats=[turned, pool, *rest]))
    short = FloatLayer({"conv": (weight, bias[:-1])})
    with pytest.raises(ValueError, match=r"layer 0: conv: wanted biases of \(6,\), got \(5,\)"):
        float_model(replace(given, floats=[short, pool, *rest]))


def test_fine_tuning_from_pictures_alone():
    n = CHAINS["separable"]
    teacher = settled(n)
    teacher.fc.weight.data *= 10
    x, pixels = inputs(n, 64), pictures(n, 64)
    with torch.no_grad():
        wanted = teacher(x)

    def tuned(epochs, **options):
        net = quantize.calibrated(teacher, pixels)
        distances = quantize.fine_tune_towards(net, teacher, pixels, epochs, lr=2e-5, batch=16, **options)
        with torch.no_grad():
            return distances, net(x), float(net.distance(net(x), wanted))

    _, _, before = tuned(0)
    distances, logits, after = tuned(8)
    assert len(distances) == 8 * 4 and after < before / 1.15
    again, same, _ = tuned(8)
    assert again == distances and torch.equal(logits, same)
    assert tuned(8, seed=2)[0] != distances
    assert tuned(8, seconds=1e-9)[0] == []
