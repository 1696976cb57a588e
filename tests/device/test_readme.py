"""What the README shows is run as it stands there."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PACKAGE = ROOT / "host_tools" / "patchnet"
COMMANDS = re.findall(r"^\.venv/bin/patchnet (.*)$", README, re.M)
QUICK = {"train": "--set epochs=1 --tune 1"}  # the same command, not to its end


def test_commands_are_found():
    assert {command.split()[0] for command in COMMANDS} == {"predict", "analyze", "val", "design", "train"}


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
    if words[0] == "train":
        pytest.importorskip("torch")
    words = [str(ROOT / word) if (ROOT / word).is_file() else word for word in words]
    done = subprocess.run([sys.executable, "-m", "patchnet.cli", *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    for word in words:
        if word.endswith(".png"):
            assert (tmp_path / word).stat().st_size > 1000
