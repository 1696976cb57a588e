"""The front-end of audio networks: its tables, as a blob holds them, and spectrograms from the engine's own C code.

modpatchnet/FORMAT.md (From samples to input) has the arithmetic. What trains and calibrates a network are the very
integers that the device will see. Clips are int16 arrays of one channel.
"""

from __future__ import annotations

import ctypes
import math
from functools import cache

import numpy as np

from ... import format as fmt
from ...engine.library import engine
from ...net.network import Network
from .end import Audio, Heard, check


def window(a: Audio) -> np.ndarray:
    """Hann, 15 fraction bits: int16 (frame,)."""
    n = np.arange(a.frame)
    return np.minimum(32767, np.round(32768 * (0.5 - 0.5 * np.cos(2 * np.pi * (n + 0.5) / a.frame)))).astype("<i2")


def twiddles(a: Audio) -> np.ndarray:
    """cos and -sin of 2 pi k / fft, 15 fraction bits: int16 (fft / 2, 2)."""
    angle = 2 * np.pi * np.arange(a.fft // 2) / a.fft
    return np.clip(np.round(32768 * np.stack([np.cos(angle), -np.sin(angle)], 1)), -32767, 32767).astype("<i2")


def mel(hertz):
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def mel_weights(a: Audio, bands: int) -> np.ndarray:
    """Triangles, equally wide in mel: uint8 (bands, fft / 2) with 255 at the top. A band too narrow for its bins gets
    the one nearest to its middle."""
    bins = mel(np.arange(a.fft // 2) * a.rate / a.fft)
    edges = np.linspace(mel(a.low), mel(a.high or a.rate / 2), bands + 2)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.round(255 * np.minimum(rise, fall).clip(0, 1)).astype(np.uint8)
    for band in np.flatnonzero(weights.max(1) == 0):
        weights[band, np.abs(bins - edges[band + 1]).argmin()] = 255
    return weights


def log_scale(a: Audio) -> tuple[int, int]:
    """(log_mult, log_offset) by which a band's logarithm becomes q."""
    octaves = (a.top - a.floor) / (10 * math.log10(2))
    mult = max(1, min(32767, round(255 / octaves * (1 << 16 - fmt.LOG_BITS))))
    spectrum = window(a).astype(float).sum() / 2 / a.fft * 32768  # of a full sine's bin
    full = math.log2(255 * spectrum**2 / 65536)
    floor = full + a.floor / (10 * math.log10(2))
    return mult, round(-127.5 * 65536 - mult * floor * (1 << fmt.LOG_BITS))


def tables(network: Network, start: int) -> tuple[bytes, dict[str, int]]:
    """The arrays of the front-end as they stand from offset `start` of a blob on, and the fields of its record that
    tell of them."""
    a = check(network)
    weights = mel_weights(a, network.width)
    first = (weights > 0).argmax(1)
    count = weights.shape[1] - (weights[:, ::-1] > 0).argmax(1) - first
    bands = np.stack([first, count], 1).astype("<u2")
    packed = b"".join(weights[b, f : f + n].tobytes() for b, (f, n) in enumerate(bands))
    out, offsets = b"", {}
    for name, array in (("window", window(a)), ("twiddle", twiddles(a)), ("band", bands), ("weight", packed)):
        offsets[f"{name}_off"] = start + len(out)
        piece = bytes(array) if isinstance(array, bytes) else array.tobytes()
        out += piece + bytes(-len(piece) % fmt.ALIGN)
    return out, offsets | {"weight_bytes": len(packed)}


def section(network: Network, start: int, stream_at: int = 0) -> tuple[bytes, int]:
    """The arrays and the record of the front-end as they stand from offset `start` of a blob on, and the record's
    offset. `stream_at`: where in the arena what outlasts a run begins."""
    arrays, fields = tables(network, start)
    a = Heard.of(network).audio
    mult, offset = log_scale(a)
    record = fmt.AUDIO.pack(
        rate=a.rate, frame=a.frame, hop=a.hop, fft=a.fft, every=a.every, log_mult=mult, log_offset=offset,
        threshold=round(a.threshold * 65536), smooth=max(1, round(a.smooth * 256)),
        pause=round(a.pause * a.rate / a.hop),
        background=network.labels.index(a.background) if a.background else fmt.NO_CLASS,
        stream_at=stream_at, low=a.low, high=a.high, floor=a.floor, top=a.top, **fields,
    )  # fmt: skip
    return arrays + record, start + len(arrays)


# ---------------------------------------------------------------- spectrograms


@cache
def _front_end(network: Network) -> tuple[ctypes.Array, int]:
    data, record = section(network, 0)
    return ctypes.create_string_buffer(data, len(data)), record


def spectrogram(pcm: np.ndarray, network: Network) -> np.ndarray:
    """uint8 (rows, width): q + 128 of every whole frame of a clip, by the engine."""
    pcm = np.ascontiguousarray(pcm, np.int16)
    a, (data, record) = Heard.of(network).audio, _front_end(network)
    rows = max(0, (len(pcm) - a.frame) // a.hop + 1)
    out = np.empty((rows, network.width), np.int8)
    bins = np.empty(a.fft // 2, np.uint64)
    engine().pn_host_spectrogram(data, record, network.width, pcm.ctypes.data, rows, bins.ctypes.data, out.ctypes.data)
    return (out.view(np.uint8) ^ 0x80).copy()
