"""What a failing test of the engine says, of a copy of the engine with a planted bug."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cases import Case, random_case
from cengine import BUILD, ENGINE
from oracle import BOTTLENECK, arena
from patchnet.plan.modes import FAST_MODES as MODES

TESTS = Path(__file__).parents[1]
# every bottleneck of kernel 5, but for modes fast and sweep, gives one too much
RIGHT = "pn_zero_q8(s->zero_out) - res_mult * s->zero_in,"
WRONG = "pn_zero_q8(s->zero_out) + 256 * (s->along.kernel == 5) - res_mult * s->zero_in,"


@pytest.fixture(scope="module")
def broken() -> Path:
    """Made once for an engine, in a folder named by it: what is built of it is kept, and workers may share it."""
    files = [path for path in sorted(ENGINE.rglob("*")) if path.suffix in (".c", ".h")]
    digest = hashlib.sha256(WRONG.encode() + b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    folder = BUILD / f"broken-{digest}"
    if not folder.is_dir():
        part = folder.with_suffix(f".{os.getpid()}")
        shutil.copytree(ENGINE, part)
        source = next(path for path in sorted(part.rglob("*.[ch]")) if RIGHT in path.read_text())
        source.write_text(source.read_text().replace(RIGHT, WRONG))
        try:
            part.rename(folder)
        except OSError:  # another worker was first
            shutil.rmtree(part)
    return folder


def bad_layers(case: Case) -> list[int]:
    stages = [stage for part in arena.parts(case.oracle) for stage in part.stages]
    layers = [(stage.index, stage.layer, stage.along.kernel) for stage in stages]
    return [i for i, s, kernel in layers if s.kind == BOTTLENECK and kernel == 5 and s.mode not in MODES]


def segment_of(case: Case, layer: int) -> int:
    return next(i for i, s in enumerate(case.oracle.segments) if s.first <= layer < s.first + s.layers)


def is_inner(case: Case, layer: int) -> bool:
    """Of a segment, so that its map is nowhere whole."""
    s = case.oracle.segments[segment_of(case, layer)]
    return layer < s.first + s.layers - 1


WANTED = {
    "whole map": (False, lambda case, i: 0 < i < case.oracle.header.layers - 1 and not is_inner(case, i)),
    "inside a segment": (False, lambda case, i: i < case.oracle.header.layers and is_inner(case, i)),
    "pooled": (False, lambda case, i: i == case.oracle.header.layers - 1),
    "stitched": (True, lambda case, i: i == case.oracle.header.layers - 1),
    "behind the chains": (True, lambda case, i: i >= case.oracle.header.layers),
}


def fuzzed(engine: Path, case: Case) -> subprocess.CompletedProcess:
    command = [sys.executable, TESTS / "fuzz.py", *case.again.split(), "--plans", "0", "--moved", "0", "--damage", "0"]
    env = {**os.environ, "PATCHNET_ENGINE": str(engine)}
    return subprocess.run(command, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("where", WANTED)
def test_the_layer_is_named(broken, where):
    detects, wanted = WANTED[where]
    for seed in range(300):
        case = random_case(seed, max_macs=50_000, detects=detects)
        bad = bad_layers(case)
        if bad and wanted(case, bad[0]):
            done = fuzzed(broken, case)
            if done.returncode:  # else the layers behind it make the same of what it makes
                break
    layer, segment, said = bad[0], segment_of(case, bad[0]), done.stderr
    assert done.returncode == 1 and f"python tests/fuzz.py {case.again}\n" in said, said
    assert f"plan: {case.oracle.header.tunnels} tunnels" in said and f"    layer {layer}: bottleneck" in said
    place = r"(y \d+, x \d+, )?channel \d+: wanted -?\d+, got -?\d+ \(\d+ of \d+ values differ\)"
    last = case.oracle.segments[segment].first + case.oracle.segments[segment].layers - 1
    assert re.search(rf"first difference: layer {last}, tunnel \d+, segment {segment}, .*, {place}\n", said), said
    if is_inner(case, layer) or case.oracle.segments[segment].layers > 1:
        assert re.search(rf"by itself: layer {layer}, tunnel \d+, segment {layer}, .*, {place}\n", said), said


def test_the_test_is_named_too(broken):
    """As in a run of pytest, whose command line is told as well."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        str(TESTS / "engine" / "test_engine.py"),
    ]
    env = {**os.environ, "PATCHNET_ENGINE": str(broken)}
    done = subprocess.run([*command, "-k", "test_random_network"], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    said = re.search(r"the test: python -m pytest '(.*test_engine.py::test_random_network\[\d+\])'\n", done.stdout)
    assert said and "the case: python tests/fuzz.py --kind any --seed" in done.stdout, done.stdout
