"""Packages that readers of other people's files need and nothing else does: the extra `import`."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def package(name: str, suffix: str) -> Any:
    """The module `name`, which reads files that end in `suffix` (".onnx"). ValueError, a line, where it is missing."""
    try:
        return import_module(name)
    except ImportError:
        raise ValueError(f"reading {suffix} needs the package {name}: pip install 'patchnet[import]'") from None
