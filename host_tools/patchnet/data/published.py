"""Sets in the layouts that they are published in. Their parts are sets of their own: `cifar-10-batches-bin/test`.

A part need not lie in a folder of its own: which items are of it, lists and numbers tell that come with the set.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..words import some
from .boxed import told
from .coco import coco_picture
from .dataset import Dataset
from .sounds import SOUNDS

PERSON_AREA = 0.005  # of the picture, at least: Visual Wake Words' "person"
MINIVAL = "mscoco_minival_ids.txt"  # the pictures that Visual Wake Words keeps for tests, a COCO id a line
IMAGENET_VAL = "ILSVRC2012_val_*"
VAL_SOLUTION = "LOC_val_solution.csv"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
DEVKIT = "ILSVRC2012_devkit_t12/data"
CIFAR_RECORD = 1 + 32 * 32 * 3  # label, then the red plane, the green and the blue one


@dataclass(frozen=True)
class Layout:
    """`marks`: what a folder of this layout has in it, as for glob. `parts`: their names; `usual`: which of them are
    for training, validation and test, by parts.NAMES. `read` makes a set of a folder's part."""

    marks: tuple[str, ...]
    parts: tuple[str, ...]
    read: Callable[[Path, str], Dataset]
    usual: dict[str, str] = field(default_factory=dict)


def layout_of(root: Path) -> Layout | None:
    """The layout of the folder, if it is one of LAYOUTS."""
    if not root.is_dir():
        return None
    return next((own for own in LAYOUTS if all(any(root.glob(mark)) for mark in own.marks)), None)


def part_of(path: Path) -> Callable[[], Dataset] | None:
    """What reads the part of a published set that `path` names by its last word; None if it is none."""
    found = None if path.exists() else layout_of(path.parent)
    if found is None or path.name not in found.parts:
        return None
    return lambda: found.read(path.parent, path.name)


def usual_parts(root: Path) -> dict[str, Path]:
    """Those for training, validation and test."""
    if is_imagenet_val(root / "val") and (root / "train").is_dir():
        return {"train": root / "train", "validation": root / "val"}
    found = layout_of(root)
    return {key: root / part for key, part in found.usual.items()} if found else {}


# ---------------------------------------------------------------- CIFAR-10


def load_cifar10(root: Path, part: str) -> Dataset:
    """The binary version: five batches for training, one for tests."""
    classes = (root / "batches.meta.txt").read_text().split()
    files = sorted(root.glob("data_batch_*.bin")) if part == "train" else [root / "test_batch.bin"]
    pixels, labels, names = [], [], list[str]()
    for file in files:
        records = cifar_records(file, len(classes))
        labels.append(records[:, 0].astype(np.int64))
        pixels.append(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        names += [f"{file.stem}/{i}" for i in range(len(records))]
    return Dataset(tuple(classes), list(np.concatenate(pixels)), np.concatenate(labels), tuple(names))


def cifar_records(file: Path, classes: int) -> np.ndarray:
    data = np.frombuffer(file.read_bytes(), np.uint8)
    if not len(data) or len(data) % CIFAR_RECORD:
        raise ValueError(f"{file}: wanted records of {CIFAR_RECORD:,} B, got {len(data):,} B")
    records = data.reshape(-1, CIFAR_RECORD)
    if (most := int(records[:, 0].max())) >= classes:
        raise ValueError(f"{file}: wanted labels below {classes}, got {most}")
    return records


def is_pickled_cifar(root: Path) -> bool:
    """The version for Python: pickles, which run whatever they say."""
    return (root / "data_batch_1").is_file() and (root / "batches.meta").is_file()


# ---------------------------------------------------------------- ImageNet


def is_imagenet_val(folder: Path) -> bool:
    """ImageNet's pictures for validation, all in one folder."""
    return folder.is_dir() and any(p.is_file() for p in folder.glob(IMAGENET_VAL))


def load_imagenet_val(folder: Path) -> Dataset:
    """They tell no classes: a map does, LOC_val_solution.csv or the development kit, which lies in the folder or in one
    of the four above."""
    files = sorted(p for p in folder.glob(IMAGENET_VAL) if p.is_file())
    wnids = validation_map(folder)
    missing = [file.name for file in files if file.stem not in wnids]
    if missing:
        raise ValueError(f"{folder}: {len(missing)} pictures are not in its map: {some(missing)}")
    classes = sorted(set(wnids.values()))
    labels = np.array([classes.index(wnids[file.stem]) for file in files])
    return Dataset(tuple(classes), files, labels, tuple(file.name for file in files))


def validation_map(folder: Path) -> dict[str, str]:
    """The WordNet id of each picture, by its name without the ending."""
    for place in (folder, *list(folder.absolute().parents)[:4]):
        if (place / VAL_SOLUTION).is_file():
            rows = table(place / VAL_SOLUTION, "ImageId", "PredictionString")
            return {row["ImageId"]: row["PredictionString"].partition(" ")[0] for row in rows}
        for kit in (place / DEVKIT, place):
            if (kit / GROUND_TRUTH).is_file():
                return development_kit(kit)
    raise ValueError(f"{folder}: wanted {VAL_SOLUTION} or {DEVKIT} in it or above, which tell the classes; got none")


def development_kit(folder: Path) -> dict[str, str]:
    """Line i of the ground truth is the number of picture i's class, of which meta.mat has the WordNet id."""
    try:
        from scipy.io import loadmat  # imported here: few have it, and it starts slowly
    except ImportError as e:
        raise ValueError(f"{folder}: needs the package {e.name!r}: pip install scipy") from None
    numbers = lines(folder / GROUND_TRUTH)
    try:
        synsets = np.atleast_1d(loadmat(folder / "meta.mat", squeeze_me=True)["synsets"])
        wnids = {str(int(one["ILSVRC2012_ID"])): str(one["WNID"]) for one in synsets}
        return {f"ILSVRC2012_val_{i:08d}": wnids[number] for i, number in enumerate(numbers, 1)}
    except Exception as e:  # of a damaged file scipy may raise anything
        raise ValueError(f"{folder}: wanted meta.mat and {GROUND_TRUTH} of the development kit ({e!r})") from None


# ---------------------------------------------------------------- Visual Wake Words


def load_vww(root: Path, part: str) -> Dataset:
    """Made of COCO's annotations by the published rule: a picture shows a person if one, a crowd too, has an area of
    0.5% of it or more; else it does not. "vww-val" are the pictures that MINIVAL lists, "vww-train" all others."""
    held, rows, missing = minival(root), dict[int, tuple[Path, bool]](), list[str]()
    for file in instances(root):
        try:
            values = json.loads(file.read_text(encoding="utf-8-sig"))
            for number, name, person in persons(values):
                if (number in held) == (part == "vww-val"):
                    path = coco_picture(file, name)
                    rows[number] = path, person
                    if not path.is_file():
                        missing.append(f"{file}: image {number}: its picture {path} is missing")
        except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as e:
            raise ValueError(f"{file}: wanted COCO's images, annotations and categories ({e!r})") from None
    told(missing, len(rows), "pictures", 0)
    found = {number: row for number, row in sorted(rows.items()) if row[0].is_file()}
    if not found:
        raise ValueError(f"{root / part}: no pictures in it")
    labels = np.array([person for _, person in found.values()], np.int64)
    names = tuple(f"{number:012d}" for number in found)
    return Dataset(("no_person", "person"), [path for path, _ in found.values()], labels, names)


def instances(root: Path) -> list[Path]:
    """COCO's files of boxes, of the release of 2014 if there are several: 2017 has the same pictures."""
    files = sorted((root / "annotations").glob("instances_*.json"))
    return [file for file in files if file.stem.endswith("2014")] or files


def persons(values: dict[str, Any]) -> Iterator[tuple[int, str, bool]]:
    """Of each picture the id, the file, and whether it shows a person."""
    person = [one["id"] for one in values["categories"] if one["name"] == "person"]
    largest = dict[int, float]()
    for one in values["annotations"]:
        if one["category_id"] in person:
            largest[one["image_id"]] = max(one["area"], largest.get(one["image_id"], 0.0))
    for image in values["images"]:
        least = PERSON_AREA * image["width"] * image["height"]
        yield image["id"], image["file_name"], image["id"] in largest and largest[image["id"]] >= least


def minival(root: Path) -> set[int]:
    for place in (root, root / "annotations"):
        if (place / MINIVAL).is_file():
            told = lines(place / MINIVAL)
            if wrong := [line for line in told if not line.isdecimal()]:
                raise ValueError(f"{place / MINIVAL}: wanted an id of COCO a line, got {wrong[0]!r}")
            return set(map(int, told))
    raise ValueError(
        f"{root}: wanted {MINIVAL} in it or in annotations, the ids that Visual Wake Words keeps for tests"
    )


# ---------------------------------------------------------------- sounds


def load_speech_commands(root: Path, part: str) -> Dataset:
    """A folder for each word; two lists tell which files are for validation and test, all others are for training.
    Folders that begin with _ hold noise and are no words."""
    lists = {name: lines(root / f"{name}_list.txt") for name in ("validation", "testing")}
    words = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[0] not in "._")
    files = [f"{word}/{p.name}" for word in words for p in sorted((root / word).iterdir()) if p.suffix in SOUNDS]
    listed = lists["testing" if part == "test" else "validation"]
    if part == "train":
        own = set(files) - set(lists["validation"]) - set(lists["testing"])
    else:
        own = set(files) & set(listed)
        told([f"{root / name} is missing" for name in listed if name not in own], len(listed), "sounds", 0)
    return of_files(root, words, ((name, words.index(name.split("/")[0])) for name in files if name in own), part)


def load_esc50(root: Path, part: str) -> Dataset:
    """meta/esc50.csv tells class and fold of each file in `audio`: folds 1 to 4 are for training, 5 is for tests."""
    rows = table(root / "meta" / "esc50.csv", "filename", "fold", "target", "category")
    folds = {"train": "1234", "test": "5"}.get(part, part[-1])
    classes = {row["target"]: row["category"] for row in rows}
    names = [classes[target] for target in sorted(classes, key=lambda target: target.zfill(9))]
    own = ((row["filename"], names.index(row["category"])) for row in rows if row["fold"] in folds)
    return of_files(root / "audio", names, own, part)


def table(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a .csv with these columns, or more."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
            raise ValueError(f"{path}: wanted a column {missing[0]!r}, got {some(reader.fieldnames or ()) or 'none'}")
        return [{name: row[name] or "" for name in columns} for row in reader]


def lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def of_files(root: Path, classes: Iterable[str], files: Iterable[tuple[str, int]], part: str) -> Dataset:
    """A set of files, told from `root` on, with the labels beside them."""
    found = list(files)
    if not found:
        raise ValueError(f"{root}: nothing in it is of its part {part}")
    names, labels = zip(*found, strict=True)
    return Dataset(tuple(classes), [root / name for name in names], np.array(labels), names)


FOLDS = tuple(f"fold{i}" for i in range(1, 6))
LAYOUTS = (
    Layout(
        ("data_batch_1.bin", "test_batch.bin", "batches.meta.txt"), ("train", "test"), load_cifar10,
        {"train": "train", "test": "test"},
    ),
    Layout(
        ("validation_list.txt", "testing_list.txt"), ("train", "validation", "test"), load_speech_commands,
        {"train": "train", "validation": "validation", "test": "test"},
    ),
    Layout(("meta/esc50.csv", "audio"), ("train", "test", *FOLDS), load_esc50, {"train": "train", "test": "test"}),
    Layout(("annotations/instances_*.json",), ("vww-train", "vww-val"), load_vww),
)  # fmt: skip
