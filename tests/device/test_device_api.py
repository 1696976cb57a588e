"""The scripts of device/scripts on each kind of device. What they print there is what they print on CPython, where they
can run there, and what lies beside them as .exp in any case.
"""

import ast
import itertools
import math
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import blobs
import patchnet
from cases import float_case
from conftest import PATIENT, wait_for
from patchnet import GRAYSCALE, Image, Model, models
from patchnet.blob.files import pack_float32
from patchnet.board import remote, romfs

SCRIPTS = Path(__file__).parent / "scripts"
# chains, and bottlenecks in each: some seconds on each device
LONG = {"unix": (16, 6), "qemu": (9, 1)}


def script(name: str) -> str:
    return (SCRIPTS / f"{name}.py").read_text()


def expected(name: str) -> str:
    return (SCRIPTS / f"{name}.exp").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    (folder / "grey.pnb").write_bytes(blobs.small(1))
    image = romfs.build(folder)
    (folder / "image.romfs").write_bytes(image)
    (folder / "folder").mkdir()
    (folder / "colour.pnb").write_bytes(blobs.small(3))
    (folder / "large.pnb").write_bytes(blobs.large())
    (folder / "parts.pnb").write_bytes(blobs.parts())
    for name in ("heat", "raw", "flat"):
        (folder / f"{name}.pnb").write_bytes(getattr(blobs, name)())
    for name, blob in (blobs.damaged(blobs.small(1)) | blobs.hostile()).items():
        (folder / f"bad_{name}.pnb").write_bytes(blob)
    return folder


def on_cpython(name: str, folder) -> str:
    command = [sys.executable, str(SCRIPTS / f"{name}.py")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", ["api", "changed", "ends", "errors", "shared", "stream"])
def test_cpython_prints_what_is_expected(folder, name):
    assert on_cpython(name, folder) == expected(name)


@pytest.mark.parametrize("name", ["api", "changed", "ends", "errors", "memory", "busy", "romfs", "shared", "stream"])
def test_device_prints_what_is_expected(connect, where, folder, name):
    assert connect(where, folder).exec(script(name), PATIENT) == expected(name)


def test_arena_lies_in_the_boards_own_memory(connect, folder, tmp_path):
    """A board with DTCM, as the emulated one; soft reset gives it back, too."""
    blob = blobs.small(1)
    files = {"small": blob, "large": blobs.large(), "huge": blobs.huge(), "damaged": blobs.damaged(blob)["crc"]}
    for name, data in files.items():
        (tmp_path / f"{name}.pnb").write_bytes(data)
    board = connect("qemu", tmp_path)
    assert board.exec(script("arena")) == expected("arena")
    make = "import patchnet\nm, n = [patchnet.Model('small.pnb') for _ in range(2)]\nprint(m.arena, n.arena)"
    run = "class Camera:\n    def width(self): return 40\n    height = width\n    def window(self, *at):\n"
    run += "        print('running')\n        while True: pass\nm.predict(Camera())"
    for _ in range(3):
        board.reset()
        assert board.exec(make) == "DTCM heap\n"
        board.start(run)  # and a reset in the middle of a run
        wait_for(board, "running")


def test_arena_lies_in_the_heap_where_there_is_nothing_else(connect, folder):
    code = "import patchnet\nm = patchnet.Model('grey.pnb')\n"
    code += "print(m.arena, patchnet.Model('grey.pnb', bytearray(m.ram + 8)).arena)"
    assert connect("unix", folder).exec(code) == "heap given\n"


BAD_FILE = """
import io, os, patchnet
class File(io.IOBase):
    def __init__(self, data): self.data = data
    def seek(self, *at): return self.data.seek(*at)
    def readinto(self, to): return self.data.readinto(to)
    def close(self): raise OSError(5)
class Card:
    def mount(self, readonly, mkfs): pass
    def stat(self, path): return (0x8000,) + 9 * (0,)
    def open(self, path, mode): return File(open("grey.pnb", mode))
os.mount(Card(), "/card")
m = patchnet.Model("/card/grey.pnb", stream=True)
print(len(m.labels))
for act in (m.deinit, m.deinit, lambda: m.labels):
    try:
        print(act())
    except (OSError, ValueError) as e:
        print(e)
print(m)
"""


def test_model_whose_file_does_not_close_is_closed(connect, where, folder):
    said = connect(where, folder).exec(BAD_FILE).splitlines()
    n = len(Model(blobs.small(1)).labels)
    assert said == [str(n), "[Errno 5] EIO", "None", "model is closed", "<Model closed>"]


def test_file_of_a_mounted_folder_is_read(connect, folder):
    board = connect("qemu")
    board.mount(folder)
    code = "import patchnet\nm = patchnet.load('large.pnb')\nprint(list(m.predict(bytes(16 * 16))))"
    assert board.exec(code) == f"{list(Model(blobs.large()).predict(bytes(16 * 16)))}\n"


def test_small_heap_refuses_and_goes_on(connect, tmp_path):
    (tmp_path / "large.pnb").write_bytes(blobs.large())
    (tmp_path / "grey.pnb").write_bytes(blobs.small(1))
    code = """
import patchnet
try:
    patchnet.load("large.pnb", stream=False)
except MemoryError as e:
    print(e)
print(patchnet.load("grey.pnb").ram)
try:
    m = patchnet.load("large.pnb")
    print(m.streamed > 0, list(m.predict(bytes(16 * 16))))
except MemoryError as e:
    print(e)
"""
    model, size = Model(blobs.large()), len(blobs.large())
    for heap, what, needed in (("20k", "model", size), ("32k", "arena", model.ram)):
        first, second, third = connect("unix", tmp_path, heap=heap).exec(code).splitlines()
        words = first.split()
        assert words[:4] == [f"{what}:", "needs", str(needed), "bytes,"]
        assert int(words[5]) < needed
        assert second == str(Model(blobs.small(1)).ram)
        streamed = f"True {list(model.predict(bytes(16 * 16)))}"  # what is done with a file that does not fit
        assert third == streamed if heap == "32k" else re.match(r"stream: needs \d+ bytes, has \d+$", third)


STACK = """
import gc, io, os, machine, micropython, patchnet
TOP, FILL = 0x400000, 0x5ac3a53c
memory = machine.mem32
def used(f, *args):
    here = TOP - micropython.stack_use() - 600
    for at in range(here - 8192, here, 4):
        memory[at] = FILL
    before = micropython.stack_use()
    f(*args)
    at = here - 8192
    while memory[at] == FILL:
        at += 4
    return TOP - at - before
def least(f, *args):
    return min(used(f, *args) for _ in range(3))  # without an interrupt, which takes some
for name in sorted(os.listdir()):
    with open(name, "rb") as f:
        blob = f.read()
    opened = least(patchnet.Model, blob)
    opened = max(opened, least(patchnet.Model, io.BytesIO(blob), None, True))
    gc.collect()
    m, s = patchnet.Model(blob), patchnet.Model(io.BytesIO(blob), stream=True)
    h, w, c = m.input_shape
    x = bytes(h * w * c)
    out = bytearray(len(m.predict(x)) * (4 if m.dtype == "float32" else 1))
    img = patchnet.Image(w, h, patchnet.GRAYSCALE, bytes(w * h))
    ask = {"classify": m.classify, "detect": m.detect, "heatmap": m.detect, "audio": m.spot}.get(m.task, m.predict)
    given = bytes(8000) if m.task == "audio" else x if m.task == "raw" else img
    runs = (m.predict, x, out), (s.predict, x, out), (ask, given), (m.profile, x)
    print(name, opened, *(least(*run) for run in runs))
"""


def test_stack_of_a_cortex_m7(connect, tmp_path):
    """Opening, in memory and streamed, and every kind of run take at most what docs/memory.md says."""
    for name in ("bccd", "person66", "spoken-digits"):
        shutil.copy(models.resolve(name), tmp_path)
    for name in ("heat", "raw", "parts"):
        (tmp_path / f"{name}.pnb").write_bytes(getattr(blobs, name)())
    pack_float32("digits", tmp_path / "digits.pnb")
    (tmp_path / "digits.test.npz").unlink()
    cases = (float_case(seed, max_macs=50_000) for seed in itertools.count())
    of_blocks = next(
        c for c in cases if "block" in {s.kind for s in c.qnet.design.chain} and c.qnet.design.channels < 4
    )
    (tmp_path / "blocks.pnb").write_bytes(of_blocks.blob)
    lines = connect("qemu", tmp_path).exec(STACK, PATIENT).splitlines()
    assert len(lines) == 8
    for line in lines:
        name, *used = line.split()
        assert all(900 < int(n) <= 1536 for n in used), line


HEAP = """
import gc, patchnet
with open("digits.pnb", "rb") as f:
    blob = f.read()
arena = bytearray(patchnet.Model(blob).ram + 8)
def taken():
    gc.collect()
    before = gc.mem_alloc()
    m = patchnet.Model(blob, arena)
    gc.collect()
    return gc.mem_alloc() - before
taken()
print(taken())
"""


def test_heap_of_a_model(connect, tmp_path):
    """It takes what the pages say, of a file in ROMFS 16 bytes more than of a buffer."""
    shutil.copy(models.resolve("digits"), tmp_path)
    root = Path(__file__).resolve().parents[2]
    pages = "".join((root / page).read_text() for page in ("README.md", "docs/memory.md", "docs/boards.md"))
    told = re.findall(r"`Model`\s+(?:object )?(?:takes |\()(\d+) B of heap", pages)
    assert len(told) == 3 and {int(n) - 16 for n in told} == {int(connect("qemu", tmp_path).exec(HEAP, PATIENT))}


DEEP = """
import machine, micropython, patchnet
TOP, LIMIT, FILL = 0x400000, 10240, 0x5ac3a53c
memory = machine.mem32
def deepest(f):
    for at in range(TOP - LIMIT - 4096, TOP - LIMIT - 32, 4):
        memory[at] = FILL
    said = set()
    def deeper():
        try:
            deeper()
        except RuntimeError as e:
            said.add(str(e))
            try:
                f()
            except RuntimeError as e:
                said.add(str(e))
    deeper()
    at = TOP - LIMIT - 4096
    while memory[at] == FILL:
        at += 4
    return TOP - LIMIT - at, said == {"maximum recursion depth exceeded"}
with open("grey.pnb", "rb") as f:
    blob = f.read()
m = patchnet.Model(blob)
h, w, c = m.input_shape
x, right, arena = bytes(h * w * c), m.predict(bytes(h * w * c)), bytearray(m.ram + 8)
for f in (lambda: m.predict(x, right), lambda: patchnet.Model(blob, arena), lambda: m.profile(x)):
    print(*deepest(f))
print(m.predict(x) == right)
"""


def test_too_little_stack_is_refused(connect, folder):
    """At the end of a recursion, where each call on the way back tries again: of the bytes below
    MicroPython's limit, of which a board has 1,024, most are left to interrupts."""
    *lines, last = connect("qemu", folder).exec(DEEP).splitlines()
    assert last == "True"
    for line in lines:
        below, refused = line.split()
        assert int(below) <= 600 and refused == "True", line


def test_others_get_in_while_a_model_opens(connect, where, folder):
    """As Ctrl-C does: after each layer and each strip."""
    code = """
import micropython, patchnet
seen, after = [0], 0
def again(_):
    seen[0] += 1
    if not after:
        micropython.schedule(again, None)
with open("large.pnb", "rb") as f:
    blob = f.read()
again(None)
before = seen[0]
m = patchnet.Model(blob)
after = seen[0]
print(after - before >= 8)
"""
    assert connect(where, folder).exec(code) == "True\n"


def write_long(where: str, folder: Path):
    """long.pnb and long.out for interrupt.py."""
    blob = blobs.long(*LONG.get(where, (1, 1)))
    model = Model(blob)
    height, width, channels = model.input_shape
    x = bytes(i * 7 & 255 for i in range(width)) * (height * channels)
    (folder / "long.pnb").write_bytes(blob)
    (folder / "long.out").write_bytes(model.predict(x).tobytes())


def check_interrupt(device):
    """On a busy machine Ctrl-C may come late, but not each time."""
    for _ in range(5):
        device.start(script("interrupt"))
        wait_for(device, "running")
        time.sleep(0.1)  # into the inference
        device.interrupt()
        try:
            printed = device.finish(PATIENT).strip()
        except remote.RemoteError as e:  # so late that the next inference was interrupted
            printed = str(e)
        if printed == "interrupted\nright: True\nin the middle: True":
            break
        assert "right: False" not in printed
    else:
        pytest.fail(f"Ctrl-C never ended an inference in the middle: {printed!r}")


def test_ctrl_c_ends_a_long_inference_and_the_next_is_right(connect, where, tmp_path):
    write_long(where, tmp_path)
    check_interrupt(connect(where, tmp_path))


def test_many_classes_need_no_memory_for_those_not_asked_for(connect, where, tmp_path):
    (tmp_path / "many.pnb").write_bytes(blobs.many_classes())
    code = """
import gc, patchnet
m = patchnet.load("many.pnb")
img = patchnet.Image(5, 5, patchnet.GRAYSCALE, bytes(range(0, 250, 10)))
gc.collect()
gc.disable()
before = gc.mem_alloc()
best = m.classify(img, 5)
print(gc.mem_alloc() - before < 1500)
gc.enable()
print([(label.encode(), int(score * 65536)) for label, score in best])
everything = m.classify(img)
print(len(everything), everything[:5] == best, m.labels[999] == "class 999 \\u00e9")
print(all(a[1] >= b[1] for a, b in zip(everything, everything[1:])))
"""
    model = Model(blobs.many_classes())
    best = model.classify(Image(5, 5, GRAYSCALE, bytes(range(0, 250, 10))), 5)
    exact = [(label.encode(), int(score * 65536)) for label, score in best]  # how text is shown, depends on the version
    assert connect(where, tmp_path).exec(code) == f"True\n{exact}\n1000 True True\nTrue\n"


def test_profile_adds_up(connect, where, folder):
    code = """
import time, patchnet
m = patchnet.Model("large.pnb")
x = bytes(16 * 16)
began = time.ticks_us()
rows = m.profile(x)
whole = time.ticks_diff(time.ticks_us(), began)
print(len(rows), 0 < sum(row[2] for row in rows) <= whole)
"""
    assert math.prod(Model(blobs.large()).input_shape) == 16 * 16
    assert connect(where, folder).exec(code) == "5 True\n"


NAMES = """
import patchnet
def public(what):
    return sorted(name for name in dir(what) if name[0] != "_")
print(public(patchnet))
print(public(patchnet.Model))
print(public(patchnet.Image))
"""


def test_public_names_are_those_of_cpython(connect, where):
    module, model, image = map(ast.literal_eval, connect(where).exec(NAMES).splitlines())
    assert module == sorted(patchnet.__all__)
    assert all(callable(getattr(patchnet, name, None)) or name in vars(patchnet) for name in patchnet.__all__)
    for names, own in ((model, Model), (image, Image)):  # facts such as m.ram are looked up by name: not in dir()
        methods = {name for name, value in vars(own).items() if callable(value) and not name.startswith("_")}
        assert set(names) == methods
