"""The Network of a matched file."""

from __future__ import annotations

from .. import rooms
from ..net.layers import Layer
from ..net.network import End, Network
from .match import Ending, Matched


def network_of(matched: Matched, chain: tuple[Layer, ...], mean: tuple[int, ...], std: float) -> Network:
    """`mean` and `std` as Network has them: of an input that is no picture one entry. ValueError where layers do not
    fit together."""
    m = matched.input
    network = Network(
        matched.name, matched.labels, m.h, m.w, m.c, (m.h, m.w), ((0, 0),), chain, end_of(matched.ending),
        mean=mean, std=std,
    )  # fmt: skip
    network.check()
    return network


def end_of(ending: Ending) -> End:
    """Its shape, as the task's room has it. A class that is nothing in particular, the background, is there where
    classes share their scores."""
    options: dict[str, object] = {} if ending.task == "raw" else {"scores": ending.scores}
    if ending.task == "classify":
        options["dense"] = ending.dense is not None
    if ending.task == "heatmap" and ending.scores == "sigmoid":
        options["background"] = None
    return rooms.part(ending.task, "end").END(**options)
