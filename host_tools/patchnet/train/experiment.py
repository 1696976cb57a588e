"""Everything that a training depends on: one TOML file per experiment."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from .. import rooms
from ..data import Dataset, load, readable
from ..net.network import Network
from ..net.recipe import PatchTunnels
from ..net.toml import (
    from_dict,
    known,
    plain,
    read_experiment,
    recipe_from_dict,
    recipe_to_dict,
    tuples,
    write_toml,
)
from ..words import apart, meant


class NoNumber(ValueError):
    """The loss, or a weight, is no number: the network, or how it was trained, is to blame, and no file."""


EXPERIMENTS = Path(__file__).parent.parent / "experiments"


@dataclass(frozen=True)
class Experiment:
    """Everything that a training depends on: the keys of one TOML file."""

    name: str
    """What the network is called; its run is `runs/<task>/<name>`."""
    network: Network
    """Its table."""
    train: str
    """The data set to learn from: a path, or a name that is looked for in the folders of data sets."""
    test: str = ""
    """The data set to test with when the training is over; chooses nothing."""
    validation: Annotated[float, "0 or more, less than 1"] | str = 0.1
    """What the training is watched by: a part of `train`, which is held out, by name: the same pictures in every
    experiment; or a data set of its own, as for `train`."""
    init: str = ""
    """What to begin with: `"lite0"`, a run, a network that comes with patchnet, or a file of weights; `""`: nothing.
    Its tunnels' weights are taken where shapes agree."""
    epochs: Annotated[int, "1 to 1000000"] = 30
    """How many times all of `train` is seen, at most."""
    minutes: Annotated[float, "0 to 1000000"] = 0.0
    """More than 0: the training ends when they are over, if `epochs` are not done by then, with a learning rate that
    has come to its end too."""
    batch: Annotated[int, "1 to 1000000"] = 64
    """Pictures or clips in a step, however many processes share them."""
    accumulate: Annotated[int, "1 to 1000000"] = 1
    """More than 1: a step takes its batch in so many equal parts, one after the other, for which less memory will do.
    Norms, and losses of boxes, then count what is in a part."""
    optimizer: Annotated[str, "adamw or sgd"] = "adamw"
    """By which rule weights are moved."""
    lr: Annotated[float, "more than 0, at most 1000"] = 2e-3
    """Learning rate after the warm-up; from there it falls to 0 as a cosine."""
    weight_decay: Annotated[float, "0 to 1000"] = 0.02
    """Of dense weights; norms, biases and depthwise weights have none."""
    warmup: Annotated[float, "0 to 1"] = 0.03
    """Part of all steps in which the learning rate rises to `lr`."""
    smoothing: Annotated[float, "0 or more, less than 1"] = 0.0
    """Label smoothing: that share of what is to be answered is spread over all classes."""
    ema: Annotated[float, "0 or more, less than 1"] = 0.999
    """Decay of the moving average of the weights, which is what is kept."""
    crop: tuple[Annotated[float, "0 to 1"], Annotated[float, "0 to 1"]] = (0.3, 1.0)
    """Least and most of a picture's area that is cut out at random."""
    aspect: Annotated[float, "1 to 100"] = 1.33
    """By what factor a cut's sides, against each other, may differ from the picture's at most."""
    whole: Annotated[float, "0 to 1"] = 0.0
    """Part of the pictures that are not cut."""
    via: Annotated[int, "0 to 4096"] = 0
    """More than 0: half of the pictures are shrunk through that many pixels, as if they had been smaller."""
    enlarge: Annotated[str, "bilinear or box"] = "bilinear"
    """How cuts that are too small are enlarged: `"bilinear"`, or `"box"`, as the engine does it with small pictures."""
    flip: bool = True
    """Half of the pictures are mirrored left to right."""
    colour: Annotated[float, "0 to 10"] = 0.3
    """How much brightness, contrast, saturation and white balance vary; 0: not at all."""
    mixup: Annotated[float, "0 to 100"] = 0.0
    """More than 0: pictures and labels are blended in pairs; alpha of the beta distribution of the shares. For sets of
    class labels, as `cutmix`."""
    cutmix: Annotated[float, "0 to 100"] = 0.0
    """More than 0: a box of each picture is another one's, and so much of its label; alpha of the beta distribution of
    what stays. With `mixup`, too, each batch has one of both."""
    mosaic: Annotated[float, "0 to 1"] = 0.0
    """Sets of boxes: part of the pictures that are made of cuts of four."""
    extra: str = ""
    """Sets of boxes: a set of class labels from which half of the other three pictures of a mosaic come. Sets of class
    labels with a `teacher`: pictures of other classes, of which the teacher alone tells what they are."""
    auxiliary: Annotated[float, "0 to 1000000"] = 0.0
    """Sets of boxes, networks that classify: weight of the loss of the classes that are in each cell of the tunnels'
    last maps; learnt beside, not kept."""
    tied: bool = False
    """Tunnels learn the same weights, which few pictures may ask for; the file holds them once."""
    evaluate_every: Annotated[int, "1 to 1000000"] = 1
    """Epochs from one look at the held-out part to the next."""
    precision: Annotated[str, "float32, bfloat16 or float16"] = "float32"
    """In what layers compute; weights, norms and losses are float32 in any case. `"float16"` wants a GPU."""
    device: Annotated[str, "cpu or cuda"] = "cpu"
    """On what is trained: `"cuda"` is a GPU for each process."""
    tensorboard: bool = False
    """Also write TensorBoard's files."""
    seed: Annotated[int, "0 to 1000000000"] = 1
    """Of all random numbers."""
    options: Any = None
    """What only networks of this task have, keys of the same TOML table: a dataclass of the task's room."""
    source: dict = field(default_factory=dict, compare=False)
    """The network as the file says it, a recipe or its layers."""


def load_experiment(path_or_name: str | Path, **overrides) -> Experiment:
    """An Experiment from a TOML file, or by the name of a shipped one. ValueError names unknown keys."""
    path = Path(path_or_name)
    if not path.is_file():
        path = EXPERIMENTS / f"{path_or_name}.toml"
    if not path.is_file():
        shipped = sorted(p.stem for p in EXPERIMENTS.glob("*.toml"))
        papers = [f"paper/{p.stem}" for p in EXPERIMENTS.glob("paper/*.toml")]
        near = meant(str(path_or_name), [*shipped, *papers])
        raise FileNotFoundError(
            f"no experiment {str(path_or_name)!r} ({near}no such file; shipped: {', '.join(shipped)})"
        )
    values = {**read_experiment(path), **overrides}
    for key in ("name", "network"):
        if key not in values:
            raise ValueError(f"{path}: {key!r} is missing")
    if not isinstance(values["network"], dict):
        raise ValueError(f"{path}: network: wanted a table, got {values['network']!r}")
    try:
        network = from_dict({"name": values["name"], **values["network"]})
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None
    kind = options_of(network.task)
    names = {f.name for f in fields(kind)}
    own = known(kind, {k: v for k, v in values.items() if k in names}, str(path))
    rest = _without_others({k: v for k, v in values.items() if k not in names})
    if misplaced := rest.keys() & {f.name for f in fields(PatchTunnels)} - {f.name for f in fields(Experiment)}:
        raise ValueError(f"{path}: {min(misplaced)}: stands in the table [network]")
    known(Experiment, rest, str(path), ("options", "source"), tuple(sorted(names)))
    rest |= {"network": network, "options": kind(**tuples(own)), "source": values["network"]}
    made = Experiment(**tuples(rest))
    check(made, str(path))
    return made


def check(e: Experiment, where: str) -> None:
    """ValueError names values that do not go together, or a name that is none of a file."""
    if not e.name.strip(". ") or "/" in e.name or "\\" in e.name:
        raise ValueError(f"{where}: name: wanted a name without slashes, got {e.name!r}")
    if not 0 < e.crop[0] <= e.crop[1]:
        raise ValueError(f"{where}: crop: wanted two parts of the area, 0 < least <= most <= 1, got {list(e.crop)}")
    if e.precision == "float16" and e.device == "cpu":
        raise ValueError(f"{where}: precision: wanted float32 or bfloat16, as device is cpu, got 'float16'")


def options_of(task: str) -> type:
    """The dataclass of what only experiments of this task have."""
    return rooms.part(task, "training").TRAINING.options


def _without_others(values: dict) -> dict:
    """Without keys that only other tasks have: `config.toml` of older runs has all of them."""
    own = {f.name for f in fields(Experiment)}
    for other in rooms.TASKS if values.keys() - own else ():
        values = {k: v for k, v in values.items() if k in own or k not in {f.name for f in fields(options_of(other))}}
    return values


def to_toml(experiment: Experiment) -> str:
    """With all that a recipe takes for granted, so that a run stays what it was when defaults change."""
    values = asdict(experiment)
    options, source = values.pop("options"), {"name": experiment.name, **values.pop("source")}
    network = source if "chain" in source else recipe_to_dict(recipe_from_dict(source))
    return write_toml({**values, **options, "network": plain(network)})


def is_held(dataset: Dataset, part: float) -> np.ndarray:
    """Which items are held out."""
    return np.array([zlib.crc32(name.encode()) % 10000 < part * 10000 for name in dataset.names], bool)


def held_out(dataset: Dataset, part: float | str) -> tuple[Dataset, Dataset]:
    """(what is learnt from, what is held out): by a checksum of the picture's name, hence equal in every run; or all
    of it, and the set `part`. ValueError if that has other classes."""
    if isinstance(part, str):
        other = readable(load(part))
        if other.classes != dataset.classes:
            wanted, got = apart(dataset.classes, other.classes)
            raise ValueError(f"{part}: wanted the classes {wanted}, got {got}")
        return dataset, other
    inside = is_held(dataset, part)
    return dataset.take(np.flatnonzero(~inside)), dataset.take(np.flatnonzero(inside))
