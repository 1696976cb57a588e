"""The paper's recipe for a network: patches, tunnels of inverted bottlenecks over them (sections 3.1 to 3.3).

A recipe is a few numbers; `network()` makes the explicit chain of layers of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from .. import rooms
from ..format import MAX_TUNNELS
from .layers import Layer
from .network import End, Network, Patch, Readout


@dataclass(frozen=True)
class Stage:
    """Inverted bottlenecks in a row. One gets a residual when its stride is 1 and its input has as many channels as its
    output."""

    out: Annotated[int, "1 to 4096"]
    """Channels of their outputs."""
    n: Annotated[int, "1 to 255"] = 1
    """How many there are."""
    stride: Annotated[int, "1 to 15"] = 1
    """Of the first one; the others have 1."""
    t: Annotated[int, "0 to 255"] = 6
    """Expansion; 1: no expansion convolution; 0: plain convolutions instead, dense, with the activation."""
    kernel: Annotated[int, "1, 3, 5 or 7"] = 3
    """Side of the depthwise kernel, or of the plain convolutions'."""

    def layers(self, h: int, w: int, cin: int, act: str) -> Iterable[Layer]:
        """On a map of h x w x cin."""
        for i in range(self.n):
            layer = self._layer(h, w, cin, self.stride if i == 0 else 1, act)
            yield layer
            h, w, cin = layer.oh, layer.ow, layer.cout

    def _layer(self, h: int, w: int, cin: int, stride: int, act: str) -> Layer:
        if self.t == 0:
            return Layer("conv", h, w, cin, 0, self.out, self.kernel, stride, act=act)
        residual = stride == 1 and cin == self.out
        cexp = cin * self.t
        return Layer("bottleneck", h, w, cin, cexp, self.out, self.kernel, stride, self.t > 1, residual, act)


Places = tuple[tuple[int, int, int, int], ...]


class EndRecipe:
    """How a recipe asks for another end than classification: a subclass in the task's room, a table of the TOML."""

    task: ClassVar[str]

    def ends(self, recipe: PatchTunnels, chain: tuple[Layer, ...]) -> tuple[tuple[Readout, ...], End]:
        """What follows the tunnels. ValueError, naming what was wanted, if it cannot follow them."""
        raise NotImplementedError


@dataclass(frozen=True)
class PatchTunnels:
    """Patches in a grid, each enlarged by the margins towards its neighbours, and a central one of the same size. An
    ordinary network is the case `k = 1`, `central = false`: one tunnel over the whole picture."""

    name: str
    """The experiment's."""
    labels: tuple[str, ...]
    """Names of the classes, in the order of the outputs."""
    height: Annotated[int, "1 to 4096"]
    """Of the picture that the network sees, in pixels; of a spectrogram its rows."""
    width: Annotated[int, "1 to 4096"]
    """The same; of a spectrogram its mel bands."""
    channels: Annotated[int, "1 or 3"] = 3
    """3: colour, 1: grey, or a spectrogram."""
    k: Annotated[int, "1, 4, 9 or 16"] = 4
    """Patches in the grid."""
    central: bool = True
    """Whether there is a patch in the picture's middle as well."""
    margin_h: Annotated[int, "0 to 4096"] = 0
    """Pixels by which a patch reaches into those above and below."""
    margin_w: Annotated[int, "0 to 4096"] = 0
    """Pixels by which it reaches into those beside it."""
    stem_out: Annotated[int, "1 to 4096"] = 16
    """Channels of the first convolution."""
    stem_kernel: Annotated[int, "1 to 15"] = 3
    """Side of its kernel."""
    stem_stride: Annotated[int, "1 to 15"] = 2
    """Its stride."""
    stages: tuple[Stage, ...] = ()
    """What follows it in each tunnel."""
    head: Annotated[int, "0 to 4096"] = 0
    """More than 0: a 1x1 convolution with that many channels at the end of each tunnel, or behind `merged`."""
    act: Annotated[str, "relu6, relu or none"] = "relu6"
    """Activation."""
    aggregate: Annotated[str, "sum or concat"] = "sum"
    """Features of the tunnels are added up, `"sum"`, or laid side by side, `"concat"`."""
    repeat: Annotated[int, "1 to 17"] = 1
    """Tunnels over each patch, with weights of their own: all see the same."""
    coarse: bool = False
    """Whether there is one more patch, the whole picture averaged down to a patch's size."""
    merged: tuple[Stage, ...] = ()
    """What follows where tunnels merge: their maps, stitched together, are one map of the whole picture, which these
    read. None: they merge when pooled."""
    places: Places = ()
    """Patches instead of the grid's, each (y, x, height, width): its corner in the picture averaged down to height x
    width. `k` and the margins then only say how large a patch is."""
    mean: tuple[Annotated[int, "0 to 255"], ...] = (128, 128, 128)
    """One for each channel: what is subtracted from pixels."""
    std: Annotated[float, "more than 0, at most 10000"] = 64.0
    """What they are divided by then."""
    fit: Annotated[str, "stretch or crop"] = "stretch"
    """`"stretch"` reads all of a picture, `"crop"` its largest centred rectangle of the network's aspect."""
    end: EndRecipe | None = None
    """Its table; None for classification."""

    @property
    def grid(self) -> int:
        return math.isqrt(self.k)

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of every patch: eq. 1, h/sqrt(k) + m_h by w/sqrt(k) + m_w, rounded up."""
        if self.k == 1:
            return self.height, self.width
        return (
            -(-self.height // self.grid) + self.margin_h,
            -(-self.width // self.grid) + self.margin_w,
        )

    def patches(self) -> list[Patch]:
        """Row by row over the grid, or those of `places`; then the central one, then the coarse one.

        Corners are spread evenly, so that every margin reaches towards the neighbours only and no patch leaves the
        picture. With `repeat` all of them again.
        """
        (ph, pw), size = self.patch, (self.height, self.width)
        dy, dx = self.height - ph, self.width - pw
        n = max(1, self.grid - 1)
        grid = [Patch(i * dy // n, j * dx // n, *size) for i in range(self.grid) for j in range(self.grid)]
        own = [Patch(*place) for place in self.places] or grid
        central, coarse = Patch(dy // 2, dx // 2, *size), Patch(0, 0, ph, pw)
        return (own + [central] * self.central + [coarse] * self.coarse) * self.repeat

    def layers(self) -> list[Layer]:
        """The layers of one tunnel, in order."""
        h, w = self.patch
        out = [Layer("conv", h, w, self.channels, 0, self.stem_out, self.stem_kernel, self.stem_stride, act=self.act)]
        stem, stages = out[0], (*self.stages, *(() if self.merged else self._head()))
        out.extend(self._following(stages, stem.oh, stem.ow, stem.cout))
        return out

    def _head(self) -> tuple[Stage, ...]:
        return (Stage(self.head, t=0, kernel=1),) if self.head else ()

    def behind(self, h: int, w: int, channels: int) -> tuple[Layer, ...]:
        """The layers where tunnels merge, which read their stitched map."""
        return tuple(self._following((*self.merged, *self._head()), h, w, channels))

    def _following(self, stages: Iterable[Stage], h: int, w: int, channels: int) -> Iterator[Layer]:
        """Stages in a row, the first one on a map of h x w x channels."""
        for stage in stages:
            for layer in stage.layers(h, w, channels, self.act):
                yield layer
                h, w, channels = layer.oh, layer.ow, layer.cout

    def network(self) -> Network:
        """ValueError, naming what was wanted, where it cannot be built."""
        for name, side, patch in zip(("margin_h", "margin_w"), (self.height, self.width), self.patch, strict=True):
            if patch > side:
                most = max(0, getattr(self, name) - (patch - side))
                raise ValueError(
                    f"{self.name}: {name}: wanted {most} or less, for {self.grid} patches in {side} pixels, got "
                    f"{getattr(self, name)}"
                )
        patches = self.patches()
        if len(patches) > MAX_TUNNELS:
            key = "repeat" if self.repeat > 1 else "places" if self.places else "coarse"
            raise ValueError(f"{self.name}: {key}: wanted {MAX_TUNNELS} tunnels or less, got {len(patches)}")
        corners, sizes = tuple(patch[:2] for patch in patches), tuple(patch[2:] for patch in patches)
        chain = tuple(self.layers())
        if self.end is not None and self.merged:
            raise ValueError(
                f"{self.name}: merged: is for networks that classify pictures, not for task {self.end.task}"
            )
        if self.end is not None:
            readouts, end = self.end.ends(self, chain)
        elif self.merged:
            readout, end = rooms.part("classify", "end").merged(self, chain)
            readouts = (readout,)
        else:
            readouts, end = (), rooms.part("classify", "end").Pooled(self.aggregate)
        network = Network(
            self.name, self.labels, self.height, self.width, self.channels, self.patch, corners, chain,
            end, readouts, self.mean, self.std, self.fit, sizes if set(sizes) != {(self.height, self.width)} else None,
        )  # fmt: skip
        network.check()
        return network


def patch_tunnels(*args, **kwargs) -> Network:
    """`PatchTunnels(...).network()`."""
    return PatchTunnels(*args, **kwargs).network()
