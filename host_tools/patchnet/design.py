"""The shape of a patch-tunnel network: one frozen dataclass and the arithmetic that follows from it.

Nothing here knows about weights, integers or torch. Everything later in the chain
(model, quantize, plan, pack) takes its shapes from `Network.layers()` and its patches from `Network.patches()`.
"""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, asdict, dataclass, field, fields

ACTIVATIONS = ("relu6", "relu", "none")


@dataclass(frozen=True)
class Stage:
    """`n` inverted bottlenecks with `out` channels; the first has `stride`, the others 1.

    `t` is the expansion (1: no expansion convolution), `kernel` the depthwise kernel (3, 5 or 7).
    A bottleneck is residual when its stride is 1 and its input has `out` channels.
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
                stride = stage.stride if i == 0 else 1
                out.append(
                    Layer(
                        "bottleneck", last.oh, last.ow, last.cout, last.cout * stage.t, stage.out, stage.kernel,
                        stride, stage.t > 1, stride == 1 and last.cout == stage.out, self.act,
                    )
                )
        if self.head:
            last = out[-1]
            out.append(Layer("conv", last.oh, last.ow, last.cout, 0, self.head, 1, 1, act=self.act))
        return out

    @property
    def features(self) -> int:
        """Length of the vector that the fully connected layer reads."""
        last = self.layers()[-1].cout
        return last * self.tunnels if self.aggregate == "concat" else last


def to_dict(network: Network) -> dict:
    """The network as plain values, as they stand in TOML and JSON. Inverse of `from_dict`."""
    values = asdict(network)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def from_dict(values: dict) -> Network:
    """A Network from plain values. ValueError names an unknown or missing key."""
    stages = tuple(Stage(**known(Stage, stage, "stage")) for stage in values.get("stages", ()))
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in known(Network, values, "network").items()}
    return Network(**{**values, "stages": stages})


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


def write_toml(values: dict) -> str:
    """TOML of a dict of plain values: scalars first, then its dicts as tables. Enough for an experiment file."""

    def value(v) -> str:
        if isinstance(v, dict):
            return "{" + ", ".join(f"{k} = {value(x)}" for k, x in v.items()) + "}"
        if isinstance(v, list | tuple):
            return "[" + ", ".join(map(value, v)) + "]"
        return json.dumps(v, ensure_ascii=False)

    plain = [f"{k} = {value(v)}" for k, v in values.items() if not isinstance(v, dict)]
    tables = [f"\n[{k}]\n{write_toml(v)}" for k, v in values.items() if isinstance(v, dict)]
    return "\n".join(plain) + "\n" + "".join(tables)
