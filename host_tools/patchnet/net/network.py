"""A network as explicit data: patches, the chain of layers that runs over each of them, and what ends it.

The paper's recipe (`recipe`), the zoo, a blob or an importer makes one; all that comes later (training, quantization,
planning, packing) takes its shapes from here. Nothing here knows about weights, integers or torch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Self

from .layers import CASTS, Float32Layer, Layer, Pair, casts, pair

Shape = tuple[int, int, int]  # height, width, channels


class Patch(NamedTuple):
    """Where a tunnel looks: its top left pixel in the picture averaged down to height x width."""

    y: int
    x: int
    height: int
    width: int


@dataclass(frozen=True)
class Readout:
    """Layers behind the tunnels: `layers` (none, or a chain from the map before, the first one's from that of the
    tunnels) make a map, which `head` reads. What the head gives leaves for the task; the next one's input is that map.
    """

    layers: tuple[Layer, ...]
    head: Layer


@dataclass(frozen=True)
class Lasting:
    """What of the arena outlives segments, in bytes: the task's areas and their lifetimes.

    `below`: lasts through the segments of all tunnels, at the arena's beginning; `below_last`: the same through the
    last segment of each; `end`: all that is alive when the layers are done; `tail`: lasts through the segments behind
    the tunnels, above them. `idle`: is needed while the network does not run; `kept`: outlasts a run, above all else.
    `places` are offsets of the areas by the names that blobs have for them; one that lies above the segments behind
    the tunnels is known only when those are placed: `tail_places`, from there on.
    """

    places: tuple[tuple[str, int], ...]
    below: int
    below_last: int
    end: int = 0
    tail: int = 0
    idle: int = 0
    kept: int = 0
    tail_places: tuple[tuple[str, int], ...] = ()


class End:
    """What ends a network, as far as shapes go: a subclass for each task, in the task's room.

    `areas`: names of its places in the arena (Lasting.places and tail_places), as blobs have them. `float32`: whether
    its networks may have float32 maps and weights. `merges`: whether layers of a task that could do without them follow
    the tunnels.
    """

    task: ClassVar[str]
    areas: ClassVar[tuple[str, ...]]
    float32: ClassVar[bool] = False
    merges: ClassVar[bool] = False

    @classmethod
    def of(cls, network: Network) -> Self:
        """The network's end, as one of this class. TypeError for a network of another task."""
        if not isinstance(network.end, cls):
            raise TypeError(f"{network.name}: wanted an end of class {cls.__name__}, got {type(network.end).__name__}")
        return network.end

    def check(self, network: Network) -> None:
        """ValueError, naming what was wanted, where the network cannot be built."""

    def fully_connected(self, network: Network) -> tuple[int, int] | None:
        """(outputs, inputs) of the fully connected layer at the very end; None without one."""
        raise NotImplementedError

    def pools(self) -> bool:
        """Whether the lines of the tunnels' last layers are pooled, which lets a last convolution run in groups."""
        raise NotImplementedError

    def joined(self, last: Layer) -> tuple[int, int]:
        """Height and width of the map that the first layer behind the tunnels reads, `last` being theirs."""
        return last.oh, last.ow

    def lasting(self, network: Network, groups: int) -> Lasting:
        """`groups`: channels of the last layer that are made at a time (all of them, or a group)."""
        raise NotImplementedError

    def to_dict(self) -> dict:
        """Plain values, by which `from_dict` makes the same end again."""
        raise NotImplementedError

    @classmethod
    def from_dict(cls, values: dict) -> End:
        raise NotImplementedError


def aligned(n: int, align: int = 4) -> int:
    """Bytes up to the next multiple."""
    return -(-n // align) * align


@dataclass(frozen=True)
class Network:
    """`corners` are the top left pixels (y, x) of the patches, `patch` (height, width) in size, in a picture of
    height x width; the same `chain` of layers, with weights of its own, runs over each of them (a tunnel). An ordinary
    network has one patch, which is the picture. `sizes`: (height, width) of the picture that each patch is in, averaged
    down to that; None: they are all in the picture of height x width.

    `mean` (integers 0..255, one per channel) and `std` (one for all) normalise pixels: (p - mean) / std; padding is
    zero after normalisation. `fit` "stretch" reads all of a picture, "crop" its largest centred rectangle of the
    network's aspect.
    """

    name: str
    labels: tuple[str, ...]
    height: int
    width: int
    channels: int
    patch: tuple[int, int]
    corners: tuple[tuple[int, int], ...]
    chain: tuple[Layer, ...]
    end: End
    readouts: tuple[Readout, ...] = ()
    mean: tuple[int, ...] = (128, 128, 128)
    std: float = 64.0
    fit: str = "stretch"
    sizes: tuple[tuple[int, int], ...] | None = None

    @property
    def task(self) -> str:
        return self.end.task

    @property
    def value_bytes(self) -> int:
        """Of a value of its maps: 1, or 4 of a float32 network."""
        return self.chain[0].value_bytes

    def float32(self) -> Network:
        """The same network with float32 maps and weights. ValueError for one that cannot be run so."""
        if not self.end.float32:
            merging = " whose tunnels merge" if self.end.merges else ""
            raise ValueError(f"{self.name}: float32 is not for networks of task {self.task}{merging}")
        return replace(self, chain=tuple(Float32Layer.of(layer) for layer in self.chain if layer.kind not in CASTS))

    def may_halve(self, i: int) -> bool:
        """Whether the map behind layer `i` of `run()` may have 4 bits: of even channels, only the next layer reads it,
        and it has not got them already."""
        ends, layer = {len(self.chain) - 1, *self.heads(), *(head - 1 for head in self.heads())}, self.run()[i]
        return i not in ends and layer.cout % 2 == 0 and layer.kind not in CASTS

    def halved(self, after: Collection[int]) -> Network:
        """The same network with the maps behind these layers of `run()` in 4 bits. ValueError for one that may not."""
        if wrong := sorted(i for i in after if not self.may_halve(i)):
            raise ValueError(
                f"{self.name}: wanted maps of 4 bits between layers, of even channels, got layer {wrong[0]}"
            )

        def with_casts(layers: Sequence[Layer], first: int) -> tuple[Layer, ...]:
            pairs = (((layer, *casts(layer)) if i in after else (layer,)) for i, layer in enumerate(layers, first))
            return tuple(itertools.chain.from_iterable(pairs))

        readouts, first = [], len(self.chain)
        for readout in self.readouts:
            readouts.append(replace(readout, layers=with_casts(readout.layers, first)))
            first += len(readout.layers) + 1
        return replace(self, chain=with_casts(self.chain, 0), readouts=tuple(readouts))

    def with_run(self, layers: Sequence[Layer]) -> Network:
        """The same network with other layers in place of those of `run()`, as many."""
        rest = iter(layers)
        chain = tuple(itertools.islice(rest, len(self.chain)))
        readouts = [Readout(tuple(itertools.islice(rest, len(r.layers))), next(rest)) for r in self.readouts]
        return replace(self, chain=chain, readouts=tuple(readouts))

    @property
    def tunnels(self) -> int:
        return len(self.corners)

    def patches(self) -> list[Patch]:
        """Of each tunnel."""
        sizes = self.sizes or ((self.height, self.width),) * self.tunnels
        return [Patch(*corner, *size) for corner, size in zip(self.corners, sizes, strict=True)]

    def layers(self) -> list[Layer]:
        """The layers of one tunnel, in order. All tunnels have these shapes."""
        return list(self.chain)

    def tail(self) -> list[Layer]:
        """All layers that follow the tunnels, as they run: of each readout its own, then its head."""
        return [layer for readout in self.readouts for layer in (*readout.layers, readout.head)]

    def run(self) -> list[Layer]:
        """Every layer as plans and blobs list them: those of a tunnel, then the tail."""
        return self.layers() + self.tail()

    def heads(self) -> tuple[int, ...]:
        """Which layers of `run()` are heads."""
        out, at = [], len(self.chain)
        for readout in self.readouts:
            at += len(readout.layers) + 1
            out.append(at - 1)
        return tuple(out)

    def check(self) -> None:
        """ValueError, naming what was wanted, where layers do not follow each other, or the end does not fit them."""
        if not self.chain or not self.corners:
            raise ValueError(
                f"{self.name}: wanted a layer and a patch or more, got {len(self.chain)}, {len(self.corners)}"
            )
        self._check_patches()
        self._check_chain("layer", self.chain, (*self.patch, self.channels))
        shape = *self.end.joined(self.chain[-1]), self.chain[-1].cout
        for i, readout in enumerate(self.readouts):
            shape = self._check_chain(f"readout {i}: layer", readout.layers, shape)
            self._check_chain(f"readout {i}: head", (readout.head,), shape)
        self.end.check(self)

    def _check_patches(self) -> None:
        if self.sizes is not None and (len(self.sizes) != self.tunnels or self.channels not in (1, 3)):
            wanted = f"1 or 3 channels and sizes of {self.tunnels} patches"
            raise ValueError(f"{self.name}: sizes: wanted {wanted}, got {self.channels} and {len(self.sizes)}")
        height, width = self.patch
        for patch in self.patches():
            size = f"{patch.height} x {patch.width}"
            if patch.height > self.height or patch.width > self.width:
                raise ValueError(
                    f"{self.name}: wanted patches in pictures of at most {self.height} x {self.width}, got {size}"
                )
            if not (0 <= patch.y <= patch.height - height and 0 <= patch.x <= patch.width - width):
                raise ValueError(
                    f"{self.name}: wanted a patch of {height} x {width} inside {size}, got one at {patch.y}, {patch.x}"
                )

    def _check_chain(self, name: str, layers: Sequence[Layer], shape: Shape) -> Shape:
        """That each layer reads what the one before gives, the first a map of `shape`; the last one's shape."""
        for i, layer in enumerate(layers):
            if fault := layer.fault():
                raise ValueError(f"{self.name}: {name} {i}: {fault}")
            got = layer.h, layer.w, layer.cin
            if got != shape:
                raise ValueError(f"{self.name}: {name} {i}: wanted an input of {shape}, got {got}")
            shape = layer.oh, layer.ow, layer.cout
            if layer.residual and got != shape:
                raise ValueError(f"{self.name}: {name} {i}: residual: wanted an output of {got}, got {shape}")
        before = ["", *(layer.kind for layer in layers)]
        for i, (kind, follows) in enumerate(itertools.pairwise([*before, ""])):
            if (kind == "int4") != (follows == "int8"):
                raise ValueError(f"{self.name}: {name} {i}: wanted an int8 behind each int4, got {follows or 'none'}")
        return shape

    # ---- sums

    @property
    def stride(self) -> int:
        """Rows of the picture from one position of a tunnel's last map to the one below."""
        return math.prod(layer.sh for layer in self.chain)

    @property
    def sees(self) -> Pair:
        """Height and width in pixels of what a position of a tunnel's last map sees, its receptive field."""
        (h, jh), (w, jw) = (1, 1), (1, 1)
        for layer in self.chain:
            sh, sw = pair(layer.second) if layer.kind == "block" else (1, 1)
            h, jh = h + (layer.kh - 1) * jh + (sh - 1) * jh * layer.sh, jh * layer.sh
            w, jw = w + (layer.kw - 1) * jw + (sw - 1) * jw * layer.sw, jw * layer.sw
        return h, w

    @property
    def overlap(self) -> float:
        """The share of the patches' pixels, and so of the tunnels' multiply-accumulates, that other patches have seen
        already: what margins, a central patch and repeated tunnels cost. A picture averaged down has pixels of its own.
        """
        (ph, pw), seen = self.patch, set[tuple[int, ...]]()
        for top, left, *size in set(self.patches()):
            seen |= {(y, x, *size) for y in range(top, top + ph) for x in range(left, left + pw)}
        return 1 - len(seen) / (self.tunnels * ph * pw)

    @property
    def features(self) -> int:
        """Length of the vector that the fully connected layer reads; 0 without one."""
        dense = self.end.fully_connected(self)
        return dense[1] if dense else 0

    def _all(self, each_tunnel: int, behind: int) -> int:
        outputs, inputs = self.end.fully_connected(self) or (0, 0)
        return self.tunnels * each_tunnel + behind + outputs * inputs

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a picture, nothing recomputed: all tunnels and what follows them."""
        return self._all(sum(layer.macs for layer in self.chain), sum(layer.macs for layer in self.tail()))

    @property
    def weights(self) -> int:
        """Weights of all tunnels and what follows them, biases not counted."""
        return self._all(sum(layer.weights for layer in self.chain), sum(layer.weights for layer in self.tail()))

    def stored(self, shared: bool) -> int:
        """Weights in a file; `shared`: all tunnels have the same ones, which it holds once."""
        chain = sum(layer.weights for layer in self.chain)
        return self.weights - (self.tunnels - 1) * chain if shared else self.weights
