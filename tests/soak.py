"""Three networks in turn on the emulated board, for as long as one likes: `python tests/soak.py --minutes 60`.

Each round loads, runs and closes person66, bccd and spoken-digits, in memory and streamed: every answer must be the
first one's, and the heap as it was. Between rounds Ctrl-C comes at some moment of a run, or the board is reset. Before
all that a network of a kilobyte is loaded 10,000 times. Prints what was done; ends at the first thing that is not as it
was.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

# a time-out is for what hangs, not for a machine that has other work
os.environ.setdefault("PATCHNET_PATIENCE", "30")

import blobs  # noqa: E402
from patchnet import models  # noqa: E402
from patchnet.board import remote  # noqa: E402

NAMES = ("person66", "bccd", "spoken-digits")
# On the board: `turn(name, stream)` is an answer's CRC, `heap()` what is free.
BOARD = """
import binascii, gc, patchnet
def turn(name, stream):
    with patchnet.Model(name + ".pnb", stream=stream) as m:
        h, w, c = m.input_shape
        x = bytes(i * 7 & 255 for i in range(w)) * (h * c)
        crc = binascii.crc32(m.predict(x))
        if m.task == "audio":
            for i in range(3):
                m.spot(x[:2000])
        else:
            img = patchnet.Image(w, h, patchnet.GRAYSCALE if c == 1 else patchnet.RGB888, x)
            crc = binascii.crc32(str(m.detect(img) if m.task == "detect" else m.classify(img)), crc)
    return crc
def loads(n):
    for i in range(n):
        with patchnet.Model("small.pnb", stream=i % 2 == 1):
            pass
def heap():
    gc.collect()
    return gc.mem_free()
"""


class Soak:
    def __init__(self, board: remote.Board, seed: int):
        self.board, self.random = board, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.first: dict[str, int] = {}
        self.free = 0
        self.begin()

    def begin(self) -> None:
        """After a reset: the heap that there is behind a round."""
        self.board.exec(BOARD)
        self.turns()
        self.free = int(self.board.exec("print(heap())"))

    def turns(self) -> None:
        """All networks once, in memory (0) or streamed (1)."""
        order = self.random.sample(NAMES, len(NAMES))
        stream = self.random.randrange(2)
        lines = self.board.exec(f"for name in {order}: print(turn(name, {bool(stream)}))").split()
        for name, crc in zip(order, map(int, lines), strict=True):
            if self.first.setdefault(name, crc) != crc:
                raise SystemExit(f"{name}: its answer is another one after {self.told()}")
        self.counts["answers"] += len(NAMES)
        self.counts["loads"] += len(NAMES)

    def loads(self, times: int) -> None:
        """A small network so often, in memory and streamed in turn."""
        for _ in range(times // 500):
            self.board.exec("loads(500)")
            self.counts["loads of a small network"] += 500
            self.check_heap()

    def interrupt(self) -> None:
        """Ctrl-C at some moment of endless runs, and what is free then is what was."""
        name, stream = self.random.choice(NAMES), bool(self.random.randrange(2))
        # Ctrl-C is a byte like others until what is sent begins to run
        self.board.start(f"print(end='.')\nwhile True: turn('{name}', {stream})")
        if self.board.read(1, 60 * remote.PATIENCE) != b".":
            raise SystemExit(f"{name}: endless runs did not begin after {self.told()}")
        time.sleep(self.random.random() / 2)
        self.board.interrupt()
        try:
            self.board.finish()
            raise SystemExit(f"{name}: Ctrl-C ended a run without an exception after {self.told()}")
        except remote.RemoteError as e:
            if "KeyboardInterrupt" not in str(e):
                raise SystemExit(f"{name}: Ctrl-C gave {e.line()} after {self.told()}") from None
        self.counts["interrupts"] += 1

    def check_heap(self) -> None:
        free = int(self.board.exec("print(heap())"))
        if abs(free - self.free) > 1024:  # names and lines of code that the prompt keeps
            raise SystemExit(f"heap: {self.free} bytes were free, now {free}, after {self.told()}")

    def go_on(self, seconds: float) -> None:
        began = told = time.monotonic()
        while time.monotonic() < began + seconds:
            self.turns()
            if self.random.randrange(2):
                self.interrupt()
            self.check_heap()
            if self.random.randrange(10) == 0:
                self.board.reset()
                self.counts["soft resets"] += 1
                self.begin()
            if time.monotonic() > told + 300:
                told = time.monotonic()
                print(f"{(told - began) / 60:.0f} min: {self.told()}", flush=True)

    def told(self) -> str:
        return ", ".join(f"{n} {what}" for what, n in self.counts.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--loads", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            shutil.copy(models.resolve(name), Path(folder) / f"{name}.pnb")
        (Path(folder) / "small.pnb").write_bytes(blobs.small(1))
        with remote.connect("qemu", folder) as board:
            soak = Soak(board, args.seed)
            soak.loads(args.loads)
            soak.go_on(60 * args.minutes)
            print(f"{args.minutes:g} min: {soak.told()}; answers equal, heap flat at {soak.free} bytes free")


if __name__ == "__main__":
    main()
