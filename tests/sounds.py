"""Random audio networks and sounds for the tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from networks import Free, free_network, random_chain, random_qnet, sized
from patchnet.blob.pack import pack
from patchnet.blob.quantized import QNet
from patchnet.net.layers import Layer
from patchnet.net.network import Network
from patchnet.tasks.sound.end import Audio

LABELS = ("no", "yes", "none")


def tiny() -> Network:
    """6 rows of 4 bands, each of 24 samples, 10 apart: a convolution and a bottleneck."""
    chain = Layer("conv", 6, 4, 1, 0, 4, 3, 2), Layer("bottleneck", 3, 2, 4, 8, 4, 3, 1, True, True)
    audio = Audio(8000, 24, 10, 32, every=2, pause=0.01, background="none", threshold=0.3)
    return free_network("tiny", LABELS, 6, 4, 1, 1, False, chain=chain, end=audio)


def random_audio(rng) -> Audio:
    """Any front-end that FORMAT.md allows, mostly of 8 or 16 kHz."""
    fft = 1 << int(rng.choice([5, 6, 7, 8, 8, 9, 10]))
    frame = fft if rng.random() < 0.4 else int(rng.integers(1, fft + 1))
    rate = int(rng.choice([8000, 16000, 11025]))
    low, high = sorted(map(float, rng.integers(0, rate // 2, 2)))  # float32 holds them, and those below
    return Audio(
        rate, frame, int(rng.integers(1, frame + 1)), fft, low,
        high=high if rng.random() < 0.5 and high > low + 100 else 0.0,
        floor=float(rng.integers(-120, -60)), top=float(rng.integers(-20, 6)), every=int(rng.integers(1, 7)),
        smooth=float(rng.choice([1.0, 0.5, 0.1])), threshold=float(rng.uniform(0.2, 0.6)),
        pause=float(rng.integers(0, 9)) / 10, background=str(rng.choice(["", "none"])),
    )  # fmt: skip


def random_listener(rng, audio: Audio | None = None, k: int = 1) -> QNet:
    """A random network for up to 20 rows of up to 12 bands."""
    height, width = int(rng.integers(4, 21)), int(rng.integers(4, 13))
    margins = (int(rng.integers(0, 3)), int(rng.integers(0, 3))) if k > 1 else (0, 0)
    recipe = Free("sound", LABELS, height, width, 1, k, False, *margins, end=audio or random_audio(rng))
    recipe = replace(recipe, chain=random_chain(rng, *recipe.patch, 1, int(rng.integers(1, 4)), 6))
    return random_qnet(rng, sized(rng, recipe.network()))


def random_blob(rng, audio: Audio | None = None, k: int = 1) -> bytes:
    return pack(random_listener(rng, audio, k))


def random_sound(rng, n: int) -> np.ndarray:
    """int16 (n,): tones that come and go in noise, at any level; at times as loud as can be."""
    t = np.arange(n)
    tones = sum(
        np.sin(t * rng.uniform(0.01, 3.1) + rng.uniform(0, 6)) * (np.sin(t * 0.002 * i) > 0) for i in range(1, 4)
    )
    wave = (tones + rng.normal(0, rng.uniform(0, 1), n)) * 10 ** rng.uniform(0, 4.5)
    return wave.round().clip(-32768, 32767).astype(np.int16)


def extreme_sounds(rng, n: int) -> list[np.ndarray]:
    """What might make a sum leave its type."""
    signs = [np.ones(n), -np.ones(n), np.where(np.arange(n) % 2, 1, -1), np.where(np.arange(n) % 4 < 2, 1, -1)]
    signs += [np.sign(np.cos(2 * np.pi * k * np.arange(n) / 32)) for k in (1, 3)] + [rng.choice([-1, 1], n)]
    return [np.where(s < 0, -32768, 32767).astype(np.int16) for s in signs] + [np.full(n, -32768, np.int16)]
