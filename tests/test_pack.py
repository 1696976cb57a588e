"""Packing: what goes in comes out, and what does not fit is refused by name."""

from dataclasses import asdict, replace

import numpy as np
import pytest

import networks
import oracle
from patchnet import pack
from patchnet.planner import plan
from patchnet.quantized import QBottleneck


@pytest.fixture(scope="module")
def qnet():
    """A network with an expanding bottleneck in its second layer."""
    for seed in range(100):
        q = networks.random_qnet(np.random.default_rng(seed))
        if len(q.tunnels[0]) > 1 and isinstance(q.tunnels[0][1], QBottleneck) and q.tunnels[0][1].expand is not None:
            return q
    raise AssertionError("no such network in 100")


def with_layer(q, index, **changes):
    """`q` with a field of one layer of the first tunnel replaced."""
    tunnel = list(q.tunnels[0])
    tunnel[index] = replace(tunnel[index], **changes)
    return replace(q, tunnels=(tuple(tunnel), *q.tunnels[1:]))


def test_round_trip(qnet):
    p = plan(qnet.design)
    blob = pack.pack(qnet, p)
    info = pack.read(blob)
    assert info.labels == list(qnet.design.labels)
    assert [(r["y"], r["x"]) for r in info.patches] == qnet.design.patches()
    assert [{name: r[name] for name in asdict(s)} for r, s in zip(info.layers, p.steps, strict=True)] == [
        asdict(s) for s in p.steps
    ]
    assert info.segments == [asdict(s) for s in p.segments]
    for name in ("arena_bytes", "sum_at", "feature_at", "logit_at"):
        assert info.header[name] == getattr(p, name)
    assert info.header["size"] == len(blob)
    assert oracle.Oracle(blob).labels == list(qnet.design.labels)


def test_same_input_same_bytes(qnet):
    assert pack.pack(qnet) == pack.pack(qnet)


def test_tunnels_share_what_is_equal():
    """Five tunnels with one set of weights take the room of one, and each still finds its own."""
    q = networks.random_qnet(np.random.default_rng(1), networks.random_network(np.random.default_rng(2), k=4))
    tied = replace(q, tunnels=q.tunnels[:1] * len(q.tunnels))
    info = pack.read(pack.pack(tied))
    records = [pack.fmt.PARAM.unpack(pack.pack(tied), info.header["param_off"] + 8 * i) for i in range(
        info.header["tunnels"] * info.header["layers"])]  # fmt: skip
    assert len({r["weight_off"] for r in records}) == info.header["layers"]
    assert len(pack.pack(tied)) < len(pack.pack(q))


def test_wrong_shape(qnet):
    expand = qnet.tunnels[0][1].expand
    cut = replace(expand, bias=expand.bias[:-1])
    with pytest.raises(ValueError, match=r"tunnel 0, layer 1: bias: wanted int32 \(\d+,\), got int32"):
        pack.pack(with_layer(qnet, 1, expand=cut))


def test_wrong_type(qnet):
    depthwise = qnet.tunnels[0][1].depthwise
    wide = replace(depthwise, weight=depthwise.weight.astype(np.int16))
    with pytest.raises(ValueError, match="tunnel 0, layer 1: weight: wanted int8 .* got int16"):
        pack.pack(with_layer(qnet, 1, depthwise=wide))


def test_multiplier_of_zero(qnet):
    project = qnet.tunnels[0][1].project
    dead = replace(project, mult=np.zeros_like(project.mult))
    with pytest.raises(ValueError, match="layer 1: mult: wanted 1..2.31-1, got 0"):
        pack.pack(with_layer(qnet, 1, project=dead))


def test_sum_that_could_overflow(qnet):
    project = qnet.tunnels[0][1].project
    big = replace(project, bias=np.full_like(project.bias, 2**31 - 1))
    with pytest.raises(ValueError, match="layer 1: .* overflow"):
        pack.pack(with_layer(qnet, 1, project=big))


def test_residual_without_multiplier(qnet):
    layer = qnet.tunnels[0][1]
    with pytest.raises(ValueError, match="res_mult"):
        pack.pack(with_layer(qnet, 1, res_mult=0 if layer.shape.residual else 7))


def test_last_zero_points_differ(qnet):
    if len(qnet.tunnels) == 1:
        qnet = replace(qnet, design=replace(qnet.design, k=1, central=True), tunnels=qnet.tunnels * 2)
    last = qnet.tunnels[0][-1]
    with pytest.raises(ValueError, match="last zero_out"):
        pack.pack(with_layer(qnet, len(qnet.tunnels[0]) - 1, zero_out=last.zero_out ^ 1))


def test_tunnels_missing(qnet):
    with pytest.raises(ValueError, match="tunnels: wanted"):
        pack.pack(replace(qnet, tunnels=qnet.tunnels * 2))


def test_label_with_line_feed(qnet):
    labels = ("two\nlines", *qnet.design.labels[1:])
    with pytest.raises(ValueError, match="line feed"):
        pack.pack(replace(qnet, design=replace(qnet.design, labels=labels)))


def test_not_a_blob():
    with pytest.raises(ValueError, match="magic: wanted"):
        pack.read(b"JPEG" + bytes(200))
