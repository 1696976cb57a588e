"""The front-end of audio networks: its tables, as a blob holds them, and spectrograms from the engine's own C code.

modpatchnet/FORMAT.md (From samples to input) has the arithmetic. What trains and calibrates a network are the very
integers that the device will see. Clips are int16 arrays of one channel.
"""

from __future__ import annotations

import ctypes
import io
import math
import wave
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from . import format as fmt
from .design import Audio, Network
from .format import LOG_BITS

SOUNDS = (".wav", ".flac", ".ogg")


@dataclass(frozen=True)
class Clip:
    """Sound: int16 samples of one channel, `rate` of them a second."""

    pcm: np.ndarray
    rate: int


def read_sound(path: str | Path) -> Clip:
    """A sound file with its channels averaged. ValueError names one that cannot be read."""
    try:
        import soundfile

        pcm, rate = soundfile.read(path, dtype="int16", always_2d=True)
    except ImportError as e:
        raise ValueError(f"{path}: needs the package {e.name!r}: pip install soundfile") from None
    except RuntimeError as e:
        raise ValueError(f"{path}: {e}") from None
    return Clip(pcm[:, 0] if pcm.shape[1] == 1 else pcm.mean(1).round().astype(np.int16), rate)


def at_rate(clip: Clip, rate: int) -> np.ndarray:
    """The samples of a clip at another rate: its spectrum cut off, or filled up with zeros."""
    if clip.rate == rate or len(clip.pcm) == 0:
        return clip.pcm
    n = max(1, round(len(clip.pcm) * rate / clip.rate))
    spectrum = np.fft.rfft(clip.pcm.astype(float))[: n // 2 + 1]
    return np.fft.irfft(spectrum * (n / len(clip.pcm)), n).round().clip(-32768, 32767).astype(np.int16)


def to_wav(pcm: np.ndarray, rate: int) -> bytes:
    """A clip as a WAV file."""
    out = io.BytesIO()
    with wave.open(out, "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(rate)
        f.writeframes(np.asarray(pcm, "<i2").tobytes())
    return out.getvalue()


# ---------------------------------------------------------------- tables


def check(network: Network) -> Audio:
    """The network's front-end. ValueError names a number that the loader would refuse."""
    a = network.audio
    for name, ok, wanted in (
        ("channels", network.channels == 1, "1"),
        ("fft", a.fft in (1 << n for n in range(5, 12)), f"a power of two, {fmt.MIN_FFT}..{fmt.MAX_FFT}"),
        ("frame", 1 <= a.frame <= a.fft, f"1..{a.fft}"),
        ("hop", 1 <= a.hop <= a.frame, f"1..{a.frame}"),
        ("rate", 1 <= a.rate < 1 << 32, "1 or more"),
        ("low", 0 <= a.low < (a.high or a.rate / 2), f"0..{a.high or a.rate / 2:g}"),
        ("high", a.high <= a.rate / 2, f"at most {a.rate / 2:g}"),
        ("top", a.top > a.floor, f"more than floor, {a.floor:g}"),
        ("every", 1 <= a.every <= 65535, "1..65535"),
        ("smooth", 0 < a.smooth <= 1, "more than 0, at most 1"),
        ("threshold", 0 <= a.threshold <= 1, "0..1"),
        ("pause", 0 <= a.pause * a.rate < 65535.5 * a.hop, f"0..{65535 * a.hop / a.rate:g}"),
        ("background", a.background in ("", *network.labels), f"one of {', '.join(network.labels)}"),
    ):
        if not ok:
            got = network.channels if name == "channels" else getattr(a, name)
            raise ValueError(f"{network.name}: audio: {name}: wanted {wanted}, got {got}")
    return a


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
    mult = max(1, min(32767, round(255 / octaves * (1 << 16 - LOG_BITS))))
    spectrum = window(a).astype(float).sum() / 2 / a.fft * 32768  # of a full sine's bin
    full = math.log2(255 * spectrum**2 / 65536)
    floor = full + a.floor / (10 * math.log10(2))
    return mult, round(-127.5 * 65536 - mult * floor * (1 << LOG_BITS))


def section(network: Network, start: int, stream_at: int = 0) -> tuple[bytes, int]:
    """The arrays and the record of the front-end as they stand from offset `start` of a blob on, and the record's
    offset. `stream_at`: where in the arena what outlasts a run begins."""
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
    mult, offset = log_scale(a)
    record = fmt.AUDIO.pack(
        rate=a.rate, frame=a.frame, hop=a.hop, fft=a.fft, every=a.every, log_mult=mult, log_offset=offset,
        threshold=round(a.threshold * 65536), smooth=max(1, round(a.smooth * 256)),
        pause=round(a.pause * a.rate / a.hop),
        background=network.labels.index(a.background) if a.background else fmt.NO_CLASS,
        weight_bytes=len(packed), stream_at=stream_at, low=a.low, high=a.high, floor=a.floor, top=a.top, **offsets,
    )  # fmt: skip
    return out + record, start + len(out)


def from_record(record: dict, labels: tuple[str, ...]) -> Audio:
    """The front-end that a blob's record tells."""
    background = record["background"]
    return Audio(
        *(record[k] for k in ("rate", "frame", "hop", "fft", "low", "high", "floor", "top", "every")),
        smooth=record["smooth"] / 256,
        threshold=record["threshold"] / 65536,
        pause=record["pause"] * record["hop"] / record["rate"],
        background="" if background == fmt.NO_CLASS else labels[background],
    )


# ---------------------------------------------------------------- spectrograms


@cache
def _front_end(network: Network) -> tuple[ctypes.Array, int]:
    data, record = section(network, 0)
    return ctypes.create_string_buffer(data, len(data)), record


def spectrogram(pcm: np.ndarray, network: Network) -> np.ndarray:
    """uint8 (rows, width): q + 128 of every whole frame of a clip, by the engine."""
    from ._patchnet import _engine

    pcm = np.ascontiguousarray(pcm, np.int16)
    a, (data, record) = network.audio, _front_end(network)
    rows = max(0, (len(pcm) - a.frame) // a.hop + 1)
    out = np.empty((rows, network.width), np.int8)
    bins = np.empty(a.fft // 2, np.uint64)
    _engine().pn_host_spectrogram(data, record, network.width, pcm.ctypes.data, rows, bins.ctypes.data, out.ctypes.data)
    return (out.view(np.uint8) ^ 0x80).copy()


def fit(pcm: np.ndarray, samples: int) -> np.ndarray:
    """A clip of that many samples: the middle of a longer one, a shorter one between zeros, the odd one behind it."""
    surplus = len(pcm) - samples
    if surplus >= 0:
        return pcm[surplus // 2 :][:samples]
    return np.pad(pcm, (-surplus // 2, -surplus - -surplus // 2))


def prepare(clip: Clip, network: Network) -> np.ndarray:
    """A clip of any length and rate as the picture that an audio network reads: uint8 (height, width, 1)."""
    return spectrogram(fit(at_rate(clip, network.audio.rate), network.samples), network)[:, :, None]
