"""The LED is on while there is a person before the camera. For OpenMV's firmware.

/rom/person.pnb: `patchnet deploy person`. To let it run from the start, copy this file as main.py.
"""

import csi
import patchnet
from machine import LED

cam = csi.CSI()
cam.reset()
cam.pixformat(csi.RGB565)
cam.framesize(csi.QQVGA)
cam.snapshot(time=2000)  # exposure and white balance settle

led = LED("LED_BLUE")
patchnet.load("/rom/person.pnb")
person = 0.0  # smoothed: one picture alone does not switch

while True:
    scores = dict(patchnet.classify(cam.snapshot()))
    person += 0.4 * (scores["person"] - person)
    if person > 0.6:
        led.on()
    elif person < 0.4:
        led.off()
    print("person %.2f" % person)
