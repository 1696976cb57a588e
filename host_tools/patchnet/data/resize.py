"""The resize that every side of the project shares: exact area averages in integers, equal to the engine's."""

from __future__ import annotations

import numpy as np


def area_weights(source: int, target: int) -> np.ndarray:
    """(target, source) integers: overlap of target cell [x*S, (x+1)*S) with source cell [i*T, (i+1)*T).

    Rows sum to S.
    """
    low = np.arange(target)[:, None] * source
    cell = np.arange(source)[None, :] * target
    return np.maximum(0, np.minimum(low + source, cell + target) - np.maximum(low, cell))


def crop(width: int, height: int, roi: tuple[int, int, int, int] | None, aspect: tuple[int, int], fit: str) -> tuple:
    """The rectangle (x, y, w, h) of a width x height picture that a network reads.

    `roi` is (x, y, w, h), None the whole picture; `aspect` the network's (height, width). fit "stretch" takes all
    of it, "crop" the largest centred rectangle of that aspect. ValueError if the roi leaves the picture.
    """
    x, y, w, h = roi or (0, 0, width, height)
    if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
        raise ValueError(f"roi ({x}, {y}, {w}, {h}) is not inside the {width} x {height} picture")
    rows, columns = aspect
    if fit == "crop" and w * rows > h * columns:
        cut = max(1, h * columns // rows)
        return x + (w - cut) // 2, y, cut, h
    if fit == "crop":
        cut = max(1, w * rows // columns)
        return x, y + (h - cut) // 2, w, cut
    return x, y, w, h


def channels_of(picture: np.ndarray, channels: int) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3) as (H, W, channels): grey is replicated, colour becomes luma (77 R + 150 G + 29 B)."""
    if picture.ndim == 2:
        picture = picture[:, :, None]
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (1, 3):
        raise ValueError(f"picture: wanted uint8 (H, W) or (H, W, 3), got {picture.dtype} {picture.shape}")
    if channels == 1 and picture.shape[2] == 3:
        r, g, b = np.moveaxis(picture.astype(np.int32), 2, 0)
        return ((77 * r + 150 * g + 29 * b + 128) >> 8).astype(np.uint8)[:, :, None]
    return np.repeat(picture, channels, 2) if picture.shape[2] < channels else picture


def resize(picture: np.ndarray, height: int, width: int, roi=None, fit: str = "stretch") -> np.ndarray:
    """The picture as a height x width network reads it: exact area resize in integers, equal to the engine's.

    (sum(wy * wx * p) + sw * sh // 2) // (sw * sh), weights being the overlaps of source and target cells.
    """
    x, y, sw, sh = crop(picture.shape[1], picture.shape[0], roi, (height, width), fit)
    source = picture[y : y + sh, x : x + sw].astype(np.float64)  # float64 only for speed: all sums are below 2^53
    wy, wx = area_weights(sh, height).astype(np.float64), area_weights(sw, width).astype(np.float64)
    rows = np.tensordot(wy, source, (1, 0))
    sums = np.moveaxis(np.tensordot(wx, rows, (1, 1)), 0, 1).astype(np.int64)
    return ((sums + sw * sh // 2) // (sw * sh)).astype(np.uint8)


def prepare(picture: np.ndarray, network) -> np.ndarray:
    """Any uint8 picture as the uint8 (height, width, channels) that `network` (net.Network) reads."""
    return resize(channels_of(picture, network.channels), network.height, network.width, fit=network.fit)
