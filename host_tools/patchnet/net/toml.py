"""Networks and recipes as plain values, as they stand in TOML and JSON."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from .. import rooms
from ..ranges import fault, hints_of
from ..words import meant
from .layers import Layer
from .network import Network, Readout
from .recipe import PatchTunnels, Stage


def plain(value):
    """With lists for tuples, all the way down."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def known(kind: type, values: dict, where: str, but: tuple[str, ...] = (), more: tuple[str, ...] = ()) -> dict:
    """`values`, if its keys are fields of the dataclass `kind` (those of `but` are not), its values are of their types
    and in their ranges, and none that must be given is missing. `more`: names that are known elsewhere."""
    if not isinstance(values, dict):
        raise ValueError(f"{where}: wanted a table, got {values!r}")
    own = [f for f in fields(kind) if f.name not in but]
    names, hints = [*(f.name for f in own), *more], hints_of(kind)
    for key, value in values.items():
        if key not in names:
            raise ValueError(f"{where}: unknown key {key!r} ({meant(key, names)}known: {', '.join(names)})")
        if key not in more and (told := fault(value, hints[key])):
            raise ValueError(f"{where}: {key}: wanted {told}, got {value!r}")
    for f in own:
        if f.name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{where}: {f.name!r} is missing")
    return values


def tuples(values: dict) -> dict:
    """With tuples for its lists."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def stages(values: Iterable[dict]) -> tuple[Stage, ...]:
    return tuple(Stage(**known(Stage, stage, "stage")) for stage in values)


# ---------------------------------------------------------------- recipes


def recipe_to_dict(recipe: PatchTunnels) -> dict:
    """Inverse of `recipe_from_dict`."""
    values = plain(asdict(recipe))
    end = values.pop("end")
    return values if recipe.end is None else {**values, rooms.TASKS[recipe.end.task].section: end}


def recipe_from_dict(values: dict) -> PatchTunnels:
    """A recipe from plain values. ValueError names an unknown or missing key."""
    sections = {key: task for key in values if (task := rooms.section(key)) is not None}
    if len(sections) > 1:
        raise ValueError(f"network: wanted one of {' and '.join(sections)}")
    others = tuple(room.section for room in rooms.TASKS.values() if room.section)
    own = {k: v for k, v in values.items() if k not in sections}
    given = tuples(known(PatchTunnels, own, "network", ("end",), others))
    given["stages"] = stages(given.get("stages", ()))
    given["merged"] = stages(given.get("merged", ()))
    given["places"] = tuple(map(tuple, given.get("places", ())))
    for key, task in sections.items():
        if values[key] is not None:
            given["end"] = rooms.part(task, "end").recipe_from_dict(values[key], f"network.{key}")
    return PatchTunnels(**given)


# ---------------------------------------------------------------- networks


def to_dict(network: Network) -> dict:
    """The network as plain values: its layers one by one. Inverse of `from_dict`."""
    values = asdict(network) | {"end": {"task": network.task, **network.end.to_dict()}}
    return _given(plain(values))


def _given(values):
    """Without what is None: TOML has no word for it, and it is what layers take for granted."""
    if isinstance(values, dict):
        return {k: _given(v) for k, v in values.items() if v is not None}
    return [_given(v) for v in values] if isinstance(values, list) else values


def from_dict(values: dict) -> Network:
    """A Network from plain values, its own or a recipe's. ValueError names an unknown or missing key, or what
    `Network.check` finds."""
    if "chain" not in values:
        return recipe_from_dict(values).network()
    values = tuples(known(Network, values, "network"))
    end = dict(values["end"])
    if "task" not in end:
        raise ValueError("network: end: 'task' is missing")
    values["end"] = rooms.part(end.pop("task"), "end").END.from_dict(end)
    values["patch"] = tuple(values["patch"])
    values["corners"] = tuple(map(tuple, values["corners"]))
    values["sizes"] = tuple(map(tuple, values["sizes"])) if values.get("sizes") else None
    values["chain"] = layers(values["chain"])
    values["readouts"] = tuple(Readout(layers(r["layers"]), *layers([r["head"]])) for r in values.get("readouts", ()))
    network = Network(**values)
    network.check()
    return network


def layers(values: Iterable[dict]) -> tuple[Layer, ...]:
    return tuple(Layer(**tuples(known(Layer, layer, "layer"))) for layer in values)


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file. ValueError tells in which line it is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ValueError(f"{path}: not TOML: {e}") from None


def read_experiment(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A TOML file, and of the one that its `base` names, a path from its folder on without .toml, whatever it does not
    say itself, of the table [network] key by key; names are not handed on. `above`: files that it is the base of."""
    values = read_toml(path)
    if "base" not in values:
        return values
    base = values.pop("base")
    source = path.parent / f"{base}.toml"
    if not isinstance(base, str) or not source.is_file():
        raise ValueError(f"{path}: base: wanted the name of an experiment in {path.parent}, got {base!r}")
    if source.resolve() in (path.resolve(), *above):
        raise ValueError(f"{path}: base: {base!r} has it as its base")
    given = read_experiment(source, (*above, path.resolve()))
    given.pop("name", None)
    tables = given.get("network", {}), values.get("network", {})
    if all(isinstance(table, dict) for table in tables):
        values["network"] = tables[0] | tables[1]
    return given | values


def read_design(path: str | Path) -> Network:
    """The network of a TOML file: an experiment with a [network] table, or the table's keys alone."""
    path = Path(path)
    values = read_experiment(path)
    network = values.get("network", values)
    if not isinstance(network, dict):
        raise ValueError(f"{path}: network: wanted a table, got {network!r}")
    try:
        return from_dict({"name": values.get("name", path.stem), **network})
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None


def write_toml(values: dict, table: str = "") -> str:
    """TOML of a dict of plain values: scalars first, then its dicts as tables, None left out. Enough for an experiment
    file.

    `table` is the name of the table that it is, with a dot at its end.
    """

    def value(v) -> str:
        if isinstance(v, dict):
            return "{" + ", ".join(f"{k} = {value(x)}" for k, x in v.items() if x is not None) + "}"
        if isinstance(v, list | tuple):
            return "[" + ", ".join(map(value, v)) + "]"
        return json.dumps(v, ensure_ascii=False)

    flat = [f"{k} = {value(v)}" for k, v in values.items() if not isinstance(v, dict)]
    tables = [f"\n[{table}{k}]\n{write_toml(v, f'{table}{k}.')}" for k, v in values.items() if isinstance(v, dict)]
    return "\n".join(flat) + "\n" + "".join(tables)
