"""What docs/ shows is run as it stands there, and the errors that can come up are all explained."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import PATIENT, require
from patchnet.board import deploy, remote

ROOT = Path(__file__).resolve().parents[2]
TROUBLE = (ROOT / "docs" / "troubleshooting.md").read_text()
DEPLOY = (ROOT / "docs" / "deploy.md").read_text()
PACKAGE = ROOT / "host_tools" / "patchnet"
ENGINE = ROOT / "modpatchnet"
RUN_ERRORS = {"arena", "ok"}  # which the module finds before the engine does, and which is none
# Not for a user: what only the tests or a wrong call can bring about.
INTERNAL = r"frame: wanted|does not fit into a varuint|emulated board has room|QEMU did not start|is missing: run `make"
INTERNAL += r"|no end within|exit status|the program on the board ended"


def binding_texts():
    source = "".join(path.read_text() for path in sorted(ENGINE.glob("binding/*.[ch]")))
    return re.findall(r'MP_ERROR_TEXT\("([^"]*)"\)', source)


def engine_texts():
    body = re.search(r"causes\[\] =(.*?);", (ENGINE / "engine" / "pn_open.c").read_text(), re.S)[1]
    return sorted({text for some in re.findall(r'"([^"]*)"', body) for text in some.split("\\0")} - RUN_ERRORS - {""})


def text_of(node):
    """The text of a message, ? for what is filled in; None for one that is an exception's own."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "?" for part in node.values)
    if isinstance(node, ast.BinOp):
        return (text_of(node.left) or "?") + (text_of(node.right) or "?")
    return "?" if isinstance(node, ast.IfExp | ast.Name) else None


def host_texts():
    found = []
    read_too = PACKAGE / "blob" / "vector.py", ENGINE / "filecam.py", ENGINE / "filemic.py"
    for file in (*sorted((PACKAGE / "board").glob("*.py")), *read_too):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                text = text_of(node.exc.args[0])
                if text and text.strip("?") and not re.search(INTERNAL, text):
                    found.append(text)
    return found


def is_explained(text):
    """Whether the page has a message in code that reads like this, anything standing for what is filled in."""
    words = [w for w in re.split(r"%[a-z]|\?", text) if w.strip(" :;,")]
    pattern = ".*".join(re.escape(word.strip()) for word in words)
    messages = re.findall(r"`((?:\\`|[^`])*)`", TROUBLE)
    return any(re.search(pattern, message.replace("\\`", "`")) for message in messages)


def test_the_search_finds_messages_and_misses_what_is_not_there():
    assert len(binding_texts()) > 15 and len(engine_texts()) > 8 and len(host_texts()) > 20
    assert not is_explained("model: %u of %u bananas") and not is_explained("bad model: bananas")


@pytest.mark.parametrize("text", sorted(set(binding_texts())))
def test_errors_of_the_module_are_explained(text):
    assert is_explained(text)


@pytest.mark.parametrize("text", engine_texts())
def test_errors_of_the_engine_are_explained(text):
    kind = "picture" if text in ("format", "roi") else "model"
    assert is_explained(f"bad {kind}: {text}")


@pytest.mark.parametrize("text", sorted(set(host_texts())))
def test_errors_of_the_tools_are_explained(text):
    assert is_explained(text)


# ---------------------------------------------------------------- what docs/deploy.md shows

LINES = re.findall(r"^mpremote (.*)$", re.search(r"```mpremote\n(.*?)```", DEPLOY, re.S)[1], re.M)
SAID = ["", "11904", "('person', ", "us for a picture"]


@pytest.mark.device
def test_mpremote_lines(tmp_path):
    require("qemu")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(PACKAGE / "models" / "person.pnb", tmp_path)
    (tmp_path / "pictures").mkdir()
    shutil.copy(PACKAGE / "pictures" / "person-hopper.ppm", tmp_path / "pictures")
    emulator = remote.Qemu(remote.FIRMWARE, None, False)
    try:
        deploy.deploy("person", emulator.port, "rom")
        assert len(LINES) == len(SAID)
        for line, said in zip(LINES, SAID, strict=True):
            command = [sys.executable, "-m", "mpremote", "connect", emulator.port, *shlex.split(line)]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENT)
            assert done.returncode == 0 and said in done.stdout, (line, done.stdout, done.stderr)
    finally:
        emulator.stop()


COMMANDS = re.findall(r"^\.venv/bin/patchnet (.*)$", DEPLOY, re.M)


def test_commands_are_understood():
    """Their arguments; what they do is what test_deploy and test_onboard look at."""
    from patchnet.cli import build_parser

    assert {command.split()[0] for command in COMMANDS} == {"devices", "deploy", "val", "bench"}
    for command in COMMANDS:
        build_parser().parse_args(shlex.split(command))


# ---------------------------------------------------------------- links

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "ports" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def anchors(page):
    """As the headings of a page get them: in small letters, without punctuation, - for a space."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        if not name.startswith("http"):
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_are_named_by_links(page):
    """Outside of code, links and messages."""
    text = re.sub(r"^```.*?^```|^    .*?$|`[^`\n]*`|\[[^]]*\]\([^)]*\)", "", page.read_text(), flags=re.M | re.S)
    assert not re.findall(r"docs/[a-z/]+\.md", text)


def test_figures_of_imports_are_those_of_their_page():
    section = (ROOT / "README.md").read_text().split("## You have a .tflite")[1].split("\n## ")[0]
    pages = "".join((ROOT / "docs" / name).read_text() for name in ("import.md", "memory.md"))
    figures = re.findall(r"[\d,]+ B\b", section)
    assert len(figures) > 12 and not [figure for figure in figures if figure not in pages]


def test_every_page_for_starters_is_found():
    """From the README and from the boards' page."""
    for page in (ROOT / "docs" / "start").glob("*.md"):
        for name, folder in (("README.md", "docs/start"), ("docs/boards.md", "start")):
            assert f"]({folder}/{page.name})" in (ROOT / name).read_text(), (page.name, name)
