"""Words for people who mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def meant(name: str, names: Iterable[str]) -> str:
    """The one of `names` that was likely meant, as a question to put before them; "" if none is near."""
    near = difflib.get_close_matches(name, list(names), 1)
    return f"did you mean {near[0]!r}? " if near else ""
