# While a model runs, what the scheduler lets in may not run or close it, nor run another one in its arena. For
# MicroPython only.
import micropython

import patchnet

m = patchnet.Model("grey.pnb")
other = patchnet.Model("grey.pnb")
h, w, c = m.input_shape
x = bytes(i * 7 & 255 for i in range(h * w * c))
img = patchnet.Image(w, h, patchnet.GRAYSCALE, x)
right = m.predict(x)
seen = []


def attempt(f):
    try:
        f()
        seen.append("ran")
    except RuntimeError as e:
        seen.append(str(e))


def callback(_):
    attempt(lambda: m.predict(x))
    attempt(lambda: m.classify(img))
    attempt(m.deinit)
    seen.append(m.ram == other.ram)  # to ask is allowed
    seen.append(other.predict(x) == right)  # and so is to run another one


class Frame:
    """Schedules a callback when the pixels are asked for, shortly before the run."""

    def __init__(self, callback):
        self.callback = callback

    def width(self):
        return w

    def height(self):
        return h

    def bytearray(self):
        micropython.schedule(self.callback, None)
        return bytearray(x)


print(m.classify(Frame(callback)) == m.classify(img))
print(seen)
print(m.predict(x) == right)

# nor may it use the arena
arena = bytearray(m.ram + 8)
moving, second = patchnet.Model("grey.pnb", arena), patchnet.Model("grey.pnb", arena)
seen.clear()
print(moving.classify(Frame(lambda _: attempt(lambda: second.predict(x)))) == m.classify(img))
print(seen, second.predict(x) == right)


# or pull it away


def resize(_):
    arena.extend(bytes(1000))


try:
    moving.classify(Frame(resize))
except ValueError as e:
    print(e)
print(moving.predict(x) == right)


# nor where nothing may be allocated, as in a hard interrupt: what is refused there is an error without a text
out = bytearray(m.output_shape[0])
refused = []


def hard(_):
    micropython.heap_lock()
    try:
        m.predict(x, out)
    except Exception:  # a tuple of them would have to be allocated
        refused.append(True)
    finally:
        micropython.heap_unlock()


refused.append(True)  # so that there is room
refused.pop()
print(m.classify(Frame(hard)) == m.classify(img), refused)
print(m.predict(x) == right)
