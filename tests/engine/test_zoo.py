"""The networks of `zoo` with random weights: the plans of docs/memory.md give the bytes of a layer-by-layer run.

MobileNetV2 1.0 at 224 x 224, unsegmented and unchanged, also runs on devices in an arena of 38 KB.
"""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest

from cengine import Engine
from networks import random_qnet
from patchnet.blob.pack import pack
from patchnet.net.zoo import NAMES, network
from patchnet.plan.choice import plan, smallest
from patchnet.plan.modes import DIRECT, GROUPS
from patchnet.plan.place import place

BUDGET = 38 << 10
SLOW = ("voc-224", "voc-300")  # to run them takes minutes: planned only


def layer_by_layer(net):
    """One layer at a time, from map to map."""
    return place(
        net,
        [(layer.oh, [(GROUPS, layer.oh, layer.cexp) if layer.expand else (DIRECT, 1, 0)]) for layer in net.run()],
    )


@cache
def case(name: str):
    """A network's integers, a picture, and what the layer-by-layer run makes of it."""
    net, rng = network(name), np.random.default_rng(1)
    qnet = random_qnet(rng, net)
    picture = rng.integers(0, 256, (net.height, net.width, 3), np.uint8)
    whole = Engine(pack(qnet, layer_by_layer(net)))
    wanted = whole.run_image(picture.tobytes(), net.width, net.height, 3)
    assert len(np.unique(wanted.outputs8 if net.task == "detect" else wanted.logits16)) > min(100, len(net.labels) - 1)
    return qnet, picture, wanted


@pytest.mark.parametrize("choose", [plan, smallest])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in SLOW])
def test_plans_of_whole_networks(name, choose):
    """The same bytes out, and all but alignment of the arena is touched."""
    qnet, picture, wanted = case(name)
    engine = Engine(pack(qnet, choose(qnet.design, by="macs")))
    used = np.zeros(engine.arena_bytes, bool)
    for fill in (0xA5, 0x5A):
        engine.fill = fill
        got = engine.run_image(picture.tobytes(), qnet.design.width, qnet.design.height, 3)
        assert (got.logits16 == wanted.logits16).all() and got.scores == wanted.scores
        assert (got.outputs8 == wanted.outputs8).all() and got.boxes == wanted.boxes
        assert qnet.design.task != "detect" or len(got.boxes) > 3
        used |= engine.arena != fill
    assert used.sum() >= engine.arena_bytes - 16


CODE = """
import json, patchnet
m = patchnet.Model("net.pnb", arena=bytearray({budget}))
img = patchnet.Image(224, 224, patchnet.RGB888, open("picture.raw", "rb").read())
print(json.dumps([m.ram, list(m.predict(img)), m.classify(img, top=5)]))
"""


def test_mobilenetv2_in_38_kb(where, connect, tmp_path):
    qnet, picture, wanted = case("mobilenetv2-1.0")
    (tmp_path / "net.pnb").write_bytes(pack(qnet, plan(qnet.design, BUDGET, by="macs")))
    (tmp_path / "picture.raw").write_bytes(picture.tobytes())
    device = connect(where, files=tmp_path)
    ram, outputs, best = json.loads(device.exec(CODE.format(budget=BUDGET)))
    assert ram <= BUDGET and outputs == wanted.outputs8.tolist()
    order = np.argsort(-wanted.logits16.astype(int), kind="stable")[:5]
    assert [round(score * 65536) for _, score in best] == [wanted.scores[i] for i in order]
