"""Sounds from files, at other rates, of other lengths. Clips are int16 arrays of one channel."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SOUNDS = (".wav", ".flac", ".ogg")


@dataclass(frozen=True)
class Clip:
    """Sound: int16 samples of one channel, `rate` of them a second."""

    pcm: np.ndarray
    rate: int


def read_sound(path: str | Path) -> Clip:
    """A sound file with its channels averaged; what floating point has beyond -1..1 is cut off. ValueError names one
    that cannot be read, has no samples, or some that are no numbers."""
    try:
        # imported here: only who reads sound files needs its C library
        import soundfile

        with soundfile.SoundFile(io.BytesIO(measured(Path(path).read_bytes()))) as file:
            real = file.subtype in ("FLOAT", "DOUBLE")
            pcm, rate = file.read(dtype="float64" if real else "int16", always_2d=True), file.samplerate
    except ImportError as e:
        raise ValueError(f"{path}: needs the package {e.name!r}: pip install soundfile") from None
    except RuntimeError as e:
        raise ValueError(f"{path}: {str(e).rpartition('>: ')[2]}") from None
    if len(pcm) == 0:
        raise ValueError(f"{path}: has no samples")
    if real and not np.isfinite(pcm).all():
        raise ValueError(f"{path}: has samples that are no numbers")
    mean = (pcm * 32768 if real else pcm).mean(1).round().clip(-32768, 32767)
    return Clip(mean.astype(np.int16), rate)


def measured(data: bytes) -> bytes:
    """A WAV file with the size of its samples, which a program that wrote it into a pipe could not know."""
    at = data.find(b"data", 12)
    if data[:4] != b"RIFF" or at < 0 or int.from_bytes(data[at + 4 : at + 8], "little") not in (0, 0xFFFFFFFF):
        return data
    return data[: at + 4] + (len(data) - at - 8).to_bytes(4, "little") + data[at + 8 :]


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


def fit(pcm: np.ndarray, samples: int) -> np.ndarray:
    """A clip of that many samples: the middle of a longer one, a shorter one between zeros, the odd one behind it."""
    surplus = len(pcm) - samples
    if surplus >= 0:
        return pcm[surplus // 2 :][:samples]
    return np.pad(pcm, (-surplus // 2, -surplus - -surplus // 2))
