"""Float32 networks in the C engine: the oracle's numbers, what is refused, and the way from trained weights on."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from cases import float_case, judged, moved, random_blob
from cengine import Engine, EngineError, sanitized
from difference import check
from networks import free_network, random_floats
from oracle import arena
from oracle.arena import COVER, DIRECT, GROUPS, ROLLING
from patchnet import format as fmt
from patchnet.blob import floats
from patchnet.blob.files import blobs_in, float_net, model_file, network_of, pack_float32
from patchnet.blob.floats import FloatNet, Real
from patchnet.blob.pack import blob_bytes, seal
from patchnet.blob.unpack import blob_plan, blob_qnet, read
from patchnet.data import load
from patchnet.engine.model import Model
from patchnet.evaluate.val import predict, val
from patchnet.models import FOLDER
from patchnet.net.layers import Float32Layer, Layer
from patchnet.net.recipe import Stage, patch_tunnels
from patchnet.net.toml import to_dict
from patchnet.plan import costs
from patchnet.plan.choice import front, plan
from patchnet.plan.place import areas, place
from patchnet.plan.sources import Flash, Stream
from patchnet.report.analyze import analyze

TINY = patch_tunnels(
    "tiny", ("a", "b", "c"), 12, 12, 3, 4, True, 2, 2, 4, stages=(Stage(6, 2, 1, 3), Stage(8, 1, 2, 2))
)


@pytest.mark.parametrize("seed", range(24))
def test_random_network(seed):
    """Whatever the network and the plan, in memory and streamed; no byte of the arena is read that is another's."""
    case = float_case(seed)
    wanted = case.wanted()
    check(Engine(case.blob), wanted, case.x, case)
    engine = Engine(case.blob, checking=True, stream=np.random.default_rng(seed).random())
    check(engine, wanted, case.x, case)
    assert engine.fault() is None


@pytest.mark.parametrize("seed", range(12))
def test_weights_of_any_size(seed):
    """Values that overflow, that are no numbers, that are smaller than the smallest normal one."""
    case = float_case(seed, extreme=True)
    check(Engine(case.blob), case.wanted(), case.x, case)


@pytest.mark.parametrize("seed", range(12))
def test_any_schedule(seed):
    case, rng = float_case(100 + seed), np.random.default_rng(seed)
    wanted = case.wanted()
    for _ in range(4):
        check(Engine(random_blob(rng, case.qnet)), wanted, case.x, case)


@pytest.mark.parametrize("seed", range(12))
def test_loader_judges_plans_as_the_rules_do(seed):
    """One number of a plan moved, twenty times."""
    case, rng = float_case(200 + seed), np.random.default_rng(seed)
    for _ in range(20):
        place_, bad = moved(rng, case.blob)
        bad, allowed = judged(case.qnet, place_, bad)
        try:
            Engine(bad)
            said = "OK"
        except EngineError as e:
            said = e.name
        assert said in allowed, place_


def test_arena_to_the_byte():
    """The planner's arenas are what the rules need, and are refused with a byte less."""
    rng, network = np.random.default_rng(0), TINY.float32()
    net = random_floats(rng, TINY)
    for point in front(network)[::3]:
        found = place(network, point.schedule)
        blob = floats.pack(net, found)
        assert arena.plan_is_sound(blob)
        assert Engine(blob).arena_bytes == point.arena_bytes == found.arena_bytes
        assert max(areas(network, found, i).total for i in range(len(found.segments))) == found.arena_bytes
        with pytest.raises(EngineError, match="PLAN"):
            Engine(seal(bytearray(floats.pack(net, replace(found, arena_bytes=found.arena_bytes - 1)))))
        assert blob_bytes(network, found) == len(blob)


def modes_of(network) -> set[tuple[str, int]]:
    found = set()
    for point in front(network):
        steps = place(network, point.schedule).steps
        found |= {(layer.kind, step.mode) for layer, step in zip(network.chain, steps, strict=True)}
    return found


def test_modes():
    """Only those that FORMAT.md lists; all of those of a bottleneck are found useful."""
    tried = modes_of(TINY.float32())
    assert {mode for _, mode in tried} <= {DIRECT, ROLLING, GROUPS, COVER}
    assert {("bottleneck", ROLLING), ("bottleneck", GROUPS)} <= tried


def test_order_of_sums():
    """1e8 + 1 - 1e8 is 0 in this order and 1 in another: rows, columns, channels, then the pixels, then the chains."""
    layer = Layer("conv", 1, 3, 1, 0, 1, (1, 3), 1, act="none", pads=(0, 0, 0, 0))
    network = free_network("order", ("a",), 1, 3, 1, 1, False, chain=(layer,))
    x = np.array([[[1], [1], [1]]], np.int8)
    got = []
    for weights in ((1e8, 1, -1e8), (1e8, -1e8, 1)):
        weight = np.array(weights, np.float32).reshape(1, 1, 1, 3)
        one = Real(np.ones((1, 1), np.float32), np.zeros(1, np.float32))
        net = FloatNet(replace(network, mean=(128,) * 3).float32(), (({"": Real(weight, one.bias)},),), one)
        got.append(Model(floats.pack(net)).predict(x)[0])
    assert got == [0, 1]


def test_scores_are_a_softmax():
    rng = np.random.default_rng(1)
    net = random_floats(rng, TINY)
    net = replace(net, fc=Real(net.fc.weight * 8, net.fc.bias))
    model = Model(floats.pack(net))
    for _ in range(20):
        x = rng.integers(-128, 128, model.input_shape).astype(np.int8)
        logits = np.array(model.predict(x), np.float64)
        e = np.exp(logits - logits.max())
        got = dict(model.classify(rgb(x)))
        assert np.abs([got[label] for label in TINY.labels] - e / e.sum()).max() < 2 / 65536


def rgb(x: np.ndarray) -> np.ndarray:
    """The picture that has these values."""
    return (x.astype(np.int16) + 128).astype(np.uint8)


def test_api():
    net = random_floats(np.random.default_rng(2), TINY)
    model = Model(floats.pack(net))
    x = np.zeros(model.input_shape, np.int8)
    logits = model.predict(x)
    assert model.dtype == "float32" and model.task == "classify" and model.output_shape == (3,)
    assert logits.typecode == "f" and len(logits) == 3 and (model.output_scale, model.output_zero_point) == (1.0, 0)
    assert model.predict(x, bytearray(12)) == logits.tobytes()
    with pytest.raises(ValueError, match="^out: wanted 12 bytes, got 3$"):
        model.predict(x, bytearray(3))
    assert Model(str(FOLDER / "digits.pnb")).dtype == "int8"


# ---------------------------------------------------------------- what is refused


def test_only_some_tasks():
    with pytest.raises(ValueError, match="^bccd: float32 is not for networks of task detect$"):
        pack_float32("bccd")


BAD = {
    "a task that has none": ({"task": fmt.TASKS["detect"]}, {}, {}, "TASK"),
    "a type that is not known": ({"dtype": 2}, {}, {}, "SHAPE"),
    "an activation that is not known": ({}, {}, {"shift": 3}, "WEIGHTS"),
    "the expansion's": ({}, {}, {"shift_1": 255}, "WEIGHTS"),
    "the depthwise convolution's": ({}, {}, {"shift_2": 3}, "WEIGHTS"),
    "a zero point": ({}, {}, {"zero_out": 1}, "WEIGHTS"),
    "another": ({}, {}, {"zero_add": -1}, "WEIGHTS"),
    "a residual's multiplier": ({}, {}, {"res_mult": 1}, "WEIGHTS"),
    "signed values": ({}, {"flags": fmt.FLAG_EXPAND | fmt.FLAG_SIGNED}, {}, "SHAPE"),
    "an unknown flag": ({}, {"flags": fmt.FLAG_EXPAND | 8}, {}, "SHAPE"),
    "weights behind the end": ({}, {}, {"weight_off": 1 << 30}, "WEIGHTS"),
    "weights between words": ({}, {}, {"weight_off": 4097}, "WEIGHTS"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name):
    """Of the second layer, or of the header."""
    header, layer, param, cause = BAD[name]
    blob = bytearray(floats.pack(random_floats(np.random.default_rng(4), TINY)))
    h = fmt.HEADER.unpack(blob)
    for table, at, values in (
        (fmt.HEADER, 0, header),
        (fmt.LAYER, h["layer_off"] + fmt.LAYER.size, layer),
        (fmt.PARAM, h["param_off"] + fmt.PARAM.size, param),
    ):
        blob[at : at + table.size] = table.pack(**(table.unpack(blob, at) | values))
    with pytest.raises(EngineError, match=cause):
        Engine(seal(blob))


def test_sanitized(tmp_path):
    """Damaged at random, under ASan and UBSan."""
    blob = floats.pack(random_floats(np.random.default_rng(5), TINY))
    (tmp_path / "blob.pnb").write_bytes(blob)
    done = subprocess.run([sanitized("corrupt"), tmp_path / "blob.pnb", "random", "1", "300"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


# ---------------------------------------------------------------- from weights on


def state(rng, network) -> dict[str, np.ndarray]:
    """Weights by the names of PyTorch, with batch norms."""
    out = {}

    def conv(name: str, *shape: int) -> None:
        out[f"{name}.conv.weight"] = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
        for norm, low, high in (
            ("weight", 0.5, 1.5), ("bias", -0.3, 0.3), ("running_mean", -0.3, 0.3), ("running_var", 0.5, 1.5)
        ):  # fmt: skip
            out[f"{name}.norm.{norm}"] = rng.uniform(low, high, shape[0])

    for t in range(network.tunnels):
        for i, s in enumerate(network.chain):
            where = f"tunnels.{t}.{i}"
            if s.kind == "conv":
                conv(where, s.cout, s.cin, s.kh, s.kw)
                continue
            if s.expand:
                conv(f"{where}.expand", s.cexp, s.cin, 1, 1)
            conv(f"{where}.depthwise", s.cexp, 1, s.kh, s.kw)
            conv(f"{where}.project", s.cout, s.cexp, 1, 1)
    outputs, inputs = network.end.fully_connected(network)
    out |= {"fc.weight": rng.normal(0, 0.3, (outputs, inputs)), "fc.bias": rng.normal(0, 1, outputs)}
    return {name: value.astype(np.float32) for name, value in out.items()}


@pytest.fixture
def run(tmp_path):
    """A run with trained weights, as they are at random."""
    arrays = state(np.random.default_rng(6), TINY)
    np.savez(tmp_path / "float.npz", network=json.dumps(to_dict(TINY)), **arrays)
    return tmp_path


def test_packed_from_a_run(run):
    packed = pack_float32(run)
    assert packed.path == str(run / "tiny.float32.pnb") and (run / "tiny.float32.test.npz").is_file()
    blob = (run / "tiny.float32.pnb").read_bytes()
    assert packed.blob_bytes == len(blob) and packed.ram == Model(blob).ram == plan(TINY.float32()).arena_bytes
    assert network_of(run / "tiny.float32.pnb").chain == tuple(
        replace(Float32Layer.of(layer), act="relu6") for layer in TINY.chain
    )
    least = front(TINY.float32())[0].arena_bytes
    assert pack_float32(run, run / "other.pnb", least).ram == least
    with pytest.raises(ValueError, match=r"^needs [\d,]+ B at least .*, budget 100 B$"):
        pack_float32(run, budget=100)


def test_batch_norms_are_folded(run):
    """The picture's mean and std as well: as the layers one after the other have it, in float64."""
    model = Model(floats.pack(float_net(run / "float.npz")))
    arrays = {name: value.astype(np.float64) for name, value in np.load(run / "float.npz").items() if name != "network"}
    x = np.random.default_rng(7).integers(-128, 128, (12, 12, 3)).astype(np.int8)
    pixels = (x + 128.0 - np.array(TINY.mean)) / TINY.std
    pooled = 0
    for t, (top, left) in enumerate(TINY.corners):
        y = pixels[top : top + TINY.patch[0], left : left + TINY.patch[1]]
        for i, s in enumerate(TINY.chain):
            y = of_layer(y, s, arrays, f"tunnels.{t}.{i}")
        pooled = pooled + y.mean((0, 1))
    wanted = arrays["fc.weight"] @ pooled + arrays["fc.bias"]
    assert np.abs(np.array(model.predict(x)) - wanted).max() < 1e-5


def unit(y, arrays, where: str, stride: int, pad: int, act: str, groups: int = 1) -> np.ndarray:
    """Convolution, batch norm and activation, window by window."""
    weight = arrays[f"{where}.conv.weight"]
    _, _, kh, kw = weight.shape
    padded = np.pad(y, ((pad, pad), (pad, pad), (0, 0)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), (0, 1))[::stride, ::stride]
    v = np.einsum("hwcyx,cyx->hwc", seen, weight[:, 0]) if groups > 1 else np.einsum("hwcyx,ocyx->hwo", seen, weight)
    scale, bias, mean, var = (arrays[f"{where}.norm.{n}"] for n in ("weight", "bias", "running_mean", "running_var"))
    v = (v - mean) / np.sqrt(var + 1e-5) * scale + bias
    return v if act == "none" else np.clip(v, 0, 6 if act == "relu6" else None)


def of_layer(y, s: Layer, arrays, where: str) -> np.ndarray:
    if s.kind == "conv":
        return unit(y, arrays, where, s.sh, s.kh // 2, s.act)
    z = unit(y, arrays, f"{where}.expand", 1, 0, s.act) if s.expand else y
    z = unit(z, arrays, f"{where}.depthwise", s.sh, s.kh // 2, s.act, s.cexp)
    z = unit(z, arrays, f"{where}.project", 1, 0, "none")
    return z + y if s.residual else z


def test_a_runs_own_blob_is_the_one_of_integers(run):
    """The float32 one beside it is for who names it."""
    pack_float32(run)
    assert model_file(run, "host") == run / "tiny.float32.pnb"
    (run / "tiny.pnb").write_bytes((FOLDER / "digits.pnb").read_bytes())
    assert model_file(run, "host") == run / "tiny.pnb" and blobs_in(run) == [run / "tiny.pnb"]
    assert model_file(run, "float32-device") == run / "float.npz"
    assert model_file(run / "tiny.float32.pnb", "float32-device") == run / "tiny.float32.pnb"


def test_integers_are_not_to_be_had(run):
    blob = (pack_float32(run), (run / "tiny.float32.pnb").read_bytes())[1]
    with pytest.raises(ValueError, match="^tiny: wanted a network of integers, got a float32 one$"):
        blob_qnet(blob, "tiny")


def test_no_plan_for_weights_elsewhere(run):
    with pytest.raises(ValueError, match="^tiny: float32: plans are made for weights that are at hand alone$"):
        front(TINY.float32(), source=Stream(1 << 20))
    pack_float32(run)
    with pytest.raises(ValueError, match="float32: what is read of a flash is told of networks of integers alone$"):
        analyze(run / "tiny.float32.pnb", flash=Flash(2.0))


def test_input_that_is_no_picture(tmp_path):
    network = replace(TINY, channels=2, chain=(replace(TINY.chain[0], cin=2), *TINY.chain[1:]))
    np.savez(tmp_path / "float.npz", network=json.dumps(to_dict(network)), **state(np.random.default_rng(6), network))
    with pytest.raises(ValueError, match="float32: wanted an input of 1 or 3 channels, got 2$"):
        float_net(tmp_path / "float.npz")


# ---------------------------------------------------------------- in use


def test_analyzed(run):
    """By the plan in the blob; and a network of integers as it would be."""
    pack_float32(run)
    a = analyze(run / "tiny.float32.pnb")
    assert (
        a.arena == Model(str(run / "tiny.float32.pnb")).ram
        and a.blob_bytes == (run / "tiny.float32.pnb").stat().st_size
    )
    assert not a.narrower and a.weights == TINY.weights
    whole, small = analyze("imagenet-63k", float32=True), analyze("imagenet-63k")
    assert whole.paper_accounting == 4 * small.paper_accounting and whole.weights == small.weights
    assert whole.layerwise == 4 * small.layerwise and 2 * small.arena < whole.arena < 4 * small.arena


def test_val_and_predict(tmp_path):
    """Beside int8; on a blob of its own the same as on the weights."""
    own, data = pack_float32("digits", tmp_path / "digits.float32.pnb").path, load("digits", 20)
    beside = val("digits", "digits", ("float32-device", "host"), limit=20)
    (alone,) = val(own, "digits", ("host",), limit=20)
    assert [r.identical for r in beside] == [None, None] and beside[0].ram == alone.ram == Model(own).ram
    assert beside[0].top1 == alone.top1 > 0.9 and len(data) == 20
    picture = FOLDER.parent / "pictures" / "person-hopper.ppm"
    here = predict("person66", [picture], "float32-device")
    assert here.labels[here.order[0, 0]] == "person" and here.scores[0].sum() in range(65534, 65539)


def test_costs_are_counted():
    """More than a fast int8 network takes; every kernel's name has its price."""
    network = TINY.float32()
    found = plan(network)
    for by in costs.TABLES:
        assert costs.predicted(network, found, by) > 0
    assert costs.predicted(network, found) > costs.predicted(TINY, plan(TINY))
    assert blob_plan(read(floats.pack(random_floats(np.random.default_rng(8), TINY), found))) == found


def test_float_cases_say_something():
    """What occurs among the random networks and plans."""
    wanted = {("conv", DIRECT), ("bottleneck", ROLLING), ("bottleneck", GROUPS), ("maxpool", DIRECT)}
    wanted = {(*pair, columns) for pair in wanted for columns in (False, True)}
    wanted |= {("block", ROLLING, False), ("meanpool", DIRECT, False), ("conv", GROUPS, False), ("conv", COVER, False)}
    wanted |= {"raw", "not a picture", "concat", "several", "no dense", "sigmoid", "relu", "residual"}
    for seed in range(200):
        case = float_case(seed, max_macs=20_000)
        o, d = case.oracle, case.qnet.design
        for part in arena.parts(o):
            for stage in part.stages:
                kind = d.chain[stage.index].kind
                wanted -= {(kind, stage.layer.mode, part.columns), d.chain[stage.index].act}
                wanted -= {"residual"} if stage.residual else set()
        seen = {"raw": o.maps, "not a picture": d.channels not in (1, 3), "several": d.tunnels > 1}
        if not o.maps:
            seen |= {"concat": d.end.aggregate == "concat", "no dense": not d.end.dense}
            seen |= {"sigmoid": d.end.scores == "sigmoid"}
        wanted -= {name for name, some in seen.items() if some}
        if not wanted:
            break
    assert not wanted
