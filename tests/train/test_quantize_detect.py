"""Networks that detect, from float to integers: the fake-quantized network against float and against the oracle."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import toys
from oracle import Oracle
from patchnet import data
from patchnet.blob import qnet_file
from patchnet.blob.pack import pack
from patchnet.net.network import Network
from patchnet.net.recipe import PatchTunnels, Stage
from patchnet.net.toml import recipe_to_dict
from patchnet.tasks.detect import precision
from patchnet.tasks.detect import training as detect_training
from patchnet.tasks.detect.end import Detection, Scale
from patchnet.tasks.detect.net import DetectNet
from patchnet.tasks.detect.training import TRAINING
from patchnet.tasks.pictures import prepare
from patchnet.train import (
    experiment,
    fake,
    loop,
    quantize,
)
from patchnet.train.modules import load_float, normalise, save_float

torch.set_num_threads(1)  # with networks this small, threads would only wait for each other

FOUR_RECIPE = PatchTunnels(
    "n", toys.CLASSES, 48, 64, k=4, central=False, margin_h=16, margin_w=16, stem_out=6,
    stages=(Stage(8, 1, 2, 3), Stage(12, 2, 2, 2)), mean=(120, 128, 130),
    end=Detection((Scale(((10, 10), (14, 16))), Scale(((20, 20),), (Stage(16, 1, 2, 2),)))),
)  # fmt: skip
FOUR = FOUR_RECIPE.network()
CENTRAL = replace(FOUR_RECIPE, central=True)
NETWORKS = {
    "four tunnels": FOUR,
    "and a central one": CENTRAL.network(),
    "one tunnel, convolutions, layers before the first head": replace(
        FOUR_RECIPE, k=1, margin_h=0, margin_w=0, head=16, channels=1, mean=(128,),
        end=Detection((Scale(((12, 12),), (Stage(12, 1, 1, 0),)),)),
    ).network(),
    "linear": replace(FOUR_RECIPE, act="none").network(),
}  # fmt: skip


def settled(network: Network) -> DetectNet:
    """A random network whose batch norms have seen data and whose heads tell different things in different places."""
    torch.manual_seed(4)
    net = DetectNet(network)
    for i in range(20):
        net(inputs(network, 8, seed=i))
    for scale in net.scales:
        scale.head.project.weight.data.normal_(std=0.3)
        scale.head.project.bias.data = scale.head.project.bias / 2 + torch.randn_like(scale.head.project.bias) * 0.5
    return net.eval()


def pixels(network: Network, n: int, seed: int = 0) -> np.ndarray:
    return np.stack([prepare(picture, network) for picture, _ in toys.dataset(n, seed)])


def inputs(network: Network, n: int, seed: int = 0) -> torch.Tensor:
    return normalise(torch.from_numpy(pixels(network, n, seed)), network)


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    network = NETWORKS[request.param]
    model = settled(network)
    net = quantize.fake_net(model)
    net.calibrate(inputs(network, 48))
    return network, model, net, net.quantized()


def test_fake_quantized_network_follows_the_float_one(case):
    network, model, net, _ = case
    x = inputs(network, 16, seed=1)
    with torch.no_grad():
        wanted, got = model(x), net(x)
    scores, near = wanted[:, :, 4:].sigmoid(), got[:, :, 4:].sigmoid()
    assert (scores - near).abs().mean() < 0.03
    telling = scores.amax(2) > 0.05
    assert telling.sum() > 20
    codes = wanted[:, :, :4][telling], got[:, :, :4][telling]
    assert np.corrcoef(codes[0].flatten(), codes[1].flatten())[0, 1] > 0.97


def test_integers_follow_the_fake_quantized_network(case):
    """Half up here, half even there: a value may be a step off, and so what follows by one or two."""
    network, _, net, qnet = case
    oracle = Oracle(pack(qnet))
    for picture in pixels(network, 4, seed=2):
        got = oracle.run_raw((picture.astype(np.int16) - 128).astype(np.int8))
        x = normalise(torch.from_numpy(picture[None]), network)
        with torch.no_grad():
            stitched, out = net.stitched(net.maps(x))[0], net(x)[0].numpy()
        scale, zero = fake.affine(*net.tunnels[0][-1].range)
        steps = np.abs(got.stitched - (stitched.permute(1, 2, 0).numpy() / scale + zero))
        assert steps.mean() < 0.5 and steps.max() <= 8
        rows = np.concatenate([head.reshape(-1, 4 + len(network.labels)) for head in got.heads]).astype(float)
        detect = qnet.end
        rows[:, :4] *= detect.box_scale
        rows[:, 4:] = (rows[:, 4:] - detect.cls_zero) * detect.cls_scale
        unit = np.array([detect.box_scale] * 4 + [detect.cls_scale] * len(network.labels))
        assert (np.abs(rows - out) / unit).mean() < 2.5


def test_maps_of_4_bits():
    """In the tunnels, and behind them where a layer by itself reads a map; the heads' integers follow."""
    scale = Scale(((20, 20),), (Stage(16, 3, 2, 2),))
    network = replace(FOUR_RECIPE, end=Detection((Scale(((10, 10), (14, 16))), scale))).network()
    after = [i for i in range(len(network.run())) if network.may_halve(i)]
    assert min(after) < len(network.chain) <= max(after)
    net = quantize.calibrated(settled(network), pixels(network, 48), halved=after)
    qnet = net.quantized()
    assert qnet.design.chain == network.halved(after).chain
    picture = pixels(network, 1, seed=2)
    got = Oracle(pack(qnet)).run_raw((picture[0].astype(np.int16) - 128).astype(np.int8))
    with torch.no_grad():
        out = net(normalise(torch.from_numpy(picture), network))[0].numpy()
    rows = np.concatenate([head.reshape(-1, 4 + len(network.labels)) for head in got.heads]).astype(float)
    rows[:, :4] *= qnet.end.box_scale
    rows[:, 4:] = (rows[:, 4:] - qnet.end.cls_zero) * qnet.end.cls_scale
    unit = np.array([qnet.end.box_scale] * 4 + [qnet.end.cls_scale] * len(network.labels))
    assert (np.abs(rows - out) / unit).mean() < 4  # a value on the edge falls to one or the other sixteenth


def test_contract(case):
    """The ranges that `quantized` promises."""
    network, _, _, qnet = case
    assert qnet.end.output_scale == qnet.end.cls_scale
    assert len({tunnel[-1].zero_out for tunnel in qnet.tunnels}) == 1
    assert [layer.shape for layer in qnet.behind] == network.tail()
    for head in (qnet.behind[i - len(network.chain)] for i in network.heads()):
        assert head.zero_out == 0 and head.res_mult == 0 and head.expand is None
        assert head.project.mult.min() >= 1
    lowest = (-128 - qnet.end.cls_zero) * qnet.end.cls_scale
    assert lowest == pytest.approx(-6, abs=qnet.end.cls_scale), "a score of 0.25%"


def test_sum_of_two_maps_is_in_the_scale():
    """The central patch of a tied network doubles what is in the middle: no more than a few values may be cut off."""
    network = NETWORKS["and a central one"]
    net = quantize.fake_net(settled(network))
    net.calibrate(inputs(network, 32))
    with torch.no_grad():
        middle = net.stitched(net.maps(inputs(network, 16, seed=1)))[:, :, 2:4, 3:5]
    low, high = net.tunnels[0][-1].range
    step = (high - low) / 255
    assert ((middle <= low + step) | (middle >= high - step)).float().mean() < 0.01
    alone = quantize.fake_net(settled(replace(CENTRAL, central=False).network()))
    alone.calibrate(inputs(network, 32))
    assert high - low > 1.2 * (alone.tunnels[0][-1].range[1] - alone.tunnels[0][-1].range[0])


def test_file_round_trip(case, tmp_path):
    *_, qnet = case
    qnet_file.save(qnet, tmp_path / "qnet.npz")
    assert pack(qnet_file.load(tmp_path / "qnet.npz")) == pack(qnet)


def test_trained_network_loses_nothing(tmp_path):
    """Train, quantize with fine-tuning, and measure on pictures of another seed."""
    toys.save(tmp_path / "train.npz", 96)
    e = experiment.load_experiment(
        "digits", name="toy", network=recipe_to_dict(replace(FOUR_RECIPE, end=Detection((Scale(((15, 15),)),), 50))),
        train=str(tmp_path / "train.npz"), test="", epochs=12, batch=8, lr=1e-2, ema=0.9, validation=0.0,
        crop=[0.6, 1.0], tied=True, evaluate_every=100, smoothing=0.0,
    )  # fmt: skip
    (tmp_path / "toy.toml").write_text(experiment.to_toml(e))
    run = loop.run(tmp_path / "toy.toml", out_dir=tmp_path / "run")
    path = quantize.run(run, epochs=1, calibration=48)
    qnet, test = qnet_file.load(path), toys.dataset(32, seed=1)
    wanted = detect_training.map50(load_float(run), test)
    oracle = Oracle(pack(qnet))
    oracle.threshold, oracle.iou = int(detect_training.LEAST * 65536), int(detect_training.OVERLAP * 65536)
    found = []
    for picture, _ in test:
        rows = oracle.run_image(picture.tobytes(), picture.shape[1], picture.shape[0], 3).boxes
        found.append(np.array([(b.x, b.y, b.x + b.w, b.y + b.h, b.label, b.score) for b in rows]).reshape(-1, 6))
    truth = [data.in_pixels(rows, picture.shape) for rows, (picture, _) in zip(test.boxes, test, strict=True)]
    got = precision.mean(precision.voc_precisions(found, truth, 2))
    assert wanted > 0.6 and got > wanted - 0.03


def test_fine_tuning_comes_nearer_to_the_float_network(tmp_path):
    """Once it has been led astray. On the pictures that it sees: a network of random weights has no rule that would
    hold for others."""
    toys.save(tmp_path / "train.npz", 64)
    e = experiment.load_experiment(
        "digits", name="toy", network=recipe_to_dict(FOUR_RECIPE), train=str(tmp_path / "train.npz"), test="", batch=8,
        validation=0.0, whole=1.0, flip=False, colour=0.0,
    )  # fmt: skip
    model = settled(FOUR)
    net = quantize.fake_net(model)
    net.calibrate(inputs(FOUR, 48))
    x = inputs(FOUR, 64)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.03 * parameter.square().mean().sqrt() * torch.randn_like(parameter)
        before = net.distance(net(x), model(x))
    save_float(model, tmp_path / "float.npz")
    batches = TRAINING.batches(data.load(e.train), e)
    quantize.fine_tune(net, model, batches, replace(e, epochs=6, lr=2e-4, warmup=0.1))
    with torch.no_grad():
        assert net.distance(net(x), model(x)) < 0.8 * before
        assert net.distance(model(x), model(x)) == 0
