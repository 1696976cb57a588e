"""What such a network reads of a picture."""

from ..pictures import prepare

__all__ = ["prepare"]
