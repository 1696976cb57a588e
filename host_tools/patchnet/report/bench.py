"""Counting instructions on the emulated Cortex-M7: the four blocks that others publish, and whole networks.

A microsecond of the emulated clock is 1000 instructions, exactly (`remote.Board.qemu`, icount), so `Model.profile`
counts instructions layer by layer. Instructions are not cycles, as a load of several words counts once: these are
modelled (`cycles`), of the engine alone.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from .. import models, rooms
from ..blob import qnet_file
from ..blob.files import model_file
from ..blob.order import fast_layers
from ..blob.pack import layerwise, pack
from ..blob.quantized import QNet
from ..blob.random import random_qnet
from ..blob.unpack import blob_network, blob_plan, blob_qnet, read, read_blob
from ..board.remote import FIRMWARE, PATIENCE, ROM_SIZE, Board
from ..net import zoo
from ..net.layers import Layer
from ..net.network import Network, aligned
from ..plan import choice, costs
from ..plan.modes import DIRECT, FAST, GROUPS, ROLLING, STORED, SWEEP
from ..plan.place import Plan, Segment, Step, areas, block_name, place
from ..plan.sources import Flash
from . import cycles
from .cycles import Cycles

log = logging.getLogger(__name__)
PER_MICROSECOND = 1000
ROM_SPARE = 1 << 16  # of the emulated board's ROM, for names and alignment of files

# Four blocks of MobileNetV2's kind, and what others take for them: instructions per multiply-accumulate, counted alike
BLOCKS = (
    Layer("bottleneck", 65, 65, 8, 48, 16, 3, 2, True, False),
    Layer("bottleneck", 33, 33, 16, 96, 16, 3, 1, True, True),
    Layer("bottleneck", 17, 17, 24, 144, 24, 3, 1, True, True),
    Layer("bottleneck", 9, 9, 40, 240, 40, 3, 1, True, True),
)
PEERS = {"CMSIS-NN": (5.73, 4.44, 3.65, 2.85), "TinyEngine": (4.21, 3.31, 2.79, 2.50)}

# (mode, output lines of a chunk, 0 for all, how many groups the expanded channels are cut into, 0 for a mode without
# groups)
BLOCK_SCHEDULES = {
    "fast": (FAST, 1, 1),
    "fast, 2 groups": (FAST, 1, 2),
    "fast, 3 groups": (FAST, 1, 3),
    "sweep, 6 groups, 1 line": (SWEEP, 1, 6),
    "sweep, 6 groups, 2 lines": (SWEEP, 2, 6),
    "sweep, 6 groups, 4 lines": (SWEEP, 4, 6),
    "sweep, 6 groups, 8 lines": (SWEEP, 8, 6),
    "sweep, 6 groups, all lines": (SWEEP, 0, 6),
    "rolling": (ROLLING, 1, 0),
    "groups, 3": (GROUPS, 1, 3),
    "stored, 3 groups": (STORED, 1, 3),
}

# "fast, strips": rows of a strip and groups of channels for each block, so that little memory is needed.
STRIPS = (17, 1), (17, 3), (6, 1), (4, 4)

Progress = Callable[[str], None]


# ---------------------------------------------------------------- what is measured


@dataclass(frozen=True)
class Job:
    """A blob to be measured."""

    name: str
    schedule: str
    network: Network
    plan: Plan
    blob: bytes


@dataclass(frozen=True)
class BlockCount:
    """Instructions of a block by itself. `scratch` are the bytes that it needs besides input map, output map and
    weights: rings, wide lines, state and work."""

    name: str
    schedule: str
    instructions: int
    macs: int
    per_mac: float
    scratch: int
    cycles: Cycles


@dataclass(frozen=True)
class NetworkCount:
    """Instructions of a network, all tunnels together, and of its layers, the fully connected one last.

    `macs` are nominal. `predicted`, `predicted_cycles` and `predicted_read` are what the planner says, `large` the
    instructions with a picture of LARGE pixels. `cycles`: modelled, of the layers.
    """

    name: str
    schedule: str
    instructions: int
    macs: int
    per_mac: float
    arena: int
    predicted: int
    predicted_cycles: int
    predicted_read: int
    large: int
    layers: dict[str, int]
    cycles: dict[str, Cycles]

    def all_cycles(self) -> Cycles:
        return sum(self.cycles.values(), Cycles())


LARGE = (320, 240)


def block_network(block: Layer) -> Network:
    """The block after a 1x1 convolution that makes its input and before one that takes its output, both cheap."""
    stem = Layer("conv", block.h, block.w, 1, 0, block.cin, 1, 1)
    tail = Layer("conv", block.oh, block.ow, block.cout, 0, 4, 1, 2)
    end = rooms.part("classify", "end").Pooled()
    return Network("block", ("a", "b"), block.h, block.w, 1, (block.h, block.w), ((0, 0),), (stem, block, tail), end)


def block_step(block: Layer, mode: int, lines: int, groups: int) -> tuple[int, int, int]:
    """(mode, rows, group) with chunks of `lines` lines (0: all) and the expanded channels in `groups` groups."""
    group = min(block.cexp, aligned(-(-block.cexp // groups))) if groups else 0
    return mode, min(lines, block.oh) or block.oh, group


def _higher(record: Segment | Step, by: int, names: Sequence[str]):
    """With these places `by` bytes higher, but for those that are unused."""
    return replace(record, **{name: getattr(record, name) + by for name in names if getattr(record, name)})


def block_plan(network: Network, step: tuple[int, int, int], strip: int | None = None) -> Plan:
    """Each layer in a segment of its own, the block's cut into strips of `strip` rows (None: whole); the block's maps
    stay where it wants them, above all that the other two layers need, so that none is moved before or after."""
    first, block, last = network.layers()
    parts = ((first.oh, (DIRECT, 1, 0)), (strip or block.oh, step), (last.oh, (DIRECT, 1, 0)))
    plan = place(network, [(rows, (own,)) for rows, own in parts])
    above, (before, own, behind) = aligned(plan.arena_bytes), plan.segments
    own = replace(_higher(own, above, ("state_at", "work_at")), in_at=own.in_at + above, out_at=own.out_at + above)
    return replace(
        plan,
        arena_bytes=above + plan.arena_bytes,
        segments=(replace(before, out_at=own.in_at), own, replace(behind, in_at=own.out_at)),
        steps=(plan.steps[0], _higher(plan.steps[1], above, ("ring_at", "wide_at")), plan.steps[2]),
    )


def scratch(network: Network, plan: Plan, index: int) -> int:
    """Bytes of a segment besides its maps."""
    a = areas(network, plan, index)
    return sum(a.rings) + sum(a.wides) + a.state + a.work


def block_jobs() -> Iterator[Job]:
    for i, block in enumerate(BLOCKS, 1):
        network = block_network(block)
        qnet = random_qnet(network, i)
        for name, schedule in BLOCK_SCHEDULES.items():
            plan = block_plan(network, block_step(block, *schedule))
            yield Job(f"block {i}", name, network, plan, pack(qnet, plan))
        strip, groups = STRIPS[i - 1]
        plan = block_plan(network, block_step(block, FAST, 1, groups), strip)
        yield Job(f"block {i}", "fast, strips", network, plan, pack(qnet, plan))


def network_jobs(name: str, qnet: QNet, own: Plan | None = None) -> Iterator[Job]:
    """A network by its `own` plan, or else by the planner's choice, by its cheapest plan, and layer by layer."""
    network, fast = qnet.design, fast_layers(qnet)
    for schedule, plan in (
        ("as packed", own) if own else ("the planner's", choice.plan(network, fast=fast)),
        ("cheapest", choice.fastest(network, fast=fast)),
        ("layer by layer", layerwise(qnet)),
    ):
        yield Job(name, schedule, network, plan, pack(qnet, plan))


def networks(runs: Path | None) -> Iterator[tuple[str, QNet]]:
    """The shipped networks, or those of the same name in a folder of runs, and the paper's with random weights."""
    for name in models.names():
        made = runs / name / "qnet.npz" if runs else None
        try:
            yield name, qnet_file.load(made) if made else blob_qnet(read_blob(models.resolve(name)), name)
        except (OSError, ValueError, KeyError, ImportError) as e:
            log.warning("%s is left out: %s", name, e)
    yield "imagenet-63k", random_qnet(zoo.network("imagenet-63k"))


# ---------------------------------------------------------------- on the board

_LOOP = """
import time
@micropython.asm_thumb
def loop(r0):
    label(AGAIN)
    sub(r0, r0, 1)
    bne(AGAIN)
def us(n):
    began = time.ticks_us()
    loop(n)
    return time.ticks_diff(time.ticks_us(), began)
print(us(21_000_000) - us(1_000_000))
"""

_MEASURE = (
    cycles.FRAME
    + """
import gc, json
with patchnet.Model("{name}") as m:
    print(json.dumps([row[2] for row in m.profile(frame(m, {width}, {height}))]))
gc.collect()
"""
)


def check_counter(board: Board) -> None:
    """40 million instructions, 20 million turns of a loop of two, must be counted as that, but for a microsecond."""
    counted = int(board.exec(_LOOP))
    if abs(counted - 40_000) > 1:
        raise RuntimeError(f"the emulator counts {counted * PER_MICROSECOND:,} instructions of a loop of 40,000,000")


def measure(board: Board, name: str, width: int, height: int, timeout: float = 600 * PATIENCE) -> list[int]:
    """Instructions of each layer of the blob `name`, all tunnels together, then of what follows them.

    It classifies a frame in RGB565 from the file "picture".
    """
    answer = board.exec(_MEASURE.format(name=name, width=width, height=height), timeout)
    return [PER_MICROSECOND * us for us in json.loads(answer)]


def _block_count(board: Board, job: Job, file: str, modelled: Sequence[Cycles]) -> BlockCount:
    block = job.network.layers()[1]
    n = measure(board, file, job.network.width, job.network.height)[1]
    return BlockCount(
        job.name, job.schedule, n, block.macs, n / block.macs, scratch(job.network, job.plan, 1), modelled[1]
    )  # fmt: skip


def _network_count(board: Board, job: Job, file: str, modelled: Sequence[Cycles]) -> NetworkCount:
    network = job.network
    counts, large = (measure(board, file, *size) for size in ((network.width, network.height), LARGE))
    names = [block_name(network, i) for i in range(len(network.run()))]
    if len(counts) > len(names):
        names.append("fully connected" if network.end.fully_connected(network) else "end")
    n = sum(counts)
    predicted, cycles = (round(costs.predicted(network, job.plan, by)) for by in ("instructions", "cycles"))
    read = Flash(0).reads(network, job.plan)
    return NetworkCount(
        job.name, job.schedule, n, network.macs, n / network.macs, job.plan.arena_bytes, predicted, cycles, read,
        sum(large),
        dict(zip(names, counts, strict=True)), dict(zip([*names, "end"], modelled, strict=False)),
    )  # fmt: skip


def _picture(jobs: Sequence[Job]) -> bytes:
    """Noise, enough for every frame."""
    pixels = max(width * height for width, height in [LARGE, *((j.network.width, j.network.height) for j in jobs)])
    return np.random.default_rng(0).integers(0, 256, 2 * pixels, dtype=np.uint8).tobytes()


def _boards(jobs: Iterable[Job], room: int) -> Iterator[list[Job]]:
    """The jobs in their order, as many at a time as a board's `room` for blobs holds."""
    together: list[Job] = []
    for job in jobs:
        if together and sum(len(j.blob) for j in (*together, job)) > room:
            yield together
            together = []
        together.append(job)
    yield together


def _counted(jobs: Sequence[Job], count: Callable, firmware: Path, told: Progress) -> list:
    """`count` of each job, on as few boards as have room for them, each board's counter checked first."""
    out, picture = [], _picture(jobs)
    for together in _boards(jobs, ROM_SIZE - len(picture) - ROM_SPARE):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "picture").write_bytes(picture)
            for i, job in enumerate(together):
                (Path(folder) / f"{i}.pnb").write_bytes(job.blob)
            told("cycles")
            modelled = cycles.measured([job.blob for job in together], picture, firmware)
            with Board.qemu(folder, firmware, icount=True) as board:
                check_counter(board)
                for i, job in enumerate(together):
                    told(f"{job.name}, {job.schedule}")
                    out.append(count(board, job, f"{i}.pnb", modelled[i]))
    return out


@dataclass(frozen=True)
class Bench:
    blocks: list[BlockCount]
    networks: list[NetworkCount]


def run(
    firmware: Path = FIRMWARE, runs: Path | None = None, with_networks: bool = True, told: Progress = lambda _: None
) -> Bench:
    """The blocks and, unless they are not wanted, the networks; `told` hears what is being measured.

    FileNotFoundError without firmware (`make qemu`), RuntimeError if the emulator does not count as it should.
    """
    counts = _counted(list(block_jobs()), _block_count, firmware, told)
    measured = []
    for name, qnet in networks(runs) if with_networks else ():
        told(f"{name}: planning")
        measured += _counted(list(network_jobs(name, qnet)), _network_count, firmware, told)
    return Bench(counts, measured)


def run_model(model: str, firmware: Path = FIRMWARE, told: Progress = lambda _: None) -> Bench:
    """One network alone, by the plan in its blob and by two others: a shipped name, .pnb or run, or shapes of `zoo`."""
    if model in zoo.NAMES:
        jobs = list(network_jobs(model, random_qnet(zoo.network(model))))
    else:
        path = model_file(model, "qemu")
        blob = read_blob(path)
        info = read(blob)
        network, plan = blob_network(info, path.stem), blob_plan(info)
        if network.value_bytes > 1:
            jobs = [Job(path.stem, "as packed", network, plan, blob)]
        else:
            jobs = list(network_jobs(path.stem, blob_qnet(blob, path.stem), plan))
    return Bench([], _counted(jobs, _network_count, firmware, told))


def to_dict(bench: Bench) -> dict:
    return asdict(bench)


# ---------------------------------------------------------------- tables


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    out = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in (*left, *right):
        out.add_column(name, justify="left" if name in left else "right", no_wrap=True)
    return out


def _shape(block: Layer) -> str:
    more = ", residual" if block.residual else ""
    return f"{block.h}x{block.w}x{block.cin}, {block.cexp}, {block.cout}, stride {block.stride}{more}"


def _block_table(i: int, counts: Iterable[BlockCount]) -> Table:
    columns = ("instructions", "per MAC", "cycles", "MAC a cycle", "scratch")
    out = _table(f"block {i + 1}: {_shape(BLOCKS[i])}", ("schedule",), columns)
    for peer, figures in PEERS.items():
        out.add_row(peer, "", f"{figures[i]:.2f}", "", "", "")
    for c in counts:
        out.add_row(
            c.schedule, f"{c.instructions:,}", f"{c.per_mac:.2f}", _range(c.cycles), _rate(c.macs, c.cycles),
            f"{c.scratch:,} B",
        )  # fmt: skip
    return out


def _range(c: Cycles) -> str:
    return f"{c.least / 1e6:.2f} to {c.most / 1e6:.2f} M"


def _rate(macs: int, c: Cycles) -> str:
    """Multiply-accumulates a cycle, the least first."""
    return f"{macs / c.most:.2f} to {macs / c.least:.2f}"


def _layer_table(name: str, counts: Sequence[NetworkCount]) -> Table:
    out = _table(f"{name}: {counts[0].macs:,} MACs; instructions", ("",), tuple(c.schedule for c in counts))
    for layer in counts[0].layers:
        out.add_row(layer, *(f"{c.layers[layer]:,}" for c in counts))
    rows = (
        ("all", lambda c: f"{c.instructions:,}"),
        ("per MAC", lambda c: f"{c.per_mac:.3f}"),
        ("predicted", lambda c: f"{c.predicted / c.instructions - 1:+.1%}"),
        ("cycles, modelled", lambda c: _range(c.all_cycles())),
        ("MAC a cycle", lambda c: _rate(c.macs, c.all_cycles())),
        ("predicted", lambda c: f"{2 * c.predicted_cycles / (c.all_cycles().least + c.all_cycles().most) - 1:+.1%}"),
        (f"all, picture {LARGE[0]}x{LARGE[1]}", lambda c: f"{c.large:,}"),
        ("flash read, 16 KB of cache", lambda c: f"{c.all_cycles().read:,} B"),
        ("predicted", lambda c: f"{c.predicted_read / c.all_cycles().read - 1:+.1%}"),
        ("arena", lambda c: f"{c.arena:,} B"),
    )
    for label, of in rows:
        out.add_row(label, *map(of, counts), style="bold" if label == "per MAC" else None)
    return out


def tables(bench: Bench) -> list[Table]:
    """One of each block, one of each network."""
    of_blocks = [[c for c in bench.blocks if c.name == f"block {i + 1}"] for i in range(len(BLOCKS))]
    out = [_block_table(i, counts) for i, counts in enumerate(of_blocks) if counts]
    names = dict.fromkeys(c.name for c in bench.networks)
    return out + [_layer_table(name, [c for c in bench.networks if c.name == name]) for name in names]
