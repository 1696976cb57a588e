# Where arenas lie on a board that has memory of its own for one: small.pnb and large.pnb fit there, huge.pnb does not.
# For the emulated board, whose MicroPython has patchnet in it.
import gc
import io

import uctypes

import patchnet


def pattern(m, step):
    h, w, c = m.input_shape
    return bytes(i * step & 255 for i in range(h * w * c))


def answer(m, step=7):
    return bytes(m.predict(pattern(m, step)))


def arenas(*models):
    print(" ".join(m.arena for m in models))


arena = bytearray(patchnet.Model("large.pnb").ram + 8)
gc.collect()

# the first model has it, a second is in the heap, one with arena= where it was told to be
first = patchnet.Model("small.pnb")
second = patchnet.Model("small.pnb")
large = patchnet.Model("large.pnb")
given = patchnet.Model("large.pnb", arena)
arenas(first, second, large, given)
print("same bytes", answer(first) == answer(second), answer(large) == answer(given))

# what lies there is no place for outputs
out = uctypes.bytearray_at(0x20000000, first.output_shape[0])
try:
    first.predict(pattern(first, 7), out)
except RuntimeError as e:
    print(e)

# two that run in turn do not disturb each other
right = [answer(second, step) for step in (1, 37)]
turns = [(answer(first, step), answer(large)) for step in (1, 37)]
print("in turn", [a for a, _ in turns] == right, all(b == answer(given) for _, b in turns))

# deinit gives it back, that of a model which has it not does not
second.deinit()
arenas(patchnet.Model("small.pnb"))
first.deinit()
first.deinit()
third = patchnet.Model("large.pnb")
first.deinit()
arenas(third, patchnet.Model("small.pnb"))
print("same bytes", answer(third) == answer(given))
with third:
    pass

# a model that nobody has any more gives it back when the next one wants it, one whose opening fails has not kept it
third = patchnet.Model("small.pnb")
third = None
arenas(patchnet.Model("large.pnb"))
try:
    patchnet.Model("damaged.pnb")
except ValueError as e:
    print(e)
third = patchnet.Model("small.pnb")
arenas(third)
patchnet.load("large.pnb")
third = None
print("default model:", patchnet.load("small.pnb").arena, patchnet.load("large.pnb").arena)
patchnet._model.deinit()

# what is too large for it leaves it alone; arena= leaves it alone; a streamed model has it like any other
huge = patchnet.Model("huge.pnb")
given = patchnet.Model("large.pnb", arena)
with open("large.pnb", "rb") as f:
    streamed = patchnet.Model(io.BytesIO(f.read()), stream=True)
arenas(huge, given, streamed)
print("streamed", streamed.streamed > 0, answer(streamed) == answer(given))
