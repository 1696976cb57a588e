"""make, design, anchors, train, quantize, pack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import DIFFERENT, STREAM, Parser, count, positive, setting, size
from .output import needs_torch, print_json, progress, quiet_stdout, wide_console, written

if TYPE_CHECKING:
    from ..evaluate.chain import Chain


def add(command: Callable[..., Parser]) -> None:
    """make, design, anchors, train, quantize, pack."""
    more = (
        "All stages, one after the other, with their files: looks at DATA (a folder of class folders, or a data set), "
        "chooses a network for the budgets, trains it from what EfficientNet-Lite0 knows, quantizes, packs, tries it "
        "on every engine here, and writes a page about it. Goes on where it was stopped; ^C ends the training early. "
        "Needs PyTorch."
    )
    p = command("make", run_make, "From a folder of pictures to a network for the board", more)
    p.add_argument("data", metavar="DATA")
    p.add_argument("--ram", type=size, required=True, metavar="SIZE", help="arena at most")
    p.add_argument("--flash", type=size, metavar="SIZE", help="blob at most")
    p.add_argument("--ms", type=float, metavar="N", help="milliseconds a picture at most, an instruction a cycle")
    p.add_argument("--clock", type=count, default=480_000_000, metavar="HZ", help="of the processor (default: 480M)")
    p.add_argument("--minutes", type=float, default=30.0, metavar="N", help="of training (default: 30)")
    more = "weights to begin with: lite0 (default), or nothing"
    p.add_argument("--from", choices=("lite0", "nothing"), default="lite0", dest="begin", help=more)
    p.add_argument("--test", default="", metavar="DATA", help="what to test with (default: a part of DATA)")
    p.add_argument("--name", default="", help="of the network (default: the data's)")
    p.add_argument("-o", dest="out", type=Path, metavar="RUN", help="the run's directory (default: runs/make/NAME)")

    more = "Searches patches, margins and widths whose layers all keep the paper's equations 2 and 3."
    p = command("design", run_design, "Find networks for a memory budget", more)
    p.add_argument("--budget", type=size, required=True, metavar="SIZE", help="memory as the paper counts it, int8")
    p.add_argument("--height", type=positive, required=True, help="of the picture that the network sees, pixels")
    p.add_argument("--width", type=positive, required=True)
    p.add_argument("--channels", type=int, choices=(1, 3), default=3, help="1: grey, 3: colour (default)")
    labels = p.add_mutually_exclusive_group()
    labels.add_argument("--labels", default="no,yes", help="names of the classes, comma between them (default: no,yes)")
    labels.add_argument("--data", help="a data set to take the classes from; the file written by -o then trains on it")
    p.add_argument("-k", type=int, choices=(1, 4, 9, 16), nargs="+", default=(1, 4, 9, 16), help="numbers of patches")
    p.add_argument("--margins", type=int, nargs="+", metavar="N", help="of the patches, pixels (default: a few)")
    p.add_argument("--no-central", action="store_true", help="without the central patch")
    p.add_argument("--max-macs", type=count, metavar="N", help="multiply-accumulates per picture at most, such as 30M")
    p.add_argument("--top", type=positive, default=5, metavar="N", help="how many to print (default: 5)")
    p.add_argument("--name", default="designed", help="of the network")
    p.add_argument("-o", dest="out", type=Path, metavar="FILE.toml", help="write one of them, for train and analyze")
    p.add_argument("--pick", type=positive, default=1, metavar="N", help="which one to write (default: the first)")

    more = "By k-means over the boxes of a detection set; for a network's [network.detection]."
    p = command("anchors", run_anchors, "Choose anchors for a network that detects", more)
    p.add_argument("--data", required=True, metavar="DATA", help="a detection set")
    p.add_argument("--height", type=positive, required=True, help="of the network's picture")
    p.add_argument("--width", type=positive, required=True)
    p.add_argument("--classes", metavar="A,B,...", help="of boxes of these classes (default: all)")
    p.add_argument("-k", type=positive, default=4, metavar="N", help="how many (default: 4)")

    more = "EXPERIMENT is a TOML file or the name of one that comes with patchnet. Needs PyTorch."
    p = command("train", run_train, "Train an experiment in float32", more)
    p.add_argument("experiment", metavar="EXPERIMENT")
    p.add_argument("--out", type=Path, metavar="DIR", help="the run's directory (default: runs/classify/NAME)")
    p.add_argument("--resume", action="store_true", help="go on where the run was stopped")
    more = "replace a value of the experiment, for instance epochs=2"
    p.add_argument("--set", type=setting, action="append", default=[], metavar="KEY=VALUE", dest="settings", help=more)
    p.add_argument("--chain", action="store_true", help="then quantize, pack, and compare accuracies")
    p.add_argument("--budget", type=size, metavar="SIZE", help="with --chain: arena of the blob, as for pack")
    p.add_argument("--tune", type=int, default=6, metavar="N", help="with --chain: epochs of fine-tuning (default: 6)")

    more = "Calibrates on training pictures and fine-tunes. Writes qnet.npz into the run. Needs PyTorch."
    p = command("quantize", run_quantize, "Turn a trained run into integers", more)
    p.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    p.add_argument("--epochs", type=int, default=6, help="of fine-tuning; 0: calibration alone (default: 6)")
    p.add_argument("--lr", type=float, default=2e-4, help="of fine-tuning (default: 2e-4)")
    p.add_argument("--calibration", type=positive, default=256, metavar="N", help="pictures (default: 256)")
    p.add_argument("-o", dest="out", type=Path, metavar="FILE.npz", help="default: qnet.npz in the run")

    from ..plan.choice import DEFAULT_LIMIT  # imported here: with the commands, numpy

    limit = f"at most {DEFAULT_LIMIT:g} times the instructions of the fastest"
    more = f"Without a budget: the plan of the smallest arena that takes {limit}."
    p = command("pack", run_pack, "Plan the memory and write the .pnb blob", more)
    p.add_argument("qnet", metavar="QNET", help="qnet.npz, or the run that holds it")
    p.add_argument("-o", dest="out", type=Path, metavar="FILE.pnb", help="default: NAME.pnb beside it")
    p.add_argument("--budget", type=size, metavar="SIZE", help="arena: more is quicker")
    p.add_argument("--stream", type=size, metavar="SIZE", help=f"for a file that is streamed: {STREAM}")
    p.add_argument(
        "--wide", action="store_true", help="16-bit weights in deep layers: up to 4%% quicker, twice their flash"
    )


def run_make(args) -> int:
    with quiet_stdout(args), needs_torch():
        # imported here: the stage alone
        from ..make.choose import Wanted
        from ..make.stages import Order, make

        name = args.name or Path(args.data).stem
        wanted = Wanted(args.ram, args.flash, args.ms, args.clock)
        begin = "" if args.begin == "nothing" else args.begin
        out = args.out or Path("runs") / "make" / name
        with progress(args) as track:
            made = make(Order(name, args.data, args.test, wanted, args.minutes, begin), out, track)
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
    print(f"  patchnet predict {made.run} PICTURE")
    print(f"  patchnet val {made.run} --data {made.run}/test.npz --on auto")
    return DIFFERENT if any(r.identical is False for r in results) else 0


def run_design(args) -> int:
    # imported here: the stage alone
    from .. import data
    from ..net.search import design
    from ..net.toml import recipe_to_dict, write_toml
    from ..progress import planning
    from ..report import analyze, tables

    labels = data.load(args.data).classes if args.data else tuple(args.labels.split(","))
    found = design(
        labels, args.height, args.width, args.budget, channels=args.channels, ks=tuple(args.k),
        margins=tuple(args.margins) if args.margins else None, central=not args.no_central,
        max_macs=args.max_macs, top=max(args.top, args.pick), name=args.name,
    )  # fmt: skip
    shown, told = found[: args.top], []
    with progress(args) as track:
        done = planning(track, f"{len(shown)} networks")
        for candidate in shown:
            told.append(analyze.describe(candidate))
            done(len(told), len(shown))
    if args.json:
        print_json(told)
    else:
        wide_console().print(tables.designs(told))
    if args.out:
        if args.pick > len(found):
            raise ValueError(f"--pick {args.pick}: only {len(found)} were found")
        head = {"name": args.name, **({"train": args.data} if args.data else {})}
        args.out.write_text(write_toml({**head, "network": recipe_to_dict(found[args.pick - 1].recipe)}))
        written(args.out)
    return 0


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


def run_train(args) -> int:
    # imported here: the stage alone
    from ..evaluate.chain import chain
    from ..evaluate.val import answered

    with quiet_stdout(args), needs_torch():
        from ..report import run as report  # imported here: matplotlib takes half a second to start
        from ..train import loop  # imported here: torch takes seconds to start, and may not be installed

        run = loop.run(args.experiment, args.out, args.resume, report.Live(), **dict(args.settings))
        report.write(run)
        made = None
        if args.chain:
            with progress(args) as track:
                made = chain(run, args.budget, args.tune, track)
                report.write(run, answered(run, made.test, ("float", "host"), track=track) if made.test else None)
    if args.json:
        print_json({"run": str(run)} if made is None else told(made))
    elif made is None:
        print(run)
    else:
        print(f"{made.packed.path}: {made.packed.blob_bytes:,} B, arena {made.packed.ram:,} B")
        if made.test:
            accuracies = ", ".join(f"{on} {value:.2%}" for on, value in made.measured.items())
            print(f"{made.test}: {accuracies} ({made.name})")
    return 0


def told(made: Chain) -> dict:
    """Plain values: what was measured as float_top1, host_top1, or by the name that the task has for it."""
    measured = {f"{on}_{made.measure}": value for on, value in made.measured.items()}
    return {"run": made.run, "packed": asdict(made.packed), "test": made.test, **measured}


def run_quantize(args) -> int:
    with quiet_stdout(args), needs_torch():
        from ..train import quantize  # imported here: torch takes seconds to start, and may not be installed

        path = quantize.run(args.run_dir, args.epochs, args.lr, args.calibration, args.out)
    print_json({"qnet": str(path)}) if args.json else print(path)
    return 0


def run_pack(args) -> int:
    from ..blob.files import pack_file  # imported here: the stage alone

    with progress(args) as track:
        packed = pack_file(args.qnet, args.out, args.budget, track, args.wide, args.stream)
    if args.json:
        print_json({name: value for name, value in asdict(packed).items() if value is not None})
    else:
        print(f"{packed.path}: {packed.blob_bytes:,} B, arena {packed.ram:,} B")
        if args.stream is not None:
            print(f"Model({Path(packed.path).name!r}, stream={args.stream}) needs {packed.streamed:,} B of RAM in all")
    return 0
