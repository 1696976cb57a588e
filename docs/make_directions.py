"""Makes docs/directions.md: how the paper's directions came out in trainings.

    python docs/make_directions.py [FOLDER]     # FOLDER/SET/results.json of `make directions`: kept in directions.json

The arms and how they are trained are tests/directions.py's; what the paper says is in its tables (papers.md).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).resolve().parent
KEPT = DOCS / "directions.json"
SETS = {  # by their names in tests/directions.py: what it is, its test pictures, pixels a side, margins, what is learnt
    "flowers": ("flowers", 626, 48, 6, "12 epochs of 2,930"),
    "cifar10": ("CIFAR-10", 8500, 32, 4, "one epoch of 50,000"),
    "vww_coco": ("persons", 2000, 66, 9, "6 epochs of 6,467"),
}
# (question, its arm, by its beginning where pixels are part of the name, what the paper says: points of accuracy)
QUESTIONS = (
    ("no central patch", "no central patch", "-3.8 persons, -1.5 ImageNet (table 4)"),
    ("each of the 5 tunnels sees the whole picture, at a patch's size", "5 tunnels, whole", "-1.2, -3.1 (table 5)"),
    ("**one tunnel, the same arena, cycles and flash**", "unsegmented", "not asked"),
    ("one narrow tunnel, the whole picture at its full size", "1 tunnel, whole", "not asked"),
    ("half the margin", "margin", "-2.3, -1.6 (table 6)"),
    ("no margin", "margin 0", "-2.8, -2.5 (table 6)"),
    ("t = 2", "t = 2", "-3.5 ImageNet (table 3)"),
    ("t = 6", "t = 6", "+1.2 ImageNet (table 3)"),
    ("t = 8", "t = 8", "+1.6 ImageNet (table 3)"),
    ("9 patches and the central one", "k = 9", "not asked"),
    ("features concatenated, not added", "concatenated", "not asked"),
    ("tunnels share their weights", "shared weights", "not asked"),
    ("the same, as wide as their flash allows", "shared weights, same flash", "not asked"),
    ("a coarse patch of all instead of the central one", "coarse patch", "not asked"),
    ("a coarse patch besides", "coarse and central", "not asked"),
    ("tunnels merge before the last stage", "merged", "its future work"),
)
HEAD = """\
# Do the paper's directions hold?

What the paper claims of its networks ([papers.md](papers.md)), and what it does not ask, tried on real pictures:
networks that differ in one thing each, {arms} of them, trained from nothing with the same settings and three seeds,
and measured as they run here. Everything is made by

    make directions DIRECTIONS="flowers cifar10"   # two hours of a core, and three and a half; vww_coco as long
    python tests/directions.py flowers -o runs/directions/flowers --only base "no central patch"
    python docs/make_directions.py runs/directions

The base has a 2 x 2 of patches and the central one, each with a tunnel of its own over a stem of 8 channels and
five bottlenecks (16, 24, 24, 48, 48 channels, t = 4), a head of 128, features added:

| | pixels a side | margins | learns from |
|---|---|---|---|
{sets}

Real networks learn longer and start from pretrained weights ([training.md](training.md)): these tell differences, not
what can be reached.

* **accuracy**: in float32, mean of the seeds and their standard deviation; **to the base**: the mean of the
  differences to the base of the same seed, in points, and its standard error.
* **arena**, **cycles**, **flash**: of one plan, the fastest in the arena that the base has as `pack` plans it; one
  that such an arena would slow down more than threefold gets the plan that `pack` takes. Everything is counted
  ([memory.md](memory.md)); cycles are modelled ([speed.md](speed.md)).
* **eq. 2**: bytes as the paper counts them.
"""

CONCLUSIONS = """\
## What comes of it

Of 626 flowers differences of less than a point are chance, of CIFAR-10's 8,500 pictures those of less than half. The
two agree in some things and not in others: pictures of 32 pixels that one object fills, seen once each, are another
matter than photographs seen twelve times.

* **Is segmentation worth it?** To a planner that streams, that depends. In the same arena, cycles and flash one tunnel
  over the whole picture (eight bottlenecks, over 23 and 35 pixels a side, the largest that it can see so) is 4.5 points
  behind five over patches on CIFAR-10, and within chance on flowers (-1.2). A
  narrow one over the whole picture at its full size, the base's own tunnel with a fifth of the weights, is no worse on
  flowers, in the same 5.3 KB and three quarters of the cycles; on CIFAR-10 it loses six points, in half of the cycles
  and 70% more arena. Counted the paper's way, which keeps a layer's whole input and output, whole pictures take 2.6
  times the bytes in both: patches buy memory for those who run layer by layer.
* **Patches against whole pictures of a patch's size**: the paper's direction in both, by less than a point.
* **The central patch**, the paper's largest difference, is worth a point on CIFAR-10, within chance, and nothing on
  flowers.
* **Margins**: the paper's direction on CIFAR-10, all of it better than half, half better than none; on flowers half of
  it is best.
* **t**: more is better, as the paper says, at the same arena; t = 8 costs 2.3 to 2.5 times the cycles of t = 4.
* **More patches**: 9 instead of 4 cost two points of flowers, and none of CIFAR-10's, for twice the flash.
* **Tunnels that share their weights** lose a point on flowers and seven on CIFAR-10, for a fifth of the flash. As wide
  as the base's flash allows they are better than it in both, and take twice the arena and 3.6 times the cycles.
* **Beyond the paper**: tunnels that merge before their last stage gain 1.8 points on flowers with 40% of the flash and
  80% of the cycles, and lose 3.3 on CIFAR-10, for half as much arena again and more; a coarse patch of the whole
  picture besides the others gains 1.9 and 0.5 points for a fifth more of cycles and flash.
* What holds in both: t, patches rather than whole pictures of their size, no sharing at the same width, a coarse patch
  besides. The others depend on the pictures: `patchnet search` tries patches, margins, t and shared weights on one's
  own ([search.md](search.md)).
"""


def arm_of(arms: dict, name: str) -> dict | None:
    """The first one whose name begins so, and has been trained; "margin" is the larger one of two."""
    return next((arm for key, arm in arms.items() if key.startswith(name) and key != "base" and arm["accuracy"]), None)


def difference(arm: dict | None, base: dict) -> tuple[float, float, int] | None:
    """Mean of the differences to the base of the same seed, its standard error, seeds; None where there are none."""
    seeds = [] if arm is None else [seed for seed in arm["accuracy"] if seed in base["accuracy"]]
    both = [arm["accuracy"][seed] - base["accuracy"][seed] for seed in seeds]
    if not both:
        return None
    mean = sum(both) / len(both)
    spread = math.sqrt(sum((d - mean) ** 2 for d in both) / max(1, len(both) - 1) / len(both))
    return 100 * mean, 100 * spread, len(both)


def told(found: tuple[float, float, int] | None) -> str:
    if found is None:
        return "-"
    mean, error, seeds = found
    return f"{mean:+.1f} ± {error:.1f}" if seeds > 1 else f"{mean:+.1f} (one seed)"


def spread(values: list[float]) -> str:
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{100 * mean:.1f}% (one seed)"
    return f"{100 * mean:.1f}% ± {100 * math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)):.1f}"


def summary(results: dict[str, dict]) -> Iterator[str]:
    names = [name for name in SETS if name in results]
    yield (
        "| changed, to the base, in points | the paper, float32 | " + " | ".join(SETS[name][0] for name in names) + " |"
    )
    yield "|---" * (2 + len(names)) + "|"
    for question, arm, paper in QUESTIONS:
        found = [told(difference(arm_of(results[name], arm), results[name]["base"])) for name in names]
        yield f"| {question} | {paper} | " + " | ".join(found) + " |"


def table(name: str, arms: dict) -> Iterator[str]:
    title, pictures, side = SETS[name][:3]
    yield f"## {title[0].upper()}{title[1:]}: {side} pixels, {pictures:,} test pictures"
    yield ""
    yield "| | accuracy | to the base | arena | M cycles | flash | eq. 2 |"
    yield "|---" * 7 + "|"
    for key, arm in arms.items():
        if arm["accuracy"]:
            own = "" if key == "base" else told(difference(arm, arms["base"]))
            needs = f"{arm['arena']:,} B | {arm['cycles'] / 1e6:.1f} | {arm['flash']:,} B | {arm['eq2']:,}"
            yield f"| {key} | {spread([*arm['accuracy'].values()])} | {own} | {needs} |"


def page(results: dict[str, dict]) -> str:
    arms = max(map(len, results.values()))
    used = (SETS[name] for name in SETS if name in results)
    sets = "\n".join(f"| {title} | {side} | {margin} | {learnt} |" for title, _, side, margin, learnt in used)
    out = [HEAD.format(arms=arms, sets=sets), CONCLUSIONS, "## All questions", "", *summary(results), ""]
    for name in SETS:
        if name in results:
            out += [*table(name, results[name]), ""]
    return "\n".join(out).rstrip() + "\n"


def collected(folder: Path) -> dict[str, dict]:
    """What is there of the sets, without the networks."""
    found = {}
    for name in SETS:
        if (path := folder / name / "results.json").is_file():
            arms = json.loads(path.read_text())
            found[name] = {key: {k: v for k, v in arm.items() if k != "network"} for key, arm in arms.items()}
    return found


def main(folders: list[str]) -> None:
    if folders:
        KEPT.write_text(json.dumps(collected(Path(folders[0])), indent=1) + "\n")
    (DOCS / "directions.md").write_text(page(json.loads(KEPT.read_text())))


if __name__ == "__main__":
    main(sys.argv[1:])
