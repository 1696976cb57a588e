# A run that would share memory with another one, or with itself, is refused; those that do not share any may run at the
# same time. grey.pnb and large.pnb lie in the current directory.
import io

import patchnet


def pattern(n):
    return bytes((i * 37 + (i >> 3) * 11) & 255 for i in range(n))


def said(f, *args):
    try:
        return f(*args)
    except RuntimeError as e:
        return e


W, H = 40, 30
PIXELS = pattern(W * H)
IMG = patchnet.Image(W, H, patchnet.GRAYSCALE, PIXELS)


class Pixels:
    """A picture whose pixels lie in a buffer."""

    def __init__(self, buffer, w=W, h=H):
        self.buffer, self.size = buffer, (w, h)

    def width(self):
        return self.size[0]

    def height(self):
        return self.size[1]

    def bytearray(self):
        return self.buffer


class Camera(Pixels):
    """Does something whenever a window is taken; windows lie in `to`, if that is given."""

    def __init__(self, act, to=None):
        self.act, self.to, self.size = act, to, (W, H)

    def window(self, x, y, w, h):
        self.act()
        part = b"".join(PIXELS[(y + i) * W + x : (y + i) * W + x + w] for i in range(h))
        if self.to is None:
            return patchnet.Image(w, h, patchnet.GRAYSCALE, part)
        self.to[: w * h] = part
        return Pixels(memoryview(self.to)[: w * h], w, h)


class File:
    """Tries f() whenever it is read."""

    def __init__(self, blob):
        self.data, self.f, self.seen = io.BytesIO(blob), None, set()

    def act(self):
        if self.f:
            self.seen.add(str(said(self.f)))

    def seek(self, *at):
        return self.data.seek(*at)

    def read(self, n=-1):  # CPython reads by this
        self.act()
        return self.data.read(n)

    def readinto(self, to):  # and boards by that
        self.act()
        return self.data.readinto(to)


def nested(m, f, *args):
    """What m answers, and what f(*args) says within its run."""
    seen = set()
    answer = m.predict(Camera(lambda: seen.add(str(said(f, *args)))))
    return bytes(answer), seen


def is_right(m, blob):
    return bytes(m.predict(IMG)) == right[blob]


def read(name):
    with open(name, "rb") as f:
        return f.read()


grey, large = read("grey.pnb"), read("large.pnb")
alone = {blob: patchnet.Model(blob) for blob in (grey, large)}
right = {blob: bytes(m.predict(IMG)) for blob, m in alone.items()}
most = max(m.ram for m in alone.values()) + 8
arena = bytearray(most + 8)

# one arena: in turn, but not at the same time, and the run that was there first is right
for first, second in ((grey, grey), (grey, large), (large, grey), (large, large)):
    a, b = patchnet.Model(first, arena), patchnet.Model(second, arena)
    print(is_right(a, first), is_right(b, second), is_right(a, first))
    print(nested(a, b.predict, IMG) == (right[first], {"arena is in use"}), is_right(b, second))
print(said(a.predict, Camera(lambda: b.predict(IMG))), is_right(a, large))

# arenas that overlap a little; and of those that do not, one behind the other
half = bytearray(2 * most + 16)
n = (alone[grey].ram + 7) & ~7  # what lies behind it begins as aligned as the heap does
part = memoryview(half)
a = patchnet.Model(grey, part[:n])
for at in (n - 8, n):
    answer, seen = nested(a, is_right, patchnet.Model(grey, part[at : at + n]), grey)
    print(answer == right[grey], seen)

# arenas of their own
print(nested(alone[large], is_right, alone[grey], grey) == (right[large], {"True"}))

# what a run would write over itself: pictures, raw values, windows, the network
a = patchnet.Model(grey, half)
h, w, c = a.input_shape
out = len(right[grey])
x = bytearray(pattern(h * w * c))
print(said(a.predict, IMG, part[8 : 8 + out]))
print(said(a.classify, Pixels(part[: W * H])), said(a.predict, part[: len(x)]), said(a.predict, Camera(int, half)))
print(said(a.predict, Pixels(x, w, h), memoryview(x)[:out]), said(a.predict, x, x[:out]) == a.predict(x, x[:out]))
part[n + 8 : n + 8 + W * H] = PIXELS  # behind what it needs of the buffer
print(said(a.classify, Pixels(part[n + 8 : n + 8 + W * H])) == a.classify(IMG))
room = bytearray(len(grey))
room[:] = grey
a = patchnet.Model(room, memoryview(room)[len(grey) // 2 :])
print(said(a.predict, IMG), room == grey)

# what a run uses that another one, from where it reads its file, would write; and the other way round
pixels = bytearray(PIXELS)
file = File(large)
a, b = patchnet.Model(file, arena, True), alone[grey]
result = part[: len(right[large])]
over_out, over_pixels = patchnet.Model(grey, half), patchnet.Model(grey, pixels)
arena[: len(grey)] = grey
in_arena = patchnet.Model(memoryview(arena)[: len(grey)])
for use in (
    lambda: over_out.predict(IMG),
    lambda: over_pixels.predict(IMG),
    lambda: b.predict(IMG, memoryview(pixels)[:out]),
    lambda: b.predict(IMG, part[:out]),
    lambda: b.predict(IMG, memoryview(arena)[:out]),
    lambda: in_arena.predict(IMG),
    lambda: b.classify(Pixels(memoryview(arena)[:1000], 25, 40)),
    lambda: b.classify(Pixels(part[:1000], 25, 40)),
    lambda: b.classify(Pixels(pixels)) == b.classify(IMG),
):
    file.f, file.seen = use, set()
    answer = a.predict(Pixels(pixels), result)
    file.f = None
    print(bytes(answer) == right[large], file.seen)
