"""A network on a board at a serial port, asked from here: its answers to many pictures, and its profile.

The network that lies on the board already (see deploy) is used where it lies; another is sent into the board's heap.
Pictures go as raw bytes (see link). When the link is lost, the board is looked for again for a while, and then it goes
on with the picture that has not been answered.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import boards, deploy
from .link import Link
from .remote import Board, LinkLost, RemoteTimeout

PATIENCE = 30  # seconds in which a board that went away may come back
LOSSES = 5  # in a row, without an answer in between
ANSWER_SECONDS = 120

# 0, offset, data: a part of what goes into `store`; 1, path: open the model there, or in `store`; 2, size: a new
# `store`; 3, width, height, bytes per pixel: look at the picture in it.
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
    else:
        w, h, depth = number(data, 1), number(data, 5), number(data, 9)
        img = patchnet.Image(w, h, FORMATS[depth], view[:w * h * depth])
        return "\\n".join(words(m, img)).encode()
"""
PROFILE = """
def words(m, img):
    return ["|".join((name, op, str(us))) for name, op, us in m.profile(img)]
"""


class Session:
    """A board with a network that waits for pictures. `ram`: m.ram there."""

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
        for folder in boards.ask(self._board).places.values():
            path = f"{folder.rstrip('/')}/{name}"
            if deploy._checksum(self._board, path) == (len(blob), zlib.crc32(blob)):
                return path
        return ""

    def _store(self, data: bytes) -> None:
        step = self._link.size - 5
        for at in range(0, len(data), step):
            self._link.ask(b"\x00" + at.to_bytes(4, "little") + data[at : at + step])

    def ask(self, picture: np.ndarray) -> list[str]:
        """The words of the board's answer to a picture, uint8 (H, W, 3) or (H, W)."""
        if picture.nbytes > self._room:
            self._link.ask(b"\x02" + picture.nbytes.to_bytes(4, "little"))
            self._room = picture.nbytes
        self._store(picture.tobytes())
        height, width, depth = picture.shape if picture.ndim == 3 else (*picture.shape, 1)
        head = b"".join(n.to_bytes(4, "little") for n in (width, height, depth))
        text = self._link.ask(b"\x03" + head, ANSWER_SECONDS).decode()
        return text.split("\n") if text else []

    def close(self) -> None:
        try:
            self._link.close()
        except (LinkLost, RemoteTimeout):
            pass
        finally:
            self._board.close()


def _open(port: str, path: Path, words: str, patience: float) -> Session:
    """A session; while there is no board, tried again for `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return Session(port, path, words)
        except LinkLost:
            if time.monotonic() >= deadline:
                raise
            time.sleep(1)


def ask(
    port: str, path: Path, pictures: Iterable[np.ndarray], tick: Callable[[int], None], words: str
) -> tuple[list[list[str]], int]:
    """The words of the board's answers, one list for each picture, and m.ram. `words` is MicroPython: words(m, img)
    returns the answer as a list of strings; `labels` are the model's."""
    session = _open(port, path, words, 0)
    ram, answers = session.ram, []
    try:
        for picture in pictures:
            for losses in range(LOSSES + 1):
                try:
                    session = session or _open(port, path, words, PATIENCE)
                    answers.append(session.ask(picture))
                    break
                except LinkLost as e:
                    if losses == LOSSES or session is None:
                        raise LinkLost(f"{e}; {len(answers)} pictures were answered") from e
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


def profile(port: str, path: Path, picture: np.ndarray, runs: int, tick: Callable[[int], None]) -> Profile:
    """Where the time goes on a board, block by block."""
    answers, _ = ask(port, path, [picture] * runs, tick, PROFILE)
    table = [[tuple(row.split("|")) for row in words] for words in answers]
    rows = [
        (name, op, round(float(np.median([int(run[i][2]) for run in table]))))
        for i, (name, op, _) in enumerate(table[0])
    ]
    return Profile(port, path.stem, runs, tuple(rows))
