"""ONNX models as graphs: the same numbers as onnxruntime's, the same integers, and one line for what is no model."""

import sys
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from graphs import evaluate
from onnxes import Model, flat, kept, line, mobile, residual, run
from patchnet.importers.graph import Graph
from patchnet.importers.onnx import read
from patchnet.importers.source import Source, Steps

NETWORKS = {"mobile": mobile, "residual": residual, "flat": flat, "line": line}


def kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph.ops]


def compare(path, x, tolerance: float = 1e-4) -> Graph:
    """The graph of a file, which answers as onnxruntime does."""
    graph = read(path)
    for wanted, got in zip(run(path, x), evaluate(graph, kept(x)), strict=True):
        np.testing.assert_allclose(got, kept(wanted) if got.ndim == 4 else wanted, atol=tolerance)
    return graph


# ---------------------------------------------------------------- networks of real numbers


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 18, 21])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(tmp_path, name, opset):
    model, output = NETWORKS[name](opset, seed=opset)
    compare(model.save(tmp_path / "a.onnx", output), model.picture())


def test_what_is_left_of_a_mobile_network(tmp_path):
    model, output = mobile()
    graph = read(model.save(tmp_path / "a.onnx", output))
    block = ["conv", "depthwise", "conv"]
    assert kinds(graph) == ["conv", *block, *block, "add", "conv", "mean", "dense"]
    assert [op.attrs.get("act") for op in graph.ops[:4]] == ["relu6", "relu6", "relu6", "none"]
    assert graph.tensors[graph.inputs[0]].shape == (1, 20, 16, 3)
    assert graph.format == "onnx" and graph.ops[0].where == "op 0 Conv"


def test_what_is_left_of_a_residual_network(tmp_path):
    model, output = residual()
    graph = read(model.save(tmp_path / "a.onnx", output))
    assert kinds(graph) == ["conv", "maxpool", "conv", "conv", "conv", "add", "mean", "dense", "softmax"]
    assert graph.ops[5].attrs["act"] == "relu" and graph.ops[6].attrs["axes"] == (1, 2)


def test_a_flattened_map_is_in_the_order_of_nhwc(tmp_path):
    model, output = flat()
    graph = read(model.save(tmp_path / "a.onnx", output))
    assert kinds(graph) == ["conv", "maxpool", "conv", "meanpool", "reshape", "dense", "dense"]


def test_one_dimension_is_a_map_of_one_column(tmp_path):
    model, output = line()
    graph = read(model.save(tmp_path / "a.onnx", output))
    assert graph.tensors[graph.inputs[0]].shape == (1, 32, 1, 4)
    assert graph.tensors[graph.ops[0].inputs[1]].shape == (8, 3, 1, 4) and graph.ops[0].attrs["stride"] == (2, 1)


def test_a_batch_in_the_file_is_one(tmp_path):
    model = Model((8, 2, 4, 4))
    x = model.add("Reshape", "x", model.constant([8, 32], np.int64))
    path = model.save(tmp_path / "a.onnx", model.add("Gemm", x, model.weights(32, 3)))
    picture = model.picture()
    graph = read(path)
    assert kinds(graph) == ["reshape", "dense"]
    np.testing.assert_allclose(evaluate(graph, kept(picture[:1]))[0], run(path, picture)[0][:1], atol=1e-5)


def test_channels_last_in_the_file(tmp_path):
    """As tf2onnx writes them: an NHWC input that is prepared, then turned, and an output that is turned back."""
    model = Model(("n", 6, 5, 3))
    x = model.add("Mul", model.add("Sub", "x", model.constant([0.1, 0.2, 0.3])), model.constant(2.0))
    x = model.conv(model.add("Transpose", x, perm=[0, 3, 1, 2]), 3, 4, 3, 3)
    path = model.save(tmp_path / "a.onnx", model.add("Transpose", model.add("Relu", x), perm=[0, 2, 3, 1]))
    picture, graph = model.picture(), read(path)
    assert graph.tensors[graph.inputs[0]].shape == (1, 6, 5, 3) and kinds(graph) == ["affine", "conv"]
    np.testing.assert_allclose(evaluate(graph, picture)[0], run(path, picture)[0], atol=1e-5)


# ---------------------------------------------------------------- one operator at a time

X = (1, 4, 9, 8)  # of the input


def pads_of_old(m: Model) -> str:
    return m.add("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.5)


def pads_of_axes(m: Model) -> str:
    return m.add("Pad", "x", m.constant([2, 0], np.int64), "", m.constant([-1], np.int64))


def arithmetic_of_shapes(m: Model) -> str:
    """flatten(1) as older exporters write it."""
    shape = m.add("Gather", m.add("Shape", "x"), m.constant(0, np.int64), axis=0)
    batch = m.add("Unsqueeze", shape, m.constant([0], np.int64))
    rest = m.add("Cast", m.add("Constant", value=numpy_helper.from_array(np.array([-1.0], np.float32))), to=7)
    x = m.add("Reshape", "x", m.add("Concat", batch, rest, axis=0))
    return m.add("Gemm", x, m.weights(288, 3), m.weights(3), alpha=2.0, beta=0.5)


def turned_twice(m: Model) -> str:
    x = m.add("Transpose", "x", perm=[0, 2, 3, 1])
    return m.add("MatMul", m.add("Reshape", x, m.constant([1, -1], np.int64)), m.weights(288, 3))


def squeezed(m: Model) -> str:
    x = m.add("Squeeze", m.add("GlobalMaxPool", "x"), m.constant([2, 3], np.int64))
    return m.add("Unsqueeze", m.add("Relu", x), m.constant([2, -1], np.int64))


def norm_ahead(m: Model) -> str:
    x = m.norm(m.add("Relu", "x"), 4)
    return m.conv(x, 4, 5, 1, 1)


def pads_and_pads(m: Model) -> str:
    return m.conv(m.pad("x", 0, 0, 1, 0, 0, 0, 2, 1), 4, 2, 3, 3, pads=[0, 1, 0, 1])


def pads_and_maximum(m: Model) -> str:
    return m.pool("MaxPool", m.pad(m.add("Relu", "x"), 0, 0, 1, 1, 0, 0, 1, 1), 3, 3)


def constants(m: Model) -> str:
    return m.add("Div", m.add("Sub", m.constant(np.ones((4, 1, 1))), "x"), m.constant([[[[2.0]]]]))


def relu_behind(m: Model) -> str:
    return m.add("Relu", m.pool("MaxPool", m.conv("x", 4, 3, 3, 3), 2, 2, pads=[1] * 4))


def identities(m: Model) -> str:
    return m.add("Sigmoid", m.add("Dropout", m.add("Identity", m.add("Cast", "x", to=TensorProto.FLOAT))))


def computed_pads(m: Model) -> str:
    """SAME padding of an odd one, as an exporter has it that follows the arithmetic: half of what is above 0."""
    whole = m.clip(m.add("Sub", m.constant(4.0), m.constant(1.0)), 0, 1e9)
    half = m.add(
        "Cast", m.add("Cast", m.add("Div", whole, m.constant(2.0)), to=TensorProto.INT64), to=TensorProto.FLOAT
    )
    one = m.constant([0], np.int64)
    sides = [m.add("Unsqueeze", side, one) for side in (half, m.add("Sub", whole, half))]
    none = m.constant([0.0, 0.0])
    pads = m.add("Concat", none, sides[0], sides[0], none, sides[1], sides[1], axis=0)
    return m.conv(m.add("Pad", "x", m.add("Cast", pads, to=TensorProto.INT64)), 4, 3, 3, 3, strides=[2, 2])


def functions_written_out(m: Model) -> str:
    """As an exporter writes its functions that does not simplify: types after another tensor, a bias of no values."""
    weight = m.weights(4, 4, 1, 1)
    channels = m.add("Shape", weight, start=0, end=1)
    bias = m.add("Expand", m.add("CastLike", m.constant(0, np.int64), "x"), channels)
    x = m.add("CastLike", m.add("Conv", "x", weight, bias), "x")
    limits = [m.add("CastLike", m.constant(limit, np.int64), x) for limit in (0, 6)]
    return m.add("Clip", x, *limits)


def softmax_of_turned(m: Model) -> str:
    """Over channels, as exporters of old opsets write it, which know a softmax over the last axis."""
    x = m.add("Softmax", m.add("Transpose", m.conv("x", 4, 3, 1, 1), perm=[0, 3, 2, 1]), axis=3)
    return m.add("Transpose", x, perm=[0, 3, 2, 1])


def mean_of_flat_rows(m: Model) -> str:
    x = m.add("Reshape", m.conv("x", 4, 3, 2, 3), m.constant([0, 3, -1], np.int64))
    return m.mean(x, -1, keep=0)


CASES = {
    "mean of flat rows": (13, mean_of_flat_rows, ["conv", "mean"]),
    "computed pads": (13, computed_pads, ["conv"]),
    "functions written out": (18, functions_written_out, ["conv"]),
    "softmax of turned": (11, softmax_of_turned, ["conv", "softmax"]),
    "same upper": (13, lambda m: m.conv("x", 4, 3, 3, 2, strides=[2, 3], auto_pad="SAME_UPPER"), ["conv"]),
    "same lower": (13, lambda m: m.conv("x", 4, 3, 4, 3, strides=[2, 2], auto_pad="SAME_LOWER"), ["conv"]),
    "valid": (13, lambda m: m.conv("x", 4, 3, 3, 2, auto_pad="VALID"), ["conv"]),
    "dilated": (13, lambda m: m.conv("x", 4, 3, 3, 2, dilations=[2, 3], pads=[2, 1, 0, 2]), ["conv"]),
    "groups": (13, lambda m: m.conv("x", 4, 6, 3, 2, groups=2), ["conv"]),
    "multiplier": (13, lambda m: m.conv("x", 4, 8, 3, 2, groups=4), ["conv"]),
    "sum": (13, lambda m: m.add("Sum", m.conv("x", 4, 4, 1, 1), "x"), ["conv", "add"]),
    "depthwise": (13, lambda m: m.conv("x", 4, 4, 3, 3, groups=4, bias=False, pads=[1, 0, 0, 1]), ["depthwise"]),
    "ceil": (13, lambda m: m.pool("MaxPool", "x", 3, 2, strides=[3, 2], ceil_mode=1), ["maxpool"]),
    "ceil beyond the map": (13, lambda m: m.pool("MaxPool", "x", 2, 3, strides=[2, 2], ceil_mode=1), ["maxpool"]),
    "ceil of pads": (
        13,
        lambda m: m.pool("MaxPool", "x", 3, 2, strides=[3, 4], pads=[1, 1, 1, 1], ceil_mode=1),
        ["maxpool"],
    ),
    "mean of what lies inside": (13, lambda m: m.pool("AveragePool", "x", 3, 3, pads=[1] * 4), ["meanpool"]),
    "mean of all": (13, lambda m: m.pool("AveragePool", "x", 3, 3, pads=[1] * 4, count_include_pad=1), ["meanpool"]),
    "old pads": (9, pads_of_old, ["pad"]),
    "pads of axes": (18, pads_of_axes, ["pad"]),
    "pads and pads": (13, pads_and_pads, ["conv"]),
    "pads and maximum": (13, pads_and_maximum, ["relu", "maxpool"]),
    "mean of axes": (18, lambda m: m.mean("x", -1, -2, keep=0), ["mean"]),
    "maximum of an axis": (13, lambda m: m.add("ReduceMax", "x", axes=[3]), ["max"]),
    "shapes": (13, arithmetic_of_shapes, ["reshape", "dense"]),
    "turned and flattened": (13, turned_twice, ["reshape", "dense"]),
    "squeezed": (13, squeezed, ["max", "relu", "reshape"]),
    "clip": (13, lambda m: m.clip("x", -0.5, 0.7), ["clip"]),
    "old clip": (7, lambda m: m.clip("x", 0, 6), ["relu6"]),
    "constants": (13, constants, ["affine"]),
    "norm ahead": (13, norm_ahead, ["relu", "conv"]),
    "map of constants": (13, lambda m: m.add("Add", "x", m.weights(9, 8)), ["add"]),
    "concat": (13, lambda m: m.add("Concat", "x", m.add("Relu", "x"), axis=1), ["relu", "concat"]),
    "softmax of channels": (13, lambda m: m.add("Softmax", "x", axis=1), ["softmax"]),
    "identities": (13, identities, ["sigmoid"]),
    "relu behind a maximum": (13, relu_behind, ["conv", "maxpool"]),
}


@pytest.mark.parametrize("name", CASES)
def test_operators(tmp_path, name):
    opset, make, wanted = CASES[name]
    model = Model(X, seed=len(name), opset=opset)
    graph = compare(model.save(tmp_path / "a.onnx", make(model)), model.picture())
    assert kinds(graph) == wanted


OTHERS = {
    "groups": (
        lambda m: m.conv(m.conv("x", 4, 512, 1, 1), 512, 512, 1, 1, groups=2),
        "Conv",
        "2 groups of 512 channels",
    ),
    "ceil": (lambda m: m.pool("AveragePool", "x", 2, 2, strides=[2, 2], ceil_mode=1), "AveragePool", "with ceil_mode"),
    "name": (lambda m: m.add("HardSigmoid", "x"), "HardSigmoid", ""),
    "domain": (lambda m: m.add("Gelu", "x", domain="com.microsoft"), "Gelu", "of com.microsoft"),
    "weights": (lambda m: m.add("Conv", "x", m.add("Relu", "x")), "Conv", "with weights that are no constant"),
    "mode": (lambda m: m.pad("x", 0, 0, 1, 1, 0, 0, 1, 1, mode="reflect"), "Pad", "with mode reflect"),
    "attribute": (lambda m: m.conv("x", 4, 4, 3, 3, strides="2"), "Conv", "with an attribute strides of another type"),
    "old softmax": (lambda m: m.add("Softmax", "x"), "Softmax", "over all of 1x4x9x8 from axis 1 on"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_has_no_word_is_told_by_name(tmp_path, name):
    make, op, why = OTHERS[name]
    model = Model(X, opset=11)
    path = model.save(tmp_path / "a.onnx", model.add("Relu", make(model)))
    others = [o for o in read(path).ops if o.kind == "other"]
    assert [(o.name, o.attrs.get("why", "")) for o in others] == [(op, why)]


@pytest.mark.parametrize("last", [True, False])
def test_pixels_that_stand_for_themselves(tmp_path, last):
    model = Model((1, 6, 5, 3) if last else (1, 3, 6, 5), dtype=TensorProto.UINT8)
    x = model.add("Transpose", "x", perm=[0, 3, 1, 2]) if last else "x"
    x = model.add("Div", model.add("Cast", x, to=TensorProto.FLOAT), model.constant(255.0))
    path = model.save(tmp_path / "a.onnx", model.add("Flatten", model.conv(x, 3, 4, 6, 5)))
    graph, pixels = read(path), np.random.default_rng(2).integers(0, 256, model.shape).astype(np.uint8)
    assert (graph.tensors[graph.inputs[0]].shape, graph.tensors[graph.inputs[0]].scale) == ((1, 6, 5, 3), 1.0)
    (got,) = evaluate(graph, pixels if last else kept(pixels))
    np.testing.assert_allclose(got.reshape(1, 4), run(path, pixels)[0], atol=1e-5)
    source, seen = Source(path), (pixels if last else kept(pixels))[0]
    assert source.network.first == Steps(1.0, -128)
    np.testing.assert_allclose(
        source.run((seen.astype(int) - 128).astype(np.int8)).real.ravel(), got.ravel(), atol=1e-5
    )


def test_a_logarithm_of_a_softmax_is_one(tmp_path):
    model = Model(("n", 6))
    x = model.add("LogSoftmax", model.add("Gemm", "x", model.weights(6, 3)), axis=1)
    assert kinds(read(model.save(tmp_path / "a.onnx", x))) == ["dense", "softmax"]


def test_shapes_behind_what_has_no_word(tmp_path):
    model = Model(("n", 3, 8, 6), opset=14)
    x = model.add("HardSwish", model.conv("x", 3, 4, 3, 3))
    path = model.save(tmp_path / "a.onnx", model.conv(x, 4, 5, 3, 3))
    graph = read(path)
    assert kinds(graph) == ["conv", "other", "conv"]
    assert [graph.tensors[op.outputs[0]].shape for op in graph.ops] == [(1, 6, 4, 4), (1, 6, 4, 4), (1, 4, 2, 5)]


# ---------------------------------------------------------------- integers


class Pictures(CalibrationDataReader):
    def __init__(self, model: Model):
        self.left = [{"x": model.picture()} for _ in range(6)]

    def get_next(self):
        return self.left.pop() if self.left else None


def quantized(tmp_path, model: Model, output: str, **how):
    """The model with integers, which onnxruntime makes."""
    real, path = model.save(tmp_path / "real.onnx", output), tmp_path / "integers.onnx"
    quantize_static(real, path, Pictures(model), weight_type=QuantType.QInt8, **how)
    return path


def plain_mobile(opset: int, seed: int) -> tuple[Model, str]:
    return mobile(opset, seed, norms=False)


FORMATS = [QuantFormat.QDQ, QuantFormat.QOperator]
ACTIVATIONS = [QuantType.QInt8, QuantType.QUInt8]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("activations", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("form", FORMATS, ids=str)
@pytest.mark.parametrize("make", [plain_mobile, flat], ids=["mobile", "flat"])
def test_integers(tmp_path, make, form, activations, per_channel):
    model, output = make(13, seed=3)
    path = quantized(tmp_path, model, output, quant_format=form, activation_type=activations, per_channel=per_channel)
    graph, picture = read(path), model.picture()
    assert kinds(graph)[0] == "quantize" and kinds(graph)[-1] == "dequantize"
    assert not {"affine", "clip", "quantize", "dequantize", "transpose", "other"} & set(kinds(graph)[1:-1])
    step = graph.tensors[graph.ops[-1].inputs[0]].scale
    got, wanted = evaluate(graph, kept(picture))[0], run(path, picture)[0]
    assert np.abs(got - wanted).max() <= 1.01 * step  # its kernels round products in float32


@pytest.mark.parametrize("activations", ACTIVATIONS, ids=str)
def test_integers_are_those_of_the_file(tmp_path, activations):
    model, output = plain_mobile(13, 5)
    path = quantized(tmp_path, model, output, activation_type=activations, per_channel=True)
    file = {c.name: numpy_helper.to_array(c) for c in onnx.load(path).graph.initializer}
    graph = read(path)
    conv, dense = graph.ops[1], graph.ops[-2]
    x, weight, bias = (graph.tensors[i] for i in conv.inputs)
    assert conv.kind == "conv" and (x.dtype, weight.dtype, bias.dtype) == ("int8", "int8", "int32")
    assert np.array_equal(weight.data, file["constant0_quantized"].transpose(0, 2, 3, 1))
    assert np.array_equal(weight.quantization.scale, file["constant0_scale"].astype(np.float64))
    assert np.array_equal(bias.data, file["constant1_quantized"]) and bias.quantization.axis == 0
    zero = file["x_zero_point"].astype(int) - 128 * (activations is QuantType.QUInt8)
    assert (x.scale, x.zero) == (float(file["x_scale"]), zero)
    assert np.array_equal(graph.tensors[dense.inputs[1]].data, file[graph.tensors[dense.inputs[1]].name])
    assert conv.attrs["act"] == "relu" and graph.tensors[conv.outputs[0]].zero == -128


def test_a_float_bias_becomes_int32(tmp_path):
    """As training with quantization exports it: weights that are still real, quantized in the graph."""
    model = Model((1, 3, 6, 6))
    sx, sw, sy = (model.constant(v) for v in (0.03, 0.01, 0.05))
    zero, none = model.constant(-7, np.int8), model.constant(0, np.int8)
    x = model.add("DequantizeLinear", model.add("QuantizeLinear", "x", sx, zero), sx, zero)
    weight = model.add("QuantizeLinear", model.weights(4, 3, 3, 3), sw, none)
    y = model.add("Conv", x, model.add("DequantizeLinear", weight, sw, none), model.weights(4))
    y = model.add("DequantizeLinear", model.add("QuantizeLinear", model.add("Relu", y), sy, zero), sy, zero)
    path, picture = model.save(tmp_path / "a.onnx", y), model.picture()
    graph = read(path)
    assert kinds(graph) == ["quantize", "conv", "dequantize"] and graph.ops[1].attrs["act"] == "relu"
    bias = graph.tensors[graph.ops[1].inputs[2]]
    assert bias.dtype == "int32" and bias.quantization.scale == pytest.approx(0.0003)
    assert np.abs(evaluate(graph, kept(picture))[0] - kept(run(path, picture)[0])).max() <= 0.0501


def test_norms_between_integers(tmp_path):
    """As quantization with norms that are not folded exports it: gains go into the scales and signs of the weights."""
    model = Model((1, 3, 6, 6))
    sx, sw, sy = model.constant(0.03), model.constant(model.rng.uniform(0.005, 0.01, 8)), model.constant(0.05)
    zero, none, low = model.constant(-7, np.int8), model.constant(np.zeros(8), np.int8), model.constant(-128, np.int8)
    x = model.add("DequantizeLinear", model.add("QuantizeLinear", "x", sx, zero), sx, zero)
    weight = model.constant(model.rng.integers(-127, 128, (8, 3, 3, 3)), np.int8)
    y = model.add("Conv", x, model.add("DequantizeLinear", weight, sw, none, axis=0))
    y = model.add("QuantizeLinear", model.add("Relu", model.norm(y, 8)), sy, low)
    path = model.save(tmp_path / "a.onnx", model.add("DequantizeLinear", y, sy, low))
    graph, picture = read(path), model.picture()
    assert kinds(graph) == ["quantize", "conv", "dequantize"]
    assert [graph.tensors[i].dtype for i in graph.ops[1].inputs] == ["int8", "int8", "int32"]
    assert np.abs(evaluate(graph, kept(picture))[0] - kept(run(path, picture)[0])).max() <= 0.0501


def test_uint8_at_the_ends_stays(tmp_path):
    model = Model((1, 2, 4, 4), dtype=TensorProto.UINT8)
    scale, zero = model.constant(0.1), model.constant(100, np.uint8)
    x = model.add("DequantizeLinear", "x", scale, zero)
    y = model.add("QuantizeLinear", model.add("Relu", x), scale, zero)
    path = tmp_path / "a.onnx"
    onnx.save(model.proto(y, dtype=TensorProto.UINT8), path)
    graph = read(path)
    x = np.random.default_rng(0).integers(0, 256, (1, 2, 4, 4)).astype(np.uint8)
    assert kinds(graph) == ["quantize", "relu", "quantize"]
    assert [graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs, graph.ops[0].outputs[0])] == [
        "uint8", "uint8", "int8",
    ]  # fmt: skip
    assert np.array_equal(evaluate(graph, kept(x))[0], kept(run(path, x)[0]))


# ---------------------------------------------------------------- files


def fails(path) -> str:
    with pytest.raises(ValueError) as raised:
        read(path)
    said = str(raised.value)
    assert said.startswith(f"{path}: ") and "\n" not in said
    return said.removeprefix(f"{path}: ")


def test_no_model(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\xff\xff\xff")
    assert fails(path).startswith("not an ONNX model: ")
    path.write_bytes(b"")
    assert fails(path) == "not an ONNX model: it has no operators"


def dims(place: int, length: int):
    return lambda m: m.graph.initializer[0].dims.__setitem__(place, length)


def symbolic(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


def old(m: onnx.ModelProto) -> None:
    m.opset_import[0].version = 6


def other_input(m: onnx.ModelProto) -> None:
    m.graph.node[0].input[0] = "y"


def no_output(m: onnx.ModelProto) -> None:
    m.graph.output[0].name = "z"


BROKEN = {
    "old": (old, "opset 6: wanted 7 or later (onnx.version_converter makes it so)"),
    "longer": (dims(0, 9), "constant 'constant0': 864 bytes for 9x3x3x3 of float32"),
    "endless": (dims(0, 1 << 60), "constant 'constant0': 864 bytes for "),
    "negative": (dims(0, -1), "constant 'constant0': shape -1x3x3x3"),
    "order": (
        lambda m: m.graph.node[0].input.__setitem__(0, "y"),
        "op 0 Conv reads 'y', which nothing before it makes",
    ),
    "output": (no_output, "output 'z': nothing makes it"),
    "input": (lambda m: m.graph.ClearField("input"), "no input"),
    "shape": (
        symbolic,
        "input 'x' is ?x3x?x16: wanted numbers behind the batch (python -m onnxruntime.tools.make_dynamic_shape_fixed",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(tmp_path, name):
    change, said = BROKEN[name]
    model, output = mobile()
    proto = model.proto(output)
    change(proto)
    path = tmp_path / "a.onnx"
    path.write_bytes(proto.SerializeToString())
    assert fails(path).startswith(said)


def outside(tmp_path, location: str, **more: int):
    """A model that has its weights in another file."""
    model = Model(X)
    proto = model.proto(model.conv("x", 4, 3, 3, 3, bias=False))
    weights = proto.graph.initializer[0]
    (tmp_path / "weights.bin").write_bytes(bytes(8) + weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": 8, "length": 432, **more}.items():
        weights.external_data.add(key=key, value=str(value))
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    path = folder / "a.onnx"
    path.write_bytes(proto.SerializeToString())
    return model, path


def test_data_beside_the_model(tmp_path):
    model, path = outside(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").rename(path.with_name("weights.bin"))
    compare(path, model.picture())


NO_FILE = "constant 'constant0': its data {!r} is no file in the model's folder"
NO_BYTES = "constant 'constant0': wanted 432 bytes, 'a.onnx' has {} of "
ELSEWHERE = [
    ("../weights.bin", {}, NO_FILE),
    ("missing.bin", {}, NO_FILE),
    ("link.bin", {}, NO_FILE),
    ("", {}, NO_FILE),
    ("\0", {}, NO_FILE),
    ("a.onnx", {"offset": 1 << 40}, NO_BYTES.format("432 at 1099511627776")),
    ("a.onnx", {"length": 1 << 40}, NO_BYTES.format("1099511627776 at 8")),
    ("a.onnx", {"offset": -1}, NO_BYTES.format("432 at -1")),
]


@pytest.mark.parametrize(("location", "more", "said"), ELSEWHERE)
def test_data_elsewhere_is_not_opened(tmp_path, location, more, said):
    _, path = outside(tmp_path, location, **more)
    path.with_name("link.bin").symlink_to(tmp_path / "weights.bin")
    assert fails(path).startswith(said.format(location))


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"^reading .onnx needs the package onnx: pip install 'patchnet\[import\]'$"):
        read(tmp_path / "a.onnx")


@pytest.mark.parametrize("name", ["mobile", "integers", "shapes"])
def test_cuts_and_flips_give_a_graph_or_a_line(tmp_path, name):
    model, output = plain_mobile(13, 0)
    if name == "shapes":
        model = Model(X)
        output = arithmetic_of_shapes(model)
    path = model.save(tmp_path / "a.onnx", output)
    if name == "integers":
        path = quantized(tmp_path, model, output)
    data, rng, start = path.read_bytes(), np.random.default_rng(7), time.monotonic()
    for i in range(400):
        broken = bytearray(data[: rng.integers(len(data))] if i % 4 == 0 else data)
        for place in rng.integers(len(broken), size=int(rng.integers(1, 4))) if broken else ():
            broken[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        try:
            assert isinstance(read(path), Graph)
        except ValueError as e:
            assert str(e).startswith(f"{path}: ") and "\n" not in str(e)
    assert time.monotonic() - start < 60


def test_what_computes_constants_is_bounded(tmp_path):
    """A few bytes that ask for gigabytes are an operator like any other that is not known."""
    model = Model((1, 4))
    big = model.add("ConstantOfShape", model.constant([1 << 20, 1 << 20], np.int64))
    wide = model.add("Expand", model.constant([1.0]), model.constant([1 << 40], np.int64))
    row, column = model.constant(np.ones((1, 1 << 14))), model.constant(np.ones((1 << 14, 1)))
    model.add("Mul", row, column)
    model.add("Range", model.constant(0, np.int64), model.constant(1 << 60, np.int64), model.constant(1, np.int64))
    twice = model.constant([1.0])
    for _ in range(40):
        twice = model.add("Concat", twice, twice, axis=0)
    path = model.save(tmp_path / "a.onnx", model.add("Concat", big, wide, twice, "x", axis=0))
    assert set(kinds(read(path))) == {"other", "concat"}


def test_constants_are_not_copied_without_end(tmp_path):
    model = Model((1, 4, 8, 8))
    weights = model.weights(4, 4, 15, 15)
    output = "x"
    for _ in range(100_000_000 // (4 * 4 * 15 * 15 * 4)):
        output = model.add("Conv", output, weights, pads=[7] * 4)
    assert fails(model.save(tmp_path / "a.onnx", output)).endswith("Conv: constants grow far beyond what the file has")
    wide = Model((1, 1 << 40, 1, 1))
    assert kinds(read(wide.save(tmp_path / "b.onnx", wide.add("Mul", "x", wide.constant(2.0))))) == ["mul"]


def test_an_attribute_that_is_a_graph_is_not_followed(tmp_path):
    model = Model((1, 4))
    body = helper.make_graph([], "body", [], [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4))])
    output = model.add("If", model.constant(True, bool), then_branch=body, else_branch=body)
    assert kinds(read(model.save(tmp_path / "a.onnx", output))) == ["other"]
