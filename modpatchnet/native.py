"""What the C half of a native patchnet.mpy may not call by itself (mod_native.h).

A native patchnet.mpy is the C half, this and patchnet.py, run one after the other as one module.
"""

import os
import sys
from array import array
from time import ticks_us


def _poll():
    again = True
    while again:  # at the end of a loop MicroPython lets Ctrl-C and the scheduler in
        again = False


def _open(path):
    # asked first because open() says ENODEV where nothing is mounted, and on some ports opens a folder
    try:
        mode = os.stat(path)[0]
    except OSError:
        raise OSError(2, path) from None  # ENOENT
    if mode & 0x4000:
        raise OSError(21, path)  # EISDIR
    return open(path, "rb")


def _array(n, floats):
    return array("f", bytes(4 * n)) if floats else array("b", bytes(n))


def _nothing():
    pass


_setup(_poll, _open, ticks_us, _array, _nothing)  # noqa: F821, the C half's
sys.modules["_patchnet"] = sys.modules[__name__]  # where patchnet.py looks for the C half
