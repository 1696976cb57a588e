"""Writes docs/figures.json, the figures that a change may move, and prints which ones have: `make figures`.

    python tests/figures.py [--only code bench plans papers tests]

A figure is a number by name, "stack/pn_run" or "arena/person, by macs/smallest". Code and stack are of the objects
that h7-check makes (the frames of assembly are not told), instructions are counted on the emulated board, plans are
searched anew. Without all kinds the other figures stay as they were, and so does what differs by no more than it does
from run to run.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from patchnet import models
from patchnet.net import zoo

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "figures.json"
OBJECTS = ROOT / "build" / "figures"
TESTS = ROOT / "build" / "tests.xml"  # `make test` leaves it
STACK_USE = re.compile(r"^.*:\d+:\d+:\S+\t(\d+)\t", re.M)  # gcc's .su: place and function, bytes, kind
# By how much figures differ from run to run, a share and an amount: seconds are of this machine, and the same run of a
# network was counted with up to 28,000 instructions more or less, interrupts among them.
NOISE = {"seconds/": (0.25, 0.0), "instructions/": (0.001, 30_000.0)}


def output_of(*command: str | Path, **env: str) -> str:
    done = subprocess.run(command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


# ---------------------------------------------------------------- what is measured


def folder_of(name: str) -> str:
    """Where the source of an object lies: "modpatchnet/dsp"."""
    return str(next((ROOT / "modpatchnet").rglob(f"{name}.c")).parent.relative_to(ROOT))


def code() -> dict[str, int]:
    """Bytes of .text and constants of each object, of each folder and of the engine; the deepest frame of each file."""
    for old in OBJECTS.glob("*.*"):
        old.unlink()
    output_of(ROOT / "ports" / "stm32" / "h7-check", OBJECTS, CFLAGS_EXTRA="-fstack-usage")
    objects = sorted(path for path in OBJECTS.glob("*.o"))
    found = {}
    for line in output_of("arm-none-eabi-size", *objects).splitlines()[1:]:
        text, *_, path = line.split()
        name = Path(path).stem
        found[f"code/{name}"] = int(text)
        for total in (f"code/{folder_of(name)}/", *(["code/engine"] if name.startswith("pn_") else [])):
            found[total] = found.get(total, 0) + int(text)
    for path in OBJECTS.glob("*.su"):
        found[f"stack/{path.stem}"] = max(map(int, STACK_USE.findall(path.read_text())), default=0)
    return found


def patchnet(*arguments: str) -> dict:
    return json.loads(output_of(sys.executable, "-m", "patchnet.cli", *arguments, "--json", PATCHNET_CACHE=""))


def bench() -> dict[str, int]:
    """Instructions of blocks and of networks, and of these with a larger picture."""
    told, found = patchnet("bench"), {}
    for one in [*told["blocks"], *told["networks"]]:
        found[f"instructions/{one['name']}, {one['schedule']}"] = one["instructions"]
        if "large" in one:
            found[f"instructions/{one['name']}, {one['schedule']}, 320x240"] = one["large"]
    return found


def processor_seconds() -> float:
    """Of the commands so far: unlike a clock's, they hardly depend on what else the machine does."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime


def plans() -> dict[str, float]:
    """Bytes and predicted work of the smallest, the chosen and the fastest plan, and the seconds of the search."""
    found: dict[str, float] = {}
    for name in [*models.names(), *zoo.NAMES]:
        for by in ("cycles", "macs"):
            began = processor_seconds()
            told = patchnet("analyze", name, "--pareto", "--by", by)
            found[f"seconds/planning {name}, by {by}"] = round(processor_seconds() - began, 1)
            for which, plan in (("smallest", told["front"][0]), ("chosen", told), ("fastest", told["front"][-1])):
                found[f"arena/{name}, by {by}/{which}"] = plan["arena"]
                found[f"cost/{name}, by {by}/{which}"] = round(plan["cost"])
    return found


def tests(path: Path = TESTS) -> dict[str, float]:
    """The number of tests and the time they took together, if they have been run."""
    if not path.exists():
        return {}
    cases = list(ElementTree.parse(path).iter("testcase"))
    seconds = sum(float(case.get("time", 0)) for case in cases)
    return {"tests": len(cases), "seconds/tests": round(seconds, 1)}


def papers() -> dict[str, float]:
    """What the networks of the paper's tables need."""
    found: dict[str, float] = {}
    for number in range(1, 10):
        for row in patchnet("paper", "table", str(number))["rows"]:
            own, name = row.get("ours", {}), f"paper/{row['experiment']}"
            found |= {f"{name}/{key}": value for key, value in own.items() if key != "plans"}
            for plan, values in own.get("plans", {}).items():
                found |= {f"{name}/{plan}/{key}": value for key, value in values.items()}
    return found


KINDS = {"code": code, "bench": bench, "plans": plans, "papers": papers, "tests": tests}
NAMES = {
    "code": ("code/", "stack/"),
    "bench": ("instructions/",),
    "plans": ("arena/", "cost/", "seconds/planning"),
    "papers": ("paper/",),
    "tests": ("tests", "seconds/tests"),
}


# ---------------------------------------------------------------- what changed


def renewed(before: dict[str, float], measured: dict[str, dict[str, float]]) -> dict[str, float]:
    """The figures before, those of each measured kind in place of the old ones unless the difference is noise."""
    gone = tuple(name for kind, figures in measured.items() if figures for name in NAMES[kind])
    after = {name: value for name, value in before.items() if not name.startswith(gone)}
    for figures in measured.values():
        for name, value in figures.items():
            old = before.get(name)
            after[name] = value if old is None or abs(value - old) > noise(name, old) else old
    return dict(sorted(after.items()))


def noise(name: str, figure: float) -> float:
    share, amount = next((both for kind, both in NOISE.items() if name.startswith(kind)), (0.0, 0.0))
    return share * figure + amount


def changes(before: dict[str, float], after: dict[str, float]) -> list[tuple[str, str, str, str]]:
    """(name, old, new, by how much) of each figure that differs, "-" for what is not there."""
    rows = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old != new:
            share = f"{(new - old) / old:+.1%}" if old and new is not None else ""
            rows.append((name, written(old), written(new), share))
    return rows


def written(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:,}"


def lines(rows: list[tuple[str, str, str, str]]) -> list[str]:
    """The rows below each other, numbers at the right."""
    if not rows:
        return ["no figure has changed"]
    rows = [("", "before", "now", ""), *rows]
    name, *widths = (max(len(row[i]) for row in rows) for i in range(4))
    return ["  ".join([row[0].ljust(name), *map(str.rjust, row[1:], widths)]).rstrip() for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    kinds = parser.parse_args().only
    before = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    after = renewed(before, {kind: KINDS[kind]() for kind in kinds})
    FIGURES.write_text(json.dumps(after, indent=1) + "\n")
    print(*lines(changes(before, after)), sep="\n")


if __name__ == "__main__":
    main()
