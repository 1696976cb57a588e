"""What `make figures` compares and prints; the measuring is commands that have tests of their own."""

import json

import pytest

import figures


def test_changes_are_told_with_their_share():
    before = {"code/a": 1000, "code/b": 5, "code/gone": 7, "arena/zero": 0}
    after = {"code/a": 1015, "code/b": 5, "code/new": 12345, "arena/zero": 4}
    assert figures.changes(before, after) == [
        ("arena/zero", "0", "4", ""),
        ("code/a", "1,000", "1,015", "+1.5%"),
        ("code/gone", "7", "-", ""),
        ("code/new", "-", "12,345", ""),
    ]


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("seconds/tests", 10.0, 12.5, 10.0),
        ("seconds/tests", 10.0, 12.6, 12.6),
        ("seconds/tests", 10.0, 7.4, 7.4),
        ("instructions/a", 10_000_000, 10_040_000, 10_000_000),
        ("instructions/a", 10_000_000, 9_959_000, 9_959_000),
        ("code/a", 1000, 1001, 1001),
    ],
)
def test_noise_is_no_change(name, old, new, told):
    assert figures.renewed({name: old}, {kind: {name: new} for kind in figures.KINDS})[name] == told


def test_what_was_not_measured_stays_and_what_is_gone_goes():
    before = {"code/a": 1, "stack/a": 2, "instructions/a": 3, "tests": 4}
    assert figures.renewed(before, {"code": {"code/b": 5}, "tests": {}}) == {
        "code/b": 5,
        "instructions/a": 3,
        "tests": 4,
    }


def test_columns():
    rows = [("a", "1", "1,000", "+99900.0%"), ("bcd", "-", "2", "")]
    assert figures.lines(rows) == ["     before    now", "a         1  1,000  +99900.0%", "bcd       -      2"]
    assert figures.lines([]) == ["no figure has changed"]


def test_stack_of_gcc():
    text = "pn_run.c:12:5:pn_step\t48\tstatic\npn_run.c:3:13:pn_move.constprop.0\t8\tdynamic,bounded\n"
    assert figures.STACK_USE.findall(text) == ["48", "8"]


def test_time_of_the_tests(tmp_path):
    path = tmp_path / "tests.xml"
    assert figures.tests(path) == {}
    path.write_text('<testsuites><testsuite><testcase time="1.25"/><testcase time="2.5"/></testsuite></testsuites>')
    assert figures.tests(path) == {"tests": 2, "seconds/tests": 3.8}


def test_the_figures_that_are_checked_in():
    """In order, one a line, so that a change of them can be read; and of the kinds that there are."""
    text = figures.FIGURES.read_text()
    told = json.loads(text)
    assert text == json.dumps(dict(sorted(told.items())), indent=1) + "\n"
    kinds = tuple(name for names in figures.NAMES.values() for name in names)
    assert all(name.startswith(kinds) for name in told)
