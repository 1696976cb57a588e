"""A camera with no room for its frame: the sensor reads out one patch of it at a time. For OpenMV's firmware.

The answer is that of the whole frame, if that does not change between the windows.
"""

import csi
import patchnet


class Windowed:
    """A picture that has window() instead of pixels."""

    def __init__(self, cam, width, height):
        self.cam = cam
        self.size = width, height

    def width(self):
        return self.size[0]

    def height(self):
        return self.size[1]

    def window(self, x, y, w, h):
        self.cam.window((x, y, w, h))
        return self.cam.snapshot()


cam = csi.CSI()
cam.reset()
cam.pixformat(csi.GRAYSCALE)
cam.framesize(csi.QVGA)
cam.snapshot(time=2000)

frame = Windowed(cam, 320, 240)
patchnet.load("/rom/person.pnb")

while True:
    print("%s %.2f" % patchnet.classify(frame, 1)[0])
