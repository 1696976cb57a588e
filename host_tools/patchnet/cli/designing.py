"""design, anchors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .. import rooms
from ..whole import write_text
from .arguments import Parser, count, labels, limits, new_file, no_use, not_negative, plain_name, positive, size, wanted
from .output import print_json, progress, wide_console, written

if TYPE_CHECKING:
    from rich.table import Table

    from ..make.choose import Wanted
    from ..net.search import Candidate

PATCHES = (1, 4, 9, 16)
OF_EQUATIONS = ("--height", "--width", "--channels", "--labels", "-k", "--margins", "--no-central")
Found = tuple[list[dict[str, Any]], "Table | str", list[dict[str, Any]]]  # told as JSON and to people, as experiments


def add(command: Callable[..., Parser]) -> None:
    """In the order of work."""
    more = (
        "With --ram: networks for DATA, as `make` weighs them, by the arena of their plans, with weights to begin "
        "with. With --budget: networks all of whose layers keep the paper's equations 2 and 3, to learn from nothing."
    )
    p = command("design", run_design, "Find networks for a memory budget", more)
    memory = p.add_mutually_exclusive_group(required=True)
    memory.add_argument("--ram", type=size, metavar="SIZE", help="arena at most")
    memory.add_argument("--budget", type=size, metavar="SIZE", help="memory as the paper counts it, int8")
    p.add_argument("--data", help="a data set that the network is for; the file written by -o then trains on it")
    p.add_argument("--test", metavar="DATA", help="what to test with")
    p.add_argument("--task", choices=tuple(rooms.TASKS), help="what it is to do (default: what DATA is made for)")
    limits(p)
    p.add_argument("--height", type=positive, help="with --budget: of the picture that the network sees, pixels")
    p.add_argument("--width", type=positive)
    p.add_argument("--channels", type=int, choices=(1, 3), help="with --budget: 1: grey, 3: colour (default)")
    more = "with --budget, without --data: names of the classes, comma between them (default: no,yes)"
    p.add_argument("--labels", type=labels, metavar="A,B,...", help=more)
    more = "with --budget: numbers of patches"
    p.add_argument("-k", type=int, choices=PATCHES, nargs="+", help=more)
    more = "with --budget: of the patches, pixels (default: a few)"
    p.add_argument("--margins", type=not_negative, nargs="+", metavar="N", help=more)
    p.add_argument("--no-central", action="store_true", help="with --budget: without the central patch")
    p.add_argument("--max-macs", type=count, metavar="N", help="multiply-accumulates per picture at most, such as 30M")
    p.add_argument("--top", type=positive, default=4, metavar="N", help="how many to print (default: 4)")
    p.add_argument("--name", type=plain_name, default="designed", help="of the network")
    more = "write one of them, for train and analyze"
    p.add_argument("-o", dest="out", type=new_file(".toml"), metavar="FILE.toml", help=more)
    p.add_argument("--pick", type=positive, metavar="N", help="with -o: which one to write (default: the first)")

    more = "By k-means over the boxes of a detection set; for a network's [network.detection]."
    p = command("anchors", run_anchors, "Choose anchors for a network that detects", more)
    p.add_argument("--data", required=True, metavar="DATA", help="a detection set")
    p.add_argument("--height", type=positive, required=True, help="of the network's picture")
    p.add_argument("--width", type=positive, required=True)
    p.add_argument("--classes", metavar="A,B,...", help="of boxes of these classes (default: all)")
    p.add_argument("-k", type=positive, default=4, metavar="N", help="how many (default: 4)")


def run_design(args) -> int:
    run = weigh if args.ram is not None else search
    if not args.out:
        no_use(args, ("--pick",), "without -o")
    pick = args.pick or 1
    if pick > args.top:
        raise ValueError(f"--pick {pick}: wanted 1 to {args.top}, as --top says")
    # imported here: the stage alone
    from ..net.toml import write_toml

    found, table, experiments = run(args)
    if args.out and pick > len(experiments):
        raise ValueError(f"--pick {pick}: only {len(experiments)} were found")
    print_json(found) if args.json else wide_console().print(table, highlight=False)
    if args.out:
        write_text(args.out, write_toml(experiments[pick - 1]))
        written(args.out)
    return 0


def weigh(args) -> Found:
    """Networks by the arena of their plans, over the trunk."""
    # imported here: the stage alone
    from ..data.look import look
    from ..make import choose
    from ..net.toml import recipe_to_dict

    if not args.data:
        raise ValueError("--ram: wanted --data as well, which the network is to be for")
    no_use(args, OF_EQUATIONS, "with --ram, it is for --budget")
    seen = look(args.data, args.test or "")
    making = choose.making_for(args.name, seen, args.task)
    most = wanted(args)
    with progress(args) as track:
        found = choose.candidates(making, most, track("choosing", choose.rounds(making)))[: args.top]
    parts = {"name": args.name, "train": seen.where[0], "test": seen.where[1]}
    told = [asdict(c) | {"ms": c.ms(most.clock)} for c in found]
    for one, c in zip(told, found, strict=True):
        one["recipe"] = recipe_to_dict(c.recipe)
    lines = "\n".join(choose.listed(making, found, most.clock))
    return told, lines, [parts | choose.training_of(making, c.recipe) for c in found]


def search(args) -> Found:
    """Networks by the paper's equations; those that then keep to flash and milliseconds, too."""
    # imported here: the stage alone
    from .. import data
    from ..data.look import kind_of
    from ..make.choose import FEWEST
    from ..net.search import design
    from ..net.toml import recipe_to_dict
    from ..progress import planning
    from ..report import analyze, tables

    if not (args.height and args.width):
        raise ValueError("--budget: wanted --height and --width of the picture as well")
    if not args.ms:
        no_use(args, ("--clock",), "with --budget and no --ms")
    if args.data:
        no_use(args, ("--labels",), "with --data, which has names")
        if args.task not in (None, "classify"):
            raise ValueError(f"--task {args.task}: networks of --budget are for task classify: --ram is for others")
        items = data.load(args.data)
        classes, kind = items.classes, kind_of(items)
        if kind != "pictures" and args.task != "classify":
            raise ValueError(f"{args.data} has {kind}: --ram is for them, or --task classify")
    else:
        no_use(args, ("--task", "--test"), "with --budget and no --data")
        classes = args.labels or ("no", "yes")
    found = design(
        classes, args.height, args.width, args.budget, channels=args.channels or 3, ks=tuple(args.k or PATCHES),
        margins=tuple(args.margins) if args.margins else None, central=not args.no_central,
        max_macs=args.max_macs, top=None, name=args.name,
    )  # fmt: skip
    most = wanted(args)
    refuse_in_vain(args.name, found, most)
    told: list[dict[str, Any]] = []
    kept = []
    with progress(args) as track:
        done = planning(track, f"{args.top} networks")
        for candidate in found:
            if len(told) == args.top:
                break
            if not most.allow(candidate.weights, FEWEST * candidate.macs):
                continue
            one = analyze.describe(candidate)
            if most.allow(one["blob_bytes"], one["cycles"]):
                told.append(one)
                kept.append(candidate)
                done(len(told), args.top)
    if not told:
        raise ValueError(f"{args.name}: none of {len(found)} networks keeps to {most.limits()}")
    head = {"name": args.name, "train": args.data, "test": args.test or ""} if args.data else {"name": args.name}
    return told, tables.designs(told), [head | {"network": recipe_to_dict(c.recipe)} for c in kept]


def refuse_in_vain(name: str, found: list[Candidate], most: Wanted) -> None:
    """ValueError where not even the smallest network has so little flash, or the quickest takes so little time."""
    if most.flash is None and most.ms is None:
        return
    from ..report import analyze  # imported here: the stage alone

    flash = analyze.describe(min(found, key=lambda c: c.weights))["blob_bytes"]
    cycles = analyze.describe(min(found, key=lambda c: c.macs))["cycles"]
    if not most.allow(flash, cycles):
        needs = f"the smallest has {flash:,} B of flash, the quickest takes {1000 * cycles / most.clock:.1f} ms"
        raise ValueError(f"{name}: none of {len(found)} networks keeps to {most.limits()}; {needs}")


def run_anchors(args) -> int:
    # imported here: the stage alone
    from .. import data, rooms

    dataset = data.load(args.data)
    dataset = data.of_classes(dataset, tuple(args.classes.split(","))) if args.classes else dataset
    anchors, overlap = rooms.part("detect", "boxes").anchors_for(dataset, args.height, args.width, args.k)
    if args.json:
        print_json({"anchors": anchors, "overlap": overlap})
    else:
        print(f"anchors = {list(map(list, anchors))}  # mean IoU with the best one {overlap:.3f}")
    return 0
