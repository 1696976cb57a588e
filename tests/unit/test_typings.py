"""patchnet.pyi, by which editors know the board's module, beside what it describes: the C binding's tables, the API's
file, and the same classes on a PC."""

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import patchnet
from patchnet import api

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "host_tools" / "patchnet"
STUB = PACKAGE / "typings" / "patchnet.pyi"
(BINDING,) = (ROOT / "modpatchnet").rglob("mod_patchnet.c")
PC_ONLY = {"stream_sizes", "stream_read"}  # for tools that ask on behalf of a board
EITHER_WAY = {"__init__", "__del__", "__enter__", "__exit__"}  # a language's own


class Described:
    """A stub's text: `names` of the module, and `members` of each class; functions with their arguments, (name,
    default) each, all else with None."""

    def __init__(self, text: str):
        tree = ast.parse(text)
        self.names = described(tree)
        self.members = {c.name: described(c) for c in tree.body if isinstance(c, ast.ClassDef)}


def described(node: ast.Module | ast.ClassDef) -> dict[str, list | None]:
    found: dict[str, list | None] = {}
    for part in node.body:
        if isinstance(part, ast.FunctionDef):
            fact = "property" in [ast.unparse(d) for d in part.decorator_list]
            found.setdefault(part.name, None if fact else arguments(part.args))  # of overloads the first
        elif isinstance(part, ast.ClassDef):
            found[part.name] = None
        elif isinstance(part, ast.AnnAssign):
            found[ast.unparse(part.target)] = None
    return {name: what for name, what in found.items() if name[0] != "_" or name in EITHER_WAY}


def arguments(args: ast.arguments) -> list:
    names = [a.arg for a in [*args.posonlyargs, *args.args] if a.arg != "self"]
    defaults = [ast.literal_eval(d) for d in args.defaults]
    return list(zip(names, [...] * (len(names) - len(defaults)) + defaults, strict=True))


def table(c: str, name: str) -> set[str]:
    """The names in one of the binding's tables. A row of its own table is one that a build may leave out."""
    tables = re.findall(rf"#define {name}\(X\)((?:.*\\\n)*.*)", c)
    found = {row for rows in tables for row in re.findall(r"MP_QSTR_(\w+)", rows)}
    return found.union(*(table(c, inner) for rows in tables for inner in re.findall(r"(\w+)\(X\)", rows)))


def function(c: str, name: str) -> str:
    return re.search(rf"^static (?:__attribute__\(\(noinline\)\) )?mp_obj_t {name}\(.*?^}}", c, re.M | re.S)[0]


def c_arguments(c: str, name: str) -> list | None:
    """(name, whether it must be given) of what a method of Model takes, None if it, or a `get_` that it calls, has no
    table of them."""
    own = function(c, name)
    own += function(c, name.replace("model_", "get_")) if f"{name.replace('model_', 'get_')}(n_args" in own else ""
    rows = re.findall(r"{ MP_QSTR_(\w+), (MP_ARG_REQUIRED)?", own)
    return [(argument, bool(required)) for argument, required in rows] or None


def differences(stub: str, c: str) -> list[str]:
    """What only one of stub and binding has."""
    told, found = Described(stub), []

    def compare(what: str, stub_has: set, c_has: set) -> None:
        found.extend(f"{what}: only the stub has {name}" for name in sorted(stub_has - c_has - EITHER_WAY))
        found.extend(f"{what}: only the binding has {name}" for name in sorted(c_has - stub_has - EITHER_WAY))

    model, image = told.members["Model"], told.members["Image"]
    facts = set(re.findall(r"name == MP_QSTR_(\w+)", function(c, "get_sound_fact") + function(c, "get_fact")))
    compare("Model's methods", {n for n, what in model.items() if what is not None}, table(c, "MODEL_METHODS"))
    compare("Model's facts", {n for n, what in model.items() if what is None}, facts)
    compare("Image's methods", set(image), table(c, "IMAGE_METHODS"))
    classes = {"Model", "Image"}
    numbers = {n for n, what in told.names.items() if what is None and n not in classes}
    compare("numbers", numbers, table(c, "MODULE_NUMBERS"))
    for name, what in model.items():
        takes = c_arguments(c, "model_make_new" if name == "__init__" else f"model_{name}") if what else None
        told_here = [(argument, default is ...) for argument, default in what or []]
        if takes and takes != told_here:
            found.append(f"Model.{name}: the stub takes {told_here}, the binding {takes}")
    return found


def test_stub_and_binding():
    assert differences(STUB.read_text(), BINDING.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("def deinit(", "def finish(", "Model's methods: only the {} has {}"),
        ("def ram(", "def bytes(", "Model's facts: only the {} has {}"),
        ("\n    def format(", "\n    def depth(", "Image's methods: only the {} has {}"),
        ("RGB888: int", "RGB: int", "numbers: only the {} has {}"),
    ],
)
def test_a_name_on_one_side_only_is_named(old, new, what):
    names = [re.search(r"(def )?(\w+)[(:]", text)[2] for text in (new, old)]
    named = [what.format(side, name) for side, name in zip(("stub", "binding"), names, strict=True)]
    assert differences(STUB.read_text().replace(old, new), BINDING.read_text()) == named


def test_other_arguments_are_named():
    (named,) = differences(STUB.read_text().replace("out: None = None", "out: None"), BINDING.read_text())
    assert named.startswith("Model.predict: the stub takes [('x', True), ('out', True)], the binding")


def test_binding_has_tables_of_arguments():
    c = BINDING.read_text()
    assert all(c_arguments(c, f"model_{name}") for name in ("make_new", "classify", "detect", "spot", "predict"))


def of_signature(what) -> list:
    parameters = inspect.signature(what).parameters.values()
    return [(p.name, ... if p.default is p.empty else p.default) for p in parameters if p.name not in ("self", "cls")]


def test_stub_and_pc():
    told = Described(STUB.read_text())
    assert set(told.names) == set(patchnet.__all__)
    assert {n for n in dir(patchnet.Model) if n[0] != "_"} - PC_ONLY == set(told.members["Model"]) - EITHER_WAY
    for name, what in told.members["Model"].items():
        if what is None:
            assert isinstance(getattr(patchnet.Model, name), property), name
        elif name not in EITHER_WAY - {"__init__"}:
            assert of_signature(getattr(patchnet.Model, name)) == what, name
    assert of_signature(patchnet.Image.__new__) == told.members["Image"].pop("__init__")
    assert all(callable(getattr(patchnet.Image, name)) for name in told.members["Image"])


@pytest.mark.parametrize("stub", [STUB, PACKAGE / "api.pyi"], ids=lambda path: path.name)
def test_functions_are_those_of_the_boards_file(stub):
    told = {name: what for name, what in Described(stub.read_text()).names.items() if what is not None}
    assert set(told) == {name for name, what in vars(api).items() if inspect.isfunction(what)}
    for name, what in told.items():
        assert of_signature(getattr(api, name)) == what


def test_numbers_are_the_bindings():
    c = BINDING.read_text()
    for name in table(c, "MODULE_NUMBERS"):
        assert int(re.search(rf"#define FORMAT_{name} \((\w+)\)", c)[1], 0) == getattr(patchnet, name)


SCRIPT = """\
import patchnet
from array import array
class Cam:
    def width(self) -> int: return 1
    def height(self) -> int: return 1
m = patchnet.Model("a.pnb", arena=bytearray(9), stream=4096)
label, score = m.classify(Cam(), top=1)[0]
print(label.upper(), score + 1, m.ram + 1, m.predict(array("h"))[0], m.predict(b"", bytearray(2)).decode())
with patchnet.load(open("a.pnb", "rb")) as m:
    heard = patchnet.spot(array("h"), every=3)
    heard[0]
m.classify(Cam(), best=1)
m.predict(3)
m.nothing
for x, y, w, h, label, score in patchnet.detect(Cam(), 0.5):
    print(x + y + w + h, label + score)
"""


def test_a_type_checker_takes_it(tmp_path):
    """What an editor does: it sees the stub as `patchnet`, takes the script and finds what is wrong at its end."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir=/dev/null", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True,
                          env=os.environ | {"MYPYPATH": str(STUB.parent)})  # fmt: skip
    wrong = [int(line.split(":")[1]) for line in done.stdout.splitlines() if "error:" in line]
    assert sorted(set(wrong)) == [11, 12, 13, 14, 16], done.stdout + done.stderr
