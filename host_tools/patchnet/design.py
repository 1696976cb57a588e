"""The shape of a patch-tunnel network: one frozen dataclass and the arithmetic that follows from it.

Nothing here knows about weights, integers or torch. Everything later in the chain
(model, quantize, plan, pack) takes its shapes from `Network.layers()` and its patches from `Network.patches()`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from itertools import product

from .format import MAX_TOP

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
class Scale:
    """One scale of a detection network: `stages` (none, or as in Network) make its map of the scale before, the first
    of the stitched map, and a head predicts a box for each of `anchors`, (width, height) in pixels of the network's
    picture, at each cell of the map.
    """

    anchors: tuple[tuple[int, int], ...]
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True)
class Detection:
    """What follows the tunnels of a detection network. At most the best `top` candidates of a picture are kept."""

    scales: tuple[Scale, ...]
    top: int = 100


@dataclass(frozen=True)
class ScaleLayers:
    """The layers of one scale; the head reads the map after `layers`. A cell is `stride` x `stride` pixels.

    The head's channels: anchor by anchor dx, dy, dw, dh, then one per class.
    """

    layers: tuple[Layer, ...]
    head: Layer
    stride: int


@dataclass(frozen=True)
class Place:
    """Where a tunnel's map goes: `h` x `w` cells from (from_y, from_x) on, to (to_y, to_x) of the stitched map."""

    from_y: int
    from_x: int
    to_y: int
    to_x: int
    h: int
    w: int


@dataclass(frozen=True)
class Network:
    """A patch-tunnel network (sections 3.1 to 3.3 of the paper).

    An ordinary network is the case k=1, central=False: one tunnel over the whole picture.
    `head` > 0 adds a 1x1 convolution with that many channels before the pooling.
    `mean` (integers 0..255, one per channel) and `std` (one for all) normalise pixels: (p - mean) / std;
    padding is zero after normalisation.
    With `detection` the tunnels' maps are not pooled: stitched together they are one map of the whole picture, read by
    the scales of the detection. The grid's patches supply their parts of it, the central one is added.
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
    detection: Detection | None = None  # None: classification
    audio: Audio | None = None  # the picture is a spectrogram (one channel)

    @property
    def task(self) -> str:
        return "detect" if self.detection else "audio" if self.audio else "classify"

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
                last = out[-1]
                out.append(self._next_layer(last.oh, last.ow, last.cout, stage, stage.stride if i == 0 else 1))
        if self.head:
            last = out[-1]
            out.append(Layer("conv", last.oh, last.ow, last.cout, 0, self.head, 1, 1, act=self.act))
        return out

    def _next_layer(self, h: int, w: int, cin: int, stage: Stage, stride: int) -> Layer:
        if stage.t == 0:
            return Layer("conv", h, w, cin, 0, stage.out, stage.kernel, stride, act=self.act)
        residual = stride == 1 and cin == stage.out
        return Layer(
            "bottleneck", h, w, cin, cin * stage.t, stage.out, stage.kernel, stride, stage.t > 1, residual, self.act
        )

    # ---- detection

    @property
    def stride(self) -> int:
        """Pixels of the picture from one cell of a tunnel's map to the next."""
        return math.prod(layer.stride for layer in self.layers())

    @property
    def stitched(self) -> tuple[int, int]:
        """Rows and columns of the stitched map."""
        return -(-self.height // self.stride), -(-self.width // self.stride)

    def places(self) -> list[Place]:
        """Where the map of each of `patches()` goes. ValueError if a patch of the grid does not cover its part."""
        out = []
        for i, corner in enumerate(self.patches()):
            sides = [self._span(i, axis, at) for axis, at in enumerate(corner)]
            (fy, ty, h), (fx, tx, w) = sides
            out.append(Place(fy, fx, ty, tx, h, w))
        return out

    def _span(self, i: int, axis: int, at: int) -> tuple[int, int, int]:
        """Of patch `i` along `axis` (0: rows) with its corner at pixel `at`: first cell, where it goes, cells."""
        last, size = self.layers()[-1], self.stitched[axis]
        cells, first = (last.oh, last.ow)[axis], (2 * at + self.stride) // (2 * self.stride)
        if i >= self.k:  # the central patch: all of its map
            return 0, first, min(cells, size - first)
        j = (i // self.grid, i % self.grid)[axis]
        start, end = j * size // self.grid, (j + 1) * size // self.grid
        if not first <= start < end <= first + cells:
            side = ("rows", "columns")[axis]
            raise ValueError(
                f"{self.name}: patch {i}: wanted {side} {start}..{end - 1} of the stitched map, got {first}.."
                f"{first + cells - 1} (a larger margin_{'hw'[axis]} helps)"
            )
        return start - first, start, end - start

    def scales(self) -> list[ScaleLayers]:
        """The layers of each scale of a detection network, none of others."""
        if not self.detection:
            return []
        (h, w), cin, stride, out = self.stitched, self.layers()[-1].cout, self.stride, []
        for scale in self.detection.scales:
            layers: list[Layer] = []
            for stage in scale.stages:
                for i in range(stage.n):
                    layers.append(self._next_layer(h, w, cin, stage, stage.stride if i == 0 else 1))
                    h, w, cin = layers[-1].oh, layers[-1].ow, layers[-1].cout
            stride *= math.prod(layer.stride for layer in layers)
            channels = len(scale.anchors) * (4 + len(self.labels))
            head = Layer("bottleneck", h, w, cin, cin, channels, 3, 1, act=self.act)
            out.append(ScaleLayers(tuple(layers), head, stride))
        return out

    def tail(self) -> list[Layer]:
        """All layers that follow the tunnels, in the order in which they run: of each scale its own, then its head."""
        return [layer for scale in self.scales() for layer in (*scale.layers, scale.head)]

    def run(self) -> list[Layer]:
        """Every layer as plans and blobs list them: those of a tunnel, then the tail."""
        return self.layers() + self.tail()

    def heads(self) -> tuple[int, ...]:
        """Which layers of `run()` are heads."""
        out, at = [], len(self.layers())
        for scale in self.scales():
            at += len(scale.layers) + 1
            out.append(at - 1)
        return tuple(out)

    def check(self) -> None:
        """ValueError, naming what was wanted, where a detection network cannot be built."""
        if not self.detection:
            return
        scales, top = self.detection.scales, self.detection.top
        if self.aggregate != "sum":
            raise ValueError(f"{self.name}: aggregate: wanted sum for detection, got {self.aggregate}")
        if not scales or not 1 <= top <= MAX_TOP:
            raise ValueError(f"{self.name}: wanted a scale or more and top 1..{MAX_TOP}, got {len(scales)}, {top}")
        for i, scale in enumerate(scales):
            most = 2 * min(self.height, self.width) - 1
            bad = [a for a in scale.anchors if len(a) != 2 or not all(1 <= side <= most for side in a)]
            if bad or not 1 <= len(scale.anchors) <= 255:
                got = bad or len(scale.anchors)
                raise ValueError(f"{self.name}: scale {i}: wanted 1..255 anchors (w, h), 1..{most}, got {got}")
        for i, layers in enumerate(self.scales()):
            if layers.stride >= 4 * min(self.height, self.width):
                size = f"{self.height}x{self.width}"
                raise ValueError(f"{self.name}: scale {i}: cells of {layers.stride} pixels are too large for {size}")
        self.places()

    # ---- sums

    @property
    def features(self) -> int:
        """Length of the vector that the fully connected layer reads; 0 for detection, which has none."""
        if self.detection:
            return 0
        last = self.layers()[-1].cout
        return last * self.tunnels if self.aggregate == "concat" else last

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a picture, nothing recomputed: all tunnels and what follows them."""
        end = sum(layer.macs for layer in self.tail()) + self.features * len(self.labels)
        return self.tunnels * sum(layer.macs for layer in self.layers()) + end

    @property
    def weights(self) -> int:
        """Weights of all tunnels and what follows them, biases not counted."""
        end = sum(layer.weights for layer in self.tail()) + self.features * len(self.labels)
        return self.tunnels * sum(layer.weights for layer in self.layers()) + end


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
    """Peak memory as the paper counts it: the largest input plus output of any layer of a tunnel, or behind it.

    No accumulators, single channels or scratch: what an engine really needs is told by its plan.
    """
    return max(plain_bytes(layer, bytes_per_element) for layer in network.run())


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
    values = {k: v for k, v in asdict(network).items() if k not in ("detection", "audio") or v is not None}
    return _plain(values)


def _plain(value):
    """With lists for tuples, all the way down."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def from_dict(values: dict) -> Network:
    """A Network from plain values. ValueError names an unknown or missing key, or what `Network.check` finds."""
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in known(Network, values, "network").items()}
    values["stages"] = _stages(values.get("stages", ()))
    if values.get("detection") is not None:
        values["detection"] = _detection(values["detection"])
    if values.get("audio") is not None:
        values["audio"] = Audio(**known(Audio, values["audio"], "network.audio"))
    network = Network(**values)
    network.check()
    return network


def _stages(values: Iterable[dict]) -> tuple[Stage, ...]:
    return tuple(Stage(**known(Stage, stage, "stage")) for stage in values)


def _detection(values: dict) -> Detection:
    known(Detection, values, "detection")
    scales = []
    for scale in values["scales"]:
        known(Scale, scale, "scale")
        scales.append(Scale(tuple(map(tuple, scale["anchors"])), _stages(scale.get("stages", ()))))
    return Detection(**{**values, "scales": tuple(scales)})


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
    """TOML of a dict of plain values: scalars first, then its dicts as tables. Enough for an experiment file.

    `table` is the name of the table that it is, with a dot at its end.
    """

    def value(v) -> str:
        if isinstance(v, dict):
            return "{" + ", ".join(f"{k} = {value(x)}" for k, x in v.items()) + "}"
        if isinstance(v, list | tuple):
            return "[" + ", ".join(map(value, v)) + "]"
        return json.dumps(v, ensure_ascii=False)

    plain = [f"{k} = {value(v)}" for k, v in values.items() if not isinstance(v, dict)]
    tables = [f"\n[{table}{k}]\n{write_toml(v, f'{table}{k}.')}" for k, v in values.items() if isinstance(v, dict)]
    return "\n".join(plain) + "\n" + "".join(tables)
