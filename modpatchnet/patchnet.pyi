"""patchnet on a board, for editors and type checkers: what scripts may use, with units, ranges and errors.

Everything raises, besides what is said at each name, ValueError once the model is closed and RuntimeError ("model
is busy") where a callback that runs during an inference uses the same model. A run whose arena or `out` overlaps
anything else that it uses, or that another run under way uses, is refused (RuntimeError "arena is in use", "out is in
use as input" and the like).
"""

from array import array
from typing import BinaryIO, Literal, Protocol, Self, TypeVar, overload

from typing_extensions import Buffer

_Out = TypeVar("_Out", bound=Buffer)

class _Picture(Protocol):
    """What a camera gives: this, and a buffer of pixels (its own, or that of what bytearray() returns), perhaps
    format() in OpenMV's numbers. Instead of a buffer it may have window(x, y, w, h), which returns a picture of that
    part."""

    def width(self) -> int: ...
    def height(self) -> int: ...

GRAYSCALE: int
"""1 byte per pixel. These numbers are OpenMV's."""
RGB565: int
"""2 bytes per pixel, byte order as OpenMV's."""
RGB888: int
"""3 bytes per pixel, red first."""
JPEG: int
"""Known so that it can be told; such a picture is refused (ValueError)."""

class Image:
    """A picture for a camera that has no image type; its buffer, for reading, is `buffer`, which is not copied.

    `width`, `height`: pixels. `format`: GRAYSCALE, RGB565 or RGB888. `buffer`: width * height * bytes per pixel,
    which is checked when the picture is used. TypeError if it is no buffer.
    """

    def __init__(self, width: int, height: int, format: int, buffer: Buffer, /) -> None: ...
    def width(self) -> int:
        """In pixels."""

    def height(self) -> int:
        """In pixels."""

    def format(self) -> int:
        """GRAYSCALE, RGB565 or RGB888."""

class Model:
    """A network that is ready to run.

    `src`: path, open file (binary, with seek and readinto) or buffer. Where it lies in memory at a multiple of 4
    (ROMFS, a buffer) it is used in place: leave it as it is.
    `arena`: writable buffer to run in, with `ram` bytes from a multiple of 8 on, of several models if they run in
    turn; None: the board's own memory for it (DTCM) where it has any and no other model has it, else the heap.
    `stream`: whether a file's weights stay there and are read during each run: True, False, or the bytes of the
    buffer that they are read into; None: if the heap has no room for them.

    OSError (ENOENT, EISDIR, EIO); ValueError naming what is wrong with the model; TypeError if `src` or `arena` is
    none of these; MemoryError with the bytes that are needed and those that there are.
    """

    def __init__(
        self, src: str | BinaryIO | Buffer, arena: Buffer | None = None, stream: int | None = None
    ) -> None: ...
    def classify(
        self,
        img: _Picture | Buffer,
        top: int | None = None,
        roi: tuple[int, int, int, int] | None = None,
        pixfmt: int | None = None,
    ) -> list[tuple[str, float]]:
        """[(label, score), ...], best first; scores are 0..1, and add up to 1 unless each class has one of its own.

        `img`: a picture; for an audio model a clip, a buffer of 16-bit samples; for a network whose input is no picture
        int8 values, height * width * channels in any buffer. `top`: at most so many, 1 or more;
        None: all. `roi`: (x, y, w, h) in pixels, inside the picture, at most 4096 x 4096. `pixfmt`: GRAYSCALE,
        RGB565 or RGB888 where the picture does not say it and its length does not tell it.

        ValueError naming what is wrong with the picture, or if the model is for something else; TypeError if `img` is
        none of these.
        """

    def detect(
        self,
        img: _Picture,
        threshold: float = 0.4,
        iou: float = 0.45,
        roi: tuple[int, int, int, int] | None = None,
        pixfmt: int | None = None,
    ) -> list[tuple[int, int, int, int, str, float]]:
        """[(x, y, w, h, label, score), ...], best first, in pixels of the picture (of the network's input where that is
        none). Of a heat map the box's centre is where the object is.

        `threshold`: 0..1, the least score. `iou`: 0..1, how much two boxes of one class may share (intersection
        over union) before the lesser one is left out; not of a heat map. `roi`, `pixfmt` and errors: as for classify.
        """

    def spot(
        self,
        pcm16: Buffer,
        threshold: float | None = None,
        pause: float | None = None,
        smooth: float | None = None,
        every: int | None = None,
        background: str | None = None,
    ) -> tuple[str, float] | None:
        """(label, score) if a word is heard with this chunk of a stream of 16-bit samples, else None.

        Chunks may have any length, but no samples between them may be lost. What was heard stays in the arena: if
        another model writes over it, the next chunk is the beginning of another stream. Settings are the model's where
        None:
        `threshold`: 0..1, the least score. `pause`: seconds in which nothing more is reported. `smooth`: 0..1, the
        share of a new run in the scores. `every`: rows from run to run, 1..65535. `background`: the label that is
        never reported, "" for none.

        ValueError if a setting is out of range, or the model is not for audio; TypeError if `pcm16` is no buffer of
        samples.
        """

    @overload
    def predict(self, x: _Picture | Buffer, out: None = None) -> array[int] | array[float]: ...
    @overload
    def predict(self, x: _Picture | Buffer, out: _Out) -> _Out:
        """The network's int8 outputs: one a class, of a detection network those of its heads, of a heat map and of a
        network with raw output its last map. Of a float32 network its logits, or its last map, as they are.

        `x`: a picture, array('h') of samples for an audio model, or raw int8 input, height * width * channels
        values in any buffer. `out`: writable buffer of as many bytes as output_shape tells, which is returned; nothing
        is allocated then (of a float32 network four times as many). None: a new array('b'), or array('f').
        """

    def profile(self, x: _Picture | Buffer, /) -> list[tuple[str, str, int]]:
        """[(name, op, microseconds), ...] of a run on what `predict` takes: a row for each layer, and one for the
        rest."""

    def deinit(self) -> None:
        """Closes the model and gives its memory back at once. `with` does it too."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    @property
    def ram(self) -> int:
        """Bytes that the model needs: the arena and, where it is streamed, the head of its file and the buffer."""

    @property
    def arena(self) -> Literal["given", "DTCM", "heap"]:
        """Where the arena lies."""

    @property
    def streamed(self) -> int:
        """Bytes of the buffer that the weights are read into; 0 where they are in memory."""

    @property
    def task(self) -> Literal["classify", "detect", "audio", "raw", "heatmap"]:
        """What the network is for."""

    @property
    def dtype(self) -> Literal["int8", "float32"]:
        """What the network's maps and weights are. Its input is int8 in any case."""

    @property
    def labels(self) -> tuple[str, ...]:
        """One a class, in the order of the outputs; none of a network with raw output."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""

    @property
    def output_shape(self) -> tuple[int, ...]:
        """How many values `predict` gives; of a heat map and of raw output the map's height, width, channels."""

    @property
    def input_scale(self) -> float:
        """What one step of the int8 input is worth."""

    @property
    def input_zero_point(self) -> int | tuple[int, ...]:
        """int8 value that stands for 0: one number where all channels share it, else one a channel of the picture."""

    @property
    def output_scale(self) -> float:
        """What one step of the int8 output is worth."""

    @property
    def output_zero_point(self) -> int:
        """int8 output that stands for 0; of a detection network the one whose score is a half."""

    @property
    def sample_rate(self) -> int:
        """Samples a second. AttributeError if the model is not for audio."""

    @property
    def clip_samples(self) -> int:
        """Samples that the network sees at once. AttributeError if the model is not for audio."""

def load(
    src: str | BinaryIO | Buffer = "/rom/model.pnb", arena: Buffer | None = None, stream: int | None = None
) -> Model:
    """Makes the model at `src` the default one and returns it; the one before is let go first. As Model."""

def classify(
    img: _Picture | Buffer,
    top: int | None = None,
    roi: tuple[int, int, int, int] | None = None,
    pixfmt: int | None = None,
) -> list[tuple[str, float]]:
    """Model.classify of the default model; the first call loads /rom/model.pnb if load() has not been called."""

def detect(
    img: _Picture,
    threshold: float = 0.4,
    iou: float = 0.45,
    roi: tuple[int, int, int, int] | None = None,
    pixfmt: int | None = None,
) -> list[tuple[int, int, int, int, str, float]]:
    """Model.detect of the default model; the first call loads /rom/model.pnb if load() has not been called."""

def spot(
    pcm16: Buffer,
    threshold: float | None = None,
    pause: float | None = None,
    smooth: float | None = None,
    every: int | None = None,
    background: str | None = None,
) -> tuple[str, float] | None:
    """Model.spot of the default model; the first call loads /rom/model.pnb if load() has not been called."""
