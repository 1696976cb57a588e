"""Who imports whom in the host package: an order of rooms, no circles, and no import hidden in a function.

The sources are read, not run. Every import counts, also those inside functions and for type checkers only: an arrow is
one whenever it is followed.
"""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "host_tools" / "patchnet"

# A module may import from its own line and from those below it.
ORDER = (
    ("", "demo", "filecam", "filemic"),  # "": the package itself, with the board's API, which the board's own files use
    ("api",),
    ("cli",),
    ("make",),
    ("report",),
    ("evaluate",),
    ("board",),
    ("tasks",),
    ("train",),
    ("importers",),
    ("blob",),
    ("plan",),
    ("engine",),
    ("net",),
    ("data",),
    ("format", "progress", "rooms", "models", "npz", "ranges", "whole", "words"),
)
LINE = {room: i for i, rooms in enumerate(ORDER) for room in rooms}
ONLY = {"": {"api"}, "api": {"engine"}}  # these take in nothing else, so that `import patchnet` is quick
TORCH = {"tasks", "train", "importers"}  # rooms that may know torch
# A task is known by its name alone (`tasks` itself has the table), so that one can be added or left out.
# a network that hears classifies; a heat map is a raw one, in which objects are found
NEIGHBOURS = {("sound", "classify"), ("heatmap", "raw"), ("heatmap", "detect")}
BOARD_FILES = {"filecam", "filemic"}  # what is `patchnet` to them is the board's module
REASON = "# imported here:"
AT_ONCE, IN_FUNCTION, FOR_TYPES = "at once", "in a function", "for type checkers"


@dataclass(frozen=True)
class Import:
    """`importer` (dotted, within the package) takes in `imported`: a module of the package, or else, `own` being
    False, what another package is called. `when`: AT_ONCE, IN_FUNCTION or FOR_TYPES."""

    importer: str
    imported: str
    line: int
    own: bool
    when: str
    reason: bool

    def __str__(self) -> str:
        return f"{self.importer or 'patchnet'}:{self.line} imports {self.imported or 'patchnet'}"


def room(module: str) -> str:
    return module.partition(".")[0]


def modules(package: Path) -> dict[str, Path]:
    """Dotted name within the package -> file; the package itself is ""."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def targets(node: ast.Import | ast.ImportFrom, module: str, is_folder: bool, known: dict) -> list[tuple[str, bool]]:
    """What a statement imports: (name, whether it is a module of the package)."""
    if isinstance(node, ast.Import):
        names = [alias.name.split(".") for alias in node.names]
        return [(".".join(n[n[0] == "patchnet" :]), n[0] == "patchnet") for n in names]
    there = node.module.split(".") if node.module else []
    if not node.level and (there[0] != "patchnet" or module in BOARD_FILES):
        return [(node.module or "", False)]
    here = module.split(".") if module else []
    here = here[: len(here) - node.level + is_folder] if node.level else []
    base = ".".join(here + there[not node.level :])
    names = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
    return sorted({(name if name in known else base, True) for name in names})


def imports_of(module: str, path: Path, known: dict) -> list[Import]:
    lines, found, reasons = path.read_text().splitlines(), [], set()

    def visit(node: ast.AST, when: str) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            above, first = lines[node.lineno - 2 : node.lineno - 1], lines[node.lineno - 1]
            reason = REASON in first or any(line.strip().startswith(REASON) for line in above)
            if reason or node.lineno - 1 in reasons:  # one reason is enough for imports that follow without a gap
                reasons.add(node.end_lineno)
            for name, own in targets(node, module, path.stem == "__init__", known):
                found.append(Import(module, name, node.lineno, own, when, node.end_lineno in reasons))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            when = IN_FUNCTION
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            when = FOR_TYPES
        for child in ast.iter_child_nodes(node):
            visit(child, when)

    visit(ast.parse(path.read_text()), AT_ONCE)
    return found


@cache
def drawn(package: Path) -> tuple[Import, ...]:
    """All imports of the package's modules."""
    known = modules(package)
    return tuple(one for name, path in known.items() for one in imports_of(name, path, known))


def strangers(package: Path) -> list[str]:
    """Rooms that the order does not know, and names that are no module."""
    known = modules(package)
    unknown = sorted({room(name) for name in known} - LINE.keys())
    return [f"{name}: is in no line of the order" for name in unknown] + [
        f"{one}, which is no module" for one in drawn(package) if one.own and one.imported not in known
    ]


def upward(package: Path) -> list[str]:
    """Imports against the order."""
    found = []
    for one in drawn(package):
        here, there = room(one.importer), room(one.imported)
        if not one.own or here == there or {here, there} - LINE.keys():
            continue
        if LINE[here] > LINE[there] or there not in ONLY.get(here, {there}):
            found.append(f"{one}, against the order")
    return found


def between_tasks(package: Path) -> list[str]:
    """Imports that know a task: from outside of `tasks`, or from another task."""
    tasks, found = {path.name for path in (package / "tasks").iterdir() if path.is_dir()}, []
    for one in drawn(package):
        here, there = (f"{name}..".split(".")[:2] for name in (one.importer, one.imported))
        if not one.own or there[0] != "tasks" or there[1] not in tasks:
            continue
        if here[0] != "tasks":
            found.append(f"{one}, a task, from outside of tasks")
        elif here[1] in tasks - {there[1]} and (here[1], there[1]) not in NEIGHBOURS:
            found.append(f"{one}, another task")
    return found


def hidden(package: Path) -> list[str]:
    """Imports inside functions that do not say why."""
    return [
        f"{one} in a function without `{REASON} why`"
        for one in drawn(package)
        if one.when == IN_FUNCTION and not one.reason
    ]


def circles(package: Path) -> list[str]:
    """Modules that import each other, by whatever way round: each circle once, the shortest through its first one."""
    arrows: dict[str, set[str]] = {}
    for one in drawn(package):
        if one.own and one.importer != one.imported:
            arrows.setdefault(one.importer, set()).add(one.imported)
    found, done = [], set()
    for start in sorted(arrows):
        if start in done:
            continue
        way = shortest_way_back(start, arrows)
        if way:
            found.append(f"circle: {' -> '.join(name or 'patchnet' for name in way)}")
            done |= set(way)
    return found


def shortest_way_back(start: str, arrows: dict[str, set[str]]) -> list[str] | None:
    ways, seen = [[start]], set()
    while ways:
        longer = []
        for way in ways:
            for name in sorted(arrows.get(way[-1], ())):
                if name == start:
                    return [*way, name]
                if name not in seen:
                    seen.add(name)
                    longer.append([*way, name])
        ways = longer
    return None


def torch_where_none_is(package: Path) -> list[str]:
    """In rooms without torch: its imports, and those that bring it in as soon as the module itself is imported."""
    all_, at_once = drawn(package), {}
    for one in all_:
        if one.when == AT_ONCE:
            at_once.setdefault(one.importer, set()).add(one.imported if one.own else room(one.imported))
    found = []
    for one in all_:
        if room(one.importer) in TORCH:
            continue
        if not one.own and room(one.imported) == "torch":
            found.append(f"{one}, in a room without it")
        elif one.own and one.when == AT_ONCE and reaches(one.imported, "torch", at_once):
            found.append(f"{one}, and with it torch")
    return found


def reaches(start: str, end: str, arrows: dict[str, set[str]]) -> bool:
    seen, left = set(), [start]
    while left:
        name = left.pop()
        if name == end:
            return True
        if name not in seen:
            seen.add(name)
            left.extend(arrows.get(name, ()))
    return False


RULES = (strangers, upward, between_tasks, hidden, circles, torch_where_none_is)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package(rule):
    found = rule(PACKAGE)
    assert not found, "\n".join(["", *found])


# ---------------------------------------------------------------- the rules see what they are to see

UNSAID = f"in a function without `{REASON} why`"
PLANTED = {
    "plan/a1.py": "from . import a2",
    "plan/a2.py": "from .a1 import x",
    "plan/b1.py": "def f():\n    from .b2 import x",
    "plan/b2.py": "from ..plan.b3 import x",
    "plan/b3.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b1 import x",
    "net/c1.py": "\nfrom ..plan import c2",
    "plan/c2.py": "",
    "blob/d1.py": "from .. import Model",
    "cli/d2.py": "from ..api import load",
    "data/d5.py": "import patchnet.net.zoo",
    "data/d6.py": "from patchnet.plan import c2",
    "models/d4.py": "from .. import plan",
    "train/d3.py": "def f():\n    from ..tasks.detect import x",
    "evaluate/e1.py": "def f():\n    from ..tasks.detect.e2 import x",
    "tasks/detect/e2.py": "",
    "tasks/sound/e3.py": "from ..detect import e2",
    "plan/f1.py": "class A:\n    def f(self):\n        if 1:\n            import json",
    "plan/f2.py": f"def f():\n    {REASON} x\n    import json\n\n    import csv\n",
    "attic/g1.py": "",
    "plan/g2.py": "from .nowhere import x",
    "plan/h1.py": "def f():\n    import torch.nn",
    "report/i1.py": "from ..train import i2",
    "train/i2.py": "from . import i3",
    "train/i3.py": "from torch import nn",
}
NAMED = {
    circles: ["circle: plan.a1 -> plan.a2 -> plan.a1", "circle: plan.b1 -> plan.b2 -> plan.b3 -> plan.b1"],
    upward: [
        "blob.d1:1 imports patchnet, against the order",
        "cli.d2:1 imports api, against the order",
        "data.d5:1 imports net.zoo, against the order",
        "data.d6:1 imports plan.c2, against the order",
        "models.d4:1 imports plan, against the order",
        "net.c1:2 imports plan.c2, against the order",
        "train.d3:2 imports tasks.detect, against the order",
    ],
    between_tasks: [
        "evaluate.e1:2 imports tasks.detect.e2, a task, from outside of tasks",
        "tasks.sound.e3:1 imports tasks.detect.e2, another task",
        "train.d3:2 imports tasks.detect, a task, from outside of tasks",
    ],
    hidden: [
        f"evaluate.e1:2 imports tasks.detect.e2 {UNSAID}",
        f"plan.b1:2 imports plan.b2 {UNSAID}",
        f"plan.f1:4 imports json {UNSAID}",
        f"plan.f2:5 imports csv {UNSAID}",
        f"plan.h1:2 imports torch.nn {UNSAID}",
        f"train.d3:2 imports tasks.detect {UNSAID}",
    ],
    strangers: ["attic: is in no line of the order", "plan.g2:1 imports plan.nowhere, which is no module"],
    torch_where_none_is: [
        "plan.h1:2 imports torch.nn, in a room without it",
        "report.i1:1 imports train.i2, and with it torch",
    ],
}
ALLOWED = {
    "tasks/sound/a1.py": "from ..classify import a2\nfrom ...train.a3 import x\n",
    "tasks/classify/a2.py": f"def f():\n    import csv  {REASON} x\n",
    "train/a3.py": "import torch\nfrom ..data import a4",
    "data/a4.py": f"def f():\n    {REASON} x\n    import csv\n    from json import (\n        x,\n    )\n    import re",
    "cli/a5.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..train.a3 import x",
    "report/a6.py": f"def f():\n    {REASON} torch starts slowly\n    from ..train.a3 import x\n",
}


def copy(folder: Path, files: dict[str, str]) -> Path:
    """A copy of the package's modules, and these files in it."""
    texts = {str(path.relative_to(PACKAGE)): path.read_text() for path in modules(PACKAGE).values()}
    for name, text in (texts | files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return copy(tmp_path_factory.mktemp("planted"), PLANTED)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_what_is_planted_is_named(planted, rule):
    assert sorted(set(rule(planted)) - set(rule(PACKAGE))) == NAMED[rule]


def test_what_is_allowed_is_not_named(tmp_path):
    package = copy(tmp_path, ALLOWED)
    assert [(rule.__name__, rule(package)) for rule in RULES] == [(rule.__name__, rule(PACKAGE)) for rule in RULES]


# What would run what a file or an argument says. np.load takes no pickles unless it is told to.
RUNS = {"eval", "exec", "compile", "__import__", "execfile", "os.system", "os.popen", "yaml.load"}
# Programs that PyTorch runs, which docs/security.md tells of: a teacher may be one, and nothing else.
PROGRAMS, THEIRS = {"torch.jit.load", "torch.export.load"}, "teacher.py"
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def runs_others(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        bad = bool({name.split(".")[0] for name in names} & PICKLES)
        if isinstance(node, ast.Call):
            called, given = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            bad = (
                called in RUNS
                or (called in PROGRAMS and path.name != THEIRS)
                or given.get("shell", "False") != "False"
                or given.get("allow_pickle", "False") != "False"
            )
            bad |= called == "torch.load" and given.get("weights_only") != "True"
            command = node.args[0] if called.startswith("subprocess.") and node.args else None
            bad |= isinstance(command, ast.Constant | ast.JoinedStr | ast.BinOp)
        found += [f"{path.name}:{node.lineno}: {ast.unparse(node)}"] if bad else []
    return found


def test_nothing_runs_what_files_say():
    """No eval, no shell's strings, no pickles but PyTorch's weights, no programs but a teacher's."""
    assert [line for path in PACKAGE.rglob("*.py") for line in runs_others(path)] == []


@pytest.mark.parametrize(
    "line",
    [
        *("eval(text)", "import pickle", "from shelve import open", "os.system(f'rm {path}')", "torch.load(path)"),
        *("subprocess.run(f'ls {path}')", "subprocess.run(command, shell=True)", "np.load(path, allow_pickle=True)"),
        *("torch.load(path, weights_only=False)", "torch.jit.load(path)", "torch.export.load(path)"),
    ],
)
def test_what_runs_is_found(tmp_path, line):
    (tmp_path / "m.py").write_text(f"x = np.load(path)\nsubprocess.run(['ls', path])\n{line}\n")
    assert [found.split(":")[1] for found in runs_others(tmp_path / "m.py")] == ["3"]
