"""Bias correction: means of sums, and with them answers, come nearer to the float network's."""

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

import test_layers
import test_quantize
import test_quantize_detect

from patchnet.train import fake, quantize
from patchnet.train.modules import Tunnels, normalise

torch.set_num_threads(1)  # with networks this small, threads would only wait for each other


def chain(name: str) -> Callable:
    n = test_layers.CHAINS[name]
    return lambda: (test_layers.settled(n), test_layers.inputs(n, 48))


def recipe(name: str, tied: bool = False) -> Callable:
    n = test_quantize.NETWORKS[name]
    pixels = test_quantize.pixels(n, 48)
    return lambda: (test_quantize.settled(n, tied), normalise(torch.from_numpy(pixels), n))


def detector(name: str) -> Callable:
    n = test_quantize_detect.NETWORKS[name]
    return lambda: (test_quantize_detect.settled(n), test_quantize_detect.inputs(n, 48))


CASES = {
    **{name: chain(name) for name in ("residual", "separable", "linear")},
    **{name: recipe(name) for name in ("sum", "concat and head")},
    "tied": recipe("sum", tied=True),
    "detector": detector("four tunnels"),
}


def moved(net: fake.FakeNet, x: torch.Tensor) -> float:
    """How far means are from those that calibration noted: of each sum the worst channel, the mean of these."""
    found = []

    def note(layer: fake.Corrected, bias: str, sums: torch.Tensor) -> torch.Tensor:
        found.append(float((layer.means[bias] - fake.channel_means(sums)).abs().max()))
        return sums

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(fake.Corrected, "settled", note)
        net(x)
    return sum(found) / len(found)


def calibrated(model: Tunnels, x: torch.Tensor) -> fake.FakeNet:
    """Not yet corrected."""
    net = quantize.fake_net(model)
    net.calibrate(x)
    return net


@pytest.mark.parametrize("name", CASES)
def test_sums_get_their_means_back(name):
    model, x = CASES[name]()
    net = calibrated(model, x)
    before = moved(net, x)
    net.correct(x)
    assert moved(net, x) < before / 5


def test_answers_to_other_inputs_come_nearer():
    """With weights of few bits, which move means far."""
    n = test_quantize.NETWORKS["sum"]
    model, x = recipe("sum")()
    other = normalise(torch.from_numpy(test_quantize.pixels(n, 48, seed=7)), n)
    net = calibrated(model, x)
    with torch.no_grad():
        for layer in net.tunnels.modules():
            for weight in (p for p in layer.parameters(recurse=False) if p.ndim == 4):
                step = weight.flatten(1).abs().amax(1).view(-1, 1, 1, 1) / 7
                weight.copy_((weight / step).round() * step)
        wanted, before = model(other), net(other)
        net.correct(x)
        assert (net(other) - wanted).square().mean() < 0.8 * (before - wanted).square().mean()


def test_fine_tuning_and_answers_leave_biases_alone():
    model, x = recipe("sum")()
    net = calibrated(model, x)
    net.correct(x)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    net(x)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("act", ["relu6", "relu"])
def test_channels_that_calibration_finds_silent_have_room(act):
    """Wide values far beyond those of calibration are not cut off."""
    seen = torch.rand(8, 3, 6, 6) * torch.tensor([5.0, 0.1, 0.0]).view(1, 3, 1, 1)
    later = torch.full((1, 3, 1, 1), 2.0)
    assert torch.allclose(fake.fake_wide(later, fake.wide_scale(seen, act), act), later, atol=0.02)
