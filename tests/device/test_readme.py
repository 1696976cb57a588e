"""What the README shows is run as it stands there."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import toys
from conftest import require

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PACKAGE = ROOT / "host_tools" / "patchnet"
IMPORTING = re.search(r"^## You have a \.tflite$(.*?)^## ", README, re.M | re.S)[1]
PATCHNET = re.compile(r"^\.venv/bin/patchnet (.*)$", re.M)
COMMANDS = PATCHNET.findall(README.replace(IMPORTING, ""))
QUICK = {
    "train": "--set epochs=1 --tune 1",
    "make": "--minutes 0.3 --ram 9K --flash 40K",
}  # the same command, not to its end


def run(words: list[str], folder: Path) -> str:
    """What the command prints, run in `folder`; files of the checkout are found where they are."""
    words = [str(ROOT / word) if (ROOT / word).is_file() else word for word in words]
    done = subprocess.run([sys.executable, "-m", "patchnet.cli", *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands_are_found():
    assert {command.split()[0] for command in COMMANDS} == {"predict", "analyze", "val", "design", "train", "make"}


def test_a_tflite_in_three_commands(tmp_path):
    """One after the other, as they stand, to the emulated board."""
    require("qemu")
    told = [run(shlex.split(command), tmp_path) for command in PATCHNET.findall(IMPORTING)]
    assert len(told) == 3 and "arena 15,312 B" in told[0]
    assert re.search(r"person-astronaut.ppm: person [01]\.\d+", told[2])


@pytest.mark.parametrize("where", ["unix", "qemu"])
def test_example(connect, where, tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    shutil.copytree(PACKAGE / "pictures", tmp_path / "pictures")
    shutil.copy(PACKAGE / "models" / "person.pnb", tmp_path)
    with connect(where, tmp_path) as device:
        lines = device.exec(example).splitlines()
    assert len(lines) == 5
    for line in lines[:4]:
        assert re.fullmatch(r"160x120: (no_)?person [01]\.\d\d", line)
    assert re.fullmatch(r"\d+ bytes of RAM, \('no_person', 'person'\)", lines[4])


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, tmp_path):
    words = shlex.split(f"{command} {QUICK.get(command.split()[0], '')}")
    if words[0] in ("train", "make"):
        pytest.importorskip("torch")
    if "PICTURES" in words:
        toys.folder(tmp_path / "PICTURES")
    assert run(words, tmp_path)
    for word in words:
        if word.endswith(".png"):
            assert (tmp_path / word).stat().st_size > 1000
