"""Detection sets from files: VOC folders (XML), COCO JSON, YOLO text files. Needs no torch.

All become `data.Dataset`s with boxes (n, 6) of xmin, ymin, xmax, ymax as fractions of the picture, class, difficult.
ValueError names the file and what is wrong in it: a picture that is missing, a box that leaves the picture or has no
area, a class that is not in the list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from .dataset import PICTURES, Dataset

SLACK = 1.0  # pixels by which a box may leave its picture: files round in different ways


def reader(path: Path) -> Callable[[Path], Dataset] | None:
    """The function that reads the detection set at `path`; None if it is not one. Sets are

    a VOC folder (Annotations and JPEGImages in it), or one of its ImageSets/Main/*.txt for a part of it;
    a COCO .json, the pictures beside it, in `images`, or in a folder that its name ends with (instances_val2017.json);
    a folder with `images` and `labels` in it (YOLO), its classes in classes.txt or data.yaml.
    """
    if path.suffix == ".json":
        return load_coco
    if path.suffix == ".txt" and path.parts[-3:-1] == ("ImageSets", "Main"):
        return load_voc_part
    if (path / "Annotations").is_dir():
        return load_voc
    if (path / "images").is_dir() and (path / "labels").is_dir():
        return load_yolo
    return None


def in_pixels(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Boxes (n, 6) of a picture of `shape` (height, width, ...) in its pixels."""
    h, w = shape[:2]
    return np.concatenate([rows[:, :4] * (w, h, w, h), rows[:, 4:]], 1)


def of_classes(dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
    """The set with boxes of the classes `labels` only, in that order; pictures without any stay. ValueError if the set
    has no boxes or not all of the classes."""
    boxes = dataset.need_boxes()
    for label in labels:
        if label not in dataset.classes:
            raise ValueError(f"no class {label!r} in the data set (it has {', '.join(dataset.classes)})")
    new = np.array([labels.index(c) if c in labels else -1 for c in dataset.classes])
    rows = [own[new[own[:, 4].astype(int)] >= 0].copy() for own in boxes]
    for own in rows:
        own[:, 4] = new[own[:, 4].astype(int)]
    return replace(dataset, classes=tuple(labels), boxes=tuple(rows))


# ---------------------------------------------------------------- what all readers share


def picture_size(path: Path, told_by: Path) -> tuple[int, int]:
    """Width and height of the picture that the file `told_by` tells of."""
    if not path.is_file():
        raise ValueError(f"{told_by}: its picture {path} is missing")
    with Image.open(path) as picture:
        return picture.size


def fractions(box: Sequence[float], size: tuple[int, int], where: str) -> list[float]:
    """xmin, ymin, xmax, ymax in pixels as fractions of the picture, cut off at its edges."""
    (x0, y0, x1, y1), (w, h) = box, size
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"{where}: box {x0:g}, {y0:g}, {x1:g}, {y1:g} has no area")
    if min(x0, y0) < -SLACK or x1 > w + SLACK or y1 > h + SLACK:
        raise ValueError(f"{where}: box {x0:g}, {y0:g}, {x1:g}, {y1:g} leaves the picture of {w} x {h} pixels")
    return [max(0.0, x0 / w), max(0.0, y0 / h), min(1.0, x1 / w), min(1.0, y1 / h)]


def index(name: str, classes: Sequence[str], where: str) -> int:
    if name not in classes:
        raise ValueError(f"{where}: unknown class {name!r} (known: {', '.join(classes)})")
    return list(classes).index(name)


def collected(classes: Iterable[str], root: Path, rows: dict[Path, list[list[float]]]) -> Dataset:
    """The data set of pictures and the rows of their boxes."""
    if not rows:
        raise ValueError(f"{root}: no pictures in it")
    found = tuple(np.array(own, np.float32).reshape(-1, 6) for own in rows.values())
    return Dataset(tuple(classes), list(rows), np.full(len(rows), -1), tuple(path.stem for path in rows), found)


def listed(root: Path) -> list[str]:
    """The classes in classes.txt, one a line; none if there is no such file."""
    path = root / "classes.txt"
    return [line.strip() for line in path.read_text().splitlines() if line.strip()] if path.is_file() else []


# ---------------------------------------------------------------- PASCAL VOC


def load_voc(root: Path, names: Sequence[str] | None = None) -> Dataset:
    """Annotations/*.xml and JPEGImages, or those of them that are named. Classes: classes.txt, else all that the
    annotations have, by alphabet. Pixels count from 1, and xmax and ymax are inside the box."""
    files = sorted((root / "Annotations").glob("*.xml"))
    trees = {file.stem: parsed(file) for file in files}
    classes = listed(root) or sorted({text(o, "name", root) for t in trees.values() for o in t.iter("object")})
    rows = {}
    for name in trees if names is None else names:
        file = root / "Annotations" / f"{name}.xml"
        if name not in trees:
            raise ValueError(f"{file} is missing")
        path = voc_picture(root, name, trees[name])
        size = picture_size(path, file)
        rows[path] = [voc_row(one, size, classes, file) for one in trees[name].iter("object")]
    return collected(classes, root, rows)


def load_voc_part(path: Path) -> Dataset:
    """The pictures that a file in ImageSets/Main lists."""
    return load_voc(path.parents[2], [line.split()[0] for line in path.read_text().splitlines() if line.strip()])


def parsed(file: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(file).getroot()
    except ElementTree.ParseError as e:
        raise ValueError(f"{file}: no XML: {e}") from None


def text(element: ElementTree.Element, tag: str, where: object) -> str:
    found = element.findtext(tag)
    if found is None:
        raise ValueError(f"{where}: <{element.tag}> has no <{tag}>")
    return found.strip()


def number(word: str, file: Path) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"{file}: wanted a number, got {word!r}") from None


def voc_picture(root: Path, name: str, tree: ElementTree.Element) -> Path:
    """JPEGImages/<name>.jpg, or the file that the annotation names."""
    told = root / "JPEGImages" / (tree.findtext("filename") or "").strip()
    return told if told.is_file() else root / "JPEGImages" / f"{name}.jpg"


def voc_row(one: ElementTree.Element, size: tuple[int, int], classes: Sequence[str], file: Path) -> list[float]:
    box = one.find("bndbox")
    if box is None:
        raise ValueError(f"{file}: <object> has no <bndbox>")
    x0, y0, x1, y1 = (number(text(box, tag, file), file) for tag in ("xmin", "ymin", "xmax", "ymax"))
    difficult = (one.findtext("difficult") or "0").strip() not in ("", "0")
    label = index(text(one, "name", file), classes, str(file))
    return [*fractions((x0 - 1, y0 - 1, x1, y1), size, str(file)), label, difficult]


# ---------------------------------------------------------------- COCO


def load_coco(path: Path) -> Dataset:
    """A COCO file of instances: categories by id, crowds as difficult boxes."""
    try:
        told = json.loads(path.read_text())
        categories = sorted(told["categories"], key=lambda c: c["id"])
        images, annotations = told["images"], told["annotations"]
        classes, ids = [c["name"] for c in categories], [c["id"] for c in categories]
        rows: dict[Path, list[list[float]]] = {}
        place: dict[int, tuple[Path, tuple[int, int]]] = {}
        for image in images:
            file = coco_picture(path, image["file_name"])
            place[image["id"]] = file, picture_size(file, path)
            rows[file] = []
        for one in annotations:
            where = f"{path}: annotation {one.get('id')}"
            if one["category_id"] not in ids:
                raise ValueError(f"{where}: unknown category {one['category_id']} (known: {', '.join(map(str, ids))})")
            if one["image_id"] not in place:
                raise ValueError(f"{where}: there is no image {one['image_id']}")
            file, size = place[one["image_id"]]
            x, y, w, h = one["bbox"]
            box = fractions((x, y, x + w, y + h), size, where)
            rows[file].append([*box, ids.index(one["category_id"]), bool(one.get("iscrowd", 0))])
    except (KeyError, TypeError, json.JSONDecodeError) as e:
        raise ValueError(f"{path}: wanted COCO's images, annotations and categories ({e!r})") from None
    return collected(classes, path, rows)


def coco_picture(path: Path, name: str) -> Path:
    """Where the picture may lie; if it does not, the first place."""
    above = path.parent.parent
    split = path.stem.rpartition("_")[2]
    folders = (path.parent, path.parent / "images", above / "images", above / split, above / "images" / split)
    return next((folder / name for folder in folders if (folder / name).is_file()), path.parent / name)


# ---------------------------------------------------------------- YOLO


def load_yolo(root: Path) -> Dataset:
    """images/*.jpg and labels/*.txt with a line `class x y w h` per box (fractions; x, y its centre); a picture without
    a file has no boxes. Sub-folders of `images` have their like in `labels`."""
    classes = listed(root) or listed(root / "labels") or yaml_names(root / "data.yaml")
    if not classes:
        raise ValueError(f"{root}: wanted its classes in classes.txt or as names in data.yaml")
    pictures = sorted(p for p in (root / "images").rglob("*") if p.suffix.lower() in PICTURES)
    rows = {}
    labels = {root / "labels" / p.relative_to(root / "images").with_suffix(".txt"): p for p in pictures}
    for file in sorted((root / "labels").rglob("*.txt")):
        if file not in labels and file.name != "classes.txt":
            raise ValueError(f"{file}: its picture {root / 'images' / file.stem}.* is missing")
    for file, picture in labels.items():
        lines = file.read_text().splitlines() if file.is_file() else []
        rows[picture] = [
            yolo_row(line, classes, picture, f"{file}:{i}") for i, line in enumerate(lines, 1) if line.strip()
        ]
    return collected(classes, root, rows)


def yolo_row(line: str, classes: Sequence[str], picture: Path, where: str) -> list[float]:
    try:
        label, x, y, w, h = (float(word) for word in line.split())
    except ValueError:
        raise ValueError(f"{where}: wanted `class x y w h`, got {line!r}") from None
    if not (label.is_integer() and 0 <= label < len(classes)):
        raise ValueError(f"{where}: unknown class {label:g} (there are {len(classes)}: {', '.join(classes)})")
    columns, lines = size = picture_size(picture, Path(where))
    box = (x - w / 2) * columns, (y - h / 2) * lines, (x + w / 2) * columns, (y + h / 2) * lines
    return [*fractions(box, size, where), label, 0]


def yaml_names(path: Path) -> list[str]:
    """The `names` of a data.yaml, as a list in brackets or one a line (`0: cat` or `- cat`)."""
    if not path.is_file():
        return []
    after = re.search(r"^names:[ \t]*(\[[^\]]*\]|(?:\n[ \t]*(?:\d+:|-)[ \t]*\S.*)+)", path.read_text(), re.M)
    if not after:
        return []
    found = after[1].strip("[]").split(",") if after[1].startswith("[") else after[1].strip().splitlines()
    return [re.sub(r"^\s*(?:\d+:|-)\s*", "", name).strip().strip("'\"") for name in found if name.strip()]
