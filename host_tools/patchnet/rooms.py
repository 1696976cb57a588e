"""The table of tasks: what a network may be for, and where all that only this task needs lies.

A task is a room, the folder `tasks/<room>`, of modules with fixed names:

    end       the shape of what ends such a network (net.network.End), and how recipes ask for it
    record    how that stands in a blob, and its integers (blob.record.Record)
    input     prepare(x, network): what such a network reads of a picture or a sound
    training  float and fake-quantized modules, batches, loss, measure (train.task.Training); needs torch
    answers   what engines are asked, and how answers are judged and told (tasks.answers.Answering)
    making    the networks that `make` weighs for data of one's own (tasks.making.Making); a task may do without

Nothing below `tasks` names a task: it asks this table for the room of the network in hand, and no other is loaded.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Room:
    """A folder of `tasks`, and the table of a recipe ([network.<section>]) that asks for the task; "" for none."""

    folder: str
    section: str = ""


# by the name that m.task, blobs (format.TASKS) and runs/<task> have
TASKS = {
    "classify": Room("classify"),
    "detect": Room("detect", "detection"),
    "audio": Room("sound", "audio"),
    "raw": Room("raw"),
    "heatmap": Room("heatmap"),
}


def part(task: str, name: str) -> ModuleType:
    """The module `name` of a task's room. ValueError for a task that is not in the table."""
    if task not in TASKS:
        raise ValueError(f"task: wanted one of {', '.join(TASKS)}, got {task!r}")
    return importlib.import_module(f"patchnet.tasks.{TASKS[task].folder}.{name}")


def section(name: str) -> str | None:
    """The task that the table `name` of a recipe asks for."""
    return next((task for task, room in TASKS.items() if room.section and room.section == name), None)
