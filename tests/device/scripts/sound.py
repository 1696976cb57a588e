"""Clips and streams: runs on CPython, on a board and on its emulations. Scores are printed in 1/65536."""

import json

import patchnet

try:
    import filemic
except ImportError:
    from patchnet import filemic


def told(answer):
    return [answer[0], round(answer[1] * 65536)]


with open("cases.json") as f:
    cases = json.loads(f.read())
for case in cases:
    m = patchnet.load(case["blob"])
    print(m.task, m.sample_rate, m.clip_samples, m.ram)
    mic = filemic.FileMic(case["sounds"], chunk=case["chunk"])
    for _ in range(len(mic)):
        pcm = mic.read()
        print(mic.name, json.dumps([told(answer) for answer in patchnet.classify(pcm)]), list(m.predict(pcm)))
    heard = []
    for chunk in mic:
        answer = patchnet.spot(chunk, threshold=case["threshold"])
        if answer:
            heard.append([mic.name, told(answer)])
    print(json.dumps(heard))
    assert [row[:2] for row in m.profile(pcm)][0] == ("audio", "spectrogram")
    arena = bytearray(m.ram + 8)
    with patchnet.Model(case["blob"], arena) as other:
        print(json.dumps(told(other.classify(pcm, 1)[0])))


def stream(spotter, chunks, between=None):
    """The answers to chunks; between(n) is called before chunk n."""
    said = []
    for n, chunk in enumerate(chunks):
        if between:
            between(n)
        said.append(spotter.spot(chunk, threshold=0, pause=0, smooth=0.1, every=1, background=""))
    return said


# what is heard stays in the arena between chunks: what is run elsewhere, or by the model itself, does no harm, but once
# another model has written over it the stream begins anew
arena, x = bytearray(m.ram + 8), bytes(m.input_shape[0] * m.input_shape[1])
n = m.clip_samples // 6
chunks = [pcm[at : at + n] for at in range(0, 6 * n, n)]
listening, other, alone = (patchnet.Model(cases[-1]["blob"], room) for room in (arena, arena, None))
whole = stream(patchnet.Model(cases[-1]["blob"]), chunks)
anew = stream(patchnet.Model(cases[-1]["blob"]), chunks[4:])
assert None not in whole[1:] and whole[4:] != anew
assert stream(listening, chunks, lambda n: (alone.predict(x), listening.predict(x))) == whole
listening.classify(pcm)  # which ends the stream
assert stream(listening, chunks, lambda n: n == 4 and other.classify(pcm)) == whole[:4] + anew

for call in (
    lambda: m.classify(patchnet.Image(1, 1, patchnet.GRAYSCALE, b"x")),
    lambda: m.predict(patchnet.Image(1, 1, patchnet.GRAYSCALE, b"x")),
    lambda: m.classify(bytes(4), roi=(0, 0, 1, 1)),
    lambda: m.classify(bytes(3)),
    lambda: m.spot(7),
    lambda: m.spot(bytes(2), threshold=1.5),
    lambda: m.spot(bytes(2), pause=-1),
    lambda: m.spot(bytes(2), every=0),
    lambda: m.spot(bytes(2), background="maybe"),
    lambda: m.predict(bytes(3)),
):
    try:
        print(call())
    except (ValueError, TypeError) as error:
        print(type(error).__name__, error)

# nothing is allocated for a chunk without an answer
try:
    import micropython

    chunk = bytearray(2 * m.clip_samples)
    nothing = m.spot(chunk, 1, None, 0)
    micropython.heap_lock()
    try:
        nothing = m.spot(chunk, 1, None, 0)
    finally:
        micropython.heap_unlock()
except ImportError:
    nothing = m.spot(bytes(2 * m.clip_samples), 1, None, 0)
print(nothing)
m.deinit()
try:
    m.spot(b"")
except ValueError as error:
    print(error)
print("done")
