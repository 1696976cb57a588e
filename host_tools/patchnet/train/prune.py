"""Structured pruning: of a layer's inner channels (a bottleneck's expanded ones, a block's between its convolutions,
those before a depthwise convolution) the ones that matter least are left out, so that a network takes less flash or
fewer cycles.

What a channel is worth is judged by calibration inputs, without labels: the squared error that its loss brings to what
the layer makes, after the weights of those that stay have made up for it as well as they can (optimal brain surgeon,
Hassibi and Stork 1993, of whole channels); errors weigh by the squared gradients of the network's answers, the diagonal
of a Gauss-Newton matrix by random projections of the answers. The layer that gives up the next channels is the one
where the error is least for the weights that go, or the multiply-accumulates.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import TypeGuard

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blob.pack import most_bytes
from ..net.network import Network
from ..plan import choice, costs, halves
from .imported import plain
from .modules import Block, Bottleneck, ConvNorm, Tunnels, build, normalise

STEP = 8  # channels that go together: kernels take them in fours
BATCH = 16  # inputs at a time
DAMPING = 1e-4  # of the mean variance, added to each: what inputs do not tell apart keeps its weights

Counts = dict[int, int]  # how many inner channels layers of `Network.run()` have


@dataclass(frozen=True)
class Limits:
    """What a network may take, None being any: bytes of arena, for which maps are kept in 4 bits; bytes of a blob, by
    any plan of the front; cycles of a picture, by the quickest plan in the arena, or the one that `pack` chooses."""

    ram: int | None = None
    flash: int | None = None
    cycles: int | None = None

    @property
    def prune(self) -> bool:
        """Whether there are any that fewer channels keep to."""
        return self.flash is not None or self.cycles is not None

    def needs(self, network: Network, shared: bool) -> Needs:
        """What it takes. ValueError if it does not run in the arena."""
        halved = () if self.ram is None else halves.chosen(network, self.ram)[1].after
        network = network.halved(halved)
        plan = choice.plan(network, self.ram)
        return Needs(halved, most_bytes(network, shared), costs.predicted(network, plan))

    def allow(self, needs: Needs) -> bool:
        return (self.flash is None or needs.flash <= self.flash) and (
            self.cycles is None or needs.cycles <= self.cycles
        )


@dataclass(frozen=True)
class Needs:
    """Behind which layers of `Network.run()` maps have 4 bits; bytes of the longest blob; cycles."""

    halved: tuple[int, ...]
    flash: int
    cycles: float

    def __str__(self) -> str:
        return f"{self.flash:,} B of flash and {self.cycles / 1e6:.1f} M cycles"


@dataclass(frozen=True)
class Site:
    """Inner channels of a layer of `Network.run()`, in one tunnel or in all that share their weights.

    `module` is the layer's; `covariance` and `mean` are of what its last convolution reads (a row for each channel and
    tap); `order` is that in which channels go, and `errors[n]` what it costs when n of them are gone.
    """

    layer: int
    module: Block | Bottleneck
    covariance: np.ndarray
    mean: np.ndarray
    order: np.ndarray
    errors: np.ndarray

    def kept(self, counts: Counts) -> np.ndarray:
        """Which channels stay."""
        return np.sort(self.order[len(self.order) - counts[self.layer] :])


class Pruning:
    """What inputs tell of a model's inner channels, and the model with fewer of them."""

    def __init__(self, model: Tunnels, pixels: np.ndarray):
        """`pixels` as `quantize.calibrated` takes them. ValueError for a model without such channels."""
        self.model, self.network = model, model.network
        watches = [Watch(i, m) for row in rows_of(model) for i, m in row if has_inner(m, self.network, row, i)]
        if not watches:
            wanted = "bottlenecks or residual blocks, whose inner channels can be pruned"
            raise ValueError(f"{self.network.name}: wanted {wanted}")
        look(model, normalise(torch.from_numpy(pixels), self.network))
        self.sites = [watch.site() for watch in watches]

    def within(self, limits: Limits) -> tuple[Tunnels, Needs]:
        """The model with as many channels as keep to the limits, and what it takes. ValueError if it never does."""
        before = limits.needs(self.network, self.model.tied)
        path = list(self.path(limits, before))

        @cache
        def needs(i: int) -> Needs:
            return limits.needs(thinned(self.network, path[i]), self.model.tied)

        first = bisect_left(range(len(path)), True, key=lambda i: limits.allow(needs(i)))
        if first == len(path):
            least = f"needs {needs(first - 1)} at least, with the fewest inner channels"
            wanted = (
                "" if limits.flash is None else f"{limits.flash:,} B",
                "" if limits.cycles is None else f"{limits.cycles / 1e6:.1f} M cycles",
            )
            raise ValueError(f"{self.network.name}: {least}, wanted at most {' and '.join(filter(None, wanted))}")
        return self.with_counts(path[first]), needs(first)

    def path(self, limits: Limits, before: Needs) -> Iterator[Counts]:
        """From all channels to the fewest, a layer giving up STEP of them each time. `before`: what the network takes
        with all of them: by that layers are compared by their weights, their multiply-accumulates, or both."""
        layers, errors = self.network.run(), dict[int, np.ndarray]()
        for site in self.sites:  # tunnels lose as many channels, each its own
            errors[site.layer] = errors.get(site.layer, 0) + site.errors
        counts = {i: layers[i].cexp for i in errors}
        flash = limits.flash is not None and before.flash > limits.flash
        cycles = limits.cycles is not None and before.cycles > limits.cycles

        def share(counts: Counts) -> float:
            """Of what there is too much of, how much is left."""
            own, tied = thinned(self.network, counts), self.model.tied
            weights = own.stored(tied) / self.network.stored(tied)
            return flash * weights + cycles * own.macs / self.network.macs

        def price(i: int) -> tuple[float, int, int]:
            """(error for what is saved, layer, how many are left) where that is least."""
            now, own, gone = counts[i], errors[i], layers[i].cexp - counts[i]
            each = share(counts) - share(counts | {i: now - 1})
            return min(((own[gone + now - n] - own[gone]) / (each * (now - n)), i, n) for n in fewer(now))

        yield dict(counts)
        while more := [i for i, n in counts.items() if fewer(n)]:
            _, i, n = min(map(price, more))
            while counts[i] > n:
                counts[i] = fewer(counts[i])[0]
                yield dict(counts)

    @torch.no_grad()
    def with_counts(self, counts: Counts) -> Tunnels:
        """The model with so many inner channels."""
        model, state = build(thinned(self.network, counts), self.model.tied), self.model.state_dict()
        model.load_state_dict({k: state[k] if state[k].shape == v.shape else v for k, v in model.state_dict().items()})
        cut = {site.module: site for site in self.sites if counts[site.layer] < len(site.order)}
        for row, others in zip(rows_of(self.model), rows_of(model), strict=True):
            after: Site | None = None  # of the layer behind
            for (_, module), (_, other) in zip(reversed(row), reversed(others), strict=True):
                outputs = after.kept(counts) if after and reads_map(after.module) else None
                after = cut.get(module)
                if after or outputs is not None:
                    move(module, other, after, counts, outputs)
        return model.eval()


Row = list[tuple[int, nn.Module]]  # layers that follow each other: their places in `Network.run()`, their modules


def rows_of(model: Tunnels) -> Iterator[Row]:
    """All layers, those of each tunnel (once, if they share their weights), then those of each readout, and its head,
    which has no other layers beside it: what it reads is read by others, too."""
    for tunnel in model.tunnels[:1] if model.tied else model.tunnels:
        yield list(enumerate(tunnel))
    rest = iter(enumerate(model.behind(), len(model.network.chain)))
    for readout in model.network.readouts:
        yield list(islice(rest, len(readout.layers)))
        yield list(islice(rest, 1))


def has_inner(module: nn.Module, network: Network, row: Row, i: int) -> TypeGuard[Block | Bottleneck]:
    """Whether a layer has channels that nobody else reads: between its convolutions, or, in a bottleneck that does not
    expand, those of the map before, if no residual is added to that or goes around it."""
    if isinstance(module, Block) or (isinstance(module, Bottleneck) and not reads_map(module)):
        return True
    if not isinstance(module, Bottleneck) or i == row[0][0]:
        return False
    before, layer = network.run()[i - 1 : i + 1]
    return before.kind in ("conv", "bottleneck") and not before.residual and not layer.residual


def reads_map(module: Block | Bottleneck) -> bool:
    """Whether its inner channels are those of the map before."""
    return isinstance(module, Bottleneck) and module.expand is None


def last(module: Block | Bottleneck) -> ConvNorm:
    """The convolution that reads a layer's inner channels."""
    return module.second if isinstance(module, Block) else module.project


def fewer(count: int) -> range:
    """How many of so many channels may be left."""
    return range((count - 1) // STEP * STEP, 0, -STEP)


def thinned(network: Network, counts: Counts) -> Network:
    """The network with so many inner channels."""
    layers = network.run()
    for i, n in counts.items():
        if layers[i].kind == "bottleneck" and not layers[i].expand:
            layers[i - 1], layers[i] = replace(layers[i - 1], cout=n), replace(layers[i], cin=n)
        layers[i] = replace(layers[i], cexp=n)
    return network.with_run(layers)


# ---------------------------------------------------------------- what inputs tell


class Watch:
    """Sums over what a layer's last convolution reads, and over the gradients of what it makes."""

    def __init__(self, layer: int, module: Block | Bottleneck):
        self.layer, self.module, self.unit, self.count = layer, module, last(module), 0
        width = self.unit.conv.weight[0].numel()
        self.sums, self.products = torch.zeros(width).double(), torch.zeros(width, width).double()
        self.squares = torch.zeros(self.unit.conv.out_channels).double()
        self.hook = self.unit.register_forward_hook(self.noted)

    def noted(self, unit: ConvNorm, given: tuple[Tensor], out: Tensor) -> None:
        columns = unfolded(unit, given[0].detach())
        self.count += columns.shape[1]
        self.sums += columns.sum(1)
        self.products += columns @ columns.T
        out.register_hook(self.weighed)

    def weighed(self, gradient: Tensor) -> None:
        self.squares += gradient.square().sum((0, 2, 3))

    def site(self) -> Site:
        self.hook.remove()
        mean = (self.sums / self.count).numpy()
        covariance = self.products.numpy() / self.count - np.outer(mean, mean)
        covariance += np.eye(len(mean)) * (DAMPING * covariance.trace() / len(mean) + 1e-12)
        weight = self.unit.folded()[0].double().numpy() * np.sqrt(self.squares.numpy())[:, None, None, None]
        return Site(self.layer, self.module, covariance, mean, *ranked(weight, covariance))


def unfolded(unit: ConvNorm, x: Tensor) -> Tensor:
    """What the convolution multiplies its weights with, of x (N, C, H, W): (factors of a product, products)."""
    top, bottom, left, right = unit.conv.pads
    if unit.conv.kernel_size == (1, 1):
        return x.transpose(0, 1).flatten(1)
    x = F.pad(x, (left, right, top, bottom))
    return F.unfold(x, unit.conv.kernel_size, stride=unit.conv.stride).transpose(0, 1).flatten(1)


def look(model: Tunnels, x: Tensor) -> None:
    """Answers to x (N, C, H, W), and gradients of random sums of each one's, which hooks see."""
    draws = torch.Generator().manual_seed(0)
    for part in x.split(BATCH):
        out = model(part)
        (out * (torch.randint(2, out.shape, generator=draws) * 2 - 1)).sum().backward()
    model.zero_grad()


def ranked(weight: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(order, errors) as `Site` has them, of weights (outputs, channels, kh, kw): one channel after the other goes,
    that which costs least, and the others make up for it."""
    outputs, channels = weight.shape[:2]
    taps = weight[0, 0].size
    weight, inverse = weight.reshape(outputs, -1), np.linalg.inv(covariance)
    order, errors, stay = [], [0.0], list(range(channels))
    for _ in range(channels):
        solved = np.linalg.inv(inverse.reshape(channels, taps, channels, taps)[stay, :, stay, :])
        own = weight.reshape(outputs, channels, taps)[:, stay]
        costs = np.einsum("oct,ctu,ocu->c", own, solved, own)
        least = int(costs.argmin())
        rows = slice(stay[least] * taps, (stay[least] + 1) * taps)
        weight = weight - weight[:, rows] @ solved[least] @ inverse[rows]
        inverse = inverse - inverse[:, rows] @ solved[least] @ inverse[rows]
        errors.append(errors[-1] + float(costs[least]))
        order.append(stay.pop(least))
    return np.array(order), np.array(errors)


# ---------------------------------------------------------------- fewer channels


def move(module: nn.Module, other: nn.Module, site: Site | None, counts: Counts, outputs: np.ndarray | None) -> None:
    """A layer's convolutions with fewer inner channels, if it has a site, and with these outputs alone (None: all),
    into the module `other` of such a layer."""
    every = slice(None) if outputs is None else outputs
    if isinstance(module, ConvNorm):
        put(other, *(part[every] for part in module.folded()))
        return
    if site:
        for name in ("expand", "depthwise", "first"):
            if isinstance(unit := getattr(module, name, None), ConvNorm):
                put(getattr(other, name), *(part[site.kept(counts)] for part in unit.folded()))
    parts = made_up(site, site.kept(counts)) if site else last(module).folded()
    put(last(other), *(part[every] for part in parts))


def made_up(site: Site, keep: np.ndarray) -> tuple[Tensor, Tensor]:
    """Weight and bias of the layer's last convolution that reads the channels `keep` alone: by least squares what it
    made of all of them."""
    weight, bias = (part.double().numpy() for part in last(site.module).folded())
    outputs, _, *kernel = weight.shape
    weight, taps = weight.reshape(outputs, -1), math.prod(kernel)
    stay = (keep[:, None] * taps + np.arange(taps)).ravel()
    new = np.linalg.solve(site.covariance[np.ix_(stay, stay)], site.covariance[stay] @ weight.T).T
    bias = bias + weight @ site.mean - new @ site.mean[stay]
    return torch.tensor(new.reshape(outputs, len(keep), *kernel)).float(), torch.tensor(bias).float()


def put(unit: ConvNorm, weight: Tensor, bias: Tensor) -> None:
    """A convolution and its bias, its norm doing nothing else."""
    unit.conv.weight.copy_(weight)
    unit.norm.bias.copy_(bias)
    plain(unit.norm)
