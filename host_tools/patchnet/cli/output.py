"""Tables, JSON, progress and remarks."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


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
    """A function for `track=`: progress bars on stderr, none with --json. They are gone where the block fails."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=args.json)

    def track(what: str, total: int) -> Callable[[int], None]:
        bars.start()  # not before: an error should be the only thing on the screen
        task = bars.add_task(what, total=total)
        return lambda done: bars.advance(task, done)

    try:
        yield track
    except BaseException:
        bars.live.transient = True  # half a bar says nothing beside the error
        bars.live.stop()  # bars.stop() ends with an empty line where there is no terminal
        raise
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


@contextmanager
def needs_torch() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as e:
        raise ValueError(f"this needs the package {e.name!r}: pip install 'patchnet[train]'") from None
