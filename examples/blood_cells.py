"""Boxes around blood cells, drawn into the picture that OpenMV's IDE shows. For OpenMV's firmware.

/rom/bccd.pnb: `patchnet deploy bccd`.
"""

import csi
import patchnet

COLOURS = {"RBC": (255, 0, 0), "WBC": (0, 0, 255), "Platelets": (0, 255, 0)}

cam = csi.CSI()
cam.reset()
cam.pixformat(csi.RGB565)
cam.framesize(csi.QVGA)
cam.snapshot(time=2000)

patchnet.load("/rom/bccd.pnb")

while True:
    img = cam.snapshot()
    found = patchnet.detect(img, threshold=0.4)
    for x, y, w, h, label, score in found:
        img.draw_rectangle((x, y, w, h), color=COLOURS[label])
        img.draw_string(x, y, "%s %.2f" % (label, score), color=COLOURS[label])
    print(len(found), "cells,", found[:1])
