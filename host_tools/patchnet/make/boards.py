"""What boards have room for, and how quick they are: those of the folder boards/, with the firmware built there."""

from __future__ import annotations

from typing import NamedTuple

KB = 1024


class BoardRoom(NamedTuple):
    """`clock`: Hz that MicroPython runs it at. Bytes of the ROMFS for networks, and of the heap for arenas."""

    clock: int
    romfs: int
    heap: int


BOARDS = {
    "NUCLEO_H743ZI2": BoardRoom(400_000_000, 512 * KB, 458 * KB),
    "NUCLEO_H723ZG": BoardRoom(550_000_000, 256 * KB, 74 * KB),
    "WEACTSTUDIO_MINI_STM32H743": BoardRoom(480_000_000, 8192 * KB, 482 * KB),
    "ARDUINO_PORTENTA_H7": BoardRoom(400_000_000, 4096 * KB, 394 * KB),
    "ARDUINO_NICLA_VISION": BoardRoom(400_000_000, 4096 * KB, 438 * KB),
    "ARDUINO_GIGA": BoardRoom(480_000_000, 4096 * KB, 438 * KB),
}
ROMFS_OWN = 4 * KB  # of a ROMFS is not for the network's file
