# Memory that changes under a model, and objects that say one thing and then another: an answer, or an error, but
# nothing that lies elsewhere is read or written. grey.pnb, heat.pnb and large.pnb lie in the current directory.
import gc
import io
import sys

import patchnet

BOARD = sys.implementation.name == "micropython"  # a PC has copied what it reads, and lets no buffer go that is in use
REFUSED = (RuntimeError, ValueError) if BOARD else (RuntimeError, ValueError, BufferError)


def read(name):
    with open(name, "rb") as f:
        return f.read()


def said(f, *args, **kwargs):
    try:
        return f(*args, **kwargs)
    except REFUSED as e:
        return str(e)


def on_board(text, got, otherwise):
    print(text, got == (text if BOARD else otherwise) or got)


W, H = 40, 30
PIXELS = bytes((i * 37 + (i >> 3) * 11) & 255 for i in range(W * H))
IMG = patchnet.Image(W, H, patchnet.GRAYSCALE, PIXELS)
grey, large = read("grey.pnb"), read("large.pnb")
m = patchnet.Model(grey)
right, (h, w, c) = bytes(m.predict(IMG)), m.input_shape
n = len(right)


class File:
    """Does something each time it is read."""

    def __init__(self, blob):
        self.data, self.act = io.BytesIO(blob), None

    def seek(self, *at):
        return self.data.seek(*at)

    def read(self, n=-1):  # CPython reads by this
        if self.act:
            self.act()
        return self.data.read(n)

    def readinto(self, to):  # and boards by that
        if self.act:
            self.act()
        return self.data.readinto(to)


class Camera:
    """Does something whenever it is asked for anything."""

    def __init__(self, act):
        self.act = act

    def width(self):
        self.act()
        return W

    def height(self):
        self.act()
        return H

    def window(self, x, y, w, h):
        self.act()
        rows = (PIXELS[(y + i) * W + x : (y + i) * W + x + w] for i in range(h))
        return patchnet.Image(w, h, patchnet.GRAYSCALE, b"".join(rows))


# the bytes of a model: other ones before a run, and within it
blob = bytearray(grey)
m = patchnet.Model(blob)
print(bytes(m.predict(IMG)) == right)
labels, ends = m.labels, m.output_shape
for other in (bytes(len(grey)), b"\xff" * len(grey), (large * 9)[: len(grey)], grey):
    blob[:] = other
    print(m.labels == labels, m.output_shape == ends, len(m.predict(IMG)) == n, len(m.classify(IMG)) == len(labels))
print(bytes(m.predict(IMG)) == right)


def spoil():
    blob[:] = b"\x7f" * len(blob)


print(len(m.predict(Camera(spoil))) == n, len(m.profile(IMG)) > 2)
blob[:] = grey
print(bytes(m.predict(IMG)) == right)

# what a run reads moves while its weights come from a file
file = File(large)
streamed = patchnet.Model(file, stream=True)
h, w, c = streamed.input_shape
x = bytearray(i * 7 & 255 for i in range(h * w * c))
answer = bytes(streamed.predict(x))
keep = []


def grow():
    said(x.extend, bytes(20000))
    gc.collect()
    keep.append(bytearray(b"\xff" * len(x)))


class Pixels:
    """A picture whose pixels lie in a buffer that may grow."""

    def width(self):
        return w

    def height(self):
        return h

    def bytearray(self):
        return x


def changing(f):
    """What f says of x while that grows, and then of x as it was."""
    global x
    x = bytearray(i * 7 & 255 for i in range(h * w * c))
    file.act = grow
    first = said(f)
    keep.clear()
    file.act, x = None, bytearray(i * 7 & 255 for i in range(h * w * c))
    return first if isinstance(first, str) else bytes(f()) == bytes(first)


for f in (lambda: streamed.predict(x), lambda: streamed.predict(Pixels())):
    on_board("input: its buffer has moved", changing(f), True)
print(bytes(streamed.predict(x)) == answer)


# the arena, from window()
arena = bytearray(patchnet.Model(grey).ram + 8)
m = patchnet.Model(grey, arena)


def wipe():
    for i in range(len(arena)):
        arena[i] ^= 255


print(said(m.predict, Camera(wipe)))
print(bytes(m.predict(IMG)) == right)


# numbers that change
class Number:
    def __init__(self, *values, act=None):
        self.values, self.act = list(values), act

    def __int__(self):
        if self.act:
            self.act()
        return self.values.pop(0)

    __index__ = __int__


m = patchnet.Model(grey)
print(len(m.classify(IMG, top=Number(1, 10000))))

# a model that an argument closes, and what it was given
heat = patchnet.Model("heat.pnb")
boxes = heat.detect(IMG, 0.3)
print(len(boxes) > 0)
for argument in ("roi", "pixfmt"):
    doomed = patchnet.Model(File(read("heat.pnb")))
    number = Number(0, act=doomed.deinit)
    print(argument, said(doomed.detect, IMG, **{argument: (0, 0, number, 1) if argument == "roi" else number}))
print("width", said(doomed.detect, Camera(int)))

# another run before this one has begun leaves it alone
asked = []


def ask():
    if len(asked) < 2:
        asked.append(len(heat.detect(IMG, 1.0)) + len(heat.predict(IMG)))


print(heat.detect(Camera(ask), 0.3) == heat.detect(Camera(int), 0.3), len(asked))

# times are kept while they are counted
m = patchnet.Model("large.pnb")
x = bytes(h * w * c)
if BOARD:
    gc.threshold(64)
print(all(0 <= us < 10_000_000 for _ in range(5) for _, _, us in m.profile(x)))
