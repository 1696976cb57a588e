"""How long a picture takes, and where the time goes."""

import time

import patchnet

PATH = "/rom/person.pnb"
RUNS = 10

m = patchnet.Model(PATH)
height, width, channels = m.input_shape
format = patchnet.RGB888 if channels == 3 else patchnet.GRAYSCALE
img = patchnet.Image(width, height, format, bytes(height * width * channels))
out = m.predict(img)

began = time.ticks_us()
for _ in range(RUNS):
    m.predict(img, out)
us = time.ticks_diff(time.ticks_us(), began) // RUNS
print("%s: %d us for a picture, %d bytes of RAM" % (PATH, us, m.ram))

rows = m.profile(img)
total = sum(row[2] for row in rows) or 1
for name, op, us in rows:
    print("%-10s %-24s %8d us %3d%%" % (name, op, us, 100 * us // total))
