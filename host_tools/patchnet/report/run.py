"""The report of a run: report.html in its folder, which needs nothing beside it.

What there is so far is shown: while it trains curves and a batch, later memory, and what the network makes of its test
set, engine by engine.
"""

from __future__ import annotations

import csv
import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure  # not pyplot: no window, no state
from matplotlib.ticker import MaxNLocator
from PIL import Image

from ..blob.files import blobs_in
from ..blob.qnet_file import how_made
from ..evaluate.importing import GIVEN, TOLD
from ..evaluate.val import Answered
from ..net.toml import read_toml
from ..plan.costs import CLOCK
from ..plan.sources import Flash
from ..tasks.html import Section, drawing, note, page, picture, table, text
from ..whole import write_text
from . import analyze, plots

PAGE = "report.html"
ORDER = "make.json"  # what `patchnet make` was asked for
NAMES = {"loss": "loss", "lr": "learning rate"}  # of log.csv's columns
BATCH = "batch.png"  # pictures as the network sees them while it learns, left by training


def test_of(run: Path) -> str:
    """The test set of a trained run's experiment, or the one that `make` keeps in the run; "" if there is none."""
    path, own = run / "config.toml", run / "test.npz"
    told = str(read_toml(path).get("test", "")) if path.is_file() else ""
    return told or (str(own) if own.is_file() else "")


def write(
    run: str | Path, asked: Answered | None = None, clock: int = CLOCK, of_part: Answered | None = None,
    flash: Flash | None = None,
) -> Path:  # fmt: skip
    """RUN/report.html of what lies in the run, of what engines were `asked`, and of what the last one was of a part of
    the items. `clock`: of the processor, Hz, by which predicted cycles are told as time, with what reading of a board's
    `flash` takes.
    ValueError if it is no run."""
    run = Path(run)
    if not asked and not any(any(run.glob(name)) for name in ("config.toml", "*.pnb", "import.json")):
        raise ValueError(f"{run}: wanted a run, the folder that a training or an import left")
    facts, sections = [], []
    if asked:
        facts += [measured(asked)]
        sections += [Section("Engines", results(asked, [*asked.results, *(of_part.results[-1:] if of_part else [])]))]
    sections += curves(run)
    blobs, analysis = blobs_in(run), None
    if len(blobs) == 1:
        analysis = analyze.analyze(blobs[0], flash=flash)
        facts += figures(analysis, blobs[0], clock)
        sections.append(
            Section("Memory over the network", drawing(plots.memory_figure(analysis), "memory over blocks"))
        )
    if asked:
        sections += asked.room.sections(asked.answers, asked.items)
    sections += [*batch(run), by_hand(run, asked.data if asked else test_of(run), analysis), *settings(run)]
    out = run / PAGE
    write_text(out, page(run.resolve().name, facts, sections))
    return out


class Live:
    """Writes the page of a run that is trained, but no more often than every `seconds`."""

    def __init__(self, seconds: float = 15.0):
        self.seconds, self.last = seconds, -seconds

    def __call__(self, run: Path) -> None:
        if time.monotonic() - self.last >= self.seconds:
            write(run)
            self.last = time.monotonic()


def measured(asked: Answered) -> tuple[str, str]:
    value = getattr(asked.results[-1], asked.room.measure)
    return f"{asked.room.measured} of {len(asked.items)}, {asked.results[-1].on}", f"{value:.2%}"


def figures(a: analyze.Analysis, blob: Path, clock: int) -> list[tuple[str, str]]:
    return [
        ("RAM (arena)", f"{a.arena:,} B"),
        ("flash (.pnb)", f"{blob.stat().st_size:,} B"),
        ("multiply-accumulates", f"{a.macs / 1e6:.1f} M"),
        (f"predicted, at {clock / 1e6:g} MHz", f"{1000 * (a.cost + a.reading) / clock:.0f} ms"),
    ]


def results(asked: Answered, every: Sequence[Any]) -> str:
    """Float beside int8, on each engine that was asked."""
    names, rows = asked.room.columns(every)
    whole = [
        (r.on, *values, "" if r.ram is None else f"{r.ram:,} B", f"{r.seconds:.1f} s")
        for r, values in zip(every, rows, strict=True)
    ]
    return table(("engine", *names, "RAM", "time"), whole) + note(f"Data: {asked.data}")


def logged(path: Path) -> list[dict[str, str]]:
    """Rows of log.csv. ValueError, a line, if one has something that is no number."""
    with path.open(newline="", errors="replace") as f:
        rows = list(csv.DictReader(f))
    for i, row in enumerate(rows):
        try:
            int(row["epoch"]), float(row["seconds"]), [float(value) for value in row.values() if value != ""]
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{path}: damaged in line {i + 2}: a page about the run needs none") from None
    return rows


def curves(run: Path) -> list[Section]:
    """Of log.csv: loss, what is measured on held-out items, learning rate, over epochs."""
    path = run / "log.csv"
    if not path.is_file():
        return []
    rows = logged(path)
    if not rows:
        return []
    names = [name for name in rows[0] if name not in ("epoch", "seconds")]
    seconds = np.array([float(row["seconds"]) for row in rows])
    if len(rows) == 1:  # a point is no curve
        reached = ", ".join(
            f"{NAMES.get(name, f'{name} (held-out)')} {rows[0][name]}" for name in names if rows[0][name]
        )
        return [Section("Training", note(f"One epoch, {seconds.sum():.1f} s: {reached}."))]
    figure = Figure(figsize=(3.4 * len(names), 2.8), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        points = [(int(row["epoch"]), float(row[name])) for row in rows if row[name]]
        if points:
            axes.plot(*zip(*points, strict=True), "-", color="#1f77b4", marker="." if len(points) < 40 else "")
        last = f": {points[-1][1]:.4g}" if points else ""
        axes.set_title(NAMES.get(name, f"{name}, held-out") + last, fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    below = note(f"{len(rows)} epochs, {seconds.sum() / 60:.1f} minutes, {np.median(seconds):.1f} s each.")
    return [Section("Training", drawing(figure, "loss and accuracy over epochs") + below)]


def batch(run: Path) -> list[Section]:
    """Pictures as the network saw them."""
    path = run / BATCH
    if not path.is_file():
        return []
    return [Section("A batch as the network sees it", picture(np.asarray(Image.open(path).convert("RGB")), whole=True))]


def settings(run: Path) -> list[Section]:
    return [
        Section(name, text((run / name).read_text()))
        for name in ("config.toml", "import.json")
        if (run / name).is_file()
    ]


def by_hand(run: Path, data: str, analysis: analyze.Analysis | None) -> Section:
    """The commands that make the run again, beside it, and show what the page does; `data`: what it was tried on."""
    here, again = shlex.quote(str(run)), shlex.quote(f"{run}-again")
    lines = ["# the same again, beside it"]
    if (run / ORDER).is_file():
        lines += [order_line(json.loads((run / ORDER).read_text()), again), "", "# or its stages, one by one"]
    sources = sorted(run.glob("source.*"))
    if (run / "config.toml").is_file():
        lines.append(f"patchnet train {here}/config.toml --out {again}")
        if (run / "qnet.npz").is_file():
            how = "".join(f" --{name} {value:g}" for name, value in how_made(run / "qnet.npz").items())
            lines.append(f"patchnet quantize {again}{how}")
    elif sources:
        lines.append(import_line(run, sources[0], again, analysis))
    if analysis and not (sources and "config.toml" not in lines[-1]):
        lines.append(f"patchnet pack {again} --budget {analysis.arena}")
    there = [on for on, file in (("float", "float.npz"), ("host", "*.pnb")) if any(run.glob(file))]
    lines += ["", "# what this page shows"] if data and there else []
    if data and there:
        lines += [
            f"patchnet val {here} --data {shlex.quote(data)} --on {','.join(there)}",
            f"patchnet report {here} --data {shlex.quote(data)}",
        ]
    lines += ["", "# onto a board", f"patchnet deploy {here}"] if "host" in there else []
    return Section("By hand", text("\n".join(lines)))


def import_line(run: Path, source: Path, out: str, analysis: analyze.Analysis | None) -> str:
    """`patchnet import` as it was asked."""
    told = json.loads((run / TOLD).read_text())
    calibration = told.get("calibration") or {}
    options = {"name": told.get("name"), "labels": run / GIVEN if (run / GIVEN).is_file() else None,
               "calibrate": calibration.get("data"), "calibration": calibration.get("pictures"),
               "tune": calibration.get("tune"), "ram": calibration.get("ram"), "flash": calibration.get("flash"),
               "cycles": calibration.get("cycles"),
               "budget": analysis.arena if analysis else None}  # fmt: skip
    words = [f"--{key} {shlex.quote(str(value))}" for key, value in options.items() if value]
    words += [f"--pixels={told['pixels']}"] if told.get("pixels") else []
    return " ".join(["patchnet import", shlex.quote(str(source)), *words, f"-o {out}"])


def order_line(order: dict[str, Any], out: str) -> str:
    """`patchnet make` as it was asked."""
    wanted = order["wanted"]
    told = {"ram": wanted["ram"], "flash": wanted["flash"], "ms": wanted["ms"], "clock": wanted["clock"],
            "minutes": order["minutes"], "test": order["test"], "name": order["name"]}  # fmt: skip
    options = [f"--{key} {shlex.quote(f'{value:.10g}' if isinstance(value, float) else str(value))}"
               for key, value in told.items() if value]  # fmt: skip
    options += [] if order["begin"] else ["--from nothing"]
    options += ["--teacher"] if order["teacher"] else []
    return " ".join(["patchnet make", shlex.quote(order["data"]), *options, f"-o {out}"])
