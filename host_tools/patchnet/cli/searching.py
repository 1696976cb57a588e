"""search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import (
    Parser,
    above_zero,
    limits,
    new_folder,
    no_use,
    not_negative,
    part,
    positive,
    size,
    wanted,
)
from .output import needs_torch, print_json, progress, quiet_stdout, wide_console

if TYPE_CHECKING:
    from ..make.search import Found, Row

FOR_MORE = ("--data", "--test", "--ram", "--flash", "--ms", "--cycles", "--clock", "--board", "--trials", "--minutes",
            "--epochs", "--share", "--proposals", "--seed")  # fmt: skip
EPOCHS, SHARE, PROPOSALS, SEED = 6, 0.5, 1, 1


def add(command: Callable[..., Parser]) -> None:
    more = (
        "Patches, margins, resolution, widths, depths, kernels, expansions, shared weights and head, with the plan of "
        "each network: what does not keep to the limits is never trained. Others are trained for a while, and judged "
        "by pictures that are held out. Goes on where it was stopped; many processes and machines may work on one "
        "study. Leaves the front, pareto.png, and best.toml for `patchnet train`. Needs PyTorch and Optuna."
    )
    p = command("search", run_search, "Search for a network for pictures of classes", more)
    p.add_argument("--data", metavar="DATA", help="what to learn from; needed unless --show")
    p.add_argument("--test", metavar="DATA", help="what to test with, which chooses nothing (default: a part of DATA)")
    p.add_argument(
        "--ram", type=size, metavar="SIZE", help="arena at most; needed unless --show, as is one of --ms and --cycles"
    )
    limits(p, cycles=True)
    p.add_argument("-o", dest="out", type=new_folder, metavar="DIR", required=True, help="the search's folder")
    p.add_argument("--trials", type=positive, metavar="N", help="networks to train, in all (default: 40)")
    p.add_argument("--minutes", type=above_zero, metavar="N", help="how long this process works on it")
    p.add_argument("--epochs", type=positive, metavar="N", help=f"of each training (default: {EPOCHS})")
    p.add_argument("--share", type=part, metavar="X", help=f"of the data, for them (default: {SHARE})")
    more = f"of so many that fit, train the one of the best NASWOT score (default: {PROPOSALS})"
    p.add_argument("--proposals", type=positive, metavar="N", help=more)
    p.add_argument("--seed", type=not_negative, metavar="N", help=f"of all random numbers (default: {SEED})")
    more = "a database that many machines share, or a file (default: study.log in DIR)"
    p.add_argument("--storage", default="", metavar="URL", help=more)
    p.add_argument(
        "--study", default="", metavar="NAME", help="in the storage (default: that of DIR, if it is new DIR's name)"
    )
    p.add_argument("--teacher", default="", metavar="RUN", help="of the full training that best.toml asks for")
    p.add_argument("--show", action="store_true", help="search no more: what was found so far")


def run_search(args) -> int:
    if args.show:
        no_use(args, FOR_MORE, "with --show")
    elif not args.data or not args.ram or not (args.ms or args.cycles):
        raise ValueError("search: wanted --data, --ram, and --ms or --cycles; or --show")
    if args.teacher and not (Path(args.teacher) / "float.npz").is_file():
        raise ValueError(f"--teacher: wanted a trained run, there is no {args.teacher}/float.npz")
    with quiet_stdout(args), needs_torch():
        from ..make import search  # imported here: optuna takes half a second to start, and may not be installed

        if args.show:
            found = search.show(args.out, args.study, args.storage, args.teacher)
        else:
            # imported here: that there is no torch is better told before the data are read than after
            from ..train import loop  # noqa: F401

            order = search.Order(
                wanted(args), args.epochs or EPOCHS, args.share or SHARE, args.proposals or PROPOSALS,
                SEED if args.seed is None else args.seed,
            )  # fmt: skip
            with progress(args) as track:
                found = search.search(
                    order, args.data, args.test or "", args.out, args.study, args.storage, args.trials, args.minutes,
                    args.teacher, track,
                )  # fmt: skip
    tell(args, found)
    return 0


def tell(args, found: Found) -> None:
    if args.json:
        told = {"study": found.study, "proposed": found.proposed, "trained": [plain(row) for row in found.rows],
                "front": [row.trial for row in found.front], "best": found.best and str(found.best),
                "plot": found.plot and str(found.plot)}  # fmt: skip
        print_json(told)
        return
    trained = f"{found.proposed} networks proposed, {len(found.rows)} of them trained for a while"
    if found.best is None:
        print(f"{found.study}: {trained}, none to the end yet")
        return
    from ..report import tables  # imported here: the stage alone

    console = wide_console()
    rows = [{**plain(row), "ms": 1000 * row.needs.cycles / found.wanted.clock} for row in found.front]
    console.print(tables.found(f"{found.study}: {trained}; those that none beats", rows), highlight=False)
    print(f"{found.plot}\n{found.best}\nnext:")
    budget = "" if found.wanted.ram is None else f" --budget {found.wanted.ram}"
    print(f"  patchnet train {found.best} --out {args.out / 'best'} --chain{budget}")


def plain(row: Row) -> dict[str, Any]:
    from ..net.toml import recipe_to_dict  # imported here: the stage alone

    own = asdict(row.needs)
    del own["beyond"]
    p = row.proposal
    return {"trial": row.trial, "accuracy": row.accuracy, "whole": row.whole, **own, "network": p.described(),
            "begin": p.begin, "tied": p.tied, "recipe": recipe_to_dict(p.recipe)}  # fmt: skip
