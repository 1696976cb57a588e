"""What a data set of one's own is: counts, sizes, what is odd about it, and parts of it for training and test.

Near-identical pictures stay on one side, so that a test tells of pictures that were not seen.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..progress import Track, no_track
from ..whole import whole
from ..words import apart, some
from .dataset import Clip, Dataset, Source, as_clip, as_picture, left_out
from .parts import parts_of
from .sets import load
from .sounds import SOUNDS, at_rate

TEST_SHARE = 0.15
NEAR = 4  # of the 64 bits of two pictures' hashes that may differ
FEWEST = 5  # items of a class, else it cannot be told whether it is learnt


@dataclass(frozen=True)
class Looked:
    """`kind`: pictures, boxes or sounds. `validation`: a part of its own, where the set has one beside that for tests;
    it has no part in the other figures. `sizes`: (height, width) of the smallest, middle and largest picture, or
    (samples, rate) of clips. `contents`: as the function has them. `notes`: what a user should know. `where`: train and
    test as `load` takes them, if they are two sets; test "" if it is a part of train."""

    kind: str
    train: Dataset
    test: Dataset
    sizes: tuple[tuple[int, int], ...]
    notes: tuple[str, ...]
    where: tuple[str, str]
    validation: Dataset | None = None
    contents: dict[str, list[int]] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes


def look(path: str | Path, test: str = "", track: Track = no_track) -> Looked:
    """Reads all of a set once. `test`: what to try it on; a folder with train and test (or val) in it keeps those, any
    other set gives some of its own. ValueError where nothing can be learnt of it: one class, or one with less than
    FEWEST items, or too many files that cannot be read."""
    parts, validation = splits(Path(path), test)
    every, notes = sets(path, parts, validation), list[str]()
    watched = Seen.of(every[validation], notes, track).items if validation else None
    if parts:
        own, other = (Seen.of(every[part], notes, track) for part in parts)
        for part, items in ((parts[1], other.items), (validation, watched)):
            if items and items.classes != own.items.classes:
                has, other_has = apart(own.items.classes, items.classes)
                raise ValueError(f"{parts[0]} has classes {has}, {part} has {other_has}")
        twice = len(set(other.hashes) & set(own.hashes) - {None})
        if twice:
            notes.append(f"{twice} pictures of {parts[1]} are in {parts[0]} as well: the test flatters")
        learnt, tried = own.items, other.items
        notes.append(f"split as it is: {', '.join(filter(None, (*parts, validation)))}")
    else:
        own = Seen.of(every[str(path)], notes, track)
        learnt, tried = own.parted(notes)
    none = [name for name, n in zip(tried.classes, tried.counts() if len(tried) else [], strict=False) if not n]
    if none:
        notes.append(f"the test has nothing of {some(none)}: it does not tell whether that is learnt")
    out = Looked(
        kind_of(learnt), learnt, tried, own.sizes(), tuple(notes), parts or (str(path), ""), watched, held(every)
    )
    check(out, str(path))
    return out


def check(looked: Looked, where: str) -> None:
    if len(looked.classes) < 2 and looked.kind != "boxes":
        raise ValueError(f"{where}: wanted two classes or more, got {some(looked.classes) or 'none'}")
    few = [c for c, n in zip(looked.classes, looked.train.counts(), strict=True) if n < FEWEST]
    if few:
        raise ValueError(f"{where}: wanted {FEWEST} to learn from or more of each class, got less of {some(few)}")
    if not len(looked.test):
        raise ValueError(f"{where}: nothing is left for a test, of {len(looked.train)} items")


def kind_of(items: Dataset) -> str:
    if items.boxes is not None:
        return "boxes"
    first = items.sources[0]
    heard = isinstance(first, Clip) or (isinstance(first, Path) and first.suffix.lower() in SOUNDS)
    return "sounds" if heard else "pictures"


def sets(path: str | Path, parts: tuple[str, str] | None, validation: str | None) -> dict[str, Dataset]:
    """All that `splits` tells of, by name."""
    return {part: load(part) for part in filter(None, (*(parts or (str(path),)), validation))}


def splits(path: Path, test: str = "") -> tuple[tuple[str, str] | None, str | None]:
    """The folders of a set that is split already, or has its `test` elsewhere: for training and test, and for
    validation, which is that for tests where there is no other."""
    if test:
        return (str(path), test), None
    parts = {key: str(part) for key, part in (parts_of(path) if path.exists() else {}).items()}
    validation = parts.get("validation")
    if "test" in parts:
        return (parts["train"], parts["test"]), validation
    return ((parts["train"], validation) if validation else None), None


@dataclass(frozen=True)
class Seen:
    """A set of which every item was read: hashes of its pictures (None of sounds) and their (height, width)."""

    items: Dataset
    hashes: tuple[int | None, ...]
    shapes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, items: Dataset, notes: list[str], track: Track) -> Seen:
        """Without what cannot be read, which is noted."""
        kept: list[int] = []
        tick = track("reading", len(items))
        bad: dict[int, str] = {}
        hashes: list[int | None] = []
        shapes: list[tuple[int, int]] = []
        for i in range(len(items)):
            try:
                item, _ = items[i]
            except ValueError as e:
                bad[i] = str(e)
                continue
            finally:
                tick(1)
            kept.append(i)
            if isinstance(item, Clip):
                hashes.append(None)
                shapes.append((len(item.pcm), item.rate))
            else:
                if item.dtype != np.uint8:
                    raise ValueError(f"{items.where}: wanted pictures of 1 or 3 channels, got values of {item.shape}")
                hashes.append(difference_hash(as_picture(item)))
                shapes.append(item.shape[:2])
        if bad:
            notes.append(left_out(bad, items))
        return cls(items.take(kept), tuple(hashes), tuple(shapes))

    def sizes(self) -> tuple[tuple[int, int], ...]:
        order = sorted(self.shapes, key=lambda s: s[0] * s[1])
        return order[0], order[len(order) // 2], order[-1]

    def parted(self, notes: list[str]) -> tuple[Dataset, Dataset]:
        """For training and test, by a checksum of names: the same whenever it is done, and for sets that grew."""
        groups = near(self.hashes)
        alike = len(self.items) - len(set(groups))
        if alike:
            notes.append(f"{alike} pictures are nearly the same as others, and are kept on one side with them")
        names = self.items.names
        # another checksum than that by which trainings hold items out for validation
        sums = [zlib.crc32(b"test " + names[group].encode()) % 10000 for group in groups]
        chosen = np.array(sums) < TEST_SHARE * 10000
        return self.items.take(np.flatnonzero(~chosen)), self.items.take(np.flatnonzero(chosen))


def difference_hash(picture: np.ndarray) -> int:
    """64 bits: which of neighbours in an 8 x 9 picture is brighter."""
    grey = np.asarray(Image.fromarray(picture).convert("L").resize((9, 8), Image.Resampling.BOX), int)
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes(), "big")


def near(hashes: Sequence[int | None]) -> list[int]:
    """For each item the first one that it is nearly the same as, by way of others, or itself."""
    first = list(range(len(hashes)))

    def root(i: int) -> int:
        while first[i] != i:
            first[i] = first[first[i]]
            i = first[i]
        return i

    known = [i for i, h in enumerate(hashes) if h is not None]
    bits = np.array([hashes[i] for i in known], np.uint64)
    for at in range(len(known)):
        for other in np.flatnonzero(ones(bits[at + 1 :] ^ bits[at]) <= NEAR):
            a, b = sorted((root(known[at]), root(known[at + 1 + other])))
            first[b] = a
    return [root(i) for i in range(len(hashes))]


def ones(values: np.ndarray) -> np.ndarray:
    """How many bits of uint64 values are set."""
    return np.unpackbits(values[:, None].view(np.uint8), axis=1).sum(1)


# ---------------------------------------------------------------- kept in a run


def contents(path: str | Path, test: str = "") -> dict[str, list[int]]:
    """What `look` would find there, by name: checksums of label or boxes, and of what it holds; of a file, which is not
    read, that is its length."""
    return held(sets(path, *splits(Path(path), test)))


def held(every: dict[str, Dataset]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for part, items in every.items():
        for i, (name, source) in enumerate(zip(items.names, items.sources, strict=True)):
            told = items.classes[items.labels[i]].encode() if items.boxes is None else items.boxes[i].tobytes()
            found[f"{part}/{name}"] = [zlib.crc32(told), checksum(source)]
    return found


def checksum(source: Source) -> int:
    if isinstance(source, Path):
        return source.stat().st_size
    held = source.pcm if isinstance(source, Clip) else source
    return zlib.crc32(held if isinstance(held, bytes) else np.asarray(held).tobytes())


def changes(before: dict[str, list[int]], now: dict[str, list[int]]) -> str:
    """What is other, in words; "" if nothing is."""
    both = before.keys() & now.keys()
    kinds = {
        "added": now.keys() - both,
        "removed": before.keys() - both,
        "labelled otherwise": {name for name in both if before[name][0] != now[name][0]},
        "with other contents": {name for name in both if before[name][1] != now[name][1]},
    }
    return ", ".join(f"{len(names)} {kind} ({min(names)})" for kind, names in kinds.items() if names)


def store(items: Dataset, path: Path, side: int) -> None:
    """The set as an .npz (sets.load_npz), pictures with at least `side` pixels along their shorter side as JPEG: what
    was decoded once need not be again, and a run has all that it was made of. Clips must be of one rate."""
    arrays: dict[str, Any] = {"classes": np.array(items.classes), "names": np.array(items.names)}
    read = [item for item, _ in items]
    if isinstance(read[0], Clip):
        clips = [as_clip(item) for item in read]
        rates = {clip.rate for clip in clips}
        arrays |= {"rate": max(rates), "audio": np.concatenate([at_rate(clip, max(rates)) for clip in clips])}
        arrays["offsets"] = np.cumsum([0, *(len(at_rate(clip, max(rates))) for clip in clips)])
    else:
        encoded = [jpeg(as_picture(item), side) for item in read]
        arrays["data"] = np.frombuffer(b"".join(encoded), np.uint8)
        arrays["offsets"] = np.cumsum([0, *map(len, encoded)])
    if items.boxes is None:
        arrays["labels"] = items.labels
    else:
        rows = np.concatenate(items.boxes)
        arrays |= {"boxes": rows[:, :4], "box_labels": rows[:, 4].astype(int), "box_difficult": rows[:, 5].astype(int)}
        arrays["box_start"] = np.cumsum([0, *map(len, items.boxes)])
    with whole(path) as beside, beside.open("wb") as file:
        np.savez(file, **arrays)


def jpeg(picture: np.ndarray, side: int) -> bytes:
    image = Image.fromarray(picture)
    times = side / min(image.size)
    if times < 1:
        size = max(1, round(image.width * times)), max(1, round(image.height * times))
        image = image.resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=93)
    return out.getvalue()
