"""The same answers to sound everywhere: clips, streams and errors on PC, unix port, emulated Cortex-M7 and board."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import PATIENT
from oracle.audio import AudioOracle
from patchnet import Model
from patchnet.data import sounds as sounds_
from patchnet.tasks.sound.end import Audio
from sounds import LABELS, random_blob, random_sound

SCRIPT = Path(__file__).parent / "scripts" / "sound.py"
SHIPPED = Path(__file__).parents[2] / "host_tools" / "patchnet"
CHUNK, THRESHOLD = 100, 0.4
FRONT_ENDS = {
    "8k": Audio(8000, 200, 80, 256, every=3, pause=0.05),
    "16k": Audio(16000, 400, 160, 512, every=2, smooth=0.3, pause=0.04, background="none"),
    "44k": Audio(44100, 1024, 512, 1024, every=2, smooth=1, pause=0),
}
ERRORS = """ValueError model is for audio: wanted 16-bit samples
ValueError model is for audio: wanted 16-bit samples
ValueError model is for audio: wanted 16-bit samples
ValueError pcm16: wanted whole 16-bit samples, got 3 bytes
TypeError pcm16: wanted a buffer
ValueError threshold: wanted 0 to 1
ValueError pause: wanted 0 to 760
ValueError every: wanted 1 to 65535
ValueError background: wanted one of the labels
ValueError shape: wanted {} x {} x 1 = {} bytes, got 3
None
model is closed
done
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Networks with random weights at three rates, k = 1 and 4, and sounds shorter and longer than they see."""
    root, cases = tmp_path_factory.mktemp("sound"), []
    for i, (name, front_end) in enumerate(FRONT_ENDS.items()):
        rng = np.random.default_rng([11, i])
        (root / f"{name}.pnb").write_bytes(random_blob(rng, front_end, k=(1, 4)[i % 2]))
        sounds = root / name
        sounds.mkdir()
        for j, part in enumerate((0.4, 1, 1.7, 1.01)):
            n = int(part * Model(str(root / f"{name}.pnb")).clip_samples)
            (sounds / f"{j}.wav").write_bytes(sounds_.to_wav(random_sound(rng, n), front_end.rate))
        cases.append({"blob": f"{name}.pnb", "sounds": name, "chunk": CHUNK, "threshold": THRESHOLD})
    (root / "cases.json").write_text(json.dumps(cases))
    return root


def ranking(result) -> list:
    order = sorted(range(len(LABELS)), key=lambda c: -int(result.logits16[c]))
    return [[LABELS[c], result.scores[c]] for c in order]


def expected(root: Path) -> list:
    """What the script prints, by the oracle; streams as the answers with the row in which each comes."""
    out = []
    for name, front_end in FRONT_ENDS.items():
        oracle = AudioOracle((root / f"{name}.pnb").read_bytes())
        out.append(f"audio {front_end.rate} {oracle.samples} {oracle.header.arena_bytes}")
        sounds = [sounds_.read_sound(path).pcm for path in sorted((root / name).glob("*.wav"))]
        results = [oracle.run_clip(pcm) for pcm in sounds]
        for i, result in enumerate(results):
            out.append(f"{i}.wav {json.dumps(ranking(result))} {result.outputs8.tolist()}")
        ends = np.cumsum([len(pcm) for pcm in sounds])
        heard = []
        for row, c, score in oracle.spot(np.concatenate(sounds), threshold=round(THRESHOLD * 65536)):
            sample = front_end.frame + (row - 1) * front_end.hop
            heard.append([f"{np.searchsorted(ends, sample)}.wav", [LABELS[c], score]])
        out += [json.dumps(heard), json.dumps(ranking(results[-1])[0])]
    return out, heard


def check(printed: str, root: Path) -> None:
    told, heard = expected(root)
    h = AudioOracle((root / "44k.pnb").read_bytes()).header
    assert printed == "\n".join(told) + "\n" + ERRORS.format(h.height, h.width, h.height * h.width)
    assert heard


def test_on_pc(folder):
    done = subprocess.run([sys.executable, SCRIPT], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check(done.stdout, folder)


def test_on_device(connect, where, folder):
    check(connect(where, files=folder).exec(SCRIPT.read_text(), PATIENT), folder)


CLOSING = """
import patchnet
class Every:
    def __int__(self):
        m.deinit()
        return 3
    __index__ = __int__
for more in ({}, {"background": "none"}):
    m = patchnet.Model("16k.pnb")
    try:
        m.spot(bytes(8000), every=Every(), **more)
    except ValueError as e:
        print(e)
"""


def test_a_setting_that_closes_the_model(connect, where, folder):
    said = "model is closed\nmodel is closed\n"
    assert connect(where, files=folder).exec(CLOSING) == said
    done = subprocess.run([sys.executable, "-c", CLOSING], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == said


SHIPPED_SCRIPT = """
import patchnet, filemic
m = patchnet.load("spoken-digits.pnb")
print(m.ram)
mic = filemic.FileMic("sounds", chunk=300, gap=0.5)
for _ in range(len(mic)):
    pcm = mic.read()
    print(mic.name, ["%s %d" % (label, round(score * 65536)) for label, score in m.classify(pcm)])
print(mic.name)
for chunk in mic:
    heard = patchnet.spot(chunk)
    if heard:
        print(mic.name, heard[0], round(heard[1] * 65536))
"""


def test_shipped_digits(connect, tmp_path):
    """The shipped sounds are told as their names say, as clips and as a stream, with the same scores everywhere."""
    (tmp_path / "spoken-digits.pnb").write_bytes((SHIPPED / "models" / "spoken-digits.pnb").read_bytes())
    (tmp_path / "sounds").symlink_to(SHIPPED / "sounds")
    names = sorted(path.name for path in (SHIPPED / "sounds").glob("*.wav"))
    printed = {where: connect(where, files=tmp_path).exec(SHIPPED_SCRIPT, PATIENT) for where in ("unix", "qemu")}
    assert printed["unix"] == printed["qemu"]
    lines = printed["unix"].splitlines()
    m = Model("spoken-digits")
    assert int(lines[0]) == m.ram
    for name, line in zip(names, lines[1:], strict=False):
        pcm = sounds_.read_sound(SHIPPED / "sounds" / name).pcm
        wanted = [f"{label} {round(score * 65536)}" for label, score in m.classify(pcm)]
        assert line == f"{name} {wanted}" and wanted[0].startswith(name[0])
    heard = [line.split()[:2] for line in lines[2 + len(names) :]]
    assert [[name, name[0]] for name in names] == heard
