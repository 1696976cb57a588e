# What the API answers for networks that end otherwise, or read no pictures: heat.pnb, raw.pnb, flat.pnb (sigmoids, raw
# input) lie in the current directory.
import patchnet


def pattern(n):
    return bytes((i * 37 + (i >> 3) * 11 + (i >> 7)) & 255 for i in range(n))


def attempt(what, f, *args, **kwargs):
    try:
        print(what, "->", f(*args, **kwargs))
    except Exception as e:
        print(what, "->", type(e).__name__, e)


def exact(found):
    return [one[:-1] + (int(one[-1] * 65536 + 0.5),) for one in found]


def facts(m):
    print(m)
    print(m.task, m.labels, m.input_shape, m.output_shape, m.input_zero_point, m.output_zero_point)
    print([row[:2] for row in m.profile(pattern(m.input_shape[0] * m.input_shape[1] * m.input_shape[2]))])


def picture(width, height):
    return patchnet.Image(width, height, patchnet.RGB888, pattern(3 * width * height))


with patchnet.Model("heat.pnb") as m:
    facts(m)
    for threshold in (0, 0.3, 0.5, 0.9, 1):
        print(threshold, exact(m.detect(picture(40, 30), threshold)))
    print(exact(m.detect(picture(40, 30), 0.5, roi=(8, 4, 20, 20))))
    values = m.predict(picture(40, 30))
    print(list(values))
    out = bytearray(len(values))
    assert m.predict(picture(40, 30), out) is out and out == bytes(values)
    print(exact(patchnet.detect(picture(5, 7), 0.4)) if patchnet.load("heat.pnb") else "")
    attempt("classify", m.classify, picture(4, 4))
    attempt("threshold", m.detect, picture(4, 4), 1.5)

with patchnet.Model("raw.pnb") as m:
    facts(m)
    print(list(m.predict(picture(9, 9))))
    for what in ("classify", "detect", "spot"):
        attempt(what, getattr(m, what), picture(4, 4))

with patchnet.Model("flat.pnb") as m:
    facts(m)
    n = m.input_shape[0] * m.input_shape[1] * m.input_shape[2]
    print(exact(m.classify(pattern(n))), exact(m.classify(pattern(n), top=2)), list(m.predict(pattern(n))))
    for what in ("classify", "predict", "profile"):
        attempt(what, getattr(m, what), picture(4, 4))
        attempt(what, getattr(m, what), bytes(3))
