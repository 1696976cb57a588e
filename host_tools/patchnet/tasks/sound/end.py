"""The end of a network that hears, which is that of one that classifies, and its front-end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from ...format import MAX_FFT, MIN_FFT
from ...net.layers import Layer
from ...net.network import Lasting, Network, Readout, aligned
from ...net.recipe import EndRecipe, PatchTunnels
from ...net.toml import known
from ..classify.end import Pooled


@dataclass(frozen=True)
class Audio(EndRecipe):
    """How samples become a network's picture: a row of the spectrogram every `hop` samples (time goes down), a column
    per mel band between `low` and `high` Hz (0: half the rate), the rows being `frame` samples long and transformed by
    an FFT of `fft` (a power of two). `floor` and `top`: the level of a sine in dB of full scale that gives 0 and 255.

    The rest are the defaults of `spot`: the network runs every `every` rows, its scores are averaged with a weight
    `smooth` (0..1] of the newest, a label is answered from `threshold` on and then none for `pause` seconds; the label
    `background` is never answered.
    """

    rate: int
    frame: int
    hop: int
    fft: int
    low: float = 60.0
    high: float = 0.0
    floor: float = -90.0
    top: float = 0.0
    every: int = 8
    smooth: float = 0.5
    threshold: float = 0.6
    pause: float = 0.5
    background: str = ""
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
    for name, ok, wanted in (
        ("channels", network.channels == 1, "1"),
        ("fft", a.fft in (1 << n for n in range(5, 12)), f"a power of two, {MIN_FFT}..{MAX_FFT}"),
        ("frame", 1 <= a.frame <= a.fft, f"1..{a.fft}"),
        ("hop", 1 <= a.hop <= a.frame, f"1..{a.frame}"),
        ("rate", 1 <= a.rate < 1 << 32, "1 or more"),
        ("low", 0 <= a.low < (a.high or a.rate / 2), f"0..{a.high or a.rate / 2:g}"),
        ("high", a.high <= a.rate / 2, f"at most {a.rate / 2:g}"),
        ("top", a.top > a.floor, f"more than floor, {a.floor:g}"),
        ("every", 1 <= a.every <= 65535, "1..65535"),
        ("smooth", 0 < a.smooth <= 1, "more than 0, at most 1"),
        ("threshold", 0 <= a.threshold <= 1, "0..1"),
        ("pause", 0 <= a.pause * a.rate < 65535.5 * a.hop, f"0..{65535 * a.hop / a.rate:g}"),
        ("background", a.background in ("", *network.labels), f"one of {', '.join(network.labels)}"),
    ):
        if not ok:
            got = network.channels if name == "channels" else getattr(a, name)
            raise ValueError(f"{network.name}: audio: {name}: wanted {wanted}, got {got}")
    return a
