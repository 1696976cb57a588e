"""What the short trainings of `patchnet search` are worth: how they rank networks, against full trainings.

    python tests/proxy.py flowers_train flowers_test -o runs/proxy/flowers [--networks 8] [--full 24] [--show]

Networks are drawn from the search's space, half of them over the trunk, at one size of picture. Each is judged as the
search does it (after a third of the epochs, where halving looks; after all of them; by its NASWOT score), and by the
test set after a full training; then Spearman's and Kendall's coefficients of each with the last, of all networks and of
the two kinds. The folder keeps results.json: what is there is not done again, what was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from patchnet.cli.arguments import positive, size
from patchnet.data import load
from patchnet.make import search, study
from patchnet.make.choose import Wanted, making_for
from patchnet.make.space import NOTHING, Proposal, Space
from patchnet.make.stages import score
from patchnet.net import trunk
from patchnet.net.toml import write_toml
from patchnet.progress import no_track
from patchnet.train import loop, naswot
from patchnet.whole import write_text

JUDGES = ("early", "short", "naswot")


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/proxy.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--networks", type=positive, default=8)
    parser.add_argument("--side", type=positive, default=48)
    parser.add_argument("--ram", type=size, default=16 << 10)
    parser.add_argument("--flash", type=size, default=300 << 10)
    parser.add_argument("--ms", type=float, default=60)
    parser.add_argument("--full", type=positive, default=24, metavar="EPOCHS")
    parser.add_argument("--show", action="store_true", help="train nothing: what the folder has")
    parser.add_argument("-o", dest="out", type=Path, required=True)
    return parser.parse_args(argv)


def drawn(space: Space, wanted: Wanted, n: int, side: int) -> list[Proposal]:
    """The first `n` that keep to the limits, the two kinds in turn; the same whenever it is done."""
    rng, out = random.Random(1), list[Proposal]()
    while len(out) < n:
        genes = {name: rng.choice(values) for name, values in space.genes.items()}
        kind = NOTHING if len(out) % 2 else trunk.NAME
        proposal = space.proposal(genes | {"size": side, "begin": kind})
        if not study.needs_of(proposal, wanted).beyond:
            out.append(proposal)
    return out


class Epochs:
    """A search's Watch that stops nothing."""

    def __init__(self) -> None:
        self.reached = list[float]()

    def seen(self, run: Path) -> None:
        self.reached.append(float((run / "log.csv").read_text().splitlines()[-1].split(",")[2]))

    def stop(self) -> bool:
        return False


def judged(out: Path, space: Space, proposal: Proposal, order: study.Order, number: int) -> dict[str, float]:
    """As the search does it."""
    epochs = Epochs()
    study.shortly(out, space.making, proposal, order, number, epochs)
    value = naswot.score(proposal.network(), load(out / "short" / "train.npz"))
    return {"early": epochs.reached[max(1, order.epochs // 3) - 1], "short": epochs.reached[-1], "naswot": value}


def trained(out: Path, space: Space, proposal: Proposal, epochs: int, number: int) -> float:
    """Of the test set, in float32, after a full training, which goes on where it was stopped."""
    run = out / "full" / str(number)
    run.mkdir(parents=True, exist_ok=True)
    own = {"epochs": epochs, "evaluate_every": epochs, "test": ""}
    write_text(run / "experiment.toml", write_toml(search.full(out, space.making, proposal, "") | own))
    loop.run(run / "experiment.toml", run, (run / "checkpoint.pt").is_file())
    return score(run / "float.npz", "float", load(out / "test.npz"))


def ranks(values: Sequence[float]) -> np.ndarray:
    """From 0 on, equal ones sharing theirs."""
    own = np.asarray(values, float)
    return (own[:, None] > own).sum(1) + ((own[:, None] == own).sum(1) - 1) / 2


def spearman(one: Sequence[float], two: Sequence[float]) -> float:
    return float(np.corrcoef(ranks(one), ranks(two))[0, 1])


def kendall(one: Sequence[float], two: Sequence[float]) -> float:
    """tau-b, for which equal values count neither way."""
    a, b = (np.sign(np.subtract.outer(np.asarray(v, float), np.asarray(v, float))) for v in (one, two))
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def lines(results: list[dict]) -> list[str]:
    done = [one for one in results if "full" in one]
    head = f"{'':<92}{'early':>8}{'short':>8}{'naswot':>8}{'full':>8}"
    out = [head, *(f"{r['network']:<92}{r['early']:>8.2%}{r['short']:>8.2%}{r['naswot']:>8.1f}{r['full']:>8.2%}"
                   for r in sorted(done, key=lambda r: -r["full"]))]  # fmt: skip
    for name, kind in (("all", ("lite0", "")), ("over the trunk", ("lite0",)), ("from nothing", ("",))):
        some = [r for r in done if r["begin"] in kind]
        if len(some) > 2:
            told = (f"{j} {spearman([r[j] for r in some], [r['full'] for r in some]):+.2f} / "
                    f"{kendall([r[j] for r in some], [r['full'] for r in some]):+.2f}" for j in JUDGES)  # fmt: skip
            out.append(f"{name}, {len(some)} networks: Spearman's / Kendall's coefficient: {', '.join(told)}")
    return out


def main(argv: list[str]) -> None:
    args = arguments(argv)
    path, order = args.out / "results.json", study.Order(Wanted(args.ram, args.flash, args.ms))
    results = json.loads(path.read_text()) if path.is_file() else []
    if not args.show:
        args.out.mkdir(parents=True, exist_ok=True)
        if not (args.out / search.ORDER).is_file():
            search.begin(order, args.train, args.test, args.out, "proxy", "", no_track, print)
        space = Space(making_for("proxy", search.looked(args.out)))
        for i, proposal in enumerate(drawn(space, order.wanted, args.networks, args.side)):
            if i == len(results):
                told = {"network": proposal.described(), "begin": proposal.begin}
                results.append(told | judged(args.out, space, proposal, order, i))
                write_text(path, json.dumps(results, indent=1) + "\n")
            if "full" not in results[i]:
                results[i]["full"] = trained(args.out, space, proposal, args.full, i)
                write_text(path, json.dumps(results, indent=1) + "\n")
    print(*lines(results), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
