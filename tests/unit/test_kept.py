"""Fronts are found once, and kept."""

import os
from dataclasses import replace

import pytest

from patchnet.net.recipe import Stage, patch_tunnels
from patchnet.plan import choice, kept
from patchnet.plan.sources import Stream

TINY = patch_tunnels("tiny", ("a", "b"), 12, 12, 3, 4, True, 2, 2, 4, stages=(Stage(6, 2, 1, 3), Stage(8, 1, 2, 2)))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PATCHNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "SLOW", 0)
    choice._points.cache_clear()
    return tmp_path / "cache"


def searched(monkeypatch, network, **how) -> bool:
    """Whether the front was searched for, by a process that has just begun."""
    asked = []
    search = choice._searched
    monkeypatch.setattr(choice, "_searched", lambda *args: asked.append(args) or search(*args))
    choice._points.cache_clear()
    choice.front(network, **how)
    monkeypatch.setattr(choice, "_searched", search)
    return bool(asked)


def test_found_once(folder, monkeypatch):
    found = choice.front(TINY)
    assert len(list(folder.iterdir())) == 1
    assert not searched(monkeypatch, TINY)
    again = choice.front(TINY)
    assert again == found and [hash(p.schedule) for p in again] == [hash(p.schedule) for p in found]
    assert choice.place(TINY, again[0].schedule) == choice.place(TINY, found[0].schedule)


def test_what_matters(folder, monkeypatch):
    choice.front(TINY)
    alike = replace(TINY, name="other", labels=tuple(f"of {label}" for label in TINY.labels))
    assert not searched(monkeypatch, alike)
    assert searched(monkeypatch, replace(TINY, labels=(*TINY.labels, "one more")))
    assert searched(monkeypatch, TINY.float32())
    assert searched(monkeypatch, TINY, by="macs")
    assert searched(monkeypatch, TINY, fast=[0] * len(TINY.run()))
    assert searched(monkeypatch, TINY, source=Stream(4096))
    monkeypatch.setattr(kept, "_version", lambda: "of another patchnet")
    assert searched(monkeypatch, TINY)


@pytest.mark.parametrize("data", [b"", b"[", b"\xff", b"{}", b"[1]", b"[[1, 2]]", b"[[1, 2, 3, 4, 5, 6]]"])
def test_damaged(folder, monkeypatch, data):
    found = choice.front(TINY)
    (file,) = folder.iterdir()
    file.write_bytes(data)
    assert searched(monkeypatch, TINY)
    assert choice.front(TINY) == found and not searched(monkeypatch, TINY)


def test_the_oldest_go(folder, monkeypatch):
    monkeypatch.setattr(kept, "MOST", 3)
    folder.mkdir()
    for i in range(4):
        file = folder / f"front-{i}.json"
        file.write_text("[]")
        os.utime(file, (i, i))
    (folder / "mine.json").write_text("stays")
    choice.front(TINY)
    names = {file.name for file in folder.iterdir()}
    assert {"mine.json", "front-2.json", "front-3.json"} < names and len(names) == 4


def test_no_place(folder, monkeypatch, tmp_path):
    """A file where the folder should be, or nothing is to be kept."""
    (tmp_path / "file").write_text("")
    for place in (str(tmp_path / "file"), ""):
        monkeypatch.setenv("PATCHNET_CACHE", place)
        assert searched(monkeypatch, TINY)
    assert not folder.exists()


def test_quick_ones_are_not_kept(folder, monkeypatch):
    monkeypatch.setattr(kept, "SLOW", 3600)
    choice.front(TINY)
    assert not folder.exists()


def test_where(monkeypatch, tmp_path):
    monkeypatch.delenv("PATCHNET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert str(kept.folder()) == "/caches/patchnet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kept.folder() == tmp_path / ".cache" / "patchnet"
    monkeypatch.setenv("PATCHNET_CACHE", "~/plans")
    assert kept.folder() == tmp_path / "plans"
