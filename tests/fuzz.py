"""Longer than a test may take: `python tests/fuzz.py --networks 500 --plans 10 --moved 60 --damage 2000`.

Each random network must give the oracle's bytes in the engine, under its own plan and under `plans` others: any
segments, strips, modes, places. Each of these also runs in the checking build, where no read may find another's byte.
One number of a plan at a time is moved, `moved` times: the loader must say of each what arena.py says. Then the blob is
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

from cases import Case, judged, moved, random_blob, random_case
from cengine import Engine, EngineError, sanitized


def run_plans(case: Case, plans: int) -> None:
    """Engine and oracle, under the case's plan and `plans` others, as usual and in the checking build."""
    rng = np.random.default_rng(case.seed)
    wanted = case.oracle.run_image(*case.picture.args())
    for i in range(plans + 1):
        blob = random_blob(rng, case.qnet) if i else case.blob
        for checking in (False, True):
            engine = Engine(blob, checking=checking)
            got = engine.run_image(*case.picture.args())
            if (got.logits16 != wanted.logits16).any() or got.scores != wanted.scores:
                raise RuntimeError(f"plan {i}: engine and oracle differ")
        if engine.fault():
            raise RuntimeError(f"plan {i}: {engine.fault()}")


def move_numbers(case: Case, times: int) -> Counter:
    """How often the loader accepted and refused the case's plan with one number moved, always rightly."""
    rng, counts = np.random.default_rng(case.seed), Counter()
    for _ in range(times):
        place, bad = moved(rng, case.blob)
        bad, allowed = judged(case.qnet, place, bad)
        try:
            Engine(bad)
            said = "OK"
        except EngineError as e:
            said = e.name
        if said not in allowed:
            raise RuntimeError(f"{place} moved: the loader says {said}")
        counts[f"moved: {said}"] += 1
    return counts


def damage(blob: bytes, seed: int, times: int, folder: Path) -> Counter:
    """How often each outcome occurred. RuntimeError with the sanitizer's words if one was bad."""
    path = folder / "blob.pnb"
    path.write_bytes(blob)
    command = [sanitized("corrupt"), path, "random", str(seed), str(times)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Counter({name: int(n) for name, n in (line.rsplit(" ", 1) for line in done.stdout.splitlines())})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--plans", type=int, default=10)
    parser.add_argument("--moved", type=int, default=60)
    parser.add_argument("--damage", type=int, default=2000)
    parser.add_argument("--first", type=int, default=100_000, metavar="SEED")
    args = parser.parse_args()
    outcomes = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.first, args.first + args.networks):
            try:
                case = random_case(seed, extreme=seed % 5 == 0, max_macs=100_000)
                run_plans(case, args.plans)
                outcomes += move_numbers(case, args.moved)
                outcomes += damage(case.blob, seed, args.damage, Path(folder))
            except Exception as e:
                raise SystemExit(f"seed {seed}: {e}") from e
    print(f"{args.networks} networks x {args.plans + 1} plans equal; of moved and damaged ones:")
    for name, n in outcomes.most_common():
        print(f"  {name:12} {n:9}")


if __name__ == "__main__":
    main()
