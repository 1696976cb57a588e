"""Pictures as the engine takes them: a camera's, Pillow's, numpy's, or with windows of a frame instead of pixels."""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from .library import buffer_of

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image as Pillow

    from .library import Bytes

    class Frame(Protocol):
        """What a camera gives: besides this a buffer of pixels, or window(x, y, w, h), perhaps format()."""

        def width(self) -> int: ...
        def height(self) -> int: ...

    Picture: TypeAlias = Frame | Pillow.Image | np.ndarray
    Roi: TypeAlias = Sequence[int]  # x, y, w, h

# OpenMV's pixel formats: bytes per pixel in the low byte, from bit 24 on flags. RGB888 is our own, in their scheme.
GRAYSCALE = 0x08020001
RGB565 = 0x0C030002
RGB888 = 0x0C090003
JPEG = 0x06060000
_COMPRESSED = 1 << 25
_MUTABLE = 1 << 27  # not set for Bayer, YUV and compressed pictures
_NUMBERED = 1 << 16  # smaller numbers are those of old firmware and say nothing
_U32_MAX = (1 << 32) - 1


class Image(bytes):
    """A picture as a camera without an image type returns it: its buffer, for reading, is the pixels."""

    _size: tuple[int, int, int]

    def __new__(cls, width: int, height: int, format: int, buffer: Bytes, /) -> Image:
        self = super().__new__(cls, buffer_of("image", buffer))
        self._size = operator.index(width), operator.index(height), operator.index(format)
        return self

    def width(self) -> int:
        return self._size[0]

    def height(self) -> int:
        return self._size[1]

    def format(self) -> int:
        return self._size[2]

    def __repr__(self) -> str:
        return "<Image {} x {}, format 0x{:08x}>".format(*self._size)

    __str__ = __repr__


def adapt(x: Any) -> Any:
    """Pillow images, upright and with 8 bits as `data` reads files, and numpy arrays of pixels, as an Image; anything
    else as it is."""
    formats = {1: GRAYSCALE, 2: RGB565, 3: RGB888}
    if hasattr(x, "getbands"):  # Pillow
        from ..data.pictures import upright  # imported here: who has a picture of Pillow's has Pillow

        x = upright(x)
        width, height = x.size
        return Image(width, height, formats[len(x.mode)], x.tobytes())
    if hasattr(x, "__array_interface__") and x.dtype == "uint8" and x.ndim in (2, 3):
        height, width, depth = (*x.shape, 1)[:3]
        if depth not in formats:
            raise ValueError(f"picture: wanted an array of H x W, or H x W x 3 for RGB, got {times(x.shape)}")
        return Image(width, height, formats[depth], x.tobytes())
    return x


def times(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def is_picture(x: Any) -> bool:
    return callable(getattr(x, "width", None))


def _pixels(img: Any) -> memoryview:
    try:
        view = memoryview(img)
    except TypeError:
        view = buffer_of("picture", img.bytearray() if hasattr(img, "bytearray") else img)
    if view.format not in ("b", "B"):
        raise TypeError("picture: wanted a buffer of bytes")
    return view


def _format_bytes(img: Any) -> int:
    """Bytes per pixel as the picture's format() says, 0 if it says nothing."""
    number = img.format() if hasattr(img, "format") else 0
    if number < _NUMBERED:
        return 0
    if number & _COMPRESSED:
        raise ValueError("format: picture is JPEG or PNG, convert it first, as with to_rgb565()")
    if not number & _MUTABLE or not 1 <= number & 0xFF <= 3:
        raise ValueError("format: wanted GRAYSCALE, RGB565 or RGB888")
    return number & 0xFF


def _size(number: int) -> int:
    """A size or a position: what is out of range becomes so large that the engine refuses it."""
    return number if 0 <= number < 1 << 31 else _U32_MAX


class Pixels:
    """What the engine wants to know about a picture. `view`: its buffer, of which `data` is a copy; both are None where
    the picture gives windows."""

    view: memoryview | None = None
    data: bytes | None
    window: Pixels | None = None  # the one that the engine reads from

    def __init__(self, img: Any, roi: Roi | None, pixfmt: int | None):
        if not is_picture(img):
            array = hasattr(img, "dtype")
            came = f"; or a uint8 array, got {img.dtype} of {times(img.shape)}" if array else ""
            raise TypeError(f"picture: wanted width(), height() and a buffer{came}")
        width, height = operator.index(img.width()), operator.index(img.height())
        self.width, self.height = _size(width), _size(height)
        x, y, w, h = (0, 0, self.width, self.height) if roi is None else roi
        self.roi = (ctypes.c_uint32 * 4)(*(_size(operator.index(n)) for n in (x, y, w, h)))
        self.camera, self.pixfmt = img, pixfmt
        if hasattr(img, "window"):
            self.data, self.format = None, 1
            return
        bytes_each = _format_bytes(img) if pixfmt is None else operator.index(pixfmt) & 0xFF
        self.view = _pixels(img)
        self.data = self.view.tobytes()
        pixels, have = self.width * self.height, len(self.data)
        self.format = bytes_each or {2 * pixels: 2, 3 * pixels: 3}.get(have, 1)
        if pixels == 0 or pixels * self.format != have:
            size = f"{width} x {height} pixels of {self.format} bytes"
            raise ValueError(f"shape: {size}, buffer has {have}")
