# Types of api.py for a PC: the board's file has none, and there it is `_patchnet` that Model comes from.
from .engine.files import Source
from .engine.library import Bytes, Room
from .engine.model import GRAYSCALE as GRAYSCALE
from .engine.model import JPEG as JPEG
from .engine.model import RGB565 as RGB565
from .engine.model import RGB888 as RGB888
from .engine.model import Box
from .engine.model import Image as Image
from .engine.model import Model as Model
from .engine.pictures import Picture, Roi

def load(src: Source = "/rom/model.pnb", arena: Room | None = None, stream: int | None = None) -> Model: ...
def classify(
    img: Picture | Bytes, top: int | None = None, roi: Roi | None = None, pixfmt: int | None = None
) -> list[tuple[str, float]]: ...
def detect(
    img: Picture, threshold: float = 0.4, iou: float = 0.45, roi: Roi | None = None, pixfmt: int | None = None
) -> list[Box]: ...
def spot(
    pcm16: Bytes,
    threshold: float | None = None,
    pause: float | None = None,
    smooth: float | None = None,
    every: int | None = None,
    background: str | None = None,
) -> tuple[str, float] | None: ...
