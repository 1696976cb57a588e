"""patchnet on a PC: the same API as on a board, over the same C engine. patchnet.api is the board's own file.

Pictures may also be numpy arrays (uint8, H x W or H x W x 3) and Pillow images, and load("person") finds the shipped
network of that name. The rest of the package (design, train, quantize, pack, ...) is imported by its own names.
"""

from .api import GRAYSCALE, JPEG, RGB565, RGB888, Image, Model, classify, detect, load, spot

__all__ = ["GRAYSCALE", "JPEG", "RGB565", "RGB888", "Image", "Model", "classify", "detect", "load", "spot"]
