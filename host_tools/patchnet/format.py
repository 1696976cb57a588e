"""The one description of the .pnb blob: field tables that drive packing, reading and the generated C header.

`python host_tools/patchnet/format.py` prints modpatchnet/engine/blob/pn_format.h. What the fields mean, and which of
them the device trusts, is in modpatchnet/FORMAT.md. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MAGIC = b"PNB\x1a"
VERSION = 8
OLDEST = 2  # of the versions before that `patchnet convert` reads
ALIGN = 4  # of the blob itself, of every section and of every array in it

TASKS = {  # by m.task
    "classify": 1,
    "detect": 2,
    "audio": 3,
    "raw": 4,
    "heatmap": 5,
}
TASK_NAMES = {code: name for name, code in TASKS.items()}
KINDS = {  # by Layer.kind
    "conv": 1,
    "bottleneck": 2,
    "block": 3,
    "maxpool": 4,
    "meanpool": 5,
    "int4": 6,
    "int8": 7,
}
DTYPES = {  # of maps and weights, by m.dtype
    "int8": 0,
    "float32": 1,
}
ACTS = {"none": 0, "relu": 1, "relu6": 2}  # of a float32 network
FLAG_EXPAND, FLAG_RESIDUAL, FLAG_SIGNED, FLAG_PAIRS, FLAG_HEAD = 1, 2, 4, 8, 16
FLAG_COLUMNS, FLAG_NARROW, FLAG_BYTES = 32, 64, 128
AGGREGATE_SUM, AGGREGATE_CONCAT = 0, 1
SCORES_SOFTMAX, SCORES_SIGMOID = 0, 1
SCORES = {"softmax": SCORES_SOFTMAX, "sigmoid": SCORES_SIGMOID}  # by what an end has for `scores`
FIT_STRETCH, FIT_CROP = 0, 1
MODE_DIRECT, MODE_ROLLING, MODE_WINDOW, MODE_GROUPS, MODE_STORED = range(5)
MODE_FAST, MODE_SWEEP, MODE_COVER = 5, 6, 7

# limits that keep every int32 sum in range and every table small; the loader refuses what is beyond
MAX_SIDE = 4096  # of the network's picture, and of the part of a camera picture that it reads
MAX_REDUCTION = 32768  # products in one sum
MAX_SHIFT = 16
MAX_KERNEL = 15  # rows and columns, but of what covers the whole map
MAX_COVER = 255  # rows and columns of that
# of modes fast and sweep: what keeps sums of two channels in one apart (FORMAT.md)
MAX_FAST_INPUTS = 508  # of an expansion
MAX_FAST_GROUP = 256  # channels of a group that is added to sums
MAX_TUNNELS = 17
MAX_LAYERS = 255
MAX_FUSED = 16  # layers of a segment
MAX_LINES = 2 * MAX_SIDE  # strips of a segment times lines in and out of a layer, on an average
STATE_BYTES = 60  # of the arena for each of them
MIN_FFT, MAX_FFT = 32, 2048
MAX_TWIDDLE = (1 << 30) + (1 << 16)  # square of a twiddle's length, 15 fraction bits
NO_CLASS = 65535
MAX_TOP = 1000  # candidates of a detection network, boxes of a heat map
CANDIDATE_BYTES, SPOT_BYTES = 12, 16  # of the arena for each of them
FLOAT32_MULT = 512  # softmax_mult of a float32 network: then one step of a logit is ln 2 / 2^15
CENTRE, SIZE = 0.1, 0.2  # SSD's variances: what one unit of a box code is worth

# what host and engine both count with
LEAST_OUTPUTS = 4  # of a convolution or of the fully connected layer in a part of a streamed blob, unless it has fewer
WIDENED_BYTES = 1024  # that a convolution's widened windows take at a time where the plan does not say how many pixels
QUAD_BYTES = 16  # of them for four values of two pixels
LOG_BITS = 8  # fraction bits of the logarithm to base 2 of a band's energy

# what the engine's functions return, besides OK: progress, and an error for each cause, numbered from -1 down
PROGRESS = (("MORE", "there is more to do"), ("WANT", "weights are to be read"), ("WINDOW", "a window is to be given"))
ERRORS = (
    ("LENGTH", "fewer bytes than a header, or than the header says"),
    ("ALIGN", "blob not at a multiple of PN_ALIGN, or arena not at one of PN_ARENA_ALIGN"),
    ("MAGIC", ""),
    ("VERSION", ""),
    ("CRC", ""),
    ("TASK", "of a kind that is not known, or its record is wrong"),
    ("SHAPE", "a size, count, kernel, stride or flag out of range"),
    ("PATCH", "a patch outside the picture"),
    ("WEIGHTS", "an array outside the blob or misaligned; a multiplier, shift or zero point out of range"),
    ("OVERFLOW", "a sum that could leave 32 bits"),
    ("LABELS", ""),
    ("PLAN", "a schedule that does not fit its layers, a place outside the arena, live bytes overwritten"),
    ("ARENA", "the arena given is smaller than arena_bytes, or the buffer than weights.least"),
    ("PIXFMT", ""),
    ("ROI", "region empty, outside the picture, or larger than 4096 x 4096"),
    ("NO_DETECT", "a detection network, and the engine is built without (PN_NO_DETECT)"),
    ("NO_SOUND", "an audio model, and the engine is built without (PN_NO_SOUND)"),
    ("NO_HEATMAP", "a heat map, and the engine is built without (PN_NO_HEATMAP)"),
    ("NO_FLOAT32", "a float32 network, and the engine is built without (PN_NO_FLOAT32)"),
)
CODES = {"OK": 0}
CODES |= {name: 1 + i for i, (name, _) in enumerate(PROGRESS)}
CODES |= {f"ERR_{name}": -1 - i for i, (name, _) in enumerate(ERRORS)}
NO_LAYER = 255  # as the layer in which an error was found


@dataclass(frozen=True)
class Table:
    """A record: name, and fields of (name, struct code). Field order is byte order, nothing is padded."""

    name: str
    fields: tuple[tuple[str, str], ...]

    @property
    def size(self) -> int:
        return struct.calcsize("<" + "".join(code for _, code in self.fields))

    def offsets(self) -> dict[str, int]:
        at, out = 0, {}
        for name, code in self.fields:
            out[name] = at
            at += struct.calcsize("<" + code)
        return out

    def pack(self, **values: Any) -> bytes:
        """Bytes of one record. Every field must be given, no other may be."""
        names = [name for name, _ in self.fields]
        if set(values) != set(names):
            raise ValueError(f"{self.name}: wanted {names}, got {sorted(values)}")
        parts = []
        for name, code in self.fields:
            value = values[name]
            try:
                parts.append(struct.pack("<" + code, *(value if isinstance(value, tuple) else (value,))))
            except struct.error as e:
                raise ValueError(f"{self.name}.{name}: {value!r} does not fit: {e}") from None
        return b"".join(parts)

    def unpack_all(self, data: ReadableBuffer, offset: int, n: int) -> list[dict[str, Any]]:
        """`n` records, one behind the other."""
        return [self.unpack(data, offset + i * self.size) for i in range(n)]

    def unpack(self, data: ReadableBuffer, offset: int = 0) -> dict[str, Any]:
        out = {}
        for name, code in self.fields:
            value = struct.unpack_from("<" + code, data, offset)
            out[name] = value[0] if len(value) == 1 else value
            offset += struct.calcsize("<" + code)
        return out


HEADER = Table(
    "header",
    (
        ("magic", "4s"),
        ("version", "H"),
        ("header_bytes", "H"),
        ("size", "I"),
        ("crc", "I"),
        ("task", "B"),
        ("tunnels", "B"),
        ("layers", "B"),
        ("fit", "B"),
        ("channels", "H"),
        ("classes", "H"),
        ("height", "H"),
        ("width", "H"),
        ("patch_h", "H"),
        ("patch_w", "H"),
        ("input_zero", "4b"),
        ("aggregate", "B"),
        ("scores", "B"),
        ("pool_shift", "B"),
        ("pool_zero", "b"),
        ("fc_shift", "B"),
        ("fc_zero", "b"),
        ("dtype", "B"),
        ("sized", "B"),
        ("patch_off", "I"),
        ("layer_off", "I"),
        ("segment_off", "I"),
        ("segments", "I"),
        ("param_off", "I"),
        ("label_off", "I"),
        ("label_bytes", "I"),
        ("pool_mult", "i"),
        ("fc_off", "I"),
        ("softmax_mult", "I"),
        ("input_scale", "f"),
        ("output_scale", "f"),
        ("arena_bytes", "I"),
        ("sum_at", "I"),
        ("feature_at", "I"),
        ("logit_at", "I"),
        ("task_off", "I"),
        ("weight_off", "I"),
    ),
)

PATCH = Table("patch", (("y", "H"), ("x", "H")))
SIZED_PATCH = Table("sized_patch", (*PATCH.fields, ("height", "H"), ("width", "H")))  # with m.sized

LAYER = Table(
    "layer",
    (
        ("kind", "B"),
        ("mode", "B"),
        ("flags", "H"),
        ("kernel_h", "B"),
        ("kernel_w", "B"),
        ("stride_h", "B"),
        ("stride_w", "B"),
        ("pad_top", "B"),
        ("pad_bottom", "B"),
        ("pad_left", "B"),
        ("pad_right", "B"),
        ("second_h", "B"),
        ("second_w", "B"),
        ("cexp", "H"),
        ("cout", "H"),
        ("rows", "H"),
        ("group", "H"),
        ("lines", "H"),
        ("ring_at", "I"),
        ("wide_at", "I"),
    ),
)

SEGMENT = Table(
    "segment",
    (
        ("first", "B"),
        ("layers", "B"),
        ("strip", "H"),
        ("in_at", "I"),
        ("out_at", "I"),
        ("state_at", "I"),
        ("work_at", "I"),
    ),
)

PARAM = Table(
    "param",
    (
        ("zero_out", "b"),
        ("zero_mid", "b"),
        ("shift", "B"),
        ("shift_1", "B"),
        ("shift_2", "B"),
        ("zero_add", "b"),
        ("res_mult", "H"),
        ("weight_off", "I"),
    ),
)

AUDIO = Table(
    "audio",
    (
        ("rate", "I"),
        ("frame", "H"),
        ("hop", "H"),
        ("fft", "H"),
        ("every", "H"),
        ("log_mult", "i"),
        ("log_offset", "i"),
        ("threshold", "I"),
        ("smooth", "H"),
        ("pause", "H"),
        ("background", "I"),
        ("window_off", "I"),
        ("twiddle_off", "I"),
        ("band_off", "I"),
        ("weight_off", "I"),
        ("weight_bytes", "I"),
        ("stream_at", "I"),
        ("low", "f"),
        ("high", "f"),
        ("floor", "f"),
        ("top", "f"),
    ),
)

DETECT = Table(
    "detect",
    (
        ("map_h", "H"),
        ("map_w", "H"),
        ("top", "H"),
        ("cls_zero", "h"),
        ("layers", "B"),
        ("segments", "B"),
        ("scales", "H"),
        ("cls_mult", "I"),
        ("centre_mult", "I"),
        ("size_mult", "I"),
        ("place_off", "I"),
        ("scale_off", "I"),
        ("stitch_at", "I"),
        ("candidate_at", "I"),
        ("box_scale", "f"),
    ),
)

PLACE = Table("place", tuple((name, "H") for name in ("from_y", "from_x", "to_y", "to_x", "h", "w")))

SCALE = Table("scale", (("step_y", "I"), ("step_x", "I"), ("anchors", "I"), ("anchor_off", "I")))

ANCHOR = Table("anchor", (("h", "H"), ("w", "H")))

HEATMAP = Table("heatmap", (("background", "H"), ("top", "H"), ("cell_at", "I"), ("spot_at", "I")))

TABLES = (HEADER, PATCH, SIZED_PATCH, LAYER, SEGMENT, PARAM, DETECT, PLACE, SCALE, ANCHOR, AUDIO, HEATMAP)
CONSTANTS = (
    "FLAG_EXPAND", "FLAG_RESIDUAL", "FLAG_SIGNED", "FLAG_PAIRS", "FLAG_HEAD", "FLAG_COLUMNS", "FLAG_NARROW",
    "FLAG_BYTES", "AGGREGATE_SUM", "AGGREGATE_CONCAT", "FIT_STRETCH", "FIT_CROP", "MODE_DIRECT", "MODE_ROLLING",
    "MODE_WINDOW", "MODE_GROUPS", "MODE_STORED", "MODE_FAST", "MODE_SWEEP", "MODE_COVER", "MAX_SIDE", "MAX_REDUCTION",
    "MAX_SHIFT", "MAX_KERNEL", "MAX_COVER", "MAX_FAST_INPUTS", "MAX_FAST_GROUP", "SCORES_SOFTMAX", "SCORES_SIGMOID",
    "MAX_TUNNELS", "MAX_LAYERS", "MAX_FUSED", "MAX_LINES", "STATE_BYTES", "MAX_TOP", "CANDIDATE_BYTES", "SPOT_BYTES",
    "MIN_FFT", "MAX_FFT", "MAX_TWIDDLE", "NO_CLASS", "LEAST_OUTPUTS", "WIDENED_BYTES", "QUAD_BYTES", "LOG_BITS",
    "NO_LAYER",
)  # fmt: skip


def patch_table(sized: bool) -> Table:
    """That of the patch records, by the header's field."""
    return SIZED_PATCH if sized else PATCH


def c_codes() -> list[str]:
    """What functions return, with a word on why."""
    why = dict(PROGRESS) | {f"ERR_{name}": text for name, text in ERRORS}
    lines = ["// What functions return: PN_OK or how it goes on, or an error, each of one cause, which pn_error names."]
    for name, code in CODES.items():
        value = f"({code})" if code < 0 else code
        lines.append(f"#define PN_{name} {value}" + (f" // {why[name]}" if why.get(name) else ""))
    return lines


def c_header() -> str:
    """The text of modpatchnet/engine/blob/pn_format.h: codes, constants, record sizes, field offsets."""
    lines = [
        "// Made by `python host_tools/patchnet/format.py`: do not edit. What host and engine share: what functions",
        "// return, constants, offsets of .pnb fields (FORMAT.md).",
        "#ifndef PN_FORMAT_H",
        "#define PN_FORMAT_H",
        "",
        *c_codes(),
        "",
        f"#define PN_MAGIC 0x{int.from_bytes(MAGIC, 'little'):08x}u",
    ]
    lines += [f"#define PN_{name} {globals()[name]}" for name in ("VERSION", "ALIGN")]
    lines += [f"#define PN_TASK_{name.upper()} {code}" for name, code in TASKS.items()]
    lines += [f"#define PN_KIND_{name.upper()} {code}" for name, code in KINDS.items()]
    lines += [f"#define PN_DTYPE_{name.upper()} {code}" for name, code in DTYPES.items()]
    lines += [f"#define PN_ACT_{name.upper()} {code}" for name, code in ACTS.items()]
    lines += [f"#define PN_{name} {globals()[name]}" for name in CONSTANTS]
    for table in TABLES:
        prefix = f"PN_{table.name.upper()}_"
        lines += ["", f"#define {prefix}BYTES {table.size}"]
        lines += [f"#define {prefix}{name.upper()} {at}" for name, at in table.offsets().items()]
    return "\n".join([*lines, "", "#endif", ""])


if __name__ == "__main__":
    print(c_header(), end="")
