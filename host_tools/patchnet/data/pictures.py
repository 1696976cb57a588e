"""Pictures from files, as people have them: turned by EXIF, with 16 bits, with alpha, enormous, or damaged."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

PICTURES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm")
MOST_SIDE = 4096  # of pictures that are given on; larger ones are reduced when they are read
MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # 179 million: Pillow refuses more, as an attack or an accident
BACKGROUND = 255  # what is seen through transparent pixels: white, as on a page


# what decoders make of damage
DAMAGE = (
    OSError, SyntaxError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError,
    struct.error,
)  # fmt: skip


def damaged(error: Exception) -> Exception:
    """What is said of a file that a decoder stumbled over; the error itself if it is the file system's."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return ValueError(f"damaged: {' '.join(str(error).split())}")


def opened(source: bytes | str | Path) -> Image.Image:
    """A picture of which the head was read. ValueError, without its name, if it is none, or has over MOST_PIXELS."""
    try:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except Image.DecompressionBombError:
        raise ValueError(f"wanted at most {MOST_PIXELS // 10**6} million pixels, got more") from None
    except Image.UnidentifiedImageError:
        raise ValueError("no picture, or of an unknown kind") from None
    except DAMAGE as e:
        raise damaged(e) from None


def read_picture(source: bytes | Path, side: int = MOST_SIDE) -> np.ndarray:
    """One picture, upright, as uint8 (H, W, 3), or (H, W) if it is grey; reduced by a whole number if its longer side
    is more than `side`.

    Of 16 bits the upper 8 count; what is transparent lies on white. ValueError, without the name, where nothing can be
    read.
    """
    picture = opened(source)
    try:
        if max(picture.size) > side:
            picture.draft(picture.mode, (side, side))  # a JPEG's decoder is quicker with an eighth of the pixels
        picture.load()
        turned = ImageOps.exif_transpose(picture)
    except DAMAGE as e:
        raise damaged(e) from None
    picture = eight_bits(turned)
    times = -(-max(picture.size) // side)
    return np.asarray(picture.reduce(times) if times > 1 else picture)


def upright(picture: Image.Image) -> Image.Image:
    """Turned as EXIF says, in mode L or RGB. ValueError for more than 16 bits."""
    return eight_bits(ImageOps.exif_transpose(picture))


def eight_bits(picture: Image.Image) -> Image.Image:
    """In mode L or RGB."""
    mode = picture.mode
    if mode == "1":
        return picture.convert("L")
    if mode.startswith("I"):  # whole numbers: 16 bits, which some files hold in 32
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"wanted 8 or 16 bits a channel, got values from {values.min()} to {values.max()}")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if mode == "F":
        raise ValueError("wanted 8 or 16 bits a channel, got floating point")
    if "A" in mode or "a" in mode or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        below = Image.new("RGBA", layer.size, (BACKGROUND,) * 3 + (255,))
        return Image.alpha_composite(below, layer).convert("L" if mode.startswith("L") else "RGB")
    return picture if mode == "L" else picture.convert("RGB")
