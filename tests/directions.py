"""Do the paper's directions hold? Networks that differ in one thing each, trained with several seeds.

    python tests/directions.py vww_coco -o runs/directions/vww_coco [--seeds 3] [--epochs N] [--only ARM ...] [--show]

All begin from nothing, with the same settings. A line for each training as soon as it is over, one seed after the
other; then for each arm the mean and the deviation of its accuracies in float32, and what it takes at one true arena,
that of the base as `pack` plans it: bytes of arena (more, where so few would slow it down), cycles, flash. The folder
keeps the runs, and results.json: what is there is not trained again, unless its network is another one now (that of
equal needs depends on the planner), and what was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from patchnet.blob.pack import pack
from patchnet.blob.random import random_qnet
from patchnet.cli.arguments import positive
from patchnet.data import load
from patchnet.make.stages import score
from patchnet.net.budget import paper_peak
from patchnet.net.network import Network
from patchnet.net.recipe import PatchTunnels, Stage
from patchnet.net.toml import recipe_to_dict, write_toml
from patchnet.plan import choice, costs
from patchnet.plan.place import Plan
from patchnet.report.analyze import blob_bytes
from patchnet.whole import write_text

SLOW = 3  # times the cycles of the fastest plan: beyond, a network is said to want more bytes
NEAR = 0.15  # sum of the shares by which weights and cycles may differ from the base's
STAGES = (Stage(16, 1, 1, 4), Stage(24, 2, 2, 4), Stage(48, 2, 2, 4))


@dataclass(frozen=True)
class Setting:
    """A data set and the base of its networks: side of the picture, margin, stride of the stem, epochs."""

    side: int
    margin: int
    stride: int
    epochs: int
    balanced: bool = False

    def base(self, labels: tuple[str, ...]) -> PatchTunnels:
        return PatchTunnels(
            "base", labels, self.side, self.side, k=4, margin_h=self.margin, margin_w=self.margin, stem_out=8,
            stem_stride=self.stride, stages=STAGES, head=128,
        )  # fmt: skip


SETTINGS = {
    "vww_coco": Setting(66, 9, 2, 6, balanced=True),
    "flowers": Setting(48, 6, 2, 12),
    "cifar10": Setting(32, 4, 1, 1),
}


@dataclass(frozen=True)
class Arm:
    """A network, and what it is to be compared by. `tied`: its tunnels share their weights."""

    name: str
    recipe: PatchTunnels
    tied: bool = False

    @cached_property
    def network(self) -> Network:
        return self.recipe.network()

    def flash(self, plan: Plan) -> int:
        """Of what random_qnet makes, tunnels share the weights."""
        return len(pack(random_qnet(self.network), plan)) if self.tied else blob_bytes(self.network, plan)

    def needs(self, arena: int) -> dict[str, Any]:
        """Under the plan `within` chooses; and the network."""
        plan = within(self.network, arena)
        cycles = round(costs.predicted(self.network, plan))
        network = json.loads(json.dumps(recipe_to_dict(self.recipe)))  # as it is when read again
        sizes = {"arena": plan.arena_bytes, "cycles": cycles, "flash": self.flash(plan)}
        return sizes | {"eq2": paper_peak(self.network), "network": network}


def within(network: Network, arena: int) -> Plan:
    """The fastest in `arena` bytes; that of `pack` instead if there is none or it is much slower than the fastest."""
    points = choice.front(network)
    fits = [point.cost for point in points if point.arena_bytes <= arena]
    return choice.plan(network, arena if fits and fits[-1] <= SLOW * points[-1].cost else None)


# ---------------------------------------------------------------- arms


def arms(base: PatchTunnels) -> Iterator[Arm]:
    """Those of each question, the base first."""
    patch, side = base.patch[0], base.height
    yield Arm("base", base)
    yield Arm("no central patch", replace(base, central=False))
    whole = replace(base, height=patch, width=patch, margin_h=0, margin_w=0, k=1, central=False)
    yield Arm(f"5 tunnels, whole picture at {patch} px", replace(whole, repeat=5))
    yield Arm("unsegmented, same arena, cycles, flash", unsegmented(base))
    yield from (Arm(f"margin {m}", margins(base, m)) for m in (base.margin_h // 2, 0))
    yield from (Arm(f"t = {t}", expanded(base, t)) for t in (2, 6, 8))
    yield Arm("concatenated", replace(base, aggregate="concat"))
    yield Arm("shared weights", base, tied=True)
    yield Arm("shared weights, same flash", shared(base), tied=True)
    yield Arm("k = 9", replace(margins(base, round(side / 11)), k=9))
    yield Arm(f"1 tunnel, whole picture at {side} px", replace(whole, height=side, width=side))
    yield Arm("coarse patch instead of the central one", replace(base, central=False, coarse=True))
    yield Arm("coarse and central patch", replace(base, coarse=True))
    yield Arm("merged before the last stage", replace(base, stages=base.stages[:-1], merged=base.stages[-1:]))


def margins(base: PatchTunnels, margin: int) -> PatchTunnels:
    return replace(base, margin_h=margin, margin_w=margin)


def expanded(base: PatchTunnels, t: int) -> PatchTunnels:
    return replace(base, stages=tuple(replace(stage, t=t) for stage in base.stages))


def scaled(base: PatchTunnels, early: float, late: float, more: int = 0) -> PatchTunnels:
    """With stem and first stage `early` times as wide, all that comes later `late` times, and `more` bottlenecks at
    the end."""
    first, *rest = base.stages
    wide = [replace(stage, out=even(stage.out * late)) for stage in rest]
    wide[-1] = replace(wide[-1], n=wide[-1].n + more)
    stages = (replace(first, out=even(first.out * early)), *wide)
    return replace(base, stem_out=even(base.stem_out * early), stages=stages, head=even(base.head * late))


def even(channels: float) -> int:
    """To a multiple of four, which the kernels want."""
    return max(4, 4 * round(channels / 4))


def shared(base: PatchTunnels) -> PatchTunnels:
    """So wide that one tunnel has the weights of all those of the base."""
    wanted = base.network().weights
    options = [scaled(base, times, times) for times in np.arange(1.5, 3.0, 0.05)]
    return min(options, key=lambda r: abs(weights_once(r) - wanted))


def weights_once(recipe: PatchTunnels) -> int:
    return recipe.network().stored(shared=True)


def unsegmented(base: PatchTunnels) -> PatchTunnels:
    """One tunnel over the whole picture, not larger than the base's, that takes as many cycles in its arena and as much
    flash: of some that come near, the one that sees most pixels; else the nearest."""
    arena = choice.plan(base.network()).arena_bytes
    wanted = np.log([base.network().weights, costs.predicted(base.network(), within(base.network(), arena))])
    whole = replace(base, k=1, central=False, margin_h=0, margin_w=0)
    sides = [round(base.height * share) for share in (1, 0.85, 0.73, 0.64)]
    options = [
        replace(scaled(whole, early, late, more), height=side, width=side)
        for side, early, late, more in product(sides, (0.5, 1, 1.5, 2), np.arange(1, 3.2, 0.1), range(4))
    ]
    alike = sorted(options, key=lambda r: abs(math.log(r.network().weights) - wanted[0]))[:160]
    alike = sorted(alike, key=lambda r: r.network().macs)[::5]  # plans take time

    def apart(recipe: PatchTunnels) -> float:
        network = recipe.network()
        plan = within(network, arena)
        if plan.arena_bytes > arena:
            return math.inf
        return float(np.abs(np.log([network.weights, costs.predicted(network, plan)]) - wanted).sum())

    found = [(apart(recipe), recipe) for recipe in alike]
    near = [(-recipe.height, far, recipe) for far, recipe in found if far <= NEAR]
    return min(near or [(0, *one) for one in found], key=lambda one: one[:2])[2]


# ---------------------------------------------------------------- trainings


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/directions.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("set", choices=SETTINGS)
    parser.add_argument("--epochs", type=positive)
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--only", nargs="+", default=[], metavar="ARM")
    parser.add_argument("--show", action="store_true", help="train nothing: what the folder has")
    parser.add_argument("-o", dest="out", type=Path, required=True)
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    args = arguments(argv)
    setting, test = SETTINGS[args.set], load(f"{args.set}_test")
    every = list(arms(setting.base(test.classes)))
    arena = choice.plan(every[0].network).arena_bytes
    found = Results(args.out, {arm.name: arm.needs(arena) for arm in every})
    chosen = [arm for arm in every if not args.only or arm.name in args.only]
    for seed, arm in product(range(1, args.seeds + 1), [] if args.show else chosen):
        if str(seed) not in found.accuracy(arm.name):
            settings = training(args.set, setting, args.epochs or setting.epochs, seed)
            accuracy = trained(arm, settings, args.out / arm.name.replace(" ", "_") / str(seed), test)
            found.add(arm.name, seed, accuracy)
            print(f"{arm.name}, seed {seed}: {accuracy:.2%}", flush=True)
    print(f"{args.set}_test, {len(test)} pictures; at {arena:,} B of arena", *found.lines(), sep="\n")


def training(name: str, setting: Setting, epochs: int, seed: int) -> dict:
    settings = {"train": f"{name}_train", "epochs": epochs, "seed": seed, "evaluate_every": epochs}
    settings |= {"batch": 64, "lr": 3e-3, "smoothing": 0.1, "ema": 0.99, "validation": 0.02, "colour": 0.3}
    return settings | {"crop": [0.4, 1.0], "whole": 0.3, "balanced": setting.balanced}


def trained(arm: Arm, settings: dict, run: Path, test) -> float:
    """The accuracy on `test` of what was trained, from where it was stopped if it was."""
    from patchnet.train import loop  # imported here: torch takes seconds to start

    run.mkdir(parents=True, exist_ok=True)
    values = {"name": "direction", "tied": arm.tied, **settings, "network": recipe_to_dict(arm.recipe)}
    experiment, text = run / "experiment.toml", write_toml(values)
    goes_on = (run / "checkpoint.pt").is_file() and experiment.read_text() == text
    experiment.write_text(text)
    loop.run(experiment, run, goes_on, force=not goes_on)
    return score(run / "float.npz", "float", test)


def reached(there: dict[str, Any], own: dict[str, Any]) -> dict[str, float]:
    """The accuracies of a network that was there before, if it is the same one."""
    return there.get("accuracy", {}) if there.get("network") == own["network"] else {}


class Results:
    """results.json: what each arm needs, and its accuracies by seed."""

    def __init__(self, out: Path, needs: dict[str, dict[str, Any]]):
        self.path = out / "results.json"
        out.mkdir(parents=True, exist_ok=True)
        there = json.loads(self.path.read_text()) if self.path.is_file() else {}
        self.arms = {name: own | {"accuracy": reached(there.get(name, {}), own)} for name, own in needs.items()}

    def accuracy(self, name: str) -> dict[str, float]:
        return self.arms[name]["accuracy"]

    def add(self, name: str, seed: int, accuracy: float) -> None:
        self.accuracy(name)[str(seed)] = accuracy
        write_text(self.path, json.dumps(self.arms, indent=1) + "\n")

    def lines(self) -> Iterator[str]:
        yield f"{'':<42}{'accuracy':>16}{'seeds':>7}{'arena':>9}{'M cycles':>10}{'flash':>11}{'eq. 2':>8}"
        for name, arm in self.arms.items():
            values = list(arm["accuracy"].values())
            told = f"{np.mean(values):.2%} +- {np.std(values, ddof=min(1, len(values) - 1)):.2%}" if values else "-"
            needs = f"{arm['arena']:>9,}{arm['cycles'] / 1e6:>10.1f}{arm['flash']:>11,}{arm['eq2']:>8,}"
            yield f"{name:<42}{told:>16}{len(values):>7}{needs}"


if __name__ == "__main__":
    main(sys.argv[1:])
