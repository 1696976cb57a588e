"""A camera whose pictures come from files, for ports without one; also works on CPython.

    cam = filecam.FileCam("pictures")   # a folder, or one file
    patchnet.classify(cam.snapshot())

Reads PPM (P6) and PGM (P5) with 8 bits, BMP with 24 bits or an 8-bit grey palette, and, when size= says how large they
are, .raw files. Pictures come in the order of their names, and after the last one the first again; len(cam) is how many
there are, and cam.name the file of the last one.

    patchnet.classify(cam)   # the same answer, but only one patch of the picture is ever in memory
    cam.skip()               # on to the next picture

Like a camera whose sensor can be windowed, it is itself a picture that has window() instead of a buffer: of the file
that snapshot() would return next.
"""

import os
import struct

from patchnet import GRAYSCALE, RGB565, RGB888, Image

ENDINGS = (".ppm", ".pgm", ".bmp", ".raw")
HEAD_BYTES = 2048  # of a file, in which all lies that precedes its pixels


class FileCam:
    """pixformat: what snapshot() returns (GRAYSCALE, RGB565, RGB888), by default what the file has.
    size, format: width and height of .raw files, and their pixel format."""

    def __init__(self, path=".", pixformat=None, size=None, format=GRAYSCALE):
        self._paths = _pictures(path)
        if not self._paths:
            raise OSError(f"{path}: no picture ({' '.join(ENDINGS)})")
        self._pixformat = pixformat
        self._raw = size, format
        self._next = 0
        self.name = None

    def __len__(self):
        return len(self._paths)

    def snapshot(self):
        path = self._paths[self._next]
        self.skip()
        image = self._read(path)
        self.name = path.split("/")[-1]
        return image

    def skip(self):
        self._next = (self._next + 1) % len(self._paths)

    def width(self):
        return self._head()[0]

    def height(self):
        return self._head()[1]

    def window(self, x, y, w, h):
        """Part of the picture."""
        return self._read(self._paths[self._next], (x, y, w, h))

    def _head(self):
        """`_head_of` the next picture."""
        path = self._paths[self._next]
        with open(path, "rb") as f:
            return _head_of(f, path, *self._raw)

    def _read(self, path, area=None):
        """An area of a picture, else all of it, row by row: memory is taken for what is returned, and for a row."""
        with open(path, "rb") as f:
            width, height, format, start, stride, tidy = _head_of(f, path, *self._raw)
            x, y, w, h = area or (0, 0, width, height)
            if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
                raise ValueError(f"window: {x}, {y}, {w} x {h} is outside of {width} x {height}")
            wanted = self._pixformat or format
            row, out = w * (format & 0xFF), w * (wanted & 0xFF)
            try:
                pixels = bytearray(out * h)
            except MemoryError:
                raise MemoryError(
                    f"{path}: {w} x {h} needs {out * h} bytes at once; classify(cam), without snapshot(), reads patches"
                ) from None
            view, line = memoryview(pixels), bytearray(row)
            for i in range(h):
                f.seek(start + (y + i if stride > 0 else height - 1 - y - i) * abs(stride) + x * (format & 0xFF))
                to = view[i * out : (i + 1) * out]
                got = to if wanted == format else line
                if f.readinto(got) != row:
                    raise ValueError(f"{path}: cut off")
                if tidy:
                    tidy(got)
                if wanted != format:
                    to[:] = convert(line, format, wanted)
        return Image(w, h, wanted, pixels)


def _pictures(path):
    if path in (".", ""):
        path = os.getcwd()  # not every file system of MicroPython knows "."
    path = path.rstrip("/") or "/"
    if not os.stat(path)[0] & 0x4000:
        return [path]
    names = [name for name in sorted(os.listdir(path)) if name[-4:].lower() in ENDINGS and name[0] != "."]
    return [path.rstrip("/") + "/" + name for name in names]


def _head_of(f, path, size, format):
    """Width, height, format, where rows begin and how far apart they are, less than 0 if the last comes first, and what
    makes the file's bytes of a row its pixels, or None. `size`, `format`: of .raw files. ValueError names the file."""
    end = f.seek(0, 2)
    f.seek(0)
    head = f.read(HEAD_BYTES)
    tidy = None
    try:
        if head[:2] in (b"P5", b"P6"):
            format = RGB888 if head[:2] == b"P6" else GRAYSCALE
            width, height, start = _pnm_head(head, format & 0xFF, end)
            stride = width * (format & 0xFF)
        elif head[:2] == b"BM":
            width, height, format, start, stride, tidy = _bmp_head(head)
        elif size is None:
            raise ValueError("not PPM, PGM or BMP; raw pixels need size=(width, height)")
        else:
            (width, height), start = size, 0
            stride = width * (format & 0xFF)
        wanted = abs(stride) * (height - 1) + width * (format & 0xFF)
        if width <= 0 or height <= 0 or end < start + wanted:
            raise ValueError(f"{width} x {height} needs {wanted} bytes of pixels, the file has {end - start}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return width, height, format, start, stride, tidy


def _pnm_head(head, channels, end):
    """Width, height, and where the pixels begin, of a file of `end` bytes."""
    numbers = []  # type: list[int]
    at = 2
    while len(numbers) < 3:
        first = at
        if head[at : at + 1] == b"#":
            while head[at : at + 1] not in (b"\n", b"\r", b""):
                at += 1
        elif head[at : at + 1].isspace():
            at += 1
        else:
            while head[at : at + 1].isdigit():
                at += 1
            if at == first:
                raise ValueError(f"wanted width, height and 255 in the first {HEAD_BYTES} bytes of a PPM or PGM")
            numbers.append(int(head[first:at]))
    width, height, top = numbers
    if top != 255:
        raise ValueError(f"maximum value is {top}, wanted 255")
    # one blank ends the head; of two, \r\n, the second may be a pixel: the file's length tells
    crlf = head[at : at + 2] == b"\r\n" and end >= at + 2 + width * height * channels
    return width, height, at + 1 + crlf


def _bmp_head(head):
    """Like `_head_of`."""
    if len(head) < 54:
        raise ValueError("BMP header is cut off")
    start, header, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", head, 10)
    if bits not in (8, 24) or compression or width <= 0 or not height:
        raise ValueError(f"BMP has {bits} bits, compression {compression}; wanted 24 or 8 bits, uncompressed")
    stride = (width * bits // 8 + 3) & ~3
    stride = stride if height < 0 else -stride
    if bits == 24:
        return width, abs(height), RGB888, start, stride, _swap
    grey = _grey_palette(head[14 + header : start])

    def look_up(row):
        for i in range(len(row)):
            row[i] = grey[row[i]]

    return width, abs(height), GRAYSCALE, start, stride, look_up


def _swap(row):
    """A BMP has blue first."""
    for i in range(0, len(row), 3):
        row[i], row[i + 2] = row[i + 2], row[i]


def _grey_palette(palette):
    """The grey of each palette entry (blue, green, red, 0); 256 of them."""
    grey = bytearray(256)
    for i in range(min(len(palette) // 4, 256)):
        blue, green, red = palette[4 * i : 4 * i + 3]
        if not blue == green == red:
            raise ValueError("8-bit BMP has a colour palette, wanted a grey one")
        grey[i] = blue
    return grey


def convert(pixels, old, new):
    """Pixels in another format, with OpenMV's arithmetic."""
    step, at = old & 0xFF, 0
    count = len(pixels) // step
    out = bytearray(count * (new & 0xFF))
    for i in range(count):  # no call in it: that would take twice as long
        red = green = blue = pixels[at]
        if old == RGB888:
            green, blue = pixels[at + 1], pixels[at + 2]
        elif old == RGB565:  # a little-endian 16-bit number
            value = red | pixels[at + 1] << 8
            red, green, blue = value >> 11, value >> 5 & 0x3F, value & 0x1F
            red, green, blue = red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2
        at += step
        if new == GRAYSCALE:
            out[i] = (red * 38 + green * 75 + blue * 15) >> 7
        elif new == RGB565:
            value = (red & 0xF8) << 8 | (green & 0xFC) << 3 | blue >> 3
            out[2 * i], out[2 * i + 1] = value & 0xFF, value >> 8
        else:
            out[3 * i], out[3 * i + 1], out[3 * i + 2] = red, green, blue
    return out
