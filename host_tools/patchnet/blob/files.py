"""Networks as files: which file a name means, and from a qnet.npz to a blob on disk."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from numpy.lib.npyio import NpzFile

from ..engine.model import Model
from ..models import names, resolve
from ..net.network import Network
from ..net.toml import from_dict
from ..npz import npz
from ..plan.choice import plan
from ..progress import Track, no_track, planning
from ..whole import write_bytes
from ..words import meant, some
from . import qnet_file, vector
from .order import fast_layers
from .pack import pack
from .unpack import blob_network, read, read_blob

SOURCES = (".tflite", ".onnx")  # what an imported network was, and is kept beside it as source.tflite, source.onnx


def model_file(model: str | Path, on: str) -> Path:
    """The file of `model` (shipped name, .pnb, .npz or run directory) that an engine reads: a blob, or for "float" the
    trained weights and for "source" the original, which for a blob lie beside it. FileNotFoundError tells what was
    looked for."""
    path = resolve(model)
    if on == "source":
        looked = [(path if path.is_dir() else path.parent) / f"source{ending}" for ending in SOURCES]
    elif path.is_dir():
        looked = [path / "float.npz"] if on == "float" else sorted(path.glob("*.pnb")) or [path / "*.pnb"]
    elif on == "float" and path.suffix == ".pnb":
        looked = [path.with_suffix(".npz"), path.parent / "float.npz"]
    else:
        looked = [path]
    found = [p for p in looked if p.is_file()]
    if not found:
        wanted = {"float": "trained weights", "source": "original of an imported network"}.get(on, "network")
        shipped = ", ".join(names()) or "none"
        near = "" if str(model) in names() else meant(str(model), names())
        raise FileNotFoundError(
            f"no {wanted} {', '.join(map(str, looked))} ({near}networks with a bare name: {shipped})"
        )
    if on == "source":
        return found[0]
    if len(found) > 1 and on != "float":
        raise ValueError(f"{model}: holds {len(found)} blobs, name one: {some(p.name for p in found)}")
    if on != "float" and found[0].suffix != ".pnb":
        raise ValueError(f"{model}: wanted a .pnb blob to run on {on}, got {found[0].name}")
    return found[0]


def network_of(path: Path) -> Network:
    """The network of a blob that the engine accepts, of trained weights, or of the original in an imported run."""
    if path.suffix == ".pnb":
        return blob_network(read(read_blob(path)), path.stem)
    if path.suffix in SOURCES:
        return qnet_file.load(path.parent / "qnet.npz").design
    with npz(path) as z:
        return network_in(z, path)


def network_in(weights: NpzFile, path: Path) -> Network:
    """The network that trained weights (float.npz) are of. ValueError for another archive."""
    if "network" not in weights:
        raise ValueError(f"{path}: wanted trained weights (float.npz), got an .npz with {some(weights.files)}")
    return from_dict(json.loads(str(weights["network"])))


@dataclass(frozen=True)
class Packed:
    """A blob on disk that the engine has opened: its path, bytes of flash and of arena (m.ram). `streamed`: m.ram as a
    file that is streamed, if it was packed for that."""

    path: str
    blob_bytes: int
    ram: int
    streamed: int | None = None


def pack_file(
    qnet: str | Path,
    out: str | Path | None = None,
    budget: int | None = None,
    track: Track = no_track,
    wide: bool = False,
    stream: int | None = None,
) -> Packed:
    """Packs a qnet.npz (or the run directory that holds one) with the best plan within `budget` bytes of arena, or with
    the planner's own choice. `wide`: with weights of 16 bits where that pays (`pack.pack`). `stream`: with a plan for
    weights that are read from a file, through a buffer of so many bytes.

    The blob is written to `out`, by default `<network's name>.pnb` beside the .npz, and opened once by the engine;
    beside it a test vector for boards (see vector).
    """
    if wide and stream is not None:
        raise ValueError("--wide doubles what is read from a file: not with --stream")
    path = Path(qnet)
    path = path / "qnet.npz" if path.is_dir() else path
    if path.exists() and not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: wanted a qnet.npz, as `patchnet quantize` writes it")
    try:
        net = qnet_file.load(path)
    except KeyError as e:
        raise ValueError(f"{path}: wanted a qnet.npz, as `patchnet quantize` writes it, this one has no {e}") from None
    fast = fast_layers(net)
    progress = planning(track, net.design.name)
    blob = pack(net, plan(net.design, budget, fast=fast, buffer=stream, progress=progress), wide)
    out = Path(out) if out else path.parent / f"{net.design.name}.pnb"
    write_bytes(out, blob)
    vector.save(out)
    streamed = None if stream is None else Model(str(out), stream=stream).ram
    return Packed(str(out), len(blob), Model(str(out)).ram, streamed)
