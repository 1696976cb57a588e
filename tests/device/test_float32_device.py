"""Float32 networks on the unix port and the emulated Cortex-M7: the oracle's numbers to the last bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cases import float_case, random_raw
from oracle.real import steps_of
from patchnet.blob import vector
from patchnet.blob.files import pack_float32
from patchnet.board import deploy
from patchnet.board.remote import Board

SCRIPT = Path(__file__).resolve().parent / "scripts" / "float32.py"


@pytest.fixture(scope="module")
def float_folder(tmp_path_factory):
    """A folder of 24 networks of at most 20 KB, each with an input, and what must be printed."""
    folder, wanted, seed = tmp_path_factory.mktemp("float32"), [], 0
    while len(wanted) < 48:
        seed += 1
        case = float_case(900 + seed, extreme=seed % 6 == 0, max_macs=50_000)
        if len(case.blob) > 20_000 or len(case.oracle.run_raw(raw := raw_of(case)).outputs8) > 300:
            continue
        name, result = f"net{seed:03d}", case.oracle.run_raw(raw)
        (folder / f"{name}.pnb").write_bytes(case.blob)
        (folder / f"{name}.raw").write_bytes(raw.tobytes())
        wanted += [[name, result.outputs8, best_first(case, result), "float32", 1.0, True]] * 2
    return folder, wanted


def raw_of(case) -> np.ndarray:
    return random_raw(np.random.default_rng(case.seed), case.qnet.design)


def best_first(case, result) -> list[list]:
    """As classify gives it; where the script cannot ask it, nothing."""
    if case.oracle.maps or case.oracle.header.channels not in (1, 3):
        return []
    steps = [steps_of(logit) for logit in result.outputs8]
    order = sorted(range(len(steps)), key=lambda i: -steps[i])
    return [[case.oracle.labels[i], result.scores[i]] for i in order]


def check(device, wanted) -> None:
    """What a device prints in the networks' folder is the oracle's word."""
    lines = device.exec(SCRIPT.read_text()).splitlines()
    assert len(lines) == len(wanted)
    for line, (name, values, *told) in zip(lines, wanted, strict=True):
        got_name, digits, *got_told = json.loads(line)
        got = np.frombuffer(bytes.fromhex(digits), np.float32)
        assert got_name == name and got_told == told
        assert np.array_equal(got, values, equal_nan=True)
        some = ~np.isnan(values) & (values != 0)
        assert np.array_equal(got.view(np.uint32)[some], values.view(np.uint32)[some])


def test_equal_to_the_last_bit(where, connect, float_folder):
    folder, wanted = float_folder
    check(connect(where, files=folder), wanted)


def test_a_board_is_tried_by_its_test_vector(tmp_path):
    """As `patchnet deploy` does it."""
    blob = pack_float32("digits", tmp_path / "digits.float32.pnb").path
    expected = vector.load(blob)
    assert expected.outputs.dtype == np.float32
    with Board.qemu(tmp_path) as board:
        assert deploy._try(board, "digits", repr("digits.float32.pnb"), expected)
        with pytest.raises(ValueError, match="digits: answers .* from output .* on: do not use it"):
            other = expected.outputs.copy()
            other[0] += 1
            deploy._try(board, "digits", repr("digits.float32.pnb"), replace(expected, outputs=other))
