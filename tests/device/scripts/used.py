# For each blob of the current directory: how many bytes of the arena some run on its .raw input has not written.
import os

import patchnet

FILLS = (0xA5, 0x00, 0x3C, 0x5A, 0xFF, 0x77)


def read(name):
    with open(name, "rb") as f:
        return f.read()


def untouched(name, x):
    with patchnet.Model(name) as m:
        same = bytearray(b"\1" * m.ram)
    for fill in FILLS:
        arena = bytearray(bytes([fill]) * (len(same) + 8))
        with patchnet.Model(name, arena) as m:
            m.predict(x)
        for i in range(len(same)):
            same[i] &= arena[i] == fill
    return sum(same)


for name in sorted(os.listdir()):
    if name.endswith(".pnb"):
        print(name, untouched(name, read(name[:-4] + ".raw")))
