"""Tasks are rooms: a fourth one, put in as tests/rooms/colour, works with nothing touched but the table of tasks, their
numbers in blobs and the engine's switch; and no room is loaded, or named, where another one's networks are worked on.
"""

from __future__ import annotations

import ast
import filecmp
import json
import os
import shlex
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import pytest
import test_imports

from cengine import ROOT, WARNINGS

ROOMS = Path(__file__).resolve().parents[1] / "rooms"
PACKAGE, ENGINE = Path("host_tools/patchnet"), Path("modpatchnet/engine")
HEADER = ENGINE / "blob/pn_format.h"
TOUCHED = {PACKAGE / "rooms.py", PACKAGE / "format.py", ENGINE / "tasks/pn_task.c"}
LEFT_OUT = shutil.ignore_patterns("*.so", "*.npz", "__pycache__")


# ---------------------------------------------------------------- a fourth task


def apply(patch: str, tree: Path) -> set[Path]:
    """Changes the files of a unified diff; all that a hunk does not add must stand there, and once. Returns which."""
    found = set()
    for part in patch.split("--- a/")[1:]:
        name, *hunks = part.split("\n@@ ")
        path = Path(name.split("\n")[0])
        text = (tree / path).read_text()
        for hunk in hunks:
            lines = hunk.removesuffix("\n").split("\n")[1:]
            old, new = ("\n".join(line[1:] for line in lines if line[:1] != but) for but in "+-")
            assert text.count(old) == 1, f"{path}: wanted once, found {text.count(old)} times:\n{old}"
            text = text.replace(old, new)
        (tree / path).write_text(text)
        found.add(path)
    return found


def put_in(room: Path, tree: Path) -> set[Path]:
    """Copies a room's modules and C files to where they belong. Returns which files they are there."""
    places = {".py": PACKAGE / "tasks" / room.name, ".c": ENGINE / "tasks", ".h": ENGINE / "tasks"}
    files = {places[path.suffix] / path.name: path for path in room.iterdir() if path.is_file()}
    for place, path in files.items():
        (tree / place).parent.mkdir(exist_ok=True)
        shutil.copy(path, tree / place)
    return set(files)


def files_of(tree: Path) -> set[Path]:
    left_out = (".so", ".npz", ".pyc")
    files = (path for top in ("host_tools/patchnet", "modpatchnet") for path in (tree / top).rglob("*"))
    return {path.relative_to(tree) for path in files if path.is_file() and path.suffix not in left_out}


def build(tree: Path) -> None:
    """The engine's shared library, of the sources that setup.py takes."""
    sources = [tree / PACKAGE / "engine/_engine.c", *sorted((tree / ENGINE).rglob("*.c"))]
    flags = [*WARNINGS, "-O1", "-fPIC", "-shared", f"-I{tree / 'modpatchnet'}"]
    out = tree / PACKAGE / f"engine/_engine{EXTENSION_SUFFIXES[0]}"
    subprocess.run([*shlex.split(os.environ.get("CC", "cc")), *flags, *sources, "-o", out], check=True)


def run(script: Path | str, *arguments: object, tree: Path = ROOT) -> dict:
    """The JSON of the last line that a script, or its text, prints in a process that has this tree's package."""
    environment = os.environ | {"PYTHONPATH": str(tree / "host_tools"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *(["-c", script] if isinstance(script, str) else [script]), *arguments]
    done = subprocess.run(list(map(str, command)), env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def with_colour(tmp_path_factory):
    """(the tree with the toy task, files of its room, files that were changed for it)."""
    tree = tmp_path_factory.mktemp("tree")
    for top in (PACKAGE, ENGINE.parent):
        shutil.copytree(ROOT / top, tree / top, symlinks=True, ignore=LEFT_OUT)
    own = put_in(ROOMS / "colour", tree)
    changed = apply((ROOMS / "colour.patch").read_text(), tree)
    made = subprocess.run([sys.executable, tree / PACKAGE / "format.py"], text=True, capture_output=True, check=True)
    (tree / HEADER).write_text(made.stdout)
    build(tree)
    return tree, own, changed


def test_a_task_touches_three_files(with_colour):
    """And the header that is made of one of them."""
    tree, own, changed = with_colour
    before, after = files_of(ROOT), files_of(tree)
    assert changed == TOUCHED and after - before == own and not before - after
    differing = {path for path in before if not filecmp.cmp(ROOT / path, tree / path, shallow=False)}
    assert differing == TOUCHED | {HEADER}


def test_one_line_each_on_the_host(with_colour):
    tree, *_ = with_colour
    for path in (PACKAGE / "rooms.py", PACKAGE / "format.py", HEADER):
        old, new = ((top / path).read_text().splitlines() for top in (ROOT, tree))
        (line,) = (line for line in new if line not in old)
        assert len(new) == len(old) + 1 and "colour" in line.lower()


def test_it_works(with_colour, tmp_path):
    """From a recipe to answers; its room alone is loaded, and no module of it that only training asks for is there."""
    tree, own, _ = with_colour
    found = run(ROOMS / "from_recipe_to_answers.py", tmp_path, tree=tree)
    assert found == {"package": str(tree / PACKAGE), "rooms": ["answers", "colour", "pictures"], "slow": []}
    assert {path.name for path in own if path.suffix == ".py"} == {"__init__.py", "end.py", "record.py", "answers.py"}


@pytest.mark.parametrize("rule", test_imports.RULES, ids=lambda rule: rule.__name__)
def test_the_order_of_imports_holds_with_it(rule, with_colour):
    assert rule(with_colour[0] / PACKAGE) == rule(ROOT / PACKAGE)


def test_a_patch_that_does_not_fit_is_refused(tmp_path):
    patch = "--- a/x\n+++ b/x\n@@ -1,2 +1,3 @@\n one\n+new\n two\n"
    for text in ("one\n2\n", "one\ntwo\none\ntwo\n"):
        (tmp_path / "x").write_text(text)
        with pytest.raises(AssertionError, match="wanted once"):
            apply(patch, tmp_path)
    (tmp_path / "x").write_text("0\none\ntwo\n")
    assert apply(patch, tmp_path) == {Path("x")} and (tmp_path / "x").read_text() == "0\none\nnew\ntwo\n"


# ---------------------------------------------------------------- rooms that are not asked for

CLASSIFY = """
import json, sys
import numpy as np
from patchnet import Model
from patchnet.blob.order import fast_layers
from patchnet.blob.pack import pack
from patchnet.blob.random import random_qnet
from patchnet.blob.unpack import blob_network, read
from patchnet.evaluate import chain, engines, val
from patchnet.net.recipe import Stage, patch_tunnels
from patchnet.plan.choice import plan
from patchnet.report import analyze

network = patch_tunnels("small", ("a", "b"), 24, 24, stem_out=4, stages=(Stage(8, stride=2),))
pixels = np.random.default_rng(0).integers(0, 256, (8, 24, 24, 3), np.uint8)
qnets = [random_qnet(network)]
if "torch" in sys.argv:
    from patchnet.train import modules, quantize
    qnets.append(quantize.quantized(modules.build(network), pixels))
for qnet in qnets:
    planned = plan(network, fast=fast_layers(qnet))
    blob = pack(qnet, planned)
    assert blob_network(read(blob), "small").task == "classify" and len(Model(blob).classify(pixels[0])) == 2
    analyze.analyze_network(network, planned, blob=blob)
print(json.dumps(sorted({name.split(".")[2] for name in sys.modules if name.startswith("patchnet.tasks.")})))
"""
NAMED = {  # who asks for a task's room by its name: module, task, part of the room
    ("cli.designing", "detect", "boxes"),  # `patchnet anchors`
    ("importers.dequantized", "classify", "record"),  # whose integers are made real again, of no other task
    ("net.recipe", "classify", "end"),  # a recipe that asks for no other end
    ("report.bench", "classify", "end"),  # blocks that are measured want one
}


@pytest.mark.parametrize("more", [(), ("torch",)], ids=["", "torch"])
def test_classifying_loads_no_other_room(more):
    if more and find_spec("torch") is None:
        pytest.skip("needs PyTorch")
    assert set(run(CLASSIFY, *more)) <= {"answers", "classify", "gallery", "pictures"}


def test_who_asks_for_a_room_by_name():
    """In a call of rooms.part; that no import outside of `tasks` names a room is test_imports.between_tasks."""
    found = set()
    for module, path in test_imports.modules(ROOT / PACKAGE).items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "rooms.part":
                task, name = node.args
                if isinstance(task, ast.Constant):
                    found.add((module, task.value, name.value))
    assert found == NAMED
