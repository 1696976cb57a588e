"""make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from .arguments import DIFFERENT, Parser, above_zero, limits, new_folder, plain_name, size, wanted
from .output import needs_torch, print_json, progress, quiet_stdout


def add(command: Callable[..., Parser]) -> None:
    more = (
        "All stages, one after the other, with their files: looks at DATA (a folder of class folders, or a data set), "
        "chooses a network for the budgets, trains it from what EfficientNet-Lite0 knows, quantizes, packs, tries it "
        "on every engine here, and writes a page about it. Goes on where it was stopped; ^C ends the training early. "
        "Needs PyTorch."
    )
    p = command("make", run_make, "From a folder of pictures to a network for the board", more)
    p.add_argument("data", metavar="DATA")
    p.add_argument("--ram", type=size, required=True, metavar="SIZE", help="arena at most")
    limits(p)
    p.add_argument("--minutes", type=above_zero, default=30.0, metavar="N", help="of training (default: 30)")
    more = "weights to begin with: lite0 (default), or nothing"
    p.add_argument("--from", choices=("lite0", "nothing"), default="lite0", dest="begin", help=more)
    more = "first teach all of EfficientNet-Lite0, in two fifths of the time, and learn from its answers, too"
    p.add_argument("--teacher", action="store_true", help=more)
    p.add_argument("--test", default="", metavar="DATA", help="what to test with (default: a part of DATA)")
    p.add_argument("--name", type=plain_name, help="of the network (default: the data's)")
    p.add_argument(
        "-o", dest="out", type=new_folder, metavar="RUN", help="the run's directory (default: runs/make/NAME)"
    )


def run_make(args) -> int:
    with quiet_stdout(args), needs_torch():
        # imported here: the stage alone
        from ..make.stages import Order, make

        name = args.name or Path(args.data).stem
        begin = "" if args.begin == "nothing" else args.begin
        out = args.out or Path("runs") / "make" / name
        with progress(args) as track:
            made = make(Order(name, args.data, args.test, wanted(args), args.minutes, begin, args.teacher), out, track)
    results = [*made.answers.results, *(made.emulated.results[1:] if made.emulated else [])]
    if args.json:
        print_json({"run": made.run, "packed": asdict(made.packed), "report": made.report,
                    "results": [{k: v for k, v in asdict(r).items() if v is not None} for r in results]})  # fmt: skip
        return 0
    print(f"{made.packed.path}: {made.packed.blob_bytes:,} B, arena {made.packed.ram:,} B")
    for r in results:
        same = "" if r.identical is None else ", identical" if r.identical else ", NOT identical"
        print(f"  {r.on}: {getattr(r, made.answers.room.measure):.2%} of {r.n}{same}")
    print(f"{made.report}\nnext:")
    print(f"  patchnet deploy {made.packed.path}")
    print(f"  patchnet predict {made.run} {made.answers.room.reads.upper().rstrip('S')}")
    print(f"  patchnet val {made.run} --data {made.run}/test.npz --on auto")
    return DIFFERENT if any(r.identical is False for r in results) else 0
