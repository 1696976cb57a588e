"""What docs/start/ shows is run as it stands there, page after page on one emulated board without patchnet in its
firmware: the first page's `mip install` puts it there. The emulated board's own page has one with it.

Not run, and not marked as a language: what flashes a real board.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from test_native import STOCK, require

from conftest import PATIENT
from patchnet import filecam
from patchnet.board import remote, romfs
from patchnet.cli import build_parser

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "host_tools" / "patchnet"
PAGES = sorted((ROOT / "docs" / "start").glob("*.md"))
EMULATED = ROOT / "docs" / "start" / "emulated.md"
PORT = "/dev/pts/5"  # stands there for the emulated board's
PROGRAMS = {"mpremote": "mpremote", "patchnet": "patchnet.cli"}
SAID = {
    "patchnet devices": r"Cortex-M7.* (/flash/lib/patchnet.mpy|in the firmware) .*rom, flash, sd",
    "patchnet deploy person66 --to sd": r"/sd/person66.pnb .* answers as this PC does",
    "patchnet deploy person": r"/rom/person.pnb .* answers as this PC does",
    "csi.CSI": r"^(\[\('(no_)?person', .*\)\]\n){3}$",
    "patchnet.Image(": r"\('(no_)?person', [01]\.\d+\)",
    "m.labels": r"11904 bytes of RAM, \('no_person', 'person'\)",
    "/remote": r"\('(no_)?person', [01]\.\d+\)",
    "person_led.py": r"LED_BLUE on\s+person 0",
    "speed.py": r"us for a picture, 11904 bytes of RAM",
}


def blocks(page):
    """The marked blocks: language and text."""
    return re.findall(r"^```(sh|mpremote|python)\n(.*?)^```", page.read_text(), re.M | re.S)


def at_port(words, port):
    """The command, at the emulated board instead of at the only one on USB."""
    if PORT in words:
        return [port if word == PORT else word for word in words]
    return [words[0], "connect", port, *words[1:]] if words[0] == "mpremote" else [*words, "--port", port]


def run(words, port):
    """What a command prints. A script that takes pictures without end ends with the stub's last picture."""
    program, *rest = at_port(words, port)
    command = [sys.executable, "-m", PROGRAMS[program], *rest]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENT)
    output = done.stdout + done.stderr
    assert done.returncode == 0 or "RuntimeError: last picture" in output, (words, output)
    return output


def expected(line):
    """What the pages say of a command's output."""
    if "hopper.ppm'" in line:
        return r"\[\('person', 0\.7\d*\), \('no_person', 0\.2\d*\)\]"
    for word, pattern in SAID.items():
        if word in line:
            return pattern
    return ""


def walk(page, port, ran):
    """Everything a page shows, in its order. What `ran` has already, as several pages have it, is not run again."""
    for kind, text in blocks(page):
        for part in [text] if kind == "python" else text.splitlines():
            if part in ran or part.startswith("qemu-system-arm"):
                continue
            ran.add(part)
            if kind == "python":
                with remote.Board.serial(port) as device:
                    output = device.exec(part, 60)
            else:
                output = run(shlex.split(part), port)
            assert re.search(expected(part), output), (part, output)


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """An emulated board with stock firmware. In its ROMFS: what stands for OpenMV's camera and LED, and a picture."""
    folder = tmp_path_factory.mktemp("rom")
    (folder / "pictures" / "160x120").mkdir(parents=True)
    for stub in (Path(__file__).parents[1] / "stubs").glob("*.py"):
        (folder / stub.name).write_text(stub.read_text())
    pictures = folder / "pictures" / "160x120"
    for path in sorted((PACKAGE / "pictures").glob("person-*.ppm")):
        frame = filecam.FileCam(str(path), filecam.RGB565).snapshot()
        (pictures / f"{path.stem}.raw").write_bytes(bytes(memoryview(frame)))
    require(STOCK["qemu"].parents[1] / "natmod" / "armv7emsp" / "patchnet.mpy")
    emulator = remote.Qemu(require(STOCK["qemu"]), romfs.build(folder), False)
    yield emulator.port, set()
    emulator.stop()


def test_commands_in_the_text_are_understood():
    """Those that stand between words are not run, as `patchnet deploy person --port /dev/ttyACM0`."""
    found = {line for page in PAGES for line in re.findall(r"`patchnet (\w[^`]+)`", page.read_text())}
    assert len(found) >= 3
    for line in found:
        build_parser().parse_args(shlex.split(line))


@pytest.mark.parametrize("page", [page for page in PAGES if page != EMULATED], ids=lambda page: page.stem)
def test_page(board, page):
    walk(page, *board)


def test_page_of_the_emulated_board():
    emulator = remote.Qemu(require(remote.FIRMWARE), None, False)
    try:
        (start,) = re.findall(r"^qemu-system-arm .*$", EMULATED.read_text(), re.M)
        assert [str(word).removeprefix(f"{ROOT}/") for word in emulator.process.args] == start.split()
        walk(EMULATED, emulator.port, set())
    finally:
        emulator.stop()
