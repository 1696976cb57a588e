"""import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Parser, count, new_folder, no_use, not_negative, plain_name, positive, size
from .output import needs_torch, print_json, progress, quiet_stdout

if TYPE_CHECKING:
    from ..evaluate.agreement import Agreement
    from ..evaluate.importing import Run


def add(command: Callable[..., Parser]) -> None:
    """import."""
    more = (
        "FILE is a .tflite, an .onnx, or PyTorch weights of a known family. Integers are taken "
        "as they are; a network in real numbers is calibrated. What comes out is a run, for pack, val, deploy."
    )
    p = command("import", run_import, "Make a run of someone else's network", more)
    p.add_argument("file", metavar="FILE")
    p.add_argument(
        "-o", dest="out", type=new_folder, metavar="RUN", help="the run's directory (default: runs/TASK/NAME)"
    )
    p.add_argument("--name", type=plain_name, help="of the network (default: the file's)")
    more = "names of the classes: a text file, a line each, or a data set that has them in this order"
    p.add_argument("--labels", metavar="FILE.txt|DATA", help=more)
    p.add_argument("--calibrate", metavar="DATA", help="choose integers anew, by the inputs of a data set")
    p.add_argument("--calibration", type=positive, metavar="N", help="of them (default: 64)")
    more = "with --calibrate: epochs of fine-tuning towards the network's own answers (default: 0)"
    p.add_argument("--tune", type=not_negative, metavar="N", help=more)
    more = "with --calibrate: arena for which maps are kept in 4 bits, as few as it takes, and that of the blob"
    p.add_argument("--ram", type=size, metavar="SIZE", help=more)
    more = "with --calibrate: size of the blob for which expanded channels are pruned, as few as it takes"
    p.add_argument("--flash", type=size, metavar="SIZE", help=more)
    more = "the same until a picture takes no more cycles, by the quickest plan in --ram, or the one that pack chooses"
    p.add_argument("--cycles", type=count, metavar="N", help=more)
    more = "with --calibrate: what pixels are to a network in real numbers: 0..255, 0..1, -1..1, or MEAN/STD of 0..255"
    p.add_argument("--pixels", metavar="RANGE", help=more)
    more = "of PyTorch weights: mobilenetv2, efficientnet-lite0 to -lite4, mcunet"
    p.add_argument("--family", metavar="NAME", help=more)
    p.add_argument("--config", type=Path, metavar="FILE.json", help="of the family mcunet: the network's configuration")
    p.add_argument("--budget", type=size, metavar="SIZE", help="arena of the blob, as for pack")
    p.add_argument("--check", metavar="DATA", help="compare with the file in its own interpreter on this data")
    p.add_argument("--limit", type=positive, metavar="N", help="with --check: use N inputs")


def run_import(args) -> int:
    # imported here: the stage alone
    from ..blob.files import SOURCES
    from ..evaluate import importing
    from ..importers.real import Pixels

    kind, calibration = Path(args.file).suffix.lower(), None
    if args.calibrate:
        given = args.calibrate, args.calibration or 64, args.tune or 0, args.ram, args.flash, args.cycles
        calibration = importing.Calibration(*given)
    else:
        no_use(args, ("--tune", "--calibration", "--pixels", "--ram", "--flash", "--cycles"), "without --calibrate")
    if not args.check:
        no_use(args, ("--limit",), "without --check")
    elif kind not in SOURCES:
        raise ValueError(f"--check: wanted a file that has an interpreter, {' or '.join(SOURCES)}, got {args.file}")
    if kind in SOURCES:
        no_use(args, ("--family", "--config"), f"with a {kind} file, which tells the network itself")
    labels = importing.labels_of(args.labels) if args.labels else ()
    pixels = Pixels.named(args.pixels) if args.pixels else None
    found: list[Agreement] = []

    def check(run: Path) -> None:
        from ..evaluate.agreement import agreement  # imported here: it needs packages that may not be installed

        found.append(agreement(run, args.check, args.limit, track))

    with quiet_stdout(args), progress(args) as track, needs_torch():
        run = importing.import_file(
            args.file, args.out, name=args.name or "", labels=labels, calibration=calibration, pixels=pixels,
            family=args.family or "", config=args.config, budget=args.budget or args.ram, track=track,
            tried=check if args.check else lambda _run: None,
        )  # fmt: skip
    if args.json:
        print_json(asdict(run) | ({"agreement": asdict(found[0])} if found else {}))
    else:
        print("\n".join(told(run, *found)))
    return 0


def told(run: Run, found: Agreement | None = None) -> list[str]:
    lines = [f"note: {note}" for note in run.notes]
    lines.append(f"{run.packed.path}: {run.packed.blob_bytes:,} B, arena {run.packed.ram:,} B")
    if found:
        best = "" if found.top1 is None else f"same answers as the original {found.top1:.2%}, "
        lines.append(
            f"{found.data}, {found.n} inputs: {best}outputs equal "
            f"{found.equal:.2%}, apart {found.mean:.3f} steps on average, {found.largest:.0f} at most (of "
            f"{found.step:.4g})"
        )
    return lines
