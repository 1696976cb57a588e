"""docs/reference says what the sources say, of every key that an experiment may have."""

import importlib.util
import re
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pytest

from patchnet import rooms
from patchnet.net.recipe import PatchTunnels, Stage
from patchnet.ranges import fault, hints_of
from patchnet.tasks.detect import end as detection
from patchnet.tasks.sound import end as sound
from patchnet.train.experiment import EXPERIMENTS, Experiment, options_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "reference"


@pytest.fixture
def reference():
    """docs/make_reference.py as a module."""
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def keys(title):
    """Those of a table of docs/reference/experiment.md."""
    page = (PAGES / "experiment.md").read_text()
    section = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", page, re.M | re.S)[1]
    return re.findall(r"^\| `(\w+)` \|", section, re.M)


def test_pages_are_as_made(reference):
    made = reference.pages()
    assert {path.name: path.read_text() for path in PAGES.glob("*.md")} == made, "`python docs/make_reference.py`"


TABLES = {
    "The experiment": (Experiment, ("options", "source")),
    "[network]": (PatchTunnels, ("name", "end")),
    "A stage": (Stage, ()),
    "[network.detection]": (detection.Detection, ()),
    "A scale": (detection.Scale, ()),
    "[network.audio]": (sound.Audio, ()),
}
OPTIONS = {"classify": ["If it classifies"], "detect": ["If it detects"], "audio": ["If it classifies", "If it hears"]}


@pytest.mark.parametrize("title", TABLES)
def test_every_field_is_a_key(title):
    kind, but = TABLES[title]
    assert keys(title) == [f.name for f in fields(kind) if f.name not in but]


def test_every_task_has_its_tables():
    assert {f"[network.{room.section}]" for room in rooms.TASKS.values() if room.section} <= set(TABLES)
    pytest.importorskip("torch")
    for task in rooms.TASKS:
        options = [f.name for f in fields(options_of(task))]
        assert options == [key for title in OPTIONS.get(task, ()) for key in keys(title)]


def test_shipped_experiments_have_no_other_keys():
    known = {key for title in ("The experiment", *sum(OPTIONS.values(), [])) for key in keys(title)}
    for path in EXPERIMENTS.rglob("*.toml"):
        told = tomllib.loads(path.read_text())
        if path.name == "tables.toml":  # the paper's
            continue
        assert set(told) <= known | {"base"}
        assert set(told["network"]) <= {*keys("[network]"), "detection", "audio"}


def test_a_field_without_a_meaning_is_named(reference, tmp_path, monkeypatch):
    source = (reference.PACKAGE / "net" / "recipe.py").read_text()
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "recipe.py").write_text(source.replace('    """How many there are."""\n', ""))
    monkeypatch.setattr(reference, "PACKAGE", tmp_path)
    with pytest.raises(ValueError, match=r"recipe.py: Stage.n: wanted a docstring"):
        list(reference.keys_of(reference.Keys("A stage", "net/recipe.py", "Stage")))


def without_range(hint):
    """Whether it holds numbers of which nothing is told."""
    if get_origin(hint) is Annotated:
        return False
    return hint in (int, float) or any(map(without_range, get_args(hint)))


def check_ranges(kind):
    """But for anchors and places, which the picture bounds. What is there without being told is in it."""
    hints = hints_of(kind)
    assert {name for name, hint in hints.items() if without_range(hint)} <= {"anchors", "places"}
    given = [f for f in fields(kind) if f.default is not MISSING and f.name != "options"]
    assert not [f.name for f in given if fault(f.default, hints[f.name])]


@pytest.mark.parametrize("title", TABLES)
def test_every_number_has_a_range(title):
    check_ranges(TABLES[title][0])


@pytest.mark.parametrize("task", OPTIONS)
def test_every_number_of_a_training_has_a_range(task):
    pytest.importorskip("torch")
    check_ranges(options_of(task))
