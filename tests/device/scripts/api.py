# What the API answers for good input. grey.pnb and colour.pnb lie in the current directory.
# Scores are printed as integers of 1/65536: they are exact in every float.
from array import array

import patchnet


def pattern(n):
    return bytes((i * 37 + (i >> 3) * 11 + (i >> 7)) & 255 for i in range(n))


def exact(results):
    return [(label, int(score * 65536)) for label, score in results]


class Frame:
    """An image type of a firmware: no format(), the buffer only through bytearray()."""

    def __init__(self, width, height, data):
        self.size = width, height
        self.data = data

    def width(self):
        return self.size[0]

    def height(self):
        return self.size[1]

    def bytearray(self):
        return self.data


class OldFrame(Frame):
    def format(self):
        return 3  # firmware of before 2021: a number that says nothing


def facts(m):
    print(m)
    print(m.ram, m.task, m.labels, m.input_shape, m.output_shape)
    print(m.input_zero_point, m.output_zero_point, f"{m.input_scale:.6f} {m.output_scale:.6f}")


def raw(m):
    h, w, c = m.input_shape
    n = m.output_shape[0]
    x = pattern(h * w * c)
    first = m.predict(x)
    print(type(first).__name__, first)
    for data in (bytearray(x), memoryview(x), array("b", [b - 256 if b > 127 else b for b in x])):
        assert m.predict(data) == first
    for out in (bytearray(n), array("b", bytes(n)), memoryview(bytearray(n))):
        assert m.predict(x, out) is out and m.predict(x, out=out) is out
        assert bytes(out) == bytes(first)


def pictures(m):
    h, w, c = m.input_shape
    same = patchnet.Image(w, h, patchnet.RGB888 if c == 3 else patchnet.GRAYSCALE, pattern(h * w * c))
    shifted = bytes((b + 128) & 255 for b in pattern(h * w * c))
    assert m.predict(same) == m.predict(shifted)  # raw values are pixels less 128
    print(same.width(), same.height(), same.format(), same)
    for width, height, formats in ((31, 17, 1), (20, 45, 2), (37, 29, 3)):
        data = pattern(width * height * formats)
        pixfmt = (0, patchnet.GRAYSCALE, patchnet.RGB565, patchnet.RGB888)[formats]
        img = patchnet.Image(width, height, pixfmt, data)
        all_of_it = m.classify(img)
        print(exact(all_of_it))
        print(list(m.predict(img)))
        assert m.classify(img, 2) == all_of_it[:2] and m.classify(img, top=99) == all_of_it
        assert m.classify(img, roi=(0, 0, width, height)) == all_of_it
        for other in (Frame, OldFrame):
            assert m.classify(other(width, height, bytearray(data))) == all_of_it
        assert m.classify(Frame(width, height, memoryview(data)), pixfmt=pixfmt) == all_of_it
        assert m.classify(img, pixfmt=formats) == all_of_it
        print(exact(m.classify(img, 3, roi=(3, 5, 11, 9))))
        print(exact(m.classify(img, top=1, roi=[width - 1, height - 1, 1, 1])))


def life(name):
    with open(name, "rb") as f:
        blob = f.read()
        f.seek(7)
        from_file = patchnet.Model(f)
    with patchnet.Model(blob) as m:
        x = pattern(m.input_shape[0] * m.input_shape[1] * m.input_shape[2])
        wanted = m.predict(x)
        assert from_file.predict(x) == wanted
        moved = bytearray(len(blob) + 3)
        for at in range(4):  # at an odd place the blob is copied
            moved[at : at + len(blob)] = blob
            assert patchnet.Model(memoryview(moved)[at : at + len(blob)]).predict(x) == wanted
        arena = bytearray(m.ram + 16)
        for at in range(8):  # the arena's aligned part is used
            assert patchnet.Model(name, arena=memoryview(arena)[at:]).predict(x) == wanted
        for fill in (0xA5, 0):
            for i in range(len(arena)):
                arena[i] = fill
            assert patchnet.Model(name, arena).predict(x) == wanted
        assert m.arena in ("heap", "DTCM") and patchnet.Model(name, arena).arena == "given"
    print(m)
    m.deinit()


for name in ("grey.pnb", "colour.pnb"):
    model = patchnet.Model(name)
    facts(model)
    raw(model)
    pictures(model)
    print([row[:2] for row in model.profile(patchnet.Image(3, 3, 1, bytes(9)))])
    assert all(row[2] >= 0 for row in model.profile(patchnet.Image(3, 3, 1, bytes(9))))
    life(name)

frame = patchnet.Image(31, 17, patchnet.GRAYSCALE, pattern(31 * 17))
assert patchnet.load("grey.pnb").classify(frame) == patchnet.classify(frame)
part = patchnet.classify(frame, top=1, roi=(1, 2, 3, 4))
assert patchnet.classify(frame, 1, (1, 2, 3, 4), patchnet.GRAYSCALE) == part
print(exact(patchnet.classify(frame)))
