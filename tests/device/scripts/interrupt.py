# A long inference, to be interrupted by Ctrl-C within 'running', and then the right answer. long.pnb and its right
# answer, long.out, lie in the current directory. For MicroPython only.
import time

import patchnet

m = patchnet.Model("long.pnb")
h, w, c = m.input_shape
x = bytes(i * 7 & 255 for i in range(w)) * (h * c)
with open("long.out", "rb") as f:
    right = f.read()
began = time.ticks_ms()
try:
    print("running")
    m.predict(x)
    print("was not interrupted")
except KeyboardInterrupt:
    print("interrupted")
part = time.ticks_diff(time.ticks_ms(), began)
began = time.ticks_ms()
print("right:", bytes(m.predict(x)) == right)
print("in the middle:", part < time.ticks_diff(time.ticks_ms(), began) // 2)
