"""A QNet as one .npz file without pickles: integer arrays by name, everything else as JSON. Needs no torch."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..net.design import Layer, Network, from_dict, to_dict
from .quantized import QBottleneck, QConv, QDetect, QNet, QPool, QScale, Scaled


def save(qnet: QNet, path: str | Path) -> None:
    """Writes `chain.layer.part.{weight,bias,mult}` arrays, `fc.…`, and the JSON text `meta`.

    The chains are the tunnels and, of a detection network, the tail: every scale's layers, then its head.
    """
    arrays = {f"fc.{k}": v for k, v in vars(qnet.fc).items()} if qnet.fc else {}
    scalars = []
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
        "pool": asdict(qnet.pool) if qnet.pool else None,
        "detect": {k: v for k, v in vars(qnet.detect).items() if k != "scales"} if qnet.detect else None,
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

    def chain(t: int, shapes: list[Layer]) -> tuple[QConv | QBottleneck, ...]:
        scalars = meta["layers"][t]
        return tuple(layer(f"{t}.{i}", *of) for i, of in enumerate(zip(shapes, scalars, strict=True)))

    n, detect = network.tunnels, meta.get("detect")
    return QNet(
        network,
        tuple(meta["input_zero"]),
        tuple(chain(t, network.layers()) for t in range(n)),
        QPool(**meta["pool"]) if meta["pool"] else None,
        part("fc") if meta["pool"] else None,
        meta["fc_shift"],
        meta["fc_zero_out"],
        meta["output_scale"],
        _detect(network, chain(n, network.tail()), detect) if detect else None,
    )


def _detect(network: Network, tail: tuple[QConv | QBottleneck, ...], meta: dict) -> QDetect:
    scales, at = [], 0
    for scale in network.scales():
        head = at + len(scale.layers)
        scales.append(QScale(tail[at:head], tail[head]))
        at = head + 1
    return QDetect(tuple(scales), **meta)
