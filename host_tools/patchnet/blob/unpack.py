"""A .pnb blob back into what it was made of: tables, network, integers, plan (modpatchnet/FORMAT.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from shlex import quote

from .. import format as fmt
from .. import rooms
from ..engine.model import Model
from ..net.layers import CASTS, POOLS, Float32Layer, Layer, pair
from ..net.network import End, Network, Readout
from ..plan.modes import AS_BYTES, FAST_MODES, NARROW
from ..plan.place import Plan, Segment, Step
from . import order as order_of
from .order import Order
from .quantized import QBlock, QBottleneck, QCast, QConv, QLayer, QNet, QPooling
from .record import Arrays, BlobInfo, Record

KIND_NAMES = {code: name for name, code in fmt.KINDS.items()}


def record_of(task: str) -> Record:
    """How the task's end stands in a blob."""
    return rooms.part(task, "record").RECORD


def read(blob: bytes) -> BlobInfo:
    """Reads the tables of a blob that the engine has accepted; it checks nothing but the magic."""
    if blob[:4] != fmt.MAGIC:
        raise ValueError(f"magic: wanted {fmt.MAGIC!r}, got {bytes(blob[:4])!r}")
    h = fmt.HEADER.unpack(blob)
    task = fmt.TASK_NAMES[h["task"]]
    record = record_of(task).read(blob, h)
    layers, segments = record_of(task).behind(record)
    text = blob[h["label_off"] : h["label_off"] + h["label_bytes"]].decode()
    return BlobInfo(
        task,
        h,
        fmt.patch_table(h["sized"]).unpack_all(blob, h["patch_off"], h["tunnels"]),
        fmt.LAYER.unpack_all(blob, h["layer_off"], h["layers"] + layers),
        fmt.SEGMENT.unpack_all(blob, h["segment_off"], h["segments"] + segments),
        text.split("\n")[:-1],
        record,
    )


def read_blob(path: str | Path) -> bytes:
    """A blob that the engine accepts. ValueError names the file and the fault, and what to do about another version."""
    blob = Path(path).read_bytes()
    try:
        Model(blob)
    except ValueError as e:
        version = int.from_bytes(blob[4:6], "little")
        again = "pack it again from its run (patchnet pack RUN)"
        if version > fmt.VERSION:
            todo = f"a newer patchnet wrote it: renew this one, or {again}"
        elif version == fmt.VERSION:
            todo = "the engine here is another version's: make setup in a clone, or install patchnet again"
        else:
            todo = again if version < fmt.OLDEST else f"patchnet convert {quote(str(path))}"
        other = f" {version} of the format, wanted {fmt.VERSION}: {todo}"
        raise ValueError(f"{path}: {e}{other if str(e).endswith('version') else ''}") from None
    return blob


def blob_network(info: BlobInfo, name: str) -> Network:
    """The network of a blob's tables. Which activation a convolution has is not told there."""
    h, n = info.header, info.header["layers"]
    own = Float32Layer if h["dtype"] == fmt.DTYPES["float32"] else Layer
    chain: list[Layer] = []
    shape = h["patch_h"], h["patch_w"], h["channels"]
    for record in info.layers[:n]:
        chain.append(_shape(record, *shape, own))
        shape = chain[-1].oh, chain[-1].ow, chain[-1].cout
    end = record_of(info.task).end(info)
    return Network(
        name, tuple(info.labels), h["height"], h["width"], h["channels"], (h["patch_h"], h["patch_w"]),
        tuple((p["y"], p["x"]) for p in info.patches), tuple(chain), end, _readouts(info, end, chain[-1]),
        mean=tuple(zero + 128 for zero in _input_zeros(h)), std=1 / h["input_scale"],
        fit="crop" if h["fit"] == fmt.FIT_CROP else "stretch",
        sizes=tuple((p["height"], p["width"]) for p in info.patches) if h["sized"] else None,
    )  # fmt: skip


def _shape(record: dict, height: int, width: int, cin: int, own: type[Layer] = Layer) -> Layer:
    """The layer of a record, with an input of this shape, as one of the class `own`."""
    flags, kind = record["flags"], KIND_NAMES[record["kind"]]
    kernel, stride, second = (
        _plain(record[f"{name}_h"], record[f"{name}_w"]) for name in ("kernel", "stride", "second")
    )
    layer = own(
        kind, height, width, cin, record["cexp"], record["cout"], kernel, stride, bool(flags & fmt.FLAG_EXPAND),
        bool(flags & fmt.FLAG_RESIDUAL), "none" if flags & fmt.FLAG_SIGNED else "relu6",
        second=second if kind == "block" else 1,
    )  # fmt: skip
    pads = tuple(record[f"pad_{side}"] for side in ("top", "bottom", "left", "right"))
    return layer if layer.pad == pads else replace(layer, pads=pads)


def _plain(height: int, width: int) -> int | tuple[int, int]:
    return height if height == width else (height, width)


def _readouts(info: BlobInfo, end: End, last: Layer) -> tuple[Readout, ...]:
    """The layers behind the tunnels, the first of which reads the map that the end makes of the tunnels' last ones."""
    readouts: list[Readout] = []
    layers: list[Layer] = []
    shape = (*end.joined(last), last.cout)
    for record in info.layers[info.header["layers"] :]:
        layer = _shape(record, *shape)
        if record["flags"] & fmt.FLAG_HEAD:
            readouts.append(Readout(tuple(layers), layer))
            layers = []
            continue
        layers.append(layer)
        shape = layer.oh, layer.ow, layer.cout
    return tuple(readouts)


def _from_record(kind: type, record: dict):
    """A dataclass whose fields are some of a record's."""
    return kind(**{f.name: record[f.name] for f in fields(kind)})


def _step(record: dict) -> Step:
    step: Step = _from_record(Step, record)
    narrow, as_bytes = NARROW * bool(record["flags"] & fmt.FLAG_NARROW), AS_BYTES * _as_bytes(record)
    return replace(step, mode=step.mode | narrow | as_bytes)


def _as_bytes(record: dict) -> bool:
    return record["mode"] in FAST_MODES and bool(record["flags"] & fmt.FLAG_BYTES)


def blob_plan(info: BlobInfo) -> Plan:
    """The plan that a blob carries."""
    segments = tuple(_from_record(Segment, record) for record in info.segments)
    steps = tuple(map(_step, info.layers))
    fields_ = info.header | info.record
    places = {name: fields_[name] for name in record_of(info.task).end(info).areas}
    return Plan(info.header["arena_bytes"], places, segments, steps)


def orders(layers: Sequence[Layer], plan: Plan, flags: Sequence[int]) -> list[Order]:
    """In which order each layer's arrays are."""
    out: list[Order] = []
    for segment in plan.segments:
        stop = segment.first + segment.layers
        columns = segment.strip < layers[stop - 1].oh
        for step, bits in zip(plan.steps[segment.first : stop], flags[segment.first : stop], strict=True):
            fast = step.mode in FAST_MODES
            turned = columns if fast else bool(bits & fmt.FLAG_COLUMNS)
            out.append(Order(step.group, turned, fast, not fast and bool(bits & fmt.FLAG_PAIRS)))
    return out


# ---------------------------------------------------------------- integers


def layer_of(blob: bytes, s: Layer, order: Order, param: dict) -> QLayer:
    shift, zero_out, res_mult = param["shift"], param["zero_out"], param["res_mult"]
    wide_shifts = param["shift_1"], param["shift_2"]
    if order.fast:
        arrays = order_of.from_bytes(blob, param["weight_off"], s, order)
        return QBottleneck(s, *arrays, shift, zero_out, res_mult, *wide_shifts)
    take = Arrays(blob, param["weight_off"])
    if s.kind == "conv":
        return QConv(s, take.kernels(s.cout, s.kh, s.kw, s.cin, order), shift, zero_out)
    if s.kind in CASTS:
        return QCast(s, zero_out)
    if s.kind in POOLS:
        return QPooling(s, zero_out, int(take.take("<i4", 1)[0]) if s.kind == "meanpool" else 0, shift)
    if s.kind == "block":
        first = take.kernels(s.cexp, s.kh, s.kw, s.cin, order)
        second = take.kernels(s.cout, *pair(s.second), s.cexp, order)
        shortcut = take.kernels(s.cout, 1, 1, s.cin, order) if s.expand else None
        shortcut = None if shortcut is None else replace(shortcut, weight=shortcut.weight.reshape(s.cout, s.cin))
        ends = param["shift_1"], param["zero_mid"], shift, zero_out, res_mult, param["shift_2"], param["zero_add"]
        return QBlock(s, first, second, shortcut, *ends)
    expand = take.dense(s.cexp, s.cin) if s.expand else None
    depthwise = take.scaled(s.cexp, (s.kh, s.kw, s.cexp), (2, 0, 1))
    project = take.scaled(s.cout, (s.cexp, s.cout), (1, 0))
    return QBottleneck(s, expand, depthwise, project, shift, zero_out, res_mult, *wide_shifts)


def blob_qnet(blob: bytes, name: str) -> QNet:
    """The integers of a blob. `output_scale` and `std` are the header's, rounded to float32."""
    info = read(blob)
    h, network = info.header, blob_network(info, name)
    if network.value_bytes > 1:
        raise ValueError(f"{name}: wanted a network of integers, got a float32 one")
    order = orders(network.run(), blob_plan(info), [record["flags"] for record in info.layers])
    n = h["tunnels"] * len(network.chain) + len(network.tail())
    return qnet_of(blob, info, network, order, fmt.PARAM.unpack_all(blob, h["param_off"], n))


def qnet_of(
    blob: bytes,
    info: BlobInfo,
    network: Network,
    order: Sequence[Order],
    params: Sequence[dict],
    take: Callable[[bytes, Layer, Order, dict], QLayer] = layer_of,
) -> QNet:
    """`params` are those of all chains, and `take` reads what one of them tells of."""
    n, tunnels = len(network.chain), info.header["tunnels"]

    def chain(tunnel: int, shapes: list[Layer], order: Sequence[Order]) -> tuple[QLayer, ...]:
        own = params[tunnel * n : tunnel * n + len(shapes)]
        return tuple(take(blob, *layer) for layer in zip(shapes, order, own, strict=True))

    chains = tuple(chain(tunnel, network.layers(), order[:n]) for tunnel in range(tunnels))
    behind = chain(tunnels, network.tail(), order[n:])
    end = record_of(info.task).q_end(blob, info, network)
    return QNet(network, _input_zeros(info.header), chains, end, behind)


def _input_zeros(header: dict) -> tuple[int, ...]:
    """Of each channel of a picture, or one of an input that is none."""
    return header["input_zero"][: header["channels"] if header["channels"] in (1, 3) else 1]
