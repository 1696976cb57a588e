"""Sound from folders to an integer network: reading, augmenting, training, quantizing, packing, measuring."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from patchnet import Model, cli, data
from patchnet.data import sounds as sounds_
from patchnet.evaluate import val as evaluation

torch = pytest.importorskip("torch")
from patchnet.blob import files
from patchnet.tasks.pictures import prepare as prepare_picture
from patchnet.tasks.sound import training as sound_training
from patchnet.tasks.sound.input import prepare
from patchnet.train import (
    experiment,
    loop,
    quantize,
)

TOML = """
name = "tones"
train = "{folder}"
test = "{folder}"
validation = 0.0
epochs = 12
batch = 8
lr = 1e-2
ema = 0.9
colour = 0.0
shift = 0.02
speed = 0.05
gain = 6
noise = 20
masks = 1
background = 0.2
evaluate_every = 12

[network]
labels = ["high", "low", "none"]
height = 12
width = 8
channels = 1
mean = [128]
k = 1
central = false
stem_out = 8
stages = [{{out = 8, t = 2}}]

[network.audio]
rate = 4000
frame = 128
hop = 64
fft = 128
background = "none"
"""


def tone(rng, hertz: float, rate: int, seconds: float) -> np.ndarray:
    t = np.arange(int(rate * seconds)) / rate
    return (8000 * np.sin(2 * np.pi * hertz * rng.uniform(0.9, 1.1) * t)).astype(np.int16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixteen tones of each class as WAV, FLAC and OGG, at two rates, one or two channels."""
    import soundfile

    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("sounds")
    for name, hertz in (("high", 1200), ("low", 300)):
        (root / name).mkdir()
        for i in range(16):
            rate = (4000, 8000)[i % 2]
            pcm = tone(rng, hertz, rate, rng.uniform(0.1, 0.3))
            pcm = np.stack([pcm, pcm], 1) if i % 3 == 0 else pcm
            soundfile.write(root / name / f"{i}.{('wav', 'flac', 'ogg')[i % 3]}", pcm, rate)
    return root


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """The run's directory, trained, quantized and packed."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("run")
    (out / "tones.toml").write_text(TOML.format(folder=folder))
    loop.run(out / "tones.toml", out / "run")
    files.pack_file(quantize.run(out / "run", epochs=1, calibration=16))
    return out / "run"


def test_pack_makes_a_test_vector(run):
    stored = np.load(run / "tones.test.npz")
    assert stored["sound"].dtype == np.int16 and len(stored["sound"]) > 0
    assert stored["outputs"].tobytes() == bytes(Model(run / "tones.pnb").predict(stored["sound"]))


def test_folder_of_sounds(folder):
    dataset = data.load(folder)
    assert dataset.classes == ("high", "low") and len(dataset) == 32 and dataset.names[0] == "high/0.wav"
    clip, label = dataset[0]
    assert label == 0 and clip.rate == 4000 and clip.pcm.ndim == 1 and clip.pcm.dtype == np.int16
    assert 5000 < np.abs(clip.pcm).max() < 9000


def test_npz_of_sounds(tmp_path):
    pcm = np.arange(10, dtype=np.int16)
    rest = dict(labels=np.array([1, 0], np.int16), classes=["a", "b"], rate=np.int32(8000), names=["x", "y"])
    np.savez(tmp_path / "row.npz", audio=pcm, offsets=[0, 4, 10], **rest)
    np.savez(tmp_path / "grid.npz", audio=pcm.reshape(2, 5), **rest)
    row, grid = data.load(tmp_path / "row.npz"), data.load(tmp_path / "grid.npz")
    assert [clip.pcm.tolist() for clip, _ in row] == [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9]]
    assert [len(clip.pcm) for clip, _ in grid] == [5, 5] and row[0][0].rate == 8000 and row.labels.tolist() == [1, 0]
    assert row.take([1]).names == ("y",) and len(row.limit(1)) == 1


def test_what_is_no_sound(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match="x.wav"):
        data.decode(tmp_path / "x.wav")
    network = experiment.load_experiment("spoken-digits").network
    with pytest.raises(ValueError, match="spoken-digits: reads sounds, got pictures"):
        prepare(np.zeros((3, 3), np.uint8), network)
    with pytest.raises(ValueError, match="digits: reads pictures, got sounds"):
        prepare_picture(sounds_.Clip(np.zeros(3, np.int16), 8000), experiment.load_experiment("digits").network)


def test_batches(folder, tmp_path):
    (tmp_path / "tones.toml").write_text(TOML.format(folder=folder))
    e = experiment.load_experiment(tmp_path / "tones.toml")
    batches = sound_training.TRAINING.batches(data.load(folder), e)
    first, again = (list(batches.epoch(0)) for _ in range(2))
    assert len(first) == len(batches) == 4 and first[0][0].shape == (8, 12, 8, 1)
    for (x, y), (x2, y2) in zip(first, again, strict=True):
        assert torch.equal(x, x2) and torch.equal(y, y2)
    labels = torch.cat([y for n in range(5) for _, y in batches.epoch(n)])
    assert set(labels.tolist()) == {0, 1, 2} and 0.05 < (labels == 2).float().mean() < 0.4
    plain = replace(e, options=sound_training.Options())
    batches, rng = sound_training.TRAINING.batches(data.load(folder), plain), np.random.default_rng(0)
    for i in range(4):
        np.testing.assert_array_equal(batches.sample(i, rng)[0], prepare(data.load(folder)[i][0], e.network))


def test_augmentation():
    rng = np.random.default_rng(0)
    wave = np.arange(1.0, 11)
    np.testing.assert_array_equal(sound_training.placed(wave, 14, 0)[2:12], wave)
    np.testing.assert_array_equal(sound_training.placed(wave, 14, 3)[5:], wave[:9])
    np.testing.assert_array_equal(sound_training.placed(wave, 14, -4)[:8], wave[2:])
    np.testing.assert_array_equal(sound_training.placed(wave, 4, 0), wave[3:7])
    assert not sound_training.placed(wave, 14, 40).any()
    assert len(sound_training.faster(wave, 2)) == 5 and sound_training.faster(wave, 2)[1] == 3
    noise = sound_training.noise(rng, 4000, -20)
    assert abs(20 * np.log10(noise.std() / 32768) + 20) < 0.5
    pixels = sound_training.masked(rng, np.full((50, 40), 7, np.uint8), 2)
    assert 0 < (pixels == 0).mean() < 0.7 and set(np.unique(pixels)) == {0, 7}


def test_background_must_be_last(folder, tmp_path):
    wrong = TOML.format(folder=folder).replace('["high", "low", "none"]', '["none", "high", "low"]')
    (tmp_path / "wrong.toml").write_text(wrong)
    with pytest.raises(ValueError, match="network has labels"):
        loop.run(tmp_path / "wrong.toml", tmp_path / "run")
    with pytest.raises(ValueError, match="a teacher is for sets of pictures, .* has sounds"):
        loop.run(tmp_path / "wrong.toml", tmp_path / "run", teacher="t.onnx")


def test_accuracy_everywhere_on_this_machine(run, folder):
    """What was trained tells the tones, as float and as integers; the file is opened by every tool."""
    result = {r.on: r for r in evaluation.val(str(run), str(folder), ("float", "host"))}
    assert result["float"].top1 >= 0.9 and result["host"].top1 >= 0.9 and result["host"].n == 32
    m = Model(str(run / "tones.pnb"))
    assert m.task == "audio" and m.sample_rate == 4000 and result["host"].ram == m.ram


def test_command_line(run, folder, capsys, tmp_path):
    blob, sound = str(run / "tones.pnb"), str(folder / "high" / "1.flac")
    assert cli.main(["predict", blob, sound, "--top", "1", "--out", str(tmp_path / "seen.png")]) == 0
    assert capsys.readouterr().out.startswith(f"{sound}: high ")
    assert (tmp_path / "seen.png").stat().st_size > 1000
    assert cli.main(["analyze", blob]) == 0
    assert "kept in the arena" in capsys.readouterr().out
    assert cli.main(["val", "digits", "--data", str(folder)]) == cli.USER_ERROR


def test_unix_is_identical(run, folder):
    from conftest import require

    require("unix")
    host, unix = evaluation.val(str(run), str(folder), ("host", "unix"))
    assert unix.identical and unix.top1 == host.top1
