"""Answers on pages: how many, under which names, and what is said of right and wrong ones."""

import json
import re

import pytest
from PIL import Image

from patchnet import cli
from patchnet.evaluate.val import files_in
from patchnet.tasks import gallery
from patchnet.tasks.answers import Shown
from patchnet.tasks.classify.drawing import ranked
from patchnet.tasks.gallery import LONGEST, shortened

PAGE = 3


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Two class folders of a network that comes with patchnet; the pictures are grey, so one of them is wrong."""
    monkeypatch.setattr(gallery, "PAGE", PAGE)
    for label, n in (("person", 2), ("no_person", PAGE - 1)):
        (tmp_path / "tree" / label).mkdir(parents=True)
        for i in range(n):
            Image.new("RGB", (40, 30), (90 + i, 90, 90)).save(tmp_path / "tree" / label / f"{i}.png")
    (tmp_path / "tree" / "notes.txt").touch()
    return tmp_path / "tree"


def test_folders_and_pages(tree, tmp_path, capsys):
    command = ["predict", "person", str(tree)]
    assert cli.main([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["picture"] for row in rows] == [str(f) for f in sorted(tree.rglob("*.png"))]
    assert {row["truth"] for row in rows} == {"person", "no_person"}
    right = sum(row["ranking"][0]["label"] == row["truth"] for row in rows)

    assert cli.main([*command, "--out", str(tmp_path / "many.png")]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f"right: {right} of {PAGE + 1}"
    assert sum(line.endswith(")") and "(is " in line for line in out.splitlines()) == PAGE + 1 - right
    assert sorted(p.name for p in tmp_path.glob("many*")) == ["many-1.png", "many-2.png"]
    assert "many-2.png" in err
    assert cli.main([*command, "--out", str(tmp_path / "many.pdf")]) == 0
    assert len(re.findall(rb"/Type /Page\b", (tmp_path / "many.pdf").read_bytes())) == 2


def test_what_cannot_be_read_is_told(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match="no pictures or sounds in it"):
        files_in([tmp_path])
    with pytest.raises(FileNotFoundError, match="no such picture: .*gone"):
        files_in([tmp_path / "gone"])


def test_what_stands_above_a_picture():
    told = {"ranking": [{"label": "a", "score": 0.75}, {"label": "b", "score": 0.25}]}
    assert ranked(Shown("x", told, None)) == "a 0.750\nb 0.250"
    assert ranked(Shown("x", told, "a")).startswith("a 0.750 ✓\n")
    assert ranked(Shown("x", told, "b")).startswith("a 0.750 ✗ is b\n")
    assert (Shown("x", told, "a").right, Shown("x", told, None).right) == (True, None)
    assert shortened("x" * LONGEST) == "x" * LONGEST and shortened("a" * 50 + ".png").endswith("a.png")
    assert len(shortened("a" * 50)) == LONGEST
