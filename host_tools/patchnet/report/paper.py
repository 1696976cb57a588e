"""The tables of the paper (arXiv 2408.03663), row by row, with what the same networks need here.

What the paper says stands in experiments/paper/tables.toml, the networks beside it, an experiment each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ..blob.pack import blob_bytes
from ..net.budget import layer_bytes, paper_peak
from ..net.network import Network
from ..net.toml import known, read_design, read_toml, tuples
from ..plan import choice, costs
from ..plan.place import Plan
from ..progress import Track, no_track, planning

FOLDER = Path(__file__).parent.parent / "experiments" / "paper"
PLANS = ("fastest", "packed", "smallest")


def paper_file(name: str) -> Path | None:
    """The experiment that `train` takes by this name, "paper/imagenet-63k"; None if there is none."""
    path = FOLDER.parent / f"{name}.toml"
    return path if path.parent == FOLDER and path.is_file() and path.stem != "tables" else None


@dataclass(frozen=True)
class Trained:
    """What was trained here: accuracy on `test` in percent, float32 and int8."""

    test: str
    accuracy: tuple[float, ...]
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A row of the paper: memory in KB of 1,000 bytes and accuracy in percent, of float32 and int8, of float32 alone,
    or, with `int8`, of int8 alone. `experiment`: the network of ours that stands for it; "": it is others'."""

    row: str
    kb: tuple[float, ...]
    accuracy: tuple[float, ...]
    experiment: str = ""
    int8: bool = False
    note: str = ""

    @property
    def command(self) -> str:
        """What trains it where its data are."""
        return f"patchnet train paper/{self.experiment} --chain" if self.experiment else ""


@dataclass(frozen=True)
class Table:
    number: int
    about: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Planned:
    """A plan: bytes of arena; cycles and instructions that it is predicted to take."""

    arena: int
    cycles: int
    instructions: int


@dataclass(frozen=True)
class Ours:
    """A network here. `eq2`: the largest input and output of a layer, which the paper's figures are; `eq3`: the same
    with a channel behind each inner convolution of a bottleneck. `flash`: bytes of the blob of the plan that `pack`
    chooses. Plans are "fastest", "packed" and "smallest"."""

    eq2: int
    eq3: int
    weights: int
    macs: int
    flash: int
    plans: dict[str, Planned]


@cache
def tables() -> dict[int, Table]:
    """All of them, by number."""
    path = FOLDER / "tables.toml"
    return {one["number"]: _table(one, path) for one in read_toml(path)["table"]}


def _table(values: dict[str, Any], path: Path) -> Table:
    rows = tuple(Row(**tuples(known(Row, row, str(path)))) for row in values["rows"])
    return Table(**{**values, "rows": rows})


@cache
def trained() -> dict[str, Trained]:
    """By experiment."""
    path = FOLDER / "tables.toml"
    return {name: Trained(**tuples(known(Trained, one, str(path)))) for name, one in read_toml(path)["trained"].items()}


def network(experiment: str) -> Network:
    return read_design(FOLDER / f"{experiment}.toml")


@cache
def accounted(experiment: str) -> Ours:
    """What needs no plan."""
    n = network(experiment)
    return Ours(paper_peak(n), max(map(layer_bytes, n.run())), n.weights, n.macs, 0, {})


def ours(experiment: str, progress: Callable[[int, int], None] | None = None) -> Ours:
    """All of it, which takes seconds."""
    n = network(experiment)
    choice.front(n, progress)  # first, as it takes the time
    plans = dict(zip(PLANS, (choice.fastest(n), choice.plan(n), choice.smallest(n)), strict=True))
    told = {name: _planned(n, plan) for name, plan in plans.items()}
    return replace(accounted(experiment), flash=blob_bytes(n, plans["packed"]), plans=told)


def _planned(n: Network, plan: Plan) -> Planned:
    cycles, instructions = (round(costs.predicted(n, plan, by)) for by in ("cycles", "instructions"))
    return Planned(plan.arena_bytes, cycles, instructions)


def describe(table: Table, track: Track = no_track) -> list[dict[str, Any]]:
    """Its rows as plain values, with `ours`, `trained` and `command` of those that are ours."""
    named = list(dict.fromkeys(row.experiment for row in table.rows if row.experiment))
    found = {name: asdict(ours(name, planning(track, name))) for name in named}
    out = []
    for row in table.rows:
        values = asdict(row)
        if row.experiment:
            record = trained().get(row.experiment)
            values |= {"ours": found[row.experiment], "trained": asdict(record) if record else None}
            values |= {"command": row.command}
        out.append(values)
    return out
