"""Data sets from files. Needs no torch."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from . import boxed
from .dataset import PICTURES, Dataset
from .sounds import SOUNDS, Clip


def load(path_or_name: str | Path, limit: int | None = None) -> Dataset:
    """A data set from an .npz file, a folder `class/picture.jpg` or `class/sound.wav`, a detection set
    (`boxed.reader`), or a name.

    Names are `digits_train` and `digits_test` (scikit-learn's digits; `digits` means the test part), or those of
    .npz files in the folder $PATCHNET_DATA or in `data`; "a,b" is both sets as one (`joined`). FileNotFoundError lists
    where was looked.
    """
    name, path = str(path_or_name), Path(path_or_name)
    if "," in name and not path.exists():
        return joined([load(part.strip()) for part in name.split(",")], name).limit(limit)
    if name in ("digits", "digits_train", "digits_test") and not path.exists():
        return load_digits(train=name == "digits_train").limit(limit)
    folders = [Path(os.environ["PATCHNET_DATA"])] if "PATCHNET_DATA" in os.environ else []
    tried = [path] + [f / f"{name}.npz" for f in (*folders, Path("data"))]
    found = next((p for p in tried if p.exists()), None)
    if found is None:
        raise FileNotFoundError(f"no data set {name!r}: looked for {', '.join(map(str, tried))}")
    return reader_of(found)(found).limit(limit)


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
    return Dataset(classes, sources, np.concatenate(labels), names, tuple(boxes) if boxes else None)


def reader_of(path: Path) -> Callable[[Path], Dataset]:
    """The function that reads the set at `path`."""
    if with_boxes := boxed.reader(path):
        return with_boxes
    if not path.is_dir() and not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: wanted an .npz file, a folder, a .json of COCO or a name")
    return load_folder if path.is_dir() else load_npz


def load_npz(path: Path) -> Dataset:
    """A set as packed in an .npz: `images` (N, H, W[, 3]), or `data` and `offsets` of encoded files, or `audio`, int16
    (N, samples) or all clips in a row with their `offsets`, and its `rate`, or `features`, int8 (N, H, W[, C]), that a
    network reads as they are; `classes`, `labels`, and for detection `boxes`, `box_labels`, `box_difficult`,
    `box_start`."""
    with np.load(path, allow_pickle=False) as npz:
        z = {key: npz[key] for key in npz.files if not key.startswith("xml")}
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
            f"got {', '.join(z)})"
        )
    boxes = None
    if "boxes" in z:
        rows = np.column_stack([z["boxes"], z["box_labels"], z["box_difficult"]]).astype(np.float32)
        boxes = tuple(np.split(rows, z["box_start"][1:-1]))
    labels = z["labels"].astype(np.int64) if "labels" in z else np.full(len(sources), -1)
    names = tuple(map(str, z["names"])) if "names" in z else tuple(map(str, range(len(sources))))
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
    """A folder with one sub-folder per class; classes in alphabetical order. Sounds if there is no picture."""
    classes = tuple(sorted(p.name for p in root.iterdir() if p.is_dir()))
    files = [(p, i) for i, c in enumerate(classes) for p in sorted((root / c).iterdir())]
    pictures = [(p, i) for p, i in files if p.suffix.lower() in PICTURES]
    found = pictures or [(p, i) for p, i in files if p.suffix.lower() in SOUNDS]
    if not found:
        raise ValueError(f"{root}: no pictures or sounds (wanted {root}/<class>/*.jpg, .png, .ppm, .bmp, .wav, .flac)")
    paths, labels = zip(*found, strict=True)
    return Dataset(classes, paths, np.array(labels), tuple(str(p.relative_to(root)) for p in paths))


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
