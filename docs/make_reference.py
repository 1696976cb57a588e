"""Makes docs/reference of the sources: of dataclasses the keys of an experiment, of docstrings the modules.

    python docs/make_reference.py

What is said there is written once, in the source. The pages are kept, so that they can be read without the site, and
tests/unit/test_reference.py compares. Sources are read, not imported: nothing need be installed.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "host_tools" / "patchnet"
Def = ast.FunctionDef | ast.ClassDef


class Keys(NamedTuple):
    """A table of an experiment's file: the class whose fields its keys are, and those that are none."""

    title: str
    file: str
    name: str
    but: tuple[str, ...] = ()


KEYS = (
    Keys("The experiment", "train/experiment.py", "Experiment", ("options", "source")),
    Keys("If it classifies", "tasks/classify/training.py", "Options"),
    Keys("If it detects", "tasks/detect/training.py", "Options"),
    Keys("If it hears", "tasks/sound/training.py", "Options"),
    Keys("[network]", "net/recipe.py", "PatchTunnels", ("name", "end")),
    Keys("A stage", "net/recipe.py", "Stage"),
    Keys("[network.detection]", "tasks/detect/end.py", "Detection"),
    Keys("A scale", "tasks/detect/end.py", "Scale"),
    Keys("[network.audio]", "tasks/sound/end.py", "Audio"),
)
TYPES = {
    "str": "text",
    "int": "integer",
    "float": "number",
    "float | str": "number or text",
    "bool": "true or false",
    "tuple[float, float]": "two numbers",
    "tuple[int, ...]": "integers",
    "tuple[float, ...]": "numbers",
    "tuple[str, ...]": "texts",
    "Anchors": "pairs of width, height",
    "Places": "lists of y, x, height, width",
    "Network": "[table](#network)",
    "tuple[Stage, ...]": "[stages](#a-stage)",
    "tuple[Scale, ...]": "[scales](#a-scale)",
}
ANNOTATED = r"Annotated\[(\w+), '([^']*)'\]"
EXPERIMENT = """\
# What an experiment may say

An experiment is one TOML file: what is learnt from, how, and the network. `patchnet train FILE.toml` trains it,
`--set KEY=VALUE` replaces a key of its first table. Those that come with patchnet lie in
`host_tools/patchnet/experiments/`; `patchnet design` and `patchnet make` write others. A run's `config.toml` has every
key. A key that is not listed here is an error.

`base = "OTHER"` takes whatever the file does not say itself from `OTHER.toml`, a path from its own folder on: keys of
the first table, and of `[network]`, one by one; lists are replaced as a whole, and a name is never handed on.

```toml
name = "digits"
train = "digits_train"
test = "digits_test"
epochs = 30

[network]
labels = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
height = 16
width = 16
channels = 1
mean = [128]
stages = [{out = 16, stride = 2, t = 3}, {out = 24, n = 2, stride = 2, t = 4}]
```

What a network is to do its table tells: with `[network.detection]` it detects, with `[network.audio]` it hears, with
neither it classifies. (A `[network]` that no recipe makes is told layer by layer, in a `chain`; nobody writes that.)
"""
BOARD = ("modpatchnet/patchnet.pyi", "modpatchnet/filecam.py", "modpatchnet/filemic.py")
ALSO = {"_Picture"}  # is not in the module, but what its functions take
# What scripts on a PC may build on, by module.
PC = {
    "data.sets": ("load",),
    "data.dataset": ("Dataset", "Dataset.take", "Dataset.limit"),
    "evaluate.val": ("val", "predict"),
    "report.analyze": ("analyze",),
    "make.stages": ("make", "Order"),
    "make.choose": ("Wanted",),
    "train.loop": ("run",),
    "train.quantize": ("run", "quantized"),
    "train.imported": ("float_model",),
    "importers": ("torch",),
    "importers.real": ("Pixels", "Pixels.named"),
    "blob.files": ("pack_file",),
    "board.deploy": ("deploy",),
    "board.remote": ("connect", "Board.exec"),
}
PYTHON = """\
# The package on a PC

`import patchnet` is [the board's module](board.md) with the same engine. Pictures may also be numpy arrays (uint8,
H x W or H x W x 3) and Pillow images, and `patchnet.load("person")` finds the network of that name that comes with it.
The rest is imported by its own names: what scripts may build on is below. [The map](../architecture.md) has the whole
package.
"""


def pages() -> dict[str, str]:
    """The text of each page, by its name in docs/reference."""
    board = [ROOT / path for path in BOARD]
    return {
        "experiment.md": joined([EXPERIMENT, *(part for keys in KEYS for part in keys_of(keys))]),
        "board.md": joined(["# The module on a board", *(part for path in board for part in module(path))]),
        "python.md": joined([PYTHON, *(part for name, names in PC.items() for part in of_pc(name, names))]),
    }


def joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part.strip() for part in parts) + "\n"


# ---------------------------------------------------------------- dataclasses


class Field(NamedTuple):
    name: str
    kind: str
    default: ast.expr | None
    doc: str


def fields_of(node: ast.ClassDef | ast.Module) -> list[Field]:
    """What the class body declares, with the docstrings below."""
    found = []
    for one, below in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(one, ast.AnnAssign):
            told = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            doc = inspect.cleandoc(below.value.value) if told else ""
            found.append(Field(ast.unparse(one.target), ast.unparse(one.annotation), one.value, doc))
    return found


def keys_of(keys: Keys) -> Iterator[str]:
    """A heading, the class's own words, a table. ValueError for a field without a meaning."""
    (node,) = named(PACKAGE / keys.file, (keys.name,))
    yield f"## {keys.title}"
    yield ast.get_docstring(node) or ""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for field in fields_of(node):
        if field.name in keys.but:
            continue
        kind, told = ranged(field.kind)
        if not field.doc or kind not in TYPES:
            raise ValueError(f"{keys.file}: {keys.name}.{field.name}: wanted a docstring and a type of TYPES")
        default = "needed" if field.default is None else f"`{toml(ast.literal_eval(field.default))}`"
        rows.append(f"| `{field.name}` | {TYPES[kind]}{told} | {default} | {line(field.doc)} |")
    yield "\n".join(rows)


def ranged(kind: str) -> tuple[str, str]:
    """A type without the ranges in it, and these, told behind it."""
    ranges = dict.fromkeys(re.findall(ANNOTATED, kind))
    return re.sub(ANNOTATED, r"\1", kind), "".join(f" ({told})" for told in dict.fromkeys(told for _, told in ranges))


def toml(value: object) -> str:
    return json.dumps(value)  # of numbers, texts and lists of them the same


def line(text: str) -> str:
    """For a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


# ---------------------------------------------------------------- modules


def named(path: Path, names: Iterable[str]) -> list[Def]:
    """The functions, classes and, with a dot, members of a file by their names, in that order."""
    found: dict[str, Def] = {}
    for node in definitions(ast.parse(path.read_text())):
        found[node.name] = node
        found |= {f"{node.name}.{member.name}": member for member in definitions(node)}
    return [found[name] for name in names]


def definitions(node: ast.AST) -> list[Def]:
    return [one for one in getattr(node, "body", ()) if isinstance(one, Def)]


def module(path: Path) -> Iterator[str]:
    """All that a file of the board's has for scripts: its numbers, classes with their members, and functions."""
    tree = ast.parse(path.read_text())
    yield f"## {path.stem}"
    yield ast.get_docstring(tree) or ""
    numbers = [field for field in fields_of(tree) if not field.name.startswith("_")]
    if numbers:
        yield facts([(f.name, f.kind, f.doc) for f in numbers])
    for node in definitions(tree):
        if node.name[0] != "_" or node.name in ALSO:
            yield from described("###", node.name, [node])
            yield from members(node)


def of_pc(name: str, names: tuple[str, ...]) -> Iterator[str]:
    path = PACKAGE.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for own, node in zip(names, named(path, names), strict=True):
        yield from described("##", f"patchnet.{name}.{own}", [node])


def described(level: str, title: str, forms: Sequence[Def]) -> Iterator[str]:
    """A heading, how it is called (a function in one form or several), and what it says."""
    yield f"{level} {title}"
    calls = [call for form in forms if (call := called(form))]
    if calls:
        yield "\n".join(["```python", *calls, "```"])
    yield from (doc for form in forms if (doc := ast.get_docstring(form)))


def members(node: Def) -> Iterator[str]:
    """The methods that say something, and a table of the properties."""
    methods: dict[str, list[Def]] = {}
    properties = []
    for one in definitions(node):
        if "property" in decorators(one):
            properties.append((one.name, text(one.returns), ast.get_docstring(one) or ""))
        elif one.name[0] != "_":
            methods.setdefault(one.name, []).append(one)
    for name, forms in methods.items():
        if any(map(ast.get_docstring, forms)):
            yield from described("####", f"{node.name}.{name}", forms)
    if properties:
        yield f"#### Facts of a {node.name}"
        yield facts(properties)


def decorators(node: Def) -> list[str]:
    return list(map(ast.unparse, node.decorator_list))


def facts(rows: Iterable[tuple[str, str, str]]) -> str:
    head = ["| name | type | what |", "|---|---|---|"]
    return "\n".join([*head, *(f"| `{name}` | `{line(kind)}` | {line(doc)} |" for name, kind, doc in rows)])


def text(node: ast.AST | None) -> str:
    return "" if node is None else ast.unparse(node).replace("'", '"')


def called(node: Def) -> str:
    """With its arguments; of a class those that make one, its fields if it is a dataclass, "" without any."""
    if isinstance(node, ast.FunctionDef):
        return wrapped(node.name, arguments(node.args), f" -> {text(node.returns)}" if node.returns else "")
    makes = [one for one in definitions(node) if one.name == "__init__"]
    fields = [f"{f.name}: {f.kind}" + (f" = {text(f.default)}" if f.default else "") for f in fields_of(node)]
    given = arguments(makes[0].args) if makes else fields
    return wrapped(node.name, given, "") if given else ""


def arguments(args: ast.arguments) -> list[str]:
    """One by one, as they are written, without `self`."""
    given = [*args.posonlyargs, *args.args]
    defaults = [*[None] * (len(given) - len(args.defaults)), *args.defaults]
    out = []
    for arg, default in zip(given, defaults, strict=True):
        kind, equals = (f": {text(arg.annotation)}", " = ") if arg.annotation else ("", "=")
        out.append(f"{arg.arg}{kind}" + (f"{equals}{text(default)}" if default else ""))
    out += [f"**{args.kwarg.arg}"] if args.kwarg else []
    return [arg for arg in out if arg not in ("self", "cls")]


def wrapped(name: str, parts: list[str], end: str) -> str:
    """Of several lines where one would be long."""
    one = f"{name}({', '.join(parts)}){end}"
    return one if len(one) <= 90 else f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){end}"


if __name__ == "__main__":
    for name, text in pages().items():
        (ROOT / "docs" / "reference" / name).write_text(text)
