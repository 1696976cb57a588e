"""A file of any kind that can be imported as a Graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .graph import Graph
from .packages import package
from .real import Pixels

WEIGHTS = (".pth", ".pt", ".tar", ".bin", ".ckpt")  # of PyTorch


def read(path: str | Path, family: str = "", config: str | Path | None = None) -> tuple[Graph, Pixels | None]:
    """The graph in a file, and what pixels are to it where its `family` tells that. ValueError, one line, for a file
    that cannot be read; FileNotFoundError."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if family:
        return of_family(path, family, config)
    ending = path.suffix.lower()
    if ending == ".tflite":
        from . import tflite  # imported here: its package may not be installed

        return tflite.read(path), None
    if ending == ".onnx":
        from . import onnx  # imported here: its package may not be installed

        return onnx.read(path), None
    if ending in WEIGHTS:
        raise ValueError(f"{path}: weights alone tell no network: wanted --family")
    raise ValueError(f"{path}: wanted .tflite, .onnx, or PyTorch weights of a known family ({', '.join(WEIGHTS)})")


def of_family(path: Path, family: str, config: str | Path | None) -> tuple[Graph, Pixels]:
    package("torch", path.suffix)
    from . import families, pytorch  # imported here: torch takes seconds to start, and may not be installed

    made = families.family(family, families.read_weights(path), None if config is None else read_json(Path(config)))
    graph = pytorch.read(made.module, made.example)
    graph.source = str(path)
    return graph, Pixels(made.mean, made.std)


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise ValueError(f"{path}: not JSON: {e}") from None
