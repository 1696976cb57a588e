"""The command `patchnet`: arguments in, tables or JSON out. Every stage is a function of another module."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

STREAM = "weights go through a buffer of this size"
USER_ERROR = 2
DIFFERENT = 1  # engines that must agree do not

EPILOG = """\
A network is a .pnb file, the directory of a run, or the bare name of one that comes with patchnet ({names}).
Sizes are bytes, or end in K, KB, M, MB (of 1024). `patchnet COMMAND --help` tells more.
"""


# ---------------------------------------------------------------- arguments


class Parser(argparse.ArgumentParser):
    """argparse, but an error is one line."""

    def error(self, message: str):
        self.exit(USER_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")


def size(text: str) -> int:
    """Bytes of "24K", "24KB", "1.5M" or "24576"."""
    digits = text.strip().upper().removesuffix("B").strip()
    unit = {"K": 1 << 10, "M": 1 << 20}.get(digits[-1:], 1)
    try:
        value = float(digits if unit == 1 else digits[:-1]) * unit
    except ValueError:
        value = 0.0
    if value < 1 or not value.is_integer():
        raise argparse.ArgumentTypeError(f"wanted a size such as 24K, 24KB or 24576, got {text!r}")
    return int(value)


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"wanted a whole number from 1 on, got {text!r}")
    return int(text)


def count(text: str) -> int:
    """A number such as 30000000, 30M or 500k (of 1000)."""
    unit = {"K": 10**3, "M": 10**6}.get(text[-1:].upper(), 1)
    try:
        return int(float(text if unit == 1 else text[:-1]) * unit)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"wanted a number such as 30M, got {text!r}") from None


def fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"wanted a number from 0 to 1, got {text!r}")
    return value


def engines(text: str) -> list[str]:
    from ..evaluate.evaluate import ENGINES, is_port

    names = text.split(",")
    for name in names:
        if name not in ENGINES and not is_port(name):
            raise argparse.ArgumentTypeError(f"wanted some of {', '.join(ENGINES)} or a port, got {name!r}")
    return names


def setting(text: str) -> tuple[str, object]:
    """KEY=VALUE of --set; the value is JSON where it can be, else text."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"wanted KEY=VALUE, got {text!r}")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def build_parser() -> Parser:
    from ..models import names

    parser = Parser(
        prog="patchnet",
        description="Small convolutional networks for microcontrollers: designed for a memory budget, trained here, "
        "run there with the same integers.",
        epilog=EPILOG.format(names=", ".join(names()) or "none in this installation"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands, in the order of work", metavar="COMMAND", required=True)

    def command(name: str, run: Callable, summary: str, more: str = "") -> Parser:
        sub = commands.add_parser(name, help=summary, description=f"{summary}. {more}".rstrip())
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print JSON and nothing else")
        return sub

    _add_making(command)
    _add_looking(command)
    _add_boards(command)
    return parser


def _add_making(command: Callable[..., Parser]) -> None:
    """design, train, quantize, pack."""
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

    from ..plan.planner import DEFAULT_LIMIT

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


def _add_looking(command: Callable[..., Parser]) -> None:
    """analyze, val, predict, bench."""
    from ..net.zoo import NAMES
    from ..plan.costs import TABLES

    more = f"The arena is what the device will need, to the byte. Known shapes: {', '.join(NAMES)}."
    p = command("analyze", run_analyze, "Show memory, work and size, block by block", more)
    p.add_argument("model", metavar="MODEL", help="a network, a design or experiment (.toml), or known shapes")
    p.add_argument("--budget", type=size, metavar="SIZE", help="plan for this arena instead")
    p.add_argument("--stream", type=size, metavar="SIZE", help=f"as a file that is streamed: {STREAM}")
    p.add_argument("--pareto", action="store_true", help="list the plans to choose from: arena against work")
    how = "what plans are compared by: %(choices)s (default: instructions; of known shapes macs)"
    p.add_argument("--by", choices=TABLES, default="", help=how)
    p.add_argument("--narrow", action="store_true", help="tell what smaller sums and maps would save")
    p.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw memory over the blocks; with --pareto, the plans"
    )

    more = (
        "Engines: PyTorch (float), the C engine on this machine (host), MicroPython on this machine (unix), and "
        "MicroPython on an emulated Cortex-M7 (qemu). Exit status 1 if engines that must give equal scores do not."
    )
    p = command("val", run_val, "Measure accuracy", more)
    p.add_argument("model", metavar="MODEL")
    p.add_argument("--data", required=True, metavar="DATA", help="an .npz, a folder of class folders, or digits")
    more = "float, host, unix, qemu or the port of a board; several for a comparison (default: host)"
    p.add_argument("--on", type=engines, action="append", metavar="ENGINE", help=more)
    p.add_argument("--limit", type=positive, metavar="N", help="use N pictures, evenly spread over the set")
    p.add_argument("--confusion", type=Path, metavar="FILE.png", help="draw the confusion matrix of the last engine")

    p = command("predict", run_predict, "Classify pictures or sounds, or find objects in pictures")
    p.add_argument("model", metavar="MODEL")
    p.add_argument("pictures", nargs="+", metavar="PICTURE")
    p.add_argument("--on", type=engines, default=["host"], metavar="ENGINE", help="float, host (default), unix or qemu")
    p.add_argument("--top", type=positive, default=5, metavar="N", help="labels per picture (default: 5)")
    more = "networks that detect: least score (default: 0.4)"
    p.add_argument("--threshold", type=fraction, default=0.4, metavar="SCORE", help=more)
    more = "networks that detect: of two boxes of a class that overlap more, one goes (default: 0.45)"
    p.add_argument("--iou", type=fraction, default=0.45, metavar="IOU", help=more)
    p.add_argument("--out", type=Path, metavar="FILE.png", help="draw the pictures with labels and patches, or boxes")

    more = "Blocks and networks in each schedule, beside what others publish. `make qemu` builds the firmware."
    p = command("bench", run_bench, "Count instructions on the emulated Cortex-M7", more)
    more = "this network alone: a shipped name, .pnb or run, or (not on a board) known shapes"
    p.add_argument("model", metavar="MODEL", nargs="?", help=more)
    more = "qemu (default), or a board's port: microseconds of each layer of MODEL there"
    p.add_argument("--on", default="qemu", metavar="PORT", help=more)
    p.add_argument("--repeat", type=positive, default=5, metavar="N", help="with --on PORT: median of N (default: 5)")
    p.add_argument("--firmware", type=Path, metavar="FILE.elf", help="default: build/qemu/firmware.elf")
    p.add_argument("--runs", type=Path, metavar="DIR", help="networks of DIR/NAME/qnet.npz instead of the shipped .pnb")
    p.add_argument("--blocks", action="store_true", help="the four blocks only")


def _add_boards(command: Callable[..., Parser]) -> None:
    """devices, deploy."""
    ports = "/dev/..., id:SERIALNUMBER, socket://host:port, or auto: the only board on USB"
    more = "Asks each what runs on it; what was running there is stopped."
    p = command("devices", run_devices, "List the boards on USB", more)
    p.add_argument("--port", action="append", default=[], metavar="PORT", help="ask at this one, too")

    more = (
        "Checks first that heap and flash suffice; copies, reads back, and compares the board's answer to a test "
        "vector with this PC's. The old file is kept until then."
    )
    p = command("deploy", run_deploy, "Put a network on a board", more)
    p.add_argument("model", metavar="MODEL")
    p.add_argument("--port", default="auto", metavar="PORT", help=f"{ports} (default)")
    more = "ROMFS partition, flash or card (default: rom where there is one, else flash)"
    p.add_argument("--to", choices=("rom", "flash", "sd"), help=more)
    more = "where there is no room for the old and the new at once, drop the old first"
    p.add_argument("--replace", action="store_true", help=more)
    more = "without asking, put patchnet.mpy on a board whose firmware lacks patchnet"
    p.add_argument("--install", action="store_true", help=more)


# ---------------------------------------------------------------- output


def wide_console() -> Console:
    """Tables keep all their digits: better that a narrow terminal wraps lines."""
    console = Console()
    return Console(width=max(150, console.width))


def print_json(values) -> None:
    """JSON with lists of numbers in one line each."""
    text = json.dumps(values, indent=2, ensure_ascii=False)
    print(re.sub(r"\[[-+.\deE,\s]+\]", lambda numbers: " ".join(numbers[0].split()), text))


@contextmanager
def progress(args) -> Iterator[Callable]:
    """A function for `track=`: progress bars on stderr, none with --json."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=args.json)

    def track(what: str, total: int) -> Callable[[int], None]:
        bars.start()  # not before: an error should be the only thing on the screen
        task = bars.add_task(what, total=total)
        return lambda done: bars.advance(task, done)

    try:
        yield track
    finally:
        if bars.live.is_started:
            bars.stop()


@contextmanager
def quiet_stdout(args) -> Iterator[None]:
    """With --json, stdout is for the JSON only: what a stage prints goes to stderr."""
    if not args.json:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


def warned(text: str) -> None:
    print(f"patchnet: {text}", file=sys.stderr)


def written(path: Path | str) -> None:
    print(f"wrote {path}", file=sys.stderr)


# ---------------------------------------------------------------- commands; each returns an exit status


def run_design(args) -> int:
    from ..data import sets as data
    from ..evaluate.stages import planning
    from ..net.design import design, to_dict, write_toml
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
        args.out.write_text(write_toml({**head, "network": to_dict(found[args.pick - 1].network)}))
        written(args.out)
    return 0


def run_anchors(args) -> int:
    from ..data import sets as data
    from ..data.boxed import anchors_for, of_classes

    dataset = data.load(args.data)
    dataset = of_classes(dataset, tuple(args.classes.split(","))) if args.classes else dataset
    anchors, overlap = anchors_for(dataset, args.height, args.width, args.k)
    if args.json:
        print_json({"anchors": anchors, "overlap": overlap})
    else:
        print(f"anchors = {list(map(list, anchors))}  # mean IoU with the best one {overlap:.3f}")
    return 0


def run_train(args) -> int:
    from ..evaluate import stages

    with quiet_stdout(args), needs_torch():
        from ..train import train

        run = train.run(args.experiment, args.out, args.resume, **dict(args.settings))
        if not args.chain:
            result = {"run": str(run)}
        else:
            with progress(args) as track:
                result = asdict(stages.chain(run, args.budget, args.tune, track))
    if args.json:
        print_json(result)
    elif args.chain:
        print(f"{result['packed']['path']}: {result['packed']['blob_bytes']:,} B, arena {result['packed']['ram']:,} B")
        if result["test"]:
            what = "top1" if result["float_map50"] is None else "map50"
            accuracies = (f"{on} {result[f'{on}_{what}']:.2%}" for on in ("float", "host"))
            print(f"{result['test']}: " + ", ".join(accuracies) + ("" if what == "top1" else " (mAP50)"))
    else:
        print(run)
    return 0


def run_quantize(args) -> int:
    with quiet_stdout(args), needs_torch():
        from ..train import quantize

        path = quantize.run(args.run_dir, args.epochs, args.lr, args.calibration, args.out)
    print_json({"qnet": str(path)}) if args.json else print(path)
    return 0


def run_pack(args) -> int:
    from ..evaluate.stages import pack_file

    with progress(args) as track:
        packed = pack_file(args.qnet, args.out, args.budget, track, args.wide, args.stream)
    if args.json:
        print_json({name: value for name, value in asdict(packed).items() if value is not None})
    else:
        print(f"{packed.path}: {packed.blob_bytes:,} B, arena {packed.ram:,} B")
        if args.stream is not None:
            print(f"Model({Path(packed.path).name!r}, stream={args.stream}) needs {packed.streamed:,} B of RAM in all")
    return 0


def run_analyze(args) -> int:
    from ..evaluate.evaluate import model_file
    from ..evaluate.stages import planning
    from ..net import zoo
    from ..report import analyze, tables

    try:
        known = args.model.endswith(".toml") or args.model in zoo.NAMES
        source = args.model if known else model_file(args.model, "host")
    except FileNotFoundError as e:
        raise FileNotFoundError(f"{e}; shapes to plan for: {', '.join(zoo.NAMES)}") from None
    with progress(args) as track:
        how = args.budget, args.pareto, planning(track, args.model), args.by, args.stream
        result = analyze.analyze(source, *how)
    if args.json:
        print_json(analyze.to_dict(result))
    else:
        console = wide_console()
        console.print(tables.front(result) if args.pareto else tables.blocks(result))
        for line in tables.summary(result):
            console.print(line, highlight=False)
        if args.narrow:
            console.print(tables.narrower(result))
    if args.plot:
        from ..report import plots

        (plots.front if args.pareto else plots.memory)(result, args.plot)
        written(args.plot)
    return 0


def run_val(args) -> int:
    from ..evaluate import evaluate

    on = list(dict.fromkeys(name for names in args.on or [["host"]] for name in names))
    with progress(args) as track:
        results = evaluate.val(args.model, args.data, on, args.limit, track)
    if args.json:
        plain = [evaluate.to_dict(r) for r in results]
        print_json(plain if len(plain) > 1 else plain[0])
    else:
        wide_console().print((_precision_table if hasattr(results[0], "map50") else _val_table)(results))
    if args.confusion and hasattr(results[-1], "map50"):
        raise ValueError("--confusion: wanted a network that classifies, this one detects")
    if args.confusion:
        from ..report import plots

        last = results[-1]
        plots.confusion(last, args.confusion)
        written(args.confusion)
    return DIFFERENT if any(r.identical is False for r in results) else 0


def _equal(result) -> str:
    reference = result.reference
    return {None: "", True: f"identical to {reference}", False: f"[red]differ from {reference}[/red]"}[result.identical]


def _precision_table(results: Sequence) -> Table:
    out = Table(title=f"{results[0].model} on {results[0].data}", title_justify="left")
    out.add_column("on")
    for name in ("pictures", "objects", "mAP50", "mAP50-95", *results[0].labels, "RAM", "seconds", "boxes"):
        out.add_column(name, justify="right")
    for r in results:
        out.add_row(
            r.on, str(r.n), str(r.objects), f"{r.map50:.2%}", f"{r.map:.2%}",
            *("" if p is None else f"{p:.2%}" for p in r.ap50),
            "" if r.ram is None else f"{r.ram:,} B", f"{r.seconds:.1f}", _equal(r) or str(r.boxes),
        )  # fmt: skip
    return out


def _val_table(results: Sequence) -> Table:
    out = Table(title=f"{results[0].model} on {results[0].data}", title_justify="left")
    out.add_column("on")
    for name in ("pictures", "top-1", "top-5", "RAM", "seconds", "scores"):
        out.add_column(name, justify="right")
    for r in results:
        out.add_row(
            r.on, str(r.n), f"{r.top1:.2%}", "" if r.top5 is None else f"{r.top5:.2%}",
            "" if r.ram is None else f"{r.ram:,} B", f"{r.seconds:.1f}", _equal(r),
        )  # fmt: skip
    return out


def run_predict(args) -> int:
    from ..evaluate import evaluate

    if len(args.on) > 1:
        raise ValueError(f"--on: wanted one engine, got {', '.join(args.on)}")
    if evaluate.network_of(evaluate.model_file(args.model, args.on[0])).task == "detect":
        return predict_boxes(args)
    with progress(args) as track:
        answers = evaluate.predict(args.model, args.pictures, args.on[0], track)
    rankings = [answers.ranking(i, args.top) for i in range(len(args.pictures))]
    rows = [
        {"picture": picture, "on": answers.on, "ranking": [{"label": name, "score": score} for name, score in ranking]}
        for picture, ranking in zip(args.pictures, rankings, strict=True)
    ]
    if args.json:
        print_json(rows)
    else:
        for picture, ranking in zip(args.pictures, rankings, strict=True):
            print(f"{picture}: " + ", ".join(f"{name} {score:.4f}" for name, score in ranking))
    if args.out:
        from ..report import plots

        view = evaluate.view(args.model, args.on[0])
        plots.patches(evaluate.seen(args.model, args.pictures, args.on[0]), rankings, view, args.out)
        written(args.out)
    return 0


def predict_boxes(args) -> int:
    from ..tasks.detect import evaluate_detect

    with progress(args) as track:
        levels = args.threshold, args.iou
        found = evaluate_detect.predict(args.model, args.pictures, args.on[0], levels, track)
    told = [found.told(i) for i in range(len(args.pictures))]
    if args.json:
        print_json([{"picture": p, "on": found.on, "boxes": rows} for p, rows in zip(args.pictures, told, strict=True)])
    else:
        for picture, rows in zip(args.pictures, told, strict=True):
            print(f"{picture}: {len(rows)} objects")
            for row in rows:
                print(f"  {row['label']} {row['score']:.4f} at " + ", ".join(f"{v:g}" for v in row["box"]))
    if args.out:
        from ..data import sets as data
        from ..report import plots

        plots.boxes([data.decode(Path(picture)) for picture in args.pictures], told, args.out)
        written(args.out)
    return 0


def run_bench(args) -> int:
    from ..report import bench

    if args.on != "qemu":
        return _profile(args)

    def told(what: str) -> None:
        print(f"\r{what:<70}", end="", file=sys.stderr, flush=True)

    try:
        firmware = args.firmware or bench.FIRMWARE
        if args.model:
            found = bench.run_model(args.model, firmware, told)
        else:
            found = bench.run(firmware, args.runs, not args.blocks, told)
    finally:
        print(file=sys.stderr)
    if args.json:
        print_json(bench.to_dict(found))
    else:
        for table in bench.tables(found):
            wide_console().print(table)
    return 0


def _profile(args) -> int:
    from ..blob import vector
    from ..board import onboard
    from ..evaluate import evaluate

    if not evaluate.is_port(args.on):
        raise ValueError(f"--on {args.on}: wanted qemu or a port (/dev/..., id:..., socket://..., auto)")
    if not args.model:
        raise ValueError(f"--on {args.on}: bench on a board needs MODEL")
    path = evaluate.model_file(args.model, args.on)
    with progress(args) as track:
        tick = track(f"{path.stem} on {args.on}", args.repeat)
        found = onboard.profile(args.on, path, vector.load(path).input, args.repeat, tick)
    if args.json:
        rows = [dict(zip(("name", "op", "us"), row, strict=True)) for row in found.rows]
        print_json(asdict(found) | {"rows": rows, "total": found.total})
        return 0
    out = Table(title=f"{found.model} on {found.port}, median of {found.runs}", title_justify="left")
    out.add_column("layer")
    out.add_column("what")
    out.add_column("microseconds", justify="right")
    out.add_column("share", justify="right")
    for name, op, us in found.rows:
        out.add_row(name, op, f"{us:,}", f"{us / max(found.total, 1):.1%}")
    out.add_row("all", "", f"{found.total:,}", "")
    wide_console().print(out)
    return 0


def run_devices(args) -> int:
    from ..board import boards

    found = boards.devices(tuple(args.port))
    if args.json:
        print_json([boards.to_dict(f) for f in found])
    elif not found:
        print("no board on USB", file=sys.stderr)
    else:
        wide_console().print(_devices_table(found))
    return 0


def _devices_table(found: Sequence) -> Table:
    out = Table()
    for name in ("port", "id", "USB", "board", "MicroPython", "patchnet", "free heap", "places"):
        out.add_column(name)
    for f in found:
        port = (f.port.device, f.port.serial or "", f.port.vid_pid or "")
        if f.facts is None:
            out.add_row(*port, f.trouble)
            continue
        a = f.facts
        where = {None: "none", "": "in the firmware"}.get(a.patchnet, f"{a.patchnet}/patchnet.mpy")
        out.add_row(*port, a.machine, f"{a.name} {a.version}", where, f"{a.free:,} B", ", ".join(a.places))
    return out


def run_deploy(args) -> int:
    from ..board.deploy import deploy

    def install(question: str) -> bool:
        if args.install or args.json or not sys.stdin.isatty():
            return args.install
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")

    with progress(args) as track:
        done = deploy(args.model, args.port, args.to, args.replace, install, track, warned)
    if args.json:
        print_json(asdict(done))
    else:
        what = f"{'copied' if done.copied else 'was there already'}, {done.blob_bytes:,} B, arena {done.ram:,} B"
        said = "answers as this PC does" if done.tried else "opened only, its heap has no room for all outputs at once"
        print(f"{done.path} on {done.machine}: {what}, {said}")
    return 0


# ---------------------------------------------------------------- errors


@contextmanager
def needs_torch() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as e:
        raise ValueError(f"this needs the package {e.name!r}: pip install 'patchnet[train]'") from None


def explain(error: Exception) -> str:
    """One line for a person."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, USER_ERROR with one line on stderr, DIFFERENT (see val)."""
    from ..board.remote import LinkLost, RemoteError, RemoteTimeout

    args = build_parser().parse_args(argv)
    try:
        status = args.run(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # a reader such as `head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, MemoryError, ImportError, LinkLost, RemoteError, RemoteTimeout) as e:
        print(f"patchnet: {explain(e)}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("patchnet: interrupted", file=sys.stderr)
        return 130

