"""A microphone whose sound comes from WAV files, for ports without one; also works on CPython.

    mic = filemic.FileMic("clips", rate=m.sample_rate)      # a folder, or one file
    for chunk in mic:
        heard = patchnet.spot(chunk)

Reads PCM with 16 bits; channels are averaged. Files come in the order of their names, with `gap` seconds of silence
after each one. `rate`: the samples a second that the network wants; a file with others is a ValueError.

len(mic) is how many there are, mic.rate the samples a second, mic.name the file that the last chunk is of, and
mic.read() a whole one as array('h'), for patchnet.classify: the next, and after the last the first again.
"""

import os
import struct
from array import array


class FileMic:
    """chunk: samples in each chunk, the last of a file may be shorter. A chunk's memory is used again for the next."""

    def __init__(self, path=".", chunk=512, gap=0, rate=0):
        self._paths = _sounds(path)
        if not self._paths:
            raise OSError(f"{path}: no sound (.wav)")
        self._chunk = chunk
        self._gap = gap
        self._next = 0
        self.rate = rate
        wav, (self.rate, _, _) = self._open(self._paths[0])
        wav.close()
        self.name = None

    def __len__(self):
        return len(self._paths)

    def __iter__(self):
        for path in self._paths:
            yield from self._chunks(path)

    def read(self):
        path = self._paths[self._next]
        self._next = (self._next + 1) % len(self._paths)
        wav, (_, channels, samples) = self._open(path)
        with wav:
            pcm = array("h", bytes(2 * samples * channels))
            if wav.readinto(pcm) != len(pcm) * 2:
                raise ValueError(f"{path}: is cut off")
        return pcm if channels == 1 else array("h", _mixed(pcm, channels, samples))

    def _chunks(self, path):
        wav, (rate, channels, left) = self._open(path)
        pcm = array("h", bytes(2 * self._chunk * channels))
        with wav:
            while left:
                n = min(left, self._chunk)
                view = memoryview(pcm)[: n * channels]
                if wav.readinto(view) != 2 * n * channels:
                    raise ValueError(f"{path}: is cut off")
                left -= n
                if channels > 1:
                    for i, value in enumerate(_mixed(view, channels, n)):
                        view[i] = value
                yield view[:n]
        left = int(self._gap * rate)
        for i in range(self._chunk):
            pcm[i] = 0
        while left:
            n = min(left, self._chunk)
            left -= n
            yield memoryview(pcm)[:n]

    def _open(self, path):
        """The open file, at its first sample; and samples a second, channels, samples of each."""
        self.name = path.split("/")[-1]
        wav = open(path, "rb")  # noqa: SIM115, the caller closes it
        try:
            found = _header(wav)
            if found[0] != self.rate and self.rate:
                raise ValueError(f"{found[0]} samples a second, wanted {self.rate}")
            return wav, found
        except ValueError as error:
            wav.close()
            raise ValueError(f"{path}: {error}") from None


def _sounds(path):
    if path in (".", ""):
        path = os.getcwd()  # not every file system of MicroPython knows "."
    path = path.rstrip("/") or "/"
    if not os.stat(path)[0] & 0x4000:
        return [path]
    names = [name for name in sorted(os.listdir(path)) if name[-4:].lower() == ".wav" and name[0] != "."]
    return [path.rstrip("/") + "/" + name for name in names]


def _header(wav):
    """Reads up to the first sample: samples a second, channels, samples of each."""
    left = wav.seek(0, 2)
    wav.seek(0)
    head = wav.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise ValueError("not a WAV file")
    rate = 0
    while True:
        head = wav.read(8)
        if len(head) < 8:
            raise ValueError("WAV without samples")
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            left -= wav.tell()
            break
        if size > left:
            raise ValueError("WAV header is cut off")
        body = wav.read(size + size % 2)
        if name == b"fmt ":
            if len(body) < 16:
                raise ValueError("WAV header is cut off")
            kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
            if kind == 0xFFFE and len(body) >= 26:  # extensible: the kind stands further on
                kind = body[24] | body[25] << 8
            if kind != 1 or bits != 16 or not channels:
                raise ValueError(f"WAV of format {kind} with {bits} bits; wanted PCM with 16")
    if not rate:
        raise ValueError("WAV without a format")
    if size in (0, 0xFFFFFFFF):  # written into a pipe, by a program that could not know
        size = left
    if size > left:
        raise ValueError("is cut off")
    if size < 2 * channels:
        raise ValueError("WAV without samples")
    return rate, channels, size // (2 * channels)


def _mixed(pcm, channels, samples):
    """The mean of the channels, rounded down."""
    for i in range(samples):
        yield sum(pcm[i * channels : (i + 1) * channels]) // channels
