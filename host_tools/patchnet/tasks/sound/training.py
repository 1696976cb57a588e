"""Training of networks that hear: clips moved, mixed with noise, made into spectrograms by the engine's front-end."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ...data import Dataset, as_clip
from ...data.sounds import at_rate
from ...train.batches import Batches
from ...train.experiment import Experiment
from ...train.task import Goal
from ..classify.training import Classification, Heads, batch_loss, float_accuracy, loss_for
from ..classify.training import Options as ClassOptions
from .end import Heard, samples
from .front import spectrogram

QUIET = -75.0  # dB of full scale: the least noise that is added


def noise(rng: np.random.Generator, n: int, decibel: float) -> np.ndarray:
    """n samples of noise between white and brown at a level in dB of full scale (root mean square)."""
    spectrum = rng.standard_normal(n // 2 + 1) + 1j * rng.standard_normal(n // 2 + 1)
    spectrum /= np.arange(1, n // 2 + 2) ** rng.uniform(0, 1)
    wave = np.fft.irfft(spectrum, n)
    return wave * (32768 * 10 ** (decibel / 20) / (np.sqrt((wave**2).mean()) + 1e-9))


def level(wave: np.ndarray) -> float:
    """dB of full scale, root mean square of the louder half: pauses do not count."""
    power = np.sort(wave.astype(float) ** 2)[len(wave) // 2 :]
    return 10 * np.log10(power.mean() / 2**30 + 1e-10) if len(power) else -100.0


def faster(wave: np.ndarray, factor: float) -> np.ndarray:
    """Played at `factor` times its speed."""
    n = max(1, int(len(wave) / factor))
    return np.interp(np.arange(n) * factor, np.arange(len(wave)), wave)


def placed(wave: np.ndarray, samples: int, shift: int) -> np.ndarray:
    """A clip as `sounds.fit` places it, then moved `shift` samples later."""
    surplus = len(wave) - samples
    start = shift - (surplus // 2 if surplus > 0 else -(-surplus // 2))
    out = np.zeros(samples)
    lo, hi = max(0, start), min(samples, start + len(wave))
    if hi > lo:
        out[lo:hi] = wave[lo - start : hi - start]
    return out


def masked(rng: np.random.Generator, pixels: np.ndarray, masks: int) -> np.ndarray:
    """SpecAugment (Park et al. 2019): `masks` stretches of up to a fifth of the rows, and of the bands, are silent."""
    for axis in (0, 1) * masks:
        size = pixels.shape[axis]
        n = rng.integers(0, size // 5 + 1)
        at = rng.integers(0, size - n + 1)
        pixels[(slice(None),) * axis + (slice(at, at + n),)] = 0
    return pixels


class SoundBatches(Batches):
    """Augmented spectrograms of a data set: uint8 (N, rows, bands, 1) and class indices (N,)."""

    def __init__(self, dataset: Dataset, experiment: Experiment, rank: int = 0, ranks: int = 1):
        super().__init__(dataset, experiment, rank, ranks)
        self.options = experiment.options
        self.a, self.samples = Heard.of(experiment.network).audio, samples(experiment.network)
        self.waves = [at_rate(as_clip(clip), self.a.rate) for clip, _ in dataset]

    def sample(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | np.int64]:
        """One spectrogram and its class."""
        e, label = self.options, self.dataset.labels[i]
        if rng.random() < e.background:
            wave, label = self.nothing(i, rng), np.int64(len(self.dataset.classes))
        else:
            wave = self.varied(i, rng)
            most = max(round(e.shift * self.a.rate), 0)
            wave = placed(wave, self.samples, int(rng.integers(-most, most + 1)))
        if e.noise and rng.random() < 0.8:
            loud = max(QUIET + 5, level(wave) - e.noise)
            wave = wave + noise(rng, self.samples, rng.uniform(QUIET, loud))
        pcm = wave.round().clip(-32768, 32767).astype(np.int16)
        return masked(rng, spectrogram(pcm, self.e.network), e.masks)[:, :, None], label

    def varied(self, i: int, rng: np.random.Generator) -> np.ndarray:
        """Clip i at another speed and level."""
        wave, o = self.waves[i], self.options
        wave = faster(wave, 1 + o.speed * rng.uniform(-1, 1)) if o.speed else wave
        return wave * 10 ** (o.gain * rng.uniform(-1, 1) / 20)

    def nothing(self, i: int, rng: np.random.Generator) -> np.ndarray:
        """A window without a whole word: noise alone, or the end of a word, the start of another, or both."""
        out, kind = np.zeros(self.samples), rng.integers(4)
        if kind == 0:
            return noise(rng, self.samples, rng.uniform(QUIET, -15))
        for side in (0, 1):
            if kind in (side + 1, 3):
                wave = self.varied(i if side else int(rng.integers(len(self.waves))), rng)
                n = int(min(len(wave) * rng.uniform(0.1, 0.45), self.samples // 2))
                if n:
                    out[slice(0, n) if side == 0 else slice(self.samples - n, None)] = (
                        wave[-n:] if side == 0 else wave[:n]
                    )
        return out


@dataclass(frozen=True)
class Options(ClassOptions):
    """Those of what classifies, and how clips are varied."""

    shift: Annotated[float, "0 to 60"] = 0.0
    """Seconds by which a clip is moved at most, to either side."""
    speed: Annotated[float, "0 or more, less than 1"] = 0.0
    """Part by which it is played faster or slower at most."""
    gain: Annotated[float, "0 to 100"] = 0.0
    """dB by which it is louder or softer at most."""
    noise: Annotated[float, "0 to 100"] = 0.0
    """dB below the clip that noise may reach; 0: there is none."""
    masks: Annotated[int, "0 to 100"] = 0
    """Stretches of rows, and as many of bands, of the spectrogram that are blanked out (SpecAugment)."""
    background: Annotated[float, "0 to 1"] = 0.0
    """Part of the clips that are made to be none of the words, the network's last label."""


class SoundTraining(Classification):
    options = Options

    def batches(self, dataset: Dataset, e: Experiment, rank: int = 0, ranks: int = 1) -> Batches:
        return SoundBatches(dataset, e, rank, ranks)

    def goal(self, e: Experiment, training: Dataset) -> Goal:
        if e.options.teacher:
            raise ValueError(f"{e.name}: a teacher is for sets of pictures, {e.train} has sounds")
        background = Heard.of(e.network).audio.background
        loss_of = loss_for(e, training, (background,) if background else ())
        module = Heads(self.model(e.network, e.tied), 0)
        return Goal(module, functools.partial(batch_loss, e=e, loss_of=loss_of), float_accuracy, "accuracy")


TRAINING = SoundTraining()
