"""The shape of a patch-tunnel network: one frozen dataclass and the arithmetic that follows from it.

Nothing here knows about weights, integers or torch. Everything later in the chain
(model, quantize, plan, pack) takes its shapes from `Network.layers()` and its patches from `Network.patches()`.
"""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from itertools import product

ACTIVATIONS = ("relu6", "relu", "none")


@dataclass(frozen=True)
class Stage:
    """`n` inverted bottlenecks with `out` channels; the first has `stride`, the others 1.

    `t` is the expansion (1: no expansion convolution), `kernel` the depthwise kernel (3, 5 or 7).
    A bottleneck is residual when its stride is 1 and its input has `out` channels.
    With t = 0 these are plain convolutions instead, dense, `kernel` x `kernel` (1, 3, 5 or 7), with the activation.
    """

    out: int
    n: int = 1
    stride: int = 1
    t: int = 6
    kernel: int = 3


@dataclass(frozen=True)
class Layer:
    """One step of a tunnel. `kind` is "conv" (dense k x k, activation) or "bottleneck".

    Input h x w x cin, output oh x ow x cout, padding kernel // 2, `cexp` expanded channels
    (equal to cin, with `expand` False, when there is no expansion convolution; 0 for a conv).
    """

    kind: str
    h: int
    w: int
    cin: int
    cexp: int
    cout: int
    kernel: int
    stride: int
    expand: bool = False
    residual: bool = False
    act: str = "relu6"

    @property
    def oh(self) -> int:
        return (self.h + 2 * (self.kernel // 2) - self.kernel) // self.stride + 1

    @property
    def ow(self) -> int:
        return (self.w + 2 * (self.kernel // 2) - self.kernel) // self.stride + 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run, nothing recomputed."""
        if self.kind == "conv":
            return self.oh * self.ow * self.kernel**2 * self.cin * self.cout
        expand = self.h * self.w * self.cin * self.cexp if self.expand else 0
        return expand + self.oh * self.ow * self.cexp * (self.kernel**2 + self.cout)

    @property
    def weights(self) -> int:
        """Weights, biases not counted."""
        if self.kind == "conv":
            return self.kernel**2 * self.cin * self.cout
        expand = self.cin * self.cexp if self.expand else 0
        return expand + self.cexp * (self.kernel**2 + self.cout)


@dataclass(frozen=True)
class Audio:
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


@dataclass(frozen=True)
class Network:
    """A patch-tunnel network (sections 3.1 to 3.3 of the paper).

    An ordinary network is the case k=1, central=False: one tunnel over the whole picture.
    `head` > 0 adds a 1x1 convolution with that many channels before the pooling.
    `mean` (integers 0..255, one per channel) and `std` (one for all) normalise pixels: (p - mean) / std;
    padding is zero after normalisation.
    """

    name: str
    labels: tuple[str, ...]
    height: int
    width: int
    channels: int = 3
    k: int = 4
    central: bool = True
    margin_h: int = 0
    margin_w: int = 0
    stem_out: int = 16
    stem_kernel: int = 3
    stem_stride: int = 2
    stages: tuple[Stage, ...] = ()
    head: int = 0
    act: str = "relu6"
    aggregate: str = "sum"  # or "concat"
    mean: tuple[int, ...] = field(default=(128, 128, 128))
    std: float = 64.0
    fit: str = "stretch"  # or "crop": the largest centred rectangle of the network's aspect
    audio: Audio | None = None  # the picture is a spectrogram (one channel)

    @property
    def task(self) -> str:
        return "audio" if self.audio else "classify"

    @property
    def samples(self) -> int:
        """Of a clip that fills the spectrogram of an audio network."""
        return self.audio.frame + (self.height - 1) * self.audio.hop

    @property
    def grid(self) -> int:
        return math.isqrt(self.k)

    @property
    def tunnels(self) -> int:
        return self.k + self.central

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of every patch: eq. 1, h/sqrt(k) + m_h by w/sqrt(k) + m_w, rounded up."""
        if self.k == 1:
            return self.height, self.width
        return (
            -(-self.height // self.grid) + self.margin_h,
            -(-self.width // self.grid) + self.margin_w,
        )

    def patches(self) -> list[tuple[int, int]]:
        """Top-left corner (y, x) of each patch, row by row over the grid, the central one last.

        Corners are spread evenly, so that every margin reaches towards the neighbours only
        and no patch leaves the picture.
        """
        ph, pw = self.patch
        dy, dx = self.height - ph, self.width - pw
        n = max(1, self.grid - 1)
        corners = [(i * dy // n, j * dx // n) for i in range(self.grid) for j in range(self.grid)]
        return corners + [(dy // 2, dx // 2)] * self.central

    def layers(self) -> list[Layer]:
        """The layers of one tunnel, in order. All tunnels have these shapes."""
        h, w = self.patch
        stem = Layer("conv", h, w, self.channels, 0, self.stem_out, self.stem_kernel, self.stem_stride, act=self.act)
        out = [stem]
        for stage in self.stages:
            for i in range(stage.n):
                out.append(self._next_layer(out[-1], stage, stage.stride if i == 0 else 1))
        if self.head:
            last = out[-1]
            out.append(Layer("conv", last.oh, last.ow, last.cout, 0, self.head, 1, 1, act=self.act))
        return out

    def _next_layer(self, last: Layer, stage: Stage, stride: int) -> Layer:
        h, w, cin = last.oh, last.ow, last.cout
        if stage.t == 0:
            return Layer("conv", h, w, cin, 0, stage.out, stage.kernel, stride, act=self.act)
        residual = stride == 1 and cin == stage.out
        return Layer(
            "bottleneck", h, w, cin, cin * stage.t, stage.out, stage.kernel, stride, stage.t > 1, residual, self.act
        )

    @property
    def features(self) -> int:
        """Length of the vector that the fully connected layer reads."""
        last = self.layers()[-1].cout
        return last * self.tunnels if self.aggregate == "concat" else last

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a picture, nothing recomputed: all tunnels and the fully connected layer."""
        return self.tunnels * sum(layer.macs for layer in self.layers()) + self.features * len(self.labels)

    @property
    def weights(self) -> int:
        """Weights of all tunnels and the fully connected layer, biases not counted."""
        return self.tunnels * sum(layer.weights for layer in self.layers()) + self.features * len(self.labels)


# ---------------------------------------------------------------- the paper's memory, and networks built for it


def plain_bytes(layer: Layer, bytes_per_element: int = 1) -> int:
    """Eq. 2: input plus output of a layer. For a bottleneck this is the paper's figure, its intermediates ignored."""
    return bytes_per_element * (layer.h * layer.w * layer.cin + layer.oh * layer.ow * layer.cout)


def bottleneck_bytes(layer: Layer, bytes_per_element: int = 1) -> int:
    """Eq. 3: input, one channel of the expansion (where there is one), one of the depthwise convolution, output."""
    channels = layer.h * layer.w * layer.expand + layer.oh * layer.ow
    return plain_bytes(layer, bytes_per_element) + bytes_per_element * channels


def layer_bytes(layer: Layer, bytes_per_element: int = 1) -> int:
    """Eq. 2 or eq. 3, whichever is the layer's."""
    return (bottleneck_bytes if layer.kind == "bottleneck" else plain_bytes)(layer, bytes_per_element)


def paper_peak(network: Network, bytes_per_element: int = 1) -> int:
    """Peak memory as the paper counts it: the largest input plus output of any layer of a tunnel.

    No accumulators, single channels or scratch: what an engine really needs is told by its plan.
    """
    return max(plain_bytes(layer, bytes_per_element) for layer in network.layers())


def check_budget(network: Network, budget: int, bytes_per_element: int = 1) -> None:
    """ValueError "block i: needs n B, budget m B" for the first layer (0 is the stem) that breaks eq. 2 or eq. 3."""
    for i, layer in enumerate(network.layers()):
        needs = layer_bytes(layer, bytes_per_element)
        if needs > budget:
            raise ValueError(f"block {i}: needs {needs:,} B, budget {budget:,} B")


@dataclass(frozen=True)
class Candidate:
    """A network that `design` found. `peak`: the largest eq. 2 or 3 in bytes; macs and weights as the network's."""

    network: Network
    peak: int
    macs: int
    weights: int


WIDTHS = (16, 24, 40, 80, 160)  # of the stages; the first keeps the stem's resolution, each other halves it


def widen(network: Network, budget: int, multiplier: float, t: int, depth: int) -> Network:
    """`network` with stages until its maps are 7 pixels or less, each as wide as eq. 3 lets it be.

    Widths are multiples of 8, at most WIDTHS * multiplier; every stage has `depth` bottlenecks, the first one only 1.
    A stage that cannot be 8 wide is made so all the same, for `check_budget` to name it.
    """
    last = network.layers()[0]
    for i, width in enumerate(WIDTHS):
        if i and min(last.oh, last.ow) <= 7:
            break
        n, stride = (depth, 2) if i else (1, 1)
        probe = replace(network, stages=(*network.stages, Stage(8, n, stride, t))).layers()
        first, pixels = probe[-n], probe[-1].oh * probe[-1].ow
        room = (budget - bottleneck_bytes(first) + pixels * first.cout) // pixels
        room = min(room, (budget // pixels - 2) // 2) if n > 1 else room
        out = max(8, min(room, round(width * multiplier)) // 8 * 8)
        network = replace(network, stages=(*network.stages, Stage(out, n, stride, t)))
        last = probe[-1]
    return network


def design(
    labels: tuple[str, ...],
    height: int,
    width: int,
    budget: int,
    *,
    channels: int = 3,
    ks: tuple[int, ...] = (1, 4, 9, 16),
    margins: tuple[int, ...] | None = None,
    multipliers: tuple[float, ...] = (0.5, 0.75, 1.0, 1.5, 2.0),
    expansions: tuple[int, ...] = (3, 4, 6, 8),
    stems: tuple[int, ...] = (8, 16, 24),
    depth: int = 2,
    central: bool = True,
    max_macs: int | None = None,
    top: int = 5,
    name: str = "designed",
) -> list[Candidate]:
    """Networks for a memory budget in bytes (int8 elements), those of the most MACs first (section 3 of the paper).

    Searches k, margins (None: none, 1/16, 1/12, 1/8 and 1/7 of the height), width multipliers, expansions and stems for
    networks whose layers all keep eq. 2 and eq. 3, at most `max_macs` per picture. If there is none, ValueError names
    the block that stands in the way of the network nearest to the budget.
    """
    margins = margins if margins is not None else tuple(sorted({0, *(height // d for d in (16, 12, 8, 7))}))
    found, nearest = {}, None
    for k, margin, stem, multiplier, t in product(ks, margins, stems, multipliers, expansions):
        if k == 1 and margin:
            continue
        base = Network(
            name, tuple(labels), height, width, channels, k, central and k > 1, margin, margin, stem,
            mean=(128,) * channels,
        )  # fmt: skip
        network = widen(base, budget, multiplier, t, depth)
        peak, macs = max(map(layer_bytes, network.layers())), network.macs
        if peak > budget or (max_macs is not None and macs > max_macs):
            if nearest is None or peak < nearest[0]:
                nearest = peak, macs, network
            continue
        found[network] = Candidate(network, peak, macs, network.weights)
    if not found:
        check_budget(nearest[2], budget)
        raise ValueError(f"{name}: needs {nearest[1]:,} MACs, wanted at most {max_macs:,}")
    return sorted(found.values(), key=lambda c: (c.macs, c.weights), reverse=True)[:top]


# ---------------------------------------------------------------- as plain values and TOML


def to_dict(network: Network) -> dict:
    """The network as plain values, as they stand in TOML and JSON. Inverse of `from_dict`."""
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(network).items()}
    return {k: v for k, v in values.items() if v is not None}


def from_dict(values: dict) -> Network:
    """A Network from plain values. ValueError names an unknown or missing key."""
    stages = tuple(Stage(**known(Stage, stage, "stage")) for stage in values.get("stages", ()))
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in known(Network, values, "network").items()}
    audio = values.get("audio")
    audio = audio if audio is None else Audio(**known(Audio, audio, "network.audio"))
    return Network(**{**values, "stages": stages, "audio": audio})


def known(kind: type, values: dict, where: str) -> dict:
    """`values`, if its keys are fields of the dataclass `kind` and none that must be given is missing."""
    names = [f.name for f in fields(kind)]
    for key in values:
        if key not in names:
            raise ValueError(f"{where}: unknown key {key!r} (known: {', '.join(names)})")
    for f in fields(kind):
        if f.name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{where}: {f.name!r} is missing")
    return values


def write_toml(values: dict, table: str = "") -> str:
    """TOML of a dict of plain values: scalars first, then its dicts as tables, in `table` if there is one. Enough for
    an experiment file."""

    def value(v) -> str:
        if isinstance(v, dict):
            return "{" + ", ".join(f"{k} = {value(x)}" for k, x in v.items()) + "}"
        if isinstance(v, list | tuple):
            return "[" + ", ".join(map(value, v)) + "]"
        return json.dumps(v, ensure_ascii=False)

    plain = [f"{k} = {value(v)}" for k, v in values.items() if not isinstance(v, dict)]
    tables = [f"\n[{table}{k}]\n{write_toml(v, f'{table}{k}.')}" for k, v in values.items() if isinstance(v, dict)]
    return "\n".join(plain) + "\n" + "".join(tables)
