"""A network of someone else's becomes a run, and is compared with its original.

The run is a folder as `train` and `quantize` leave one, with the integers (qnet.npz), the blob (NAME.pnb) and a copy of
the file (source.tflite, source.onnx), by which it can be asked what it says itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..blob import qnet_file
from ..blob.files import SOURCES, Packed, pack_file
from ..blob.quantized import QNet
from ..data import load, load_inputs
from ..importers.exact import exact
from ..importers.graph import Imported
from ..importers.match import match
from ..importers.read import read
from ..importers.real import Pixels, real
from ..progress import Track, no_track
from ..whole import whole_folder, write_bytes, write_text

TOLD = "import.json"  # what was imported, and what there is to know of it
GIVEN = "labels.txt"  # the labels that were given with it
OWN = ("*.pnb", "*.npz", "source.*", GIVEN)  # of an earlier import, to be replaced


@dataclass(frozen=True)
class Calibration:
    """How integers are chosen for a network in real numbers: by `pictures` of a data set, evenly spread, and then
    `tune` epochs of fine-tuning towards the network's own answers to them. `ram`: bytes of an arena for which some maps
    have 4 bits; `flash`, `cycles`: of a blob and of a picture, for which inner channels are left out."""

    data: str
    pictures: int = 64
    tune: int = 0
    ram: int | None = None
    flash: int | None = None
    cycles: int | None = None


@dataclass(frozen=True)
class Run:
    """What `import_file` made: the run's folder, the task, what the user should know, the blob."""

    run: str
    task: str
    notes: tuple[str, ...]
    packed: Packed


def labels_of(path: str | Path) -> tuple[str, ...]:
    """The lines of a text file (.txt), without empty ones at its end; or the classes of a data set."""
    if Path(path).suffix.lower() != ".txt":
        return load(path).classes
    try:
        lines = Path(path).read_text("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: wanted a text file of labels, a line each") from None
    return tuple(line.strip() for line in lines)


def import_file(
    file: str | Path,
    out: str | Path | None = None,
    *,
    name: str = "",
    labels: tuple[str, ...] = (),
    calibration: Calibration | None = None,
    pixels: Pixels | None = None,
    family: str = "",
    config: str | Path | None = None,
    budget: int | None = None,
    track: Track = no_track,
    tried: Callable[[Path], object] = lambda _run: None,
) -> Run:
    """Makes a run of a file. `name`: of the network, by default the file's. `out`: its folder, by default
    runs/<task>/<name>.

    Integers are taken as they are, if the file has some; with `calibration` they are chosen anew. `pixels`: what a
    picture's pixels are to a network in real numbers. `family`, `config`: what a file of PyTorch's weights is of.
    graph.Unsupported has everything that is in the way. `budget`: arena of the blob. `tried` is called with a folder
    that has all the run's files, before they are in their place: what is refused, there or earlier, leaves no file, and
    an earlier import as it was.
    """
    graph, prepared = read(file, family, config)
    matched = replace(match(graph, labels, calibration is not None), name=name or Path(file).stem)
    if pixels and (matched.input.scale or not matched.picture):
        raise ValueError(f"--pixels: has no effect with {file}: its input is no picture in real numbers")
    if pixels and not {len(pixels.mean), len(pixels.std)} <= {1, matched.input.c}:
        raise ValueError(f"--pixels: wanted one value, or one for each channel, of which {file} has {matched.input.c}")
    pixels = pixels or prepared
    imported = exact(matched) if calibration is None else real(matched, pixels)
    network = imported.network
    folder = Path(out) if out else Path("runs") / network.task / network.name
    claim(folder)
    with whole_folder(folder, OWN) as beside:
        qnet = imported.qnet if calibration is None else calibrated(imported, calibration, beside)
        qnet_file.save(qnet, beside / "qnet.npz")
        keep(Path(file), beside, imported.notes, calibration, {"name": network.name, "pixels": str(pixels or "")})
        if labels:
            write_text(beside / GIVEN, "".join(f"{label}\n" for label in labels))
        packed = pack_file(beside, budget=budget, track=track)
        tried(beside)
    packed = replace(packed, path=str(folder / Path(packed.path).name))
    return Run(str(folder), network.task, tuple(imported.notes), packed)


def claim(folder: Path) -> None:
    """ValueError unless the folder is new, or that of an earlier import."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / TOLD).is_file():
        raise ValueError(f"{folder}: wanted a new folder, or that of an earlier import (-o names another)")


def calibrated(imported: Imported, calibration: Calibration, folder: Path) -> QNet:
    """Integers for a network in real numbers, which are saved in the run as float.npz."""
    from ..train import quantize  # imported here: torch takes seconds to start, and may not be installed
    from ..train.imported import float_model  # imported here: for the same reason
    from ..train.modules import save_float  # imported here: for the same reason
    from ..train.prune import Limits  # imported here: for the same reason

    network, model = imported.network, float_model(imported)
    save_float(model, folder / "float.npz")
    inputs = quantize.inputs_of(network, load_inputs(calibration.data, calibration.pictures))
    net = quantize.calibrated_for(model, inputs, Limits(calibration.ram, calibration.flash, calibration.cycles))
    if calibration.tune:
        quantize.fine_tune_towards(net, model, inputs, calibration.tune)
    return net.quantized()


def pixels_of(original: Path) -> Pixels | None:
    """What pixels are to a run's original, if that was said when it was imported."""
    told = original.with_name(TOLD)
    kept = json.loads(told.read_text()).get("pixels") if told.is_file() else ""
    return Pixels.named(kept) if kept else None


def keep(file: Path, folder: Path, notes: list[str], calibration: Calibration | None, how: dict[str, str]) -> None:
    """What was imported: a copy of a file that has an interpreter, and a few words on it."""
    if file.suffix.lower() in SOURCES:
        write_bytes(folder / f"source{file.suffix.lower()}", file.read_bytes())
    told = {"file": file.name, **how, "calibration": None if calibration is None else vars(calibration), "notes": notes}
    write_text(folder / TOLD, json.dumps(told, indent=1) + "\n")
