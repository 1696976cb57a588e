"""Longer than a test may take: `python tests/fuzz.py --networks 500 --plans 10 --moved 60 --damage 2000`.

The networks are of all kinds in turn: `any` (one in two with layers for modes fast and sweep), `convs`, `detect`,
`sound`, `ends` (raw output, heat maps, raw input), `merging` (tunnels that do), `float32`.
Each must give the oracle's bytes in the engine, under
its own plan and under `plans` others: any segments, strips, modes, places. Each of these also runs in the checking
build, where no read may find another's byte, and streamed, through a buffer of any size. Networks for sound hear a clip
and a stream in chunks of any length.
One number of a plan at a time is moved, `moved` times: the loader must say of each what arena.py says. Then the blob is
damaged at random `damage` times, CRC repaired, and opened and run under ASan and UBSan (csrc/corrupt.c).
Ends at the first failure and says how to repeat it: `--kind KIND --seed SEED` is one network.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from cases import (
    Case,
    conv_case,
    end_case,
    float_case,
    judged,
    merging_case,
    moved,
    options,
    random_blob,
    random_case,
    random_plan,
    sound_case,
)
from cengine import Engine, EngineError, sanitized
from difference import check, explained
from patchnet.blob.pack import pack

KINDS = (
    "any",
    "detect",
    "sound",
    "any",
    "ends",
    "merging",
    "convs",
    "float32",
)  # the fourth is for modes fast and sweep


def made(kind: str, seed: int, extreme: bool, max_macs: int) -> Case:
    if kind == "sound":
        return sound_case(seed)
    if kind == "convs":
        return conv_case(seed, extreme, max_macs)
    if kind == "float32":
        return float_case(seed, extreme)
    if kind == "merging":
        return merging_case(seed, extreme, max_macs)
    if kind == "ends":
        return end_case(seed, extreme, max_macs)
    return random_case(seed, extreme, max_macs, detects=kind == "detect")


def blob_of(case: Case, rng, i: int) -> bytes:
    """The network by its own plan (0), or by another."""
    if i == 0:
        return case.blob
    if case.sound is not None:  # above everything lies the stream, so nothing is scattered
        return pack(case.qnet, random_plan(rng, case.qnet.design))
    return random_blob(rng, case.qnet)


def run_plans(case: Case, plans: int) -> None:
    """Engine and oracle, under the case's plan and `plans` others: as usual, in the checking build, and streamed."""
    rng = np.random.default_rng(case.seed)
    x, wanted = case.x, case.wanted()
    for i in range(plans + 1):
        blob = blob_of(case, rng, i)
        for more in ({}, {"checking": True}, {"stream": rng.choice([0, rng.random(), 1])}):
            engine = Engine(blob, **more)
            try:
                check(engine, wanted, x, case)
            except AssertionError as e:
                raise AssertionError(f"plan {i}, {more}: {e}") from None
            if more.get("checking") and engine.fault():
                said = explained(engine, wanted, x, case, AssertionError(engine.fault()))
                raise AssertionError("\n".join([f"plan {i}: a byte was read that is another's", *said[1:]]))
        if case.sound is not None:
            hear_stream(case, rng, blob)


def hear_stream(case: Case, rng, blob: bytes) -> None:
    """All of the case's sound in chunks of any length: the rows as they come, and the answers."""
    wanted, pcm = case.oracle.spot(case.sound), case.sound
    cuts = np.sort(rng.integers(0, len(pcm) + 1, int(rng.integers(0, 40))))
    engine = Engine(blob, stream=rng.choice([None, rng.random()]))
    got = engine.spot(np.split(pcm, cuts))
    if got != wanted:
        raise AssertionError(
            f"the stream is answered by {got}, wanted (row, class, score) {wanted}; cuts {cuts.tolist()}"
        )
    rows = case.oracle.rows(pcm)[-case.oracle.header.height :]
    bad = np.argwhere(engine.rows()[..., 0] != rows)
    if len(bad):
        raise AssertionError(f"{len(bad)} values of the last rows differ, the first: row {bad[0][0]}, band {bad[0][1]}")


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
            raise AssertionError(f"{place} moved: the loader says {said}, wanted {' or '.join(sorted(allowed))}")
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


def run_case(case: Case, args: argparse.Namespace, folder: Path) -> Counter:
    run_plans(case, args.plans)
    # that the stream lies above all else is no rule of arena.py
    counts = Counter() if case.sound is not None else move_numbers(case, args.moved)
    return counts + damage(case.blob, case.seed, args.damage, folder)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--plans", type=int, default=10)
    parser.add_argument("--moved", type=int, default=60)
    parser.add_argument("--damage", type=int, default=2000)
    parser.add_argument("--first", type=int, default=100_000, metavar="SEED")
    parser.add_argument("--seed", type=int, help="this one network, of --kind")
    parser.add_argument("--kind", choices=sorted(set(KINDS)), help="all networks are of this one")
    parser.add_argument("--extreme", action="store_true", help="with --seed: weights and pictures at their limits")
    parser.add_argument("--max-macs", type=int, default=100_000)
    return parser.parse_args()


def main() -> None:
    args, outcomes, kinds = arguments(), Counter(), Counter()
    if args.seed is not None:
        args.first, args.networks = args.seed, 1
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.first, args.first + args.networks):
            kind = args.kind or ("any" if args.seed is not None else KINDS[seed % len(KINDS)])
            extreme = kind != "sound" and (args.extreme if args.seed is not None else seed % 5 == 0)
            again = options(kind, seed, extreme, args.max_macs)
            try:
                outcomes += run_case(made(kind, seed, extreme, args.max_macs), args, Path(folder))
            except Exception as e:
                raise SystemExit(f"python tests/fuzz.py {again}\n{type(e).__name__}: {e}") from e
            kinds[kind] += 1
    print(f"{args.networks} networks x {args.plans + 1} plans equal ({words(kinds)}); of moved and damaged ones:")
    for name, n in outcomes.most_common():
        print(f"  {name:12} {n:9}")


def words(counts: Counter) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.most_common())


if __name__ == "__main__":
    main()
