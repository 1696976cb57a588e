"""The networks that `patchnet search` looks through: a gene for every choice, and what genes make.

A network has all genes, though one over the trunk has no use for those of stages: evolution crosses genes by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..net import trunk
from ..net.network import Network
from ..net.recipe import PatchTunnels, Stage
from ..net.toml import recipe_to_dict
from ..tasks.making import Making
from .choose import Candidate

Gene = str | int | bool
NOTHING = "nothing"  # what a network begins with that has no pretrained weights
PATCHES = (1, 4, 9)
MARGINS = (0, 16, 12, 8)  # parts of the picture's side; 0: no margin
STRIDES = (1, 2, 2, 2, 1)  # of the stages behind a stem of stride 2
WIDTHS = ((8, 12, 16, 24), (16, 24, 32), (24, 32, 40, 56), (40, 56, 80, 112), (64, 96, 112, 160))
BLOCKS = ((1, 2), (1, 2, 3), (1, 2, 3), (1, 2, 3), (1, 2, 3))
EXPANSIONS = ((1, 2, 4), (2, 3, 4, 6), (2, 3, 4, 6), (2, 3, 4, 6), (2, 3, 4, 6))
KERNELS = ((1, 3), (3, 5, 7), (3, 5, 7), (3, 5, 7), (3, 5, 7))
# MCUNetV2, section 3.2, moves the receptive field from the layers that run patch by patch, where it costs overlap, to
# those behind. Tunnels join only at their ends: here small kernels on the large maps, which let margins be small, and
# large ones on the small maps.
EVEN, LATE = (3, 3, 3, 3, 3), (1, 3, 5, 7, 7)


@dataclass(frozen=True)
class Proposal:
    """A network, whether its tunnels share their weights, and what it begins with: a name, or "" for nothing."""

    recipe: PatchTunnels
    tied: bool
    begin: str

    def network(self) -> Network:
        return self.recipe.network()

    def key(self) -> str:
        """The same for the same network, whatever it is called."""
        told = json.dumps([recipe_to_dict(replace(self.recipe, name="")), self.tied, self.begin])
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def described(self) -> str:
        """In a few words."""
        r = self.recipe
        central = "+1" * r.central
        shared = " of one weights" if self.tied else ""
        how = "whole" if r.k == 1 else f"{r.k}{central} patches of {r.patch[1]}x{r.patch[0]}{shared}"
        stages = " ".join(f"{s.out}" + f"x{s.n}" * (s.n > 1) + f"/{s.kernel}" for s in r.stages)
        return f"{r.width}x{r.height} {how}, {self.begin or 'from nothing'}: {r.stem_out} {stages} {r.head}"


class Space:
    """For data of one's own: `genes` has the values that each gene may have."""

    def __init__(self, making: Making):
        self.making = making
        self.genes: dict[str, tuple[Gene, ...]] = {
            "begin": (trunk.NAME, NOTHING) if making.pretrained else (NOTHING,),
            "size": tuple(size for size in making.sizes if making.fits(size)),
            "k": PATCHES,
            "central": (False, True),
            "margin": MARGINS,
            "tied": (True, False),
            "head": tuple(making.heads),
            "depth": tuple(making.depths),  # bottlenecks of the trunk
            "stem": (8, 16, 24, 32),  # this and what follows: of a network that begins with nothing
            "stages": (3, 4, 5),
        }
        for i in range(len(STRIDES)):
            self.genes |= {f"width{i}": WIDTHS[i], f"blocks{i}": BLOCKS[i]}
            self.genes |= {f"t{i}": EXPANSIONS[i], f"kernel{i}": KERNELS[i]}

    def proposal(self, genes: Mapping[str, Any]) -> Proposal:
        size, k, begin = genes["size"], genes["k"], genes["begin"]
        margin = size // genes["margin"] if k > 1 and genes["margin"] else 0
        if begin == NOTHING:
            name, labels = self.making.name, self.making.seen.classes
            recipe = PatchTunnels(name, labels, size, size, stem_out=genes["stem"], stages=stages(genes),
                                  head=genes["head"])  # fmt: skip
        else:
            recipe = self.making.recipe(size, k, genes["depth"], genes["head"])
        central = k > 1 and genes["central"]
        recipe = replace(recipe, k=k, central=central, margin_h=margin, margin_w=margin)
        return Proposal(recipe, k > 1 and genes["tied"], "" if begin == NOTHING else begin)

    def of_candidate(self, candidate: Candidate) -> dict[str, Gene]:
        """The genes of a network that `make` would choose."""
        r = candidate.recipe
        own: dict[str, Gene] = {"begin": self.genes["begin"][0], "size": r.height, "k": r.k, "head": r.head}
        return self.least() | own | {"depth": candidate.depth, "margin": 12, "tied": True}

    def least(self) -> dict[str, Gene]:
        """Genes of the smallest network."""
        own: dict[str, Gene] = {"begin": NOTHING, "central": False, "tied": True}
        return {name: min(values) for name, values in self.genes.items() if name not in own} | own

    def smallest(self) -> Iterator[dict[str, Gene]]:
        """Genes of networks than which none is smaller, whatever is wanted to be small."""
        for begin in self.genes["begin"]:
            for k in PATCHES:
                yield self.least() | {"begin": begin, "k": k}

    def free(self, k: int, kernels: tuple[int, ...]) -> Iterator[dict[str, Gene]]:
        """Genes of usual networks that begin with nothing: wide ones, then narrow ones, then short ones, of each those
        of the largest picture first. `kernels`: EVEN, or LATE: the receptive field redistributed, for which half the
        margin is taken."""
        own: dict[str, Gene] = {"begin": NOTHING, "k": k, "margin": 16 if kernels == LATE else 8}
        own |= {"stem": 16, "head": 128 if 128 in self.genes["head"] else min(self.genes["head"])}
        for i, kernel in enumerate(kernels):
            own |= {f"blocks{i}": min(2, 1 + i), f"t{i}": 4 if i else 1, f"kernel{i}": kernel}
        for n, at in ((4, -2), (4, 0), (3, 0)):
            own |= {"stages": n}
            own |= {f"width{i}": widths[at] for i, widths in enumerate(WIDTHS)}
            for size in self.genes["size"]:
                yield self.least() | own | {"size": size}


def stages(genes: Mapping[str, Any]) -> tuple[Stage, ...]:
    return tuple(
        Stage(genes[f"width{i}"], genes[f"blocks{i}"], STRIDES[i], genes[f"t{i}"], genes[f"kernel{i}"])
        for i in range(genes["stages"])
    )
