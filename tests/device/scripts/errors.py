# Every error that a user can make: its type and its words. In the current directory lie grey.pnb, and damaged ones.
import os
from array import array

import patchnet


def attempt(what, f, *args, **kwargs):
    try:
        print(what, "->", f(*args, **kwargs))
    except OSError as e:
        print(what, "-> OSError", e.errno)
    except Exception as e:
        print(what, "->", type(e).__name__, e)


def kind(what, f, *args, **kwargs):
    # where MicroPython words the error itself
    try:
        print(what, "->", f(*args, **kwargs))
    except Exception as e:
        print(what, "->", type(e).__name__)


class Frame:
    def __init__(self, width, height, data=None):
        self.size = width, height
        if data is not None:
            self.bytearray = lambda: data

    def width(self):
        return self.size[0]

    def height(self):
        return self.size[1]


def write(buffer):
    buffer[0] = 1


def picture(format, data, width=4, height=2):
    return patchnet.Image(width, height, format, data)


attempt("missing", patchnet.Model, "missing.pnb")
attempt("missing folder", patchnet.Model, "no/such/folder.pnb")
attempt("a folder", patchnet.Model, "folder")
attempt("not mounted", patchnet.load, "/nowhere/model.pnb")
attempt("number", patchnet.Model, 5)
attempt("none", patchnet.Model, None)
attempt("list", patchnet.Model, [1, 2, 3])
attempt("empty", patchnet.Model, b"")
attempt("empty and odd", patchnet.Model, memoryview(b"model")[1:1])
attempt("text", patchnet.Model, b"hello, world" * 20)
for name in sorted(os.listdir()):
    if name.startswith("bad_"):
        attempt(name, patchnet.Model, name)

m = patchnet.Model("grey.pnb")
height, width, channels = m.input_shape
right = bytes(height * width * channels)
attempt("arena bytes", patchnet.Model, "grey.pnb", bytes(m.ram))
attempt("arena number", patchnet.Model, "grey.pnb", 5)
attempt("arena small", patchnet.Model, "grey.pnb", arena=bytearray(m.ram - 1))
attempt("arena odd", patchnet.Model, "grey.pnb", memoryview(bytearray(m.ram + 6))[1:])
attempt("arena empty", patchnet.Model, "grey.pnb", bytearray(0))

attempt("raw short", m.predict, right[1:])
attempt("raw long", m.predict, right + b"x")
attempt("raw floats", m.predict, array("f", list(right)))
attempt("raw int16", m.predict, array("h", list(right)))
attempt("raw number", m.predict, 5)
attempt("raw none", m.predict, None)
attempt("raw list", m.predict, list(right))
attempt("out short", m.predict, right, bytearray(0))
attempt("out bytes", m.predict, right, bytes(m.output_shape[0]))
attempt("out number", m.predict, right, 5)

attempt("classify number", m.classify, 5)
attempt("classify bytes", m.classify, right)
attempt("classify none", m.classify, None)
attempt("no buffer", m.classify, Frame(4, 2))
attempt("buffer is list", m.classify, Frame(4, 2, [0] * 8))
attempt("zero width", m.classify, Frame(0, 2, bytearray(8)))
attempt("zero both", m.classify, Frame(0, 0, bytearray(0)))
attempt("negative", m.classify, Frame(-4, -2, bytearray(8)))
attempt("huge", m.classify, Frame(1 << 29, 1 << 29, bytearray(8)))
kind("width text", m.classify, Frame("4", 2, bytearray(8)))
attempt("short", m.classify, picture(patchnet.GRAYSCALE, bytes(7)))
attempt("long", m.classify, Frame(4, 2, bytearray(25)))
attempt("4 bytes per pixel", m.classify, Frame(4, 2, bytearray(32)))
attempt("format and length", m.classify, picture(patchnet.RGB565, bytes(8)))
attempt("jpeg", m.classify, picture(patchnet.JPEG, bytes(8)))
attempt("png", m.classify, picture(0x06070000, bytes(8)))
attempt("bayer", m.classify, picture(0x05040001, bytes(8)))
attempt("yuv", m.classify, picture(0x14050002, bytes(16)))
attempt("binary", m.classify, picture(0x08010000, bytes(8)))
attempt("argb", m.classify, picture(0x0C080004, bytes(32)))
attempt("pixfmt 4", m.classify, picture(0, bytes(32)), pixfmt=4)
attempt("pixfmt and length", m.classify, picture(0, bytes(8)), pixfmt=patchnet.RGB888)
kind("pixfmt text", m.classify, picture(0, bytes(8)), pixfmt="RGB565")
print("pixfmt of jpeg", len(m.classify(picture(patchnet.JPEG, bytes(8)), pixfmt=patchnet.GRAYSCALE)))

good = picture(patchnet.GRAYSCALE, bytearray(8))
attempt("roi empty", m.classify, good, roi=(0, 0, 0, 1))
attempt("roi outside", m.classify, good, roi=(1, 0, 4, 2))
attempt("roi negative", m.classify, good, roi=(-1, 0, 2, 2))
attempt("roi huge", m.classify, good, roi=(0, 0, 1 << 29, 1 << 29))
kind("roi of 3", m.classify, good, roi=(0, 0, 1))
kind("roi number", m.classify, good, roi=5)
kind("roi floats", m.classify, good, roi=(0.0, 0.0, 1.0, 1.0))
attempt("top 0", m.classify, good, 0)
attempt("top -1", m.classify, good, top=-1)
kind("top text", m.classify, good, top="2")

kind("image bufferless", patchnet.Image, 4, 2, patchnet.GRAYSCALE, 5)
kind("image arguments", patchnet.Image, 4, 2)
kind("image is read-only", write, memoryview(good))
kind("image as out", m.predict, right, picture(0, bytearray(m.output_shape[0])))
kind("no such attribute", lambda: m.nothing)
kind("attribute set", setattr, m, "ram", 5)

before = m.predict(right)
m.deinit()
print(m)
for what, f in (
    ("classify", lambda: m.classify(good)),
    ("predict", lambda: m.predict(right)),
    ("profile", lambda: m.profile(right)),
    ("ram", lambda: m.ram),
    ("labels", lambda: m.labels),
    ("input_scale", lambda: m.input_scale),
):
    attempt("closed " + what, f)
attempt("closed again", m.deinit)
print("still right", patchnet.Model("grey.pnb").predict(right) == before)
