"""A blob read back gives what was packed."""

import numpy as np
import pytest

from cases import random_plan
from networks import random_network, random_qnet
from patchnet.blob.pack import pack
from patchnet.blob.quantized import QBottleneck, Scaled
from patchnet.blob.unpack import blob_network, blob_plan, blob_qnet, read


def same(a: Scaled | None, b: Scaled | None) -> bool:
    if a is None or b is None:
        return a is b
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("weight", "bias", "mult"))


@pytest.mark.parametrize("seed", range(20))
def test_shapes_integers_and_plan(seed):
    rng = np.random.default_rng(seed)
    qnet = random_qnet(rng, random_network(rng, 200_000))
    plan = random_plan(rng, qnet.design)
    blob = pack(qnet, plan)
    info, again = read(blob), blob_qnet(blob, "again")
    assert blob_plan(info) == plan and blob_network(info, "again") == again.design
    assert again.design.patches() == qnet.design.patches() and again.input_zero == qnet.input_zero
    a, b = again.end, qnet.end
    assert (a.pool, a.fc_shift, a.fc_zero_out) == (b.pool, b.fc_shift, b.fc_zero_out)
    assert same(a.fc, b.fc) and a.output_scale == np.float32(b.output_scale)
    for got, wanted in zip(again.tunnels, qnet.tunnels, strict=True):
        for a, b in zip(got, wanted, strict=True):
            assert type(a) is type(b) and (a.shift, a.zero_out) == (b.shift, b.zero_out)
            names = ("expand", "depthwise", "project") if isinstance(b, QBottleneck) else ("conv",)
            assert all(same(getattr(a, name), getattr(b, name)) for name in names)
            assert getattr(a, "res_mult", 0) == getattr(b, "res_mult", 0)
