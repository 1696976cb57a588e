"""The command `patchnet`."""

from .arguments import USER_ERROR, size
from .command import build_parser, main

__all__ = ["USER_ERROR", "build_parser", "main", "size"]
