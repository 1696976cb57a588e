"""Data sets from files. Needs no torch."""

from __future__ import annotations

import logging
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..npz import npz
from ..words import meant, some
from .coco import ROBOFLOW, load_coco
from .dataset import Dataset, readable
from .parts import NAMES, is_junk, parts_of
from .pictures import PICTURES
from .published import is_imagenet_val, is_pickled_cifar, layout_of, load_imagenet_val, part_of
from .sounds import SOUNDS, Clip
from .voc import load_voc, load_voc_part
from .yolo import is_yolo, load_yolo

log = logging.getLogger(__name__)


def load(path_or_name: str | Path, limit: int | None = None) -> Dataset:
    """A data set from an .npz file, a folder `class/picture.jpg` or `class/sound.wav`, a detection set
    (`reader_of`), or a name. Of a set that is split already (`parts.parts_of`) the part for training, and the log tells
    where the others are.

    Names are `digits_train` and `digits_test` (scikit-learn's digits; `digits` means the test part), or those of .npz
    files and of folders in the folder $PATCHNET_DATA or in `data`; "a,b" is both sets as one (`joined`). The last word
    of a path may be a part of a published set (`published`). FileNotFoundError lists where was looked.
    """
    name, path = str(path_or_name), Path(path_or_name)
    if "," in name and not path.exists():
        return joined([load(part.strip()) for part in name.split(",")], name).limit(limit)
    if name in ("digits", "digits_train", "digits_test") and not path.exists():
        return load_digits(train=name == "digits_train").limit(limit)
    folders = [Path(os.environ["PATCHNET_DATA"])] if "PATCHNET_DATA" in os.environ else []
    tried = [path] + [f / file for f in (*folders, Path("data")) for file in (f"{name}.npz", name)]
    found = next((p for p in tried if p.exists() or part_of(p)), None)
    if found is None:
        there = [p.stem for folder in (*folders, Path("data")) for p in folder.glob("*.npz")]
        near = meant(name, ["digits", *there])
        told = ", ".join(map(str, [path, *(p for p in tried if p.suffix == ".npz")]))
        raise FileNotFoundError(f"no data set {name!r}: {near}looked for {told}")
    parts = parts_of(found)
    if parts:
        others = ", ".join(str(part) for key, part in parts.items() if key != "train")
        log.warning(
            "%s: taken is its part %s%s", found, parts["train"], f"; by themselves are {others}" if others else ""
        )
        found = parts["train"]
    dataset = replace(read(found), where=name)
    check_classes(dataset.classes, name)
    return dataset.limit(limit)


def load_inputs(path_or_name: str | Path, limit: int | None = None) -> Dataset:
    """`load` for what needs no labels, without files that cannot be read: pictures or sounds may also lie in a folder
    beside each other, in none of a class."""
    root = Path(path_or_name)
    own = sorted(root.iterdir()) if root.is_dir() and reader_of(root) is load_folder else []
    paths = [p for p in own if p.suffix.lower() in (*PICTURES, *SOUNDS) and not is_junk(p)]
    if not paths or any(p.is_dir() and not is_junk(p) for p in own):
        return readable(load(path_or_name, limit))
    dataset = Dataset((), paths, np.full(len(paths), -1), tuple(p.name for p in paths), where=str(path_or_name))
    return readable(dataset.limit(limit))


def read(path: Path) -> Dataset:
    part = part_of(path)
    return part() if part else reader_of(path)(path)


def check_classes(classes: Sequence[str], where: str) -> None:
    """ValueError for names of classes that no network can tell apart or a blob cannot hold."""
    wrong = [c for c in classes if not c.strip() or not c.isprintable()]
    if wrong:
        raise ValueError(f"{where}: class names: wanted printable characters on a line, got {wrong[0]!r}")
    twice = [c for c, n in Counter(classes).items() if n > 1]
    if twice:
        raise ValueError(f"{where}: class names: there are two classes {twice[0]!r}")
    alike = [c for c, n in Counter(c.strip().casefold() for c in classes).items() if n > 1]
    if alike:
        log.warning("%s: class names: several differ from %r in case or blanks only", where, alike[0])
    commas = [c for c in classes if "," in c]
    if commas:
        log.warning("%s: class names: %r has a comma, which --labels and --classes take for two", where, commas[0])


def joined(parts: Sequence[Dataset], name: str) -> Dataset:
    """Sets of one kind as one: of the classes of all of them, the first set's first. ValueError for boxes and class
    labels together."""
    classes = tuple(dict.fromkeys(c for part in parts for c in part.classes))
    labels, boxes = [], []
    for part in parts:
        own = np.array([classes.index(c) for c in part.classes] + [-1])  # the last: of what has no label
        labels.append(own[part.labels])
        for rows in part.boxes or ():
            rows = rows.copy()
            rows[:, 4] = own[rows[:, 4].astype(int)]
            boxes.append(rows)
    sources = [source for part in parts for source in part.sources]
    if boxes and len(boxes) != len(sources):
        raise ValueError(f"{name}: wanted sets of one kind, got some with boxes and some with class labels")
    names = tuple(n for part in parts for n in part.names)
    return Dataset(classes, sources, np.concatenate(labels), names, tuple(boxes) if boxes else None, name)


def reader_of(path: Path) -> Callable[[Path], Dataset]:
    """The function that reads the set at `path`: an .npz file, a folder of class folders, or a detection set, which is

    a VOC folder (Annotations and JPEGImages in it, or XML files beside pictures), or one of its ImageSets/Main/*.txt
    for a part of it;
    a COCO .json, the pictures beside it, in `images`, or in a folder that its name ends with (instances_val2017.json),
    or Roboflow's folder with such a file;
    a folder with `images` and `labels` in it, or one below `images` (YOLO), its classes in classes.txt or data.yaml;
    or ImageNet's pictures for validation (`published.load_imagenet_val`).
    """
    if path.suffix == ".json" or (path / ROBOFLOW).is_file():
        return load_coco
    if path.suffix == ".txt" and path.parts[-3:-1] == ("ImageSets", "Main"):
        return load_voc_part
    if path.is_dir():
        if is_imagenet_val(path):
            return load_imagenet_val
        if is_pickled_cifar(path):
            raise ValueError(f"{path}: holds pickles, which could run anything: wanted CIFAR-10's binary version")
        if layout := layout_of(path):
            parts = ", ".join(str(path / part) for part in layout.parts)
            raise ValueError(f"{path}: wanted a part of it ({parts}) or a file of boxes in its annotations")
        if (path / "Annotations").is_dir() or any(path.glob("*.xml")):
            return load_voc
        return load_yolo if is_yolo(path) else load_folder
    if path.suffix.lower() in (".zip", ".gz", ".tar", ".tgz", ".7z", ".rar"):
        raise ValueError(f"{path}: is packed: unpack it first")
    if path.suffix != ".npz" and not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: wanted an .npz file, a folder, a .json of COCO, a data.yaml of YOLO or a name")
    return load_npz


def load_npz(path: Path) -> Dataset:
    """A set as packed in an .npz: `images` (N, H, W[, 3]), or `data` and `offsets` of encoded files, or `audio`, int16
    (N, samples) or all clips in a row with their `offsets`, and its `rate`, or `features`, int8 (N, H, W[, C]), that a
    network reads as they are; `classes`, `labels`, and for detection `boxes`, `box_labels`, `box_difficult`,
    `box_start`."""
    with npz(path) as archive:
        z = {key: archive[key] for key in archive.files if not key.startswith("xml")}
    if "images" in z:
        sources = list(z["images"])
    elif "data" in z:
        blob, offsets = z["data"].tobytes(), z["offsets"]
        sources = [blob[a:b] for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
    elif "features" in z:
        sources = list(from_features(path, z["features"]))
    elif "audio" in z and "rate" in z and ("offsets" in z or z["audio"].ndim == 2):
        clips = z["audio"] if z["audio"].ndim == 2 else np.split(z["audio"], z["offsets"][1:-1])
        sources = [Clip(pcm, int(z["rate"])) for pcm in clips]
    else:
        raise ValueError(
            f"{path}: holds no pictures or sounds (wanted 'images', 'data', 'features', or 'audio' and 'rate', "
            f"got {some(z)})"
        )
    boxes = None
    if "boxes" in z:
        rows = np.column_stack([z["boxes"], z["box_labels"], z["box_difficult"]]).astype(np.float32)
        boxes = tuple(np.split(rows, z["box_start"][1:-1]))
    labels = z["labels"].astype(np.int64) if "labels" in z else np.full(len(sources), -1)
    names = tuple(map(str, z["names"])) if "names" in z else tuple(map(str, range(len(sources))))
    if "classes" not in z:
        raise ValueError(f"{path}: wanted 'classes', the names that labels stand for, got {some(z)}")
    return Dataset(tuple(map(str, z["classes"])), sources, labels, names, boxes)


def from_features(path: Path, values: np.ndarray) -> np.ndarray:
    """int8 values of one or three channels are pictures of which a network reads just these, pixel - 128."""
    if values.dtype != np.int8 or values.ndim not in (3, 4):
        raise ValueError(f"{path}: features: wanted int8 (N, H, W[, C]), got {values.dtype} {values.shape}")
    if values.ndim == 4 and values.shape[3] not in (1, 3):
        return values
    pixels = (values.astype(np.int16) + 128).astype(np.uint8)
    return pixels[..., 0] if values.shape[3:] == (1,) else pixels


def load_folder(root: Path) -> Dataset:
    """A folder with one sub-folder per class, in alphabetical order; what is in folders below one is of its class, too.
    Sounds if there is no picture. The log tells of classes without files and of files of other kinds."""
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not is_junk(p))
    classes = tuple(p.name for p in folders)
    files = [(p, i) for i, folder in enumerate(folders) for p in files_below(folder)]
    pictures = [(p, i) for p, i in files if p.suffix.lower() in PICTURES]
    sounds = [(p, i) for p, i in files if p.suffix.lower() in SOUNDS]
    if pictures and sounds:
        both = ", ".join(
            f"{len(own)} {what} ({own[0][0]})" for own, what in ((pictures, "pictures"), (sounds, "sounds"))
        )
        raise ValueError(f"{root}: wanted pictures or sounds, got both: {both}")
    unannotated(root, classes)
    found = pictures or sounds
    if not found:
        loose = sum(p.suffix.lower() in (*PICTURES, *SOUNDS) for p in root.iterdir())
        what = f"{loose} beside each other, in no folder of a class" if loose else f"got {kinds(files) or 'none'}"
        raise ValueError(f"{root}: wanted pictures or sounds as {root}/<class>/*.jpg, .png, .wav ..., {what}")
    if {c.lower() for c in classes} <= {name for names in NAMES.values() for name in names}:
        raise ValueError(f"{root}: {some(classes)} are parts of a set, but have no folders of classes in them")
    others = [(p, i) for p, i in files if (p, i) not in set(found)]
    if others:
        log.warning("%s: %d files of other kinds are left out: %s", root, len(others), kinds(others))
    counts = Counter(i for _, i in found)
    empty = [c for i, c in enumerate(classes) if not counts[i]]
    if empty:
        log.warning("%s: nothing in it is of class %s", root, some(empty))
    paths, labels = zip(*found, strict=True)
    return Dataset(classes, paths, np.array(labels), tuple(str(p.relative_to(root)) for p in paths))


def unannotated(root: Path, classes: Sequence[str]) -> None:
    """ValueError for a detection set's folder that is not whole, or of which the file must be named."""
    parts = {c.lower(): c for c in classes}
    for one, other, what in (("jpegimages", "Annotations", "VOC, an .xml a picture"),
                             ("images", "labels", "YOLO, a .txt a picture"), ("labels", "images", "YOLO")):  # fmt: skip
        if one in parts and len(classes) == 1:
            raise ValueError(f"{root}: has {parts[one]}, but no {other} beside it ({what})")
    tables = sorted(root.glob("*.json"))
    if tables and not any(p.suffix.lower() in (*PICTURES, *SOUNDS) for c in classes for p in (root / c).rglob("*")):
        raise ValueError(f"{root}: wanted folders of classes, got {tables[0].name}: if it is COCO's, name {tables[0]}")


def files_below(folder: Path) -> list[Path]:
    """Files in it and in folders below, links followed, by name; without what file managers leave behind."""
    own = sorted(p for p in folder.iterdir() if not is_junk(p))
    below = [file for p in own if p.is_dir() for file in files_below(p)]
    return [p for p in own if p.is_file() and p.name not in ("Thumbs.db", "desktop.ini")] + below


def kinds(files: Sequence[tuple[Path, int]]) -> str:
    """How many there are of which ending."""
    counted = Counter(p.suffix.lower() or p.name for p, _ in files)
    return ", ".join(f"{n} {kind}" for kind, n in counted.most_common(4))


def load_digits(train: bool) -> Dataset:
    """scikit-learn's handwritten digits, 8 x 8 grey (0..16 scaled to 0..255); 80% of each class to train, fixed."""
    # imported here: scikit-learn starts slowly
    from sklearn.datasets import load_digits as load_bunch
    from sklearn.model_selection import train_test_split

    bunch = load_bunch()
    indices = np.arange(len(bunch.target))
    parts = train_test_split(indices, test_size=0.2, random_state=0, stratify=bunch.target)
    images = (bunch.images * 255 / 16).round().astype(np.uint8)
    names = tuple(map(str, indices))
    everything = Dataset(tuple("0123456789"), list(images), bunch.target.astype(np.int64), names)
    return everything.take(parts[0 if train else 1])
