"""A QNet as one .npz file without pickles: integer arrays by name, everything else as JSON. Needs no torch."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from .design import Layer, from_dict, to_dict
from .quantized import QBottleneck, QConv, QNet, QPool, Scaled


def save(qnet: QNet, path: str | Path) -> None:
    """Writes `tunnel.layer.part.{weight,bias,mult}` arrays, `fc.…`, and the JSON text `meta`."""
    arrays = {f"fc.{k}": v for k, v in vars(qnet.fc).items()}
    scalars = []
    for t, tunnel in enumerate(qnet.tunnels):
        scalars.append([])
        for i, layer in enumerate(tunnel):
            parts = {name: value for name, value in vars(layer).items() if isinstance(value, Scaled)}
            arrays |= {f"{t}.{i}.{name}.{k}": v for name, part in parts.items() for k, v in vars(part).items()}
            scalars[t].append({name: value for name, value in vars(layer).items() if isinstance(value, int)})
    meta = {
        "design": to_dict(qnet.design),
        "input_zero": qnet.input_zero,
        "layers": scalars,
        "pool": asdict(qnet.pool),
        "fc_shift": qnet.fc_shift,
        "fc_zero_out": qnet.fc_zero_out,
        "output_scale": qnet.output_scale,
    }
    np.savez_compressed(path, meta=json.dumps(meta), **arrays)


def load(path: str | Path) -> QNet:
    """The QNet in a file that `save` wrote. KeyError names an array that is missing."""
    with np.load(path, allow_pickle=False) as npz:
        arrays = {name: npz[name] for name in npz.files}
    meta = json.loads(str(arrays.pop("meta")))
    network = from_dict(meta["design"])

    def part(name: str) -> Scaled:
        return Scaled(*(arrays[f"{name}.{k}"] for k in ("weight", "bias", "mult")))

    def layer(where: str, shape: Layer, scalars: dict) -> QConv | QBottleneck:
        if shape.kind == "conv":
            return QConv(shape, part(f"{where}.conv"), **scalars)
        expand = part(f"{where}.expand") if shape.expand else None
        return QBottleneck(shape, expand, part(f"{where}.depthwise"), part(f"{where}.project"), **scalars)

    shapes = network.layers()
    tunnels = tuple(
        tuple(layer(f"{t}.{i}", shapes[i], scalars) for i, scalars in enumerate(chain))
        for t, chain in enumerate(meta["layers"])
    )
    return QNet(
        network,
        tuple(meta["input_zero"]),
        tunnels,
        QPool(**meta["pool"]),
        part("fc"),
        meta["fc_shift"],
        meta["fc_zero_out"],
        meta["output_scale"],
    )
