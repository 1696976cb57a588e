"""The networks of `patchnet search`: all that its genes make can be built, and is what they say."""

import random
from dataclasses import replace

import numpy as np
import pytest

from patchnet.data.dataset import Dataset
from patchnet.data.look import Looked
from patchnet.make.choose import Wanted, candidates, making_for
from patchnet.make.space import EVEN, LATE, STRIDES, Space
from patchnet.net.recipe import PatchTunnels, Stage
from patchnet.plan import choice

ITEMS = Dataset(("a", "b"), [np.zeros((9, 9, 3), np.uint8)] * 4, np.array([0, 1, 0, 1]), tuple("wxyz"))


def space(side: int = 66) -> Space:
    return Space(making_for("n", Looked("pictures", ITEMS, ITEMS, ((side, side),) * 3, (), ("a", "b"))))


def drawn(own: Space, rng: random.Random) -> dict:
    return {name: rng.choice(values) for name, values in own.genes.items()}


def test_random_genes_are_networks_that_can_be_planned():
    own, rng, seen = space(), random.Random(1), set()
    for i in range(200):
        genes = drawn(own, rng)
        proposal = own.proposal(genes)
        network, r = proposal.network(), proposal.recipe
        assert (r.height, r.k, r.central) == (genes["size"], genes["k"], genes["central"] and r.k > 1)
        assert network.tunnels == r.k + r.central and r.head == genes["head"]
        assert proposal.tied == (genes["tied"] and r.k > 1)
        if genes["begin"] == "nothing":
            assert [s.kernel for s in r.stages] == [genes[f"kernel{j}"] for j in range(genes["stages"])]
        else:
            assert sum(s.n for s in r.stages) == genes["depth"]
        seen.add(proposal.key())
        if i % 10 == 0:  # seconds each
            assert choice.smallest(network).arena_bytes > 0
    assert len(seen) > 195


def test_a_key_is_the_networks_alone():
    own, rng = space(), random.Random(2)
    genes = drawn(own, rng) | {"begin": "lite0", "k": 4}
    one = own.proposal(genes)
    assert one.key() == own.proposal(genes | {"width0": 8, "stages": 3}).key()  # which only others have
    assert one.key() == replace(one, recipe=replace(one.recipe, name="other")).key()
    assert len({own.proposal(genes | {"tied": tied}).key() for tied in (False, True)}) == 2
    assert own.proposal(genes | {"k": 1, "tied": True}) == own.proposal(genes | {"k": 1, "tied": False, "margin": 8})


def test_what_make_would_choose_is_in_it():
    own, wanted = space(), Wanted(16 << 10, 300 << 10, ms=100)
    found = candidates(own.making, wanted)
    assert found and [own.proposal(own.of_candidate(c)).recipe for c in found] == [c.recipe for c in found]
    assert own.of_candidate(found[0]).keys() == own.genes.keys()
    for kernels in (EVEN, LATE):
        genes = next(own.free(4, kernels))
        assert all(value in own.genes[name] for name, value in genes.items())


def test_redistributed_kernels_want_less_margin_for_as_large_a_receptive_field():
    own = space()
    even, late = (own.proposal(next(own.free(4, kernels))).network() for kernels in (EVEN, LATE))
    assert late.sees > even.sees and late.overlap < even.overlap


@pytest.mark.parametrize(("stages", "k", "central", "sees", "overlap"), [
    ((), 1, False, 3, 0), ((Stage(8), Stage(8, 2, 2)), 1, False, 3 + 4 + 4 + 8, 0),
    ((Stage(8, kernel=1),), 4, False, 3, 1 - 32**2 / (4 * 18**2)), ((), 4, True, 3, 1 - 32**2 / (5 * 18**2)),
])  # fmt: skip
def test_receptive_field_and_overlap(stages, k, central, sees, overlap):
    margin = 2 * (k > 1)
    network = PatchTunnels("n", ("a", "b"), 32, 32, 3, k, central, margin, margin, stages=stages).network()
    assert network.sees == (sees, sees) and network.overlap == pytest.approx(overlap)


def test_strides_follow_the_trunk():
    assert STRIDES == (1, 2, 2, 2, 1)
