"""Reading .tflite files: what operators become, and what is said of files that are broken or meant ill."""

import io
import struct
import sys
import zipfile

import numpy as np
import pytest

import graphs
import tflites
from patchnet.importers import flatbuffer, tflite
from patchnet.importers.graph import Graph, Op, Tensor
from tflites import RELU, RELU6, SAME, VALID, Writer

EVERY = {"StrideH": 1, "StrideW": 1}  # pixel
VALID_EVERY = {"Padding": VALID} | EVERY


def read(data: bytes) -> Graph:
    return tflite.graph(flatbuffer.parse("x.tflite", data))


def fault(data: bytes) -> str:
    with pytest.raises(ValueError) as e:
        read(data)
    text = str(e.value)
    assert text.startswith("x.tflite: ") and "\n" not in text
    return text.removeprefix("x.tflite: ")


class Constant:
    """Of a file of one operator: what it reads behind its input."""

    def __init__(self, data, dtype: str = "int32", **rest):
        self.data, self.dtype, self.rest = data, dtype, rest


def weights(*shape: int, **rest) -> Constant:
    data = np.arange(np.prod(shape)).reshape(shape) % 251 - 125
    return Constant(data, **({"dtype": "int8", "scale": 0.01} | rest))


def built(name: str, shape, out, *constants: Constant, options: str = "", dtype: str = "int8", **values) -> bytes:
    """A file of one operator: its input's and output's shapes, and what else it reads."""
    w, steps = Writer(), {} if dtype == "float32" else {"scale": 0.25, "zero": 7}
    x = w.tensor("x", shape, dtype, **steps)
    rest = [w.constant(f"c{i}", c.data, c.dtype, **c.rest) for i, c in enumerate(constants)]
    y = w.tensor("y", out, dtype, **steps)
    w.op(name, [x, *rest], [y], options, **values)
    return w.built([x], [y])


def single(*args, **kwargs) -> tuple[Op, list[Tensor]]:
    """The operator that becomes of it, and what it reads."""
    graph = read(built(*args, **kwargs))
    (op,) = graph.ops
    return op, [graph.tensors[i] for i in op.inputs]


def conv(shape, out, *constants: Constant, **values) -> tuple[Op, list[Tensor]]:
    return single("CONV_2D", shape, out, *constants, options="Conv2DOptions", **(EVERY | values))


def depthwise(shape, out, *constants: Constant, **values) -> tuple[Op, list[Tensor]]:
    return single("DEPTHWISE_CONV_2D", shape, out, *constants, options="DepthwiseConv2DOptions", **(EVERY | values))


def dense(shape, out, *constants: Constant, **values) -> bytes:
    return built("FULLY_CONNECTED", shape, out, *constants, options="FullyConnectedOptions", **values)


# ---------------------------------------------------------------- what operators become


def test_a_network():
    graph = read(tflites.small(np.random.default_rng(0)))
    assert [op.kind for op in graph.ops] == ["conv", "depthwise", "meanpool", "reshape", "dense", "softmax"]
    assert [op.where for op in graph.ops][2:4] == ["op 2 AVERAGE_POOL_2D", "op 6 RESHAPE"]
    first = graph.ops[0]
    assert first.attrs == {"stride": (2, 2), "pads": (0, 1, 0, 1), "dilation": (1, 1), "act": "relu"}
    assert graph.tensors[first.inputs[2]].quantization.axis == 0  # 3 in the file, of a bias
    assert (graph.inputs, graph.tensors[0].name, graph.labels) == ((0,), "picture", ())
    assert (graph.tensors[0].scale, graph.tensors[0].zero) == (1 / 64, -5)
    (scores,) = graphs.evaluate(graph, np.zeros((1, 8, 8, 3), np.int8))
    assert scores.shape == (1, 3) and scores.sum() + 3 * 128 in range(254, 259)


@pytest.mark.parametrize(
    "padding, size, kernel, stride, dilation, out, pads",
    [
        (SAME, 8, 3, 1, 1, 8, (1, 1)), (SAME, 8, 3, 2, 1, 4, (0, 1)), (SAME, 7, 3, 2, 1, 4, (1, 1)),
        (SAME, 8, 4, 1, 1, 8, (1, 2)), (SAME, 8, 3, 1, 2, 8, (2, 2)), (SAME, 8, 1, 2, 1, 4, (0, 0)),
        (VALID, 8, 3, 2, 1, 3, (0, 0)), (VALID, 8, 3, 1, 3, 2, (0, 0)), (VALID, 8, 8, 1, 1, 1, (0, 0)),
    ],
)  # fmt: skip
def test_padding_in_numbers(padding, size, kernel, stride, dilation, out, pads):
    values = {"Padding": padding, "StrideH": stride, "DilationHFactor": dilation}
    op, _ = conv((1, size, 1, 2), (1, out, 1, 4), weights(4, kernel, 1, 2), **values)
    assert op.attrs["pads"] == (*pads, 0, 0)
    assert (op.attrs["stride"], op.attrs["dilation"]) == ((stride, 1), (dilation, 1))


def test_weights_as_the_graph_has_them():
    op, (_, w, b) = conv((1, 4, 4, 2), (1, 4, 4, 3), weights(3, 1, 2, 2), Constant([1, 2, 3]))
    assert op.kind == "conv" and w.data.shape == (3, 1, 2, 2) and b.data.tolist() == [1, 2, 3]
    op, (_, w) = depthwise((1, 4, 4, 3), (1, 4, 4, 3), weights(1, 2, 1, 3, scale=[1, 2, 3], axis=3))
    assert op.kind == "depthwise" and w.data.tolist() == [[[-125], [-122]], [[-124], [-121]], [[-123], [-120]]]
    assert w.quantization.axis == 0 and w.quantization.scale.tolist() == [1, 2, 3]
    assert "multiplier" not in op.attrs


def test_depthwise_of_one_channel_is_dense():
    op, (_, w) = depthwise((1, 4, 4, 1), (1, 4, 4, 2), weights(1, 2, 1, 2, scale=[1, 2], axis=3))
    assert op.kind == "conv" and w.data.tolist() == [[[[-125]], [[-123]]], [[[-124]], [[-122]]]]


@pytest.mark.parametrize("dtype, zero", [("int8", 0), ("uint8", 9)])
def test_depthwise_with_a_multiplier_is_dense_with_zeros(dtype, zero):
    data = np.arange(1, 5).reshape(1, 1, 1, 4)
    op, (_, w) = depthwise((1, 4, 4, 2), (1, 4, 4, 4), Constant(data, dtype, scale=1, zero=zero), dtype=dtype)
    assert op.kind == "conv" and w.data.reshape(4, 2).tolist() == [[1, zero], [2, zero], [zero, 3], [zero, 4]]
    assert w.dtype == dtype and w.zero == zero
    op, _ = depthwise((1, 4, 4, 512), (1, 4, 4, 1024), weights(1, 1, 1, 1024))
    assert (op.kind, op.attrs) == ("other", {"why": "512 groups of 512 channels"})


def test_fully_connected():
    graph = read(dense((1, 2, 2, 3), (1, 4), weights(4, 12), FusedActivationFunction=RELU))
    assert [(op.kind, op.attrs) for op in graph.ops] == [("dense", {"act": "relu"})]
    graph = read(dense((1, 1, 1, 3), (1, 1, 1, 4), weights(4, 3), KeepNumDims=True))
    assert [op.kind for op in graph.ops] == ["dense"]


def test_fully_connected_over_each_pixel():
    graph = read(dense((1, 2, 2, 3), (1, 2, 2, 4), weights(4, 3), Constant([1, 2, 3, 4]), KeepNumDims=True))
    assert [op.kind for op in graph.ops] == ["conv", "reshape"]
    assert graph.tensors[graph.ops[0].inputs[1]].data.shape == (4, 1, 1, 3)
    assert graph.tensors[graph.ops[0].outputs[0]].shape == (1, 2, 2, 4)


def test_fully_connected_over_rows_that_were_pixels():
    w = Writer()
    x = w.tensor("x", (1, 2, 3, 5), scale=0.5)
    rows, y = w.tensor("rows", (6, 5), scale=0.5), w.tensor("y", (6, 4), scale=0.5, zero=3)
    w.op("RESHAPE", [x, w.constant("shape", [-1, 5])], [rows], "ReshapeOptions")
    k = w.constant("k", np.eye(4, 5), "int8", scale=1)
    w.op("FULLY_CONNECTED", [rows, k, -1], [y], "FullyConnectedOptions", FusedActivationFunction=RELU6)
    graph = read(w.built([x], [y]))
    assert [(op.kind, op.index) for op in graph.ops] == [("conv", 1), ("reshape", 1)]
    assert graph.ops[0].inputs[0] == x and graph.ops[0].attrs["act"] == "relu6"
    values = np.random.default_rng(0).integers(-128, 128, (1, 2, 3, 5)).astype(np.int8)
    (out,) = graphs.evaluate(graph, values)
    assert np.array_equal(out, np.clip(values.reshape(6, 5)[:, :4], 0, 12) + 3)


def test_what_a_fully_connected_layer_may_not_be():
    assert why(dense((6, 5), (6, 4), weights(4, 5))) == "over 6 rows"
    assert why(dense((1, 5), (1, 4), weights(4, 5), WeightsFormat=1)) == "weights in the format SHUFFLED4x16INT8"


def why(data: bytes) -> str:
    (op,) = read(data).ops
    assert op.kind == "other"
    return op.attrs["why"]


@pytest.mark.parametrize("name, kind", [("MAX_POOL_2D", "maxpool"), ("AVERAGE_POOL_2D", "meanpool")])
def test_pooling(name, kind):
    window = {"FilterHeight": 3, "FilterWidth": 2, "StrideH": 2, "StrideW": 2}
    op, _ = single(name, (1, 8, 8, 5), (1, 4, 4, 5), options="Pool2DOptions", **window)
    counted = {} if kind == "maxpool" else {"counted": False}
    wanted = {"kernel": (3, 2), "stride": (2, 2), "pads": (0, 1, 0, 0), "act": "none"} | counted
    assert (op.kind, op.attrs) == (kind, wanted)


@pytest.mark.parametrize("name, kind", [("MEAN", "mean"), ("REDUCE_MAX", "max"), ("SUM", "sum")])
@pytest.mark.parametrize("axes, keep, out", [([1, 2], 0, (1, 5)), ([-2, -3], 1, (1, 1, 1, 5)), (-1, 0, (1, 3, 4))])
def test_reductions(name, kind, axes, keep, out):
    op, read = single(name, (1, 3, 4, 5), out, Constant(axes), options="ReducerOptions", KeepDims=keep)
    assert op.kind == kind and op.attrs == {"axes": (3,) if axes == -1 else (1, 2)} and len(read) == 1


def test_pads():
    sides = Constant([[0, 0], [1, 2], [3, 4], [0, 0]])
    op, _ = single("PAD", (1, 4, 4, 2), (1, 7, 11, 2), sides, options="PadOptions")
    assert (op.kind, op.attrs) == ("pad", {"pads": (1, 2, 3, 4), "value": 0.0})
    op, _ = single("PADV2", (1, 4, 4, 2), (1, 7, 11, 2), sides, Constant(-1, "int8", scale=0.25, zero=7))
    assert op.attrs["value"] == -2
    channels = Constant([[0, 0], [0, 0], [0, 0], [0, 4]])
    assert why(built("PAD", (1, 4, 4, 2), (1, 4, 4, 6), channels)) == "of 0 and 4 channels"
    op, _ = single("MIRROR_PAD", (1, 4, 4, 2), (1, 7, 11, 2), sides)
    assert op.kind == "other"


@pytest.mark.parametrize(
    "name, kind, attrs",
    [
        ("RELU", "relu", {}), ("RELU6", "relu6", {}), ("RELU_N1_TO_1", "clip", {"low": -1, "high": 1}),
        ("LOGISTIC", "sigmoid", {}), ("QUANTIZE", "quantize", {}), ("DEQUANTIZE", "dequantize", {}),
        ("HARD_SWISH", "other", {}), ("LEAKY_RELU", "other", {}), ("PRELU", "other", {}), ("TANH", "other", {}),
    ],
)  # fmt: skip
def test_element_by_element(name, kind, attrs):
    op, _ = single(name, (1, 4), (1, 4))
    assert (op.kind, op.attrs, op.name) == (kind, attrs, name)


@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL"])
def test_two_operands(name):
    options = f"{name.title()}Options"
    op, (_, c) = single(name, (1, 2, 2, 3), (1, 2, 2, 3), weights(3), options=options, FusedActivationFunction=RELU)
    assert (op.kind, op.attrs) == (name.lower(), {"act": "relu"}) and c.data.shape == (3,)


def test_division_is_multiplication():
    op, (_, c) = single("DIV", (1, 2), (1, 2), Constant([2, 4], "int8", scale=0.5, zero=-4), options="DivOptions")
    assert op.kind == "mul" and c.dtype == "float32" and np.allclose(c.data, [1 / 3, 1 / 4])


def test_softmax():
    op, _ = single("SOFTMAX", (1, 4), (1, 4), options="SoftmaxOptions", Beta=1.0)
    assert (op.kind, op.attrs) == ("softmax", {"axis": 1})
    assert why(built("SOFTMAX", (1, 4), (1, 4), options="SoftmaxOptions", Beta=2.0)) == "beta 2"
    op, _ = single("LOG_SOFTMAX", (1, 2, 4), (1, 2, 4))
    assert (op.kind, op.attrs) == ("softmax", {"axis": -1})


def test_concatenation():
    op, parts = single("CONCATENATION", (1, 2, 3), (1, 2, 5), weights(1, 2, 2), options="ConcatenationOptions", Axis=-1)
    assert (op.kind, op.attrs, len(parts)) == ("concat", {"axis": 2}, 2)


def test_shapes():
    op, _ = single("TRANSPOSE", (1, 2, 3, 4), (1, 4, 2, 3), Constant([0, 3, 1, 2]))
    assert (op.kind, op.attrs) == ("transpose", {"perm": (0, 3, 1, 2)})
    for name, out in (("RESHAPE", (1, 24)), ("SQUEEZE", (2, 3, 4)), ("EXPAND_DIMS", (1, 1, 2, 3, 4))):
        op, (x,) = single(name, (1, 2, 3, 4), out)
        assert (op.kind, op.attrs) == ("reshape", {"shape": out})
    op, (x,) = single("RESHAPE", (-1, 2, 3, 4), (-1, 24), Constant([-1, 24]))
    assert x.shape == (1, 2, 3, 4) and op.attrs == {"shape": (1, 24)}


def test_a_shape_that_is_unknown_until_it_runs():
    graph = read(built("LOGISTIC", (1, 2, 3), ()))
    assert graph.tensors[graph.outputs[0]].shape == (1, 2, 3)


def rows_of_any_batch(rows: int, signature: tuple[int, ...] = (-1, -1)) -> bytes:
    """As Keras' Dense over the pixels of a map: rows of which the converter does not know how many there are."""
    w = Writer()
    x = w.tensor("x", (1, 2, 3, 4), scale=1, ShapeSignature=w.numbers((-1, 2, 3, 4), "i4"))
    whole, sides, taken = w.tensor("whole", (4,), "int32"), w.tensor("sides", (3,), "int32"), w.tensor("n", (), "int32")
    w.op("SHAPE", [x], [whole], "ShapeOptions")
    w.op("GATHER", [whole, w.constant("places", [0, 1, 2])], [sides], "GatherOptions")
    w.op("REDUCE_PROD", [sides, w.constant("axis", [0])], [taken], "ReducerOptions")
    shape, last = w.tensor("shape", (2,), "int32"), w.constant("last", rows)
    w.op("PACK", [taken, last], [shape], "PackOptions", ValuesCount=2)
    flat = w.tensor("flat", (1, 1), scale=1, ShapeSignature=w.numbers(signature, "i4"))
    w.op("RESHAPE", [x, shape], [flat], "ReshapeOptions")
    y = w.tensor("y", (1, 5), scale=1, ShapeSignature=w.numbers((-1, 5), "i4"))
    w.op("FULLY_CONNECTED", [flat, w.constant("k", np.ones((5, 4)), "int8", scale=1)], [y], "FullyConnectedOptions")
    out, size = w.tensor("out", (1, 30), scale=1), w.constant("size", [-1, 30])
    w.op("RESHAPE", [y, size], [out], "ReshapeOptions")
    return w.built([x], [out])


def test_shapes_of_a_batch_of_any_size_are_computed():
    graph = read(rows_of_any_batch(4))
    assert [(op.kind, graph.tensors[op.outputs[0]].shape) for op in graph.ops] == [
        ("conv", (1, 2, 3, 5)), ("reshape", (6, 5)), ("reshape", (1, 30)),
    ]  # fmt: skip
    graph = read(rows_of_any_batch(3))
    assert [op.attrs.get("why", "")[:30] for op in graph.ops] == ["of a shape that is not constan"] * 3


def test_integers_of_real_numbers_are_no_shapes():
    w = Writer()
    x, y = w.tensor("x", (1, 4), scale=1), w.tensor("y", (1, 4), scale=1)
    parts = [w.constant(name, [1, 2], "int8", scale=scale) for name, scale in (("a", 1), ("b", 2))]
    whole = w.tensor("whole", (4,), scale=1)
    w.op("CONCATENATION", parts, [whole], "ConcatenationOptions")
    w.op("ADD", [x, whole], [y], "AddOptions")
    assert [op.kind for op in read(w.built([x], [y])).ops] == ["concat", "add"]


def test_lengths_that_are_not_in_the_file():
    w = Writer()
    x = w.tensor("x", (1, 1, 1, 3), scale=1, ShapeSignature=w.numbers((-1, -1, -1, 3), "i4"))
    y = w.tensor("y", (1, 1, 1, 3), scale=1)
    w.op("LOGISTIC", [x], [y])
    wanted = "input x is ?x?x?x3: wanted numbers behind the batch: convert it with a fixed size"
    assert fault(w.built([x], [y])) == wanted


# ---------------------------------------------------------------- real numbers


@pytest.mark.parametrize(
    "constant", [Constant([1.5, -2], "float16"), Constant([3, -4], "int8", scale=[0.5, 0.25], zero=[0, 4])]
)
def test_constants_behind_dequantize(constant):
    w = Writer()
    x, y = w.tensor("x", (1, 2), "float32"), w.tensor("y", (1, 2), "float32")
    real = w.tensor("real", (2,), "float32")
    w.op("DEQUANTIZE", [w.constant("c", constant.data, constant.dtype, **constant.rest)], [real])
    w.op("MUL", [x, real], [y], "MulOptions")
    graph = read(w.built([x], [y]))
    (op,) = graph.ops
    assert op.kind == "mul" and op.inputs == (x, real)
    assert graph.tensors[real].data.tolist() == [1.5, -2] and graph.tensors[real].data.dtype == np.float32


def test_pixels_that_stand_for_themselves():
    w = Writer()
    x, y = w.tensor("x", (1, 2, 2, 3), "uint8"), w.tensor("y", (1, 2, 2, 3), "float32")
    w.op("CAST", [x], [y])
    graph = read(w.built([x], [y]))
    assert [op.kind for op in graph.ops] == ["dequantize"]
    assert (graph.tensors[x].scale, graph.tensors[x].zero) == (1.0, 0)
    assert why(built("CAST", (1, 4), (1, 4))) == "from int8 to int8"


def test_integer_weights_of_real_layers():
    constant = weights(1, 1, 1, 2, scale=[0.5, 2], axis=3)
    op, (_, w) = depthwise((1, 4, 4, 2), (1, 4, 4, 2), constant, dtype="float32")
    assert (w.dtype, w.quantization) == ("float32", None) and w.data.ravel().tolist() == [-62.5, -248]
    graph = read(dense((1, 2), (1, 1), weights(1, 2, scale=0.5), dtype="float32"))
    assert graph.tensors[graph.ops[0].inputs[1]].data.tolist() == [[-62.5, -62]]


# ---------------------------------------------------------------- what the graph has no kind for


def test_operators_known_by_name():
    op, (x,) = single("CUSTOM:Turn\n", (1, 2), (1, 2))
    assert (op.name, op.kind, op.where) == ("CUSTOM:Turn?", "other", "op 0 CUSTOM:Turn?")
    op, _ = single("RESIZE_NEAREST_NEIGHBOR", (1, 2, 2, 1), (1, 4, 4, 1), Constant([4, 4]))
    assert (op.kind, len(op.inputs)) == ("other", 2)


def test_weights_that_cannot_be_had():
    w = Writer()
    x, y = w.tensor("x", (1, 4), scale=1), w.tensor("y", (1, 2), scale=1)
    sparse = w.tensor("k", (2, 4), data=np.zeros(3, np.int8), Sparsity=w.table("SparsityParameters"))
    w.op("FULLY_CONNECTED", [x, sparse], [y], "FullyConnectedOptions")
    assert why(w.built([x], [y])) == "weights: sparse"
    w = Writer()
    x, y = w.tensor("x", (1, 4), scale=1), w.tensor("y", (1, 2), scale=1)
    w.op("FULLY_CONNECTED", [x, w.tensor("k", (2, 4), "int4", data=np.zeros(4, np.int8))], [y], "FullyConnectedOptions")
    assert why(w.built([x], [y])) == "weights: int4"
    w = Writer()
    x, k, y = (w.tensor(n, (1, 4), scale=1) for n in ("x", "k", "y"))
    w.op("FULLY_CONNECTED", [x, k], [w.tensor("y", (1, 1), scale=1)], "FullyConnectedOptions")
    assert why(w.built([x, k], [y + 1])) == "weights: not constant"


def test_groups():
    op, (_, w) = conv((1, 4, 4, 4), (1, 4, 4, 6), weights(6, 1, 1, 2))
    own, none = np.arange(12).reshape(6, 2) - 125, np.zeros((3, 2))
    assert op.kind == "conv"
    assert w.data.reshape(6, 4).tolist() == np.block([[own[:3], none], [none, own[3:]]]).tolist()
    op, _ = conv((1, 4, 4, 1024), (1, 4, 4, 512), weights(512, 1, 1, 512))
    assert op.attrs == {"why": "2 groups of 1024 channels"}


def dilated(crops: tuple[int, ...] = (0, 1, 0, 2)) -> bytes:
    """A convolution of 3x2 between values that lie 2 and 3 apart, as Keras has it done."""
    w = Writer()
    x, y = w.tensor("x", (1, 9, 8, 2), scale=1), w.tensor("y", (1, 9, 7, 3), scale=1)
    apart, made = w.tensor("apart", (6, 7, 4, 2), scale=1), w.tensor("made", (6, 5, 3, 3), scale=1)
    block, pads, cut = w.constant("block", [2, 3]), w.constant("pads", [2, 3, 1, 3]), w.constant("cut", crops)
    kernel = w.constant("k", np.arange(36).reshape(3, 3, 2, 2), "int8", scale=1)
    w.op("SPACE_TO_BATCH_ND", [x, block, pads], [apart])
    every = VALID_EVERY | {"DilationHFactor": 1, "DilationWFactor": 1}
    w.op("CONV_2D", [apart, kernel], [made], "Conv2DOptions", **every)
    w.op("BATCH_TO_SPACE_ND", [made, block, cut], [y])
    return w.built([x], [y])


def test_a_dilation_by_way_of_the_batch():
    graph = read(dilated())
    (op,) = graph.ops
    assert (op.kind, op.attrs["dilation"], op.attrs["pads"], op.inputs[0]) == ("conv", (2, 3), (2, 2, 1, 1), 0)
    assert graph.tensors[op.outputs[0]].shape == (1, 9, 7, 3)
    assert [op.kind for op in read(dilated((1, 0, 0, 2))).ops] == ["other", "conv", "other"]


def test_what_nobody_needs_and_what_does_more():
    w = Writer()
    x, state = w.tensor("x", (1, 2), scale=1), w.tensor("state", (1, 2), scale=1, IsVariable=True)
    y, unused = w.tensor("y", (1, 2), scale=1), w.tensor("unused", (1, 2), scale=1)
    w.op("TANH", [x], [unused])
    w.op("ADD", [x, state], [y], "AddOptions")
    w.op("ASSIGN_VARIABLE", [state, y], [])
    assert [op.name for op in read(w.built([x], [y], subgraphs=2)).ops] == ["ADD", "ASSIGN_VARIABLE"]


def test_labels():
    def file(text: str, name: str = "labels.txt") -> bytes:
        out = io.BytesIO(tflites.small(np.random.default_rng(0)))
        with zipfile.ZipFile(out, "a") as archive:
            archive.writestr(name, text)
        return out.getvalue()

    assert read(file("cat\ndög\r\nno one\n")).labels == ("cat", "dög", "no one")
    assert read(file("cat\ndog\n")).labels == ()  # of three classes
    assert read(file("a\nb\nc", "notes.md")).labels == ()
    assert read(file("a\nb\nc")[:-5]).labels == ()


# ---------------------------------------------------------------- files that are broken or meant ill


def test_no_model(tmp_path):
    assert fault(b"") == "not a TFLite model: wanted b'TFL3' at byte 4, the file has 0 bytes"
    assert fault(b"PK\3\4abcd") == "not a TFLite model: wanted b'TFL3' at byte 4, got b'abcd'"
    path = tmp_path / "none.tflite"
    path.write_bytes(b"no model at all")
    with pytest.raises(ValueError, match=rf"^{path}: not a TFLite model"):
        tflite.read(path)
    with pytest.raises(FileNotFoundError):
        tflite.read(tmp_path / "absent.tflite")


def test_a_missing_package(monkeypatch, tmp_path):
    path = tmp_path / "small.tflite"
    path.write_bytes(tflites.small(np.random.default_rng(0)))
    assert len(tflite.read(path).ops) == 6
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(ValueError) as e:
        tflite.read(path)
    assert str(e.value) == "reading .tflite needs the package tflite: pip install 'patchnet[import]'"


def lies(**fields) -> bytes:
    """LOGISTIC over a tensor of which something is wrong."""
    w = Writer()
    x = w.tensor(**({"name": "x", "shape": (1, 4), "scale": 1} | fields))
    y = w.tensor("y", (1, 4), scale=1)
    w.op("LOGISTIC", [x], [y])
    return w.built([x], [y])


@pytest.mark.parametrize(
    "data, wanted",
    [
        (lies(shape=(1, -7)), "damaged: tensor 0 x: wanted a shape, got (1, -7)"),
        (lies(shape=(1 << 30, 1 << 30)), "damaged: tensor 0 x: wanted a shape, got (1073741824, 1073741824)"),
        (lies(shape=(1,) * 9), "damaged: Shape of tensor 0 x: wanted at most 8, got 9"),
        (lies(shape=(1 << 20,), data=np.zeros(4, np.int8)),
         "damaged: tensor 0 x: int8 of shape (1048576,): wanted 1,048,576 bytes, got 4"),
        (lies(scale=[1, 2]), "damaged: tensor 0 x: 2 scales along axis 0 of shape (1, 4)"),
        (lies(scale=[1, 2, 3, 4], axis=9), "damaged: tensor 0 x: 4 scales along axis 9 of shape (1, 4)"),
        (lies(scale=np.nan), "damaged: tensor 0 x: wanted scales that are positive numbers, got nan..nan"),
        (lies(scale=0), "damaged: tensor 0 x: wanted a scale above 0, got 0"),
        (lies(zero=200), "damaged: tensor 0 x: wanted zero points of int8, got 200..200"),
        (lies(Buffer=9), "damaged: tensor 0 x: wanted one of 1 buffers, got 9"),
        (built("LOGISTIC", (1, 4), (1, 5)), "damaged: op 0 LOGISTIC: wanted an output of shape (1, 4), got (1, 5)"),
        (built("RESHAPE", (1, 4), (1, 5)), "damaged: op 0 RESHAPE: (1, 4) does not fit into (1, 5)"),
        (built("ADD", (1, 4), (1, 4), weights(3), options="AddOptions"),
         "damaged: op 0 ADD: (1, 4) and (3,) do not fit"),
        (built("CONV_2D", (1, 4, 4, 1), (1, 4, 4, 1), weights(1, 1, 1, 1), options="Conv2DOptions"),
         "damaged: op 0 CONV_2D: kernel (1, 1), stride (0, 0), dilation (1, 1): wanted 1 or more"),
        (built("CONV_2D", (1, 4, 4, 1), (1, 4, 4, 1)), "damaged: op 0 CONV_2D: wanted input 1, got none"),
        (built("CONV_2D", (1, 4, 4, 1), (1, 1, 1, 1), weights(1, 5, 1, 1), options="Conv2DOptions", **VALID_EVERY),
         "damaged: op 0 CONV_2D: kernel (5, 1) with dilation (1, 1) does not fit into (1, 4, 4, 1)"),
        (built("CONV_2D", (1, 4, 4, 1), (1, 4, 4, 2), weights(2, 1, 1, 1), weights(1), options="Conv2DOptions",
               **EVERY),
         "damaged: op 0 CONV_2D: wanted 2 biases, got (1,)"),
        (built("CONCATENATION", (1, 4), (1, 8), weights(2, 4), options="ConcatenationOptions", Axis=1),
         "damaged: op 0 CONCATENATION: (1, 4) and (2, 4) do not fit along axis 1"),
        (built("TRANSPOSE", (1, 4), (4, 1), Constant([1, 1])),
         "damaged: op 0 TRANSPOSE: wanted an order of 2 axes, got [1, 1]"),
        (built("MEAN", (1, 4), (1,), Constant([7]), options="ReducerOptions"),
         "damaged: op 0 MEAN: wanted one of 2 axes, got 7"),
        (built("MAX_POOL_2D", (1, 4, 4, 1), (1, 4, 4, 1), options="Pool2DOptions", Padding=5, **EVERY),
         "damaged: Padding of op 0 MAX_POOL_2D: wanted a Padding, got 5"),
    ],
)  # fmt: skip
def test_lies(data, wanted):
    assert fault(data) == wanted


def test_an_order_that_cannot_be():
    w = Writer()
    x, y, z = (w.tensor(n, (1, 2), scale=1) for n in "xyz")
    w.op("RELU", [y], [z])
    w.op("RELU", [x], [y])
    assert fault(w.built([x], [z])) == "damaged: op 0 RELU reads tensor 1 y before it is made"
    w = Writer()
    x, y, z = (w.tensor(n, (1, 2), scale=1) for n in "xyz")
    w.op("RELU", [x], [y])
    assert fault(w.built([x], [z])) == "damaged: tensor 2 z, an output, is made by no operator"
    w.op("RELU", [x], [x])
    assert fault(w.built([x], [y])) == "damaged: op 1 RELU makes tensor 0 x, which is there already"


def test_places_that_are_none():
    w = Writer()
    x = w.tensor("x", (1, 2), scale=1)
    w.op("RELU", [77], [x])
    assert fault(w.built([x], [x])) == "damaged: Inputs of op 0 RELU: wanted one of 1 tensors, got 77"


def test_tables_that_share_their_bytes():
    """Ten thousand tensors with the scales of one would take a thousand times the file's size."""
    w = Writer()
    x = w.tensor("x", (10_000,), scale=np.ones(10_000))
    w.tensors *= 10_000
    assert "it holds more than 16 times its" in fault(w.built([x], [x]))
    w.tensors *= 2
    assert fault(w.built([x], [x])) == "damaged, or too large: wanted at most 16,384 Tensors, got 20,000"


def survives(data: bytes) -> bool:
    """Whether it is a network still. All that else may be is a ValueError of one short line."""
    try:
        read(data)
    except ValueError as e:
        text = str(e)
        assert text.startswith("x.tflite: ") and "\n" not in text and len(text) < 400, text
        return False
    return True


@pytest.mark.filterwarnings("error")
def test_cut_off_anywhere():
    data = tflites.small(np.random.default_rng(0))
    assert survives(data)
    assert not any(survives(data[:n]) for n in range(0, len(data) - 16))


@pytest.mark.filterwarnings("error")
def test_damaged_anywhere():
    rng, data = np.random.default_rng(1), tflites.small(np.random.default_rng(0))
    left = 0
    for _ in range(2000):
        broken = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(data) // 4)) * 4
            numbers = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, len(data), int(rng.integers(len(data))))
            if rng.random() < 0.5:
                struct.pack_into("<I", broken, at, numbers[rng.integers(len(numbers))])
            else:
                broken[at + int(rng.integers(4))] ^= 1 << int(rng.integers(8))
        left += survives(bytes(broken))
    assert 50 < left < 1500  # both ends were seen


# ---------------------------------------------------------------- files of other people


@pytest.mark.parametrize("path", tflites.real_files(), ids=lambda path: path.stem)
def test_real_files(path):
    graph = tflite.read(path)
    seen = set(graph.inputs) | {i for i, t in enumerate(graph.tensors) if t.data is not None}
    for op in graph.ops:
        assert seen.issuperset(i for i in op.inputs if i >= 0)
        seen.update(op.outputs)
    assert seen.issuperset(graph.outputs)
    others = {op.where: op.attrs.get("why") for op in graph.ops if op.kind == "other"}
    known = {"openmv__blazeface_front_128": 11, "tinyengine__detection": 2}
    assert len(others) == known.get(path.stem, 0), others


def test_labels_of_a_real_file():
    labels = tflite.read(tflites.real_file("coral__mobilenet_v1_0.25_128_quant.tflite")).labels
    assert len(labels) == 1001 and labels[:2] == ("background", "tench, Tinca tinca")
