"""Detection sets in the way of PASCAL VOC: an XML file for each picture."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from xml.etree import ElementTree

from .boxed import Collected, index, listed
from .dataset import Dataset
from .pictures import PICTURES

log = logging.getLogger(__name__)


def load_voc(root: Path, names: Sequence[str] | None = None) -> Dataset:
    """Annotations/*.xml and JPEGImages, or both in one folder, or those of them that are named. Classes: classes.txt,
    else all that the annotations have, by alphabet. Pixels count from 1, and xmax and ymax are inside the box."""
    apart = (root / "Annotations").is_dir()
    folder, pictures = (root / "Annotations", root / "JPEGImages") if apart else (root, root)
    trees = {file.stem: parsed(file) for file in sorted(folder.glob("*.xml"))}
    if not trees:
        raise ValueError(f"{root}: wanted an .xml for each picture in {folder}, got none")
    files = {p.stem: p for p in sorted(pictures.glob("*")) if p.suffix.lower() in PICTURES}
    classes = listed(root) or sorted(
        {text(one, "name", folder / f"{name}.xml") for name, tree in trees.items() for one in tree.iter("object")}
    )
    found = Collected(root)
    for name in trees if names is None else names:
        file = folder / f"{name}.xml"
        if name not in trees:
            raise ValueError(f"{file} is missing")
        path = voc_picture(pictures, name, trees[name], files)
        frame = found.picture(path, told_size(trees[name], file), str(file))
        if frame is not None:
            for one in trees[name].iter("object"):
                found.add(frame, *voc_row(one, classes, file), str(file))
    if names is None and len(files) > len(trees):
        log.warning("%s: %d pictures have no annotation and are left out", root, len(files) - len(trees))
    return found.dataset(classes)


def load_voc_part(path: Path) -> Dataset:
    """The pictures that a file in ImageSets/Main lists."""
    return load_voc(path.parents[2], [line.split()[0] for line in path.read_text().splitlines() if line.strip()])


def parsed(file: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(file).getroot()
    except ElementTree.ParseError as e:
        raise ValueError(f"{file}: no XML: {e}") from None


def text(element: ElementTree.Element, tag: str, file: Path) -> str:
    found = (element.findtext(tag) or "").strip()
    if not found:
        raise ValueError(f"{file}: <{element.tag}> has no <{tag}>")
    return found


def number(word: str, file: Path) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"{file}: wanted a number, got {word!r}") from None


def told_size(tree: ElementTree.Element, file: Path) -> tuple[float, float] | None:
    """Width and height in <size>, if it is there."""
    size = tree.find("size")
    if size is None:
        return None
    return number(size.findtext("width") or "0", file), number(size.findtext("height") or "0", file)


def voc_picture(folder: Path, name: str, tree: ElementTree.Element, files: dict[str, Path]) -> Path:
    """The file that the annotation names, else the picture of the same name, whatever it ends with; if there is none,
    <name>.jpg."""
    told = folder / PureWindowsPath((tree.findtext("filename") or "").strip()).name
    return told if told.is_file() else files.get(name, folder / f"{name}.jpg")


def voc_row(one: ElementTree.Element, classes: Sequence[str], file: Path) -> tuple[list[float], int, bool]:
    """Box, class and whether it is difficult."""
    box, polygon = one.find("bndbox"), one.find("polygon")
    if box is not None:
        x0, y0, x1, y1 = (number(text(box, tag, file), file) for tag in ("xmin", "ymin", "xmax", "ymax"))
    elif polygon is not None:
        at = {axis: [number(p.text or "", file) for p in polygon if p.tag[:1] == axis] for axis in "xy"}
        if not at["x"] or not at["y"]:
            raise ValueError(f"{file}: <polygon> has no points")
        x0, y0, x1, y1 = min(at["x"]), min(at["y"]), max(at["x"]), max(at["y"])
    else:
        raise ValueError(f"{file}: <object> has no <bndbox>")
    difficult = (one.findtext("difficult") or "0").strip() not in ("", "0")
    return [x0 - 1, y0 - 1, x1, y1], index(text(one, "name", file), classes, str(file)), difficult
