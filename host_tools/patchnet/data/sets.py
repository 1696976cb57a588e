"""Pictures or sounds and labels from files, and the resize that every side of the project shares. Needs no torch."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..tasks.sound import audio
from ..tasks.sound.audio import SOUNDS, Clip

PICTURES = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp")


@dataclass(frozen=True)
class Dataset:
    """Pictures with one label each. Iterating gives (uint8 picture, H x W x 3 or H x W, label index), of a set of
    sounds (Clip, label index).

    `sources` holds encoded files, paths, pixel arrays or clips; files are decoded when they are asked for.
    Detection sets have `boxes`, for each picture an array (n, 6) of xmin, ymin, xmax, ymax (fractions of the
    picture), class and difficult (0 or 1); their labels are -1.
    """

    classes: tuple[str, ...]
    sources: Sequence[bytes | Path | np.ndarray | Clip]
    labels: np.ndarray
    names: tuple[str, ...]
    boxes: tuple[np.ndarray, ...] | None = None

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, i: int) -> tuple[np.ndarray | Clip, int]:
        return decode(self.sources[i]), int(self.labels[i])

    def __iter__(self) -> Iterator[tuple[np.ndarray | Clip, int]]:
        return (self[i] for i in range(len(self)))

    def take(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        """The items at `indices`, in that order."""
        return replace(
            self,
            sources=[self.sources[i] for i in indices],
            labels=self.labels[np.asarray(indices, int)],
            names=tuple(self.names[i] for i in indices),
            boxes=None if self.boxes is None else tuple(self.boxes[i] for i in indices),
        )

    def limit(self, n: int | None) -> Dataset:
        """At most `n` items, evenly spread, so that a set sorted by class keeps its balance."""
        if n is None or n >= len(self):
            return self
        return self.take([i * len(self) // n for i in range(n)])


def decode(source: bytes | Path | np.ndarray | Clip) -> np.ndarray | Clip:
    """One picture as uint8 (H, W, 3), or (H, W) if it is grey; or a Clip."""
    if isinstance(source, np.ndarray | Clip):
        return source
    if isinstance(source, Path) and source.suffix.lower() in SOUNDS:
        return audio.read_sound(source)
    picture = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    return np.asarray(picture if picture.mode == "L" else picture.convert("RGB"))


def load(path_or_name: str | Path, limit: int | None = None) -> Dataset:
    """A data set from an .npz file, a folder `class/picture.jpg` or `class/sound.wav`, a detection set
    (`detection_data.reader`), or a name.

    Names are `digits_train` and `digits_test` (scikit-learn's digits; `digits` means the test part), or those of
    .npz files in the folder $PATCHNET_DATA or in `data`. FileNotFoundError lists where was looked.
    """
    name, path = str(path_or_name), Path(path_or_name)
    if name in ("digits", "digits_train", "digits_test") and not path.exists():
        return load_digits(train=name == "digits_train").limit(limit)
    folders = [Path(os.environ["PATCHNET_DATA"])] if "PATCHNET_DATA" in os.environ else []
    tried = [path] + [f / f"{name}.npz" for f in (*folders, Path("data"))]
    found = next((p for p in tried if p.exists()), None)
    if found is None:
        raise FileNotFoundError(f"no data set {name!r}: looked for {', '.join(map(str, tried))}")
    return reader_of(found)(found).limit(limit)


def reader_of(path: Path) -> Callable[[Path], Dataset]:
    """The function that reads the set at `path`."""
    from . import boxed as detection_data

    if boxed := detection_data.reader(path):
        return boxed
    if not path.is_dir() and not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: wanted an .npz file, a folder, a .json of COCO or a name")
    return load_folder if path.is_dir() else load_npz


def load_npz(path: Path) -> Dataset:
    """A set as packed in an .npz: `images` (N, H, W[, 3]), or `data` and `offsets` of encoded files, or `audio`, int16
    (N, samples) or all clips in a row with their `offsets`, and its `rate`; `classes`, `labels`, and for detection
    `boxes`, `box_labels`, `box_difficult`, `box_start`."""
    with np.load(path, allow_pickle=False) as npz:
        z = {key: npz[key] for key in npz.files if not key.startswith("xml")}
    if "images" in z:
        sources = list(z["images"])
    elif "data" in z:
        blob, offsets = z["data"].tobytes(), z["offsets"]
        sources = [blob[a:b] for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
    elif "audio" in z and "rate" in z and ("offsets" in z or z["audio"].ndim == 2):
        clips = z["audio"] if z["audio"].ndim == 2 else np.split(z["audio"], z["offsets"][1:-1])
        sources = [Clip(pcm, int(z["rate"])) for pcm in clips]
    else:
        raise ValueError(
            f"{path}: holds no pictures or sounds (wanted 'images', 'data' or 'audio' and 'rate', got {', '.join(z)})"
        )
    boxes = None
    if "boxes" in z:
        rows = np.column_stack([z["boxes"], z["box_labels"], z["box_difficult"]]).astype(np.float32)
        boxes = tuple(np.split(rows, z["box_start"][1:-1]))
    labels = z["labels"].astype(np.int64) if "labels" in z else np.full(len(sources), -1)
    names = tuple(map(str, z["names"])) if "names" in z else tuple(map(str, range(len(sources))))
    return Dataset(tuple(map(str, z["classes"])), sources, labels, names, boxes)


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


def area_weights(source: int, target: int) -> np.ndarray:
    """(target, source) integers: overlap of target cell [x*S, (x+1)*S) with source cell [i*T, (i+1)*T).

    Rows sum to S.
    """
    low = np.arange(target)[:, None] * source
    cell = np.arange(source)[None, :] * target
    return np.maximum(0, np.minimum(low + source, cell + target) - np.maximum(low, cell))


def crop(width: int, height: int, roi: tuple[int, int, int, int] | None, aspect: tuple[int, int], fit: str) -> tuple:
    """The rectangle (x, y, w, h) of a width x height picture that a network reads.

    `roi` is (x, y, w, h), None the whole picture; `aspect` the network's (height, width). fit "stretch" takes all
    of it, "crop" the largest centred rectangle of that aspect. ValueError if the roi leaves the picture.
    """
    x, y, w, h = roi or (0, 0, width, height)
    if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
        raise ValueError(f"roi ({x}, {y}, {w}, {h}) is not inside the {width} x {height} picture")
    rows, columns = aspect
    if fit == "crop" and w * rows > h * columns:
        cut = max(1, h * columns // rows)
        return x + (w - cut) // 2, y, cut, h
    if fit == "crop":
        cut = max(1, w * rows // columns)
        return x, y + (h - cut) // 2, w, cut
    return x, y, w, h


def channels_of(picture: np.ndarray, channels: int) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3) as (H, W, channels): grey is replicated, colour becomes luma (77 R + 150 G + 29 B)."""
    if picture.ndim == 2:
        picture = picture[:, :, None]
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (1, 3):
        raise ValueError(f"picture: wanted uint8 (H, W) or (H, W, 3), got {picture.dtype} {picture.shape}")
    if channels == 1 and picture.shape[2] == 3:
        r, g, b = np.moveaxis(picture.astype(np.int32), 2, 0)
        return ((77 * r + 150 * g + 29 * b + 128) >> 8).astype(np.uint8)[:, :, None]
    return np.repeat(picture, channels, 2) if picture.shape[2] < channels else picture


def resize(picture: np.ndarray, height: int, width: int, roi=None, fit: str = "stretch") -> np.ndarray:
    """The picture as a height x width network reads it: exact area resize in integers, equal to the engine's.

    (sum(wy * wx * p) + sw * sh // 2) // (sw * sh), weights being the overlaps of source and target cells.
    """
    x, y, sw, sh = crop(picture.shape[1], picture.shape[0], roi, (height, width), fit)
    source = picture[y : y + sh, x : x + sw].astype(np.float64)  # float64 only for speed: all sums are below 2^53
    wy, wx = area_weights(sh, height).astype(np.float64), area_weights(sw, width).astype(np.float64)
    rows = np.tensordot(wy, source, (1, 0))
    sums = np.moveaxis(np.tensordot(wx, rows, (1, 1)), 0, 1).astype(np.int64)
    return ((sums + sw * sh // 2) // (sw * sh)).astype(np.uint8)


def prepare(picture: np.ndarray | Clip, network) -> np.ndarray:
    """Any uint8 picture, or sound for an audio network, as the uint8 (height, width, channels) that `network` reads."""
    if isinstance(picture, Clip):
        if not network.audio:
            raise ValueError(f"{network.name}: reads pictures, got sounds")
        return audio.prepare(picture, network)
    if network.audio:
        raise ValueError(f"{network.name}: reads sounds, got pictures")
    return resize(channels_of(picture, network.channels), network.height, network.width, fit=network.fit)
