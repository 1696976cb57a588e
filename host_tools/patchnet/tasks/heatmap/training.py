"""Heat maps are imported, as raw networks are."""

from ..raw.training import TRAINING

__all__ = ["TRAINING"]
