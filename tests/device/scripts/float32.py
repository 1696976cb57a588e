# Runs each float32 network NAME.pnb of the current directory on the values in NAME.raw, in memory and streamed: a line
# with its outputs in hexadecimal digits, classes and scores * 65536 best first.
import binascii
import json
import os

import patchnet


def ranked(m, x):
    if m.task == "raw" or m.input_shape[2] not in (1, 3):
        return []
    h, w, channels = m.input_shape
    pixels = bytes((v + 128) & 255 for v in x)
    img = patchnet.Image(w, h, patchnet.RGB888 if channels == 3 else patchnet.GRAYSCALE, pixels)
    return [(label, int(score * 65536)) for label, score in m.classify(img)]


for name in sorted(name[:-4] for name in os.listdir() if name.endswith(".pnb")):
    with open(name + ".raw", "rb") as f:
        x = f.read()
    for stream in (None, True):
        with patchnet.Model(name + ".pnb", stream=stream) as m:
            values = m.predict(x)
            out = bytearray(4 * len(values))
            same = bytes(m.predict(x, out)) == bytes(values)
            told = str(binascii.hexlify(values), "ascii"), ranked(m, x), m.dtype, m.output_scale, same
            print(json.dumps((name,) + told))
