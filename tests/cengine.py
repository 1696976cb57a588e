"""The C engine compiled for this machine, as the tests see it: straight through patchnet.h, no binding in between.

Every run lies between guard bytes in an arena that was filled before; `compile_engine` also builds the sanitized C
harnesses of csrc/. Built files are kept in build/tests, named by what they were made of.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from patchnet import format as fmt

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "tests"
CSRC = Path(__file__).resolve().parent / "csrc"
# PATCHNET_ENGINE: another folder with the engine's sources, to try the tests against a broken copy
ENGINE = Path(os.environ.get("PATCHNET_ENGINE", ROOT / "modpatchnet"))

WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
SANITIZE = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
GUARD = 64
ERRORS = [name for name, _ in fmt.ERRORS]
MORE = fmt.CODES["MORE"]
UNTOUCHED = 0xFFFFFFFF  # the tag of bytes that the checking build saw no write of


def engine_sources() -> list[Path]:
    """All of them, as modpatchnet/sources.mk has them."""
    return sorted((ENGINE / "engine").rglob("*.c"))


def compile_engine(name: str, flags: list[str], compiler: str | None = None) -> Path:
    """Builds csrc/<name>.c and the engine, with the system's compiler or another, unless that very thing exists. `make
    compilers` sets CC and PATCHNET_CFLAGS, which come last."""
    sources = [CSRC / f"{name}.c", *engine_sources()]
    read = [*sorted(CSRC.glob("*.[ch]")), *sources, *sorted(ENGINE.rglob("*.h"))]
    command = [
        *shlex.split(compiler or os.environ.get("CC", "cc")),
        *WARNINGS,
        *flags,
        f"-I{ENGINE}",
        f"-I{CSRC}",
        *map(str, sources),
        *shlex.split(os.environ.get("PATCHNET_CFLAGS", "")),
    ]
    digest = hashlib.sha256(" ".join(command).encode())
    for path in read:
        digest.update(path.read_bytes())
    out = BUILD / f"{name}-{digest.hexdigest()[:16]}"
    if not out.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        part = out.with_suffix(f".{os.getpid()}")
        subprocess.run([*command, "-o", str(part)], check=True)
        part.replace(out)
    return out


def sanitized(name: str) -> Path:
    """The program csrc/<name>.c with the engine, under ASan and UBSan."""
    return compile_engine(name, SANITIZE)


class Image(ctypes.Structure):
    """pn_image_t."""

    _fields_ = [("data", ctypes.c_void_p), ("w", ctypes.c_uint32), ("h", ctypes.c_uint32), ("format", ctypes.c_int)] + [
        (name, ctypes.c_uint32) for name in ("roi_x", "roi_y", "roi_w", "roi_h", "left", "top")
    ]


class Sound(ctypes.Structure):
    """pn_sound_t."""

    _fields_ = [
        (name, ctypes.c_uint32)
        for name in ("rate", "hop", "samples", "every", "pause", "smooth", "threshold", "background")
    ]


@cache
def library(checking: bool = False) -> ctypes.CDLL:
    """The engine with csrc/shim.c; or its checking build, with csrc/shadow.c as well."""
    flags = ["-O2", "-fPIC", "-shared"]
    lib = ctypes.CDLL(
        str(compile_engine("shadow", [*flags, "-DPN_SHADOW"]) if checking else compile_engine("shim", flags))
    )
    p, u32, size = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_size_t
    lib.pn_open.argtypes = [p, p, size]
    lib.pn_open_begin.argtypes, lib.pn_open_step.argtypes = [p, p, p, size, p], [p]
    lib.pn_start.argtypes = [p, p, size, ctypes.POINTER(Image)]
    lib.pn_start_raw.argtypes = [p, p, size, p]
    lib.pn_error.restype = ctypes.c_char_p
    lib.pn_labels.argtypes, lib.pn_labels.restype = [p, ctypes.POINTER(p)], size
    lib.shim_model_bytes.restype = size
    lib.shim_arena_bytes.argtypes = lib.shim_fault_layer.argtypes = [p]
    lib.shim_where.argtypes = [p, u32 * 4]
    lib.shim_steps.argtypes = [p, u32, p, size, ctypes.POINTER(ctypes.c_int)]
    lib.pn_prefix_bytes.argtypes, lib.pn_prefix_bytes.restype = [p], u32
    lib.pn_open_streamed.argtypes = lib.pn_verify.argtypes = [p, p, size]
    lib.pn_weights_buffer.argtypes, lib.shim_buffer.argtypes = [p, p, u32], [p, u32 * 2]
    lib.pn_listen.argtypes, lib.pn_hear.argtypes, lib.pn_hear.restype = [p, p, size], [p, p, u32], u32
    lib.pn_rows.argtypes, lib.pn_rows.restype = [p], p
    lib.pn_sound.argtypes, lib.pn_sound.restype = [p], Sound
    lib.pn_spot.argtypes = [p, ctypes.POINTER(Sound), ctypes.POINTER(u32)]
    lib.shim_hears.argtypes = lib.shim_fresh.argtypes = [p]
    lib.pn_boxes_prepare.argtypes = [p, u32, p]
    lib.shim_outputs.argtypes = lib.shim_tells.argtypes = [p]
    lib.shim_outputs8.argtypes = lib.shim_floats.argtypes = [p, p]
    lib.shim_boxes.argtypes = [p, u32, p]
    lib.shim_results.argtypes = [p, u32, p, p, p]
    if checking:
        lib.shadow_begin.argtypes = [p, size, p]
        lib.shadow_fault.argtypes = [ctypes.POINTER(u32)] * 3
    return lib


class Where(NamedTuple):
    """What the next step belongs to; `row`: the first of its strip, in a chain."""

    tunnel: int
    layer: int
    segment: int
    row: int


class Fault(NamedTuple):
    """The first read of a byte of the arena that was another's, as the checking build saw it."""

    at: int
    wanted: int
    found: int


class EngineError(Exception):
    """A PN_ERR_*: `name` without the prefix, `text` as pn_error says, `layer` where pn_open found it (or 255)."""

    def __init__(self, code: int, layer: int = 255):
        self.name, self.layer = ERRORS[-code - 1], layer
        self.text = library().pn_error(code).decode()
        super().__init__(f"{self.name} in layer {layer}")


@dataclass
class Output:
    """As an oracle's Result has it."""

    logits16: np.ndarray
    outputs8: np.ndarray
    scores: list[int]
    boxes: list[tuple[int, ...]]


def aligned(n: int, fill: int = 0, shift: int = 0) -> np.ndarray:
    """n bytes at an address divisible by 8, plus `shift`."""
    whole = np.full(n + 16, fill, np.uint8)
    start = -whole.ctypes.data % 8 + shift
    return whole[start : start + n]


class Engine:
    """One blob opened. `fill` is a byte, or an array of arena_bytes, with which the next arena is filled.

    `checking`: by the checking build. Then `tags` has the tag of each byte of the arena.
    `stream`: only the head is in memory, and weights come through a buffer: of the least bytes (0), the most (1) or
    some in between.
    """

    def __init__(self, blob: bytes, shift: int = 0, checking: bool = False, stream: float | None = None):
        self.lib, self.checking, self.stream = library(checking), checking, stream
        self.blob = aligned(len(blob), shift=shift)
        self.blob[:] = np.frombuffer(blob, np.uint8)
        self.model = ctypes.create_string_buffer(self.lib.shim_model_bytes())
        if stream is None:
            self._check(self.lib.pn_open(self.model, self.blob.ctypes.data, len(blob)))
        else:
            self._open_head(stream)
        self.hears = bool(self.lib.shim_hears(self.model))
        self.arena_bytes = self.lib.shim_arena_bytes(self.model)
        self.classes, self.outputs = fmt.HEADER.unpack(blob)["classes"], self.lib.shim_outputs(self.model)
        self.threshold, self.iou = 26214, 29491
        tells = self.lib.shim_tells(self.model)
        self.detects, self.finds, self.classifies, self.floats = (bool(tells & bit) for bit in (1, 2, 4, 8))
        self.fill, self.keep = 0xA5, None

    def _check(self, code: int) -> None:
        if code < 0:
            raise EngineError(code, self.lib.shim_fault_layer(self.model))

    def _open_head(self, stream: float) -> None:
        lib, size = self.lib, len(self.blob)
        n = min(size, lib.pn_prefix_bytes(self.blob.ctypes.data))
        self.head = aligned(n)
        self.head[:] = self.blob[:n]
        self._check(lib.pn_open_streamed(self.model, self.head.ctypes.data, n))
        self._check(lib.pn_verify(self.model, self.blob[n:].ctypes.data, size - n))
        sizes = (ctypes.c_uint32 * 2)()
        lib.shim_buffer(self.model, sizes)
        self.buffer_bytes = sizes[0] + round(stream * (sizes[1] - sizes[0]))
        self.buffer = aligned(self.buffer_bytes + 2 * GUARD, 0x5C)
        self._check(lib.pn_weights_buffer(self.model, self.buffer[GUARD:].ctypes.data, self.buffer_bytes))

    def _arena(self) -> np.ndarray:
        self.whole = aligned(self.arena_bytes + 2 * GUARD, 0x5C)
        self.arena = self.whole[GUARD : GUARD + self.arena_bytes]
        self.arena[:] = self.fill
        if self.checking:
            self.tags = np.full(self.arena_bytes, UNTOUCHED, np.uint32)
            self.lib.shadow_begin(self.arena.ctypes.data, self.arena_bytes, self.tags.ctypes.data)
        if self.finds:
            self.heads = np.full(self.outputs + 2 * GUARD, 0x5C, np.int8)
            self.lib.pn_boxes_prepare(self.model, self.threshold, self.heads[GUARD:].ctypes.data)
        return self.arena

    def start_image(self, data: bytes, w: int, h: int, pixfmt: int, roi=None) -> None:
        pixels = np.frombuffer(data, np.uint8)
        self.keep = pixels
        image = Image(pixels.ctypes.data, w, h, pixfmt, *(roi or (0, 0, w, h)))
        arena = self._arena()
        self._check(self.lib.pn_start(self.model, arena.ctypes.data, len(arena), ctypes.byref(image)))

    def start_raw(self, x: np.ndarray) -> None:
        self.keep = np.ascontiguousarray(x, np.int8)
        arena = self._arena()
        self._check(self.lib.pn_start_raw(self.model, arena.ctypes.data, len(arena), self.keep.ctypes.data))

    def steps(self, most: int = 0xFFFFFFFF) -> tuple[int, bool]:
        """At most that many steps: how many they were, and whether there are more."""
        more, streamed = ctypes.c_int(), self.stream is not None
        file = self.blob.ctypes.data if streamed else None
        n = self.lib.shim_steps(self.model, most, file, len(self.blob) * streamed, ctypes.byref(more))
        if more.value not in (0, MORE):
            raise EngineError(more.value) if more.value < 0 else RuntimeError(f"a step gave {more.value}")
        return n, more.value == MORE

    def labels(self) -> str:
        text = ctypes.c_void_p()
        size = self.lib.pn_labels(self.model, text)
        return ctypes.string_at(text, size).decode()

    def where(self) -> Where:
        """Of the next step."""
        numbers = (ctypes.c_uint32 * 4)()
        self.lib.shim_where(self.model, numbers)
        return Where(*numbers)

    def fault(self) -> Fault | None:
        """What the checking build has found since the run was started."""
        numbers = [ctypes.c_uint32() for _ in Fault._fields]
        found = self.lib.shadow_fault(*numbers)
        return Fault(*(n.value for n in numbers)) if found else None

    def finish(self) -> Output:
        """Runs what was started to its end; the guards must be whole after it."""
        self.n_steps, more = self.steps()
        assert not more
        guards = np.concatenate([self.whole[:GUARD], self.whole[GUARD + self.arena_bytes :]])
        assert (guards == 0x5C).all(), "bytes outside the arena were written"
        if self.stream is not None:
            guards = np.concatenate([self.buffer[:GUARD], self.buffer[GUARD + self.buffer_bytes :]])
            assert (guards == 0x5C).all(), "bytes outside the buffer of a streamed blob were written"
        return self.results()

    def results(self) -> Output:
        """What the arena holds after a run, and the scores that follow from it; the boxes and the heads' outputs."""
        if not self.classifies:
            return Output(np.zeros(0, np.int16), self._values(), [], self._boxes() if self.finds else [])
        logits, outputs = np.zeros(self.classes, np.int16), np.zeros(self.classes, np.int8)
        scores = np.zeros(self.classes, np.uint32)
        self.lib.shim_results(self.model, self.classes, logits.ctypes.data, outputs.ctypes.data, scores.ctypes.data)
        if self.floats:
            return Output(np.zeros(0, np.int16), self._values(), scores.tolist(), [])
        return Output(logits, outputs, scores.tolist(), [])

    def _boxes(self) -> list[tuple[int, ...]]:
        boxes = np.zeros((1000, 6), np.uint32)
        n = self.lib.shim_boxes(self.model, self.iou, boxes.ctypes.data)
        return [tuple(box) for box in boxes[:n].tolist()]

    def _values(self) -> np.ndarray:
        """The heads' outputs, or the last map."""
        if self.detects:
            guards = np.concatenate([self.heads[:GUARD], self.heads[GUARD + self.outputs :]])
            assert (guards == 0x5C).all(), "bytes beside the heads' outputs were written"
            return self.heads[GUARD : GUARD + self.outputs].copy()
        if self.floats:
            values = np.zeros(self.outputs, np.float32)
            self.lib.shim_floats(self.model, values.ctypes.data)
            return values
        outputs = np.zeros(self.outputs, np.int8)
        self.lib.shim_outputs8(self.model, outputs.ctypes.data)
        return outputs

    def run_image(self, data: bytes, w: int, h: int, pixfmt: int, roi=None) -> Output:
        self.start_image(data, w, h, pixfmt, roi)
        return self.finish()

    def run_raw(self, x: np.ndarray) -> Output:
        self.start_raw(x)
        return self.finish()

    # Sound

    def listen(self) -> None:
        arena = self._arena()
        self._check(self.lib.pn_listen(self.model, arena.ctypes.data, len(arena)))

    def hear(self, pcm: np.ndarray) -> int:
        """Takes samples up to the end of the next row at most: how many."""
        own = np.ascontiguousarray(pcm, "<i2")
        return self.lib.pn_hear(self.model, own.ctypes.data, len(own))

    def rows(self) -> np.ndarray:
        """The last rows, int8, one behind the other: as many as the network looks at."""
        head = fmt.HEADER.unpack(self.blob)
        height, width = head["height"], head["width"]
        at = self.lib.pn_rows(self.model) - self.arena.ctypes.data
        return self.arena[at : at + height * width].view(np.int8).reshape(height, width, 1)

    def start_rows(self) -> None:
        """A run on the rows that were heard, in the arena that keeps them."""
        arena = self.arena.ctypes.data
        self._check(self.lib.pn_start_raw(self.model, arena, self.arena_bytes, self.lib.pn_rows(self.model)))

    def start_clip(self, pcm: np.ndarray) -> None:
        """A run on a clip of just the samples that the network hears."""
        self.listen()
        while len(pcm):
            pcm = pcm[self.hear(pcm) :]
        self.start_rows()

    def run_clip(self, pcm: np.ndarray) -> Output:
        self.start_clip(pcm)
        return self.finish()

    def spot(self, chunks: list[np.ndarray]) -> list[tuple[int, int, int]]:
        """A whole stream: (row, class, score) of each answer, row being how many rows had come."""
        sound, score, row, out = self.lib.pn_sound(self.model), ctypes.c_uint32(), 0, []
        self.listen()
        for pcm in chunks:
            while len(pcm):
                pcm = pcm[self.hear(pcm) :]
                if self.lib.shim_fresh(self.model) == sound.every:
                    row += sound.every
                    self.start_rows()
                    self.finish()
                    found = self.lib.pn_spot(self.model, ctypes.byref(sound), ctypes.byref(score))
                    out += [(row, found, score.value)] if found >= 0 else []
        return out
