"""devices, deploy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict

from rich.table import Table

from .arguments import Parser
from .output import print_json, progress, warned, wide_console


def add(command: Callable[..., Parser]) -> None:
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


def run_devices(args) -> int:
    from ..board import boards  # imported here: the stage alone

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
        where = a.error or {None: "none", "": "in the firmware"}.get(a.patchnet, f"{a.patchnet}/patchnet.mpy")
        out.add_row(*port, a.machine, f"{a.name} {a.version}", where, f"{a.free:,} B", ", ".join(a.places))
    return out


def run_deploy(args) -> int:
    from ..board.deploy import deploy  # imported here: the stage alone

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
