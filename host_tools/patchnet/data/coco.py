"""Detection sets in the way of COCO: one JSON file of instances."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..words import some
from .boxed import Collected, Frame
from .dataset import Dataset

ROBOFLOW = "_annotations.coco.json"


def load_coco(path: Path) -> Dataset:
    """A COCO file of instances, or a folder with one of ROBOFLOW's: categories by id, those of one name as one class,
    crowds as difficult boxes."""
    path = path / ROBOFLOW if path.is_dir() else path
    try:
        told = json.loads(path.read_text(encoding="utf-8-sig"))
        classes, labels = classes_of(told["categories"], told["annotations"])
        found, frames = Collected(path), dict[str, Frame | None]()
        for image in told["images"]:
            size = (image["width"], image["height"]) if "width" in image and "height" in image else None
            file = coco_picture(path, image["file_name"].replace("\\", "/"))
            frames[str(image["id"])] = found.picture(file, size, f"{path}: image {image['id']}")
        for one in told["annotations"]:
            where = f"{path}: annotation {one.get('id')}"
            if one["category_id"] not in labels:
                known = some(labels)
                raise ValueError(f"{where}: unknown category {one['category_id']} (known: {known})")
            if str(one["image_id"]) not in frames:
                raise ValueError(f"{where}: there is no image {one['image_id']}")
            frame = frames[str(one["image_id"])]
            if frame is not None:
                found.add(frame, coco_box(one, where), labels[one["category_id"]], bool(one.get("iscrowd", 0)), where)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as e:
        raise ValueError(f"{path}: wanted COCO's images, annotations and categories ({e!r})") from None
    return found.dataset(classes)


def classes_of(categories: Sequence[dict], annotations: Sequence[dict]) -> tuple[list[str], dict[Any, int]]:
    """Classes in the order of the categories' ids, and the class of each id. Roboflow's category of all others, which
    nothing is annotated with, is none."""
    used = {one["category_id"] for one in annotations}
    kept = [
        c for c in categories if c["id"] in used or c.get("supercategory") != "none" or len(categories) == 1
    ]  # fmt: skip
    kept.sort(key=lambda c: c["id"])
    classes = list(dict.fromkeys(str(c["name"]).strip() for c in kept))
    return classes, {c["id"]: classes.index(str(c["name"]).strip()) for c in kept}


def coco_box(one: dict, where: str) -> list[float]:
    """xmin, ymin, xmax, ymax: of `bbox`, or round the polygons if there is none. ValueError for anything else."""
    box, polygons = one.get("bbox"), one.get("segmentation")
    if not box and isinstance(polygons, list) and polygons:
        points = [float(v) for polygon in polygons for v in polygon]
        return [min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])]
    try:
        x, y, w, h = map(float, box or ())
    except (TypeError, ValueError):
        raise ValueError(f"{where}: wanted a bbox of four numbers, got {box}") from None
    return [x, y, x + w, y + h]


def coco_picture(path: Path, name: str) -> Path:
    """Where the picture may lie; if it does not, the first place."""
    above = path.parent.parent
    # of instances_minival2014.json, a part of another, the names tell: COCO_val2014_000000000042.jpg
    splits = {path.stem.rpartition("_")[2], name.removeprefix("COCO_").partition("_")[0]}
    folders = [path.parent, path.parent / "images", above / "images"]
    folders += [folder / split for split in sorted(splits) for folder in (above, above / "images")]
    places = [folder / told for told in (name, Path(name).name) for folder in folders]
    return next((place for place in places if place.is_file()), places[0])
