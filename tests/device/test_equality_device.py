"""The same integers everywhere: golden vectors and random networks on PC, unix port, emulated Cortex-M7 and board.

What must come out is always the oracle's word. tests/device/scripts/golden.py runs the cases that lie in a folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cases import Case, Picture, conv_case, end_case, is_fast_case, merging_case, random_blob, random_case
from cengine import Engine
from difference import again, first, plan_lines
from oracle import HEAD, Oracle
from patchnet.plan.modes import FAST_MODES as MODES

HERE = Path(__file__).resolve().parents[1]
GOLDEN = HERE / "golden"
SCRIPT = HERE / "device" / "scripts" / "golden.py"

spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)


def best_first(picture: dict, labels: list[str]) -> list[list]:
    """As classify, or detect, gives them: by logit, which tells more than the score; equal ones in order."""
    if "boxes" in picture:
        return [[*box[:4], labels[box[4]], box[5]] for box in picture["boxes"]]
    order = sorted(range(len(labels)), key=lambda i: -picture["logits"][i])
    return [[labels[i], picture["scores"][i]] for i in order]


def expected(entries: list[dict], folder: Path) -> list[dict]:
    """What the device script must print."""
    lines = []
    for entry in entries:
        labels = Oracle((folder / entry["blob"]).read_bytes()).labels
        for p in entry["pictures"]:
            outputs = told(p["outputs"]) if p["roi"] is None else None
            lines.append({"file": p["file"], "outputs": outputs, "best": best_first(p, labels)})
        lines.append({"file": entry["raw"]["file"], "outputs": told(entry["raw"]["outputs"])})
    return lines


def told(outputs: list[int]) -> list:
    """As the device script tells outputs."""
    if len(outputs) <= 32:
        return outputs
    return [len(outputs), hashlib.sha256(np.array(outputs, np.int8).tobytes()).hexdigest()[:16]]


def golden_entries() -> list[dict]:
    return make.read_cases(GOLDEN)


def printed(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def assert_printed(got: list[dict], entries: list[dict], folder: Path) -> None:
    """What a device printed is the oracle's word. Else tells of the first difference the case, its plan, and whether
    the engine on this PC is right."""
    wanted = expected(entries, folder)
    owners = [(entry, p) for entry in entries for p in (*entry["pictures"], entry["raw"])]
    for (entry, p), line, other in zip(owners, wanted, [*got, *[None] * len(wanted)], strict=False):
        if line != other:
            said = [f"{entry['blob']}, {p['file']}: wanted {line}", f"got {other}", *again(entry.get("again"))]
            raise AssertionError("\n".join(said + here(folder / entry["blob"], folder / p["file"], p)))
    assert got == wanted


def here(blob: Path, file: Path, p: dict) -> list[str]:
    """The plan, and where the engine on this PC first differs from the oracle."""
    engine, oracle, data = Engine(blob.read_bytes()), Oracle(blob.read_bytes()), file.read_bytes()
    if "w" in p:
        x = Picture(data, p["w"], p["h"], p["pixfmt"], tuple(p["roi"]) if p["roi"] else None)
        wanted = oracle.run_image(*x.args())
    else:
        h = oracle.header
        x = np.frombuffer(data, np.int8).reshape(h.height, h.width, h.channels)
        wanted = oracle.run_raw(x)
    return [*plan_lines(oracle), f"the engine on this PC: {first(engine, wanted, x)}"]


def more_plans(case: Case, entry: dict, folder: Path, plans: int) -> list[dict]:
    """Entries for the same network run by other plans, on the raw input alone."""
    rng, entries = np.random.default_rng(case.seed), []
    for i in range(plans):
        name = f"{Path(entry['blob']).stem}-plan{i}.pnb"
        (folder / name).write_bytes(random_blob(rng, case.qnet))
        entries.append({"blob": name, "pictures": [], "raw": entry["raw"], "again": entry["again"]})
    return entries


def read_outputs(case: Case) -> int:
    """Values of all heads of a detector."""
    heads = [
        shape for layer, (_, shape) in zip(case.oracle.layers, case.oracle.shapes, strict=True) if layer.flags & HEAD
    ]
    return sum(h * w * c for h, w, c in heads)


def has_fast_layers(case: Case) -> bool:
    return any(layer.mode in MODES for layer in case.oracle.layers)


def random_cases(kind: str) -> list[Case]:
    """30 cases of at most 20 KB, three of them extreme. "fast": all with layers of modes 5 or 6; "convs": convolutions
    alone; "detect": detectors; "ends": raw output, heat maps, raw input, tunnels that merge; or "any"."""
    cases, seed, fast = [], 7000, kind == "fast"
    make = {"convs": conv_case, "ends": end_case}.get(kind, random_case)
    if kind == "ends":

        def make(seed: int, **more) -> Case:
            return (end_case if seed % 3 else merging_case)(seed, **more)

    while len(cases) < 30:
        seed += 1
        if kind == "detect":
            case = random_case(seed, extreme=len(cases) % 10 == 9, max_macs=200_000, detects=True)
            small = len(case.blob) <= 20_000 and read_outputs(case) <= 1500
            cases += [case] * small
        elif is_fast_case(seed) or not fast:
            case = make(seed, extreme=len(cases) % 10 == 9, max_macs=300_000)
            cases += [case] * (len(case.blob) <= 20_000 and (has_fast_layers(case) or not fast))
    return cases


@pytest.fixture(scope="module", params=["any", "fast", "convs", "detect", "ends"])
def random_folder(request, tmp_path_factory):
    """30 random networks, each with ten plans: the folder and its cases."""
    cases = random_cases(request.param)
    assert request.param in ("detect", "ends") or {case.oracle.header.sized for case in cases} == {0, 1}
    folder = tmp_path_factory.mktemp("random")
    entries = make.write_cases(cases, folder)
    for case, entry in zip(cases, entries, strict=True):
        entry["again"] = case.again
    entries += [e for case, entry in zip(cases, entries, strict=True) for e in more_plans(case, entry, folder, 9)]
    make.write_lines(entries, folder)
    return folder, entries


def test_golden_is_the_oracles_word():
    """The files are what the oracle says today, and there is something of everything."""
    seen = set()
    for entry in golden_entries():
        oracle = Oracle((GOLDEN / entry["blob"]).read_bytes())
        for p in entry["pictures"]:
            roi = tuple(p["roi"]) if p["roi"] else None
            result = oracle.run_image((GOLDEN / p["file"]).read_bytes(), p["w"], p["h"], p["pixfmt"], roi)
            assert result.logits16.tolist() == p.get("logits", [])
            assert (result.outputs8.tolist(), result.scores) == (p["outputs"], p.get("scores", []))
            assert [list(box) for box in result.boxes] == p.get("boxes", [])
            seen |= {"boxes"} if len(result.boxes) > 1 else set()
            seen |= {p["pixfmt"], "part" if roi else "whole", ("aggregate", oracle.header.aggregate)}
        seen |= {("mode", layer.mode) for layer in oracle.layers} | {("kind", layer.kind) for layer in oracle.layers}
        x = (GOLDEN / entry["raw"]["file"]).read_bytes()
        assert oracle.run_raw(x).outputs8.tolist() == entry["raw"]["outputs"]
    assert seen == {
        1,
        2,
        3,
        "part",
        "whole",
        "boxes",
        *(("aggregate", n) for n in range(2)),
        *(("mode", n) for n in range(8)),
        *(("kind", n) for n in range(1, 8)),
    }
    assert sum(path.stat().st_size for path in GOLDEN.iterdir() if path.is_file()) < 200_000


def test_golden_on_the_engine():
    for entry in golden_entries():
        engine = Engine((GOLDEN / entry["blob"]).read_bytes())
        for p in entry["pictures"]:
            roi = tuple(p["roi"]) if p["roi"] else None
            out = engine.run_image((GOLDEN / p["file"]).read_bytes(), p["w"], p["h"], p["pixfmt"], roi)
            assert out.logits16.tolist() == p.get("logits", [])
            assert (out.outputs8.tolist(), out.scores) == (p["outputs"], p.get("scores", []))
            assert [list(box) for box in out.boxes] == p.get("boxes", [])
        x = np.frombuffer((GOLDEN / entry["raw"]["file"]).read_bytes(), np.int8)
        assert engine.run_raw(x).outputs8.tolist() == entry["raw"]["outputs"]


def on_pc(folder: Path) -> list[dict]:
    """The device script under CPython, through `import patchnet`."""
    done = subprocess.run([sys.executable, SCRIPT], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return printed(done.stdout)


def test_golden_on_pc():
    assert_printed(on_pc(GOLDEN), golden_entries(), GOLDEN)


def test_golden_on_device(where, connect):
    device = connect(where, files=GOLDEN)
    assert_printed(printed(device.exec(SCRIPT.read_text())), golden_entries(), GOLDEN)


def test_random_networks_on_pc(random_folder):
    folder, entries = random_folder
    assert_printed(on_pc(folder), entries, folder)


def test_random_networks_on_device(where, connect, random_folder):
    folder, entries = random_folder
    device = connect(where, files=folder)
    assert_printed(printed(device.exec(SCRIPT.read_text())), entries, folder)
