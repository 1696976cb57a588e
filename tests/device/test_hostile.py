"""Objects at random that lie, raise and pull memory away, under sanitizers; and heaps of any size."""

from __future__ import annotations

from pathlib import Path

import pytest

import blobs
from cases import end_case, random_case, sound_case
from patchnet.board import remote

SCRIPTS = Path(__file__).parent / "scripts"
ASAN = remote.UNIX.parent.parent / "unix-asan" / "micropython"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network of each kind, of some kilobytes."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "first.pnb").write_bytes(blobs.small(1))
    cases = [random_case(3, max_macs=5000), random_case(1, max_macs=5000, detects=True), sound_case(2)]
    for i, case in enumerate([*cases, end_case(1, max_macs=5000), end_case(2, max_macs=5000)]):
        (folder / f"{i}.pnb").write_bytes(case.blob)
    return folder


@pytest.mark.skipif(not ASAN.is_file(), reason=f"{ASAN} is missing: run `make asan`")
@pytest.mark.parametrize("seed", range(3))
def test_hostile_objects(connect, folder, monkeypatch, seed):
    """Under ASan and UBSan; gc.threshold(1) with the first seed. Answers of another model stay right."""
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0")
    code = f"seed, times = {seed}, 1000\n" + (SCRIPTS / "hostile.py").read_text()
    printed = connect("unix", folder, program=ASAN, heap="1m").exec(code).splitlines()
    assert printed[-1] == "right", printed


@pytest.mark.parametrize("where", ["unix", "qemu"])
def test_heaps_of_any_size(connect, folder, where):
    """On the unix port each allocation of loading and running fails once; on the board some."""
    sizes = "range(64, 9000, 128)" if where == "unix" else "range(400, 10000, 2400)"
    out = connect(where, folder).exec(f"sizes = {sizes}\n" + (SCRIPTS / "heaps.py").read_text()).splitlines()
    counts, works = out
    assert works == "True" and counts.endswith("flat") and "'ran'" in counts and "'refused'" in counts, out
    assert counts.count("(") == 2, counts
