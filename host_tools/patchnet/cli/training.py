"""train, quantize, pack, convert."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..format import OLDEST, VERSION
from .arguments import (
    STREAM,
    Parser,
    above_zero,
    count,
    new_file,
    new_folder,
    no_use,
    not_negative,
    positive,
    setting,
    size,
    source_of,
)
from .output import needs_torch, print_json, progress, quiet_stdout

if TYPE_CHECKING:
    from ..evaluate.chain import Chain


log = logging.getLogger(__name__)


def add(command: Callable[..., Parser]) -> None:
    """In the order of work."""
    more = "EXPERIMENT is a TOML file or the name of one that comes with patchnet. Needs PyTorch."
    p = command("train", run_train, "Train an experiment in float32", more)
    p.add_argument("experiment", metavar="EXPERIMENT")
    p.add_argument("--out", type=new_folder, metavar="DIR", help="the run's directory (default: runs/classify/NAME)")
    before = p.add_mutually_exclusive_group()
    before.add_argument("--resume", action="store_true", help="go on where the run was stopped")
    before.add_argument("--force", action="store_true", help="what another training left in the directory goes")
    more = "replace a value of the experiment, for instance epochs=2"
    p.add_argument("--set", type=setting, action="append", default=[], metavar="KEY=VALUE", dest="settings", help=more)
    p.add_argument("--chain", action="store_true", help="then quantize, pack, and compare accuracies")
    p.add_argument("--budget", type=size, metavar="SIZE", help="with --chain: arena of the blob, as for pack")
    more = "with --chain: epochs of fine-tuning (default: 6)"
    p.add_argument("--tune", type=not_negative, metavar="N", help=more)

    more = "Calibrates on training pictures and fine-tunes. Writes qnet.npz into the run. Needs PyTorch."
    p = command("quantize", run_quantize, "Turn a trained run into integers", more)
    p.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="a trained run; with --data a quantized network")
    more = "quantize an imported, packed or shipped network again, by inputs of a data set"
    p.add_argument("--data", metavar="DATA", help=more)
    more = "of fine-tuning; 0: calibration alone (default: 6, with --data 0)"
    p.add_argument("--epochs", type=not_negative, help=more)
    p.add_argument("--lr", type=above_zero, help="of fine-tuning (default: 2e-4, with --data 3e-5)")
    p.add_argument("--calibration", type=positive, default=256, metavar="N", help="inputs (default: 256)")
    more = "of an arena for which maps are kept in 4 bits, as few as it takes; then pack with this --budget"
    p.add_argument("--ram", type=size, metavar="SIZE", help=more)
    more = "of a blob for which expanded channels are pruned, as few as it takes"
    p.add_argument("--flash", type=size, metavar="SIZE", help=more)
    more = "the same until a picture takes no more cycles, such as 10M, by the quickest plan in --ram, or pack's own"
    p.add_argument("--cycles", type=count, metavar="N", help=more)
    p.add_argument(
        "-o", dest="out", type=new_file(".npz"), metavar="FILE.npz", help="default: qnet.npz in the run, or NAME.npz"
    )

    # imported here: with the commands, numpy
    from ..make.boards import BOARDS
    from ..plan.choice import DEFAULT_LIMIT

    limit = f"at most {DEFAULT_LIMIT:g} times the cycles of the fastest"
    more = f"Without a budget: the plan of the smallest arena that takes {limit}."
    p = command("pack", run_pack, "Plan the memory and write the .pnb blob", more)
    p.add_argument(
        "qnet", metavar="QNET", help="qnet.npz, the run that holds it, or a packed network, for another plan"
    )
    p.add_argument("-o", dest="out", type=new_file(".pnb"), metavar="FILE.pnb", help="default: NAME.pnb beside it")
    p.add_argument("--budget", type=size, metavar="SIZE", help="arena: more is quicker")
    p.add_argument("--stream", type=size, metavar="SIZE", help=f"for a file that is streamed: {STREAM}")
    more = "a plan for weights in this board's flash, which may take more RAM or cycles: a folder of boards/"
    p.add_argument("--board", choices=tuple(BOARDS), metavar="BOARD", help=more)
    more = "a run's trained weights as they are, to compare with: NAME.float32.pnb"
    p.add_argument("--float32", action="store_true", help=more)

    more = (
        f"FILE.pnb is of format {OLDEST} to {VERSION - 1}. The new one answers the same, by the plan that pack chooses."
    )
    p = command("convert", run_convert, "Write the network of an older blob in today's format", more)
    p.add_argument("blob", metavar="FILE.pnb")
    more = f"default: NAME-format{VERSION}.pnb beside it"
    p.add_argument("-o", dest="out", type=new_file(".pnb"), metavar="NEW.pnb", help=more)


def run_train(args) -> int:
    if not args.chain:
        no_use(args, ("--budget", "--tune"), "without --chain")
    # imported here: the stage alone
    from ..evaluate.chain import chain
    from ..evaluate.val import answered

    with quiet_stdout(args), needs_torch():
        from ..report import run as report  # imported here: matplotlib takes half a second to start
        from ..train import loop  # imported here: torch takes seconds to start, and may not be installed

        run = loop.run(args.experiment, args.out, args.resume, report.Live(), force=args.force, **dict(args.settings))
        if int(os.environ.get("RANK", 0)):  # one of several that torchrun has started: the first goes on
            return 0
        report.write(run)
        made = None
        if args.chain:
            with progress(args) as track:
                made = chain(run, args.budget, 6 if args.tune is None else args.tune, track)
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
        from ..train.prune import Limits  # imported here: for the same reason

        given = {name: getattr(args, name) for name in ("epochs", "lr", "calibration", "out")}
        given = {name: value for name, value in given.items() if value is not None}
        given["limits"] = Limits(args.ram, args.flash, args.cycles)
        path = quantize.again(args.run_dir, args.data, **given) if args.data else quantize.run(args.run_dir, **given)
    print_json({"qnet": str(path)}) if args.json else print(path)
    return 0


def run_pack(args) -> int:
    # imported here: the stage alone
    from ..blob.files import pack_file, pack_float32
    from ..make.boards import BOARDS

    if args.float32:
        no_use(args, ("--stream", "--board"), "with --float32")
    flash = source_of(args)
    with progress(args) as track:
        if args.float32:
            packed = pack_float32(args.qnet, args.out, args.budget, track)
        else:
            packed = pack_file(args.qnet, args.out, args.budget, track, args.stream, flash)
    if args.board and packed.blob_bytes > (room := BOARDS[args.board].blob):
        takes = f"{packed.path} takes {packed.blob_bytes:,} B: quantize --flash prunes it"
        log.warning("%s has room for %s B, %s", args.board, f"{room:,}", takes)
    if args.json:
        print_json({name: value for name, value in asdict(packed).items() if value is not None})
    else:
        print(f"{packed.path}: {packed.blob_bytes:,} B, arena {packed.ram:,} B")
        if args.stream is not None:
            print(f"Model({Path(packed.path).name!r}, stream={args.stream}) needs {packed.streamed:,} B of RAM in all")
    return 0


def run_convert(args) -> int:
    from ..blob.files import convert_file  # imported here: the stage alone

    with progress(args) as track:
        packed = convert_file(args.blob, args.out, track)
    if args.json:
        print_json({name: value for name, value in asdict(packed).items() if value is not None})
    else:
        print(f"{packed.path}: {packed.blob_bytes:,} B, arena {packed.ram:,} B")
    return 0
