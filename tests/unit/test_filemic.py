"""filemic against WAV files written by Python's own module, on CPython and on the ports."""

import json
import struct
import wave

import numpy as np
import pytest

from patchnet import filemic

SCRIPT = """
import json
import filemic
out = []
mic = filemic.FileMic("sounds", chunk=50, gap=0.01)
for chunk in mic:
    out.append([mic.name, list(chunk)])
print(json.dumps([len(mic), mic.rate, out, [list(mic.read()) for _ in range(3)]]))
print(json.dumps([list(filemic.FileMic(name, rate=8000).read()) for name in ("piped.wav", "piped0.wav")]))
for name in ("empty", "bad.wav", "eight.wav", "cut.wav", "none.wav", "huge.wav", "slow.wav"):
    try:
        mic = filemic.FileMic(name, rate=8000)
        mic.read()
    except (OSError, ValueError) as error:
        print(error)
"""


def write(path, samples: np.ndarray, rate: int = 8000, width: int = 2) -> None:
    with wave.open(str(path), "wb") as f:
        f.setnchannels(samples.shape[1])
        f.setsampwidth(width)
        f.setframerate(rate)
        f.writeframes(samples.astype("<i2" if width == 2 else "u1").tobytes())


def extensible(path, samples: np.ndarray, rate: int = 8000) -> None:
    """WAVE_FORMAT_EXTENSIBLE, with a chunk of odd length before the samples."""
    n = samples.shape[1]
    form = struct.pack("<HHIIHHHHI", 0xFFFE, n, rate, 2 * n * rate, 2 * n, 16, 22, 16, 0) + b"\x01\x00" + bytes(14)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"note" + struct.pack("<I", 3) + b"abc\x00"
    data = samples.astype("<i2").tobytes()
    chunks += b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)


@pytest.fixture
def folder(tmp_path):
    rng, sounds = np.random.default_rng(1), tmp_path / "sounds"
    sounds.mkdir()
    one, two = rng.integers(-32768, 32768, (120, 1)), rng.integers(-32768, 32768, (73, 2))
    write(sounds / "a.wav", one)
    extensible(sounds / "b.wav", two)
    (sounds / "c.txt").write_text("no sound")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_text("nothing")
    (tmp_path / "bad.wav").write_bytes(b"RIFFxxxxWAVEjunk")
    write(tmp_path / "eight.wav", one % 256, width=1)
    whole = (sounds / "a.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[:-10])
    for name, size in (("piped", b"\xff" * 4), ("piped0", bytes(4))):  # as programs write into a pipe
        (tmp_path / f"{name}.wav").write_bytes(whole[:40] + size + whole[44:])
    (tmp_path / "none.wav").write_bytes(whole[:40] + bytes(4))
    (tmp_path / "huge.wav").write_bytes(whole[:12] + b"LIST" + b"\xff" * 4 + whole[12:])
    write(tmp_path / "slow.wav", one, rate=4000)
    (sounds / "._a.wav").write_bytes(b"left by a file manager")
    return tmp_path, one[:, 0].tolist(), (two.sum(1) // 2).tolist()


def expected(one: list[int], two: list[int]) -> list:
    def chunks(name: str, pcm: list[int]) -> list:
        silence = [[name, [0] * 50], [name, [0] * 30]]
        return [[name, pcm[i : i + 50]] for i in range(0, len(pcm), 50)] + silence

    return [2, 8000, chunks("a.wav", one) + chunks("b.wav", two), [one, two, one]]


ERRORS = """empty: no sound (.wav)
bad.wav: WAV without samples
eight.wav: WAV of format 1 with 8 bits; wanted PCM with 16
cut.wav: is cut off
none.wav: WAV without samples
huge.wav: WAV header is cut off
slow.wav: 4000 samples a second, wanted 8000
"""


def check(printed: str, one: list[int], two: list[int]) -> None:
    first, piped, *errors = printed.splitlines(keepends=True)
    assert json.loads(first) == expected(one, two) and json.loads(piped) == [one, one]
    assert "".join(errors) == ERRORS


def test_on_cpython(folder, monkeypatch, capsys):
    root, one, two = folder
    monkeypatch.chdir(root)
    monkeypatch.setitem(__import__("sys").modules, "filemic", filemic)
    exec(SCRIPT, {})
    check(capsys.readouterr().out, one, two)


def test_on_device(connect, where, folder):
    root, one, two = folder
    check(connect(where, root).exec(SCRIPT), one, two)


def test_rates_must_agree(tmp_path):
    write(tmp_path / "a.wav", np.zeros((10, 1)))
    write(tmp_path / "b.wav", np.zeros((10, 1)), rate=16000)
    with pytest.raises(ValueError, match="b.wav: 16000 samples a second, wanted 8000"):
        list(filemic.FileMic(str(tmp_path)))
