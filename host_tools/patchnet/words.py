"""Words in messages: for people who mistyped one, and lists that a line has room for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

LONGEST = 40  # letters of a name in a list


def meant(name: str, names: Iterable[str]) -> str:
    """The one of `names` that was likely meant, as a question to put before them; "" if none is near."""
    near = difflib.get_close_matches(name, list(names), 1)
    return f"did you mean {near[0]!r}? " if near else ""


def some(names: Iterable[object], most: int = 8) -> str:
    """Names with commas between them, for a message of one line: the first few, and how many more there are."""
    told = [name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..." for name in map(str, names)]
    more = f" and {len(told) - most} more" if len(told) > most else ""
    return ", ".join(told[:most]) + more


def apart(names: Sequence[str], others: Sequence[str]) -> tuple[str, str]:
    """Two lists that differ, as `some` tells them: of long ones first what the other has not."""
    sides = ((names, set(others)), (others, set(names)))
    told = [some(own if len(own) <= 8 else sorted(own, key=lambda name: name in there)) for own, there in sides]
    return told[0], told[1]
