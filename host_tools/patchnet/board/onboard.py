"""A network on a board at a serial port, asked from here: its answers to many pictures or clips, and its profile.

The network that lies on the board already (see deploy) is used where it lies; another is sent into the board's heap.
Pictures and samples go as raw bytes (see link), of a long clip only those that the network looks at. When the link is
lost, the board is looked for again for a while, and then it goes on with the one that has not been answered.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..blob import vector
from . import boards, remote
from .link import Link
from .remote import Board, LinkLost, RemoteError, RemoteTimeout

PATIENCE = 30 * remote.PATIENCE  # seconds in which a board that went away may come back
LOSSES = 5  # in a row, without an answer in between
ANSWER_SECONDS = 120 * remote.PATIENCE

# 0, offset, data: a part of what goes into `store`; 1, path: open the model there, or in `store`; 2, size: a new
# `store`; 3, width, height, bytes per pixel: look at the picture in it; 4, size: at the samples or raw values in it.
ON_BOARD = """
import gc, patchnet
store = bytearray({size})
view = memoryview(store)
m = None
labels = None
FORMATS = (None, patchnet.GRAYSCALE, patchnet.RGB565, patchnet.RGB888)
def number(data, at):
    return int.from_bytes(data[at:at + 4], "little")
{words}
def answer(data):
    global store, view, m, labels
    if data[0] == 0:
        at = number(data, 1)
        view[at:at + len(data) - 5] = data[5:]
    elif data[0] == 1:
        m = patchnet.Model(str(data[1:], "utf8") or store)
        labels = list(m.labels)
        return str(m.ram).encode()
    elif data[0] == 2:
        store = view = None
        gc.collect()
        store = bytearray(number(data, 1))
        view = memoryview(store)
    elif data[0] == 3:
        w, h, depth = number(data, 1), number(data, 5), number(data, 9)
        img = patchnet.Image(w, h, FORMATS[depth], view[:w * h * depth])
        return "\\n".join(words(m, img)).encode()
    else:
        return "\\n".join(words(m, view[:number(data, 1)])).encode()
"""
PROFILE = """
import array
def words(m, x):
    x = array.array("h", bytes(x)) if m.task == "audio" else x
    return ["|".join((name, op, str(us))) for name, op, us in m.profile(x)]
"""


class Session:
    """A board with a network that waits for pictures or clips. `ram`: m.ram there."""

    def __init__(self, port: str, path: Path, words: str):
        self._board, self._room = Board.serial(port), 0
        try:
            blob = path.read_bytes()
            where = self._find(path.name, blob)
            code = ON_BOARD.format(size=16 if where else len(blob), words=words)
            self._link = Link(self._board, code)
            if not where:
                self._store(blob)
            self.ram = int(self._link.ask(b"\x01" + where.encode(), ANSWER_SECONDS))
        except BaseException:
            self._board.close()
            raise

    def _find(self, name: str, blob: bytes) -> str:
        """Where on the board that very blob lies, "" if nowhere."""
        facts = boards.ask(self._board)
        if facts.no_patchnet:
            raise ValueError(f"{facts.no_patchnet}: `patchnet deploy --install` brings it")
        for folder in facts.places.values():
            path = f"{folder.rstrip('/')}/{name}"
            if boards.checksum(self._board, path) == (len(blob), zlib.crc32(blob)):
                return path
        return ""

    def _store(self, data: bytes) -> None:
        step = self._link.size - 5
        for at in range(0, len(data), step):
            self._link.ask(b"\x00" + _number(at) + data[at : at + step])

    def ask(self, x: np.ndarray) -> list[str]:
        """The words of the board's answer to a picture, uint8 (H, W, 3) or (H, W), to int16 samples or int8 values."""
        if x.nbytes > self._room:
            self._link.ask(b"\x02" + _number(x.nbytes))
            self._room = x.nbytes
        self._store(vector.raw(x))
        if x.dtype != np.uint8:
            what = b"\x04" + _number(x.nbytes)
        else:
            height, width, depth = x.shape if x.ndim == 3 else (*x.shape, 1)
            what = b"\x03" + _number(width) + _number(height) + _number(depth)
        text = self._link.ask(what, ANSWER_SECONDS).decode()
        return text.split("\n") if text else []

    def close(self) -> None:
        try:
            self._link.close()
        except (LinkLost, RemoteTimeout):
            pass
        finally:
            self._board.close()


def _number(n: int) -> bytes:
    return n.to_bytes(4, "little")


def _open(port: str, path: Path, words: str, patience: float) -> Session:
    """A session; while there is no board, tried again for `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return Session(port, path, words)
        except (LinkLost, ValueError) as e:  # ValueError: `auto` and `id:` find no port while the board is off USB
            if time.monotonic() >= deadline:
                raise LinkLost(str(e)) from e
            time.sleep(1)


def ask(
    port: str, path: Path, inputs: Iterable[tuple[str, np.ndarray]], tick: Callable[[int], None], words: str
) -> tuple[list[list[str]], int]:
    """The words of the board's answers, one list for each of `inputs` (a name and what Session.ask wants), and m.ram.
    `words` is MicroPython: words(m, x) returns the answer to a picture, or to bytes of samples or raw values, as a list
    of strings; `labels` are the model's. ValueError names the input that the board raised at."""
    first = _open(port, path, words, 0)
    session: Session | None = first
    ram, answers = first.ram, []
    try:
        for name, x in inputs:
            for losses in range(LOSSES + 1):
                try:
                    session = session or _open(port, path, words, PATIENCE)
                    answers.append(session.ask(x))
                    break
                except RemoteError as e:
                    raise ValueError(f"{name}: {port} says {e.line}") from e
                except LinkLost as e:
                    if losses == LOSSES or session is None:
                        raise LinkLost(f"{e}; {len(answers)} were answered") from e
                    session.close()
                    session = None
            tick(1)
    finally:
        if session:
            session.close()
    return answers, ram


@dataclass(frozen=True)
class Profile:
    """Microseconds of each layer, medians over `runs`: rows of (name, op, microseconds)."""

    port: str
    model: str
    runs: int
    rows: tuple[tuple[str, str, int], ...]

    @property
    def total(self) -> int:
        return sum(us for _, _, us in self.rows)


def profile(port: str, path: Path, x: np.ndarray, runs: int, tick: Callable[[int], None]) -> Profile:
    """Where the time goes on a board, block by block."""
    answers, _ = ask(port, path, [(path.name, x)] * runs, tick, PROFILE)
    table = [[tuple(row.split("|")) for row in words] for words in answers]
    rows = [
        (name, op, round(float(np.median([int(run[i][2]) for run in table]))))
        for i, (name, op, _) in enumerate(table[0])
    ]
    return Profile(port, path.stem, runs, tuple(rows))
