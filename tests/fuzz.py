"""Longer than a test may take: `python tests/fuzz.py --networks 1000 --damage 2000`.

Each random network must give the oracle's bytes in the engine, under its own plan and under another; then its blob is
damaged at random `damage` times, CRC repaired, and opened and run under ASan and UBSan (csrc/corrupt.c).
Ends at the first failure and names its seed; `--first SEED --networks 1` repeats it.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from cases import Case, random_case, random_plan
from cengine import Engine, sanitized
from patchnet.pack import pack


def equal(case: Case) -> bool:
    """Engine and oracle, with two plans."""
    wanted = case.oracle.run_image(*case.picture.args())
    other = pack(case.qnet, random_plan(np.random.default_rng(case.seed), case.qnet.design))
    results = [Engine(blob).run_image(*case.picture.args()) for blob in (case.blob, other)]
    return all((r.logits16 == wanted.logits16).all() and r.scores == wanted.scores for r in results)


def damage(blob: bytes, seed: int, times: int, folder: Path) -> Counter:
    """How often each outcome occurred. RuntimeError with the sanitizer's words if one was bad."""
    path = folder / "blob.pnb"
    path.write_bytes(blob)
    command = [sanitized("corrupt"), path, "random", str(seed), str(times)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"seed {seed}: {done.stderr}")
    return Counter({name: int(n) for name, n in (line.rsplit(" ", 1) for line in done.stdout.splitlines())})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--damage", type=int, default=2000)
    parser.add_argument("--first", type=int, default=100_000, metavar="SEED")
    args = parser.parse_args()
    outcomes = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.first, args.first + args.networks):
            case = random_case(seed, extreme=seed % 5 == 0, max_macs=100_000)
            if not equal(case):
                raise SystemExit(f"seed {seed}: engine and oracle differ")
            outcomes += damage(case.blob, seed, args.damage, Path(folder))
    print(f"{args.networks} networks equal; {args.networks * args.damage} damaged blobs:")
    for name, n in outcomes.most_common():
        print(f"  {name:10} {n:9}")


if __name__ == "__main__":
    main()
