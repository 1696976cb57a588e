"""Data sets from files, and what becomes of a picture or a sound before a network sees it."""

from .boxed import in_pixels, of_classes
from .dataset import Dataset, Item, as_clip, as_picture, decode, readable
from .pictures import PICTURES
from .resize import area_weights, channels_of, crop, resize
from .sets import load, load_digits, load_folder, load_inputs, load_npz, reader_of
from .sounds import SOUNDS, Clip

__all__ = [
    "PICTURES", "SOUNDS", "Clip", "Dataset", "Item", "area_weights", "as_clip", "as_picture", "channels_of", "crop",
    "decode", "in_pixels", "load", "load_digits", "load_folder", "load_inputs", "load_npz", "of_classes", "readable",
    "reader_of", "resize",
]  # fmt: skip
