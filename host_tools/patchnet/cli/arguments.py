"""What arguments may be."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..words import meant

if TYPE_CHECKING:
    from ..make.choose import Wanted
    from ..plan.sources import Flash

STREAM = "weights go through a buffer of this size"
USER_ERROR = 2
DIFFERENT = 1  # engines that must agree do not
DRAWING = (".png", ".pdf", ".svg", ".jpg")  # what matplotlib writes
SLOWEST, QUICKEST = 10**6, 2 * 10**9  # Hz of a Cortex-M


class Help(argparse.HelpFormatter):
    """Names with a hyphen in them stay whole."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in self._split_lines(text, width - len(indent)))


class Parser(argparse.ArgumentParser):
    """argparse, but an error is one line, and asks whether another word was meant."""

    def __init__(self, **how) -> None:
        super().__init__(**{"formatter_class": Help} | how)

    def error(self, message: str):
        wrong = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if wrong:
            names = [name.strip().strip("'") for name in wrong[2].split(",")]
            message = message.replace("(choose from", f"({meant(wrong[1], names)}choose from")
        self.exit(USER_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def words(self, argv: Sequence[str] | None) -> list[str]:
        """Those of the command line. An empty one is an error: paths would take it for this folder, options for nothing
        said."""
        words = list(sys.argv[1:] if argv is None else argv)
        for before, word in zip([self.prog, *words], words, strict=False):
            option = re.fullmatch(r"(--[a-z0-9-]+)=", word)
            if option or not word:
                after = option[1] if option else before
                self.error(f"wanted a word after {after}, got '' (a variable that is not set?)")
        for i in range(len(words) - 1, 0, -1):
            if re.match(r"-[\d.]+\.\.", words[i]):  # -1..1, which argparse would take for an option
                words[i - 1 : i + 1] = [f"{words[i - 1]}={words[i]}"]
        return words


def size(text: str) -> int:
    """Bytes of "24K", "24KB", "24 KiB", "1.5M" or "24576"."""
    digits = text.strip().upper().removesuffix("IB").removesuffix("B").strip()
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


def not_negative(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"wanted a whole number from 0 on, got {text!r}")
    return int(text)


def count(text: str) -> int:
    """A number such as 30000000, 30M or 500k (of 1000)."""
    unit = {"K": 10**3, "M": 10**6}.get(text[-1:].upper(), 1)
    try:
        value = int(float(text if unit == 1 else text[:-1]) * unit)
    except (ValueError, OverflowError):
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"wanted a number such as 30M, got {text!r}")
    return value


def hertz(text: str) -> int:
    """Of a processor."""
    value = count(text)
    if not SLOWEST <= value <= QUICKEST:
        near = f" (did you mean {text}M?)" if SLOWEST <= value * 10**6 <= QUICKEST else ""
        raise argparse.ArgumentTypeError(f"wanted Hz of a processor, 1M to 2000M, got {text!r}{near}")
    return value


def above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"wanted a number above 0, got {text!r}")
    return value


def plain_name(text: str) -> str:
    """Of a file or folder, without the folder where it lies."""
    if not text.strip(". ") or "/" in text or "\\" in text:
        raise argparse.ArgumentTypeError(f"wanted a name without slashes, got {text!r}")
    return text


def labels(text: str) -> tuple[str, ...]:
    """Names of classes, comma between them."""
    found = tuple(name.strip() for name in text.split(","))
    if len(found) < 2 or len(set(found)) < len(found) or not all(found):
        raise argparse.ArgumentTypeError(f"wanted two different names or more, such as no,yes, got {text!r}")
    return found


def new_file(*endings: str) -> Callable[[str], Path]:
    """A file that can be written, in a folder that is there: told before there is something to write."""

    def check(text: str) -> Path:
        path = Path(text)
        if path.exists() and not path.is_file() and not path.is_dir():
            if ".pnb" in endings:  # is read again, and gets a test vector beside it
                raise argparse.ArgumentTypeError(f"wanted a file, got the device {text}")
            return path  # such as a terminal
        if path.is_dir():
            raise argparse.ArgumentTypeError(f"wanted a file, got the folder {text}")
        if path.suffix.lower() not in endings:
            raise argparse.ArgumentTypeError(f"wanted a name that ends in {' or '.join(endings)}, got {text!r}")
        if not path.parent.is_dir():
            raise argparse.ArgumentTypeError(f"{text}: there is no folder {path.parent}")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise argparse.ArgumentTypeError(f"{text}: may not be written")
        return path

    return check


def new_folder(text: str) -> Path:
    """One that is there, or can be made."""
    path = Path(text)
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: wanted a folder, but {there} is a file")
    if not os.access(there, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text}: may not be written")
    return path


def no_use(args: argparse.Namespace, options: tuple[str, ...], why: str) -> None:
    """ValueError for the first of these options that was given; the defaults of all are None or False."""
    for option in options:
        if getattr(args, option.lstrip("-").replace("-", "_")) not in (None, False):
            raise ValueError(f"{option}: has no effect {why}")


def fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"wanted a number from 0 to 1, got {text!r}")
    return value


def part(text: str) -> float:
    """A fraction that is something."""
    if not fraction(text):
        raise argparse.ArgumentTypeError(f"wanted a number above 0, at most 1, got {text!r}")
    return float(text)


def limits(p: Parser, cycles: bool = False) -> None:
    """Besides --ram, what a network has to keep to; `cycles`: for time there is --cycles as well."""
    from ..make.boards import BOARDS  # imported here: with the commands

    p.add_argument("--flash", type=size, metavar="SIZE", help="blob at most")
    either = p.add_mutually_exclusive_group() if cycles else p
    either.add_argument("--ms", type=above_zero, metavar="N", help="milliseconds a picture at most, by modelled cycles")
    if cycles:
        either.add_argument("--cycles", type=count, metavar="N", help="the same as cycles, such as 60M")
    p.add_argument("--clock", type=hertz, metavar="HZ", help="of the processor (default: 480M)")
    p.add_argument("--board", choices=tuple(BOARDS), metavar="BOARD", help="whose flash and clock: a folder of boards/")


def wanted(args: argparse.Namespace) -> Wanted:
    """ValueError if the board has not as much."""
    # imported here: `patchnet --help` needs none of it
    from ..make.boards import BOARDS
    from ..make.choose import Wanted
    from ..plan.costs import CLOCK

    flash, clock = args.flash, args.clock or CLOCK
    if args.board:
        board = BOARDS[args.board]
        room, clock = board.blob, args.clock or board.clock
        for what, asked, most in (("--ram", args.ram, board.heap), ("--flash", flash, room)):
            if asked is not None and asked > most:
                raise ValueError(f"{what}: {args.board} has room for {most:,} B, got {asked:,} B")
        flash = flash or room
    ms = 1000 * args.cycles / clock if getattr(args, "cycles", None) else args.ms
    return Wanted(args.ram, flash, ms, clock, getattr(args, "max_macs", None), flash_of(args))


def flash_of(args: argparse.Namespace) -> Flash | None:
    """That of --board."""
    from ..make.boards import BOARDS  # imported here: `patchnet --help` needs none of it

    return BOARDS[args.board].flash() if args.board else None


def source_of(args: argparse.Namespace) -> Flash | None:
    """The same for commands that have --stream, too."""
    if args.stream is not None:
        no_use(args, ("--board",), "with --stream: weights are read from a file")
    return flash_of(args)


def engines(text: str) -> list[str]:
    # imported here: `patchnet --help` needs none of it
    from ..board.remote import CLONE, NO_CLONE
    from ..evaluate.engines import ENGINES, is_port

    names = text.split(",")
    for name in names:
        if name not in ENGINES and not is_port(name):
            raise argparse.ArgumentTypeError(f"wanted some of {', '.join(ENGINES)} or a port, got {name!r}")
        if name in ("unix", "qemu") and not CLONE:  # before another engine works for minutes
            raise argparse.ArgumentTypeError(NO_CLONE.format(name))
    return names


def setting(text: str) -> tuple[str, object]:
    """KEY=VALUE of --set; the value is JSON where it can be, else text."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"wanted KEY=VALUE, KEY being no table's, got {text!r}")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
