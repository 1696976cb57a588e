"""The original in its own interpreter: what goes in, what comes out in front of the softmax, what is refused."""

import sys

import numpy as np
import onnx
import pytest

import graphs
import tflites
from patchnet.importers import tflite
from patchnet.importers.source import Source


def saved(path, data: bytes):
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("source") / "small.tflite", tflites.small(np.random.default_rng(0)))


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (8, 8, 3)).astype(np.int8)


# ---------------------------------------------------------------- TensorFlow Lite


@pytest.mark.parametrize("reference", [False, True])
def test_logits_of_integers(small, reference):
    source = Source(small, reference)
    assert source.shape == (8, 8, 3)
    network = source.network
    assert (network.dtype, network.ending, network.last.zero) == ("int8", "softmax", 3)
    graph = tflite.read(small)
    graph.outputs = graph.ops[-1].inputs  # of the softmax
    for seed in range(5):
        answer = source.run(picture(seed))
        (wanted,) = graphs.evaluate(graph, picture(seed)[None])
        assert answer.integers.dtype == np.int8 and answer.integers.shape == (3,)
        # A mean of exactly half a step, of which TFLite rounds up what the oracle rounds to even, is worth half a step.
        assert np.abs(answer.integers.astype(int) - wanted[0]).max() <= 3
        assert np.allclose(answer.real, 0.1 * (answer.integers.astype(float) - 3))


def test_real_numbers_become_the_inputs_steps(small):
    source, q = Source(small), picture()
    real = (q.astype(float) + 5) / 64
    assert np.array_equal(source.run(real).integers, source.run(q).integers)
    assert np.array_equal(source.run(real + 0.005).integers, source.run(q).integers)


def ends(kind: str, path, last: str = "LOGISTIC"):
    """x (1, 4) of that type, made int8 where it is not; RELU; a sigmoid."""
    w = tflites.Writer()
    steps = {"int8": {"scale": 0.5, "zero": 1}, "uint8": {"scale": 0.5, "zero": 129}, "float32": {}}
    x = w.tensor("x", (1, 4), kind, **steps[kind])
    q = w.tensor("q", (1, 4), **steps["int8"]) if kind != "int8" else x
    if q != x:
        w.op("QUANTIZE", [x], [q], "QuantizeOptions")
    r, y = w.tensor("r", (1, 4), **steps["int8"]), w.tensor("y", (1, 4), scale=1 / 256, zero=-128)
    w.op("RELU", [q], [r])
    w.op(last, [r], [y])
    return saved(path, w.built([x], [y]))


@pytest.mark.parametrize("kind", ["int8", "uint8", "float32"])
def test_types_of_inputs(kind, tmp_path):
    source = Source(ends(kind, tmp_path / "x.tflite"))
    assert (source.network.dtype, source.network.first.zero, source.network.ending) == (kind, 1, "sigmoid")
    for x in (np.array([-9, 1, 2, 100], np.int8), np.array([-5, 0, 0.5, 49.5])):
        answer = source.run(x)
        assert answer.integers.tolist() == [1, 1, 2, 100] and answer.real.tolist() == [0, 0, 0.5, 49.5]


def test_integers_that_are_made_real_at_the_end(tmp_path):
    w = tflites.Writer()
    x, r = (w.tensor(name, (1, 2), scale=0.5, zero=1) for name in "xr")
    y = w.tensor("y", (1, 2), "float32")
    w.op("RELU", [x], [r])
    w.op("DEQUANTIZE", [r], [y], "DequantizeOptions")
    answer = Source(saved(tmp_path / "x.tflite", w.built([x], [y]))).run(np.array([-3, 7], np.int8))
    assert answer.integers.tolist() == [1, 7] and answer.real.tolist() == [0, 3]


def test_sixteen_bits_are_told_as_real_numbers(tmp_path):
    w = tflites.Writer()
    x, y = w.tensor("x", (1, 2), "float32"), w.tensor("y", (1, 2), "float32")
    q, r = (w.tensor(name, (1, 2), "int16", scale=1 / 1024) for name in "qr")
    w.op("QUANTIZE", [x], [q], "QuantizeOptions")
    w.op("RELU", [q], [r])
    w.op("DEQUANTIZE", [r], [y], "DequantizeOptions")
    source = Source(saved(tmp_path / "x.tflite", w.built([x], [y])))
    answer = source.run(np.array([-1.5, 2.5]))
    assert (source.network.first, source.network.last) == (None, None)
    assert answer.integers is None and answer.real.tolist() == [0, 2.5]


def test_networks_of_real_numbers(tmp_path):
    w = tflites.Writer()
    x, y = (w.tensor(name, (1, 2), "float32") for name in "xy")
    w.op("RELU", [x], [y])
    source = Source(saved(tmp_path / "x.tflite", w.built([x], [y])))
    answer = source.run(np.array([-1.5, 2.5]))
    assert answer.integers is None and answer.real.tolist() == [0, 2.5]
    with pytest.raises(ValueError, match="wanted real numbers, got int8"):
        source.run(np.zeros(2, np.int8))


# ---------------------------------------------------------------- ONNX


OPSETS = (("", 13), ("com.microsoft", 1))


def onnx_file(path, shape, nodes, **constants):
    """From x of that shape to y."""
    helper, numbers = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(kind, inputs.split(), [output], **attrs) for kind, inputs, output, attrs in nodes],
        "graph",
        [helper.make_tensor_value_info("x", numbers, shape)],
        [helper.make_tensor_value_info("y", numbers, None)],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*id) for id in OPSETS], ir_version=8)
    return saved(path, model.SerializeToString())


WEIGHT = np.random.default_rng(0).standard_normal((24, 3)).astype(np.float32)


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("scores", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("last", ["turned at once", "normalised first", ""])
def test_onnx_maps(tmp_path, last, scores, reference):
    """Channels first, as ONNX has them; or last, where the input is turned before anything goes over rows."""
    one = [("Mul", "x one", "times", {})] if last == "normalised first" else []
    turn = [*one, ("Transpose", "times" if one else "x", "turned", {"perm": (0, 3, 1, 2)})] if last else []
    nodes = [
        *turn, ("Conv", f"{'turned' if last else 'x'} kernel", "same", {}), ("Flatten", "same", "flat", {}),
        ("MatMul", "flat weight", "logits", {}), (scores, "logits", "y", {}),
    ]  # fmt: skip
    shape, kernel = ("batch", 2, 4, 3) if last else ("batch", 3, 2, 4), np.eye(3, dtype=np.float32)[:, :, None, None]
    source = Source(
        onnx_file(tmp_path / "x.onnx", shape, nodes, weight=WEIGHT, kernel=kernel, one=np.float32(1)), reference
    )
    assert (source.shape, source.network.ending) == ((2, 4, 3), "softmax")
    x = np.random.default_rng(1).standard_normal((2, 4, 3))
    answer = source.run(x)
    assert answer.integers is None and np.allclose(answer.real, x.transpose(2, 0, 1).ravel() @ WEIGHT, atol=1e-4)


def test_onnx_logits_of_a_turned_softmax(tmp_path):
    turn = {"perm": [0, 3, 2, 1]}
    nodes = [("Transpose", "x", "turned", turn), ("Softmax", "turned", "s", {"axis": 3}), ("Transpose", "s", "y", turn)]
    source = Source(onnx_file(tmp_path / "x.onnx", (1, 3, 2, 4), nodes))
    x = np.random.default_rng(1).standard_normal((2, 4, 3))
    assert source.network.ending == "softmax" and np.allclose(source.run(x).real, x)


def test_onnx_logits_of_integer_operators(tmp_path):
    steps = {"s": np.float32(0.5), "z": np.uint8(118), "t": np.float32(1 / 256), "n": np.uint8(0)}
    softmax = ("QLinearSoftmax", "q s z t n", "p", {"axis": 1, "opset": 13, "domain": "com.microsoft"})
    nodes = [("QuantizeLinear", "x s z", "q", {}), softmax, ("DequantizeLinear", "p t n", "y", {})]
    source = Source(onnx_file(tmp_path / "x.onnx", (1, 3), nodes, **steps))
    answer = source.run(np.array([-1.0, 0.0, 2.5]))
    assert source.network.ending == "softmax" and answer.integers.tolist() == [-12, -10, -5]
    assert answer.real.tolist() == [-1.0, 0.0, 2.5]


def test_onnx_heat_map(tmp_path):
    source = Source(onnx_file(tmp_path / "x.onnx", (1, 3, 2, 4), [("Sigmoid", "x", "y", {})]))
    x = np.random.default_rng(1).standard_normal((2, 4, 3))
    assert np.allclose(source.run(x).real, x)


@pytest.mark.parametrize("dtype, zero", [(np.int8, -5), (np.uint8, 123)])
def test_onnx_of_integers(tmp_path, dtype, zero):
    nodes = [
        ("QuantizeLinear", "x s z", "q", {}), ("DequantizeLinear", "q s z", "d", {}), ("Relu", "d", "r", {}),
        ("QuantizeLinear", "r s z", "q2", {}), ("DequantizeLinear", "q2 s z", "d2", {}), ("Softmax", "d2", "y", {}),
    ]  # fmt: skip
    file = onnx_file(tmp_path / "x.onnx", (1, 3), nodes, s=np.float32(0.5), z=dtype(zero))
    for x in (np.array([-20, -4, 90], np.int8), np.array([-7.5, 0.5, 47.5])):
        answer = Source(file).run(x)
        assert answer.integers.tolist() == [-5, -4, 90] and answer.real.tolist() == [0, 0.5, 47.5]


# ---------------------------------------------------------------- what is refused


def refusal(path) -> str:
    with pytest.raises(ValueError) as e:
        Source(path)
    text = str(e.value)
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


def test_no_models(tmp_path):
    assert refusal(tmp_path / "x.h5") == "wanted a file that ends in .tflite or .onnx"
    assert refusal(saved(tmp_path / "x.tflite", b"none at all")).startswith("not a TFLite model")
    assert refusal(saved(tmp_path / "x.onnx", b"none at all")).startswith("not an ONNX model")
    w = tflites.Writer()
    x, y = (w.tensor(name, (1, 2), "float32") for name in "xy")
    w.op("CUSTOM:Mine", [x], [y])
    assert refusal(saved(tmp_path / "x.tflite", w.built([x], [y]))).startswith("its interpreter refuses it: ")
    assert refusal(saved(tmp_path / "x.tflite", w.built([x], [y, x]))) == "wanted 1 output, got 2"
    file = onnx_file(tmp_path / "x.onnx", (1, 3), [("Nothing", "x", "y", {})])
    assert refusal(file).startswith("its interpreter refuses it: ")
    file = onnx_file(tmp_path / "x.onnx", (1, 3), [("Identity", "y", "a", {}), ("Identity", "a", "y", {})])
    assert refusal(file) == "Identity reads y too early"


def test_a_wrong_input(small):
    with pytest.raises(ValueError, match=r"wanted an input of \(8, 8, 3\), got \(8, 8\)"):
        Source(small).run(np.zeros((8, 8)))
    with pytest.raises(ValueError, match="wanted an input of real numbers or int8, got uint8"):
        Source(small).run(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("name, file", [("ai_edge_litert", "x.tflite"), ("onnxruntime", "x.onnx"), ("onnx", "x.onnx")])
def test_missing_packages(monkeypatch, tmp_path, name, file):
    ends("int8", tmp_path / "x.tflite")
    onnx_file(tmp_path / "x.onnx", (1, 3), [("Relu", "x", "y", {})])
    Source(tmp_path / file)
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"{name}.interpreter", raising=False)
    text = refusal(tmp_path / file)
    assert f"needs the package {name}" in text and text.endswith("pip install 'patchnet[import]'")
