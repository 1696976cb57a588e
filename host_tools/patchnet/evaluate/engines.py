"""The answers of a network on float PyTorch, on the PC's C engine, on the unix port, on the emulated board, on a board.

All engines get the same items, uncropped and not resized.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import rooms
from ..blob import floats
from ..blob.files import FLOAT32_ENGINE, float_net, is_blob, network_of
from ..blob.pack import layerwise, pack
from ..blob.unpack import blob_qnet
from ..board import onboard, remote
from ..data import Dataset, Item
from ..engine.model import Model
from ..importers.real import Pixels
from ..net.network import Network
from ..tasks.answers import Answering
from .importing import pixels_of

if TYPE_CHECKING:
    from ..importers.source import Source

ENGINES = ("float", "source", FLOAT32_ENGINE, "host", "unix", "qemu")
REAL = ("float", "source", FLOAT32_ENGINE)  # of which answers are not equal to the others' to the bit
FLOAT_BATCH = 64
MANY = 64  # items that are worth packing a network anew
CHUNK_BYTES = 6 << 20  # of files that go to a device at once; the emulated board's ROM has 9 MiB
ROM_BYTES = 1024  # of such a ROM for names and alignment, besides a file and the network
DEVICE_SECONDS, ITEM_SECONDS = 60, 30  # patience with a device: to start and per item
UNIX_HEAP = "64m"

# Prints m.ram, then a line for each item: its file, and the words of the answer.
DEVICE_SCRIPT = """
import patchnet
from {module} import {kind}
m = patchnet.Model("model.pnb")
labels = list(m.labels)
files = {kind}("pictures")
print("ram", m.ram)
for _ in range(len(files)):
    item = files.{method}()
    print(files.name, *words(m, item))
"""

Tick = Callable[[int], None]
Rows = tuple[list, int | None]  # of each item, and m.ram


def room_of(network: Network) -> Answering:
    return rooms.part(network.task, "answers").ANSWERS


def is_port(on: str) -> bool:
    """Whether `on` can be meant for a board at a serial port."""
    return on == "auto" or on.startswith(("/dev/", "id:", "port:", "socket://", "COM"))


def _on_float(path: Path, items: Dataset, room: Answering, asked: Any, tick: Tick) -> Rows:
    try:
        from ..train.modules import load_float  # imported here: torch takes seconds to start, and may not be installed
    except ImportError as e:
        raise ValueError(f"float needs PyTorch ({e}): pip install 'patchnet[train]'") from None
    model, rows = load_float(path), []
    for start in range(0, len(items), FLOAT_BATCH):
        some = [items[i][0] for i in range(start, min(len(items), start + FLOAT_BATCH))]
        rows += room.of_float(model, some, asked)
        tick(len(some))
    return rows, None


def source_input(item: Item, network: Network, source: Source, pixels: Pixels | None) -> np.ndarray:
    """What an imported network's original is given for an item: int8 values as they are, and pixels as such where it
    has integers; as real numbers else, of which `pixels` tells, or the network itself if it prepares nothing."""
    x = rooms.part(network.task, "input").prepare(item, network)
    if x.dtype == np.int8:
        return x
    if source.network.first is not None:
        return (x.astype(np.int16) - 128).astype(np.int8)
    pixels = pixels or Pixels(network.mean[: network.channels], (network.std,))
    return (x - np.array(pixels.mean)) / np.array(pixels.std)


def _on_source(path: Path, items: Dataset, room: Answering, asked: Any, tick: Tick) -> Rows:
    """The original in the interpreter that it was made for."""
    from ..importers.source import Source  # imported here: it needs packages that may not be installed

    source, network, pixels, rows = Source(path), network_of(path), pixels_of(path), []
    for item, _ in items:
        rows.append(room.of_logits(source.run(source_input(item, network, source, pixels)).real, item, network, asked))
        tick(1)
    return rows, None


def _on_host(path: Path, items: Dataset, room: Answering, asked: Any, tick: Tick) -> Rows:
    """The C engine, a model per thread: it runs outside of the interpreter's lock. Trained weights it runs in
    float32. Of many items the answers do not come by the network's own plan, but by one that is quicker here: they are
    the same by any plan."""
    local, network = threading.local(), network_of(path)
    packed = path.read_bytes() if is_blob(path) else floats.pack(float_net(path))
    ram, blob = Model(packed).ram, packed
    if len(items) > MANY and network.value_bytes == 1:
        blob = pack(qnet := blob_qnet(packed, path.stem), layerwise(qnet))

    def answer(i: int) -> Any:
        if not hasattr(local, "model"):
            local.model = Model(blob)
        return room.of_host(local.model, room.as_given(items[i][0], network), network.labels, asked)

    rows = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for row in pool.map(answer, range(len(items))):
            rows.append(row)
            tick(1)
    return rows, ram


def _chunks(items: Dataset, network: Network, room: Answering) -> Iterator[list[tuple[str, bytes]]]:
    """Items as files (ending, bytes), as many at a time as a device takes at once."""
    chunk: list[tuple[str, bytes]] = []
    for item, _ in items:
        file = room.to_file(item, network)
        if chunk and (len(chunk) == room.most or sum(len(data) for _, data in (*chunk, file)) > CHUNK_BYTES):
            yield chunk
            chunk = []
        chunk.append(file)
    yield chunk


def _ask_device(
    on: str, path: Path, files: list[tuple[str, bytes]], items: Sequence[str], script: str
) -> tuple[int, list[list[str]]]:
    """m.ram and the words of one answer per file, from a device that is started for them. ValueError names the one of
    `items` that it cannot take."""
    blob = path.read_bytes()
    room, most = remote.ROM_SIZE - len(blob) - ROM_BYTES, max(len(data) for _, data in files)
    if on == "qemu" and len(files) == 1 and most > room:
        raise ValueError(f"{items[0]}: {most:,} B, the emulated board has room for {room:,} B")
    with tempfile.TemporaryDirectory(prefix="patchnet-") as folder:
        root = Path(folder)
        (root / "model.pnb").write_bytes(blob)
        (root / "pictures").mkdir()
        names = [f"{i:04d}.{ending}" for i, (ending, _) in enumerate(files)]
        for name, (_, data) in zip(names, files, strict=True):
            (root / "pictures" / name).write_bytes(data)
        settings = {"heap": UNIX_HEAP} if on == "unix" else {}
        patience = DEVICE_SECONDS + ITEM_SECONDS * len(files)
        try:
            try:
                output = remote.run(on, script, root, patience, **settings)
            except remote.RemoteTimeout:  # a machine too busy for the emulator: once more, from the start
                output = remote.run(on, script, root, 2 * patience, **settings)
        except remote.RemoteError as e:
            answered = e.output.count("\n")  # and m.ram before
            raise ValueError(f"{(str(path), *items)[min(answered, len(items))]}: {on} says {e.line}") from e
    first, *lines = [line.split() for line in output.splitlines()]
    if first[0] != "ram" or [line[0] for line in lines] != names:
        raise RuntimeError(f"{on}: answers are missing: {output[-500:]!r}")
    return int(first[1]), [line[1:] for line in lines]


def ask(on: str, path: Path, items: Dataset, tick: Tick, words: str) -> tuple[list[list[str]], int]:
    """What a device says of each item, in words, and m.ram. `words` as `Answering.words` gives them."""
    network = network_of(path)
    room = room_of(network)
    if is_port(on):
        named = ((name, room.sent(x, network)) for name, (x, _) in zip(items.names, items, strict=True))
        return onboard.ask(on, path, named, tick, words)
    module, kind, method = room.camera
    script = words + DEVICE_SCRIPT.format(module=module, kind=kind, method=method)
    found: list[list[str]] = []
    ram = 0
    for files in _chunks(items, network, room):
        ram, some = _ask_device(on, path, files, items.names[len(found) : len(found) + len(files)], script)
        found += some
        tick(len(files))
    return found, ram


def _on_device(on: str, path: Path, items: Dataset, room: Answering, asked: Any, tick: Tick) -> Rows:
    words, ram = ask(on, path, items, tick, room.words(asked))
    return [room.from_words(line) for line in words], ram


def run(on: str, path: Path, items: Dataset, asked: Any = None, tick: Tick = lambda _done: None) -> Any:
    """The answers of an engine (one of ENGINES, or a port) to all items, as the task's room has them; `path` as
    `files.model_file` gives it, `asked` what the task wants to be asked with (Answering.asked)."""
    network, start = network_of(path), time.monotonic()
    room = room_of(network)
    asked = room.asked if asked is None else asked
    if len(items):
        room.check(items[0][0], str(path), f" ({items.names[0]})")
    if on == "float":
        rows, ram = _on_float(path, items, room, asked, tick)
    elif on == "source":
        rows, ram = _on_source(path, items, room, asked, tick)
    elif on in ("host", FLOAT32_ENGINE):
        rows, ram = _on_host(path, items, room, asked, tick)
    else:
        rows, ram = _on_device(on, path, items, room, asked, tick)
    return room.gathered(on, network.labels, rows, ram, time.monotonic() - start)
