"""Maps of 4 bits: which ones are chosen, what that saves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patchnet import models
from patchnet.blob.unpack import blob_network, read, read_blob
from patchnet.net.recipe import Stage, patch_tunnels
from patchnet.plan import choice, halves
from patchnet.plan.place import block_name

STAGES = (Stage(8, 1, 1, 2), Stage(16, 3, 2, 4), Stage(24, 2, 2, 4))
NETWORK = patch_tunnels("n", ("a", "b"), 32, 32, k=1, central=False, stem_out=8, stages=STAGES)


def read_network(name: str):
    return blob_network(read(read_blob(models.resolve(name))), name)


def cheapest(network, ram: int) -> float | None:
    fits = [point.cost for point in choice.front(network) if point.arena_bytes <= ram]
    return fits[-1] if fits else None


def test_a_halved_map_takes_half_the_bytes_and_nothing_else_changes():
    halved = NETWORK.halved((2, 3))
    assert [layer.kind for layer in halved.chain[2:8]] == ["bottleneck", "int4", "int8"] * 2
    halved.check()
    assert (
        replace(halved, chain=tuple(layer for layer in halved.chain if layer.value_bytes and "int" not in layer.kind))
        == NETWORK
    )
    four, back = halved.chain[3:5]
    assert 2 * four.oh * four.ow * four.cout == back.oh * back.ow * back.cout
    assert (halved.macs, halved.weights, halved.sees) == (NETWORK.macs, NETWORK.weights, NETWORK.sees)
    names = [block_name(halved, i) for i in range(len(halved.chain))]
    assert names[2:9] == ["block 2", "int4 2", "int8 2", "block 3", "int4 3", "int8 3", "block 4"]
    assert halved.float32() == NETWORK.float32()


@pytest.mark.parametrize("after", [(len(NETWORK.chain) - 1,), (0, 99)])
def test_maps_that_may_not_be_halved(after):
    with pytest.raises((ValueError, IndexError)):
        NETWORK.halved(after)


def test_heads_read_whole_maps():
    merged = (Stage(24, 3, 1, 4),)
    network = patch_tunnels("n", ("a", "b"), 32, 32, k=4, stem_out=8, stages=STAGES[:2], merged=merged, head=32)
    heads = network.heads()
    assert not any(network.may_halve(i) for i in (*heads, *(head - 1 for head in heads), len(network.chain) - 1))
    inner = next(i for i in range(len(network.chain), len(network.run())) if network.may_halve(i))
    halved = network.halved((1, inner))
    halved.check()
    assert [layer.kind for layer in halved.run()].count("int4") == 2


def test_a_front_with_maps_of_4_bits_goes_further_down():
    plain = choice.front(NETWORK)
    found = list(halves.options(NETWORK, plain[0].arena_bytes))
    assert found[0].after == () and found[0].network == NETWORK and found[0].least == plain[0].arena_bytes
    assert all(set(a.after) < set(b.after) for a, b in zip(found, found[1:], strict=False))
    assert found[-1].least < 0.9 * found[0].least
    for one in found:
        assert one.cycles == cheapest(one.network, plain[0].arena_bytes)
        assert [size for _, size in one.maps] == [
            NETWORK.chain[i].oh * NETWORK.chain[i].ow * NETWORK.chain[i].cout for i in one.after
        ]


def test_the_fewest_are_chosen_that_bring_nearly_all():
    points = choice.front(NETWORK)
    plain, found = halves.chosen(NETWORK, points[-1].arena_bytes)
    assert found == plain and not found.after  # the fastest plan fits: nothing is given up
    plain, found = halves.chosen(NETWORK, points[0].arena_bytes)
    assert plain.cycles == points[0].cost and found.after and found.cycles < plain.cycles
    rest = [one for one in halves.options(NETWORK, points[0].arena_bytes) if len(one.after) < len(found.after)]
    assert all(one.cycles > halves.NEAR * found.cycles for one in rest)


def test_what_never_fits_is_named():
    with pytest.raises(ValueError, match=r"n: needs [\d,]+ B at least \(maps of 4 bits: \d\), ram 500 B"):
        halves.chosen(NETWORK, 500)


def test_as_many_bytes_as_are_said_to_be_needed_are_enough_and_no_fewer():
    network = read_network("digits")
    with pytest.raises(ValueError, match="needs [0-9,]+ B at least") as e:
        halves.chosen(network, 7)
    least = int(str(e.value).split()[2].replace(",", ""))
    assert halves.chosen(network, least)[1].least == least
    with pytest.raises(ValueError, match=f"needs {least:,} B at least"):
        halves.chosen(network, least - 4)
