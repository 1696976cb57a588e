# Blobs whose weights are read in parts during a run, from a file that is not memory-mapped. grey.pnb, colour.pnb and
# parts.pnb lie in the current directory.
import io

import patchnet


def pattern(n):
    return bytes((i * 37 + (i >> 3) * 11 + (i >> 7)) & 255 for i in range(n))


def said(f, *args):
    try:
        return f(*args)
    except (MemoryError, ValueError) as e:
        return e


for name in ("parts.pnb", "grey.pnb", "colour.pnb"):
    with open(name, "rb") as f:
        blob = f.read()
    whole = patchnet.Model(blob)
    h, w, c = whole.input_shape
    x = pattern(h * w * c)
    right = whole.predict(x)
    img = patchnet.Image(29, 31, patchnet.RGB565, pattern(29 * 31 * 2))
    m = patchnet.Model(io.BytesIO(blob), stream=True)
    print(m, m.streamed, whole.streamed)
    print(m.predict(x) == right, m.predict(x) == right, m.classify(img) == whole.classify(img))
    print(m.labels == whole.labels, [row[:2] for row in m.profile(x)] == [row[:2] for row in whole.profile(x)])
    given = patchnet.Model(io.BytesIO(blob), bytearray(whole.ram + 8), True)
    print(given.predict(x) == right, given.ram == m.ram)
    m.deinit()
    print(m, said(m.predict, x))
    print(patchnet.Model(blob, stream=True).streamed)  # it is in memory already

    # buffers of other sizes: what is too small says how large it must be, what is too large is cut
    refused = said(patchnet.Model, io.BytesIO(blob), None, 2)
    print(refused)
    least, most = int(str(refused).split()[2]), given.streamed
    print(said(patchnet.Model, io.BytesIO(blob), None, least - 1), said(patchnet.Model, io.BytesIO(blob), None, -1))
    for n in (least, (3 * least + most) // 4, (least + most) // 2, max(least, most - 1), most, most + 99):
        m = patchnet.Model(io.BytesIO(blob), None, n)
        print(m.streamed == min(n, most), m.ram - m.streamed == given.ram - most, m.predict(x) == right)
        print(
            m.classify(img) == whole.classify(img),
            [row[:2] for row in m.profile(x)] == [row[:2] for row in whole.profile(x)],
        )

# a file that is cut off, damaged, or no model
for bad in (b"", blob[:50], blob[:111], blob[:120], blob[:-1], blob[:-9] + b"?" + blob[-8:], bytes(300)):
    print(said(patchnet.Model, io.BytesIO(bad), None, True))

# one that changes while the model lives: the next run says so, and is right again when the file is
for n in (least, most):
    card = io.BytesIO(blob)
    m = patchnet.Model(card, None, n)
    for at in range(len(blob) - 200, len(blob)):
        card.seek(at)
        card.write(b"\xff")
    print(said(m.predict, x))
    card.seek(0)
    card.write(blob)
    print(m.predict(x) == right)
