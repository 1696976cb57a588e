"""A QNet as one .npz file without pickles: integer arrays by name, everything else as JSON. Needs no torch."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np

from ..net.layers import CASTS, POOLS, Layer
from ..net.toml import from_dict, to_dict
from ..npz import npz
from ..whole import whole
from .quantized import QBlock, QBottleneck, QCast, QConv, QLayer, QNet, QPooling, Scaled
from .unpack import record_of

CLASSES: dict[str, type] = {"conv": QConv, "bottleneck": QBottleneck, "block": QBlock}
CLASSES |= dict.fromkeys(POOLS, QPooling) | dict.fromkeys(CASTS, QCast)
PARTS = {  # of a layer, that have arrays; those that it may lack are None then
    kind: tuple(f.name for f in fields(its) if "Scaled" in str(f.type)) for kind, its in CLASSES.items()
}


def save(qnet: QNet, path: str | Path, how: dict[str, float] | None = None) -> None:
    """Writes `chain.layer.part.{weight,bias,mult}` arrays, the end's arrays, and the JSON text `meta`; `how`: the
    options of `patchnet quantize` that it was made with.

    The chains are the tunnels and, where layers follow them, those.
    """
    end = record_of(qnet.design.task).values(qnet)
    arrays = {name: value for name, value in end.items() if isinstance(value, np.ndarray)}
    scalars: list[list[dict]] = []
    for t, chain in enumerate(qnet.chains()):
        scalars.append([])
        for i, layer in enumerate(chain):
            parts = {name: value for name, value in vars(layer).items() if isinstance(value, Scaled)}
            arrays |= {f"{t}.{i}.{name}.{k}": v for name, part in parts.items() for k, v in vars(part).items()}
            scalars[t].append({name: value for name, value in vars(layer).items() if isinstance(value, int)})
    meta = {
        "design": to_dict(qnet.design),
        "input_zero": qnet.input_zero,
        "layers": scalars,
        "how": how or {},
        **{name: value for name, value in end.items() if name not in arrays},
    }
    with whole(path) as beside, beside.open("wb") as file:
        np.savez_compressed(file, meta=json.dumps(meta), **arrays)  # type: ignore[arg-type]  # to the stub, any name may be allow_pickle


def how_made(path: str | Path) -> dict[str, float]:
    """What `save` was told of how; empty if nothing."""
    with npz(path) as z:
        return json.loads(str(z["meta"])).get("how", {})


def load(path: str | Path) -> QNet:
    """The QNet in a file that `save` wrote. KeyError names an array that is missing."""
    with npz(path) as z:
        arrays = {name: z[name] for name in z.files}
    meta = json.loads(str(arrays.pop("meta")))
    network = from_dict(meta["design"])

    def part(name: str) -> Scaled:
        return Scaled(*(arrays[f"{name}.{k}"] for k in ("weight", "bias", "mult")))

    def layer(where: str, shape: Layer, scalars: dict) -> QLayer:
        names = PARTS[shape.kind]
        parts = {name: part(f"{where}.{name}") if f"{where}.{name}.bias" in arrays else None for name in names}
        return CLASSES[shape.kind](shape, **parts, **scalars)

    def chain(t: int, shapes: list[Layer]) -> tuple[QLayer, ...]:
        return tuple(layer(f"{t}.{i}", *of) for i, of in enumerate(zip(shapes, meta["layers"][t], strict=True)))

    n = network.tunnels
    behind = chain(n, network.tail()) if network.readouts else ()
    end = record_of(network.task).from_values(meta | arrays)
    tunnels = tuple(chain(t, network.layers()) for t in range(n))
    return QNet(network, tuple(meta["input_zero"]), tunnels, end, behind)
