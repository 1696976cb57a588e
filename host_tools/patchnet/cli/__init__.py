"""The command `patchnet`."""

from .command import USER_ERROR, build_parser, main, size

__all__ = ["USER_ERROR", "build_parser", "main", "size"]
