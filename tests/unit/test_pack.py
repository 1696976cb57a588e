"""Packing: what goes in comes out, and what does not fit is refused by name."""

import struct
from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest

import networks
import oracle
from oracle.arena import COVER, DIRECT, FAST, GROUPS, ROLLING, SWEEP
from patchnet import format as fmt
from patchnet.blob import pack
from patchnet.blob.order import Order, fast_layers, fast_ok, paired, pairs_from_bytes, pairs_to_bytes, to_bytes
from patchnet.blob.quantized import QBottleneck, QConv, QNet, Scaled
from patchnet.blob.record import Writer
from patchnet.blob.unpack import blob_plan, blob_qnet, read
from patchnet.net.layers import Layer
from patchnet.plan.choice import plan
from patchnet.plan.modes import FAST24, FULL_SUMS, NARROW_SUMS, NOT_FAST, as_bytes, fast_modes, plain
from patchnet.plan.place import Plan, place


@pytest.fixture(scope="module")
def qnet():
    """A network with an expanding bottleneck in its second layer."""
    for seed in range(100):
        q = networks.random_qnet(np.random.default_rng(seed))
        if len(q.tunnels[0]) > 1 and isinstance(q.tunnels[0][1], QBottleneck) and q.tunnels[0][1].expand is not None:
            return q
    raise AssertionError("no such network in 100")


def with_layer(q, index, **changes):
    """`q` with a field of one layer of the first tunnel replaced."""
    tunnel = list(q.tunnels[0])
    tunnel[index] = replace(tunnel[index], **changes)
    return replace(q, tunnels=(tuple(tunnel), *q.tunnels[1:]))


def test_round_trip(qnet):
    p = plan(qnet.design)
    blob = pack.pack(qnet, p)
    info = read(blob)
    assert info.labels == list(qnet.design.labels)
    assert [(r["y"], r["x"]) for r in info.patches] == list(qnet.design.corners)
    assert [{name: r[name] for name in asdict(s)} for r, s in zip(info.layers, p.steps, strict=True)] == [
        asdict(s) for s in p.steps
    ]
    assert info.segments == [asdict(s) for s in p.segments]
    for name in ("arena_bytes", "sum_at", "feature_at", "logit_at"):
        assert info.header[name] == (p.arena_bytes if name == "arena_bytes" else p.places[name])
    assert info.header["size"] == len(blob)
    assert oracle.Oracle(blob).labels == list(qnet.design.labels)


def test_same_input_same_bytes(qnet):
    assert pack.pack(qnet) == pack.pack(qnet)


def test_tunnels_share_what_is_equal():
    """Five tunnels with one set of weights take the room of one, and each still finds its own."""
    q = networks.random_qnet(np.random.default_rng(1), networks.random_network(np.random.default_rng(2), k=4))
    tied = replace(q, tunnels=q.tunnels[:1] * len(q.tunnels))
    info = read(pack.pack(tied))
    records = fmt.PARAM.unpack_all(pack.pack(tied), info.header["param_off"], len(info.layers) * len(info.patches))
    weighty = [layer for layer in q.design.layers() if layer.kind not in networks.KEEP_ZERO]
    assert len({r["weight_off"] for r in records} - {0}) == len(weighty)
    assert len(pack.pack(tied)) < len(pack.pack(q))


def test_equal_arrays_are_used_as_often_as_there_may_be_tunnels():
    """No more: what a device looks at when it opens a blob is bounded."""
    writer = Writer(0)
    assert [writer.add_once(b"same") for _ in range(2 * fmt.MAX_TUNNELS + 1)] == [0] * 17 + [4] * 17 + [8]


def test_wrong_shape(qnet):
    expand = qnet.tunnels[0][1].expand
    cut = replace(expand, bias=expand.bias[:-1])
    with pytest.raises(ValueError, match=r"tunnel 0, layer 1: bias: wanted int32 \(\d+,\), got int32"):
        pack.pack(with_layer(qnet, 1, expand=cut))


def test_wrong_type(qnet):
    depthwise = qnet.tunnels[0][1].depthwise
    wide = replace(depthwise, weight=depthwise.weight.astype(np.int16))
    with pytest.raises(ValueError, match="tunnel 0, layer 1: weight: wanted int8 .* got int16"):
        pack.pack(with_layer(qnet, 1, depthwise=wide))


def test_multiplier_of_zero(qnet):
    project = qnet.tunnels[0][1].project
    dead = replace(project, mult=np.zeros_like(project.mult))
    with pytest.raises(ValueError, match="layer 1: mult: wanted 1..2.31-1, got 0"):
        pack.pack(with_layer(qnet, 1, project=dead))


def test_sum_that_could_overflow(qnet):
    project = qnet.tunnels[0][1].project
    big = replace(project, bias=np.full_like(project.bias, 2**31 - 1))
    with pytest.raises(ValueError, match="layer 1: .* overflow"):
        pack.pack(with_layer(qnet, 1, project=big))


def test_residual_without_multiplier(qnet):
    layer = qnet.tunnels[0][1]
    with pytest.raises(ValueError, match="res_mult"):
        pack.pack(with_layer(qnet, 1, res_mult=0 if layer.shape.residual else 7))


def test_last_zero_points_differ(qnet):
    if len(qnet.tunnels) == 1:
        qnet = replace(qnet, design=replace(qnet.design, corners=qnet.design.corners * 2), tunnels=qnet.tunnels * 2)
    last = qnet.tunnels[0][-1]
    with pytest.raises(ValueError, match="last zero_out"):
        pack.pack(with_layer(qnet, len(qnet.tunnels[0]) - 1, zero_out=last.zero_out ^ 1))


def test_tunnels_missing(qnet):
    with pytest.raises(ValueError, match="tunnels: wanted"):
        pack.pack(replace(qnet, tunnels=qnet.tunnels * 2))


def test_label_with_line_feed(qnet):
    labels = ("two\nlines", *qnet.design.labels[1:])
    with pytest.raises(ValueError, match="line feed"):
        pack.pack(replace(qnet, design=replace(qnet.design, labels=labels)))


def test_not_a_blob():
    with pytest.raises(ValueError, match="magic: wanted"):
        read(b"JPEG" + bytes(200))


# ---------------------------------------------------------------- modes fast and sweep


def with_steps(p: Plan, steps: dict[int, tuple[int, int]]) -> Plan:
    """The plan with other modes and groups of some layers. Its places are wrong then: nothing here looks at them."""
    changed = [replace(s, mode=steps[i][0], group=steps[i][1]) if i in steps else s for i, s in enumerate(p.steps)]
    return replace(p, steps=tuple(changed))


def rolling_plan(network, cuts: list[tuple[int, int]]) -> Plan:
    """Segments of so many layers with strips of so many rows; every bottleneck with an expansion rolling."""
    modes = iter([ROLLING if layer.expand else DIRECT for layer in network.layers()])
    return place(network, [(strip, [(next(modes), 1, 0) for _ in range(n)]) for n, strip in cuts])


def random_cuts(rng, network) -> list[tuple[int, int]]:
    """Lines are rows in some segments, columns in others."""
    layers, cuts, at = network.layers(), [], 0
    while at < len(layers):
        n = int(rng.integers(1, len(layers) - at + 1))
        height = layers[at + n - 1].oh
        cuts.append((n, int(rng.choice([height, rng.integers(1, height + 1)]))))
        at += n
    return cuts


def random_steps(rng, network) -> dict[int, tuple[int, int]]:
    """Most bottlenecks in mode fast or sweep, with all channels together or in groups of any size."""
    steps = {}
    for i, layer in enumerate(network.layers()):
        if layer.kind == "bottleneck" and rng.random() < 0.8:
            group = layer.cexp if rng.random() < 0.4 else 4 * int(rng.integers(1, layer.cexp // 4 + 1))
            steps[i] = int(rng.choice(fast_modes(layer))), group
    return steps


@dataclass(frozen=True)
class FastCase:
    """A network, the same integers packed in the usual order and in that of fast schedules, a picture."""

    qnet: QNet
    steps: dict[int, tuple[int, int]]
    plan: Plan
    usual: bytes
    fast: bytes
    raw: np.ndarray


def fast_case(seed: int) -> FastCase:
    rng = np.random.default_rng(seed)
    network = networks.fast_network(rng, k=int(rng.choice([1, 1, 4])))
    qnet = networks.fast_qnet(rng, network, extreme=seed % 3 == 2)
    usual, steps = rolling_plan(network, random_cuts(rng, network)), random_steps(rng, network)
    p = with_steps(usual, steps)
    raw = rng.integers(-128, 128, (network.height, network.width, network.channels)).astype(np.int8)
    return FastCase(qnet, steps, p, pack.pack(qnet, usual), pack.pack(qnet, p), raw)


@pytest.mark.parametrize("seed", range(60))
def test_order_does_not_change_results(seed):
    case = fast_case(seed)
    usual, other = oracle.Oracle(case.usual).run_raw(case.raw), oracle.Oracle(case.fast).run_raw(case.raw)
    for got, wanted in zip(sum(other.maps, []), sum(usual.maps, []), strict=True):
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(other.logits16, usual.logits16)


@pytest.mark.parametrize("seed", range(60))
def test_fast_arrays_read_back(seed):
    case = fast_case(seed)
    again = blob_qnet(case.fast, "again")
    assert blob_plan(read(case.fast)) == case.plan
    for got, wanted in zip(again.tunnels, case.qnet.tunnels, strict=True):
        for i in range(1, len(wanted)):
            a, b = got[i], wanted[i]
            for name, part in {"expand": b.expand, "depthwise": b.depthwise, "project": b.project}.items():
                for field, array in vars(part).items() if part else ():
                    np.testing.assert_array_equal(getattr(getattr(a, name), field), array)
            assert (a.shift, a.zero_out, a.res_mult) == (b.shift, b.zero_out, b.res_mult)


def test_fast_cases_are_of_all_kinds():
    """Lines that are rows and columns, strides, groups, shifts, 8 input channels."""
    seen = set()
    for seed in range(60):
        case = fast_case(seed)
        columns = oracle.Oracle(case.fast).columns
        for i, (own, group) in case.steps.items():
            q, mode = case.qnet.tunnels[0][i], plain(own)
            seen |= {("bytes", as_bytes(own), mode, q.shape.kernel)} if q.shape.expand else set()
            seen |= {(mode, q.shape.stride, columns[i]), ("groups", mode, group < q.shape.cexp)}
            seen |= {("last group", q.shape.cexp % group > 0), ("shift", q.shift > 0), ("eight", q.shape.cin == 8)}
            seen |= {("cin", q.shape.cin % 4 > 0), ("expand", q.shape.expand), (mode, q.shape.kernel, q.shape.stride)}
    kinds = {(mode, stride, c) for mode in (FAST, SWEEP) for stride in (1, 2) for c in (False, True)}
    kinds |= {("groups", mode, some) for mode in (FAST, SWEEP) for some in (False, True)}
    kinds |= {(name, some) for name in ("last group", "shift", "cin", "expand", "eight") for some in (False, True)}
    kinds |= {(mode, kernel, stride) for mode in (FAST, SWEEP) for kernel in (3, 5, 7) for stride in (1, 2)}
    kinds |= {("bytes", b, mode, kernel) for b in (False, True) for mode in (FAST, SWEEP) for kernel in (3, 5, 7)}
    assert kinds <= seen, kinds - seen


def test_bytes_of_fast_arrays():
    """A layer so small that its bytes can be written down: 4 -> 8 -> 2 channels in groups of 4."""
    layer = Layer("bottleneck", 4, 4, 4, 8, 2, 3, 1, True)
    numbers = np.arange(1, 200).astype(np.int8)
    expand = Scaled(numbers[:32].reshape(8, 4), np.arange(8, dtype=np.int32), np.arange(1, 9, dtype=np.int32))
    depthwise = replace(expand, weight=numbers[:72].reshape(8, 3, 3))
    project = Scaled(numbers[:16].reshape(2, 8), np.array([5, 6], np.int32), np.array([7, 8], np.int32))
    q = QBottleneck(layer, expand, depthwise, project, 2, 0, 0)
    taps = {  # of channels 0 and 4, whose weights are 1 2 3 / 4 5 6 / 7 8 9 and 37 38 39 / ...
        False: ([4, 5, 1, 2, 6, 7, 3, 8, 8, 0, 9, 0], [40, 41, 37, 38, 42, 43, 39, 44, 44, 0, 45, 0]),
        True: ([2, 5, 1, 4, 8, 3, 7, 6, 6, 0, 9, 0], [38, 41, 37, 40, 44, 39, 43, 42, 42, 0, 45, 0]),
    }
    for columns, (first, fifth) in taps.items():
        data = to_bytes(q, Order(4, columns))
        assert data[:16] == struct.pack("<4i", 5, 6, 7, 8)
        assert data[16:40] == struct.pack("<4i8b", 0, 1, 1, 2, 1, 5, 3, 7, 2, 6, 4, 8)
        assert data[64:72] == bytes([1, 9, 2, 10, 3, 11, 4, 12])
        assert data[72:92] == struct.pack("<12b2i", *first, 0, 1)
        assert data[152:176] == struct.pack("<4i8b", 4, 5, 5, 6, 17, 21, 19, 23, 18, 22, 20, 24)
        assert data[200:208] == bytes([5, 13, 6, 14, 7, 15, 8, 16])
        assert data[208:228] == struct.pack("<12b2i", *fifth, 4, 5) and len(data) == 288
    below = replace(project, weight=np.array([[-1, -128, 127, -1] * 2, [5, 127, -128, -127] * 2], np.int8))
    data = to_bytes(replace(q, project=below), Order(8, False))
    assert data[112:128] == struct.pack("<8h", *[256 * 5 - 1, 256 * 127 - 128, -256 * 128 + 127, -256 * 127 - 1] * 2)


@pytest.mark.parametrize("name", ["expand", "project"])
def test_two_weights_that_have_no_number(fast_qnet, name):
    """256 * -128 + a leaves 16 bits below 0: such a layer has other modes."""
    scaled = getattr(fast_qnet.tunnels[0][1], name)
    weight = scaled.weight.copy()
    for a, b, fits in ((0, -128, True), (-1, -127, True), (-1, -128, False)):
        weight[2:4, -1] = a, b
        some = with_layer(fast_qnet, 1, **{name: replace(scaled, weight=weight.copy())})
        assert (fast_layers(some)[1] != NOT_FAST) == fits
        if fits:
            again = blob_qnet(pack_fast(some, 1), "again").tunnels[0][1]
            np.testing.assert_array_equal(getattr(again, name).weight, weight)
            continue
        with pytest.raises(ValueError, match=f"tunnel 0, layer 1: modes fast and sweep are not for {name}: wanted no"):
            pack_fast(some, 1)
        assert pack.pack(some)


def test_taps_without_an_expansion():
    layer = Layer("bottleneck", 4, 4, 4, 4, 2, 3, 1, False)
    kernel = np.arange(1, 37).astype(np.int8).reshape(4, 3, 3)
    some = np.arange(1, 5, dtype=np.int32)
    project = Scaled(np.ones((2, 4), np.int8), some[:2], some[:2])
    q = QBottleneck(layer, None, Scaled(kernel, some, some), project, 2, 0, 0)
    rows, columns = [1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9], [1, 4, 4, 7, 2, 5, 5, 8, 3, 6, 6, 9]
    for across, wanted in ((False, rows), (True, columns)):
        assert to_bytes(q, Order(4, across))[24:44] == struct.pack("<12b2i", *wanted, 1, 1)


@pytest.fixture(scope="module")
def fast_qnet():
    rng = np.random.default_rng(5)
    return networks.fast_qnet(rng, networks.fast_network(rng, k=4))


def pack_fast(q: QNet, index: int, mode: int = FAST, group: int = 4) -> bytes:
    """The network with one layer of mode fast or sweep."""
    layers = q.design.layers()
    return pack.pack(q, with_steps(rolling_plan(q.design, [(len(layers), layers[-1].oh)]), {index: (mode, group)}))


@pytest.mark.parametrize("name", ["expand", "depthwise"])
def test_shift_of_a_fast_layer_has_a_bound(fast_qnet, name):
    """That of weights which fit 16 bits when they are shifted; sums have none of their own."""
    layer = fast_qnet.tunnels[0][1]
    scaled = replace(getattr(layer, name), mult=np.full(layer.shape.cexp, 2**31 - 1, np.int32))
    just = with_layer(fast_qnet, 1, **{name: scaled, f"{name}_shift": 8})
    beyond = with_layer(fast_qnet, 1, **{name: scaled, f"{name}_shift": 9})
    assert pack_fast(just, 1) and all(fast_layers(just)[1:])
    with pytest.raises(ValueError, match=f"tunnel 0, layer 1: .*{name}_shift: wanted at most 8, got 9"):
        pack_fast(beyond, 1)
    assert fast_layers(beyond)[1] == NOT_FAST and fast_ok(beyond.tunnels[1][1])


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_of_24_bits_are_for_weights_that_keep_to_them(fast_qnet, sign):
    """A sum with the largest depthwise values under all weights of one sign decides, in every tunnel."""
    project = fast_qnet.tunnels[0][1].project
    largest = 255 * (sign * project.weight[0].astype(int)).clip(0).sum()
    bias = project.bias.copy()
    bias[0] = sign * (2**23 - largest) - (sign > 0)
    just = with_layer(fast_qnet, 1, project=replace(project, bias=bias))
    beyond = with_layer(
        fast_qnet, 1, project=replace(project, bias=bias + sign * (np.arange(len(bias)) == 0).astype(np.int32))
    )
    assert fast_layers(just)[1] == NARROW_SUMS and fast_layers(beyond)[1] == FULL_SUMS
    assert read(pack_fast(just, 1, FAST24)).layers[1]["flags"] & fmt.FLAG_NARROW
    with pytest.raises(ValueError, match="layer 1: sums: wanted 24 bits at most, got 25"):
        pack_fast(beyond, 1, FAST24)


def test_shift_of_a_fast_layer_is_in_its_record(fast_qnet):
    """As of any other: the multipliers stay as they are."""
    project = fast_qnet.tunnels[0][1].project
    blob = pack_fast(with_layer(fast_qnet, 1, shift=1, project=replace(project, mult=0 * project.mult + 2**30)), 1)
    assert oracle.Oracle(blob).params[0][1].shift == 1
    assert (blob_qnet(blob, "again").tunnels[0][1].project.mult == 2**30).all()


@pytest.mark.parametrize("index, changes", [
    (0, {}), (1, dict(kernel=5, expand=False)), (1, dict(act="none")), (1, dict(cexp=6)), (1, dict(cout=5)),
])  # fmt: skip
def test_shape_that_has_no_fast_mode(index, changes):
    """The layer alone is made of another shape, and packed where only its mode can be at fault."""
    shape = Layer("bottleneck", 9, 9, 8, 8, 4, 3, 1, True)
    shape = replace(shape, **changes)
    chain = (Layer("conv", 9, 9, 3, 0, shape.cin, 3, 1), shape)
    network = networks.free_network("shape", ("a",), 9, 9, 3, 1, False, chain=chain)
    q = networks.random_qnet(np.random.default_rng(1), network)
    usual = place(network, [(9, [(DIRECT, 1, 0), (ROLLING if shape.expand else DIRECT, 1, 0)])])
    with pytest.raises(ValueError, match=f"layer {index}: modes fast and sweep are not for the shape"):
        pack.pack(q, with_steps(usual, {index: (FAST, 4)}))
    assert fast_layers(q)[index] == NOT_FAST


@pytest.mark.parametrize("mode", [FAST, SWEEP])
@pytest.mark.parametrize("group", [0, 2, 6, 1000])
def test_group_of_a_fast_layer(fast_qnet, mode, group):
    with pytest.raises(ValueError, match="layer 1: group: wanted a multiple of 4, 4..[0-9]+, or all [0-9]+, got"):
        pack_fast(fast_qnet, 1, mode, group)


# ---------------------------------------------------------------- dense convolutions


def dense(weight: list[list[int]]) -> Scaled:
    """Outputs with biases 1, 2, ... and multipliers 11, 12, ..."""
    n = np.arange(1, 1 + len(weight), dtype=np.int32)
    return Scaled(np.array(weight, np.int8), n, n + 10)


def test_two_outputs_in_a_number_by_hand():
    """c0 c2 c1 c3 of each four inputs, zeros that make them fours; of three outputs the second one is there twice."""
    scaled = dense([[1, 2, 3, 4, 5], [-1, 0, 7, 127, -127], [0, -128, 1, 1, 1]])
    first = [256 * -1 + 1, 256 * 7 + 3, 2, 256 * 127 + 4, 256 * -127 + 5, 0, 0, 0]
    last = [-1, 256 + 7, 256 * -128, 256 + 127, 256 - 127, 0, 0, 0]
    wanted = struct.pack("<8h4i8h4i", *first, 1, 2, 11, 12, *last, 2, 3, 12, 13)
    assert pairs_to_bytes(scaled) == wanted
    again, end = pairs_from_bytes(b"...." + wanted, 4, 3, 5)
    assert end == 4 + len(wanted)
    for name, array in vars(scaled).items():
        np.testing.assert_array_equal(getattr(again, name), array)


@pytest.mark.parametrize(
    ("weight", "mode", "group", "pairs"),
    [
        ([[0, -1], [127, -127]], DIRECT, 0, True),
        ([[0, -1], [-128, -127]], DIRECT, 0, True),
        ([[0, -1], [127, -128]], DIRECT, 0, False),  # no number is -1 and -128
        ([[0, -1], [0, 0], [0, -128]], DIRECT, 0, True),  # not in a pair
        ([[0, 0], [0, -1], [0, -128]], DIRECT, 0, False),  # in the last one
        ([[1, 1]], DIRECT, 0, False),
        ([[1, 1]] * 4, GROUPS, 2, True),
        ([[1, 1]] * 4, GROUPS, 3, False),
        ([[1, 1]] * 3, GROUPS, 2, False),
        ([[1, 1]] * 2, COVER, 0, False),
    ],
)
def test_which_convolutions_lie_in_pairs(weight, mode, group, pairs):
    scaled = dense(weight)
    layer = Layer("conv", 1, 1, 2, 0, len(weight), 1, 1)
    q = QConv(layer, replace(scaled, weight=scaled.weight.reshape(-1, 1, 1, 2)), 0, 0)
    assert paired((q,), mode, group) == pairs


def test_all_tunnels_lie_in_pairs_or_none():
    good, bad = (dense(weight) for weight in ([[0, 0], [0, 0]], [[-1, 0], [-128, 0]]))
    layer = Layer("conv", 1, 1, 2, 0, 2, 1, 1)
    one, other = (QConv(layer, replace(s, weight=s.weight.reshape(2, 1, 1, 2)), 0, 0) for s in (good, bad))
    assert paired((one, one), DIRECT, 0) and not paired((one, other), DIRECT, 0)
