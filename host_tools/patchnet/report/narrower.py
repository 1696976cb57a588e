"""What narrower numbers would save: 24-bit sums, 4-bit maps."""

from __future__ import annotations

from dataclasses import dataclass

from ..blob.order import alike, sum_bits
from ..blob.quantized import QNet
from ..net.network import Network
from ..plan.modes import NARROW
from ..plan.place import Plan, areas


@dataclass(frozen=True)
class Narrower:
    """What one layer would save, in bytes of its segment, if it kept less than 8 bits of a map or 32 of a sum.

    `sum_bits`: two's complement bits that hold every int32 sum of mode GROUPS whatever the picture (None: no sums, or
    weights unknown), `sums` what 24 of them save: exact where sum_bits <= 24; nothing where they have 24 already.
    `map`: what 4 bits save of an output map that is stored whole; this loses accuracy, so that only training can decide
    it.
    """

    layer: int
    sum_bits: int | None
    sums: int
    map: int


def narrower(network: Network, plan: Plan, qnet: QNet | None = None) -> list[Narrower]:
    """What narrower sums and maps would save under `plan`, layer by layer."""
    integers, out = alike(qnet) if qnet else None, []
    for i, segment in enumerate(plan.segments):
        a = areas(network, plan, i)
        for j, parts in enumerate(a.works):
            last = j == segment.layers - 1
            i = segment.first + j
            sums = 0 if plan.steps[i].mode & NARROW else parts["sums"] // 4
            bits = max(map(sum_bits, integers[i])) if integers and sums else None
            out.append(Narrower(i, bits, sums, a.output // 2 if last and network.may_halve(i) else 0))
    return out
