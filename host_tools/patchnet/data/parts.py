"""Where the parts of a set lie that is split already: for training, validation and test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .published import usual_parts
from .yolo import TABLES, yaml_of

NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


def parts_of(path: Path) -> dict[str, Path]:
    """The folders of the parts by their key in NAMES, if there is one for training; else none.

    Roboflow's and Ultralytics' folders with their data.yaml, or that file; train, val and test beside each other, each
    with class folders, or `images` and `labels`, or annotations in it; those of a published set.
    """
    if own := usual_parts(path):
        return own
    table = path if path.suffix in (".yaml", ".yml") else next((path / t for t in TABLES if (path / t).is_file()), None)
    found = named_in(table) if table else {}
    if not found and path.is_dir():
        found = beside(path / "images" if (path / "images").is_dir() and (path / "labels").is_dir() else path)
    if found.get("validation") == found.get("train"):  # some have one folder for both
        found.pop("validation", None)
    return found if "train" in found else {}


def beside(root: Path) -> dict[str, Path]:
    """Folders of `root`, if all of them are parts, with more in them than pictures."""
    folders = [p for p in sorted(root.iterdir()) if p.is_dir() and not is_junk(p)]
    found = {key: p for p in folders for key, names in NAMES.items() if p.name.lower() in names}
    own = root.name == "images"
    return found if len(found) == len(folders) and (own or all(has_more(p) for p in folders)) else {}


def has_more(folder: Path) -> bool:
    """Folders or annotations."""
    return any(p.is_dir() and not is_junk(p) or p.suffix.lower() in (".json", ".xml", ".txt") for p in folder.iterdir())


def is_junk(path: Path) -> bool:
    """What notebooks, file managers and archives leave behind."""
    return path.name.startswith(".") or path.name == "__MACOSX"


def named_in(table: Path) -> dict[str, Path]:
    """Those that a data.yaml names and that are there."""
    told = yaml_of(table)
    out = {}
    for key, names in NAMES.items():
        value: Any = next((told[name] for name in names if name in told), None)
        places = [place for place in candidates(table.parent, told.get("path"), value) if place.is_dir()]
        if places:
            out[key] = places[0]
    return out


def candidates(folder: Path, root: Any, value: Any) -> list[Path]:
    """Where a part may lie: Ultralytics tells of it from `path` on, Roboflow from a folder beside the file's."""
    if not isinstance(value, str):
        return []
    bare = Path(*(part for part in Path(value).parts if part not in ("..", ".")))
    above = [folder / root, Path(root)] if isinstance(root, str) else []
    return [*(place / value for place in (*above, folder)), folder / bare]
