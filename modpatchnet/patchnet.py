"""patchnet: small neural networks on a microcontroller. The same file is the API on a board and on a PC.

    import patchnet
    patchnet.load("/rom/person.pnb")
    print(patchnet.classify(cam.snapshot()))  # [("person", 0.97), ("no person", 0.03)]

A model is made with Model(src, arena=None, stream=None); load() makes one the default, which the functions here use.
"""

try:
    from _patchnet import GRAYSCALE, JPEG, RGB565, RGB888, Image, Model  # noqa: F401
except ImportError:
    from .engine.model import GRAYSCALE, JPEG, RGB565, RGB888, Image, Model  # noqa: F401

_model = None


def load(src="/rom/model.pnb", arena=None, stream=None):
    """Makes the model at `src` (path, open file or buffer) the default and returns it. A file that does not fit into
    memory is streamed, or any with stream=True: its weights are read during each run, through a buffer of `stream`
    bytes if that is a number."""
    global _model
    _model = None  # so that the heap may hold the next one
    _model = Model(src, arena, stream)
    return _model


def classify(img, top=None, roi=None, pixfmt=None):
    """[(label, score), ...] of the default model, best first; the first call loads it if load() has not."""
    return (_model or load()).classify(img, top, roi, pixfmt)


def detect(img, threshold=0.4, iou=0.45, roi=None, pixfmt=None):
    """[(x, y, w, h, label, score), ...] of the default model, best first, in pixels of the picture."""
    return (_model or load()).detect(img, threshold, iou, roi, pixfmt)


def spot(pcm16, threshold=None, pause=None, smooth=None, every=None, background=None):
    """(label, score) if the default model hears a word with this chunk of 16-bit samples, else None: docs/audio.md."""
    return (_model or load()).spot(pcm16, threshold, pause, smooth, every, background)
