"""The slow oracle for sound: rows, clips and streams in plain Python integers, from modpatchnet/FORMAT.md alone."""

from __future__ import annotations

import struct
from collections import namedtuple

import numpy as np

from oracle import Oracle, Result

AUDIO = struct.Struct("<I4H2iI2H7I4f")
Audio = namedtuple(
    "Audio",
    "rate frame hop fft every log_mult log_offset threshold smooth pause background window_off twiddle_off band_off"
    " weight_off weight_bytes stream_at low high floor top",
)


def times(z: tuple[int, int], w: tuple[int, int]) -> tuple[int, int]:
    """A complex value times a twiddle."""
    (x, y), (c, s) = z, w
    return (x * c - y * s + (1 << 14)) >> 15, (x * s + y * c + (1 << 14)) >> 15


def fits(*numbers: int) -> None:
    assert all(-(1 << 31) <= n < 1 << 31 for n in numbers), "a value left 32 bits"


class AudioOracle(Oracle):
    """One blob of task 3."""

    def __init__(self, blob: bytes):
        super().__init__(blob)
        assert self.header.task == 3 and AUDIO.size == 72
        self.a = a = Audio(*AUDIO.unpack_from(self.blob, self.header.task_off))
        self.window = self.numbers("h", a.window_off, a.frame)
        twiddle = self.numbers("h", a.twiddle_off, a.fft)
        self.twiddle = list(zip(twiddle[::2], twiddle[1::2], strict=True))
        bands = self.numbers("H", a.band_off, 2 * self.header.width)
        self.bands = list(zip(bands[::2], bands[1::2], strict=True))
        self.weights = self.numbers("B", a.weight_off, a.weight_bytes)
        self.samples = a.frame + (self.header.height - 1) * a.hop
        # of the arena, from stream_at on: averages, a frame's samples, rows
        self.stream_bytes = (
            4 * self.header.classes + (2 * a.frame + 3) // 4 * 4 + self.header.height * self.header.width
        )

    def numbers(self, code: str, at: int, n: int) -> tuple[int, ...]:
        return struct.unpack_from(f"<{n}{code}", self.blob, at)

    # ---- one row

    def transform(self, z: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """The FFT, by halves: its even values, its odd ones turned, sums and differences."""
        n = len(z)
        if n == 1:
            return z
        even, odd = self.transform(z[::2]), self.transform(z[1::2])
        turned = [times(o, self.twiddle[j * self.a.fft // n]) for j, o in enumerate(odd)]
        pairs = list(zip(even, turned, strict=True))
        out = [(e[0] + t[0], e[1] + t[1]) for e, t in pairs] + [(e[0] - t[0], e[1] - t[1]) for e, t in pairs]
        fits(*(part for value in out for part in value))
        return out

    def spectrum(self, samples) -> list[tuple[int, int]]:
        """The FFT of the pairs of a frame's windowed samples."""
        shift = self.a.fft.bit_length() - 1
        v = [int(x) * w >> shift for x, w in zip(samples, self.window, strict=True)]
        v += [0] * (self.a.fft - len(v))
        return self.transform(list(zip(v[::2], v[1::2], strict=True)))

    def powers(self, samples) -> list[int]:
        """Of bins 0 .. fft / 2 - 1."""
        z, m = self.spectrum(samples), self.a.fft // 2
        p = [0] * m
        p[0] = sum(z[0]) ** 2 >> 16
        for k in range(1, m // 2 + 1):
            (ar, ai), (br, bi) = z[k], z[m - k]
            er, ei = (ar + br) >> 1, (ai - bi) >> 1
            tr, ti = times(((ai + bi) >> 1, (br - ar) >> 1), self.twiddle[k])
            fits(ar + br, ai - bi, ai + bi, br - ar, er + tr, ei + ti, er - tr, ei - ti)
            p[m - k] = (er - tr) ** 2 + (ei - ti) ** 2 >> 16
            p[k] = (er + tr) ** 2 + (ei + ti) ** 2 >> 16
        return p

    def log(self, total: int) -> int:
        """2^8 times the logarithm to base 2."""
        assert total < 1 << 64
        if total == 0:
            return 0
        e = total.bit_length() - 1
        x, out = (total << 31) >> e, e
        for _ in range(8):
            y = x * x
            bit = int(y >= 1 << 63)
            x = y >> 31 + bit
            out = 2 * out + bit
        return out

    def value(self, log: int) -> int:
        return max(-128, min(127, log * self.a.log_mult + self.a.log_offset >> 16))

    def row(self, samples) -> list[int]:
        p, at, out = self.powers(samples), 0, []
        for first, n in self.bands:
            total = sum(w * x for w, x in zip(self.weights[at : at + n], p[first : first + n], strict=True))
            at += n
            out.append(self.value(self.log(total)))
        return out

    def rows(self, pcm) -> np.ndarray:
        """int8 (rows, width): all rows of the samples."""
        a = self.a
        starts = range(0, len(pcm) - a.frame + 1, a.hop)
        return np.array([self.row(pcm[i : i + a.frame]) for i in starts], np.int8).reshape(-1, self.header.width)

    # ---- clips and streams

    def fitted(self, pcm) -> list[int]:
        """The samples by which a clip is classified."""
        pcm, n = [int(x) for x in pcm], len(pcm)
        if n >= self.samples:
            return pcm[(n - self.samples) // 2 :][: self.samples]
        before = (self.samples - n) // 2
        return [0] * before + pcm + [0] * (self.samples - n - before)

    def run_clip(self, pcm) -> Result:
        return self.run_raw(self.rows(self.fitted(pcm)))

    def spot(self, pcm, **settings) -> list[tuple[int, int, int]]:
        """A whole stream: (row, class, score) of each answer, row being how many rows had come."""
        a = self.a._replace(**settings)
        height, classes = self.header.height, self.header.classes
        window = [[self.value(0)] * self.header.width for _ in range(height)]
        means, pause, out = [0] * classes, 0, []
        for i, row in enumerate(self.rows(pcm), 1):
            window = [*window[1:], list(row)]
            if i % a.every:
                continue
            scores = self.run_raw(np.array(window, np.int8)).scores
            means = [m + (n - (m >> 8)) * a.smooth for m, n in zip(means, scores, strict=True)]
            pause = max(0, pause - a.every)
            best = means.index(max(means))
            if pause == 0 and best != a.background and means[best] >> 8 >= a.threshold:
                out.append((i, best, means[best] >> 8))
                pause = a.pause
        return out
