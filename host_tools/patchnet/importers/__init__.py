"""Networks of other people's: a reader for each kind of file makes a `graph.Graph`, `match` tells its layers, `exact`
and `real` make a network of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .graph import Imported
    from .real import Pixels


def torch(
    model: Any, example: Any, name: str = "", labels: tuple[str, ...] = (), pixels: Pixels | None = None
) -> Imported:
    """A PyTorch module as a network with real weights, by way of torch.export.

    `example`: a tensor (1, channels, height, width) that it takes. `pixels`: what pixels are to it, where that is a
    picture. Of what comes out `train.imported.float_model` makes a module of this project's, and
    `train.quantize.quantized` integers. graph.Unsupported has everything that is in the way, a line each.
    """
    from .match import match  # imported here: the stage alone
    from .pytorch import read  # imported here: torch takes seconds to start, and may not be installed
    from .real import real  # imported here: the stage alone

    matched = match(read(model, example), labels, calibrate=True)
    return real(replace(matched, name=name or matched.name), pixels)
