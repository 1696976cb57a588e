"""One description of the blob: the tables, the generated header, FORMAT.md and the oracle's own reading agree."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import oracle
from cengine import ENGINE, ROOT
from oracle import arena
from patchnet import format as fmt

PAGE = (ROOT / "modpatchnet" / "FORMAT.md").read_text()
TYPES = {"u8": "B", "i8": "b", "u16": "H", "u32": "I", "i32": "i", "f32": "f", "4 i8": "4b", "4 bytes": "4s"}


def page_fields(start: str, end: str) -> list[tuple[str, str]]:
    """(name, struct code) of each field that FORMAT.md's table between two texts lists."""
    fields = []
    for names, types in re.findall(r"^\| (`.*?`) \| (.*?) \|", PAGE[PAGE.index(start) : PAGE.index(end)], re.M):
        names = re.findall(r"`(\w+)", names)
        types = types.split(", ")
        fields += zip(names, types * (len(names) // len(types)), strict=True)
    return [(name, TYPES[kind]) for name, kind in fields]


PAGE_TABLES = [
    (fmt.HEADER, page_fields("## Header", "## Layers"), oracle.HEADER),
    (fmt.LAYER, page_fields("| field of a layer", "Layer 0 reads"), oracle.LAYER),
    (fmt.SEGMENT, page_fields("| field of a segment", "**Lines.**"), oracle.SEGMENT),
    (fmt.PARAM, page_fields("| field of a param", "All chains must"), oracle.PARAM),
]


def test_generated_header_is_checked_in():
    made = subprocess.run([sys.executable, "-m", "patchnet.format"], capture_output=True, text=True, check=True).stdout
    assert made == fmt.c_header() == (ENGINE / "engine" / "blob" / "pn_format.h").read_text()


@pytest.mark.parametrize("table, fields, own", PAGE_TABLES, ids=lambda x: getattr(x, "name", ""))
def test_page_lists_every_field(table, fields, own):
    """Names, order and types of the tables are those of FORMAT.md; the oracle reads records of the same bytes."""
    assert fields == list(table.fields)
    kinds = "".join(code * int(n or 1) if code != "s" else n + code for n, code in re.findall(r"(\d*)(\w)", own.format))
    assert kinds == "".join("bbbb" if code == "4b" else code for _, code in table.fields)
    assert own.size == table.size


def test_page_knows_sizes_and_limits():
    assert f"Header ({fmt.HEADER.size} bytes)" in PAGE
    assert f"Layers ({fmt.LAYER.size} bytes each) and params ({fmt.PARAM.size} bytes each)" in PAGE
    assert f"`tunnels`, `layers` | u8 | 1..{fmt.MAX_TUNNELS}, 1..{fmt.MAX_LAYERS}" in PAGE
    assert f"1..{fmt.MAX_SIDE} |" in PAGE and f"`shift` | u8 | 0..{fmt.MAX_SHIFT}" in PAGE
    assert f"at most {fmt.MAX_REDUCTION} products per sum" in PAGE
    assert f"field of a segment ({fmt.SEGMENT.size} bytes)" in PAGE
    assert (
        f"its layers, 1..{fmt.MAX_FUSED} of them" in PAGE and f"{fmt.STATE_BYTES} bytes for each of its layers" in PAGE
    )
    assert (arena.MOST_FUSED, arena.STATE_BYTES) == (fmt.MAX_FUSED, fmt.STATE_BYTES)
    assert f"are at most {fmt.MAX_LINES} times its layers" in PAGE and arena.MOST_LINES == fmt.MAX_LINES
    assert f"at most {fmt.MAX_TUNNELS} times as long as the blob" in PAGE


def test_page_lists_every_mode():
    """Number and name of each, in order; the tests' own numbers are the same."""
    listed = re.findall(r"^\| (\d) \| (\w+) \|", PAGE, re.M)
    assert [int(n) for n, _ in listed] == list(range(8))
    for number, name in listed:
        assert getattr(fmt, f"MODE_{name.upper()}") == getattr(arena, name.upper()) == int(number)


def test_powers_of_the_scores():
    """The page, the engine and the oracle list the same; one unit more in one of them hardly ever shows in a score."""
    listed = re.search(r"C\[1\.\.16\] = ([\d,\s]+)\.", PAGE)[1]
    code = re.search(r"factor\[16\] = \{([\d,\s]+)\}", (ENGINE / "engine" / "kernels" / "pn_round.c").read_text())[1]
    assert [int(n) for n in listed.split(",")] == oracle.POWERS
    assert [int(n) for n in code.strip().rstrip(",").split(",")] == oracle.POWERS


@pytest.mark.parametrize("table", fmt.TABLES, ids=lambda table: table.name)
def test_records_survive_packing(table):
    values = {name: (1, 2, 3, 4) if code == "4b" else b"PNB\x1a" if code == "4s" else 1 for name, code in table.fields}
    record = table.pack(**values)
    assert len(record) == table.size and table.unpack(b"\0" + record, 1) == values
    with pytest.raises(ValueError, match=table.name):
        table.pack(**values, extra=1)
    name = [name for name, code in table.fields if code != "f"][-1]
    with pytest.raises(ValueError, match=f"{table.name}.{name}"):
        table.pack(**values | {name: 1 << 40})
