"""Sound files as people have them: each is heard as its 16-bit twin, or refused with a line that names it."""

import struct

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")

from patchnet import cli
from patchnet.data.sounds import read_sound

RATE = 8000
PCM = (np.random.default_rng(3).normal(0, 4000, 500)).round().astype(np.int16)


@pytest.fixture
def twin(tmp_path):
    soundfile.write(tmp_path / "twin.wav", PCM, RATE)
    return tmp_path / "twin.wav"


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2])
def test_kinds_of_samples(tmp_path, subtype, channels):
    soundfile.write(tmp_path / "a.wav", np.stack([PCM / 32768] * channels, 1), RATE, subtype=subtype)
    clip = read_sound(tmp_path / "a.wav")
    assert clip.rate == RATE and np.array_equal(clip.pcm, PCM)


def test_channels_are_averaged_and_loud_samples_cut_off(tmp_path):
    both = np.stack([np.full(9, 1.5), np.full(9, 3.0)], 1)
    soundfile.write(tmp_path / "a.wav", both, RATE, subtype="FLOAT")
    assert read_sound(tmp_path / "a.wav").pcm.tolist() == [32767] * 9
    soundfile.write(tmp_path / "b.wav", np.array([[300, -100], [5, 0]], np.int16), RATE)
    assert read_sound(tmp_path / "b.wav").pcm.tolist() == [100, 2]


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_what_was_written_into_a_pipe(tmp_path, twin, size):
    whole = twin.read_bytes()
    at = whole.index(b"data") + 4
    (tmp_path / "a.wav").write_bytes(whole[:at] + struct.pack("<I", size) + whole[at + 4 :])
    assert np.array_equal(read_sound(tmp_path / "a.wav").pcm, PCM)


def test_what_is_refused(tmp_path, twin, capsys):
    whole, broken = twin.read_bytes(), PCM / 32768
    broken[7] = np.nan
    soundfile.write(tmp_path / "nan.wav", broken, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "empty.wav", PCM[:0], RATE)
    files = {
        "head.wav": whole[:44],
        "cut.wav": whole[:20],
        "zero.wav": b"",
        "mp3.wav": b"ID3\4\0\0" + b"\xff\xfb\x90" * 99,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    lines = {"nan.wav": "has samples that are no numbers", "empty.wav": "has no samples", "head.wav": "has no samples",
             "cut.wav": "", "zero.wav": "Format not recognised", "mp3.wav": "Format not recognised"}  # fmt: skip
    for name, line in lines.items():
        assert cli.main(["predict", "spoken-digits", str(twin), str(tmp_path / name)]) == cli.USER_ERROR
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"patchnet: {tmp_path / name}: ") and line in last
