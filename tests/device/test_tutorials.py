"""What docs/tutorials shows is run as it stands there, page by page and on one emulated board, with toys under the
names that a page has for its reader's data; with fewer epochs, and fewer networks to choose from."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import toys
from conftest import PATIENT, require
from patchnet import cli, filecam
from patchnet.board import remote, romfs
from patchnet.make import stages
from patchnet.tasks.detect.making import Finds
from patchnet.tasks.making import Making
from patchnet.tasks.sound.making import Hears

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
STUBS = Path(__file__).parents[1] / "stubs"
FEWER = (
    (stages, "MOST_EPOCHS", 1), (stages, "TUNE_EPOCHS", 1), (stages, "EMULATED", 3),
    (Making, "depths", (3,)), (Making, "patches", (1,)), (Finds, "depths", (6,)), (Finds, "heads", (16,)),
    (Hears, "depths", (12,)),
)  # fmt: skip
SAID = {
    "patchnet design": r"^  1\. .*: RAM [\d,]+ B, flash [\d,]+ B",
    "patchnet make": r"(?s)to learn from, .*networks that fit;.*host: .*, identical\n.*report\.html\nnext:",
    "new --out": r"(?s)new/red/0\.png: (blue|green|red) 0\.\d+, .*\nright: \d of 6",
    "new --threshold": r"new/red/0\.png: \d+ objects",
    "new/seven.wav --out": r"new/seven\.wav: (high|low|noise) 0\.\d+",
    "float,host,unix,qemu": r"(?s)unix .* identical to host .*qemu .* identical to host",
    "--on auto": r"│ /dev/pts/\d+ +│ +\d+ │",
    "patchnet deploy": r"^/rom/[\w-]+\.pnb .* answers as this PC does",
    "patchnet.classify(cam": r"^(\('(blue|green|red)', 0\.\d+\)\n){3}",
    "patchnet.detect(cam": r"^\d+ bytes of RAM, \('square', 'disc'\)",
    "FileMic": r"^8000 \('high', 'low', 'noise'\)\n\('(high|low|noise)', 0\.\d+\)",
    "mpremote cp": "",
}


def data_of(page: str, folder: Path) -> None:
    """What a page calls its reader's."""
    if page == "pictures":
        toys.folder(folder / "flowers", 20)
        toys.folder(folder / "new", 2)
    elif page == "boxes":
        toys.yolo(folder / "raccoons", 40)
        toys.voc(folder / "raccoons-voc", 40)
        toys.coco(folder / "coco" / "instances.json", 40)
        toys.folder(folder / "new", 1)
    else:
        toys.sounds(folder / "digits-spoken", 20)
        toys.sounds(folder / "others", 1)
        (folder / "new").mkdir()
        (folder / "others" / "high" / "0.wav").rename(folder / "new" / "seven.wav")


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """Of an emulated board with what stands for OpenMV's camera in its ROMFS."""
    require("qemu")
    require("unix")
    folder = tmp_path_factory.mktemp("rom")
    (folder / "csi.py").write_text((STUBS / "csi.py").read_text())
    frames = folder / "pictures" / "160x120"
    frames.mkdir(parents=True)
    for path in sorted((ROOT / "host_tools" / "patchnet" / "pictures").glob("person-*.ppm")):
        frame = filecam.FileCam(str(path), filecam.RGB565).snapshot()
        (frames / f"{path.stem}.raw").write_bytes(bytes(memoryview(frame)))
    emulator = remote.Qemu(remote.FIRMWARE, romfs.build(folder), False)
    yield emulator.port
    emulator.stop()


def steps(page: Path) -> list[tuple[str, str]]:
    """What it shows, in its order: (language, a command or a script)."""
    blocks = re.findall(r"^```(sh|mpremote|python)\n(.*?)^```", page.read_text(), re.M | re.S)
    return [(kind, part) for kind, text in blocks for part in ([text] if kind == "python" else text.splitlines())]


def at_port(words: list[str], port: str) -> list[str]:
    """The command, at the emulated board instead of at the only one on USB."""
    if words[0] == "mpremote":
        return [sys.executable, "-m", "mpremote", "connect", port, *words[1:]]
    words = [port if word == "auto" else word for word in words]
    return [*words, "--port", port] if words[1] == "deploy" else words


def output(kind: str, step: str, port: str, capsys) -> str:
    """What it prints. Commands run here: in processes of their own each would wait for PyTorch."""
    if kind == "python":
        with remote.Board.serial(port) as device:
            return device.exec(step)
    words = at_port(shlex.split(step), port)
    if kind == "sh":
        assert cli.main(words[1:]) == 0, (step, capsys.readouterr().err)
        return capsys.readouterr().out
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENT)
    assert done.returncode == 0, (step, done.stderr)
    return done.stdout


@pytest.mark.device
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page, port, tmp_path, monkeypatch, capsys):
    data_of(page.stem, tmp_path)
    monkeypatch.chdir(tmp_path)
    for where, name, few in FEWER:
        monkeypatch.setattr(where, name, few)
    for kind, step in steps(page):
        (said,) = [pattern for words, pattern in SAID.items() if words in step]
        told = output(kind, step, port, capsys)
        assert re.search(said, told, re.M), (step, told)
    text = page.read_text()
    for path in re.findall(r"`(runs/make/[^`\s]+)`|--out (\S+)", text):
        assert Path("".join(path)).exists(), path
    report = Path(re.search(r"`(\S+/report\.html)`", text)[1]).read_text()
    sections = re.findall(r"\*\*(.*?)\*\*", text.partition("## 4. The report")[2])
    assert sections == re.findall(r"<h2>(.*?)</h2>", report)


def test_commands_in_the_text_are_understood():
    """Those that stand between words are not run."""
    found = {line for page in PAGES for line in re.findall(r"`patchnet (\w[^`]+)`", page.read_text())}
    assert len(found) == len(PAGES)
    for line in found:
        cli.build_parser().parse_args(shlex.split(line))
