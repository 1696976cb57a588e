"""The shipped network `bccd` on the pictures that are shipped with it: the oracle's boxes on every engine."""

import json
from pathlib import Path

import numpy as np
import pytest

import patchnet
from patchnet import data
from patchnet.evaluate import engines
from patchnet.evaluate import val as evaluation
from patchnet.models import resolve
from patchnet.tasks.detect import precision

WANTED = json.loads((Path(__file__).parents[1] / "golden" / "bccd.json").read_text())
FOLDER = Path(patchnet.__file__).parent / "pictures" / "bccd"
FILES = sorted(FOLDER.glob("*.ppm"))


def test_there_is_something_to_find():
    assert [file.name for file in FILES] == sorted(WANTED) and len(FILES) == 3
    for boxes in WANTED.values():
        assert {label for *_, label, _ in boxes} == {0, 1, 2}, "red and white cells and platelets in each"
        assert [score for *_, score in boxes] == sorted((score for *_, score in boxes), reverse=True)


def test_oracle_still_finds_it():
    from oracle import RGB888, Oracle

    picture, oracle = data.decode(FILES[0]), Oracle(resolve("bccd").read_bytes())
    boxes = oracle.run_image(picture.tobytes(), picture.shape[1], picture.shape[0], RGB888).boxes
    assert [list(box) for box in boxes] == WANTED[FILES[0].name]


def test_on_pc():
    with patchnet.Model("bccd") as m:
        assert (m.task, tuple(m.labels)) == ("detect", ("RBC", "WBC", "Platelets"))
        for file in FILES:
            got = [[*b[:4], m.labels.index(b[4]), round(b[5] * 65536)] for b in m.detect(data.decode(file))]
            assert got == WANTED[file.name]


def test_on_device(where):
    if where not in engines.ENGINES:
        pytest.skip("predict knows the unix port and the emulated board")
    found = evaluation.predict("bccd", FILES, where)
    assert [rows.tolist() for rows in found.boxes] == [WANTED[file.name] for file in FILES]
    assert found.ram == patchnet.Model("bccd").ram


def test_float_network_finds_nearly_the_same():
    """By the boxes of the integer one as the truth: nine in ten."""
    pytest.importorskip("torch")
    found = evaluation.predict("bccd", FILES, "float")
    truth = [np.array([[x, y, x + w, y + h, c, 0] for x, y, w, h, c, _ in WANTED[f.name]]) for f in FILES]
    hits = [
        sum((precision.judged(found.corners(i)[found.corners(i)[:, 4] == c], t[t[:, 4] == c], 0.5) == 1).sum()
            for c in range(3))
        for i, t in enumerate(truth)
    ]  # fmt: skip
    assert sum(hits) >= 0.9 * sum(map(len, truth))


def test_pictures_are_described():
    text = (FOLDER.parent / "README.md").read_text()
    assert all(f"`bccd/{file.name}`" in text for file in FILES) and "Shenggan/BCCD_Dataset" in text
    assert (FOLDER / "LICENSE").read_text().startswith("MIT License")
