"""The board's C module `_patchnet` once more for CPython (modpatchnet/binding/mod_patchnet.c), over the same C engine.

Same classes, methods, exceptions and messages; the scripts of tests/device/scripts hold the two together. Blob and
pictures are copied here, what a PC does not notice.
"""

from __future__ import annotations

import ctypes
import math
import operator
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar, overload

from .. import format as fmt
from .files import Arena, Stream, is_file, read
from .library import buffer_of, engine, error
from .memory import Area, Use, area
from .pictures import GRAYSCALE, JPEG, RGB565, RGB888, Image, Pixels, adapt, is_picture, times

if TYPE_CHECKING:
    from .files import Source
    from .library import Bytes, Room
    from .pictures import Picture, Roi

    Box: TypeAlias = tuple[int, int, int, int, str, float]

__all__ = ["GRAYSCALE", "JPEG", "RGB565", "RGB888", "Image", "Model"]  # as the board's module has them

T = TypeVar("T")
Heads: TypeAlias = "ctypes.Array[ctypes.c_int8] | None"

_MORE, _WANT, _WINDOW = (fmt.CODES[name] for name in ("MORE", "WANT", "WINDOW"))
_ASKED = {  # what models of each task answer, besides predict
    "classify": ("classify",),
    "audio": ("classify", "spot"),
    "detect": ("detect",),
    "heatmap": ("detect",),
    "raw": (),
}


def _op(layer: dict) -> str:
    """What a layer's record says it does, as `profile` tells it."""
    kind = next(name for name, code in fmt.KINDS.items() if code == layer["kind"])
    stride = "x".join(str(n) for n in dict.fromkeys((layer["stride_h"], layer["stride_w"])))
    return f"{kind} {layer['kernel_h']}x{layer['kernel_w']} stride {stride}"


class _Pcm:
    """Samples in memory, 16 bits each."""

    def __init__(self, buffer: Bytes):
        view = buffer_of("pcm16", buffer)
        if view.format not in ("h", "b", "B"):
            raise TypeError("pcm16: wanted a buffer of 16-bit samples")
        shape = view.shape or ()
        if max(shape, default=1) < math.prod(shape):
            raise ValueError(f"pcm16: wanted samples of one channel, got an array of {times(shape)}")
        if view.nbytes % 2:
            raise ValueError(f"pcm16: wanted whole 16-bit samples, got {view.nbytes} bytes")
        self.n, self.view = view.nbytes // 2, view
        self.hold = (ctypes.c_char * view.nbytes).from_buffer_copy(view.tobytes())
        self.at = ctypes.addressof(self.hold)


def _part(name: str, value: float | None, otherwise: int, unit: float, most: float) -> int:
    """A number from 0 to `most` in units; `otherwise` for None."""
    if value is None:
        return otherwise
    if not 0 <= value <= most:
        raise ValueError(f"{name}: wanted 0 to {int(most)}")
    return int(value * unit + 0.5)


class _Results:
    """Of a run of a classifier: logits with 8 fraction bits, scores 0..65536."""

    def __init__(self, model: ctypes.Array, classes: int):
        self.logits = (ctypes.c_int32 * classes)()
        self.scores = (ctypes.c_uint32 * classes)()
        engine().pn_host_results(model, self.logits, self.scores)


def _fraction(what: str, x: float) -> int:
    """A number 0..1 in parts of 65536."""
    if not 0 <= x <= 1:
        raise ValueError(f"{what}: wanted 0..1")
    return int(x * 65536 + 0.5)


class Model:
    """A network ready to run; see the header of modpatchnet/binding/mod_patchnet.c."""

    def __init__(self, src: Source, arena: Room | None = None, stream: int | None = None):
        """`src`: path, shipped name, open file or buffer. `arena`: a buffer to run in, with `ram` bytes from a multiple
        of 8 on. `stream`: True, or the bytes of a buffer, to read a file's weights during each run.

        OSError without such a file, ValueError naming what is wrong with the model, MemoryError if `arena` or `stream`
        is too small.
        """
        lib = engine()
        self._open = False
        # None: a PC has memory enough. What is no file is in memory already.
        self._stream = Stream(src, stream) if stream and is_file(src) else None
        self._blob = self._stream.head if self._stream else read(src)
        self._source = Area() if is_file(src) else area(memoryview(src))  # type: ignore[arg-type]
        self._model = ctypes.create_string_buffer(lib.pn_host_model_bytes())
        self._running = threading.Lock()
        err = self._stream.open(self._model) if self._stream else lib.pn_open(self._model, self._blob, len(self._blob))
        if err:
            self._raise_bad(err)
        self._header = fmt.HEADER.unpack(self._blob)
        self._task = lib.pn_task_name(self._model).decode()
        self._hears, self._finds = self._task == "audio", self._task in ("detect", "heatmap")
        self._floats = bool(lib.pn_host_is_float(self._model))
        self._sees = self._header["channels"] in (1, 3)
        shape = (ctypes.c_uint32 * 3)()
        self._outputs = lib.pn_host_outputs(self._model, shape)
        self._map = tuple(shape) if shape[0] else ()  # of a map that is the output
        needed = lib.pn_host_arena_bytes(self._model)
        self._arena = Arena(bytearray(needed + 8) if arena is None else arena, needed)
        self._given = arena is not None
        self._open = True

    # ---- life ----

    def deinit(self) -> None:
        """Closes the model and lets its memory go. RuntimeError while it runs."""
        self._check_idle()
        if self._open:
            self._open, stream = False, self._stream
            del self._blob, self._source, self._stream, self._arena, self._model
            if stream:
                stream.close()  # last, as it may raise

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.deinit()

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError("model is closed")

    def _check_task(self, task: str) -> None:
        if self.task == "raw":
            raise ValueError("model has raw output: use predict")
        if task not in _ASKED.get(self.task, ()):
            raise ValueError(f"model is for {self.task}, not for {task}")

    def _raise_bad(self, err: int) -> NoReturn:
        layer = engine().pn_host_fault_layer(self._model)
        raise ValueError(f"bad model: {error(err)}" + (f" of layer {layer}" if layer != fmt.NO_LAYER else ""))

    def _check_idle(self) -> None:
        if self._running.locked():
            raise RuntimeError("model is busy")

    # ---- running ----

    def _start(self, pixels: Pixels | None, raw: bytes | None, threshold: int, heads: Heads) -> None:
        if self._finds:
            engine().pn_boxes_prepare(self._model, threshold, heads)
        if self._stream:
            self._stream.taken = self._stream.pieces = 0
        lib, where = engine(), (self._model, self._arena.at, self._arena.bytes)
        if pixels is None:
            err = lib.pn_start_raw(*where, raw)
        else:
            err = lib.pn_host_start(*where, pixels.data, pixels.width, pixels.height, pixels.format, pixels.roi)
        if err:
            raise ValueError(f"bad picture: {error(err)}")

    @contextmanager
    def _busy(self, input_: memoryview | None, out: memoryview | None = None) -> Iterator[None]:
        """While the model runs on a buffer, filling another one."""
        if not self._running.acquire(blocking=False):
            raise RuntimeError("model is busy")
        try:
            self._check_open()
            arena = Area(self._arena.at, self._header["arena_bytes"])
            with Use(arena, out, self._source, input_) as self._use:
                yield
        finally:
            self._running.release()

    def _run(
        self, pixels: Pixels | None, raw: memoryview | None, end: Callable[[list[int]], T], threshold: int = 65537,
        heads: Heads = None, out: memoryview | None = None,
    ) -> T:  # fmt: skip
        """What end(nanoseconds per layer) makes of a run, while nothing else may run. `threshold`, of 65536, is for
        those that find boxes, `heads`, room for what they give, for detection; `out` is what `end` fills."""
        with self._busy(pixels.view if pixels else raw, out):
            x = None if raw is None else raw.tobytes()  # kept while the engine reads it
            self._start(pixels, x, threshold, heads)
            return end(self._finish(pixels))

    def _finish(self, pixels: Pixels | None = None) -> list[int]:
        """Nanoseconds per layer, the last entry being what follows the layers."""
        lib, times, err = engine(), (ctypes.c_uint64 * (self._layers() + 1))(), _MORE
        while err in (_MORE, _WINDOW):
            err = lib.pn_host_run(self._model, times)
            state = lib.pn_state(self._model)
            if err == _WANT and self._stream:
                began = time.perf_counter_ns()
                self._stream.fill(self._model)
                times[lib.pn_host_index(self._model)] += time.perf_counter_ns() - began
                err = _MORE
            if err == _WINDOW:
                assert pixels  # raw values have no windows
                pixels.window = self._window(pixels)  # kept while the engine reads it
            if lib.pn_state(self._model) != state:
                raise ValueError("arena: others wrote to it")
        if err:
            self._raise_bad(err)
        return list(times)

    def _steps(self) -> list[int]:
        """The layer of each step of a run: the same on every machine."""
        lib, out = engine(), []
        with self._busy(None):
            self._start(None, bytes(math.prod(self.input_shape)), 65537, None)
            err = _MORE
            while err == _MORE:
                out.append(lib.pn_host_index(self._model))
                err = lib.pn_step(self._model)
        return out

    def _window(self, pixels: Pixels) -> Pixels:
        """Takes the window of the frame that the engine wants next."""
        place = (ctypes.c_uint32 * 4)()
        engine().pn_host_window(self._model, place)
        self._use.read(None)  # the one before is let go first, as on a board
        window = Pixels(adapt(pixels.camera.window(*place)), None, pixels.pixfmt)
        if window.data is None or (window.width, window.height) != tuple(place[2:]):
            got = f"{window.width} x {window.height}"
            raise ValueError(f"window: wanted {place[2]} x {place[3]} pixels, got {got}")
        self._use.read(window.view)
        err = engine().pn_give(self._model, window.data, window.format)
        if err:
            raise ValueError(f"bad picture: {error(err)}")
        return window

    def _results(self, times: list[int]) -> _Results:
        return _Results(self._model, self._header["classes"])

    def _values(self) -> ctypes.Array:
        """The outputs, if they are not those of heads."""
        if self._floats:
            floats = (ctypes.c_float * self._outputs)()
            engine().pn_host_floats(self._model, floats)
            return floats
        values = (ctypes.c_int8 * self._outputs)()
        engine().pn_host_values(self._model, values)
        return values

    def _boxes(self, iou: int) -> list[Box]:
        numbers, labels = (ctypes.c_uint32 * (6 * fmt.MAX_TOP))(), self.labels
        n = engine().pn_host_boxes(self._model, iou, numbers)
        rows = [numbers[6 * i : 6 * i + 6] for i in range(n)]
        return [(x, y, w, h, labels[label], score / 65536) for x, y, w, h, label, score in rows]

    def _run_any(self, x: Any, end: Callable[[list[int]], T], heads: Heads = None, out: memoryview | None = None) -> T:
        """`_run` on a picture or, an audio model, on 16-bit samples; or on raw values in any buffer of the right
        length."""
        self._check_open()
        x = adapt(x)
        view = None if is_picture(x) else buffer_of("x", x)
        if view is None and self._hears:
            raise ValueError("model is for audio: wanted 16-bit samples")
        if view is None:
            return self._run(self._pixels(x), None, end, heads=heads, out=out)
        if self._hears and view.format == "h":
            return self._run_clip(_Pcm(x), end, out)
        return self._run(None, self._raw(x, view), end, heads=heads, out=out)

    def _pixels(self, img: Any, roi: Roi | None = None, pixfmt: int | None = None) -> Pixels:
        """A picture to run on. TypeError where the network's input is none."""
        if not self._sees:
            shape, n = "x".join(map(str, self.input_shape)), math.prod(self.input_shape)
            raise TypeError(f"input is {shape}, raw: wanted {n} int8 values")
        return Pixels(adapt(img), roi, pixfmt)

    def _raw(self, x: Any, view: memoryview) -> memoryview:
        """`view` of the raw values `x` to run on. An array of several dimensions has to have the network's."""
        kind = str(getattr(x, "dtype", view.format))
        if kind not in ("int8", "b", "B"):
            raise TypeError(f"x: wanted int8 values, got an array of {kind if len(kind) > 1 else repr(kind)}")
        wanted, n = times(self.input_shape), math.prod(self.input_shape)
        if view.nbytes != n:
            raise ValueError(f"shape: wanted {wanted} = {n} bytes, got {view.nbytes}")
        shape = view.shape or ()
        if len(shape) > 1 and [n for n in shape if n > 1] != [n for n in self.input_shape if n > 1]:
            raise ValueError(f"shape: wanted {wanted}, got {times(shape)}")
        return view

    def _input(self, img: Any, roi: Roi | None, pixfmt: int | None) -> tuple[Pixels | None, memoryview | None]:
        """What classify and detect are given: a picture, or raw values where the network's input is none."""
        if self._sees or is_picture(adapt(img)):
            return self._pixels(img, roi, pixfmt), None
        return None, self._raw(img, buffer_of("x", img))

    # ---- sound

    def _sound(self) -> list[int]:
        """The fields of pn_sound_t: rate, hop, samples, every, pause, smooth, threshold, background."""
        fields = (ctypes.c_uint32 * 8)()
        engine().pn_host_sound(self._model, fields)
        return list(fields)

    def _listen(self) -> None:
        err = engine().pn_listen(self._model, self._arena.at, self._arena.bytes)
        if err:
            raise ValueError(f"bad sound: {error(err)}")

    def _hear_clip(self, pcm: _Pcm) -> None:
        """Makes the rows of a whole clip: its middle, or the clip between zeros."""
        lib, samples = engine(), self._sound()[2]
        before, skip = max(samples - pcm.n, 0) // 2, max(pcm.n - samples, 0) // 2
        self._listen()
        stop = before + min(pcm.n, samples)
        at = 0
        while at < samples:
            inside = before <= at < stop
            end = stop if inside else before if at < before else samples
            at += lib.pn_hear(self._model, pcm.at + 2 * (at - before + skip) if inside else None, end - at)
        lib.pn_listen_end(self._model)

    def _run_clip(self, pcm: _Pcm, end: Callable[[list[int]], T], out: memoryview | None = None) -> T:
        """`_run` on a clip; the first of the times is that of its spectrogram."""
        with self._busy(pcm.view, out):
            began = time.perf_counter_ns()
            self._hear_clip(pcm)
            heard = time.perf_counter_ns() - began
            return end([heard, *self._run_rows()])

    def _run_rows(self) -> list[int]:
        self._start(None, engine().pn_rows(self._model), 65537, None)
        return self._finish()

    def spot(
        self, pcm16: Bytes, threshold: float | None = None, pause: float | None = None,
        smooth: float | None = None, every: int | None = None, background: str | None = None,
    ) -> tuple[str, float] | None:  # fmt: skip
        """(label, score) if a word is heard with this chunk of a stream of 16-bit samples, else None. The settings, by
        default the model's own, are those of docs/audio.md: `threshold` and `smooth` 0..1, `pause` in seconds, `every`
        in rows, `background` a label, "" for none."""
        self._check_task("spot")
        sound = self._sound()
        sound[3] = sound[3] if every is None else operator.index(every)
        if not 1 <= sound[3] <= 65535:
            raise ValueError("every: wanted 1 to 65535")
        sound[4] = _part("pause", pause, sound[4], sound[0] / sound[1], 65535 * sound[1] / sound[0])
        sound[5] = max(1, _part("smooth", smooth, sound[5], 256, 1))
        sound[6] = _part("threshold", threshold, sound[6], 65536, 1)
        if background is not None:
            if background and background not in self.labels:
                raise ValueError("background: wanted one of the labels")
            sound[7] = self.labels.index(background) if background else fmt.NO_CLASS
        return self._spot(_Pcm(pcm16), (ctypes.c_uint32 * 8)(*sound))

    def _spot(self, pcm: _Pcm, sound: ctypes.Array) -> tuple[str, float] | None:
        lib, answer, score, at = engine(), None, ctypes.c_uint32(), 0
        with self._busy(pcm.view):
            if not lib.pn_listen_goes_on(self._model, self._arena.at):
                self._listen()
            while at < pcm.n:
                at += lib.pn_hear(self._model, pcm.at + 2 * at, pcm.n - at)
                if lib.pn_host_fresh(self._model) >= sound[3]:
                    self._run_rows()
                    found = lib.pn_host_spot(self._model, sound, ctypes.byref(score))
                    answer = (self.labels[found], score.value / 65536) if found >= 0 else answer
            lib.pn_listen_pause(self._model)
        return answer

    # ---- answers

    def _run_input(self, img: Any, roi: Roi | None, pixfmt: int | None) -> _Results:
        """Runs on what classify is given."""
        if not self._hears:
            return self._run(*self._input(img, roi, pixfmt), self._results)
        if is_picture(adapt(img)) or roi is not None or pixfmt is not None:
            raise ValueError("model is for audio: wanted 16-bit samples")
        return self._run_clip(_Pcm(img), self._results)

    def classify(
        self, img: Picture | Bytes, top: int | None = None, roi: Roi | None = None, pixfmt: int | None = None
    ) -> list[tuple[str, float]]:
        """[(label, score), ...], best first, at most `top`; scores are 0..1. `img` is a picture; for an audio model a
        clip: a buffer of 16-bit samples; for one whose input is no picture int8 values in any buffer. `roi`: (x, y, w,
        h) inside the picture. `pixfmt`: GRAYSCALE, RGB565 or RGB888 where the picture does not say it."""
        self._check_task("classify")
        n = self._header["classes"]
        top = n if top is None else min(n, operator.index(top))
        if top < 1:
            raise ValueError("top: wanted 1 or more")
        run, labels = self._run_input(img, roi, pixfmt), self.labels
        best = sorted(range(n), key=lambda i: -run.logits[i])[:top]
        return [(labels[i], run.scores[i] / 65536) for i in best]

    def detect(
        self, img: Picture, threshold: float = 0.4, iou: float = 0.45, roi: Roi | None = None,
        pixfmt: int | None = None,
    ) -> list[Box]:  # fmt: skip
        """[(x, y, w, h, label, score), ...] in pixels of the picture, best first: scores of `threshold` or more, and of
        boxes of one class that overlap by more than `iou` (not of a heat map) the best alone; both 0..1."""
        self._check_task("detect")
        threshold, iou = _fraction("threshold", threshold), _fraction("iou", iou)
        return self._run(*self._input(img, roi, pixfmt), lambda _: self._boxes(iou), threshold)

    @overload
    def predict(self, x: Picture | Bytes, out: None = None) -> array[int] | array[float]: ...
    @overload
    def predict(self, x: Picture | Bytes, out: T) -> T: ...

    def predict(self, x: Any, out: Any = None) -> Any:
        """The int8 outputs of the network, `output_shape` of them, in a new array('b') or in the buffer `out`; of a
        float32 network its logits or values, in an array('f'). `x`: a picture, array('h') of samples for an audio
        model, or raw int8 input in any buffer of its length."""
        self._check_open()
        n = self._outputs * (4 if self._floats else 1)
        out = array("f" if self._floats else "b", bytes(n)) if out is None else out
        view = buffer_of("out", out, writable=True)
        if view.nbytes != n:
            raise ValueError(f"out: wanted {n} bytes, got {view.nbytes}")
        heads = (ctypes.c_int8 * n)() if self.task == "detect" else None

        def fill(_: list[int]) -> None:
            view.cast("B")[:] = bytes(heads or self._values())

        self._run_any(x, fill, heads, view)
        return out

    def profile(self, x: Picture | Bytes) -> list[tuple[str, str, int]]:
        """[(name, op, microseconds), ...] of a run on what `predict` takes."""
        self._check_open()
        times: list[int] = self._run_any(x, lambda times: times)
        names = []
        for i in range(self._layers()):
            layer = fmt.LAYER.unpack(self._blob, self._header["layer_off"] + i * fmt.LAYER.size)
            names.append((f"layer {i}", _op(layer)))
        names += self._head()
        if self._hears and len(times) > len(names):
            names.insert(0, ("audio", "spectrogram"))
        return [(name, op, ns // 1000) for (name, op), ns in zip(names, times, strict=False)]

    def _head(self) -> list[tuple[str, str]]:
        """What follows the layers, as `profile` tells it; none if they do it themselves."""
        if self.task in ("detect", "raw"):
            return []
        return [("head", "cells" if self.task == "heatmap" else "pool, dense" if self._header["fc_off"] else "pool")]

    # ---- what a person wants to know ----

    def _layers(self) -> int:
        """Of a chain, and those that follow the chains."""
        return engine().pn_host_layers(self._model)

    def _fact(self, name: str) -> Any:
        self._check_open()
        return self._header[name]

    @property
    def ram(self) -> int:
        """The arena and, where the model is streamed, its head and the weights' buffer."""
        arena = self._fact("arena_bytes")
        return arena + (len(self._blob) + self.streamed if self._stream else 0)

    @property
    def arena(self) -> str:
        """Where it lies: "heap", or "given" by the caller. On a board that has such memory for it, "DTCM"."""
        self._check_open()
        return "given" if self._given else "heap"

    @property
    def streamed(self) -> int:
        """Bytes of the weights' buffer, 0 where they are in memory."""
        self._check_open()
        return len(self._stream.buffer) if self._stream else 0

    @property
    def stream_sizes(self) -> tuple[int, int]:
        """The least bytes that the buffer of a streamed model may have, and the most of which it makes use."""
        self._check_open()
        return (self._stream.least, self._stream.most) if self._stream else (0, 0)

    @property
    def stream_read(self) -> tuple[int, int]:
        """Bytes that the last run of a streamed model read, and in how many pieces."""
        self._check_open()
        return (self._stream.taken, self._stream.pieces) if self._stream else (0, 0)

    @property
    def task(self) -> str:
        self._check_open()
        return self._task

    @property
    def dtype(self) -> str:
        """Of its maps and weights: "int8" or "float32"."""
        self._check_open()
        return "float32" if self._floats else "int8"

    @property
    def sample_rate(self) -> int:
        """Of an audio model, in Hz."""
        return self._heard("sample_rate")[0]

    @property
    def clip_samples(self) -> int:
        """Samples that an audio model sees at once."""
        return self._heard("clip_samples")[2]

    def _heard(self, name: str) -> list[int]:
        self._check_open()
        if not self._hears:
            raise AttributeError(f"'Model' object has no attribute '{name}'")
        return self._sound()

    @property
    def labels(self) -> tuple[str, ...]:
        at = self._fact("label_off")
        return tuple(self._blob[at : at + self._fact("label_bytes")].decode().split("\n")[:-1])

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self._fact("height"), self._fact("width"), self._fact("channels")

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Height, width and channels of a map, else how many values."""
        self._check_open()
        return self._map or (self._outputs,)

    @property
    def input_scale(self) -> float:
        return self._fact("input_scale")

    @property
    def input_zero_point(self) -> int | tuple[int, ...]:
        """One number where all input channels share it, else a tuple of one per channel."""
        zero = self._fact("input_zero")[: self._fact("channels") if self._sees else 1]
        return zero[0] if len(set(zero)) == 1 else zero

    @property
    def output_scale(self) -> float:
        return self._fact("output_scale")

    @property
    def output_zero_point(self) -> int:
        self._check_open()
        return engine().pn_host_output_zero(self._model)

    def __repr__(self) -> str:
        if not self._open:
            return "<Model closed>"
        more = ", streamed" if self._stream else ""
        shape = " x ".join(map(str, self.input_shape))
        answer = " x ".join(map(str, self._map)) or self._fact("classes")
        return f"<Model {self.task} {shape} -> {answer}, ram {self.ram}{more}>"
