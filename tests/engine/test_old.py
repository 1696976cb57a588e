"""Blobs of formats before: golden/old/*.pnb as their own versions packed them, beside each what those versions' engine
(of sound, oracle) answered, from the last commits that wrote them: 3a2ed4f, f7f174e, 2e76034, fbcc4f7, a2f7b55,
4352838. Those with a name behind the number are random cases of their tests, since format 6 such that all of a format's
kinds of layers, orders and ends are among them. `patchnet convert` makes blobs of today's format of them, with the same
answers."""

import itertools
import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cengine import Engine
from oracle.audio import AudioOracle
from patchnet import format as fmt
from patchnet.blob import old
from patchnet.blob.old import converted
from patchnet.blob.pack import seal
from patchnet.blob.unpack import blob_plan, blob_qnet, read

OLD = sorted((Path(__file__).parents[1] / "golden" / "old").glob("*.pnb"))
MADE = cache(lambda path: converted(path.read_bytes(), path.stem))
SINCE = {"": 2, "-fast1": 3, "-fast2": 3, "-fast3": 3, "-detect": 4, "-sound": 4}  # which version there were such blobs
SINCE |= dict.fromkeys(("-fast4", "-fast5", "-classes", "-heatmap1", "-heatmap2", "-merged", "-raw"), 6)
SINCE |= {f"-float32-{i}": 6 for i in range(4)}
FLOATS = [path for path in OLD if "float32" in path.stem]
INTEGERS = [path for path in OLD if path not in FLOATS]


def test_each_version_before_has_a_blob_for_each_task_that_it_had():
    wanted = {f"format{n}{kind}" for n in range(fmt.OLDEST, fmt.VERSION) for kind in SINCE if n >= SINCE[kind]}
    assert {path.stem for path in OLD} == wanted
    assert all(path.read_bytes()[4] == int(path.stem[6]) for path in OLD)


def layers_of(path: Path) -> list:
    """(shape, record, order) of each layer."""
    version, header = old._header(path.read_bytes())
    info, _ = old._tables(path.read_bytes(), version, header)
    network = old.blob_network(info, path.stem)
    return [*zip(network.run(), info.layers, old._orders(network, info, version), strict=True)]


@pytest.mark.parametrize("version", range(3, fmt.VERSION))
def test_the_blobs_have_arrays_in_every_order(version):
    """Of each version with modes fast and lean, or sweep: both, by rows and columns, in groups, before format 7 of 8
    and 16 bits; since format 6 with all kernels and flags."""
    found, wides = set(), {f"wide {value}" for value in ((False, True) if version < 7 else (None,))}
    for path in OLD:
        for s, record, order in layers_of(path) if path.stem.startswith(f"format{version}-fast") else ():
            if order.fast:
                wide = f"wide {getattr(order, 'wide', None)}"
                found |= {record["mode"], f"columns {order.columns}", wide, f"stride {s.sh}"}
                found |= {f"groups {len(order.groups(s.cexp)) > 1}"}
                flags = record["flags"] & (fmt.FLAG_NARROW | fmt.FLAG_BYTES) if version > 5 else 0
                eight = s.expand and s.cin == 8 and s.square == 3 and not flags & fmt.FLAG_BYTES
                eights = {f"eight, {wide}"} if eight else set()
                found |= eights | {f"kernel {s.kh}"} | {f"flags {flags}"} if version > 5 else set()
    wanted = {f"{name} {value}" for name in ("columns", "groups") for value in (False, True)} | wides
    if version > 5:
        flags = [0, fmt.FLAG_NARROW, fmt.FLAG_BYTES] + [fmt.FLAG_NARROW | fmt.FLAG_BYTES] * (version > 6)
        wanted |= {f"kernel {n}" for n in (3, 5, 7)} | {f"flags {n}" for n in flags} | {f"eight, {n}" for n in wides}
    assert found == {fmt.MODE_FAST, fmt.MODE_SWEEP, "stride 1", "stride 2"} | wanted


@pytest.mark.parametrize("version", range(7, fmt.VERSION))
def test_the_blobs_have_dense_convolutions_in_every_order(version):
    """Kernels by rows and columns, for odd and even numbers of channels; of blocks, with and without a shortcut."""
    found = set()
    for path in INTEGERS:
        for s, record, order in layers_of(path) if path.stem.startswith(f"format{version}") else ():
            columns = bool(record["flags"] & fmt.FLAG_COLUMNS)
            if not order.fast and s.kind in ("conv", "block") and min(s.kh, s.kw, s.cin, s.cout) > 1:
                assert order.columns == columns
                found |= {(s.kind, s.expand, columns), (s.kind, "odd" if s.cout % 2 else "even", columns)}
    kinds = ("conv", False), ("block", False), ("block", True), *itertools.product(("conv", "block"), ("odd", "even"))
    assert found == {(*kind, columns) for kind in kinds for columns in (False, True)}


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_converted_blobs_answer_as_the_old_ones_did(path):
    wanted, engine = np.load(path.with_suffix(".npz")), Engine(MADE(path))
    if "pcm" in wanted:
        raw = out = engine.run_clip(np.array(AudioOracle(MADE(path)).fitted(wanted["pcm"]), np.int16))
        assert Engine(MADE(path)).spot([wanted["long"]]) == [tuple(row) for row in wanted["spotted"].tolist()]
    else:
        raw = out = engine.run_raw(wanted["x"])
        if "frame" in wanted:  # of an input that is none, the raw one's scores and boxes are told
            w, h, pixfmt, *roi = wanted["frame"].tolist()
            out = engine.run_image(wanted["data"].tobytes(), w, h, pixfmt, tuple(roi))
            np.testing.assert_array_equal(out.outputs8, wanted["image"])
            np.testing.assert_array_equal(out.logits16, wanted["image16"])
        assert out.boxes == [tuple(box) for box in wanted["boxes"].tolist()]
    assert out.scores == wanted["scores"].tolist()
    np.testing.assert_array_equal(raw.outputs8, wanted["raw"])
    np.testing.assert_array_equal(raw.logits16, wanted["raw16"])


@pytest.mark.parametrize("path", FLOATS, ids=lambda path: path.stem)
def test_a_float32_network_is_the_same(path):
    blob = path.read_bytes()
    made = MADE(path)
    assert {at for at, (a, b) in enumerate(zip(blob, made, strict=True)) if a != b} - set(range(12, 16)) == {4}


@pytest.mark.parametrize("path", INTEGERS, ids=lambda path: path.stem)
def test_fields_of_a_converted_blob_are_the_old_ones(path):
    """Also those that `pack` would work out from a scale in float32, and be one off."""
    version, before = old._header(path.read_bytes())
    record, now = old._tables(path.read_bytes(), version, before)[0].record, read(MADE(path))
    places = {name for name in before if name.endswith(("_off", "_at"))}
    for name in before.keys() - places - {"version", "header_bytes", "size", "crc", "segments", "arena_bytes"}:
        assert now.header[name] == before[name], name
    for name in record.keys() - {"list", "places", "segments"}:
        assert name.endswith(("_off", "_at")) or now.record[name] == record[name], name
    assert blob_plan(now).arena_bytes == now.header["arena_bytes"]


def test_a_layer_whose_weights_have_no_number_has_another_mode():
    """-1 and -128 of one input in two channels, which had a byte each."""
    blob = next(path for path in OLD if path.stem == "format6-fast2").read_bytes()
    net, info = old.integers(blob, *old._header(blob), "x")
    i = next(
        i
        for i, r in enumerate(info.layers)
        if r["mode"] in (fmt.MODE_FAST, fmt.MODE_SWEEP) and r["flags"] & fmt.FLAG_EXPAND and not r["wide"]
    )
    at = fmt.PARAM.unpack_all(blob, info.header["param_off"], i + 1)[i]["weight_off"] + 8 * net.tunnels[0][i].shape.cout
    changed = bytearray(blob)
    changed[at + 16], changed[at + 20] = 255, 128
    made = converted(seal(changed), "x")
    again = blob_qnet(made, "x").tunnels[0][i].expand.weight
    wanted = net.tunnels[0][i].expand.weight.copy()
    wanted[:2, 0] = -1, -128
    np.testing.assert_array_equal(again, wanted)
    assert read(made).layers[i]["mode"] not in (fmt.MODE_FAST, fmt.MODE_SWEEP)


def test_a_number_of_two_weights_that_is_none_is_refused():
    """256 * 128 - 1."""
    blob = bytearray(next(path for path in OLD if path.stem == "format7-fast1").read_bytes())
    net, info = old.integers(bytes(blob), *old._header(blob), "x")
    i = next(i for i, r in enumerate(info.layers) if r["mode"] == fmt.MODE_SWEEP)
    at = fmt.PARAM.unpack_all(blob, info.header["param_off"], i + 1)[i]["weight_off"] + 8 * net.tunnels[0][i].shape.cout
    blob[at + 16 : at + 18] = b"\xff\x7f"
    with pytest.raises(ValueError, match="^weights: wanted them inside the blob's .* B, -128 to 127 each$"):
        converted(seal(blob), "x")


def test_some_fields_would_be_one_off(monkeypatch):
    packed, made = {}, {path: MADE(path) for path in INTEGERS}
    monkeypatch.setattr(old, "as_it_was", lambda _old, _info, blob: blob)
    for path in INTEGERS:
        packed[path.stem] = converted(path.read_bytes(), path.stem) == made[path]
    assert {name for name, same in packed.items() if not same} == {
        f"format{n}-{kind}" for n in (4, 5) for kind in ("detect", "sound")
    }


def test_tables_of_a_front_end_are_kept_as_they_are():
    """Also if other numbers were meant than the record's float32 ones, or none that have a rule."""
    path = next(path for path in OLD if path.stem == "format5-sound")
    blob, record = bytearray(path.read_bytes()), read(MADE(path)).record
    version, before = old._header(path.read_bytes())
    was = old._tables(path.read_bytes(), version, before)[0].record
    for name in ("window", "twiddle", "weight"):
        blob[was[f"{name}_off"]] ^= 1
    made = converted(seal(blob), "x")
    assert {at for at, (a, b) in enumerate(zip(made, MADE(path), strict=True)) if a != b} - set(range(12, 16)) == {
        record[f"{name}_off"] for name in ("window", "twiddle", "weight")
    }


# ---------------------------------------------------------------- damage


def refused(blob: bytes) -> bool:
    """Whether it is, in a line that a person can read."""
    try:
        converted(blob, "x")
    except ValueError as e:
        assert "\n" not in str(e) and len(str(e)) < 300
        return True
    return False


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_a_cut_or_changed_blob_is_refused(path):
    blob = path.read_bytes()
    assert all(refused(blob[:n]) for n in (*range(130), *range(130, len(blob), 37))) and refused(blob + b"x")
    assert all(refused(blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]) for at in range(6, len(blob), 17))


def test_a_damaged_blob_with_the_right_crc_is_refused_or_converted():
    rng, seen = random.Random(4), []
    for _ in range(400):
        blob = bytearray(rng.choice(OLD).read_bytes())
        for _ in range(rng.choice([1, 1, 2, 5])):
            at = rng.randrange(6, min(rng.choice([116, 400, len(blob)]), len(blob)))
            blob[at] = rng.choice([0, 1, 127, 255, rng.randrange(256), blob[at] ^ 1 << rng.randrange(8)])
        seen.append(refused(seal(blob)))
    assert 100 < sum(seen) < 390


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (0, 0, "magic: wanted b'PNB"),
        (4, 1, "version: wanted 2 to 7, got 1"),
        (4, 9, "version: wanted 2 to 7, got 9"),
        (4, 8, "is of format 8 already, which is today's: there is nothing to convert"),
        (8, 0, "bytes: wanted .*, as its header says, got "),
        (12, 0, "CRC: wanted that of its bytes: the file is damaged"),
    ],
)
def test_what_is_refused_at_first_sight(at, value, said):
    blob = bytearray(OLD[0].read_bytes())
    blob[at] = value
    with pytest.raises(ValueError, match=f"^{said}"):
        converted(bytes(blob), "x")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("task", 0, "task: wanted 1 to 5, got 0"),
        ("task", 2, "task: wanted at most 1 in format 2, got 2"),
        ("fc_off", 0, "fc_off: wanted a fully connected layer unless it detects, got 0"),
        ("channels", 2, "channels: wanted 1 or 3 in format 2, got 2"),
        ("tunnels", 0, "tunnels: wanted 1 to 17, got 0"),
        ("classes", 9, "labels: wanted 9, got 11"),
        ("patch_h", 4096, "x: wanted a patch of 4096 x 3 inside 20 x 4, got one at 0, 0"),
        ("layer_off", 1 << 31, "tables: wanted them inside the blob's 2,408 B"),
        ("label_off", 4, "tables: wanted them inside .*, labels in UTF-8"),
        ("fc_off", 2404, "weights: wanted them inside the blob's 2,408 B, -128 to 127 each"),
        ("input_scale", float("nan"), "input_scale: wanted 1e-30 to 1e.30, got nan"),
        ("output_scale", -1.0, "output_scale: wanted 1e-30 to 1e.30, got -1"),
        ("segments", 1, "segments: wanted "),
    ],
)
def test_what_tables_are_refused_for(field, value, said):
    blob, table = bytearray(OLD[0].read_bytes()), old._HEADER_2
    blob[: table.size] = table.pack(**table.unpack(blob) | {field: value})
    with pytest.raises(ValueError, match=f"^{said}"):
        converted(seal(blob), "x")
