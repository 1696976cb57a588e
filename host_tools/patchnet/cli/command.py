"""The command `patchnet`: arguments in, tables or JSON out. Every stage is a function of another module."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from ..models import names
from . import boards, designing, importing, looking, making, papers, searching, training
from .arguments import USER_ERROR, Parser

EPILOG = """\
A network is a .pnb file, the directory of a run, or the bare name of one that comes with patchnet ({names}).
Sizes are bytes, or end in K, KB, M, MB (of 1024). `patchnet COMMAND --help` tells more.
"""


class Version(argparse.Action):
    def __call__(self, parser, *_) -> None:
        from importlib.metadata import version  # imported here: every start would wait for it

        print(f"patchnet {version('patchnet')}")
        parser.exit()


class Completion(argparse.Action):
    def __call__(self, parser, _namespace, shell, *_) -> None:
        import shtab  # imported here: every start would wait for it

        print(shtab.complete(parser, shell))
        parser.exit()


def build_parser() -> Parser:
    parser = Parser(
        prog="patchnet",
        description="Small convolutional networks for microcontrollers: designed for a memory budget, trained here, "
        "run there with the same integers.",
        epilog=EPILOG.format(names=", ".join(names()) or "none in this installation"),
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print it")
    more = "print what a shell completes commands by"
    parser.add_argument("--print-completion", action=Completion, choices=("bash", "zsh", "tcsh"), help=more)
    commands = parser.add_subparsers(title="commands, in the order of work", metavar="COMMAND", required=True)

    def command(name: str, run: Callable, summary: str, more: str = "") -> Parser:
        sub = commands.add_parser(name, help=summary, description=f"{summary}. {more}".rstrip())
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print JSON and nothing else")
        return sub

    for group in (making, designing, searching, training, importing, looking, papers, boards):
        group.add(command)
    return parser


def explain(error: Exception) -> str:
    """One line for a person."""
    from ..board.remote import RemoteError  # imported here: as main does

    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, RemoteError):
        return f"the board says {error.line}"
    return " ".join(str(error).split())


def is_interrupt(error: BaseException | None) -> bool:
    """Whether ^C is behind an error: packages that are being imported make one of their own of it."""
    return error is not None and (
        isinstance(error, KeyboardInterrupt) or is_interrupt(error.__cause__ or error.__context__)
    )


def interrupted() -> int:
    print("patchnet: interrupted", file=sys.stderr)
    return 130


class Notes(logging.Handler):
    """What the package's log has to say, a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"patchnet: note: {record.getMessage()}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, USER_ERROR with one line on stderr (of what cannot be imported one for each obstacle), DIFFERENT
    (see val)."""
    from ..board.remote import LinkLost, RemoteError, RemoteTimeout  # imported here: after --help
    from ..importers.graph import Unsupported  # imported here: after --help

    warnings.filterwarnings("ignore", module="PIL")  # what it would say of a file is said here, with the file's name
    log, notes = logging.getLogger("patchnet"), Notes()
    log.addHandler(notes)
    try:
        parser = build_parser()
        args = parser.parse_args(parser.words(argv))
        status = args.run(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # a reader such as `head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Unsupported as e:
        print(f"patchnet: {args.file}: cannot be imported:", *e.lines, sep="\n", file=sys.stderr)
        return USER_ERROR
    except (ValueError, OSError, MemoryError, ImportError, LinkLost, RemoteError, RemoteTimeout) as e:
        if is_interrupt(e):
            return interrupted()
        print(f"patchnet: {explain(e)}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return interrupted()
    finally:
        log.removeHandler(notes)
