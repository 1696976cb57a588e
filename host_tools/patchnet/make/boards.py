"""What boards have room for, and how quick they are: those of the folder boards/, with the firmware built there."""

from __future__ import annotations

from typing import NamedTuple

from ..plan.sources import Flash

KB = 1024
# Bytes a second of what a network lies in, by its clock: the processor's own flash, 32 bytes in some 9 cycles of a bus
# of half the processor's clock; QSPI, four bits at a time at a quarter of the processor's clock (MicroPython's
# prescaler 2), commands and waiting left out
OWN_FLASH, QSPI = 1.8, 1 / 8  # bytes a cycle of the processor


class BoardRoom(NamedTuple):
    """`clock`: Hz that MicroPython runs it at. Bytes of the ROMFS for networks, and of the heap for arenas; `speed` of
    the ROMFS."""

    clock: int
    romfs: int
    heap: int
    speed: float

    @property
    def blob(self) -> int:
        """Bytes that a network's file may have."""
        return self.romfs - ROMFS_OWN

    def flash(self) -> Flash:
        return Flash(1 / self.speed)


BOARDS = {
    "NUCLEO_H743ZI2": BoardRoom(400_000_000, 512 * KB, 458 * KB, OWN_FLASH),
    "NUCLEO_H723ZG": BoardRoom(550_000_000, 256 * KB, 74 * KB, OWN_FLASH),
    "WEACTSTUDIO_MINI_STM32H743": BoardRoom(480_000_000, 8192 * KB, 482 * KB, QSPI),
    "ARDUINO_PORTENTA_H7": BoardRoom(400_000_000, 4096 * KB, 394 * KB, QSPI),
    "ARDUINO_NICLA_VISION": BoardRoom(400_000_000, 4096 * KB, 438 * KB, QSPI),
    "ARDUINO_GIGA": BoardRoom(480_000_000, 4096 * KB, 438 * KB, QSPI),
}
ROMFS_OWN = 4 * KB  # of a ROMFS is not for the network's file
