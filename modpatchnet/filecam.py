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
        self._next = (self._next + 1) % len(self._paths)
        with open(path, "rb") as f:
            data = f.read()
        try:
            width, height, format, pixels = _decode(data, *self._raw)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        self.name = path.split("/")[-1]
        if self._pixformat not in (None, format):
            format, pixels = self._pixformat, convert(pixels, format, self._pixformat)
        return Image(width, height, format, pixels)

    def skip(self):
        self._next = (self._next + 1) % len(self._paths)

    def width(self):
        return self._head()[0]

    def height(self):
        return self._head()[1]

    def window(self, x, y, w, h):
        """Part of the picture, read row by row."""
        width, height, format, start, stride, head = self._head()
        if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
            raise ValueError(f"window: {x}, {y}, {w} x {h} is outside of {width} x {height}")
        bytes_per_pixel = format & 0xFF
        row = w * bytes_per_pixel
        pixels = bytearray(row * h)
        view = memoryview(pixels)
        with open(self._paths[self._next], "rb") as f:
            for i in range(h):
                line = y + i if stride > 0 else height - 1 - y - i
                f.seek(start + line * abs(stride) + x * bytes_per_pixel)
                if f.readinto(view[i * row : (i + 1) * row]) != row:
                    raise ValueError(f"{self._paths[self._next]}: cut off")
        if head[:2] == b"BM":
            format, pixels = _bmp_pixels(pixels, format, head)
        if self._pixformat not in (None, format):
            format, pixels = self._pixformat, convert(pixels, format, self._pixformat)
        return Image(w, h, format, pixels)

    def _head(self):
        """Of the next picture: width, height, format, where its rows begin and how far apart they are (less than 0 if
        the last comes first), and the file's first bytes."""
        path = self._paths[self._next]
        with open(path, "rb") as f:
            head = f.read(HEAD_BYTES)
        try:
            if head[:2] in (b"P5", b"P6"):
                width, height, start = _pnm_head(head)
                format = RGB888 if head[:2] == b"P6" else GRAYSCALE
            elif head[:2] == b"BM":
                return _bmp_head(head) + (head,)
            elif self._raw[0] is None:
                raise ValueError("not PPM, PGM or BMP; raw pixels need size=(width, height)")
            else:
                (width, height), format, start = self._raw[0], self._raw[1], 0
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return width, height, format, start, width * (format & 0xFF), head


def _pictures(path):
    if path in (".", ""):
        path = os.getcwd()  # not every file system of MicroPython knows "."
    path = path.rstrip("/") or "/"
    if not os.stat(path)[0] & 0x4000:
        return [path]
    names = [name for name in sorted(os.listdir(path)) if name[-4:].lower() in ENDINGS and name[0] != "."]
    return [path.rstrip("/") + "/" + name for name in names]


def _decode(data, size, format):
    """Width, height, format and pixels of the file's contents; the pixels are a view of `data` where they can be."""
    if data[:2] in (b"P5", b"P6"):
        return _decode_pnm(data)
    if data[:2] == b"BM":
        return _decode_bmp(data)
    if size is None:
        raise ValueError("not PPM, PGM or BMP; raw pixels need size=(width, height)")
    return _checked(size[0], size[1], format, data, 0)


def _checked(width, height, format, data, start):
    wanted = width * height * (format & 0xFF)
    if wanted <= 0 or len(data) < start + wanted:
        raise ValueError(f"{width} x {height} needs {wanted} bytes of pixels, the file has {len(data) - start}")
    return width, height, format, memoryview(data)[start : start + wanted]


def _pnm_head(data):
    """Width, height, and where the pixels begin."""
    numbers = []  # type: list[int]
    at = 2
    while len(numbers) < 3:
        while data[at : at + 1].isspace():
            at += 1
        end = at
        if data[at : at + 1] == b"#":
            while data[end : end + 1] not in (b"\n", b""):
                end += 1
        else:
            while data[end : end + 1].isdigit():
                end += 1
            numbers.append(int(data[at:end]))  # ValueError where there is no number
        at = end
    width, height, top = numbers
    if top != 255:
        raise ValueError(f"maximum value is {top}, wanted 255")
    return width, height, at + 1


def _decode_pnm(data):
    width, height, start = _pnm_head(data)
    return _checked(width, height, RGB888 if data[:2] == b"P6" else GRAYSCALE, data, start)


def _bmp_head(data):
    """Width, height, format, where the rows begin, and how far apart they are, less than 0 if the last comes first."""
    if len(data) < 54:
        raise ValueError("BMP header is cut off")
    start, header, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    if bits not in (8, 24) or compression or width <= 0 or not height:
        raise ValueError(f"BMP has {bits} bits, compression {compression}; wanted 24 or 8 bits, uncompressed")
    if bits == 8:
        _grey_palette(data[14 + header : start])
    stride = (width * bits // 8 + 3) & ~3
    return width, abs(height), RGB888 if bits == 24 else GRAYSCALE, start, stride if height < 0 else -stride


def _decode_bmp(data):
    width, rows, format, start, stride = _bmp_head(data)
    row = width * (format & 0xFF)
    if len(data) < start + abs(stride) * (rows - 1) + row:
        raise ValueError("BMP is cut off")
    pixels = bytearray(row * rows)
    for y in range(rows):
        at = start + abs(stride) * (y if stride > 0 else rows - 1 - y)
        pixels[y * row : (y + 1) * row] = data[at : at + row]
    return (width, rows) + _bmp_pixels(pixels, format, data)


def _bmp_pixels(pixels, format, data):
    """Format and pixels of what a BMP file holds: blue first, or numbers in its palette."""
    if format == RGB888:
        for i in range(0, len(pixels), 3):
            pixels[i], pixels[i + 2] = pixels[i + 2], pixels[i]
        return format, pixels
    start, header = struct.unpack_from("<II", data, 10)
    grey = _grey_palette(data[14 + header : start])
    for i in range(len(pixels)):
        pixels[i] = grey[pixels[i]]
    return format, pixels


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
    count = len(pixels) // (old & 0xFF)
    out = bytearray(count * (new & 0xFF))
    for i in range(count):
        red, green, blue = _get(pixels, i, old)
        if new == GRAYSCALE:
            out[i] = (red * 38 + green * 75 + blue * 15) >> 7
        elif new == RGB565:  # a little-endian 16-bit number
            value = (red & 0xF8) << 8 | (green & 0xFC) << 3 | blue >> 3
            out[2 * i], out[2 * i + 1] = value & 0xFF, value >> 8
        else:
            out[3 * i], out[3 * i + 1], out[3 * i + 2] = red, green, blue
    return out


def _get(pixels, i, format):
    """Red, green and blue of pixel i, each 0..255."""
    if format == GRAYSCALE:
        return pixels[i], pixels[i], pixels[i]
    if format == RGB888:
        return pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2]
    value = pixels[2 * i] | pixels[2 * i + 1] << 8
    red, green, blue = value >> 11, value >> 5 & 0x3F, value & 0x1F
    return red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2
