"""Writes MicroPython ROMFS images (format: extmod/vfs_rom.c) in which every file's data is aligned.

A blob is used in place from such an image, so it has to lie on an aligned address; mpremote's own writer puts data
wherever it falls. Alignment costs nothing in the format: a variable-length integer may be padded in front.

`build` makes an image in one piece. `directory` makes the beginning of one whose data lies anywhere behind it, so that
data can be written, and tried, while another directory is still in use.

Files are named by their paths. A tree of them is a dict: by name what is known of a file, or the tree of a folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

Tree: TypeAlias = dict[str, Any]  # what is known of a file, or the Tree of a folder

ALIGN = 16
KIND_PADDING, KIND_DATA, KIND_POINTER, KIND_DIRECTORY, KIND_FILE = 1, 2, 3, 4, 5
MAGIC = b"\xd2\xcd\x31"
LENGTH_BYTES = 5  # all lengths are written this long, so that positions are known before contents
HEADER_BYTES = len(MAGIC) + LENGTH_BYTES


def varuint(value: int, width: int) -> bytes:
    """`value`, seven bits to a byte, big-endian, padded in front to `width` bytes."""
    digits = [value >> 7 * i & 0x7F for i in reversed(range(width))]
    if value >> 7 * width:
        raise ValueError(f"{value} does not fit into a varuint of {width} bytes")
    return bytes(0x80 | digit for digit in digits[:-1]) + bytes(digits[-1:])


def record(kind: int, payload: bytes) -> bytes:
    return bytes([kind]) + varuint(len(payload), LENGTH_BYTES) + payload


def file_record(name: bytes, data: bytes, at: int) -> bytes:
    """The record of one file; `at` is the record's offset in the image, by which its data is aligned."""
    header = 1 + LENGTH_BYTES
    unpadded = at + header + 2 + len(name) + header
    name_length = varuint(len(name), 2 + -unpadded % ALIGN)
    return record(KIND_FILE, name_length + name + record(KIND_DATA, data))


def read(folder: Path) -> Tree:
    """The tree of `folder`, of the files' bytes."""
    return {entry.name: read(entry) if entry.is_dir() else entry.read_bytes() for entry in folder.iterdir()}


def tree(files: Mapping[str, object]) -> Tree:
    """The tree of files that are named by their paths. So a folder is there for what is in it: no empty one is."""
    root: Tree = {}
    for path, what in files.items():
        *folders, name = path.split("/")
        here = root
        for folder in folders:
            here = here.setdefault(folder, {})
        here[name] = what
    return root


def directory_contents(files: Tree, at: int) -> bytes:
    """The records of a tree of the files' bytes, the first one lying at offset `at`."""
    image = b""
    for text, what in sorted(files.items()):
        name = text.encode()
        here = at + len(image)
        if isinstance(what, dict):
            head = varuint(len(name), 2) + name
            image += record(KIND_DIRECTORY, head + directory_contents(what, here + 1 + LENGTH_BYTES + len(head)))
        else:
            image += file_record(name, what, here)
    return image


# The first record of a directory without data: by it such an image is known.
MARK = record(KIND_PADDING, b"patchnet")


def pointer_records(files: Tree) -> bytes:
    """The records of a tree of (offset in the image, bytes)."""
    image = b""
    for text, what in files.items():
        name = text.encode()
        head = varuint(len(name), 2) + name
        if isinstance(what, dict):
            image += record(KIND_DIRECTORY, head + pointer_records(what))
            continue
        at, size = what
        pointer = varuint(size, LENGTH_BYTES) + varuint(at - HEADER_BYTES, LENGTH_BYTES)
        image += record(KIND_FILE, head + (record(KIND_POINTER, pointer) if size else record(KIND_DATA, b"")))
    return image


def directory(files: dict[str, tuple[int, int]], size: int) -> bytes:
    """The beginning of an image of `size` bytes: the names of `files`, path -> (offset in the image, bytes). Their data
    lies further on, in what is padding to a reader of records."""
    contents = MARK + pointer_records(tree(files))
    padding = size - HEADER_BYTES - len(contents) - 1 - LENGTH_BYTES
    return (MAGIC + varuint(size - HEADER_BYTES, LENGTH_BYTES) + contents
            + bytes([KIND_PADDING]) + varuint(padding, LENGTH_BYTES))  # fmt: skip


def build(files: str | Path | dict[str, bytes]) -> bytes:
    """The ROMFS image of a folder, or of files by their paths. Data is aligned to ALIGN bytes when the image itself
    is."""
    contents = directory_contents(tree(files) if isinstance(files, dict) else read(Path(files)), HEADER_BYTES)
    if len(contents) % 2 == 0:  # with the 8 bytes of the header the total must be even
        return MAGIC + varuint(len(contents), LENGTH_BYTES) + contents
    contents += bytes([KIND_PADDING, 1, 0])
    return MAGIC + varuint(len(contents), LENGTH_BYTES) + contents
