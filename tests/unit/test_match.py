"""Graphs made by hand become layers: every rule, against what the graph means, and the line of every obstacle."""

from dataclasses import replace

import numpy as np
import pytest
from made import SAME, Made

import graphs
from oracle import Oracle
from patchnet.blob.pack import pack
from patchnet.importers.exact import exact
from patchnet.importers.graph import Quantization, Unsupported
from patchnet.importers.match import match
from patchnet.importers.real import Pixels, real
from patchnet.net.layers import Layer, pair

# ---------------------------------------------------------------- networks: each makes logits from a Made


def plain(m):
    x = m.conv(0, 6, (5, 3), (2, 1), (1, 2, 0, 1), act="relu")
    return m.logits(m.conv(x, 5, (1, 4), (1, 3), (0, 0, 2, 0)))


def inverted(m):
    x = m.conv(0, 8, stride=(2, 2), act="relu6")
    y = m.depthwise(m.pointwise(x, 18, "relu6"), act="relu6")
    x = m.add(x, m.pointwise(y, 8))
    y = m.pad(m.pointwise(x, 16, "relu6"), (0, 1, 0, 1))
    return m.logits(m.pointwise(m.depthwise(y, stride=(2, 2), pads=(0, 0, 0, 0), act="relu6"), 12, "relu"))


def separable(m):
    x = m.conv(0, 8, act="relu")
    x = m.pointwise(m.depthwise(x, act="relu"), 8, "relu")
    return m.logits(m.add(m.pointwise(m.depthwise(x, act="relu"), 8), x, "relu"))


def linear_depthwise(m):
    x = m.conv(0, 8, act="relu")
    x = m.pointwise(m.depthwise(x), 8)
    y = m.pointwise(m.depthwise(m.pointwise(x, 12, "relu")), 8, "relu")
    return m.logits(y)


def linear_expansion(m):
    x = m.conv(0, 8, act="relu")
    return m.logits(m.pointwise(m.depthwise(m.pointwise(x, 12), act="relu"), 8))


def lonely_depthwise(m):
    x = m.conv(0, 6, act="relu")
    return m.logits(m.conv(m.depthwise(x, stride=(2, 2), act="relu"), 8, act="relu"))


def first_depthwise(m):
    x = m.depthwise(0, act="relu")
    return m.logits(m.conv(x, 8, act="relu"))


def dilation(m):
    return m.logits(m.conv(0, 8, dilation=(2, 3), pads=(2, 2, 3, 3), act="relu"))


def block(m):
    x = m.conv(0, 8, act="relu")
    x = m.add(x, m.conv(m.conv(x, 6, act="relu"), 8), "relu")
    short = m.conv(x, 12, (1, 1), (2, 2))
    return m.logits(m.add(short, m.conv(m.conv(x, 10, stride=(2, 2), pads=(1, 1, 0, 1), act="relu"), 12), "relu"))


def block_of_one(m):
    x = m.conv(0, 8, act="relu")
    return m.logits(m.add(m.conv(x, 8), x))


def pools(m):
    x = m.pool(m.conv(0, 8, act="relu"), kernel=(3, 2), stride=(2, 2), pads=(1, 1, 0, 0))
    x = m.pool(m.pad(m.conv(x, 8, act="relu"), SAME), kernel=(3, 3), stride=(1, 1))
    x = m.pool(m.conv(x, 8), "meanpool", (2, 2), (1, 2))
    return m.logits(m.pool(m.pad(x, SAME), "meanpool", (3, 3), (2, 2)))


def pool_first(m):
    return m.logits(m.conv(m.pool(0), 8, act="relu"))


def relu_behind_pool(m):
    x = m.pool(m.conv(0, 8))
    return m.logits(m.conv(m.op("relu", (x,), m.shape(x), spread=1.5), 6, act="relu"))


def hidden(m):
    x = m.dense(m.mean(m.conv(0, 8, act="relu")), 10, "relu")
    return m.dense(x, 4)


def flat(m):
    x = m.conv(0, 5, stride=(3, 2), act="relu")
    return m.dense(m.dense(m.flatten(x), 10, "relu"), 4)


def flat_turned(m):
    x = m.conv(m.transpose(0, 0, 2, 1, 3), 5, (5, 3), stride=(2, 3), pads=(0, 2, 1, 0), act="relu")
    return m.dense(m.dense(m.flatten(x), 10, "relu"), 4)


def flat_pixels(m):
    """Edge Impulse's: a layer for each pixel, as rows, then one for all."""
    x = m.conv(0, 5, stride=(3, 2), act="relu")
    _, h, w, c = m.shape(x)
    y = m.reshape(m.pointwise(x, 3, "relu"), h * w, 3)
    return m.dense(m.dense(m.reshape(y, 1, h * w * 3), 6, "relu"), 4)


def mean_of_means(m):
    x = m.transpose(m.conv(0, 8, act="relu"), 0, 3, 1, 2)
    return m.dense(m.mean(m.mean(x, (3,)), (2,)), 4)


def channels_first_mean(m):
    return m.dense(m.mean(m.transpose(m.conv(0, 8), 0, 3, 1, 2), (2, 3)), 4)


def average_over_map(m):
    x = m.conv(0, 8, stride=(2, 2), act="relu")
    x = m.pool(x, "meanpool", m.shape(x)[1:3], m.shape(x)[1:3])
    return m.dense(m.reshape(x, 1, 8), 4)


def largest_over_map(m):
    return m.dense(m.mean(m.conv(0, 8), kind="max"), 4)


def norm(m):
    x = m.conv(0, 6)
    gain, offset = m.constant(np.linspace(-1, 1.5, 6)), m.constant(np.linspace(0.5, -0.5, 6))
    x = m.op("mul", (x, gain), m.shape(x), spread=1.5)
    x = m.op("add", (offset, x), m.shape(x), spread=1.5, act="relu")
    return m.logits(m.conv(x, 6, act="relu"))


def norm_behind_relu(m):
    x = m.conv(0, 6, act="relu")
    gain, offset = m.constant(np.linspace(-1, 1.5, 6)), m.constant(np.linspace(0.5, -0.5, 6))
    x = m.op("affine", (x, gain, offset), m.shape(x), spread=2.0)
    return m.logits(m.conv(x, 6, act="relu"))


def subtracted(m):
    x = m.conv(0, 6)
    x = m.op("sub", (m.constant(0.25), x), m.shape(x), spread=1.5)
    return m.logits(m.conv(m.op("sub", (x, m.constant([1.0] * 6)), m.shape(x), spread=1.8), 6))


def separate_steps(m):
    """Activation and other scales behind operators."""
    x = m.conv(0, 8)
    x = m.op("relu6", (x,), m.shape(x), spread=1.5)
    x = m.op("quantize", (x,), m.shape(x), spread=1.6, behind="relu")
    x = m.op("relu", (x,), m.shape(x), spread=1.6)
    x = m.add(x, m.conv(m.conv(x, 8, act="relu6"), 8))
    return m.logits(m.op("clip", (x,), m.shape(x), spread=2.0, low=0.0, high=6.0, behind="relu6"))


def lying(m):
    """One-dimensional, in a row, and once upright in between."""
    x = m.conv(m.reshape(0, 1, 1, *m.shape(0)[2:]), 6, (1, 5), (1, 2), act="relu")
    x = m.reshape(x, 1, m.shape(x)[2], 1, 6)
    x = m.reshape(m.pool(x, kernel=(2, 1), stride=(2, 1)), 1, 1, m.shape(x)[1] // 2, 6)
    return m.dense(m.dense(m.flatten(m.conv(x, 4, (1, 3), act="relu")), 6, "relu"), 4)


def flat_logits(m):
    return m.dense(m.flatten(m.pool(m.conv(0, 5, act="relu"))), 4)


def pooled_logits(m):
    return m.mean(m.conv(m.conv(0, 5, act="relu"), 4))


def pixels_logits(m):
    """A map as the output."""
    return m.pointwise(m.conv(0, 5, act="relu"), 3)


def connected(m):
    return m.dense(m.dense(m.dense(0, 12, "relu"), 8, "relu"), 20)


PICTURES = {  # by what makes them: the kinds of their layers
    plain: "conv conv",
    inverted: "conv bottleneck bottleneck",
    separable: "conv bottleneck bottleneck",
    linear_depthwise: "conv bottleneck bottleneck",
    linear_expansion: "conv conv bottleneck",
    lonely_depthwise: "conv bottleneck conv",
    first_depthwise: "conv conv",
    dilation: "conv",
    block: "conv block block",
    block_of_one: "conv block",
    pools: "conv maxpool conv maxpool conv meanpool meanpool",
    pool_first: "conv maxpool conv",
    relu_behind_pool: "conv maxpool conv",
    hidden: "conv meanpool conv",
    flat: "conv conv",
    flat_turned: "conv conv",
    flat_pixels: "conv conv conv",
    mean_of_means: "conv",
    channels_first_mean: "conv",
    average_over_map: "conv",
    largest_over_map: "conv maxpool",
    norm: "conv conv",
    norm_behind_relu: "conv bottleneck conv",
    subtracted: "conv conv",
    separate_steps: "conv block",
    flat_logits: "conv maxpool conv",
    pooled_logits: "conv conv",
    pixels_logits: "conv conv",
}
NETWORKS = [(make, (9, 8, 3), kinds) for make, kinds in PICTURES.items()]
NETWORKS.append((lying, (1, 21, 4), "conv maxpool conv conv"))
NETWORKS.append((connected, (1, 1, 20), "conv conv conv"))


@pytest.fixture(params=NETWORKS, ids=lambda case: case[0].__name__)
def case(request):
    return request.param


# ---------------------------------------------------------------- what they mean


def act(x, name):
    return graphs.ACTS[name](x)


def dense(x, part, kernel, stride, pads):
    weight, bias = part
    weight = weight.reshape(len(weight), *kernel, -1)
    return np.einsum("nhwcij,oijc->nhwo", graphs.windows(x, kernel, stride, pads), weight) + bias


def through(layer: Layer, parts, x):
    """A layer in real numbers, as net.layers has it."""
    kernel, stride, pads = (layer.kh, layer.kw), (layer.sh, layer.sw), layer.pad
    at_pixels = (1, 1), (1, 1), (0, 0, 0, 0)
    if layer.kind == "conv":
        return act(dense(x, parts["conv"], kernel, stride, pads), layer.act)
    if layer.kind == "bottleneck":
        y = act(dense(x, parts["expand"], *at_pixels), layer.act) if layer.expand else x
        weight, bias = parts["depthwise"]
        y = np.einsum("nhwcij,cij->nhwc", graphs.windows(y, kernel, stride, pads), weight) + bias
        y = act(y, "none" if layer.linear else layer.act)
        return act(dense(y, parts["project"], *at_pixels) + (x if layer.residual else 0), layer.out_act)
    if layer.kind == "block":
        y, second = act(dense(x, parts["first"], kernel, stride, pads), layer.act), pair(layer.second)
        y = dense(y, parts["second"], second, (1, 1), (second[0] // 2,) * 2 + (second[1] // 2,) * 2)
        x = dense(x, parts["shortcut"], (1, 1), stride, (0, 0, 0, 0)) if layer.expand else x
        return act(x + y, layer.act)
    seen = graphs.windows(x, kernel, stride, pads, value=-np.inf if layer.kind == "maxpool" else 0.0)
    return seen.max((4, 5)) if layer.kind == "maxpool" else seen.mean((4, 5))


def answer(imported, x):
    """The last map, or what is made of its mean, in real numbers."""
    *chain, end = imported.floats
    for layer, part in zip(imported.network.chain, chain, strict=True):
        assert not layer.fault()
        x = through(layer, part.parts, x)
        assert x.shape[1:] == (layer.oh, layer.ow, layer.cout)
    if "dense" in end.parts:
        weight, bias = end.parts["dense"]
        return x.mean((1, 2)) @ weight.T + bias
    return x.mean((1, 2)) if imported.network.task == "classify" else x


def made(case, **how):
    make, shape, _ = case
    m = Made(1, *shape, **how)
    return m.ending(make(m))


def test_layers_are_of_these_kinds(case):
    assert " ".join(step.kind for step in match(made(case)).steps) == case[2]


def test_real_layers_mean_what_the_graph_does(case):
    graph = made(case, integers=False)
    imported = real(match(graph, calibrate=True), Pixels.named("0..255"))
    x = np.random.default_rng(2).normal(0, 1.5, graph.tensors[0].shape)
    n = imported.network
    seen = (x.reshape(1, n.height, n.width, n.channels) - n.mean[0]) / n.std
    np.testing.assert_allclose(answer(imported, seen).ravel(), graphs.evaluate(graph, x)[0].ravel(), atol=1e-9)


def close(qnet, graph, n=3):
    """Differences of int8 outputs from what the graph means, over random inputs."""
    oracle, rng = Oracle(pack(qnet)), np.random.default_rng(3)
    network, shift = qnet.design, 128 * (graph.tensors[0].dtype == "uint8")
    differences = []
    for _ in range(n):
        x = np.clip(rng.normal(0, 60, graph.tensors[0].shape), -128, 127).astype(np.int8)
        (wanted,) = graphs.evaluate(graph, (x.astype(int) + shift).astype(graph.tensors[0].dtype))
        got = oracle.run_raw(x.reshape(network.height, network.width, network.channels)).outputs8
        differences.append(np.asarray(got, int).ravel() - (wanted.astype(int).ravel() - shift))
    return np.array(differences)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_integers_mean_what_the_graph_does(case, dtype):
    graph = made(case, dtype=dtype)
    imported = exact(match(graph))
    assert np.abs(close(imported.qnet, graph)).max() <= 2, imported.notes


# ---------------------------------------------------------------- values


def test_a_convolution_has_the_files_integers():
    m = Made(1, 6, 6, 3)
    graph = m.ending(m.logits(m.conv(0, 4, act="relu")))
    qnet = exact(match(graph)).qnet
    conv, (x, weight, bias) = qnet.tunnels[0][0], (graph.tensors[i] for i in graph.ops[0].inputs)
    out = graph.tensors[graph.ops[0].outputs[0]]
    ratio = x.scale * weight.quantization.scale / out.scale
    np.testing.assert_array_equal(conv.conv.weight, weight.data)
    np.testing.assert_array_equal(conv.conv.bias, bias.data - x.zero * weight.data.astype(int).sum((1, 2, 3)))
    np.testing.assert_array_equal(conv.conv.mult, np.rint(ratio * 2.0 ** (40 - conv.shift)))
    assert 2**30 <= conv.conv.mult.max() < 2**31
    assert (conv.zero_out, qnet.input_zero) == (-128, (3, 3, 3))
    assert (qnet.design.mean, qnet.design.std) == ((131,) * 3, 255 / 4)


def test_a_residual_is_told_in_steps_of_the_sum():
    m = Made(1, 6, 6, 3)
    x = m.conv(0, 8)
    y = m.pointwise(m.depthwise(m.pointwise(x, 8, "relu"), act="relu"), 8)
    graph = m.ending(m.logits(m.add(y, x)))
    q = exact(match(graph)).qnet.tunnels[0][1]
    out = graph.tensors[graph.ops[4].outputs[0]]
    assert q.res_mult == round(256 * graph.tensors[x].scale / out.scale)
    assert (q.shape.residual, q.zero_out) == (True, out.zero)


def test_a_linear_depthwise_has_its_zero_point_in_the_biases():
    m = Made(1, 6, 6, 3)
    x = m.depthwise(m.conv(0, 8, act="relu"))
    graph = m.ending(m.logits(m.pointwise(x, 8)))
    q = exact(match(graph)).qnet.tunnels[0][1]
    before, between, after = (graph.tensors[op.outputs[0]] for op in graph.ops[:3])
    lift, (weight, bias) = between.zero + 128, (graph.tensors[i] for i in graph.ops[1].inputs[1:])
    lifted = lift * between.scale / (before.scale * weight.quantization.scale)
    np.testing.assert_allclose(
        q.depthwise.bias, bias.data + 128 * weight.data.astype(int).sum((1, 2)) + lifted, atol=0.51
    )
    weight, bias = (graph.tensors[i] for i in graph.ops[2].inputs[1:])
    assert np.abs(q.project.bias - (bias.data - lift * weight.data.astype(int).sum((1, 2, 3)))).max() < 127 * 8 * 0.02
    assert q.shape.act == "relu"  # not signed


def test_expanded_channels_are_a_multiple_of_four():
    m = Made(1, 6, 6, 3)
    x = m.conv(0, 6, act="relu")
    graph = m.ending(m.logits(m.pointwise(m.depthwise(m.pointwise(x, 18, "relu"), act="relu"), 6)))
    q = exact(match(graph)).qnet.tunnels[0][1]
    assert q.shape.cexp == 20
    assert q.expand.weight.shape == (20, 6) and not q.expand.weight[18:].any() and not q.expand.bias[18:].any()
    assert q.depthwise.weight.shape == (20, 3, 3) and q.project.weight.shape == (6, 20)


def odd(m):
    """Channels as a width multiplier leaves them, and what keeps them."""
    x = m.conv(0, 3, stride=(2, 2), act="relu")
    x = m.pointwise(m.depthwise(m.pool(x, kernel=(2, 1), stride=(1, 1)), act="relu"), 7, "relu")
    x = m.add(x, m.pointwise(m.depthwise(m.pointwise(x, 10, "relu"), act="relu"), 7))
    x = m.add(x, m.conv(m.conv(x, 5, act="relu"), 7), "relu")
    x = m.conv(m.conv(x, 5), 6)
    return m.logits(m.pointwise(m.depthwise(x, act="relu"), 9))


def test_channels_of_nothing_change_nothing_but_shapes():
    case = (odd, (9, 8, 3), "")
    assert np.abs(close((imported := exact(match(made(case)))).qnet, made(case))).max() <= 2
    shapes = [(layer.cin, layer.cexp, layer.cout) for layer in imported.network.chain]
    assert shapes == [
        (3, 0, 4), (4, 0, 4), (4, 4, 8), (8, 12, 8), (8, 5, 8), (8, 0, 5), (5, 0, 8), (8, 8, 10),
    ]  # fmt: skip
    assert imported.notes == [
        "layer 0: 3 channels are 4, for the fast kernels",
        "layer 2: 7 channels are 8, for the fast kernels",
        "layer 6: 6 channels are 8, for the fast kernels",
        "layer 7: 9 channels are 10, for the fast kernels",
    ]
    assert imported.qnet.end.fc.weight.shape == (4, 10)


def test_weights_worth_more_than_half_a_step_get_a_shift():
    m = Made(1, 6, 6, 3)
    x = m.depthwise(m.conv(0, 4, act="relu"), kernel=(1, 1), act="relu")
    scale = 4 * m.graph.tensors[x].scale / m.graph.tensors[m.graph.ops[0].outputs[0]].scale
    m.graph.tensors[m.graph.ops[1].inputs[1]].quantization = Quantization(np.full(4, scale), np.zeros(4, int))
    q = exact(match(m.ending(m.logits(m.pointwise(x, 4))))).qnet.tunnels[0][1]
    assert (q.depthwise_shift, q.depthwise.mult[0]) == (4, 4 * 2**28)  # the smallest: 4 * 2^29 is 2^31


def test_a_channel_of_bias_alone_gets_coarser_weights():
    m = Made(1, 6, 6, 3)
    x = m.conv(0, 4)
    weight, bias = (m.graph.tensors[i] for i in m.graph.ops[0].inputs[1:])
    weight.quantization.scale[2] = bias.quantization.scale[2] = 1e-9
    bias.data[2] = 2**31 - 2**18
    imported = exact(match(m.ending(m.logits(x))))
    assert imported.notes == ["op 0 CONV: 1 channels with large biases: weights coarser by up to 2^1"]
    conv = imported.qnet.tunnels[0][0].conv
    assert conv.bias[2] == pytest.approx(2**30 - 2**17 - 3 * conv.weight[2].astype(int).sum(), abs=1)


def test_where_the_file_clamps_elsewhere_is_told():
    m = Made(1, 6, 6, 3)
    x = m.conv(0, 4, act="relu6")
    m.graph.tensors[x].quantization = Quantization(np.array([0.05]), np.array([-100]))
    imported = exact(match(m.ending(m.logits(x))))
    assert imported.notes == [
        "op 0 CONV: relu6 with zero point -100, steps of 0.05: "
        "the file clamps at 120 steps above zero, here 255 are kept"
    ]
    assert imported.qnet.tunnels[0][0].zero_out == -128


@pytest.mark.parametrize("integers", [True, False])
def test_what_normalises_the_input_is_its_zero_point_and_scale(integers):
    m = Made(1, 6, 6, 3, integers=integers)
    if integers:
        m.graph.tensors[0].quantization = Quantization(np.array([1 / 32]), np.array([-128]))
    x = m.op("mul", (0, m.constant(0.5)), (1, 6, 6, 3))
    x = m.op("sub", (x, m.constant([1.0, 1.0, 1.0])), (1, 6, 6, 3))
    matched = match(m.ending(m.logits(m.conv(x, 4, act="relu"))), calibrate=not integers)
    assert [step.kind for step in matched.steps] == ["conv"]
    network = (exact(matched) if integers else real(matched, Pixels((0.0,), (32.0,)))).network
    assert (network.mean, network.std) == ((64, 64, 64), 64.0)  # x = p / 32; x / 2 - 1 = (p - 64) / 64


def test_pixels_of_a_float_file_are_asked_for():
    m = Made(1, 6, 6, 3, integers=False)
    matched = match(m.ending(m.logits(m.conv(0, 4))), calibrate=True)
    with pytest.raises(Unsupported, match="input 6x6x3 float32: wanted what pixels are to it: --pixels 0..255"):
        real(matched)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("-1..1", Pixels((127.5,), (127.5,))),
        ("127/128", Pixels((127.0,), (128.0,))),
        ("123.7,116.3,103.5/58.4", Pixels((123.7, 116.3, 103.5), (58.4,))),
        ("0..2", "pixels: wanted 0..255, 0..1, -1..1, or MEAN/STD of 0..255, got 0..2"),
        ("1/2/3", "pixels: wanted 0..255, 0..1, -1..1, or MEAN/STD of 0..255, got 1/2/3"),
        ("1,2/3", "pixels: wanted a mean and a deviation above 0, of one or three channels, got 1,2/3"),
        ("0/0", "pixels: wanted a mean and a deviation above 0, of one or three channels, got 0/0"),
        ("nan/1", "pixels: wanted a mean and a deviation above 0, of one or three channels, got nan/1"),
    ],
)
def test_pixels_have_a_range_or_a_mean_and_a_deviation(name, wanted):
    if isinstance(wanted, Pixels):
        assert Pixels.named(name) == wanted == Pixels.named(str(wanted))
        return
    with pytest.raises(ValueError) as e:
        Pixels.named(name)
    assert str(e.value) == wanted


@pytest.mark.parametrize(("pads", "mean", "notes"), [(SAME, 30.5, 1), (SAME, 30.0, 0), ((0, 0, 0, 0), 30.5, 0)])
def test_zeros_that_are_no_whole_pixel_are_told(pads, mean, notes):
    m = Made(1, 6, 6, 3, integers=False)
    matched = match(m.ending(m.logits(m.conv(0, 4, pads=pads))), calibrate=True)
    told = "input: pads are 0.50 of a pixel's 255 steps off, being whole numbers from 0 to 255"
    assert real(matched, Pixels((mean,), (50.0,))).notes == [told] * notes


def test_real_numbers_that_are_normalised_before_they_are_quantized_want_calibration():
    """The integers behind are not the pixels'."""
    m = Made(1, 6, 6, 3)
    m.graph.tensors[0].quantization, m.graph.tensors[0].dtype = None, "float32"
    x = m.op("mul", (0, m.constant(0.5)), (1, 6, 6, 3))
    m.graph.tensors[x].quantization, m.graph.tensors[x].dtype = None, "float32"
    x = m.op("quantize", (x,), (1, 6, 6, 3))
    out = m.logits(m.conv(x, 4, act="relu"))
    assert lines(m, out) == ["input (6x6x3): values are float32: use --calibrate DATA"]
    network = real(match(m.ending(out), calibrate=True), Pixels((8.0,), (32.0,))).network
    assert (network.mean, network.std) == ((8, 8, 8), 64.0)


def test_maps_of_sixteen_bits_want_calibration():
    m = Made(1, 6, 6, 3, seed=3)
    out = m.logits(m.pool(m.conv(0, 4, act="relu")))
    wanted = real(match(m.ending(out), calibrate=True)).floats
    for tensor in m.graph.tensors:
        if tensor.dtype == "int8" and tensor.data is None:
            tensor.dtype, tensor.quantization = "int16", replace(tensor.quantization, zero=np.zeros(1, np.int64))
    assert lines(m, out) == ["values are int16: use --calibrate DATA"]
    got = real(match(m.ending(out), calibrate=True), Pixels((125.0,), (63.75,))).floats  # as the scale of int8 says
    for a, b in zip(wanted, got, strict=True):
        for name, parts in a.parts.items():
            for one, other in zip(parts, b.parts[name], strict=True):
                np.testing.assert_allclose(one, other, atol=1e-9)


def test_channels_are_normalised_by_the_first_layers_weights():
    m = Made(1, 6, 6, 3, integers=False)
    matched = match(m.ending(m.logits(m.conv(0, 4))), calibrate=True)
    mean, std = np.array([123.7, 116.3, 103.5]), np.array([58.4, 57.1, 57.4])
    imported = real(matched, Pixels(tuple(mean), tuple(std)))
    (weight, bias), own = imported.floats[0].parts["conv"], matched.steps[0].parts["conv"].w
    x = np.random.default_rng(4).uniform(0, 255, (3, 3, 3))
    assert imported.network.mean == (124, 116, 104)
    seen, wanted = (x - imported.network.mean) / imported.network.std, (x - mean) / std
    np.testing.assert_allclose((weight * seen).sum((1, 2, 3)) + bias, (own.value * wanted).sum((1, 2, 3)) + own.bias)


# ---------------------------------------------------------------- what ends them


def ending(make, *shape, labels=(), **how):
    m = Made(1, *shape, **how)
    matched = match(m.ending(make(m), labels))
    return matched, matched.ending


def test_logits_behind_a_mean():
    matched, end = ending(lambda m: m.softmax(m.logits(m.conv(0, 4))), 6, 6, 3, labels=("a", "b", "c", "d"))
    assert (end.task, end.scores, matched.labels) == ("classify", "softmax", ("a", "b", "c", "d"))
    assert end.pool.main.kernel == (6, 6) and end.dense.kind == "conv" and len(matched.steps) == 1


def test_a_mean_of_less_than_the_map_is_a_layer():
    """A kernel as large as the map, over one that is padded."""
    make = lambda m: m.dense(m.pool(m.pad(m.conv(0, 4), SAME), "meanpool", (6, 6), (6, 6)), 3)  # noqa: E731
    matched, end = ending(make, 6, 6, 3)
    assert (end.pool, [step.kind for step in matched.steps]) == (None, ["conv", "meanpool"])


def test_pooled_logits():
    matched, end = ending(lambda m: m.softmax(m.mean(m.conv(0, 4))), 6, 6, 3)
    assert end.pool is not None and end.dense is None and matched.labels == ("class 0", "class 1", "class 2", "class 3")


def test_a_flattened_map_gives_logits():
    matched, end = ending(lambda m: m.dense(m.conv(0, 4), 3), 6, 6, 3)
    assert (end.pool, end.dense) == (None, None)
    assert matched.steps[-1].layer().covers


def test_one_logit_is_two_classes():
    def make(m):
        y = m.logits(m.conv(0, 4), 1)
        return m.op("sigmoid", (y,), (1, 1))

    matched, end = ending(make, 6, 6, 3, labels=("person",))
    assert (end.scores, end.out.c, matched.labels) == ("softmax", 2, ("no person", "person"))
    assert not end.dense.w.value[0].any() and end.dense.w.bias[0] == 0
    qnet = exact(matched).qnet
    assert Oracle(pack(qnet)).run_raw(np.zeros((6, 6, 3), np.int8)).logits16[0] == 256 * qnet.end.fc_zero_out


def test_several_with_a_sigmoid_are_each_by_itself():
    _, end = ending(lambda m: m.op("sigmoid", (m.logits(m.conv(0, 4), 3),), (1, 3)), 6, 6, 3)
    assert (end.task, end.scores) == ("classify", "sigmoid")


def test_a_map_with_a_softmax_is_a_heat_map():
    matched, end = ending(lambda m: m.softmax(m.conv(m.conv(0, 4), 3)), 6, 6, 3)
    assert (end.task, str(end.out), len(matched.labels)) == ("heatmap", "6x6x3", 3)
    qnet = exact(matched).qnet
    assert (qnet.design.end.background, qnet.design.end.scores) == (0, "softmax")
    assert qnet.end.output_scale == end.out.scale and Oracle(pack(qnet)).run_raw(np.zeros((6, 6, 3), np.int8))


def test_a_map_is_a_raw_output():
    matched, end = ending(lambda m: m.conv(0, 4), 6, 6, 3)
    assert (end.task, matched.labels) == ("raw", ())


def test_fully_connected_layers_alone_are_raw():
    matched, end = ending(lambda m: m.dense(m.dense(0, 8, "relu"), 20), 20)
    assert (end.task, [str(step.out) for step in matched.steps]) == ("raw", ["1x1x8", "1x1x20"])
    assert str(matched.input) == "1x1x20" and not matched.picture


# ---------------------------------------------------------------- what is in the way


def test_an_output_that_is_no_map_of_the_network():
    m = Made(1, 6, 6, 3)
    assert lines(m, m.pad(m.conv(0, 4), SAME)) == ["output: a padded map"]
    m = Made(1, 6, 6, 3)
    assert lines(m, m.mean(m.conv(0, 4), (1,))) == ["output: a mean over rows or columns"]


def test_what_nobody_needs_is_not_in_the_way():
    m = Made(1, 6, 6, 3)
    x = m.conv(0, 4)
    m.op("other", (x,), (1, 6, 6, 4))
    assert len(match(m.ending(m.logits(x))).steps) == 1


def lines(m, out, **how):
    with pytest.raises(Unsupported) as e:
        match(m.ending(out), **how)
    return e.value.lines


def test_all_obstacles_are_told_at_once_and_nothing_that_follows_from_them():
    m = Made(1, 8, 8, 3)
    x = m.conv(0, 4, act="relu")
    x = m.op("other", (x,), (1, 8, 8, 4), name="LEAKY_RELU")
    x = m.conv(x, 4, act="tanh")
    a, b = m.conv(x, 4), m.conv(x, 4, (1, 1))
    x = m.op("concat", (a, b), (1, 8, 8, 8), axis=3, name="CONCATENATION")
    x = m.logits(m.pool(x, "meanpool", (3, 3), (1, 1), SAME, counted=False))
    assert lines(m, x) == [
        "op 1 LEAKY_RELU (8x8x4): not supported: wanted ReLU or ReLU6",
        "op 2 CONV (8x8x4): activation tanh: not supported",
        "op 5 CONCATENATION (8x8x8): not supported",
    ]


def test_weights_around_another_zero_point_want_calibration():
    m = Made(1, 6, 6, 3)
    out = m.logits(m.conv(0, 4))
    weight = m.graph.tensors[m.graph.ops[0].inputs[1]]
    weight.dtype, weight.data = "uint8", (weight.data.astype(int) + 128).astype(np.uint8)
    weight.quantization = replace(weight.quantization, zero=np.full(4, 128))
    assert exact(match(m.ending(out))).qnet.tunnels[0][0].conv.weight.min() < 0
    weight.quantization = replace(weight.quantization, zero=np.full(4, 122))
    assert lines(m, out) == ["op 0 CONV: weights are uint8 with zero point 122: use --calibrate DATA"]
    real(match(m.graph, calibrate=True))


def test_floats_want_calibration():
    m = Made(1, 6, 6, 3, integers=False)
    assert lines(m, m.logits(m.conv(0, 4))) == ["weights are float32: use --calibrate DATA"]


def test_floats_want_calibration_once_whatever_the_layers_are():
    m = Made(1, 6, 6, 3, integers=False)
    x = m.op("mul", (m.conv(0, 4, act="relu"), m.constant([1.0, 2.0, 3.0, 4.0])), (1, 6, 6, 4))
    assert lines(m, m.logits(m.conv(x, 4))) == ["weights are float32: use --calibrate DATA"]


def test_obstacles_of_a_kind_are_summed():
    m = Made(1, 6, 6, 3)
    x = 0
    for _ in range(5):
        x = m.op("other", (m.conv(x, 4),), (1, 6, 6, 4), name="PRELU")
    x = m.op("clip", (m.conv(x, 4),), (1, 6, 6, 4), low=-1.0, high=1.0)
    assert lines(m, m.logits(x)) == [
        "op 1 PRELU (6x6x4): not supported: wanted ReLU or ReLU6 (and 4 more like it)",
        "op 11 CLIP (6x6x4): clamps to -1..1: not supported",
    ]


def test_one_window_has_no_stride():
    m = Made(1, 20, 6, 3)
    x = m.pool(m.conv(0, 4, act="relu"), "maxpool", (20, 6), (20, 6))
    step = match(m.ending(m.dense(m.conv(x, 4, (1, 1)), 4))).steps[1]
    assert (step.kind, step.layer().kernel, step.layer().stride) == ("maxpool", (20, 6), 1)


def test_an_activation_before_a_sum():
    m = Made(1, 6, 6, 3)
    x = m.conv(0, 4, act="relu")
    x = m.add(x, m.conv(m.conv(x, 4, act="relu"), 4, act="relu"))
    assert lines(m, m.logits(x)) == ["op 2 CONV (6x6x4): relu before the sum of op 3 ADD: not supported"]


def test_branches_that_are_no_block():
    m = Made(1, 6, 6, 3)
    x = m.conv(0, 4)
    y = m.conv(m.conv(m.conv(x, 4, act="relu"), 4, act="relu"), 4)
    assert lines(m, m.logits(m.add(x, y))) == [
        "op 4 ADD (6x6x4): joins branches that begin with op 1 CONV (6x6x4), op 4 ADD (6x6x4): not supported"
    ]


def test_a_kernel_larger_than_a_blob_can_say():
    m = Made(1, 24, 24, 3)
    assert lines(m, m.logits(m.conv(0, 4, (17, 3)))) == [
        "op 0 CONV (24x24x3): kernel 17x3: wanted at most 15 rows and columns"
    ]


def test_several_outputs():
    m = Made(1, 6, 6, 3)
    x = m.conv(0, 4)
    m.ending(x)
    m.graph.outputs = m.conv(x, 2), m.conv(x, 3)
    with pytest.raises(Unsupported) as e:
        match(m.graph)
    assert e.value.lines[0] == "outputs: wanted one, got 2: tensor 6 6x6x2, tensor 9 6x6x3"


def test_no_output():
    with pytest.raises(Unsupported, match="outputs: wanted one, got 0$"):
        match(Made(1, 6, 6, 3).graph)


def test_labels_for_each_class():
    m = Made(1, 6, 6, 3)
    assert lines(m, m.logits(m.conv(0, 4)), labels=("a", "b")) == ["labels: wanted 4, got 2"]
    twice = ["labels: wanted different ones, got twice: a"]
    assert lines(m, m.logits(m.conv(0, 4)), labels=("a", "b", "a", "c")) == twice


def test_labels_of_the_file_that_are_the_same_are_numbered():
    m = Made(1, 6, 6, 3)
    graph = replace(m.ending(m.logits(m.conv(0, 4))), labels=("a", "b", "a", "a"))
    assert match(graph).labels == ("a", "b", "a (2)", "a (3)")


def product(m):
    return m.logits(m.op("mul", (m.conv(0, 4), m.conv(0, 4)), (1, 6, 6, 4)))


def gate(m):
    return m.logits(m.conv(m.op("sigmoid", (m.conv(0, 4),), (1, 6, 6, 4)), 4))


def zeros_and_negative(m):
    return m.logits(m.pool(m.pad(m.conv(0, 4), SAME)))


def mean_of_channels(m):
    return m.logits(m.reshape(m.mean(m.conv(0, 4), (3,)), 1, 6, 6, 1))


def shuffled(m):
    return m.logits(m.conv(m.reshape(m.conv(0, 4), 1, 6, 4, 6), 4))


def average_at_edges(m):
    return m.logits(m.pool(m.conv(0, 4), "meanpool", (3, 3), (1, 1), SAME, counted=False))


def padded_with_ones(m):
    x = m.pad(m.conv(0, 4), SAME)
    m.graph.ops[-1].attrs["value"] = 1.0
    return m.logits(m.conv(x, 4))


def clamped(m):
    return m.logits(m.op("clip", (m.conv(0, 4),), (1, 6, 6, 4), low=-1.0, high=1.0))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (product, "op 2 MUL (6x6x4): of two maps: not supported"),
        (gate, "op 1 SIGMOID (6x6x4): inside of a network: not supported"),
        (zeros_and_negative, "op 2 MAXPOOL (4x4x4): zeros around a map that has values below zero: not supported"),
        (mean_of_channels, "op 1 MEAN (6x6): over axes [3] of 1x6x6x4: not supported"),
        (shuffled, "op 1 RESHAPE (6x4x6): of 6x6x4 to 6x4x6: not supported"),
        (average_at_edges, "op 1 MEANPOOL (6x6x4): divides by what lies inside the map at its edges: not supported"),
        (padded_with_ones, "op 1 PAD (8x8x4): with 1: wanted zeros"),
        (clamped, "op 1 CLIP (6x6x4): clamps to -1..1: not supported"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_one_obstacle(make, line):
    m = Made(1, 6, 6, 3)
    assert lines(m, make(m)) == [line]
