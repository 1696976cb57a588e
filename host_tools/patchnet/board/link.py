"""Frames of raw bytes between this PC and a program on a board, over the serial line of the board's REPL.

    with Link(board, "def answer(data):\\n    return bytes(reversed(data))") as link:
        link.ask(b"abc")  # b"cba"

The board's program defines answer(data): `data` is a memoryview, what it returns is the reply (None: empty), what it
raises is a RemoteError here. One frame is on its way at a time, so a line without flow control (a UART) loses nothing
as long as the board takes what comes while it waits. A frame that arrives damaged is sent again.

A frame is 20 characters, `P` or `p` (to the board, from it), 4 hexadecimal digits that count, 6 of the length, 8 of the
CRC-32 of all that and the data, a line feed; then the data as it is. Ctrl-C means nothing while the program waits for
data: it ends when nothing has come for IDLE_MS, or when Ctrl-C after Ctrl-C comes (remote.FLOOD).
"""

from __future__ import annotations

import re
import time
import zlib
from typing import NoReturn

from .remote import PATIENCE, Board, LinkLost, RemoteError

FRAME_BYTES = 4096  # of data at most
HEADER_BYTES = 20
IDLE_MS = 20_000
TRIES = 4

ON_BOARD = """
import binascii, micropython, select, sys
def _serve(answer, size):
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN)
    read, write = sys.stdin.buffer.readinto, sys.stdout.buffer.write
    head, data, one = bytearray({header}), memoryview(bytearray(size)), bytearray(1)
    done, reply = None, b""
    def send(mark, count, what):
        start = b"%s%04x%06x" % (mark, count, len(what))
        write(b"%s%08x\\n" % (start, binascii.crc32(what, binascii.crc32(start)) & 0xffffffff))
        write(what)
    micropython.kbd_intr(-1)
    try:
        send("p", 0, b"")
        while poll.poll({idle}):
            read(head)
            if head[0] == 3:
                raise KeyboardInterrupt
            try:
                text = str(head, "ascii")
                count, n, crc = int(text[1:5], 16), int(text[5:11], 16), int(text[11:19], 16)
                good = head[0] == 80 and n <= size
            except ValueError:
                good = False
            if good:
                read(data[:n])
                good = binascii.crc32(data[:n], binascii.crc32(head[:11])) & 0xffffffff == crc
            if not good:
                breaks = 0
                while poll.poll(100):
                    read(one)
                    breaks = breaks + 1 if one[0] == 3 else 0
                    if breaks == {header}:
                        raise KeyboardInterrupt
                send("n", 0, b"")
            elif not n and not count:
                break
            else:
                if count != done:
                    reply = answer(data[:n]) or b""
                    done = count
                send("p", count, reply)
    finally:
        micropython.kbd_intr(3)
"""


class Link:
    """A running program on `board`. `size`: most bytes of data in one frame to it; it takes that much of its heap."""

    def __init__(self, board: Board, code: str, size: int = FRAME_BYTES):
        self._board, self._count, self.size = board, 0, size
        self._ended = False
        program = ON_BOARD.format(header=HEADER_BYTES, idle=IDLE_MS)
        board.start(f"{program}\n{code}\n_serve(answer, {size})")
        self._receive(0, 30 * PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def ask(self, data: bytes, seconds: float = 20 * PATIENCE) -> bytes:
        """The program's reply. RemoteError if it raised, LinkLost without an answer in `seconds`."""
        if not 0 < len(data) <= self.size:
            raise ValueError(f"frame: wanted 1 to {self.size} bytes, got {len(data)}")
        self._count = self._count % 0xFFFF + 1
        frame = self._frame(self._count, data)
        for _ in range(TRIES):
            self._board.write(frame)
            reply = self._receive(self._count, seconds)
            if reply is not None:
                return reply
        raise LinkLost(f"{self._board.port}: frames arrive damaged")

    def close(self) -> None:
        """Ends the program; what it printed besides is lost."""
        if not self._ended:
            self._ended = True
            self._board.write(self._frame(0, b""))
            self._board.finish(20 * PATIENCE)

    @staticmethod
    def _frame(count: int, data: bytes) -> bytes:
        start = b"P%04x%06x" % (count, len(data))
        return start + b"%08x\n" % zlib.crc32(data, zlib.crc32(start)) + data

    def _receive(self, count: int, seconds: float) -> bytes | None:
        """The reply to frame `count`; None if the frame has to be sent again."""
        deadline = time.monotonic() + seconds
        while True:
            head = self._header(deadline)
            n = int(head[5:11], 16)
            data = self._board.read(n, max(deadline - time.monotonic(), 5 * PATIENCE))
            if len(data) < n:
                raise LinkLost(f"{self._board.port}: stopped in the middle of an answer")
            if zlib.crc32(data, zlib.crc32(head[:11])) != int(head[11:19], 16) or head[:1] == b"n":
                return None
            if int(head[1:5], 16) == count:  # else the late answer to a frame that was sent twice
                return data

    def _header(self, deadline: float) -> bytes:
        """The next header. What comes before it was printed by the program, or is its end with a traceback."""
        text = b""
        while True:
            text += self._board.read(max(1, HEADER_BYTES - len(text)), min(1, deadline - time.monotonic()))
            if b"\x04" in text:
                self._end(text)
            if re.fullmatch(rb"[pn][0-9a-f]{18}\n", text[-HEADER_BYTES:]):
                return text[-HEADER_BYTES:]
            if time.monotonic() >= deadline:
                raise LinkLost(f"{self._board.port}: no answer; last words {text[-80:]!r}")

    def _end(self, text: bytes) -> NoReturn:
        """The raw REPL says that the program has ended: what was printed, Ctrl-D, traceback, Ctrl-D, prompt."""
        self._ended = True
        deadline = time.monotonic() + 5 * PATIENCE
        while text.count(b"\x04") < 2 and time.monotonic() < deadline:
            text += self._board.read(1, 1)
        self._board.reset(soft=False)  # to its prompt
        output, _, traceback = text.partition(b"\x04")
        words = traceback.rstrip(b"\x04>").decode(errors="replace").replace("\r\n", "\n")
        raise RemoteError(words or "the program on the board ended", output.decode(errors="replace"))
