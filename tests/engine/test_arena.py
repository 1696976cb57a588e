"""What a run does to the arena: how much of it, how much in one step, and that no byte is read that is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from cases import Case, assert_equal, moved, random_blob, random_case, random_raw
from cengine import ROOT, UNTOUCHED, Engine, Where
from difference import check
from oracle import Oracle, arena
from oracle.arena import COVER, FAST, GROUPS, STORED, Area, Flow, Part, Place, Stage, Widths
from oracle.audio import AudioOracle
from patchnet.blob.order import fast_layers
from patchnet.blob.pack import pack
from patchnet.plan.choice import front
from patchnet.plan.modes import FAST_MODES as MODES
from patchnet.plan.place import place

SCRIPT = ROOT / "tests" / "device" / "scripts" / "used.py"


def touched(engine: Engine, rng, run) -> np.ndarray:
    """Which bytes of the arena are written: those that differ from what it was filled with, after some run."""
    used = np.zeros(engine.arena_bytes, bool)
    for fill in (0xA5, 0, *(rng.integers(0, 256, engine.arena_bytes, np.uint8) for _ in range(3))):
        engine.fill = fill
        run()
        used |= engine.arena != fill
    return used


def stages(oracle: Oracle, wanted: Callable[[Stage], bool]) -> Iterator[tuple[Part, Stage, Widths]]:
    """Some layers, in each strip."""
    for part in arena.parts(oracle):
        for strip in part.strips():
            spans = part.spans(strip)
            for stage, before, after in zip(part.stages, spans, spans[1:], strict=False):
                if wanted(stage):
                    yield part, stage, Widths.of(stage, before, after)


def fast_stages(oracle: Oracle) -> Iterator[tuple[Part, Stage, Widths]]:
    """Layers of modes 5 and 6."""
    return stages(oracle, lambda stage: stage.fused)


def convolutions(oracle: Oracle) -> Iterator[tuple[Part, Stage, Widths]]:
    """Those that bring windows together, blocks among them."""
    return stages(oracle, lambda stage: stage.block or (stage.conv and stage.layer.mode != COVER))


def windows_work(stage: Stage, widths: Widths) -> int:
    return arena.block_work(stage, widths) if stage.block else arena.conv_work(stage, widths)


def of_fast_layers(oracle: Oracle) -> np.ndarray:
    """Which bytes of the arena convolutions and layers of modes 5 and 6 have as their own. How much of them is written
    depends on the processor: a Cortex-M7 needs all, see test_fast_layers_use_all_on_device."""
    own = np.zeros(oracle.header.arena_bytes, bool)
    for part, stage, widths in convolutions(oracle):
        own[part.record.work_at :][: windows_work(stage, widths)] = True
    for part, stage, widths in fast_stages(oracle):
        own[part.record.work_at :][: arena.fused_work(stage, widths)] = True
        own[stage.layer.wide_at :][: arena.wide_bytes(stage, widths)] = True
    return own


def unused_by_fast(oracle: Oracle) -> int:
    """Bytes of the memory of a layer of modes 5 and 6 that are there for the alignment alone: pixels outside the map in
    16-bit lines, up to 12 bytes before the expanded lines; and what bias and multiplier take where sums are kept. Or a
    second new line under a kernel that reaches over the whole map. Of convolutions all, if they have one output or are
    a block's, else the place beside an odd pixel, and that of a window that is not brought."""
    unused = [0]
    for _, stage, widths in fast_stages(oracle):
        kernel = stage.along.kernel
        lines = stage.along.stride if stage.layer.mode == FAST else min(kernel, stage.lines_in)
        outside = max(0, arena.widened(stage, widths) - 2 * stage.cin * widths.n_in)
        second = arena.widened(stage, widths) if stage.layer.mode == FAST and stage.lines_in < kernel else 0
        unused.append(lines * outside + 12 + 16 * (stage.layer.group < stage.layer.cexp) + second)
    for _, stage, widths in convolutions(oracle):
        taps = stage.along.kernel * stage.across.kernel
        quads = (taps * stage.cin + 3) // 4
        half = 8 * quads * (widths.n_out % 2) + 4 * quads * (taps == 1)
        outputs = stage.layer.group if stage.layer.mode == GROUPS else stage.layer.cout
        unused.append(windows_work(stage, widths) if outputs == 1 or stage.block else half)
    return max(unused)


def test_fast_layers_use_all_on_device(tmp_path, connect):
    """On the processor that the areas of modes 5 and 6 are for, nearly all bytes of an arena are written, as in other
    modes: in the smallest, a middle and the fastest plan of networks for these modes."""
    limits = {}
    for seed in range(3, 83, 4):
        case, rng = random_case(seed, max_macs=60_000), np.random.default_rng(seed)
        points = front(case.qnet.design, fast=fast_layers(case.qnet))
        for i, point in enumerate((points[0], points[len(points) // 2], points[-1])):
            blob = pack(case.qnet, place(case.qnet.design, point.schedule))
            oracle, name = Oracle(blob), f"case{seed}-{i}"
            if any(layer.mode in MODES for layer in oracle.layers):
                (tmp_path / f"{name}.pnb").write_bytes(blob)
                (tmp_path / f"{name}.raw").write_bytes(random_raw(rng, case.qnet.design).tobytes())
                limits[f"{name}.pnb"] = 16 + unused_by_fast(oracle)
    device = connect("qemu", files=tmp_path)
    unused = dict(line.split() for line in device.exec(SCRIPT.read_text()).splitlines())
    assert len(limits) >= 15 and unused.keys() == limits.keys()
    assert not {name: (n, limits[name]) for name, n in unused.items() if int(n) > limits[name]}


@pytest.mark.parametrize("seed", range(40))
def test_arena_is_exact(seed):
    """Any old contents give the same result, and all but alignment of the bytes asked for are really used: in all that
    the planner offers for a network, from the smallest plan to the fastest."""
    case, rng = random_case(3000 + seed, max_macs=200_000), np.random.default_rng(seed)
    wanted = case.oracle.run_image(*case.picture.args())
    for point in front(case.qnet.design, fast=fast_layers(case.qnet)):
        blob = pack(case.qnet, place(case.qnet.design, point.schedule))
        engine = Engine(blob)
        used = touched(engine, rng, lambda e=engine: assert_equal(e.run_image(*case.picture.args()), wanted))
        used |= of_fast_layers(Oracle(blob))
        assert engine.arena_bytes == point.arena_bytes
        assert used[-16:].any() and used.sum() >= engine.arena_bytes - 16


@pytest.mark.parametrize("seed", range(20))
def test_old_contents_do_not_matter(seed):
    """Nor in any other plan."""
    case, rng = random_case(3100 + seed), np.random.default_rng(seed)
    wanted, engine = case.oracle.run_image(*case.picture.args()), Engine(case.blob)
    touched(engine, rng, lambda: assert_equal(engine.run_image(*case.picture.args()), wanted))


SHIPPED = sorted((ROOT / "host_tools" / "patchnet" / "models").glob("*.pnb"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_networks(path):
    """The oracle's bytes, in an arena of which a run uses all, but for what a stream of sound keeps above it."""
    blob, rng = path.read_bytes(), np.random.default_rng(0)
    oracle, engine = Oracle(blob), Engine(blob)
    assert arena.plan_is_sound(blob)
    x = rng.integers(-128, 128, (oracle.header.height, oracle.header.width, oracle.header.channels)).astype(np.int8)
    wanted = oracle.run_raw(x)
    used = touched(engine, rng, lambda: assert_equal(engine.run_raw(x), wanted)) | of_fast_layers(oracle)
    engine.threshold = 0  # so many candidates that there is no room for more
    used |= touched(engine, rng, lambda: engine.run_raw(x))
    stream = AudioOracle(blob).stream_bytes if oracle.header.task == 3 else 0
    assert used.sum() >= engine.arena_bytes - stream - 16
    assert not used[engine.arena_bytes - stream :].any()


def inside(positions: np.ndarray, area: Area) -> int:
    """How many of the positions lie in an area."""
    return int(((positions >= area[0]) & (positions < area[0] + area[1])).sum())


def assert_bounded(case: Case, where: Where, changed: np.ndarray) -> None:
    """A step writes at most one line of its layer's output, one line of each ring that it fills, what the work area has
    for one line, and nothing outside the places of its segment."""
    part = arena.part(case.oracle, where.segment)
    strip = next(s for s in part.strips() if not part.columns or s[0] == where.row)
    areas, i = arena.strip_areas(case.oracle, part, strip), where.layer - part.record.first
    stage, widths = part.stages[i], Widths.of(part.stages[i], *part.spans(strip)[i : i + 2])
    layer, last = stage.layer, i + 1 == len(part.stages)
    line = replace(stage, layer=layer._replace(rows=1))
    limits = {
        Place("segment", part.index, "work_at"): arena.work_bytes(line, widths, part.staged and last),
        Place("layer", where.layer, "wide_at"): (
            arena.wide_bytes(stage, widths)
            if stage.fused or layer.mode == COVER
            else (widths.n_mid if stage.block else widths.n_in) * layer.cexp
        ),
        Place("layer", where.layer, "ring_at"): widths.n_in * stage.cin if where.layer == 0 else 0,
        Place("segment", part.index, "out_at") if last else Place("layer", where.layer + 1, "ring_at"): (
            widths.n_out * layer.cout
        ),
    }
    for target, limit in limits.items():
        assert inside(changed, areas.get(target, (0, 0))) <= limit, target
    allowed = np.zeros(case.oracle.header.arena_bytes, bool)
    for at, n in areas.values():
        allowed[at : at + n] = True
    assert allowed[changed].all()


@pytest.mark.parametrize("seed", range(24))
def test_a_step_is_bounded(seed):
    case = random_case(4000 + seed, max_macs=30_000)
    engine, layers, before = Engine(case.blob), len(case.oracle.layers), None
    engine.fill = np.random.default_rng(seed).integers(0, 256, engine.arena_bytes, np.uint8)
    engine.start_image(*case.picture.args())
    more = True
    while more:
        before, where = engine.arena.copy(), engine.where()
        _, more = engine.steps(1)
        after = engine.where()
        if where.layer < layers and (after.tunnel, after.segment) == (where.tunnel, where.segment):
            assert_bounded(case, where, np.flatnonzero(engine.arena != before))


def steps_of(part: Part) -> int:
    """One per line that is made or expanded, and per group; modes 5 and 6 make a line with all its groups."""
    flow = Flow(part)
    steps = flow.alone
    for stage, first, end in flow.chunks:
        layer = stage.layer
        channels = layer.cout if stage.conv else layer.cexp
        groups = -(-channels // layer.group) if layer.mode in (GROUPS, STORED) else 1
        steps += (end - first) * groups
    return steps * len(part.strips())


@pytest.mark.parametrize("seed", range(24))
def test_number_of_steps(seed):
    """That is what keeps Ctrl-C near."""
    case = random_case(4000 + seed)
    engine = Engine(case.blob)
    engine.run_image(*case.picture.args())
    assert engine.n_steps >= case.qnet.design.tunnels * sum(steps_of(part) for part in arena.parts(case.oracle))


# The checking build: every byte of the arena has an owner


@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_read_that_is_not_there(seed):
    """No read of what was never written or written over; and each byte that a run has changed has an owner."""
    case, rng = random_case(8000 + seed, max_macs=200_000), np.random.default_rng(seed)
    for blob in (case.blob, *(random_blob(rng, case.qnet) for _ in range(3))):
        engine = Engine(blob, checking=True)
        check(engine, case.oracle.run_image(*case.picture.args()), case.picture, case)
        assert engine.fault() is None
        assert (engine.tags != UNTOUCHED)[engine.arena != engine.fill].all()


def can_be_run(blob: bytes) -> bool:
    """Whether an unsound plan leads neither out of the arena nor into the state, without which the engine is lost."""
    oracle = Oracle(blob)
    if not arena.segments_are_sound(oracle):
        return False
    for areas in arena.all_areas(oracle):
        state = [area for place, area in areas.items() if place.field == "state_at"]
        others = [area for place, area in areas.items() if place.field != "state_at"]
        if not arena.inside(oracle, areas) or any(arena.overlap(a, b) for a in state for b in others):
            return False
    return True


def array_order(blob: bytes) -> list:
    """What the order of the arrays follows from, which stay as they are when a number of the plan is moved."""
    oracle = Oracle(blob)
    stages = [(stage, part.columns) for part in arena.parts(oracle) for stage in part.stages]
    return [(stage.layer.mode, stage.layer.group, columns) if stage.fused else None for stage, columns in stages]


@pytest.mark.parametrize("seed", range(20))
def test_what_a_bad_plan_spoils_is_seen(seed):
    """A number of the plan is made wrong behind the loader's back: if the result is wrong, the checking build knows."""
    case, rng, spoilt = random_case(9200 + seed, max_macs=50_000), np.random.default_rng(seed), 0
    wanted = case.oracle.run_image(*case.picture.args())
    engine = Engine(case.blob, checking=True)
    engine.run_image(*case.picture.args())
    total = engine.n_steps
    for _ in range(3000):
        if spoilt > 10:
            break
        field, bad = moved(rng, case.blob)
        if arena.plan_is_sound(bad) or not can_be_run(bad) or array_order(bad) != array_order(case.blob):
            continue
        engine.blob[:] = np.frombuffer(bad, np.uint8)
        engine.start_image(*case.picture.args())
        _, more = engine.steps(4 * total)
        if more or (engine.results().logits16 != wanted.logits16).any():
            assert engine.fault(), field
            spoilt += 1
    assert spoilt
