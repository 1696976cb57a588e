"""Networks as files: which file a name means, and from a qnet.npz to a blob on disk."""

from __future__ import annotations

import json
import shlex
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from numpy.lib.npyio import NpzFile

from .. import format as fmt
from ..data import PICTURES, SOUNDS
from ..engine.model import Model
from ..models import FOLDER, names, resolve, weights
from ..net.network import Network
from ..net.toml import from_dict
from ..npz import npz
from ..plan.choice import plan
from ..plan.sources import Flash, Stream
from ..progress import Track, no_track, planning
from ..whole import write_bytes
from ..words import meant, some
from . import floats, old, qnet_file, vector
from .order import fast_layers
from .pack import pack
from .quantized import QNet
from .unpack import blob_network, blob_qnet, read, read_blob

FLOAT32_ENGINE = "float32-device"  # the engine here on a float32 network
FLOAT32 = ".float32.pnb"  # how the names of float32 networks end, beside those of integers

SOURCES = (".tflite", ".onnx")  # what an imported network was, and is kept beside it as source.tflite, source.onnx
FOREIGN = (*SOURCES, ".pt", ".pth", ".bin", ".safetensors")  # what `patchnet import` may take


def is_blob(path: Path) -> bool:
    """By its name, in capitals as FAT cards have it, too."""
    return path.suffix.lower() == ".pnb"


def model_file(model: str | Path, on: str) -> Path:
    """The file of `model` (shipped name, .pnb, .npz or run directory) that an engine reads: a blob, or for "float" the
    trained weights and for "source" the original, which for a blob lie beside it. FileNotFoundError tells what was
    looked for, ValueError what is there instead of it, and what to do with that."""
    path = resolve(model)
    if on == FLOAT32_ENGINE:
        if path.name.endswith(FLOAT32) and path.is_file():
            return path
        on = "float"
    if on == "source":
        looked = [(path if path.is_dir() else path.parent) / f"source{ending}" for ending in SOURCES]
    elif path.is_dir():
        looked = [path / "float.npz"] if on == "float" else blobs_in(path) or [path / "*.pnb"]
    elif on == "float" and is_blob(path):
        looked = [path.with_suffix(".npz"), path.parent / "float.npz"]
    else:
        looked = [path]
    found = [p for p in looked if p.is_file() and not (on == "float" and zipfile.is_zipfile(p) and is_quantized(p))]
    suffix = ".npz" if on == "float" else ".pnb"
    if on != "source" and path.exists() and not is_blob(path) and not (found and found[0].suffix.lower() == suffix):
        wanted = "trained weights (float.npz)" if on == "float" else "a network (.pnb)"
        raise ValueError(f"{model}: wanted {wanted} or a run with one, {what_is(path)}")
    if not found:
        wanted = {"float": "trained weights", "source": "original of an imported network"}.get(on, "network")
        have = [name for name in names() if on != "float" or weights(name).is_file()]
        shipped = ", ".join(have) or "none"
        near = "" if str(model) in names() else meant(str(model), have)
        places = ", ".join(f"{p} (has integers)" if p.is_file() else str(p) for p in looked)
        raise FileNotFoundError(f"no {wanted} {places} ({near}networks with a bare name: {shipped})")
    if on == "source":
        return found[0]
    if len(found) > 1 and on != "float":
        raise ValueError(f"{model}: holds {len(found)} blobs, name one: {some(p.name for p in found)}")
    return found[0]


def blobs_in(folder: Path) -> list[Path]:
    """Those of a run; float32 ones are for who names them, unless there is nothing else."""
    found = sorted(folder.glob("*.pnb"))
    return [path for path in found if not path.name.endswith(FLOAT32)] or found


def what_is(path: Path) -> str:
    """What lies there, where something else was wanted, and the command that goes on from it."""
    here = shlex.quote(str(path))
    if path.is_dir():
        return folder_is(path, here)
    ending = path.suffix.lower()
    if ending == ".npz":
        with npz(path) as z:
            kinds = {key for key in ("meta", "network", "classes") if key in z}
        if "network" in kinds:
            return f"this is trained weights: patchnet quantize {shlex.quote(str(path.parent))}"
        return (f"this is a network that is not packed yet: patchnet pack {here}" if "meta" in kinds else
                f"this is a data set: patchnet make {here} --ram 64K" if kinds else "this is another .npz")  # fmt: skip
    for endings, told in (
        ((".pnb",), f"this is a packed network: patchnet deploy {here}"),
        (FOREIGN, f"this is a network of another tool: patchnet import {here}"),
        ((".toml",), f"this is an experiment: patchnet train {here}"),
        (PICTURES, f"this is a picture: patchnet predict person {here}"),
        (SOUNDS, f"this is a sound: patchnet predict spoken-digits {here}"),
    ):
        if ending in endings:
            return told
    return "this is none"


def folder_is(path: Path, here: str) -> str:
    """The same of a folder: a run that is not done, a search, or data."""
    stages = {
        "*.pnb": f"this is a packed run: patchnet val {here} --data DATA",
        "make.json": "this is a run that is not done: the same `patchnet make` again goes on with it",
        "search.json": f"this is a search: patchnet search -o {here} --show",
        "qnet.npz": f"this is a run that is not packed yet: patchnet pack {here}",
        "float.npz": f"this is a trained run, not quantized yet: patchnet quantize {here}, then patchnet pack {here}",
        "config.toml": f"this is a run that is not trained yet: patchnet train {here}/config.toml --out {here}",
    }
    for pattern, told in stages.items():
        if any(path.glob(pattern)):
            return told
    endings = {file.suffix.lower() for file in path.rglob("*")}
    for kind, own in (("pictures", PICTURES), ("sounds", SOUNDS)):
        if endings & set(own):
            return f"this is a folder of {kind}: patchnet make {here} --ram 64K"
    return "this is a folder without one; `patchnet make` and `patchnet train` make runs"


def network_of(path: Path) -> Network:
    """The network of a blob that the engine accepts, of trained weights, or of the original in an imported run."""
    if is_blob(path):
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


def float_net(path: str | Path) -> floats.FloatNet:
    """The float32 network of trained weights (float.npz). ValueError where its task is none for that, or its input no
    picture."""
    with npz(path) as z:
        network = network_in(z, Path(path)).float32()
        arrays = {name: z[name] for name in z.files if name != "network"}
    if network.channels not in (1, 3):
        raise ValueError(f"{path}: float32: wanted an input of 1 or 3 channels, got {network.channels}")
    return floats.folded(network, arrays)


def pack_float32(
    model: str | Path, out: str | Path | None = None, budget: int | None = None, track: Track = no_track
) -> Packed:
    """Packs the trained weights of a run (or its float.npz, or a shipped network's) as they are, in float32. The blob
    is written to `out`, by default `<network's name>.float32.pnb` beside them, of a shipped network here."""
    path = model_file(model, "float")
    net = float_net(path)
    d = net.design
    blob = floats.pack(net, plan(d, budget, progress=planning(track, d.name)))
    folder = Path() if path.parent == FOLDER else path.parent
    return _written(Path(out) if out else folder / f"{d.name}{FLOAT32}", blob)


def _written(out: Path, blob: bytes) -> Packed:
    write_bytes(out, blob)
    vector.save(out)
    return Packed(str(out), len(blob), Model(str(out)).ram)


@dataclass(frozen=True)
class Packed:
    """A blob on disk that the engine has opened: its path, bytes of flash and of arena (m.ram). `streamed`: m.ram as a
    file that is streamed, if it was packed for that."""

    path: str
    blob_bytes: int
    ram: int
    streamed: int | None = None


def is_quantized(path: Path) -> bool:
    """Whether it is a qnet.npz. ValueError for one that is damaged."""
    if path.suffix != ".npz" and not zipfile.is_zipfile(path):
        return False
    with npz(path) as z:
        return "meta" in z


def integers_of(model: str | Path) -> tuple[Path, QNet]:
    """A network's integers, and the file that they are in: a run's qnet.npz, or a packed network, also a shipped one by
    its bare name."""
    path = resolve(model)
    if is_blob(path) and path.is_file():
        return path, blob_qnet(read_blob(path), path.stem)
    file = path / "qnet.npz" if path.is_dir() else path
    wanted = f"{path}: wanted a qnet.npz, as `patchnet quantize` writes it, or a packed network"
    if path.exists() and (not file.is_file() or not is_quantized(file)):
        raise ValueError(f"{wanted}, {what_is(path)}")
    if not file.is_file():
        raise FileNotFoundError(f"no {file} (packed networks with a bare name: {', '.join(names())})")
    try:
        return file, qnet_file.load(file)
    except KeyError as e:
        raise ValueError(f"{wanted}, this one has no {e}") from None


def place_of(file: Path, net: QNet) -> Path:
    """Where a plan for the integers of `file` goes unless told: beside them, for a shipped network here. ValueError if
    that is the file itself."""
    if file.parent == FOLDER:
        here = Path(f"{net.design.name}.pnb")
        if here.exists():
            raise ValueError(f"{here}: is there already: -o FILE.pnb tells where the shipped network's plan goes")
        return here
    out = file.parent / f"{net.design.name}.pnb"
    if out == file:
        raise ValueError(f"{file}: is packed: -o FILE.pnb tells where the same network by another plan goes")
    return out


def pack_file(
    qnet: str | Path,
    out: str | Path | None = None,
    budget: int | None = None,
    track: Track = no_track,
    stream: int | None = None,
    flash: Flash | None = None,
) -> Packed:
    """Packs a qnet.npz (or the run directory that holds one; a packed network anew) with the best plan within `budget`
    bytes of arena, or with the planner's own choice. `stream`: with a plan for weights that are read from a file,
    through a buffer of so many bytes, `flash` with one for a blob that lies there.

    The blob is written to `out`, by default `<network's name>.pnb` beside the .npz (of a shipped network here), and
    opened once by the engine; beside it a test vector for boards (see vector).
    """
    file, net = integers_of(qnet)
    to = Path(out) if out else place_of(file, net)
    fast = fast_layers(net)
    progress = planning(track, net.design.name)
    source = flash if stream is None else Stream(stream)
    found = plan(net.design, budget, fast=fast, source=source, progress=progress)
    packed = _written(to, pack(net, found))
    return packed if stream is None else replace(packed, streamed=Model(packed.path, stream=stream).ram)


def convert_file(model: str | Path, out: str | Path | None = None, track: Track = no_track) -> Packed:
    """Packs the network of an old format's blob as today's, by the planner's own choice, to `out`, by default
    NAME-format<today's>.pnb beside it. ValueError for a blob that is no old one, or damaged."""
    path = model_file(model, "host")
    try:
        blob = old.converted(path.read_bytes(), path.stem, track)
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None
    return _written(Path(out) if out else path.with_name(f"{path.stem}-format{fmt.VERSION}.pnb"), blob)
