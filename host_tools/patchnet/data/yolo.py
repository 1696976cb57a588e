"""Detection sets in the way of YOLO: a text file for each picture, as Ultralytics and Roboflow lay them out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..words import some
from .boxed import Collected, Frame, listed
from .dataset import Dataset
from .pictures import PICTURES

TABLES = ("data.yaml", "data.yml", "dataset.yaml")
NO_LABELS = ("classes.txt", "README.txt", "README.dataset.txt")


def load_yolo(path: Path) -> Dataset:
    """A folder with `images` and `labels`, one below `images`, or one with pictures and text files beside each other.

    labels/*.txt has a line `class x y w h` for each box (fractions; x, y its centre), or `class x y x y x y ...` for
    each polygon; a picture without a file has no boxes. Sub-folders of `images` have their like in `labels`. Classes
    are in classes.txt or a data.yaml, there or above.
    """
    images, labels = folders(path)
    classes = classes_of(images, labels, path)
    pictures = sorted(p for p in images.rglob("*") if p.suffix.lower() in PICTURES and not p.name.startswith("."))
    files = {labels / p.relative_to(images).with_suffix(".txt"): p for p in pictures}
    found = Collected(path)
    texts = [file for file in sorted(labels.rglob("*.txt")) if file.name not in NO_LABELS]
    if not texts:
        raise ValueError(f"{path}: wanted a .txt with boxes for each picture in {labels}, got none")
    for file in texts:
        if file not in files:
            found.missing.append(f"{file}: its picture {images / file.stem}.* is missing")
    for file, picture in files.items():
        frame = found.picture(picture, None, str(file))
        lines = file.read_text(encoding="utf-8-sig").splitlines() if file.is_file() and frame else []
        for i, line in enumerate(lines, 1):
            if line.strip() and frame:
                found.add(frame, *yolo_row(line, classes, frame, f"{file}:{i}"), False, f"{file}:{i}")
    return found.dataset(classes)


def is_yolo(path: Path) -> bool:
    """Whether `folders` finds some there."""
    images, labels = folders(path)
    beside = images == labels and any((path / name).is_file() for name in ("classes.txt", *TABLES))
    return beside or (images != labels and images.is_dir() and labels.is_dir())


def folders(path: Path) -> tuple[Path, Path]:
    """Of pictures and of text files."""
    if (path / "images").is_dir():
        return path / "images", path / "labels"
    parts = path.absolute().parts
    if "images" in parts:
        at = len(parts) - 1 - parts[::-1].index("images")
        return path, Path(*parts[:at], "labels", *parts[at + 1 :])
    return path, path


# ---------------------------------------------------------------- classes


def classes_of(images: Path, labels: Path, path: Path) -> list[str]:
    """ValueError where no file tells them."""
    places = list(dict.fromkeys((path, labels, images, path.absolute().parent, path.absolute().parents[1])))
    for place in places:
        table = next((place / name for name in TABLES if (place / name).is_file()), None)
        names = listed(place) or (yaml_names(table) if table else [])
        if names:
            return names
    raise ValueError(f"{path}: wanted its classes in classes.txt or as names in data.yaml")


def yaml_of(file: Path) -> dict[str, Any]:
    """A data.yaml. ValueError if it is none."""
    try:
        told = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ValueError(f"{file}: no YAML: {' '.join(str(e).split())}") from None
    if not isinstance(told, dict):
        raise ValueError(f"{file}: wanted names and the folders of a data set")
    return told


def yaml_names(file: Path) -> list[str]:
    """Its `names`: a list, or a mapping from numbers that begin with 0; none if it has none."""
    names = yaml_of(file).get("names") or []
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise ValueError(f"{file}: names: wanted numbers from 0 on, got {some(names)}")
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list):
        raise ValueError(f"{file}: names: wanted a list or a mapping, got {names!r}")
    return [str(name).strip() for name in names]


# ---------------------------------------------------------------- boxes


def yolo_row(line: str, classes: Sequence[str], frame: Frame, where: str) -> tuple[list[float], int]:
    """Box in pixels, and class."""
    try:
        label, *values = (float(word) for word in line.split())
    except ValueError:
        label, values = math.nan, []
    if len(values) == 4:
        x, y, w, h = values
        box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
    elif len(values) >= 6 and len(values) % 2 == 0:
        box = [min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])]
    else:
        got = f"{1 + len(values)} numbers" if values or label == label else "no numbers"
        raise ValueError(
            f"{where}: wanted `class x y w h`, or a polygon's `class x y x y x y`, got {got}: {line[:60]!r}"
        )
    if not (label.is_integer() and 0 <= label < len(classes)):
        raise ValueError(f"{where}: unknown class {label:g} (there are {len(classes)}: {some(classes)})")
    return [v * side for v, side in zip(box, (frame.width, frame.height) * 2, strict=True)], int(label)
