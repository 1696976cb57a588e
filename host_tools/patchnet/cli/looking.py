"""analyze, val, predict, report, bench."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from .arguments import (
    DIFFERENT,
    DRAWING,
    STREAM,
    Parser,
    engines,
    fraction,
    hertz,
    new_file,
    no_use,
    positive,
    size,
    source_of,
)
from .output import print_json, progress, wide_console, written

if TYPE_CHECKING:
    from ..tasks.answers import Answering


def add(command: Callable[..., Parser]) -> None:
    """analyze, val, predict, report, bench."""
    # imported here: with the commands, numpy
    from ..make.boards import BOARDS
    from ..net.zoo import NAMES
    from ..plan.costs import CLOCK, TABLES

    more = f"The arena is what the device will need, to the byte. Known shapes: {', '.join(NAMES)}."
    p = command("analyze", run_analyze, "Show memory, work and size, block by block", more)
    p.add_argument("model", metavar="MODEL", help="a network, a design or experiment (.toml), or known shapes")
    p.add_argument("--budget", type=size, metavar="SIZE", help="plan for this arena instead")
    p.add_argument("--stream", type=size, metavar="SIZE", help=f"as a file that is streamed: {STREAM}")
    more = "lies in this board's flash, for which its plan is chosen: a folder of boards/"
    p.add_argument("--board", choices=tuple(BOARDS), metavar="BOARD", help=more)
    p.add_argument("--float32", action="store_true", help="as a float32 network, or as one would need")
    p.add_argument("--pareto", action="store_true", help="list the plans to choose from: arena against work")
    how = "what plans are compared by: %(choices)s (default: cycles; of known shapes macs)"
    p.add_argument("--by", choices=TABLES, default="", help=how)
    p.add_argument("--narrow", action="store_true", help="tell what smaller sums and maps would save")
    more = "draw memory over the blocks; with --pareto, the plans"
    p.add_argument("--plot", type=new_file(*DRAWING), metavar="FILE.png", help=more)

    more = (
        "Engines: PyTorch (float), the C engine on this machine (host), the same on trained weights in float32 "
        "(float32-device), MicroPython on this machine (unix), and MicroPython on an emulated Cortex-M7 (qemu); the "
        "last two need a clone of patchnet's repository. Exit status 1 if engines that must give equal scores do not."
    )
    p = command("val", run_val, "Measure accuracy", more)
    p.add_argument("model", metavar="MODEL")
    p.add_argument("--data", required=True, metavar="DATA", help="an .npz, a folder of class folders, or digits")
    more = (
        "float, source (the file that an imported network came from, in its own interpreter), float32-device, host, "
        "unix, qemu or the port of a board; several for a comparison (default: host)"
    )
    p.add_argument("--on", type=engines, action="append", metavar="ENGINE", help=more)
    p.add_argument("--limit", type=positive, metavar="N", help="use N pictures, evenly spread over the set")
    more = "draw the confusion matrix of the last engine"
    p.add_argument("--confusion", type=new_file(*DRAWING), metavar="FILE.png", help=more)

    p = command("predict", run_predict, "Classify pictures or sounds, or find objects in pictures")
    p.add_argument("model", metavar="MODEL")
    more = "files, or folders of them; one named as its folder is has that label"
    p.add_argument("pictures", nargs="+", metavar="PICTURE", help=more)
    p.add_argument("--on", type=engines, default=["host"], metavar="ENGINE", help="float, host (default), unix or qemu")
    p.add_argument("--top", type=positive, default=5, metavar="N", help="labels per picture (default: 5)")
    more = "networks that detect: least score (default: 0.4)"
    p.add_argument("--threshold", type=fraction, metavar="SCORE", help=more)
    more = "networks that detect: of two boxes of a class that overlap more, one goes (default: 0.45)"
    p.add_argument("--iou", type=fraction, metavar="IOU", help=more)
    more = "draw them with labels and patches, or boxes: PNG, or pages of a PDF"
    p.add_argument("--out", type=new_file(*DRAWING), metavar="FILE.png", help=more)

    more = (
        "RUN/report.html, which needs nothing beside it: curves of the training, the confusion matrix or precision and "
        "recall, worst mistakes, memory. Training writes it after each epoch."
    )
    p = command("report", run_report, "Write a page about a run", more)
    p.add_argument("run_dir", type=Path, metavar="RUN")
    p.add_argument("--data", metavar="DATA", help="what to try it on (default: the test set of its experiment, if any)")
    more = "as for val; what the last one says is shown (default: float and host, where the run has them)"
    p.add_argument("--on", type=engines, action="append", metavar="ENGINE", help=more)
    p.add_argument("--limit", type=positive, metavar="N", help="use N items, evenly spread over the set")
    p.add_argument("--clock", type=hertz, default=CLOCK, metavar="HZ", help="of the processor (default: 480M)")

    more = (
        "Blocks and networks in each schedule, beside what others publish. `make qemu`, in a clone, builds the board."
    )
    p = command("bench", run_bench, "Count instructions and modelled cycles on the emulated Cortex-M7", more)
    more = "this network alone: a shipped name, .pnb or run, or (not on a board) known shapes"
    p.add_argument("model", metavar="MODEL", nargs="?", help=more)
    more = "qemu (default), or a board's port: microseconds of each layer of MODEL there"
    p.add_argument("--on", default="qemu", metavar="PORT", help=more)
    p.add_argument("--repeat", type=positive, metavar="N", help="with --on PORT: median of N (default: 5)")
    p.add_argument("--firmware", type=Path, metavar="FILE.elf", help="default: build/qemu/firmware.elf")
    p.add_argument("--runs", type=Path, metavar="DIR", help="networks of DIR/NAME/qnet.npz instead of the shipped .pnb")
    p.add_argument("--blocks", action="store_true", help="the four blocks only")


def run_analyze(args) -> int:
    # imported here: the stage alone
    from ..blob.files import model_file
    from ..net import zoo
    from ..progress import planning
    from ..report import analyze, tables
    from ..report.paper import paper_file

    if args.json:
        no_use(args, ("--narrow",), "with --json")
    flash = source_of(args)
    try:
        paper = paper_file(args.model)
        known = args.model.endswith(".toml") or args.model in zoo.NAMES
        source = paper or (args.model if known else model_file(args.model, "host"))
    except FileNotFoundError as e:
        raise FileNotFoundError(f"{e}; shapes to plan for: {', '.join(zoo.NAMES)}") from None
    with progress(args) as track:
        how = args.budget, args.pareto, planning(track, args.model), args.by, args.stream, flash, args.float32
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
        from ..report import plots  # imported here: matplotlib takes half a second to start

        (plots.front if args.pareto else plots.memory)(result, args.plot)
        written(args.plot)
    return 0


def run_val(args) -> int:
    # imported here: the stage alone
    from ..blob.files import model_file, network_of
    from ..evaluate.engines import room_of
    from ..evaluate.val import to_dict, val

    on = list(dict.fromkeys(name for names in args.on or [["host"]] for name in names))
    with progress(args) as track:
        results = val(args.model, args.data, on, args.limit, track)
    room = room_of(network_of(model_file(args.model, on[-1])))
    if args.json:
        plain = [to_dict(r) for r in results]
        print_json(plain if len(plain) > 1 else plain[0])
    else:
        wide_console().print(_val_table(results, room))
        what, rows = room.by_class(results)
        if rows:
            wide_console().print(_class_table(results, what, rows))
    if args.confusion:
        room.draw_confusion(results[-1], args.confusion)
        written(args.confusion)
    return DIFFERENT if any(r.identical is False for r in results) else 0


def _equal(result) -> str:
    reference = result.reference
    return {None: "", True: f"identical to {reference}", False: f"[red]differ from {reference}[/red]"}[result.identical]


def _val_table(results: Sequence, room: Answering) -> Table:
    out = Table(title=f"{results[0].model} on {results[0].data}", title_justify="left")
    names, rows = room.columns(results)
    out.add_column("on")
    for name in (*names, "RAM", "seconds", "answers"):
        out.add_column(name, justify="right")
    for r, values in zip(results, rows, strict=True):
        ram = "" if r.ram is None else f"{r.ram:,} B"
        out.add_row(r.on, *values, ram, f"{r.seconds:.1f}", _equal(r) or room.remark(r))
    return out


def _class_table(results: Sequence, what: str, rows: Sequence[Sequence[str]]) -> Table:
    out = Table(title=f"{what} of each class", title_justify="left")
    out.add_column("class")
    for r in results:
        out.add_column(r.on, justify="right")
    for row in rows:
        out.add_row(*row)
    return out


def run_predict(args) -> int:
    # imported here: the stage alone
    from ..blob.files import model_file, network_of
    from ..evaluate.engines import room_of
    from ..evaluate.val import files_in, predict, seen
    from ..tasks.answers import Shown

    if len(args.on) > 1:
        raise ValueError(f"--on: wanted one engine, got {', '.join(args.on)}")
    on = args.on[0]
    network = network_of(model_file(args.model, on))
    room = room_of(network)
    if room.options(0.0, 0.0) == room.options(1.0, 1.0):
        no_use(args, ("--threshold", "--iou"), f"with {args.model}, which finds no boxes")
    files = files_in(args.pictures)
    if args.out and Path(args.out).resolve() in {Path(file).resolve() for file in files}:
        raise ValueError(f"--out {args.out}: wanted a new file, got one of the pictures")
    with progress(args) as track:
        levels = (given if given is not None else usual for given, usual in ((args.threshold, 0.4), (args.iou, 0.45)))
        answers = predict(args.model, files, on, room.options(*levels), track)
    rows = [room.told(answers, i, args.top) for i in range(len(files))]
    truths = [room.truth(file, network.labels) for file in files]
    shown = [Shown(str(f), row, t) for f, row, t in zip(files, rows, truths, strict=True)]
    if args.json:
        known = [{} if one.truth is None else {"truth": one.truth} for one in shown]
        print_json([{"picture": one.name, "on": on, **one.told, **k} for one, k in zip(shown, known, strict=True)])
    else:
        for one in shown:
            print("\n".join(room.lines(one.told, one.name)) + (f" (is {one.truth})" if one.right is False else ""))
        judged = [one.right for one in shown if one.right is not None]
        if judged:
            print(f"right: {sum(judged)} of {len(judged)}")
    if args.out:
        pixels = seen(args.model, files, on)
        for path in room.draw([replace(s, pixels=p) for s, p in zip(shown, pixels, strict=True)], network, args.out):
            written(path)
    return 0


def run_report(args) -> int:
    # imported here: the stage alone
    from ..blob.files import what_is
    from ..evaluate.val import answered
    from ..report import run as report

    run = args.run_dir
    if not run.is_dir() or not any(any(run.glob(name)) for name in ("float.npz", "*.pnb", "log.csv")):
        is_ = f", {what_is(run)}" if run.exists() else ""
        raise ValueError(f"{run}: wanted a run, the folder that training or import left{is_}")
    given = [name for names in args.on or [[]] for name in names]
    there = [on for on, file in (("float", "float.npz"), ("host", "*.pnb")) if any(run.glob(file))]
    on = list(dict.fromkeys(given)) or there
    data = args.data or report.test_of(run)
    if not data:
        no_use(args, ("--on", "--limit"), "without --data, as the run has no test set of its own")
    with progress(args) as track:
        asked = answered(run, data, on, args.limit, track) if data and on else None
        path = report.write(run, asked, args.clock)
    print_json({"report": str(path)}) if args.json else written(path)
    return 0


def run_bench(args) -> int:
    # imported here: the stage alone
    from ..board.remote import CLONE, NO_CLONE
    from ..report import bench

    if args.on != "qemu":
        no_use(args, ("--firmware", "--runs", "--blocks"), f"with --on {args.on}")
        return _profile(args)
    no_use(args, ("--repeat",), "on qemu, which counts")
    if args.model:
        no_use(args, ("--runs", "--blocks"), "with MODEL")

    def told(what: str) -> None:
        if sys.stderr.isatty():
            print(f"{what:<70}\r", end="", file=sys.stderr, flush=True)

    firmware = args.firmware or bench.FIRMWARE
    if not (CLONE or args.firmware):
        raise FileNotFoundError(NO_CLONE.format("qemu"))
    try:
        if args.model:
            found = bench.run_model(args.model, firmware, told)
        else:
            found = bench.run(firmware, args.runs, not args.blocks, told)
    finally:
        told("")
    if args.json:
        print_json(bench.to_dict(found))
    else:
        for table in bench.tables(found):
            wide_console().print(table)
    return 0


def _profile(args) -> int:
    # imported here: the stage alone
    from ..blob import vector
    from ..blob.files import model_file
    from ..board import onboard
    from ..evaluate.engines import is_port

    if not is_port(args.on):
        raise ValueError(f"--on {args.on}: wanted qemu or a port (/dev/..., id:..., socket://..., auto)")
    if not args.model:
        raise ValueError(f"--on {args.on}: bench on a board needs MODEL")
    path, repeat = model_file(args.model, args.on), args.repeat or 5
    with progress(args) as track:
        tick = track(f"{path.stem} on {args.on}", repeat)
        found = onboard.profile(args.on, path, vector.load(path).input, repeat, tick)
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
