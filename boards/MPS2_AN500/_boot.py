# Run by board.c at every start, before ROMFS is mounted: /flash (littlefs) and /sd (FAT), as many a real board has
# them. They lie in external RAM, which QEMU can keep in a file: then they outlive the emulator, as flash does a loss of
# power.

import os
import sys
import uctypes
import vfs

from micropython import const

_BLOCK = const(512)


class Disk:
    """RAM of `size` bytes at `address` with the interface of a block device."""

    def __init__(self, address, size):
        self.memory = memoryview(uctypes.bytearray_at(address, size))

    def readblocks(self, block, buf, offset=0):
        at = block * _BLOCK + offset
        buf[:] = self.memory[at : at + len(buf)]

    def writeblocks(self, block, buf, offset=0):
        at = block * _BLOCK + offset
        self.memory[at : at + len(buf)] = buf

    def ioctl(self, request, _argument):
        if request == 4:
            return len(self.memory) // _BLOCK
        return _BLOCK if request == 5 else 0


def mount(disk, kind, path, **options):
    try:
        vfs.mount(kind(disk, **options), path)
    except OSError:  # the first start
        kind.mkfs(disk, **options)
        vfs.mount(kind(disk, **options), path)


mount(Disk(0x60D00000, 0x200000), vfs.VfsLfs2, "/flash", readsize=512, progsize=512, lookahead=512)
mount(Disk(0x60F00000, 0x100000), vfs.VfsFat, "/sd")
os.chdir("/flash")
sys.path += ["/flash", "/flash/lib"]
if "boot.py" in os.listdir():
    with open("boot.py") as f:
        exec(f.read())
del os, sys, uctypes, vfs, const, Disk, mount
