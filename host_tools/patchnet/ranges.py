"""What a value of TOML or JSON may be: its type, and the range that stands there in words.

    epochs: Annotated[int, "1 to 1000000"] = 30
    smooth: Annotated[float, "more than 0, at most 1"] = 0.5
    optimizer: Annotated[str, "adamw or sgd"] = "adamw"

Messages and docs/reference tell a range by these words, and `within` reads them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

PLAIN = {str: "text", bool: "true or false", int: "a whole number", float: "a number", type(None): "nothing"}
NUMBER = r"(-?[\d.]+)"
# of the least and the most, and whether they themselves may be
BOUNDS = (
    (f"{NUMBER} to {NUMBER}", True, True),
    (f"{NUMBER} or more, less than {NUMBER}", True, False),
    (f"more than {NUMBER}, at most {NUMBER}", False, True),
)


@lru_cache
def hints_of(kind: type) -> dict[str, Any]:
    """Types of a dataclass's fields, with ranges."""
    return get_type_hints(kind, include_extras=True)


def within(value: Any, told: str) -> bool:
    """Whether a value is in the range that these words tell; or one of the words: "1, 4, 9 or 16"."""
    for pattern, least_too, most_too in BOUNDS:
        if found := re.fullmatch(pattern, told):
            least, most = map(float, found.groups())
            return least < value < most or (least_too and value == least) or (most_too and value == most)
    return str(value) in re.split(", | or ", told)


def fault(value: Any, hint: Any) -> str:
    """What was wanted where a value cannot become a field of that type; "" where it can. What is a dataclass is
    checked elsewhere."""
    kind, args = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return fault(value, args[0]) or ("" if within(value, args[1]) else args[1])
    if kind in (Union, UnionType):
        own = [one for one in args if not fault(value, plain(one))]  # it is of that type, perhaps out of its range
        return fault(value, own[0]) if own else wanted(hint)
    if kind is tuple:
        if not isinstance(value, list | tuple):
            return wanted(hint)
        kinds = args[:1] * len(value) if args[-1] is ... else args
        if len(kinds) != len(value) or any(fault(one, plain(own)) for one, own in zip(value, kinds, strict=True)):
            return wanted(hint)
        return next(filter(None, map(fault, value, kinds)), "")
    if hint in (int, float):
        number = isinstance(value, int | hint) and not isinstance(value, bool) and math.isfinite(value)
        return "" if number else wanted(hint)
    return wanted(hint) if hint in PLAIN and not isinstance(value, hint) else ""


def plain(hint: Any) -> Any:
    """A type without its range."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def wanted(hint: Any) -> str:
    """A type in words."""
    hint = plain(hint)
    kind, args = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return " or ".join(map(wanted, args))
    if kind is tuple:
        return f"a list of {wanted(args[0])}" if args[-1] is ... else f"a list ({', '.join(map(wanted, args))})"
    return PLAIN.get(hint, "a table")


def faults(values: Any) -> Iterator[tuple[str, str, Any]]:
    """Of a dataclass's fields those that are not what they may be: name, what was wanted, what there is."""
    kind: type = type(values)
    hints = hints_of(kind)
    for f in fields(values):
        got = getattr(values, f.name)
        if told := fault(got, hints[f.name]):
            yield f.name, told, got
