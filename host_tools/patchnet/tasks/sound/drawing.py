"""Spectrograms for people: time goes right, frequency up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from ...net.network import Network
from ..answers import Shown
from ..classify.drawing import ranked
from ..gallery import write
from .end import Audio, Heard
from .front import mel

STEPS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5)  # seconds between marks
HERTZ = (100, 200, 500, 1000, 2000, 4000, 8000, 16000)


def spectrograms(shown: Sequence[Shown], network: Network, path: Path) -> list[Path]:
    """What the network reads of sounds, uint8 (rows, bands), below their best labels."""
    audio, turned = Heard.of(network).audio, [replace(one, pixels=one.pixels.T) for one in shown]
    return write(turned, partial(_heard, audio=audio), path)


def _heard(axes: Axes, one: Shown, audio: Audio) -> str:
    bands, rows = one.pixels.shape
    axes.imshow(one.pixels, cmap="magma", vmin=0, vmax=255, origin="lower", aspect="auto", interpolation="nearest")
    axes.set_axis_on()
    edges = np.linspace(mel(audio.low), mel(audio.high or audio.rate / 2), bands + 2)[1:-1]  # the middles of bands
    heard = [hertz for hertz in HERTZ if edges[0] <= mel(hertz) <= edges[-1]]
    axes.set_yticks(np.interp(mel(heard), edges, np.arange(bands)), [f"{hertz}" for hertz in heard], fontsize=7)
    axes.set_ylabel("Hz", fontsize=7)
    length = rows * audio.hop / audio.rate
    step = next((step for step in STEPS if length <= 6 * step), STEPS[-1])
    seconds = np.arange(0, length, step)
    axes.set_xticks(seconds * audio.rate / audio.hop - 0.5, [f"{s:g}" for s in seconds.round(2)], fontsize=7)
    axes.set_xlabel("seconds", fontsize=7)
    return ranked(one)
