"""The end of a network that hears, which is that of one that classifies, and its front-end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Annotated

from ...net.layers import Layer
from ...net.network import Lasting, Network, Readout, aligned
from ...net.recipe import EndRecipe, PatchTunnels
from ...net.toml import known
from ...ranges import faults
from ...words import some
from ..classify.end import Pooled


@dataclass(frozen=True)
class Audio(EndRecipe):
    """How samples become a network's picture, a spectrogram: time goes down, mel bands go across. From `every` on they
    are the defaults of `spot`."""

    rate: Annotated[int, "1 to 4294967295"]
    """Samples a second."""
    frame: Annotated[int, "1 to 2048"]
    """Samples that a row is made of, at most `fft`."""
    hop: Annotated[int, "1 to 2048"]
    """Samples from one row to the next, at most `frame`."""
    fft: Annotated[int, "32, 64, 128, 256, 512, 1024 or 2048"]
    """Length of the Fourier transform."""
    low: Annotated[float, "0 to 4294967295"] = 60.0
    """Hz where the lowest mel band begins."""
    high: Annotated[float, "0 to 4294967295"] = 0.0
    """Hz where the highest one ends; 0: half the rate."""
    floor: Annotated[float, "-1000 to 1000"] = -90.0
    """Level of a sine, in dB of full scale, that gives the least value."""
    top: Annotated[float, "-1000 to 1000"] = 0.0
    """Level that gives the largest."""
    every: Annotated[int, "1 to 65535"] = 8
    """Rows from one run of the network to the next."""
    smooth: Annotated[float, "more than 0, at most 1"] = 0.5
    """Weight of the newest scores in the average."""
    threshold: Annotated[float, "0 to 1"] = 0.6
    """Least average score that is answered."""
    pause: Annotated[float, "0 to 1000000"] = 0.5
    """Seconds without another answer after one."""
    background: str = ""
    """The label that is never answered; `""`: there is none."""
    task = "audio"

    def ends(self, recipe: PatchTunnels, chain: tuple[Layer, ...]) -> tuple[tuple[Readout, ...], Heard]:
        return (), Heard(recipe.aggregate, audio=self)


def recipe_from_dict(values: dict, where: str) -> Audio:
    """The table [network.audio]. ValueError names an unknown or missing key."""
    return Audio(**known(Audio, values, where))


@dataclass(frozen=True)
class Heard(Pooled):
    """The picture is a spectrogram (one channel) that `audio` makes of samples."""

    audio: Audio = field(kw_only=True)  # for `aggregate`, before it, has a default
    task = "audio"

    def check(self, network: Network) -> None:
        super().check(network)
        check(network)

    def lasting(self, network: Network, groups: int) -> Lasting:
        """A frame's spectrum is needed between runs; averaged scores, a frame's samples and rows outlast them."""
        kept = 4 * len(network.labels) + aligned(2 * self.audio.frame) + network.height * network.width
        return replace(super().lasting(network, groups), idle=4 * self.audio.fft, kept=kept)

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Heard:
        return cls(**{**values, "audio": recipe_from_dict(values["audio"], "audio")})


END = Heard


def samples(network: Network) -> int:
    """Of a clip that fills the spectrogram of an audio network."""
    a = Heard.of(network).audio
    return a.frame + (network.height - 1) * a.hop


def check(network: Network) -> Audio:
    """The network's front-end. ValueError names a number that the loader would refuse."""
    a = Heard.of(network).audio
    for name, wanted, got in faults(a):
        raise ValueError(f"{network.name}: audio: {name}: wanted {wanted}, got {got}")
    for name, ok, wanted in (
        ("channels", network.channels == 1, "1"),
        ("frame", a.frame <= a.fft, f"1..{a.fft}"),
        ("hop", a.hop <= a.frame, f"1..{a.frame}"),
        ("low", a.low < (a.high or a.rate / 2), f"0..{a.high or a.rate / 2:g}"),
        ("high", a.high <= a.rate / 2, f"at most {a.rate / 2:g}"),
        ("top", a.top > a.floor, f"more than floor, {a.floor:g}"),
        ("pause", a.pause * a.rate < 65535.5 * a.hop, f"0..{65535 * a.hop / a.rate:g}"),
        ("background", a.background in ("", *network.labels), f"one of {some(network.labels)}"),
    ):
        if not ok:
            got = network.channels if name == "channels" else getattr(a, name)
            raise ValueError(f"{network.name}: audio: {name}: wanted {wanted}, got {got}")
    return a
