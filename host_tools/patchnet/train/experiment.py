"""Everything that a training depends on: one TOML file per experiment."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import rooms
from ..data import Dataset
from ..net.network import Network
from ..net.toml import (
    from_dict,
    known,
    plain,
    read_toml,
    recipe_from_dict,
    recipe_to_dict,
    tuples,
    write_toml,
)
from ..words import meant

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


@dataclass(frozen=True)
class Experiment:
    """Everything that a training depends on. `train` and `test` are data sets as `data.load` takes them.

    `validation` is the part of `train` held out by name (the same pictures in every experiment); `init` a run whose
    tunnels are the starting point, or a network that comes with patchnet. `minutes` > 0 ends a training when they
    are over, if `epochs` are not done by then, with a learning rate that has come to its end too. Augmentation:
    random crops of `crop` (min, max) of the area, sides stretched by up to `aspect`, a part `whole` of the pictures
    uncropped; `via` > 0 shrinks half of them through that many pixels; crops smaller than the network are enlarged
    "bilinear" or in "box"es, as the engine enlarges small pictures; `flip`; `colour` jitter; `mixup` (alpha of its
    beta distribution). Detection sets: a part `mosaic` of the pictures are made of crops of four, half of the other
    three from `extra`, a set of class labels, if there is one; `auxiliary` weighs the loss of the classes present
    in each cell of the tunnels' last maps. `tied` tunnels learn the same weights, which few pictures may ask for.

    `options` are what only networks of this task have, keys of the same TOML table: a dataclass of the task's room.
    `source` is the network as the file says it, a recipe or its layers.
    """

    name: str
    network: Network
    train: str
    test: str = ""
    validation: float = 0.1
    init: str = ""
    epochs: int = 30
    minutes: float = 0.0
    batch: int = 64
    optimizer: str = "adamw"
    lr: float = 2e-3
    weight_decay: float = 0.02
    warmup: float = 0.03
    smoothing: float = 0.0
    ema: float = 0.999
    crop: tuple[float, float] = (0.3, 1.0)
    aspect: float = 1.33
    whole: float = 0.0
    via: int = 0
    enlarge: str = "bilinear"
    flip: bool = True
    colour: float = 0.3
    mixup: float = 0.0
    mosaic: float = 0.0
    extra: str = ""
    auxiliary: float = 0.0
    tied: bool = False
    evaluate_every: int = 1
    tensorboard: bool = False
    seed: int = 1
    options: Any = None
    source: dict = field(default_factory=dict, compare=False)


def load_experiment(path_or_name: str | Path, **overrides) -> Experiment:
    """An Experiment from a TOML file, or by the name of a shipped one. ValueError names unknown keys."""
    path = Path(path_or_name)
    if not path.is_file():
        path = EXPERIMENTS / f"{path_or_name}.toml"
    if not path.is_file():
        shipped = sorted(p.stem for p in EXPERIMENTS.glob("*.toml"))
        near = meant(str(path_or_name), shipped)
        raise FileNotFoundError(
            f"no experiment {str(path_or_name)!r} ({near}no such file; shipped: {', '.join(shipped)})"
        )
    values = {**read_toml(path), **overrides}
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
    options = kind(**tuples(known(kind, {k: v for k, v in values.items() if k in names}, str(path))))
    rest = _without_others({k: v for k, v in values.items() if k not in names})
    known(Experiment, rest, str(path), ("options", "source"))
    made = replace(Experiment(**tuples({**rest, "network": network})), options=options, source=values["network"])
    check(made, str(path))
    return made


RANGES = {  # least, most, whether the ends may be
    "validation": (0, 1, "[)"), "epochs": (1, 10**6, "[]"), "minutes": (0, 10**6, "[]"), "batch": (1, 10**6, "[]"),
    "lr": (0, 1e3, "(]"), "weight_decay": (0, 1e3, "[]"), "warmup": (0, 1, "[]"), "smoothing": (0, 1, "[)"),
    "ema": (0, 1, "[)"), "aspect": (1, 100, "[]"), "whole": (0, 1, "[]"), "via": (0, 4096, "[]"),
    "colour": (0, 10, "[]"), "mixup": (0, 100, "[]"), "mosaic": (0, 1, "[]"), "auxiliary": (0, 1e6, "[]"),
    "evaluate_every": (1, 10**6, "[]"),
}  # fmt: skip


def check(e: Experiment, where: str) -> None:
    """ValueError names a value that is out of its range."""
    for name, (least, most, ends) in RANGES.items():
        value = getattr(e, name)
        inside = least < value < most or (value == least and ends[0] == "[") or (value == most and ends[1] == "]")
        if not inside:
            raise ValueError(f"{where}: {name}: wanted {ends[0]}{least}, {most}{ends[1]}, got {value}")
    if not 0 < e.crop[0] <= e.crop[1] <= 1:
        raise ValueError(f"{where}: crop: wanted two parts of the area, 0 < least <= most <= 1, got {list(e.crop)}")
    for name, choices in (("optimizer", ("adamw", "sgd")), ("enlarge", ("bilinear", "box"))):
        if getattr(e, name) not in choices:
            raise ValueError(f"{where}: {name}: wanted {' or '.join(choices)}, got {getattr(e, name)!r}")


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


def held_out(dataset: Dataset, part: float) -> tuple[Dataset, Dataset]:
    """(the rest, held-out part), chosen by a checksum of the picture's name, hence equal in every run."""
    inside = np.array([zlib.crc32(name.encode()) % 10000 < part * 10000 for name in dataset.names])
    return dataset.take(np.flatnonzero(~inside)), dataset.take(np.flatnonzero(inside))
