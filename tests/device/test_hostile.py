"""Objects at random that lie, raise and pull memory away, under sanitizers; and heaps of any size."""

from __future__ import annotations

import subprocess
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


@pytest.mark.skipif(not ASAN.is_file(), reason=f"{ASAN} is missing: run `make asan`")
@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("print(at(a, 100)[99])", None),
        ("at(a, 101)[100]", "use-after-poison"),  # behind an object's end
        ("b = None; gc.collect(); at(a, 1)[0]", "use-after-poison"),
        ("b.extend(bytes(5000)); at(a, 1)[0]", "use-after-poison"),  # it has moved
    ],
)
def test_heap_is_poisoned(code, fault):
    """In that build, what is free of MicroPython's heap may not be touched."""
    begin = "import gc; from uctypes import addressof, bytearray_at as at; b = bytearray(100); a = addressof(b)\n"
    environment = {"ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run([ASAN, "-c", begin + code], env=environment, capture_output=True, text=True, check=False)
    assert (fault is None) == (done.returncode == 0) and (fault or "") in done.stderr, done.stderr


@pytest.mark.parametrize("where", ["unix", "qemu"])
def test_heaps_of_any_size(connect, folder, where):
    """On the unix port each allocation of loading and running fails once; on the board some."""
    sizes = "range(64, 9000, 128)" if where == "unix" else "range(400, 10000, 2400)"
    out = connect(where, folder).exec(f"sizes = {sizes}\n" + (SCRIPTS / "heaps.py").read_text()).splitlines()
    counts, works = out
    assert works == "True" and counts.endswith("flat") and "'ran'" in counts and "'refused'" in counts, out
    assert counts.count("(") == 2, counts


def test_hard_interrupts(connect, folder):
    """A timer whose callback runs in the interrupt itself, as on real boards."""
    files = {"a.pnb": "first.pnb", "b.pnb": "0.pnb"}
    together = folder / "hard"
    together.mkdir()
    for name, file in files.items():
        (together / name).write_bytes((folder / file).read_bytes())
    out = connect("qemu", together).exec("times = 600\n" + (SCRIPTS / "hard.py").read_text())
    assert out.splitlines()[-1] == "right True", out
