"""What pretrained weights are worth: networks of one shape, begun with them and from nothing, with several seeds.

    python tests/transfer.py flowers_train flowers_test -o runs/transfer/flowers

prints a line for each training as soon as it is over, then means and deviations; beside them, for sets of class labels,
a linear classifier on what EfficientNet-Lite0 tells of each picture. The folder keeps the runs: what is there is not
trained again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from patchnet.cli.arguments import count, positive, size
from patchnet.data import Dataset, as_picture, load
from patchnet.data.look import look
from patchnet.make.choose import Wanted, candidates, making_for, training_of
from patchnet.make.stages import score
from patchnet.net import trunk
from patchnet.net.toml import write_toml
from patchnet.train import backbone, loop
from patchnet.train.modules import build, normalise

USUAL = {"pictures": (16 << 10, 12_000_000, 12), "boxes": (32 << 10, 40_000_000, 60)}  # RAM, MACs, epochs
SIDE = 128  # of the pictures that the linear classifier sees
BEGINNINGS = {"pretrained": trunk.NAME, "from nothing": ""}


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/transfer.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--ram", type=size)
    parser.add_argument("--flash", type=size, default=300 << 10)
    parser.add_argument("--macs", type=count)
    parser.add_argument("--epochs", type=positive)
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("-o", dest="out", type=Path, required=True)
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    args = arguments(argv)
    seen = look(args.train, args.test)
    making, (ram, macs, epochs) = making_for(args.train, seen), USUAL[seen.kind]
    epochs = args.epochs or epochs
    chosen = candidates(making, Wanted(args.ram or ram, args.flash, macs=args.macs or macs))[0]
    shape = making.described(chosen.recipe, chosen.depth)
    print(f"{args.train}, {args.test}: {shape}, RAM {chosen.arena:,} B, flash {chosen.flash:,} B, {chosen.macs:,} MACs")
    items = load(args.test)
    for name, begin in BEGINNINGS.items():
        reached = []
        for seed in range(1, args.seeds + 1):
            run = args.out / f"{name.split()[-1]}-{seed}"
            values = {"name": "transfer", "train": args.train, "epochs": epochs, "seed": seed}
            values |= {"evaluate_every": epochs} | training_of(making, chosen.recipe, begin)
            trained(values, run)
            reached.append(score(run / "float.npz", "float", items))
            print(f"  {name}, seed {seed}: {reached[-1]:.2%}", flush=True)
        print(
            f"{name}: {np.mean(reached):.2%} +- {np.std(reached):.2%} of {len(items)} ({epochs} epochs)",
            flush=True,
        )
    if seen.kind == "pictures":
        print(f"linear classifier on EfficientNet-Lite0 at {SIDE} px: {linear(load(args.train), items):.2%}")


def trained(values: dict, run: Path) -> None:
    """`trained` is there when it is over."""
    if (run / "trained").is_file():
        return
    run.mkdir(parents=True, exist_ok=True)
    (run / "experiment.toml").write_text(write_toml(values))
    loop.run(run / "experiment.toml", run, (run / "checkpoint.pt").is_file())
    (run / "trained").touch()


# ---------------------------------------------------------------- the linear classifier


def linear(learnt: Dataset, tried: Dataset) -> float:
    """Accuracy of logistic regression on the means of EfficientNet-Lite0's last maps."""
    from sklearn.linear_model import LogisticRegression  # imported here: few have it
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    model.fit(features(learnt), learnt.labels)
    return float(model.score(features(tried), tried.labels))


@torch.no_grad()
def features(items: Dataset) -> np.ndarray:
    """(N, 1280), of pictures stretched to SIDE x SIDE."""
    network, state = backbone.packaged()
    model = build(network)
    model.load_state_dict(state, strict=False)
    model.eval()

    def pixels() -> Iterator[np.ndarray]:
        for item, _ in items:
            image = Image.fromarray(as_picture(item)).convert("RGB")
            yield np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))

    every = torch.from_numpy(np.stack(list(pixels())))
    maps = [model.tunnels[0](normalise(part, network)).mean((2, 3)) for part in every.split(64)]
    return torch.cat(maps).numpy()


if __name__ == "__main__":
    main(sys.argv[1:])
