"""The engine built without a task, or float32: blobs of that are refused by name, all others run as ever."""

from __future__ import annotations

import ctypes
import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from cengine import ERRORS, ROOT, Engine, aligned, compile_engine, engine_sources
from networks import identity_qnet
from patchnet.blob import floats
from patchnet.blob.files import float_net
from patchnet.blob.pack import pack
from patchnet.blob.random import random_qnet
from patchnet.models import resolve
from patchnet.net.recipe import PatchTunnels, Stage
from patchnet.tasks.heatmap.end import HeatMap
from patchnet.tasks.raw.end import LastMap
from patchnet.tasks.raw.record import QMap

TASKS = ("classify", "detect", "merging", "audio", "raw", "heatmap", "float32")
SHIPPED = {"classify": "person66", "detect": "bccd", "audio": "spoken-digits"}
ALL = "PN_NO_DETECT -DPN_NO_SOUND -DPN_NO_HEATMAP -DPN_NO_FLOAT32"
OPTIONS = {"PN_NO_DETECT": {"detect", "merging"}, "PN_NO_SOUND": {"audio"}, "PN_NO_HEATMAP": {"heatmap"}}
OPTIONS |= {"PN_NO_FLOAT32": {"float32"}, ALL: {"detect", "merging", "audio", "heatmap", "float32"}}
CODES = {
    "detect": "NO_DETECT",
    "merging": "NO_DETECT",
    "audio": "NO_SOUND",
    "heatmap": "NO_HEATMAP",
    "float32": "NO_FLOAT32",
}


def built(option: str) -> ctypes.CDLL:
    """Without optimisation, so that no call of what is left out is hidden by it."""
    flags = ["-O0", "-fPIC", "-shared", "-Wl,-z,defs", *f"-D{option}".split()]
    lib = ctypes.CDLL(str(compile_engine("shim", flags)))
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    lib.pn_open.argtypes = lib.pn_open_streamed.argtypes = [pointer, pointer, size]
    lib.pn_start_raw.argtypes = [pointer, pointer, size, pointer]
    lib.pn_error.restype, lib.shim_model_bytes.restype = ctypes.c_char_p, size
    return lib


def blob_of(task: str) -> np.ndarray:
    if task == "float32":
        data = floats.pack(float_net(resolve("digits").with_suffix(".npz")))
    elif task == "merging":
        recipe = PatchTunnels("n", ("a",), 16, 16, margin_h=4, margin_w=4, stem_out=4, merged=(Stage(4),))
        data = pack(random_qnet(recipe.network()))
    else:
        data = resolve(SHIPPED[task]).read_bytes() if task in SHIPPED else last_map(task)
    blob = aligned(len(data))
    blob[:] = np.frombuffer(data, np.uint8)
    return blob


def last_map(task: str) -> bytes:
    """A network that copies its input."""
    copy = identity_qnet(2, 3, 3)
    end, labels = (LastMap(), ()) if task == "raw" else (HeatMap(), ("a", "b", "c"))
    return pack(replace(copy, design=replace(copy.design, end=end, labels=labels), end=QMap(1.0)))


@pytest.mark.parametrize("option", OPTIONS)
def test_blobs_of_a_task_that_is_left_out(option):
    lib = built(option)
    for task in TASKS:
        model, blob = ctypes.create_string_buffer(lib.shim_model_bytes()), blob_of(task)
        for opened in (lib.pn_open, lib.pn_open_streamed):
            err = opened(model, blob.ctypes.data, len(blob))
            if task in OPTIONS[option]:
                assert ERRORS[-1 - err] == CODES[task]
                what = task if task == "float32" else f"task {'detect' if task == 'merging' else task}"
                assert lib.pn_error(err).decode() == f"{what} is not in this build"
            else:
                assert err == 0


def test_classifying_needs_neither():
    """The smallest engine gives the numbers of the whole one."""
    lib, blob = built(ALL), blob_of("classify")
    whole = Engine(blob.tobytes())
    model, arena = ctypes.create_string_buffer(lib.shim_model_bytes()), aligned(whole.arena_bytes)
    x = np.random.default_rng(0).integers(-128, 128, (66, 66, 3)).astype(np.int8)
    wanted = whole.run_raw(x)
    assert lib.pn_open(model, blob.ctypes.data, len(blob)) == 0
    assert lib.pn_start_raw(model, arena.ctypes.data, len(arena), x.ctypes.data) == 0
    while (more := lib.pn_step(model)) == 1:
        pass
    outputs = [ctypes.c_int8(lib.pn_output(model, i)).value for i in range(whole.classes)]
    assert more == 0 and outputs == wanted.outputs8.tolist()


@pytest.mark.parametrize("option", OPTIONS)
def test_nothing_of_it_is_compiled(option, tmp_path):
    """No function of the task is left in any object."""
    for source in engine_sources():
        if source.parent.name in ("tasks", "run") or source.stem == "pn_float":
            flags = ["-std=c99", "-O0", f"-I{ROOT / 'modpatchnet'}", *f"-D{option}".split()]
            subprocess.run(["cc", *flags, "-c", "-o", tmp_path / f"{source.stem}.o", source], check=True)
    listed = subprocess.run(["nm", *tmp_path.glob("*.o")], text=True, capture_output=True, check=True).stdout
    symbols = " ".join(line.split()[-1] for line in listed.split("\n") if line and not line.endswith(":"))
    words = {"detect": ("pn_detect_",), "audio": ("pn_sound", "pn_spectrum", "pn_hear", "pn_spot")}
    words |= {"heatmap": ("pn_heatmap_",), "float32": ("pn_float_", "pn_value", "float_")}
    for task, names in words.items():
        assert any(name in symbols for name in names) == (task not in OPTIONS[option]), task


def test_only_the_switch_knows_the_tasks():
    """Detection, sound and heat maps are spoken of in their own files, in pn_task.c and in the public header."""
    knows = {"pn_task.c", "pn_detect.c", "pn_detect.h", "pn_sound.c", "pn_sound.h", "pn_spectrum.c", "pn_spectrum.h"}
    knows |= {"pn_heatmap.c", "pn_heatmap.h"}
    knows |= {"pn_format.h", "pn_open.c"}  # all records; the words of all errors
    words = ["pn_detect", "pn_hears", "pn_sound", "PN_DETECT", "PN_AUDIO", "PN_TASK_DETECT", "PN_TASK_AUDIO"]
    words += ["detection", "audio", "spectr", "pn_heat", "PN_HEATMAP", "PN_TASK_HEATMAP"]
    headers = (ROOT / "modpatchnet" / "engine").rglob("*.h")
    for path in (*engine_sources(), *headers):
        if path.name not in knows:
            found = [word for word in words if word in path.read_text()]
            assert not found, (path.name, found)


def test_a_folder_includes_only_what_is_before_it():
    """The order that the head of patchnet.h gives."""
    order = ["kernels", "blob", "plan", "run", "tasks", "engine"]
    head = (ROOT / "modpatchnet" / "patchnet.h").read_text()
    assert re.findall(r"^//   (\w+)  ", head, re.M) == order
    for path in (ROOT / "modpatchnet" / "engine").rglob("*.[ch]"):
        own = path.relative_to(ROOT / "modpatchnet").parts[:-1]
        mine = order.index(own[1]) if len(own) > 1 else order.index("engine")
        for line in path.read_text().split("\n"):
            if line.startswith('#include "engine/'):
                theirs = line.split('"')[1].split("/")
                assert order.index(theirs[1]) <= mine, (path.name, line)
