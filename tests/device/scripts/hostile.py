# Objects that lie, move, raise, close models and collect garbage, at random: `seed` and `times` are set before. Models
# lie in the current directory; first.pnb must give the same answer all the while. Prints what occurred, and "right".
import gc
import io
import os
import random
from array import array

import micropython

import patchnet

random.seed(seed)  # noqa: F821
gc.threshold((1, 1000, 100000)[seed % 3])  # noqa: F821
R = random.randint


class Boom(Exception):
    pass


EXPECTED = (ValueError, TypeError, MemoryError, RuntimeError, OSError, OverflowError, AttributeError, Boom)
FILES = sorted(name for name in os.listdir() if name.endswith(".pnb"))
NUMBERS = (0, 1, -1, 2, 3, 7, 16, 255, 4097, 65536, 1 << 30, 1 << 31, 1 << 32, -(1 << 31), 1 << 62, 0.5, -0.0)
OTHERS = (float("nan"), float("inf"), None, "a", b"", (), True, [1], object())
kept = []


def some(*choices):
    return choices[R(0, len(choices) - 1)]


def number():
    return some(*NUMBERS) if R(0, 3) else some(*OTHERS)


def buffer(n):
    """`n` bytes, or anything else."""
    b = bytearray(n)
    return some(
        b,
        b,
        bytes(n),
        memoryview(b),
        memoryview(bytearray(n + 3))[3:],
        array(some("b", "h", "H", "i", "f"), bytes(n // 4 * 4)),
        io.BytesIO(b),
        number(),
    )


def mischief(b=None):
    what = R(0, 9)
    if what == 0:
        gc.collect()
    elif what == 1:
        raise Boom
    elif what == 2:
        kept.append(bytearray(R(0, 5000)))
    elif what == 3:
        kept.clear()
    elif what == 4 and isinstance(b, bytearray):
        b.extend(bytes(R(1, 3000)))
    elif what == 5:
        attempt(some(*models).deinit)
    elif what == 6:
        attempt(run)
    elif what == 7:
        micropython.schedule(attempt, mischief)
    elif what == 8:
        arenas[0].extend(bytes(8))


def attempt(f):
    try:
        return f()
    except EXPECTED as e:
        return e


class Number:
    def __int__(self):
        mischief()
        return some(0, 1, 3, 1 << 40)


class Picture:
    """It may close models and grow its buffer while it is asked."""

    def __init__(self, w, h, b):
        self.w, self.h, self.b = w, h, b
        self.evil = R(0, 3) == 0

    def told(self, good):
        if not self.evil or R(0, 2):
            return good
        mischief(self.b)
        return some(good, good, number())

    def width(self):
        return self.told(self.w)

    def height(self):
        return self.told(self.h)

    def format(self):
        return self.told(some(patchnet.GRAYSCALE, patchnet.RGB888))

    def bytearray(self):
        return self.told(self.b)


class Camera(Picture):
    def window(self, x, y, w, h):
        n = some(w * h, w * h, w * h + 1, 0)
        return self.told(patchnet.Image(w, h, patchnet.GRAYSCALE, bytearray(n)))


class File(io.IOBase):
    def __init__(self, data):
        self.data, self.at = data, 0
        self.evil = R(0, 1) == 0

    def seek(self, offset, whence=0):
        self.at = offset if whence == 0 else len(self.data) + offset
        if self.evil and R(0, 6) == 0:
            mischief()
            return some(self.at, -1, 1 << 40)
        return self.at

    def readinto(self, b):
        if self.evil and R(0, 9) == 0:
            mischief()
            return some(None, 0, -1, len(b) + 1, 1 << 40)
        n = min(len(b), len(self.data) - self.at, R(1, 4000))
        b[:n] = self.data[self.at : self.at + n]
        self.at += n
        return n

    def ioctl(self, request, arg):
        if request == 2:  # seek, which asks by reference
            return -1
        if self.evil and request == 4:
            mischief()
        return 0

    def close(self):
        if self.evil:
            mischief()


def picture(m):
    shape = attempt(lambda: m.input_shape)
    h, w, c = shape if isinstance(shape, tuple) else (8, 8, 1)
    if R(0, 4) == 0:
        return buffer(h * w * c)
    w, h = some((w, h), (R(1, 40), R(1, 40)))
    c = some(1, 3, c)
    b = bytearray(w * h * c) if R(0, 3) else buffer(w * h * c)
    return some(Picture, Camera)(w, h, b) if R(0, 1) else patchnet.Image(w, h, some(patchnet.RGB565, 0), b)


def run():
    m = some(*models)
    img = picture(m)
    what = R(0, 7)
    if what == 0:
        return m.classify(img, some(None, 1, number(), Number()), some(None, (0, 0, number(), 3), number()), number())
    if what == 1:
        return m.detect(img, some(0, 0.3, number()), some(0.5, number()))
    if what == 2:
        return m.predict(img, buffer(R(0, 300)))
    if what == 3:
        return m.predict(img)
    if what == 4:
        return m.profile(img)
    if what == 5:
        return m.spot(buffer(2 * R(0, 3000)), some(None, number()), None, None, some(None, 1, Number()))
    if what == 6:
        return repr(m), m.labels, m.ram, m.input_zero_point, m.output_shape
    return m.spot(bytes(2 * R(0, 4000)))


def load():
    with open(some(*FILES), "rb") as f:
        data = f.read()
    if R(0, 4) == 0:
        data = bytearray(data)
        for _ in range(R(1, 4)):
            data[R(0, len(data) - 1)] = R(0, 255)
    src = some(some(*FILES), data, memoryview(b"x" + bytes(data))[1:], io.BytesIO(data), File(data), number())
    # no view of what is resized: MicroPython frees the memory under it
    arena = some(None, None, arenas[0], memoryview(still)[R(0, 9) :], buffer(R(0, 9000)))
    return patchnet.Model(src, arena, some(None, True, False, number(), 5000))


arenas, still = [bytearray(60000)], bytearray(60000)
models = [patchnet.Model(name) for name in FILES]
first = patchnet.Model("first.pnb")
h, w, c = first.input_shape
x = bytes(i * 7 & 255 for i in range(h * w * c))
right = first.predict(x)
counts = {}
for i in range(times):  # noqa: F821
    if len(kept) > 20:
        kept.clear()
        arenas[0] = bytearray(60000)
    made = attempt(load) if R(0, 5) == 0 else None
    if isinstance(made, patchnet.Model):
        models[R(0, len(models) - 1)] = made
    name = type(attempt(run)).__name__
    counts[name] = counts.get(name, 0) + 1
    if i % 20 == 0 and first.predict(x) != right:
        raise SystemExit("a wrong answer at " + str(i))
print(sorted(counts.items()))
print("right")
