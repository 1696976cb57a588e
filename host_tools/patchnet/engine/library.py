"""The C engine as a shared library, and what all that call it need."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from _typeshed import ReadableBuffer, WriteableBuffer

    # To mypy an array is a buffer from Python 3.12 on only.
    Bytes: TypeAlias = ReadableBuffer | np.ndarray
    Room: TypeAlias = WriteableBuffer | np.ndarray


@cache
def engine() -> ctypes.CDLL:
    here = Path(__file__).parent
    paths = [here / f"_engine{suffix}" for suffix in EXTENSION_SUFFIXES]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        raise ImportError(f"the C engine is not built: no {paths[0].name} in {here}; install the package with pip")
    lib = ctypes.CDLL(str(path))
    pointer, u32, size = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_size_t
    for name, result, *arguments in (
        ("pn_open", ctypes.c_int, pointer, pointer, size),
        ("pn_open_streamed", ctypes.c_int, pointer, pointer, size),
        ("pn_prefix_bytes", u32, pointer),
        ("pn_verify", ctypes.c_int, pointer, pointer, size),
        ("pn_host_buffer_sizes", None, pointer, pointer),
        ("pn_weights_buffer", ctypes.c_int, pointer, pointer, u32),
        ("pn_host_wanted", None, pointer, pointer),
        ("pn_error", ctypes.c_char_p, ctypes.c_int),
        ("pn_start_raw", ctypes.c_int, pointer, pointer, size, pointer),
        ("pn_host_model_bytes", size),
        ("pn_host_fault_layer", u32, pointer),
        ("pn_host_arena_bytes", u32, pointer),
        ("pn_host_start", ctypes.c_int, pointer, pointer, size, pointer, u32, u32, u32, pointer),
        ("pn_host_window", None, pointer, pointer),
        ("pn_give", ctypes.c_int, pointer, pointer, ctypes.c_int),
        ("pn_host_index", u32, pointer),
        ("pn_host_run", ctypes.c_int, pointer, pointer),
        ("pn_state", u32, pointer),
        ("pn_listen", ctypes.c_int, pointer, pointer, size),
        ("pn_hear", u32, pointer, pointer, u32),
        ("pn_rows", pointer, pointer),
        ("pn_host_sound", None, pointer, pointer),
        ("pn_host_spot", ctypes.c_int32, pointer, pointer, pointer),
        ("pn_listen_pause", None, pointer),
        ("pn_listen_goes_on", ctypes.c_bool, pointer, pointer),
        ("pn_host_fresh", u32, pointer),
        ("pn_listen_end", None, pointer),
        ("pn_host_spectrogram", None, pointer, u32, u32, pointer, u32, pointer, pointer),
        ("pn_boxes_prepare", None, pointer, u32, pointer),
        ("pn_host_layers", u32, pointer),
        ("pn_task_name", ctypes.c_char_p, pointer),
        ("pn_host_outputs", u32, pointer, pointer),
        ("pn_host_output_zero", ctypes.c_int32, pointer),
        ("pn_host_values", None, pointer, pointer),
        ("pn_host_is_float", u32, pointer),
        ("pn_host_floats", None, pointer, pointer),
        ("pn_host_boxes", u32, pointer, u32, pointer),
        ("pn_host_results", None, pointer, pointer, pointer),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def error(err: int) -> str:
    return engine().pn_error(err).decode()


def buffer_of(what: str, obj: Any, writable: bool = False) -> memoryview:
    try:
        view = memoryview(obj)
    except TypeError:
        view = None
    if view is None or (writable and view.readonly):
        raise TypeError(f"{what}: wanted a {'writable ' if writable else ''}buffer")
    return view
