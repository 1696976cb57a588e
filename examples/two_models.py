"""Two networks in turn, in one arena: the second looks only where the first has found a person.

/rom/person.pnb, /rom/cifar10.pnb: `patchnet deploy person`, `patchnet deploy cifar10`.
"""

import csi
import patchnet

cam = csi.CSI()
cam.reset()
cam.pixformat(csi.RGB565)
cam.framesize(csi.QQVGA)
cam.snapshot(time=2000)

# As much as the larger of both needs, which run in turn. A call from a callback while the other runs would be refused.
arena = bytearray(12 * 1024)
person = patchnet.Model("/rom/person.pnb", arena)
thing = patchnet.Model("/rom/cifar10.pnb", arena)

while True:
    img = cam.snapshot()
    label, score = person.classify(img, 1)[0]
    if label == "person":
        print("person %.2f" % score)
    else:
        print("no person, perhaps: %s %.2f" % thing.classify(img, 1)[0])
