"""paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from .arguments import Parser, no_use, positive
from .output import print_json, progress, wide_console

if TYPE_CHECKING:
    from ..report.paper import Table as PaperTable


def add(command: Callable[..., Parser]) -> None:
    more = (
        "What the paper says (memory of float32 and int8 in KB, accuracy in percent), and what the same network needs "
        "here: by the paper's own accounting, by its plans, in flash. `patchnet train paper/NAME` trains a row's "
        "network, with data as docs/data.md has them."
    )
    p = command("paper", run_paper, "Show a table of the paper, with ours beside", more)
    p.add_argument("what", nargs="?", choices=("table",), help="then its number")
    p.add_argument("number", nargs="?", type=positive, metavar="N", help="of the table, 1 to 9")
    p.add_argument("--list", action="store_true", help="all tables and the experiments of their rows")


def run_paper(args) -> int:
    # imported here: the stage alone
    from ..report import paper

    every = paper.tables()
    if args.what:
        no_use(args, ("--list",), "with a table")
    if args.list:
        print_json({n: asdict(table) for n, table in every.items()}) if args.json else print(*listed(every), sep="\n")
        return 0
    if args.number is None:
        raise ValueError("paper: wanted --list, or table and its number")
    if args.number not in every:
        raise ValueError(f"table: wanted {min(every)} to {max(every)}, got {args.number}")
    table = every[args.number]
    with progress(args) as track:
        rows = paper.describe(table, track)
    if args.json:
        print_json({"table": table.number, "about": table.about, "rows": rows})
        return 0
    console = wide_console()
    console.print(shown(f"Table {table.number}: {table.about}", rows), highlight=False)
    for line in lines(rows):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0


def listed(every: dict[int, PaperTable]) -> Iterator[str]:
    for number, table in every.items():
        yield f"table {number}: {table.about}"
        yield from (f"  {row.row:<22}{'paper/' + row.experiment if row.experiment else '-'}" for row in table.rows)


COLUMNS = ("paper KB", "paper %", "here %", "eq. 2", "eq. 3", "MACs", "weights", "flash", "plan", "arena", "cycles",
           "instr.")  # fmt: skip


def shown(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    out = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for name in ("", *COLUMNS):
        out.add_column(name, justify="left" if name in ("", "plan") else "right", no_wrap=True)
    for row in rows:
        for line in cells(row):
            out.add_row(*line)
    return out


def cells(row: dict[str, Any]) -> list[list[str]]:
    """A line of the table, with a line more for each plan but the first."""
    own, record = row.get("ours"), row.get("trained")
    said = [row["row"], both(row["kb"], row["int8"], "g"), both(row["accuracy"], row["int8"], ".1f")]
    if own is None:
        return [said]
    said.append(both(record["accuracy"], False, ".1f") if record else "-")
    said += [f"{own['eq2']:,}", f"{own['eq3']:,}", millions(own["macs"]), f"{own['weights']:,}", f"{own['flash']:,}"]
    plans = [
        [name, f"{plan['arena']:,}", millions(plan["cycles"]), millions(plan["instructions"])]
        for name, plan in own["plans"].items()
    ]
    return [said + plans[0], *([""] * len(said) + plan for plan in plans[1:])]


def millions(n: int) -> str:
    return f"{n / 1e6:,.1f} M"


def both(values: Sequence[float], int8: bool, form: str) -> str:
    """float32/int8; "-" for what the paper does not have."""
    told = [f"{value:{form}}" for value in values]
    return "/".join(["-"] * int8 + told + ["-"] * (2 - int8 - len(told))) if told else "-"


def lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Below the table: what trains each row, what was trained, notes."""
    width = max(len(row["row"]) for row in rows) + 2
    out = [f"{row['row']:<{width}}{row['command']}" for row in rows if "command" in row]
    for row in rows:
        if row["note"]:
            out.append(f"{row['row']}: {row['note']}")
        if row.get("trained"):
            told = row["trained"]
            out.append(f"{row['row']}, here: {told['test']}{told['note'] and ', '}{told['note']}")
    return out
