# Loads first.pnb and runs it where the heap has `left` bytes, for each of `sizes`, which is set before: it works, or a
# MemoryError tells what is needed and what there is; and then there is as much as before. Prints how often which.
import gc

import patchnet


def refused(e):
    words = str(e).split()
    if "needs" in words:
        at = words.index("needs")
        return int(words[at + 1]) > int(words[at + 4])
    return str(e).startswith("memory allocation failed, allocating ")


def hogs(left):
    """All of the heap but a piece of `left` bytes, and crumbs."""
    spare, hog, size = bytearray(left), [], 1 << 22
    while size >= 64:
        try:
            hog.append(bytearray(size))
        except MemoryError:
            size >>= 1
    del spare
    return hog


def tried(left):
    hog, error = hogs(left), None
    gc.collect()
    try:
        with patchnet.Model("first.pnb") as m:
            what = "ran" if m.predict(x) == right else "wrong"
    except MemoryError as e:
        error = e
    hog.clear()
    gc.collect()
    return what if error is None else "refused" if refused(error) else str(error)


m = patchnet.Model("first.pnb")
h, w, c = m.input_shape
x = bytes(i * 7 & 255 for i in range(h * w * c))
right = m.predict(x)
m.deinit()
m = None
counts = {}
gc.collect()
tried(1 << 12)
gc.collect()
free = gc.mem_free()
for left in sizes:  # noqa: F821
    what = tried(left)
    counts[what] = counts.get(what, 0) + 1
gc.collect()
print(sorted(counts.items()), "lost" if gc.mem_free() < free - 2000 else "flat")
m = patchnet.Model("first.pnb")
print(m.predict(x) == right)
