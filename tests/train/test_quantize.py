"""From float to integers: the fake-quantized network against the oracle's integers, ranges, files, fine-tuning."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oracle import Oracle
from patchnet import data
from patchnet.blob import qnet_file
from patchnet.blob.pack import pack
from patchnet.blob.quantized import QBottleneck, QCast
from patchnet.blob.unpack import blob_qnet
from patchnet.net.network import Network
from patchnet.net.recipe import Stage, patch_tunnels
from patchnet.tasks.classify.net import PatchTunnelNet
from patchnet.tasks.pictures import prepare
from patchnet.train import (
    experiment,
    fake,
    quantize,
)
from patchnet.train.imported import dequantized_model, shared
from patchnet.train.modules import normalise, save_float

torch.set_num_threads(1)  # with networks this small, threads would only wait for each other

NETWORKS = {
    "sum": patch_tunnels(
        "n", ("a", "b", "c"), 20, 24, margin_h=3, margin_w=2, stem_out=5,
        stages=(Stage(6, 1, 1, 1), Stage(9, 2, 2, 3, 5), Stage(9, 1, 1, 2, 7)), mean=(120, 128, 130),
    ),
    "concat and head": patch_tunnels(
        "n", ("a", "b"), 18, 18, k=9, central=False, margin_h=3, margin_w=3, stem_out=4, head=12,
        stages=(Stage(6, 2, 1, 4),), aggregate="concat", act="relu",
    ),
    "coarse": patch_tunnels(
        "n", ("a", "b"), 20, 18, central=False, coarse=True, margin_h=4, margin_w=2, stem_out=5,
        stages=(Stage(6, 1, 2, 3),), mean=(120, 128, 130),
    ),
    "merged": patch_tunnels(
        "n", ("a", "b", "c"), 32, 24, margin_h=8, margin_w=8, stem_out=5, stages=(Stage(6, 1, 2, 3),), head=12,
        merged=(Stage(8, 1, 2, 2), Stage(8)), mean=(120, 128, 130),
    ),
    "plain convolutions": patch_tunnels(
        "n", ("a", "b", "c"), 20, 18, margin_h=2, margin_w=2, stem_out=6, head=12,
        stages=(Stage(8, 1, 1, 0, 3), Stage(8, 2, 2, 3), Stage(10, 1, 1, 0, 1)),
    ),
    "one tunnel, linear": patch_tunnels(
        "n", ("a", "b"), 16, 16, channels=1, k=1, central=False, stem_out=4, stages=(Stage(8, 2, 2, 2),), act="none",
        mean=(128,),
    ),
}  # fmt: skip


def settled(network: Network, tied: bool = False) -> PatchTunnelNet:
    """A random network whose batch norms have seen data, of channels that differ widely in scale."""
    torch.manual_seed(3)
    model = PatchTunnelNet(network, tied)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            parameter.data = torch.exp(torch.randn_like(parameter))
        elif name.endswith("norm.bias"):
            parameter.data.normal_()
    for i in range(30):
        model(normalise(torch.from_numpy(pixels(network, 16, seed=i)), network))
    return model.eval()


def pixels(network: Network, n: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 5, 5, network.channels), np.uint8)
    return np.stack([data.resize(picture, network.height, network.width) for picture in coarse])


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    network = NETWORKS[request.param]
    net = quantize.fake_net(settled(network))
    net.calibrate(normalise(torch.from_numpy(pixels(network, 64)), network))
    return network, net, net.quantized()


def test_integers_follow_the_fake_quantized_network(case):
    """Layer by layer, each from the integers of the one before: half up here, half even there, and the last bit of a
    multiplier may move an intermediate by a step, and so an output by one or two."""
    network, net, qnet = case
    picture = pixels(network, 1, seed=1)
    oracle = Oracle(pack(qnet)).run_raw((picture[0].astype(np.int16) - 128).astype(np.int8))
    patches = net.patches(normalise(torch.from_numpy(picture), network))
    for tunnel, patch, maps in zip(net.tunnels, patches, oracle.maps, strict=True):
        x = patch
        for layer, got in zip(tunnel, maps, strict=True):
            x = layer(x)
            scale, zero = fake.affine(*layer.range)
            wanted = (x[0].permute(1, 2, 0).detach().numpy() / scale).round() + zero
            assert np.abs(got - wanted).max() <= 2 and np.abs(got - wanted).mean() < 0.2
            x = torch.from_numpy(((got.astype(np.float32) - zero) * scale).transpose(2, 0, 1)[None])
    logits = (np.asarray(oracle.logits16) / 256 - qnet.end.fc_zero_out) * qnet.end.output_scale
    wanted = net(normalise(torch.from_numpy(picture), network)).detach().numpy()[0]
    assert np.abs(logits - wanted).max() < 3 * qnet.end.output_scale


def test_integers_follow_the_float_network(case):
    network, _, qnet = case
    pictures = pixels(network, 32, seed=2)
    oracle = Oracle(pack(qnet))
    got = np.stack([oracle.run_raw((p.astype(np.int16) - 128).astype(np.int8)).logits16 for p in pictures]) / 256
    with torch.no_grad():
        wanted = settled(network)(normalise(torch.from_numpy(pictures), network)).numpy()
    for column in range(wanted.shape[1]):
        assert np.corrcoef(got[:, column], wanted[:, column])[0, 1] > 0.97


@torch.no_grad()
def test_real_numbers_of_integers(case):
    """Of several tunnels, residuals at their end; what is no sum of pooled tunnels is refused."""
    network, _, qnet = case
    if qnet.behind:
        with pytest.raises(ValueError, match="n: wanted a network that classifies, its tunnels pooled, got task"):
            dequantized_model(qnet)
        return
    x = normalise(torch.from_numpy(pixels(network, 32, seed=2)), network)
    wanted, got = settled(network)(x).numpy(), dequantized_model(blob_qnet(pack(qnet), "n"))(x).numpy()
    for one, other in zip(wanted.T, got.T, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.97 and 0.8 < np.ptp(other) / np.ptp(one) < 1.25


@pytest.mark.parametrize("tied", [False, True])
def test_quantized_again(tied, tmp_path, monkeypatch):
    """Tunnels that share their weights go on sharing them; what is there is not written over."""
    network = NETWORKS["sum"]
    monkeypatch.chdir(tmp_path)
    qnet = quantize.calibrated(settled(network, tied), pixels(network, 64)).quantized()
    Path("old.pnb").write_bytes(pack(qnet))
    qnet_file.save(qnet, "n.npz")
    np.savez("data.npz", images=pixels(network, 40), labels=np.arange(40) % 3, classes=list("abc"))
    with pytest.raises(ValueError, match="n.npz: is what is quantized again: -o FILE.npz tells where"):
        quantize.again("n.npz", "data.npz")
    Path("old.npz").write_bytes(Path("data.npz").read_bytes())
    with pytest.raises(ValueError, match="old.npz: is there already, and holds no integers: -o FILE.npz tells where"):
        quantize.again("old.pnb", "data.npz")
    Path("old.npz").unlink()
    again = qnet_file.load(quantize.again("old.pnb", "data.npz", epochs=1, calibration=32))
    assert shared(again) == shared(qnet) == tied and again.design.chain == qnet.design.chain
    assert abs(len(pack(again)) - len(pack(qnet))) < 100


def test_contract(case):
    """The ranges that `quantized` promises."""
    network, _, qnet = case
    assert qnet.input_zero == tuple(m - 128 for m in network.mean)
    assert len(qnet.tunnels) == network.tunnels
    for tunnel in qnet.tunnels:
        for shape, layer in zip(network.layers(), tunnel, strict=True):
            assert layer.shape == shape and 0 <= layer.shift <= 16 and -128 <= layer.zero_out <= 127
            parts = [v for v in vars(layer).values() if hasattr(v, "mult")]
            assert len(parts) == (1 if shape.kind == "conv" else 2 + shape.expand)
            for part in parts:
                assert part.weight.dtype == np.int8 and part.weight.min() >= -127
                assert part.mult.dtype == part.bias.dtype == np.int32 and part.mult.min() >= 1
                assert np.abs(part.bias.astype(np.int64)).max() <= 2**30
            if isinstance(layer, QBottleneck):
                assert (layer.res_mult > 0) == shape.residual
            elif shape.act != "none":
                assert layer.zero_out == -128
    assert len({tunnel[-1].zero_out for tunnel in qnet.tunnels}) == 1


def test_file_round_trip(case, tmp_path):
    _, _, qnet = case
    qnet_file.save(qnet, tmp_path / "qnet.npz")
    again = qnet_file.load(tmp_path / "qnet.npz")
    assert again.design == qnet.design
    assert (again.end.pool, again.end.output_scale) == (qnet.end.pool, qnet.end.output_scale)
    assert pack(again) == pack(qnet)


@pytest.mark.parametrize("name", ["sum", "merged", "one tunnel, linear"])
def test_maps_of_4_bits_wherever_they_may_be(name, tmp_path, capsys):
    """Chosen values of 16 kinds, a nought among them; the network tells what it told, less exactly; files keep it."""
    network = NETWORKS[name]
    after = [i for i, layer in enumerate(network.run()) if network.may_halve(i)]
    net = quantize.calibrated(settled(network), pixels(network, 64), halved=after)
    quantize.tell_halved(net)
    assert capsys.readouterr().out.count(",") == len(after) - 1
    qnet, picture = net.quantized(), pixels(network, 1, seed=1)
    casts = [q for chain in qnet.chains() for q in chain if isinstance(q, QCast)]
    assert qnet.design == network.halved(after) and casts and not any(q.zero_out % 16 for q in casts)
    told = Oracle(pack(qnet)).run_raw((picture[0].astype(np.int16) - 128).astype(np.int8))
    logits = (np.asarray(told.logits16) / 256 - qnet.end.fc_zero_out) * qnet.end.output_scale
    x = normalise(torch.from_numpy(picture), network)
    assert np.abs(logits - net(x).detach().numpy()[0]).max() < 4 * qnet.end.output_scale
    qnet_file.save(qnet, tmp_path / "qnet.npz")
    again = qnet_file.load(tmp_path / "qnet.npz")
    assert pack(again) == pack(qnet) and pack(blob_qnet(pack(qnet), name)) == pack(qnet)


def test_values_of_int4():
    """A map's values, to 16 steps: what the engine's rounding gives, up in the middle, and gradients inside alone."""
    span = fake.in_fours(-1.0, 2.0)
    scale, zero = fake.affine(*span)
    assert zero == -48 and scale == pytest.approx(3 / 15 / 16)
    q = torch.arange(-128, 128)
    x = ((q - zero) * scale).requires_grad_()
    y = fake.fake4(x, span)
    y.sum().backward()
    wanted = torch.clamp((q + 8) // 16 * 16, max=112)
    assert torch.equal((y.detach() / scale).round().int() + zero, wanted.int())
    assert torch.equal(x.grad, (q <= 112).float())
    low, high = fake.at_least(span, 10 * scale, True)
    assert fake.affine(low, high) == (pytest.approx(10 * scale), zero)


def test_dead_channels_are_represented():
    """A channel that pruned itself away (all weights zero, only a bias) must neither overflow nor vanish."""
    network = NETWORKS["sum"]
    model = settled(network)
    block = model.tunnels[0][2]
    for unit in (block.expand, block.depthwise, block.project):
        unit.norm.weight.data[0] = 0
        unit.norm.bias.data[0] = 2.0
    net = quantize.fake_net(model)
    net.calibrate(normalise(torch.from_numpy(pixels(network, 32)), network))
    layer = net.quantized().tunnels[0][2]
    assert not layer.expand.weight[0].any() and layer.expand.mult[0] >= 1
    step = float(net.tunnels[0][2].scales()[0][1][0])
    value = (int(layer.expand.bias[0]) * int(layer.expand.mult[0]) + 2**31 >> 32) * step
    assert value == pytest.approx(2.0, rel=0.02)


def test_sums_that_could_overflow_are_refused():
    weight, bias, scale = torch.ones(1, 100_000), torch.zeros(1), torch.full((1,), 1 / 127)
    with pytest.raises(ValueError, match="overflow int32"):
        fake.narrow(weight, bias, scale, 1.0, 0, 1.0)
    with pytest.raises(ValueError, match="ratio of scales: wanted less than 128, got 787"):
        fake.narrow(weight, bias, scale, 1.0, 0, 1e-5)


def test_narrow_multiplies_by_the_ratio_of_scales():
    weight, bias, scale = torch.tensor([[0.502, -1.0]]), torch.tensor([0.26]), torch.tensor([1 / 127])
    scaled, shift = fake.narrow(weight, bias, scale, 0.1, 3, 0.02)
    assert scaled.weight.tolist() == [[64, -127]]
    assert scaled.bias[0] == round(0.26 / (0.1 / 127)) - 3 * int(scaled.weight.sum())
    assert scaled.mult[0] / 2.0 ** (40 - shift) == pytest.approx(0.1 / 127 / 0.02, rel=1e-6)


def test_scale_of_wide_values():
    x = torch.rand(4, 3, 30, 30) * torch.tensor([1.0, 4.0, 16.0]).view(1, 3, 1, 1)
    assert fake.wide_scale(x, "relu6").tolist() == pytest.approx([6 / 255] * 3), "relu6 ends at 6"
    assert fake.wide_scale(x, "relu").tolist() == pytest.approx([8 / 255, 8 / 255, 16 / 255], rel=0.01)
    assert fake.wide_scale(-x, "relu").min() > 0
    rare = torch.randn(4, 1, 200, 200)
    assert 0.7 * rare.abs().max() < 127 * fake.wide_scale(rare, "none") < rare.abs().max(), "rare outliers are cut off"


def test_fine_tuning_comes_nearer_to_the_float_network(tmp_path):
    pytest.importorskip("sklearn")
    e = experiment.load_experiment("digits", test="", train="digits_test", epochs=1)
    (tmp_path / "config.toml").write_text(experiment.to_toml(e))
    model = settled(e.network)
    save_float(model, tmp_path / "float.npz")
    plain = quantize.run(tmp_path, epochs=0, out=tmp_path / "plain.npz")
    tuned = quantize.run(tmp_path, epochs=4, lr=2e-5)
    assert tuned == tmp_path / "qnet.npz"
    pictures = [picture for picture, _ in data.load("digits", limit=100)]
    wanted = model.predict(pictures)
    ready = [(prepare(p, e.network).astype(np.int16) - 128).astype(np.int8) for p in pictures]
    error = {}
    for path in (plain, tuned):
        oracle = Oracle(pack(qnet_file.load(path)))
        scores = np.array([oracle.run_raw(x).scores for x in ready]) / 65536
        error[path] = np.abs(scores - wanted).mean()
    assert error[tuned] < error[plain], error


def test_tied_tunnels_stay_equal_and_are_packed_once(tmp_path):
    pytest.importorskip("sklearn")
    size = {}
    for tied in (False, True):
        e = experiment.load_experiment("digits", test="", train="digits_test", batch=64, tied=tied)
        (tmp_path / "config.toml").write_text(experiment.to_toml(e))
        save_float(settled(e.network, tied=True), tmp_path / "float.npz")
        size[tied] = len(pack(qnet_file.load(quantize.run(tmp_path, epochs=1, calibration=32))))
    assert size[True] < size[False] / 3
