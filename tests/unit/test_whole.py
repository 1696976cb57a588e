"""What is written is there whole, or as it was before."""

import os
import re
from pathlib import Path

import pytest

import patchnet
from patchnet.whole import whole, whole_folder, write_bytes, write_text

ROOT = Path(patchnet.__file__).parent


def test_it_takes_the_place_of_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with whole(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_the_old_and_nothing_else(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"), whole(path) as beside:
        beside.write_bytes(b"ne")
        raise OSError(28, "No space left on device")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder, files = tmp_path / "a" / "b", lambda: {p.name: p.read_text() for p in (tmp_path / "a" / "b").iterdir()}
    for _ in range(2):
        with pytest.raises(ValueError, match="late"), whole_folder(folder, ("*.old",)) as beside:
            write_text(beside / "x", "half")
            raise ValueError("late")
        assert not list(tmp_path.iterdir()), "folders above it go again"
    with whole_folder(folder, ("*.old",)) as beside:
        write_text(beside / "x.old", "1")
        write_text(beside / "y", "1")
    (folder / "mine").write_text("stays")
    with pytest.raises(ValueError, match="late"), whole_folder(folder, ("*.old",)) as beside:
        write_text(beside / "y", "2")
        raise ValueError("late")
    assert files() == {"x.old": "1", "y": "1", "mine": "stays"}
    with whole_folder(folder, ("*.old",)) as beside:
        write_text(beside / "y", "3")
    assert files() == {"y": "3", "mine": "stays"} and list(folder.parent.iterdir()) == [folder]


def test_links_and_what_is_no_file(tmp_path):
    target, link = tmp_path / "there" / "a.txt", tmp_path / "link"
    target.parent.mkdir()
    link.symlink_to(target)
    write_text(link, "x")
    assert link.is_symlink() and target.read_text() == "x"
    write_text(os.devnull, "x")
    assert not Path(os.devnull).is_file()


def test_two_at_once(tmp_path):
    """The second is told so, and the first goes on; what was killed is nobody's."""
    path, folder = tmp_path / "a.bin", tmp_path / "b"
    path.with_name("a.bin.part").write_bytes(b"left by one that was killed")
    (tmp_path / ".b.part").mkdir()
    write_bytes(tmp_path / ".b.part" / "left", b"by one that was killed")
    with whole(path) as beside, whole_folder(folder, ()) as part:
        beside.write_bytes(b"first")
        write_text(part / "x", "first")
        with pytest.raises(BlockingIOError, match="another process is writing it: '.*a.bin'"):
            write_bytes(path, b"second")
        with pytest.raises(BlockingIOError, match="another process is writing it: '.*b'"), whole_folder(folder, ()):
            pass
    assert path.read_bytes() == b"first" and (folder / "x").read_text() == "first"
    assert {p.name for p in tmp_path.rglob("*")} == {"a.bin", "b", "x"}


def test_nothing_is_written_in_place():
    """What makes files that last goes through here; the rest are temporary folders."""
    direct = re.compile(
        r"\.write_(?:text|bytes)\(|np\.savez\w*\((?!file,)|\.savefig\((?!beside|out|_page)|torch\.save\("
    )
    found = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in ROOT.rglob("*.py")
        if path.name != "whole.py"
        for line in path.read_text().splitlines()
        if direct.search(line) and "beside" not in line
    }
    temporary = ("evaluate/engines.py", "report/analyze.py", "report/bench.py", "report/cycles.py", "tasks/gallery.py")
    assert {line for line in found if not line.startswith(temporary)} == set()
