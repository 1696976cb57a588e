"""Blobs of formats 2 to 5, read and packed anew as one of today's.

Each format's own FORMAT.md is in the history. What they have otherwise than today's is here, and not much: the order of
the header's fields; layers have square kernels and half of those as padding, and all shifts but `shift` are 0; arrays
of modes 5 and 6 lie in other orders, and plans are another planner's, so that they are not kept.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from typing import Any

from .. import format as fmt
from ..engine.model import Model
from ..net.layers import Layer
from ..net.network import Network
from ..plan.choice import plan
from ..plan.modes import FAST_MODES, eight, fast_shape, fours
from ..progress import Track, no_track, planning
from .order import Order, fast_layers
from .pack import pack, seal
from .quantized import QLayer
from .record import BlobInfo
from .unpack import blob_network, blob_plan, layer_of, orders, qnet_of, read, record_of

TASKS, BY_GROUP = 4, 5  # since which format there are other tasks, and the arrays of a group lie together
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
    ("task", 1, 3), ("tunnels", 1, fmt.MAX_TUNNELS), ("layers", 1, fmt.MAX_LAYERS), ("height", 1, fmt.MAX_SIDE),
    ("width", 1, fmt.MAX_SIDE), ("fit", 0, 1), ("aggregate", 0, 1), ("classes", 1, 65535), ("rate", 1, 2**32 - 1),
    ("hop", 1, 65535), ("input_scale", 1e-30, 1e30), ("output_scale", 1e-30, 1e30), ("box_scale", 1e-30, 1e30),
)  # fmt: skip


class _Lean(Order):
    """That of mode 6 before it swept: kernels lie line by line, with an expansion too, unless they go by two."""

    def taps(self, s: Layer) -> list[int]:
        return super().taps(s if s.sh == 2 else replace(s, expand=False))


def converted(blob: bytes, name: str, track: Track = no_track) -> bytes:
    """The network of an old blob as one of today's format, which the engine accepts, by the planner's own choice.
    ValueError of one line for another version, and for a damaged blob."""
    version, header = _header(blob)
    try:
        info, params = _tables(blob, header)
        network = blob_network(info, name)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise ValueError(f"tables: wanted them inside the blob's {len(blob):,} B, labels in UTF-8") from None
    network.check()
    order = _orders(network, info, version)
    try:
        net = qnet_of(blob, info, network, order, params, layer_of if version >= BY_GROUP else _by_kind)
    except ValueError:
        raise ValueError(f"weights: wanted them inside the blob's {len(blob):,} B") from None
    found = plan(network, fast=fast_layers(net), progress=planning(track, name))
    made = _as_it_was(blob, info, pack(net, found))
    Model(made)
    return made


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
    table = _HEADER if version >= TASKS else _HEADER_2
    if len(blob) < table.size or (h := table.unpack(blob))["size"] != len(blob):
        wanted = f"{table.size} or more" if len(blob) < table.size else f"{h['size']:,}, as its header says"
        raise ValueError(f"bytes: wanted {wanted}, got {len(blob):,}")
    at = fmt.HEADER.offsets()["crc"]  # the same in all formats
    if h["crc"] != zlib.crc32(blob[at + 4 :], zlib.crc32(blob[:at])):
        raise ValueError("CRC: wanted that of its bytes: the file is damaged")
    _check_ranges(h)
    if h["channels"] not in (1, 3):
        raise ValueError(f"channels: wanted 1 or 3, got {h['channels']}")
    if version < TASKS and h["task"] != fmt.TASKS["classify"]:
        raise ValueError(f"task: wanted {fmt.TASKS['classify']} in format {version}, got {h['task']}")
    h = {"task_off": 0} | h | dict(scores=fmt.SCORES_SOFTMAX, dtype=fmt.DTYPES["int8"], sized=0)
    if h["task"] == fmt.TASKS["classify"]:
        h["task_off"] = 0  # where tunnels merge today
    if (h["task"] == fmt.TASKS["detect"]) == bool(h["fc_off"]):
        raise ValueError(f"fc_off: wanted a fully connected layer unless it detects, got {h['fc_off']}")
    return version, h


def _check_ranges(record: dict[str, Any]) -> None:
    for field, least, most in _IN_RANGE:
        if field in record and not least <= record[field] <= most:
            raise ValueError(f"{field}: wanted {least} to {most}, got {record[field]}")


def _tables(blob: bytes, h: dict[str, Any]) -> tuple[BlobInfo, list[dict]]:
    """All tables in today's fields, and the params. struct.error and so on where they are not inside the blob."""
    task = fmt.TASK_NAMES[h["task"]]
    record = record_of(task).read(blob, h)
    _check_ranges(record)
    more_layers, more_segments = record_of(task).behind(record)
    labels = blob[h["label_off"] :][: h["label_bytes"]].decode().split("\n")[:-1]
    if len(labels) != h["classes"]:
        raise ValueError(f"labels: wanted {h['classes']}, got {len(labels)}")
    layers = _LAYER.unpack_all(blob, h["layer_off"], h["layers"] + more_layers)
    segments = fmt.SEGMENT.unpack_all(blob, h["segment_off"], h["segments"] + more_segments)
    params = _PARAM.unpack_all(blob, h["param_off"], h["tunnels"] * h["layers"] + more_layers)
    none = dict.fromkeys(("zero_mid", "zero_add", "shift_1", "shift_2"), 0)
    patches = fmt.PATCH.unpack_all(blob, h["patch_off"], h["tunnels"])
    info = BlobInfo(task, h, patches, [_layer(i, r) for i, r in enumerate(layers)], segments, labels, record)
    return info, [param | none for param in params]


def _layer(i: int, record: dict[str, int]) -> dict[str, int]:
    """A layer's record in today's fields."""
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
        if record["mode"] in FAST_MODES and not (fast_shape(s) and group % 4 == 0 and 4 <= group <= s.cexp):
            raise ValueError(f"layer {i}: mode {record['mode']} is not for groups of {group} of the shape {s}")
    found = orders(layers, blob_plan(info), [record["flags"] for record in info.layers])
    lean = [version < BY_GROUP and record["mode"] == fmt.MODE_SWEEP for record in info.layers]
    return [_Lean(**vars(order)) if its else order for order, its in zip(found, lean, strict=True)]


def _by_kind(blob: bytes, s: Layer, order: Order, param: dict) -> QLayer:
    """A layer whose arrays, if it is fast, lie kind by kind: expansion, depthwise convolution, projection, and what the
    latter's outputs are scaled by. They are brought together group by group."""
    if not order.fast:
        return layer_of(blob, s, order, param)
    at, kinds = param["weight_off"], []
    expand = 8 + fours(s.cin) * (1 + (order.wide and not eight(s))) if s.expand else 0
    for each in (expand, len(order.taps(s)) + 8, s.cout * (1 + order.wide)):  # bytes of an expanded channel
        kinds.append([blob[at + each * group.start : at + each * group.stop] for group in order.groups(s.cexp)])
        at += each * s.cexp
    groups = (part for group in zip(*kinds, strict=True) for part in group)
    return layer_of(b"".join((blob[at : at + 8 * s.cout], *groups)), s, order, param | {"weight_off": 0})


def _as_it_was(old: bytes, info: BlobInfo, blob: bytes) -> bytes:
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
