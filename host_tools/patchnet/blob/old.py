"""Blobs of formats 2 to 7, read and packed anew as one of today's.

Each format's own FORMAT.md is in the history. What they have otherwise than today's is here, and not much: plans are
another planner's, so that they are not kept, and weights of dense convolutions are bytes; before format 7, arrays of
modes 5 and 6 lie in other orders; and before format 6, the order of the header's fields; layers have square kernels and
half of those as padding, and all shifts but `shift` are 0.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import format as fmt
from ..engine.model import Model
from ..net.layers import Layer
from ..net.network import Network
from ..plan.choice import plan
from ..plan.modes import FAST_MODES, eight, fast_order, fours
from ..progress import Track, no_track, planning
from .order import Order, exchanged, fast_layers
from .pack import pack, seal
from .quantized import QLayer, QNet
from .record import BlobInfo
from .unpack import KIND_NAMES, blob_network, blob_plan, layer_of, orders, qnet_of, read, record_of

# since which format there are other tasks, the arrays of a group lie together, tables and arrays of modes 5 and 6 are
# today's
TASKS, BY_GROUP, TABLES, ORDERS = 4, 5, 6, 7
WIDE = 8  # the flag of weights of 16 bits, before ORDERS
_NAMES = (
    "magic", "version", "header_bytes", "size", "crc", "task", "channels", "tunnels", "layers", "height", "width",
    "patch_h", "patch_w", "input_zero", "fit", "aggregate", "classes", "patch_off", "layer_off", "segment_off",
    "segments", "param_off", "label_off", "label_bytes", "pool_mult", "pool_shift", "pool_zero", "fc_shift", "fc_zero",
    "fc_off", "softmax_mult", "input_scale", "output_scale", "arena_bytes", "sum_at", "feature_at", "logit_at",
    "task_off", "weight_off",
)  # fmt: skip
_CODES = dict(fmt.HEADER.fields) | {"channels": "B"}
_HEADER = fmt.Table("header", tuple((name, _CODES[name]) for name in _NAMES))
_HEADER_2 = fmt.Table("header", _HEADER.fields[: _NAMES.index("task_off")])
_LAYER = fmt.Table(
    "layer", (*((name, "B") for name in ("kind", "kernel", "stride", "flags")),
              *((name, "H") for name in ("cexp", "cout", "mode", "rows", "group", "lines")),
              ("ring_at", "I"), ("wide_at", "I")),
)  # fmt: skip
_PARAM = fmt.Table("param", (("zero_out", "b"), ("shift", "B"), ("res_mult", "H"), ("weight_off", "I")))
_RECORDS = {"detect": fmt.DETECT, "audio": fmt.AUDIO}
_IN_RANGE = (
    ("task", 1, 5), ("dtype", 0, 1), ("sized", 0, 1), ("scores", 0, 1), ("channels", 1, fmt.MAX_REDUCTION),
    ("tunnels", 1, fmt.MAX_TUNNELS), ("layers", 1, fmt.MAX_LAYERS), ("height", 1, fmt.MAX_SIDE),
    ("width", 1, fmt.MAX_SIDE), ("fit", 0, 1), ("aggregate", 0, 1), ("classes", 0, 65535), ("rate", 1, 2**32 - 1),
    ("hop", 1, 65535), ("input_scale", 1e-30, 1e30), ("output_scale", 1e-30, 1e30), ("box_scale", 1e-30, 1e30),
)  # fmt: skip


@dataclass(frozen=True)
class _Quads(Order):
    """Of formats before 7: four weights of each output by turns, the middle two exchanged if they have 16 bits
    (`wide`), inputs likewise of a projection; this lies behind the depthwise convolution."""

    wide: bool = False

    parts = "expand", "depthwise", "project"

    def pairs(self, s: Layer, part: str, inputs: int) -> np.dtype:
        return np.dtype(("<i2" if self._wide(s, part) else "i1", (inputs // 4, 2, 4)))

    def weights(self, part: str, pairs: np.ndarray) -> np.ndarray:
        weight = pairs.swapaxes(1, 2).reshape(2 * len(pairs), -1).astype(np.int8)
        return exchanged(weight) if (part == "project") != (pairs.itemsize > 1) else weight

    def _wide(self, s: Layer, part: str) -> bool:
        return self.wide and not (part == "expand" and eight(s))


class _Lean(_Quads):
    """That of mode 6 before it swept: kernels lie line by line, with an expansion too, unless they go by two."""

    def taps(self, s: Layer) -> list[int]:
        return super().taps(s if s.sh == 2 else replace(s, expand=False))


def converted(blob: bytes, name: str, track: Track = no_track) -> bytes:
    """The network of an old blob as one of today's format, which the engine accepts, by the planner's own choice.
    ValueError of one line for another version, and for a damaged blob."""
    version, header = _header(blob)
    if header["dtype"] == fmt.DTYPES["float32"]:  # has none of those modes
        made = seal(bytearray(blob[:4] + struct.pack("<H", fmt.VERSION) + blob[6:]))
    else:
        net, info = integers(blob, version, header, name)
        found = plan(net.design, fast=fast_layers(net), progress=planning(track, name))
        made = as_it_was(blob, info, pack(net, found))
    Model(made)
    return made


def integers(blob: bytes, version: int, header: dict[str, Any], name: str) -> tuple[QNet, BlobInfo]:
    """The network of a blob with integers, and its tables in today's fields."""
    try:
        info, params = _tables(blob, version, header)
        network = blob_network(info, name)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise ValueError(f"tables: wanted them inside the blob's {len(blob):,} B, labels in UTF-8") from None
    network.check()
    order = _orders(network, info, version)
    try:
        return qnet_of(blob, info, network, order, params, layer_of if version >= BY_GROUP else _by_kind), info
    except ValueError:
        raise ValueError(f"weights: wanted them inside the blob's {len(blob):,} B, -128 to 127 each") from None


# ---------------------------------------------------------------- tables


def _header(blob: bytes) -> tuple[int, dict[str, Any]]:
    """The format and the header, in today's fields."""
    if blob[:4] != fmt.MAGIC:
        raise ValueError(f"magic: wanted {fmt.MAGIC!r}, got {bytes(blob[:4])!r}")
    version = int.from_bytes(blob[4:6], "little")
    if version == fmt.VERSION:
        raise ValueError(f"is of format {version} already, which is today's: there is nothing to convert")
    if not fmt.OLDEST <= version < fmt.VERSION:
        raise ValueError(f"version: wanted {fmt.OLDEST} to {fmt.VERSION - 1}, got {version}")
    table = fmt.HEADER if version >= TABLES else _HEADER if version >= TASKS else _HEADER_2
    if len(blob) < table.size or (h := table.unpack(blob))["size"] != len(blob):
        wanted = f"{table.size} or more" if len(blob) < table.size else f"{h['size']:,}, as its header says"
        raise ValueError(f"bytes: wanted {wanted}, got {len(blob):,}")
    at = fmt.HEADER.offsets()["crc"]  # the same in all formats
    if h["crc"] != zlib.crc32(blob[at + 4 :], zlib.crc32(blob[:at])):
        raise ValueError("CRC: wanted that of its bytes: the file is damaged")
    _check_ranges(h)
    return version, h if version >= TABLES else _new_fields(version, h)


def _new_fields(version: int, h: dict[str, Any]) -> dict[str, Any]:
    """A header from before format 6."""
    most = fmt.TASKS["audio" if version >= TASKS else "classify"]
    for field, ok, wanted in (
        ("channels", h["channels"] in (1, 3), "1 or 3"), ("task", h["task"] <= most, f"at most {most}"),
        ("classes", h["classes"] > 0, "1 or more"),
    ):  # fmt: skip
        if not ok:
            raise ValueError(f"{field}: wanted {wanted} in format {version}, got {h[field]}")
    h = {"task_off": 0} | h | dict(scores=fmt.SCORES_SOFTMAX, dtype=fmt.DTYPES["int8"], sized=0)
    if h["task"] == fmt.TASKS["classify"]:
        h["task_off"] = 0  # where tunnels merge today
    if (h["task"] == fmt.TASKS["detect"]) == bool(h["fc_off"]):
        raise ValueError(f"fc_off: wanted a fully connected layer unless it detects, got {h['fc_off']}")
    return h


def _check_ranges(record: dict[str, Any], ranges: Iterable[tuple[str, float, float]] = _IN_RANGE, at: str = "") -> None:
    for field, least, most in ranges:
        if field in record and not least <= record[field] <= most:
            raise ValueError(f"{at}{field}: wanted {least} to {most}, got {record[field]}")


def _tables(blob: bytes, version: int, h: dict[str, Any]) -> tuple[BlobInfo, list[dict]]:
    """All tables in today's fields, and the params. struct.error and so on where they are not inside the blob."""
    task = fmt.TASK_NAMES[h["task"]]
    record = record_of(task).read(blob, h)
    if task in _RECORDS:
        _check_ranges(record)
    more_layers, more_segments = record_of(task).behind(record)
    labels = blob[h["label_off"] :][: h["label_bytes"]].decode().split("\n")[:-1]
    if len(labels) != h["classes"]:
        raise ValueError(f"labels: wanted {h['classes']}, got {len(labels)}")
    table, param = (_LAYER, _PARAM) if version < TABLES else (fmt.LAYER, fmt.PARAM)
    layers = table.unpack_all(blob, h["layer_off"], h["layers"] + more_layers)
    segments = fmt.SEGMENT.unpack_all(blob, h["segment_off"], h["segments"] + more_segments)
    params = param.unpack_all(blob, h["param_off"], h["tunnels"] * h["layers"] + more_layers)
    none = dict.fromkeys(("zero_mid", "zero_add", "shift_1", "shift_2"), 0)
    patches = fmt.patch_table(h["sized"]).unpack_all(blob, h["patch_off"], h["tunnels"])
    layers = [_without_wide((_layer if version < TABLES else _checked)(i, r)) for i, r in enumerate(layers)]
    return BlobInfo(task, h, patches, layers, segments, labels, record), [none | param for param in params]


def _without_wide(record: dict[str, int]) -> dict[str, int]:
    """A layer's record with WIDE as a field: today that bit is none of the flags, or another."""
    return record | {"flags": record["flags"] & ~WIDE, "wide": record["flags"] & WIDE}


def _checked(i: int, record: dict[str, int]) -> dict[str, int]:
    """A layer's record since format 6, where what it is read by is in its range."""
    ranges = ("kind", 1, max(KIND_NAMES)), ("mode", 0, fmt.MODE_COVER), ("stride_h", 1, 15), ("stride_w", 1, 15)
    _check_ranges(record, ranges, f"layer {i}: ")
    return record


def _layer(i: int, record: dict[str, int]) -> dict[str, int]:
    """A layer's record of before format 6 in today's fields."""
    kernel, stride = record["kernel"], record["stride"]
    for name, ok, wanted in (
        ("kind", record["kind"] in (1, 2), "1 or 2"), ("kernel", kernel in (1, 3, 5, 7), "1, 3, 5 or 7"),
        ("stride", stride in (1, 2), "1 or 2"), ("mode", record["mode"] <= fmt.MODE_SWEEP, "0 to 6"),
        ("flags", record["flags"] < 2 * fmt.FLAG_HEAD, f"less than {2 * fmt.FLAG_HEAD}"),
    ):  # fmt: skip
        if not ok:
            raise ValueError(f"layer {i}: {name}: wanted {wanted}, got {record[name]}")
    sides = dict.fromkeys(("pad_top", "pad_bottom", "pad_left", "pad_right"), kernel // 2)
    return record | sides | dict(
        kernel_h=kernel, kernel_w=kernel, stride_h=stride, stride_w=stride, second_h=0, second_w=0
    )  # fmt: skip


# ---------------------------------------------------------------- arrays


def _orders(network: Network, info: BlobInfo, version: int) -> list[Order]:
    """In which order each layer's arrays are."""
    layers, at = network.run(), 0
    for segment in info.segments:
        if segment["first"] != at or not segment["layers"]:
            raise ValueError(
                f"segments: wanted one from layer {at} on, got one of {segment['layers']} from {segment['first']} on"
            )
        at += segment["layers"]
    if at != len(layers):
        raise ValueError(f"segments: wanted {len(layers)} layers in them, got {at}")
    for i, (s, record) in enumerate(zip(layers, info.layers, strict=True)):
        group = record["group"]
        if record["mode"] in FAST_MODES and not (fast_order(s) and group % 4 == 0 and 4 <= group <= s.cexp):
            raise ValueError(f"layer {i}: mode {record['mode']} is not for groups of {group} of the shape {s}")
    found = orders(layers, blob_plan(info), [record["flags"] for record in info.layers])
    if version >= ORDERS:
        return found
    lean = [version < BY_GROUP and record["mode"] == fmt.MODE_SWEEP for record in info.layers]
    return [
        (_Lean if its else _Quads)(**vars(order), wide=record["wide"] > 0)
        for order, its, record in zip(found, lean, info.layers, strict=True)
    ]


def _by_kind(blob: bytes, s: Layer, order: Order, param: dict) -> QLayer:
    """A layer whose arrays, if it is fast, lie kind by kind: expansion, depthwise convolution, projection, and what the
    latter's outputs are scaled by. They are brought together group by group."""
    if not order.fast:
        return layer_of(blob, s, order, param)
    at, kinds = param["weight_off"], []
    expand = 8 + order.pairs(s, "expand", fours(s.cin)).itemsize // 2 if s.expand else 0
    project = s.cout // 2 * order.pairs(s, "project", 4).itemsize // 4
    for each in (expand, len(order.taps(s)) + 8, project):  # bytes of an expanded channel
        kinds.append([blob[at + each * group.start : at + each * group.stop] for group in order.groups(s.cexp)])
        at += each * s.cexp
    groups = (part for group in zip(*kinds, strict=True) for part in group)
    return layer_of(b"".join((blob[at : at + 8 * s.cout], *groups)), s, order, param | {"weight_off": 0})


def as_it_was(old: bytes, info: BlobInfo, blob: bytes) -> bytes:
    """What `pack` works out from scales that the old blob has in float32 alone, as it stands there."""
    out, now = bytearray(blob), read(blob)
    parts = [(fmt.HEADER, 0, info.header, ["softmax_mult"])]
    if table := _RECORDS.get(info.task):
        names = [name for name, _ in table.fields if not name.endswith(("_off", "_at")) and name != "segments"]
        parts.append((table, now.header["task_off"], info.record, names))
    for table, at, values, names in parts:
        for name in names:
            struct.pack_into("<" + dict(table.fields)[name], out, at + table.offsets()[name], values[name])
    if info.task == "audio":
        a, b = info.record, now.record
        for name, size in (("window", 2 * a["frame"]), ("twiddle", 2 * a["fft"]), ("band", 4 * info.header["width"]),
                           ("weight", a["weight_bytes"])):  # fmt: skip
            piece = old[a[f"{name}_off"] :][:size]
            if len(piece) != size or a["weight_bytes"] != b["weight_bytes"]:
                raise ValueError(f"audio: {name}_off: wanted {size} B inside the blob, as its fields tell")
            at = b[f"{name}_off"]
            out[at : at + size] = piece
    return seal(out)
