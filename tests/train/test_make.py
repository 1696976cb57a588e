"""`patchnet make`: from a folder to a blob in one command, stopped and begun again."""

import json

import pytest

pytest.importorskip("torch")

import toys
from patchnet import cli
from patchnet.make import choose, stages
from patchnet.make.choose import Wanted


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return toys.folder(tmp_path_factory.mktemp("data") / "squares")


def test_networks_keep_to_the_budgets():
    found = choose.candidates("n", ("a", "b"), 48, Wanted(10 << 10, 60 << 10, ms=20))
    assert 1 <= len(found) <= 4 and found == sorted(found, key=lambda c: -c.macs)
    for c in found:
        assert c.arena <= 10 << 10 and c.flash <= 60 << 10 and c.ms(480_000_000) <= 20
        assert c.recipe.height <= 48 * choose.ENLARGED
    for wanted, line in (
        (Wanted(1 << 10), "keeps to 1,024 B of RAM"),
        (Wanted(1 << 20, 9 << 10), "B of flash at least"),
    ):
        with pytest.raises(ValueError, match=line):
            choose.candidates("n", ("a", "b"), 48, wanted)


def test_one_command(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(stages, "EMULATED", 6)
    out = tmp_path / "run"
    command = ["make", str(folder), "--ram", "9K", "--flash", "40K", "--minutes", "0.2", "-o", str(out)]
    assert cli.main([*command, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["packed"]["ram"] <= 9 << 10 and made["packed"]["blob_bytes"] <= 40 << 10
    engines = {r["on"]: r for r in made["results"]}
    assert {"float", "host"} <= set(engines) and engines["host"]["top1"] > 0.8
    assert all(r.get("identical", True) for r in made["results"])
    page = (out / "report.html").read_text()
    assert "Confusion matrix" in page and "Memory over the network" in page

    before = {p.name: p.stat().st_mtime_ns for p in out.iterdir() if p.name in ("float.npz", "qnet.npz", "train.npz")}
    (out / "squares.pnb").unlink()
    assert cli.main(command) == 0
    told = capsys.readouterr().out
    assert before == {name: (out / name).stat().st_mtime_ns for name in before} and (out / "squares.pnb").is_file()
    assert "next:" in told and f"patchnet deploy {out}/squares.pnb" in told

    assert cli.main([*command[:2], "--ram", "8K", *command[4:]]) == cli.USER_ERROR
    assert "was begun otherwise (wanted was" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").touch()
    assert cli.main([*command[:-1], str(tmp_path / "other")]) == cli.USER_ERROR
    assert "wanted a new folder" in capsys.readouterr().err
