"""Counting instructions: the networks that are measured, what their figures are made of, and the counter itself."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from cengine import Engine
from networks import random_qnet, random_recipe
from patchnet import cli
from patchnet.blob import random
from patchnet.blob.order import fast_layers
from patchnet.blob.pack import layerwise, pack
from patchnet.board.remote import FIRMWARE
from patchnet.net import zoo
from patchnet.net.recipe import PatchTunnels, Stage
from patchnet.plan import costs
from patchnet.plan.modes import DIRECT, FAST, NOT_FAST, SWEEP, fast_shape, fast_sums
from patchnet.plan.place import block_name
from patchnet.plan.sources import Flash
from patchnet.report import bench, cycles
from patchnet.report.bench import BLOCKS, LARGE, Bench, BlockCount, NetworkCount
from patchnet.report.cycles import Cycles
from patchnet.tasks.detect.end import Detection, Scale
from patchnet.tasks.raw.end import LastMap

RECIPE = PatchTunnels(
    "small", ("a", "b", "c"), 20, 24, k=4, margin_h=2, margin_w=3, stem_out=3, stages=(Stage(8, 2, 2, 4),)
)
SMALL = RECIPE.network()


# ---------------------------------------------------------------- networks


def test_random_integers_keep_values_apart():
    """Not all saturated, not all the same: else a kernel could take short cuts that a real network does not."""
    qnet = random.random_qnet(zoo.network("vww-18k"))
    d = qnet.design
    x = np.random.default_rng(0).integers(-128, 128, (d.height, d.width, d.channels)).astype(np.int8)
    outputs = Engine(pack(qnet, layerwise(qnet))).run_raw(x)
    assert len(np.unique(outputs.logits16)) == len(d.labels) and (np.abs(outputs.logits16.astype(int)) < 32767).all()


@pytest.mark.parametrize("name", ["imagenet-63k", "mcunet-vww1"])
def test_random_integers_allow_fast_modes_wherever_shapes_do(name):
    network = zoo.network(name)
    assert list(fast_layers(random.random_qnet(network))) == [
        fast_sums(layer) if fast_shape(layer) else NOT_FAST for layer in network.layers()
    ]


def test_random_integers_follow_from_the_seed():
    a, b, c = (random.random_qnet(SMALL, seed).tunnels[0][0].conv.weight for seed in (1, 1, 2))
    assert (a == b).all() and (a != c).any()


def test_layer_by_layer():
    qnet = random.random_qnet(SMALL)
    plan = layerwise(qnet)
    assert [s.layers for s in plan.segments] == [1, 1, 1]
    assert [s.mode for s in plan.steps] == [DIRECT, FAST, FAST]


# ---------------------------------------------------------------- blocks


def test_blocks_are_those_of_the_design_page():
    assert all(map(fast_shape, BLOCKS))
    assert [round(block.macs / 1e4) for block in BLOCKS] == [293, 429, 237, 173]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.h}x{block.w}")
@pytest.mark.parametrize("schedule", bench.BLOCK_SCHEDULES)
def test_a_block_stands_alone(block, schedule):
    network = bench.block_network(block)
    step = bench.block_step(block, *bench.BLOCK_SCHEDULES[schedule])
    plan = bench.block_plan(network, step)
    first, own, last = plan.segments
    assert network.layers()[1] == block
    assert (plan.steps[1].mode, plan.steps[1].rows, plan.steps[1].group) == step
    assert first.out_at == own.in_at and own.out_at == last.in_at  # nothing is moved
    ends = own.work_at + 1, own.state_at + 1, plan.steps[1].wide_at
    assert bench.scratch(network, plan, 1) < plan.arena_bytes and max(ends) <= plan.arena_bytes


def test_groups_of_a_block():
    assert [bench.block_step(BLOCKS[0], SWEEP, 1, n)[2] for n in (1, 2, 3, 6, 0)] == [48, 24, 16, 8, 0]
    assert [bench.block_step(BLOCKS[0], SWEEP, n, 1)[1] for n in (1, 8, 99, 0)] == [1, 8, 33, 33]
    assert bench.block_step(BLOCKS[3], SWEEP, 1, 7)[2] == 36  # a multiple of 4


def test_scratch_of_a_block():
    """Block 4, fast: kept lines, widened line, two expanded lines, depthwise values and state."""
    network = bench.block_network(BLOCKS[3])
    plan = bench.block_plan(network, (FAST, 1, 240))
    words = 5  # of a line: 9 pixels and the one before it, in pairs
    kept, window, values = 240 * 4 * words, 4 * words * 40 + 8 * words + 4, 4 * 5 * 240
    assert bench.scratch(network, plan, 1) == kept + window + values + 60


def test_every_schedule_of_a_block_gives_the_same():
    jobs = [job for job in bench.block_jobs() if job.name == "block 4"]
    x = np.random.default_rng(0).integers(-128, 128, (9, 9, 1)).astype(np.int8)
    outputs = [Engine(job.blob).run_raw(x).logits16.tolist() for job in jobs]
    assert len(jobs) == len(bench.BLOCK_SCHEDULES) + 1 and all(o == outputs[0] for o in outputs)


# ---------------------------------------------------------------- networks that are measured


def test_networks_that_cannot_be_read_are_told(tmp_path, caplog):
    found = dict(bench.networks(tmp_path))
    assert set(found) == {"imagenet-63k"} and len(caplog.messages) == len(bench.models.names())
    assert all("is left out" in line for line in caplog.messages)


def test_schedules_of_a_network():
    jobs = list(bench.network_jobs("small", random.random_qnet(SMALL)))
    assert [job.schedule for job in jobs] == ["the planner's", "cheapest", "layer by layer"]
    assert all(job.blob == pack(random.random_qnet(SMALL), job.plan) for job in jobs)


def test_schedules_of_a_network_that_detects():
    """Every one gives the same; each layer behind the chains is counted, then the search for boxes."""
    scales = Scale(((9, 9),), (Stage(8, 1, 1, 2),)), Scale(((14, 14),), (Stage(8, 1, 2, 2),))
    network = replace(RECIPE, margin_h=6, margin_w=4, end=Detection(scales)).network()
    jobs = list(bench.network_jobs("small", random_qnet(np.random.default_rng(0), network)))
    x = np.random.default_rng(0).integers(-128, 128, (20, 24, 3)).astype(np.int8)
    outputs = [Engine(job.blob).run_raw(x).outputs8.tolist() for job in jobs]
    assert len(jobs) == 3 and all(o == outputs[0] for o in outputs) and len(set(outputs[0])) > 5
    names = [block_name(network, i) for i in range(len(network.run()))]
    assert names == ["stem", "block 1", "block 2", "block 3", "head 1", "block 5", "head 2"]


# ---------------------------------------------------------------- output


def made() -> Bench:
    cycles = Cycles(2_900_000, 2_500_000, 4_000_000, 60_000)
    blocks = [BlockCount(f"block {i}", "fast", 3_000_000, 2_000_000, 1.5, 9_436, cycles) for i in range(1, 5)]
    layers, modelled = {"stem": 700, "fully connected": 300}, {"stem": cycles, "fully connected": cycles}
    predicted = 1_020, 3_400_000, 123_600
    return Bench(
        blocks, [NetworkCount("net", "cheapest", 1_000, 800, 1.25, 4_096, *predicted, 5_000, layers, modelled)]
    )


def test_json_has_the_named_fields():
    values = json.loads(json.dumps(bench.to_dict(made())))
    assert set(values) == {"blocks", "networks"}
    assert set(values["blocks"][0]) == {"name", "schedule", "instructions", "macs", "per_mac", "scratch", "cycles"}
    assert values["networks"][0]["layers"] == {"stem": 700, "fully connected": 300}
    stem = values["networks"][0]["cycles"]["stem"]
    assert stem == {"instructions": 2_900_000, "least": 2_500_000, "most": 4_000_000, "read": 60_000}


def test_tables_show_the_peers():
    console = Console(width=150, file=io.StringIO())
    for table in bench.tables(made()):
        console.print(table)
    text = console.file.getvalue()
    for word in (
        "65x65x8",
        "CMSIS-NN",
        "5.73",
        "2.85",
        "TinyEngine",
        "9,436 B",
        "1.250",
        "+2.0%",
        "4,096 B",
        "2.50 to 4.00 M",
        "0.50 to 0.80",
        "5.00 to 8.00 M",
        "120,000 B",
        "+3.0%",
    ):
        assert word in text


def test_command(monkeypatch, capsys):
    monkeypatch.setattr(bench, "run", lambda firmware, runs, with_networks, told: told("cycles") or made())
    assert cli.main(["bench", "--on", "qemu", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == bench.to_dict(made()) and not err, "progress is for terminals"
    assert cli.main(["bench"]) == 0 and "TinyEngine" in capsys.readouterr().out


def test_boards_hold_what_fits_and_lose_nothing():
    jobs = [bench.Job(str(n), "", SMALL, None, bytes(n)) for n in (4, 5, 1, 9, 12, 3, 3, 3)]
    assert [[len(j.blob) for j in some] for some in bench._boards(jobs, 10)] == [[4, 5, 1], [9], [12], [3, 3, 3]]


def test_a_network_by_name_is_measured_alone(monkeypatch, capsys):
    monkeypatch.setattr(bench, "run", None)  # which would measure all
    monkeypatch.setattr(bench, "_counted", lambda jobs, count, firmware, told: [(j.name, j.schedule) for j in jobs])
    found = bench.run_model("person")
    assert not found.blocks
    assert found.networks == [("person", name) for name in ("as packed", "cheapest", "layer by layer")]
    assert bench.run_model("vww-18k").networks[0] == ("vww-18k", "the planner's")
    monkeypatch.setattr(bench, "run_model", lambda model, firmware, told: bench.Bench([], made().networks))
    assert cli.main(["bench", "--on", "qemu", "person"]) == 0
    assert "CMSIS" not in capsys.readouterr().out, "a table of blocks"
    monkeypatch.undo()
    assert cli.main(["bench", "nosuch"]) == cli.USER_ERROR and "nosuch" in capsys.readouterr().err


def test_missing_firmware_is_one_line(capsys):
    assert cli.main(["bench", "--blocks", "--firmware", "nowhere.elf"]) == cli.USER_ERROR
    assert capsys.readouterr().err.splitlines()[-1] == "patchnet: nowhere.elf is missing: run `make qemu`"


def test_the_picture_is_enough_for_every_frame():
    jobs = [bench.Job("a", "b", SMALL, None, b"")]
    assert len(bench._picture(jobs)) == 2 * LARGE[0] * LARGE[1]


# ---------------------------------------------------------------- the counter


class Counting:
    """A board that counts `wrong` thousand instructions too many."""

    def __init__(self, wrong: int):
        self.wrong = wrong

    def exec(self, code: str) -> str:
        return f"{40_000 + self.wrong}\n"


def test_a_counter_that_is_off_is_an_error():
    bench.check_counter(Counting(-1))
    with pytest.raises(RuntimeError, match="40,002,000"):
        bench.check_counter(Counting(2))


def test_costs_predict_a_network(connect, tmp_path):
    """Instructions, which do not depend on the machine that emulates."""
    qnet = random.random_qnet(zoo.network("vww-18k"))
    jobs = list(bench.network_jobs("vww-18k", qnet))
    (tmp_path / "picture").write_bytes(bench._picture(jobs))
    for i, job in enumerate(jobs):
        (tmp_path / f"{i}.pnb").write_bytes(job.blob)
    board = connect("qemu", tmp_path, icount=True)
    bench.check_counter(board)
    for i, job in enumerate(jobs):
        counts = bench.measure(board, f"{i}.pnb", job.network.width, job.network.height)
        assert len(counts) == len(job.network.layers()) + 1
        assert costs.predicted(job.network, job.plan, "instructions") == pytest.approx(sum(counts), rel=0.05)


def test_a_network_that_ends_with_its_last_map():
    """Its end takes a step of which the profile has no row."""
    network = replace(random_recipe(np.random.default_rng(3), k=0).network(), end=LastMap(), labels=())
    jobs = list(bench.network_jobs("raw", random_qnet(np.random.default_rng(3), network)))[:1]
    (count,) = bench._counted(jobs, bench._network_count, FIRMWARE, lambda _: None)
    assert list(count.cycles) == [*count.layers, "end"] and count.cycles["end"].least > 0


def test_cycles_of_two_networks(connect, tmp_path):
    """The plugin counts the instructions of each layer that the board's clock does, but for what is between steps."""
    jobs = [next(bench.network_jobs(name, random.random_qnet(network)))
            for name, network in (("small", SMALL), ("mcunet-vww1", zoo.network("mcunet-vww1")))]  # fmt: skip
    picture = bench._picture(jobs)
    found = cycles.measured([job.blob for job in jobs], picture)
    (tmp_path / "picture").write_bytes(picture)
    for i, job in enumerate(jobs):
        (tmp_path / f"{i}.pnb").write_bytes(job.blob)
    board = connect("qemu", tmp_path, icount=True)
    for i, job in enumerate(jobs):
        counts = bench.measure(board, f"{i}.pnb", job.network.width, job.network.height)
        assert len(found[i]) == len(counts)
        whole = sum(found[i], Cycles())
        assert (0.8 if job.name == "small" else 0.94) < whole.instructions / sum(counts) < 1
        assert 0.5 < whole.least / whole.instructions <= whole.most / whole.instructions < 1.4
        assert 0.4 < job.network.macs / whole.most < 1 or job.name == "small"
        read = Flash(8).reads(job.network, job.plan)
        assert read == pytest.approx(whole.read, rel=0.15) or job.name == "small"  # whose tunnels share weights
        assert 0 < whole.read < 1.15 * read
