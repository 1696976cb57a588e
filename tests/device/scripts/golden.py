# Runs the cases that cases.jsonl in the current directory lists (tests/golden/make.py): a line for each input, with its
# int8 outputs (of many their number and a digest, as a serial line is slow) and, for a picture, [label, score * 65536]
# best first, or boxes, their scores likewise. Scores are exact in every float.
import binascii
import hashlib
import json

import patchnet

FORMATS = (0, patchnet.GRAYSCALE, patchnet.RGB565, patchnet.RGB888)


def read(name):
    with open(name, "rb") as f:
        return f.read()


def told(outputs):
    if len(outputs) <= 32:
        return list(outputs)
    digest = hashlib.sha256(bytes(x & 255 for x in outputs)).digest()
    return [len(outputs), str(binascii.hexlify(digest[:8]), "ascii")]


def run_picture(m, p):
    img = patchnet.Image(p["w"], p["h"], FORMATS[p["pixfmt"]], read(p["file"]))
    if m.task == "raw":
        best = []
    elif m.task in ("detect", "heatmap"):
        best = [box[:5] + (int(box[5] * 65536),) for box in m.detect(img, roi=p["roi"])]
    else:
        best = [(label, int(score * 65536)) for label, score in m.classify(img, roi=p["roi"])]
    outputs = told(m.predict(img)) if p["roi"] is None else None
    return {"file": p["file"], "outputs": outputs, "best": best}


def run_case(case):
    with patchnet.Model(case["blob"]) as m:
        for p in case["pictures"]:
            print(json.dumps(run_picture(m, p)))
        print(json.dumps({"file": case["raw"]["file"], "outputs": told(m.predict(read(case["raw"]["file"])))}))


with open("cases.jsonl") as f:  # a case at a time: all together may not fit a board's heap
    for line in f:
        run_case(json.loads(line))
