# Interrupts, hard and scheduled ones, that run, close and load models at any moment of runs: an error or the right
# answer, there and here. For boards with `hardtimer`; a.pnb and b.pnb lie in the current directory, `times` is set
# before. Prints how often which.
from array import array

import hardtimer
import micropython

import patchnet

ERRORS = RuntimeError, MemoryError, ValueError


def pattern(m, step):
    h, w, c = m.input_shape
    return bytes(i * step & 255 for i in range(h * w * c))


arena = bytearray(60000)
a, b = patchnet.Model("a.pnb", arena), patchnet.Model("b.pnb", arena)
x, y, z = pattern(a, 7), pattern(a, 37), pattern(b, 11)
height, width, _ = a.input_shape
img = patchnet.Image(width, height, patchnet.GRAYSCALE, x)
right, other, best = bytes(a.predict(x)), bytes(a.predict(y)), a.classify(img)
beside = bytes(b.predict(z))
out, mine, hers = bytearray(len(right)), bytearray(len(right)), bytearray(len(beside))
NAMES = "ran", "refused", "wrong", "came"
counts = array("i", bytes(4 * len(NAMES)))
turn = array("i", (0, 40))


def attempt():
    """One thing at a time; nothing of it may allocate, as long as the interrupt is a hard one."""
    what = turn[0] = (turn[0] + 1) % 5
    if what == 0:
        a.predict(y, out)
        return out == other
    if what == 1:
        b.predict(z, hers)
        return hers == beside
    if what == 2:
        patchnet.Model("a.pnb")
    elif what == 3:
        gone.deinit()
    else:
        micropython.schedule(soft, None)
    return True


def soft(_=None):
    counts[3] += 1
    try:
        fine = attempt()
        counts[0 if fine else 2] += 1
    except ERRORS:
        counts[1] += 1


def interrupt():
    soft()
    turn[1] = 40 + (turn[1] * 17 + 1) % 1009
    hardtimer.every(turn[1], interrupt)


gone = patchnet.Model("a.pnb")
hardtimer.every(500, interrupt)
wrong = closed = 0
for i in range(times):  # noqa: F821
    if a.classify(img) != best or a.predict(x, mine) != right:
        wrong += 1
    try:
        if bytes(gone.predict(x)) != right or gone.classify(img) != best or len(gone.labels) != len(best):
            wrong += 1
    except ERRORS:
        closed += 1
        gone = patchnet.Model("a.pnb", stream=i % 3 == 0)
hardtimer.every(0, None)
print([(NAMES[i], counts[i]) for i in range(len(NAMES))], "closed", closed)
print("wrong" if wrong or counts[2] else "right", bytes(a.predict(x)) == right)
