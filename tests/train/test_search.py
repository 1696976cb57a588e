"""`patchnet search`: what is trained keeps to the limits; stopped, killed, shared by processes, it goes on."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("optuna")

import proxy
import toys
from conftest import PATIENT
from patchnet import cli
from patchnet.make import search, study
from patchnet.make.choose import Wanted
from patchnet.train.experiment import NoNumber, load_experiment

LIMITS = Wanted(10 << 10, 60 << 10, ms=20)
ORDER = study.Order(LIMITS, epochs=3, share=1)
OPTIONS = ("--ram", "10K", "--flash", "60K", "--cycles", "9.6M")
# A training that takes no time: the wider the head, the better.
STUB = """
def shortly(out, making, proposal, order, number, watch):
    run = out / "short" / str(number)
    run.mkdir()
    for epoch in range(1, order.epochs + 1):
        if not watch.stop():
            (run / "log.csv").write_text(f"epoch\\n{epoch},0,{proposal.recipe.head / 512 + epoch / 100},0,0\\n")
            watch.seen(run)
            SLEEP
"""
ALONE = """
import sys
from patchnet import cli
from patchnet.make import study
study.shortly = shortly
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return toys.folder(tmp_path_factory.mktemp("data") / "squares")


@pytest.fixture(scope="module", autouse=True)
def known():
    """Plans of one test are those of all."""
    needs_of = study.needs_of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "needs_of", cache(needs_of))
        yield


@pytest.fixture
def quick(monkeypatch):
    """Trainings take no time; what was trained, in order."""
    own, seen = {}, []
    exec(STUB.replace("SLEEP", "pass"), own)
    stub = own["shortly"]
    monkeypatch.setattr(study, "shortly", lambda *args: seen.append(args[2]) or stub(*args))
    return seen


def sought(folder, out, trials, order=ORDER, told=lambda _line: None, **more):
    return search.search(order, str(folder), "", out, trials=trials, told=told, **more)


def trials_of(out):
    return study.opened(out, "run", "").get_trials(deepcopy=False)


def test_what_is_trained_keeps_to_the_limits_and_is_planned_once(folder, tmp_path, quick, monkeypatch):
    planned, needs_of = [], study.needs_of
    monkeypatch.setattr(study, "needs_of", lambda p, w: planned.append(p.key()) or needs_of(p, w))
    out = tmp_path / "run"
    found = sought(folder, out, 12)
    assert len(found.rows) == 12 == len(quick) == len({p.key() for p in quick}) and found.proposed > 12
    for row in found.rows:
        assert row.needs == needs_of(row.proposal, LIMITS) and row.needs.beyond == 0
        assert row.needs.arena <= 10 << 10 and row.needs.flash <= 60 << 10 and row.needs.cycles <= 9.6e6
    assert {p.begin for p in quick} == {"lite0", ""}  # what `make` would choose, and others
    # of the front nothing beats anything, and all else is beaten
    assert not any(a.beats(b) for a in found.front for b in found.front)
    assert all(any(a.beats(b) for a in found.front) for b in found.rows if b.whole and b not in found.front)
    fates = [t.user_attrs["fate"] for t in trials_of(out)]
    assert "beyond" in fates and "stopped" in fates and fates.count("stopped") > fates.count("trained")
    # it goes on, and no network is planned twice
    del planned[:]
    before = {t.user_attrs["network"] for t in trials_of(out)}
    again = sought(folder, out, 15)
    assert len(again.rows) == 15 == len(quick) and not before & set(planned) and len(set(planned)) == len(planned)
    assert sought(folder, out, 15).rows == again.rows and search.show(out).rows == again.rows


def test_evolution_finds_what_is_better(folder, tmp_path, quick):
    """The stub likes wide heads: later ones are wider."""
    sought(folder, tmp_path / "run", 26)
    heads = [proposal.recipe.head for proposal in quick[4:]]
    assert sum(heads[-8:]) > sum(heads[:8])


def test_the_best_of_some_by_its_score(folder, tmp_path, quick):
    out = tmp_path / "run"
    sought(folder, out, 9, replace(ORDER, proposals=2))
    every = [t for t in trials_of(out) if "score" in t.user_attrs]
    assert len(every) == 2 * sum(t.user_attrs["fate"] != "weighed" for t in every) > 0
    for i in range(0, len(every), 2):
        best = max(every[i : i + 2], key=lambda t: t.user_attrs["score"])
        assert best.user_attrs["fate"] in ("trained", "stopped")


def test_stopped_by_the_clock_and_by_hand(folder, tmp_path, quick, monkeypatch):
    """The network that was at work is trained when it goes on."""
    out, seen, stub = tmp_path / "run", [], study.shortly

    def interrupted(*args):
        seen.append(args[2])
        raise KeyboardInterrupt

    sought(folder, out, 1)
    monkeypatch.setattr(study, "shortly", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sought(folder, out, 3)
    del quick[:]
    monkeypatch.setattr(study, "shortly", stub)
    sought(folder, out, 9)
    assert seen[0] in quick and not any(t.state.name in ("RUNNING", "WAITING") for t in trials_of(out))
    monkeypatch.setattr(study.Worker, "over", lambda self: len(quick) > 8)  # within a training
    found = sought(folder, out, 20)
    assert len(found.rows) == 9 and trials_of(out)[-1].state.name == "WAITING"


def test_a_loss_that_is_no_number_ends_one_training(folder, tmp_path, quick, monkeypatch):
    stub = study.shortly

    def sometimes(*args):
        if len(quick) == 1:
            quick.append(args[2])
            raise NoNumber("the loss is nan")
        stub(*args)

    monkeypatch.setattr(study, "shortly", sometimes)
    told = []
    assert len(sought(folder, tmp_path / "run", 3, told=told.append).rows) == 2
    assert [line for line in told if "nan" in line] == [f"1: the loss is nan: {quick[1].described()}"]
    monkeypatch.setattr(study, "shortly", lambda *args: (_ for _ in ()).throw(NoNumber("the loss is nan")))
    with pytest.raises(NoNumber, match="the loss is nan"):
        sought(folder, tmp_path / "other", 5)


def test_data_that_cannot_be_read_end_the_search_and_lose_nothing(folder, tmp_path):
    """A real training: its network is proposed again."""
    out, judged = tmp_path / "run", tmp_path / "run" / "short" / "test.npz"
    sought(folder, out, 0)
    kept = judged.read_bytes()
    judged.write_bytes(kept[:-99])
    with pytest.raises(ValueError, match=r"short.test\.npz: no \.npz file, or a damaged one"):
        sought(folder, out, 1)
    every = trials_of(out)
    same = [t for t in every[1:] if t.system_attrs["fixed_params"] == every[0].system_attrs["fixed_params"]]
    assert every[0].state.name == "FAIL" and [t.state.name for t in same] == ["WAITING"]
    assert not any(map(study.taken_up, every))


# ---------------------------------------------------------------- what lies in a folder is damaged, or another's


@pytest.fixture(scope="module")
def begun(folder, tmp_path_factory):
    """A search that has trained one network, and is copied."""
    own = {}
    exec(STUB.replace("SLEEP", "pass"), own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "shortly", own["shortly"])
        out = tmp_path_factory.mktemp("begun") / "run"
        sought(folder, out, 1)
    return out


@pytest.fixture
def copied(begun, tmp_path):
    return Path(shutil.copytree(begun, tmp_path / "copy"))


@pytest.mark.parametrize("end", [b'{"op_code":5,"worker_id":"a', b'{"op_code":5}', b"\xff\0", b'{"op_{"op_code":5}\n'])
def test_half_a_line_at_the_end_of_the_journal_is_cut_off(end, copied, folder, quick):
    before = (copied / "study.log").read_bytes()
    (copied / "study.log").write_bytes(before + end)
    assert len(search.show(copied).rows) == 1 and (copied / "study.log").read_bytes() == before + end
    assert len(sought(folder, copied, 2).rows) == 2
    assert (copied / "study.log").read_bytes().startswith(before)
    assert all(map(study.is_record, (copied / "study.log").read_bytes().splitlines()))


@pytest.mark.parametrize(("line", "to"), [(0, b"oops"), (2, b""), (2, b'{"op_code":'), (2, b"[1]"), (2, b"\xff")])
def test_damage_elsewhere_is_told_by_its_line(line, to, copied, folder):
    lines = (copied / "study.log").read_bytes().split(b"\n")
    damaged = b"\n".join([*lines[:line], to, *lines[line + 1 :]])
    (copied / "study.log").write_bytes(damaged)
    for go in (lambda: search.show(copied), lambda: sought(folder, copied, 2)):
        with pytest.raises(ValueError, match=rf"copy.study\.log: line {line + 1}: wanted JSON of a study"):
            go()
    assert (copied / "study.log").read_bytes() == damaged


@pytest.mark.parametrize("change", [
    lambda _: {}, lambda _: [], lambda _: "x", lambda _: None, lambda was: was | {"study": 3},
    lambda was: was | {"sizes": [[1, 2]]}, lambda was: was | {"contents": {"a": 1}}, lambda was: was | {"order": {}},
    lambda was: was | {"order": was["order"] | {"epochs": "3"}}, lambda was: was | {"order": was["order"] | {"x": 1}},
    lambda was: was | {"order": was["order"] | {"wanted": {"ram": "10K"}}},
])  # fmt: skip
def test_what_is_no_order_is_told(change, copied, folder):
    path = copied / "search.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    for go in (lambda: search.show(copied), lambda: sought(folder, copied, 2)):
        with pytest.raises(ValueError, match=r"copy.search\.json: wanted what `search` was asked for, as JSON \("):
            go()


def test_a_folder_that_was_renamed_goes_on(copied, folder, quick):
    assert len(sought(folder, copied, 2).rows) == 2 and search.show(copied).study == "run"
    assert len(search.show(copied, "run", str(copied / "short" / ".." / "study.log")).rows) == 2


def test_show_is_of_the_folders_own_study(copied, folder, tmp_path, quick):
    other = tmp_path / "other"
    sought(folder, other, 1, replace(ORDER, epochs=1))
    best = (copied / "best.toml").read_bytes()
    for names, said in (
        (("other", str(other / "study.log")), r"study was 'run', storage was ''"),
        (("other",), r"copy: was begun otherwise \(study was 'run'\)"),
        (("", str(other / "study.log")), r"copy: was begun otherwise \(storage was ''\)"),
    ):
        with pytest.raises(ValueError, match=said):
            search.show(copied, *names)
    text = (other / "study.log").read_text().replace('"study_name":"other"', '"study_name":"run"')
    (copied / "study.log").write_text(text)  # of the name, and of another order
    with pytest.raises(ValueError, match=r"study run: was begun otherwise \(epochs was 1\)"):
        search.show(copied)
    assert (copied / "best.toml").read_bytes() == best
    (copied / "study.log").unlink()
    with pytest.raises(ValueError, match=r"^\S*copy.study\.log: wanted the study 'run', there is no such file"):
        search.show(copied)
    assert not (copied / "study.log").exists()


@pytest.mark.parametrize(("storage", "said"), [
    ("", "storage .*: wanted a file, or a database's URL"), ("text", "text: line 1: wanted JSON of a study"),
    ("text/study.log", "text"), ("begun", r"study run: was begun otherwise \(epochs was 3\)"),
])  # fmt: skip
def test_a_storage_that_is_none_leaves_nothing(storage, said, folder, begun, tmp_path):
    (tmp_path / "text").write_text("something else")
    where = begun / "study.log" if storage == "begun" else tmp_path / storage
    with pytest.raises((ValueError, OSError), match=said):
        sought(folder, tmp_path / "run", 1, replace(ORDER, epochs=4), study="run", storage=str(where))
    assert not (tmp_path / "run").exists() and (tmp_path / "text").read_text() == "something else"


@pytest.mark.parametrize(("order", "said"), [
    (replace(ORDER, wanted=replace(LIMITS, ram=9 << 10)), r"run: was begun otherwise \(ram was 10240\): -o names"),
    (replace(ORDER, epochs=4), r"was begun otherwise \(epochs was 3\)"),
])  # fmt: skip
def test_a_folder_is_one_orders(order, said, folder, tmp_path, quick):
    sought(folder, tmp_path / "run", 1)
    with pytest.raises(ValueError, match=said):
        sought(folder, tmp_path / "run", 1, order)


@pytest.mark.parametrize(("wanted", "said"), [
    (Wanted(512, 60 << 10, ms=20), r"keeps to 512 B of RAM, .*; the smallest needs \d* B of RAM, "),
    (Wanted(1 << 20, 60 << 10, ms=0.01), r"0.01 ms at 480 MHz; the smallest needs .* \d\.\d ms$"),
    (Wanted(1 << 20, 1 << 10, ms=20), r"1,024 B of flash, .* \d,\d* B of flash"),
])  # fmt: skip
def test_limits_that_nothing_keeps_to_leave_nothing(wanted, said, folder, tmp_path):
    with pytest.raises(ValueError, match=said):
        sought(folder, tmp_path / "run", 1, replace(ORDER, wanted=wanted))
    assert not (tmp_path / "run").exists()


def test_without_optuna(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "patchnet.make.search")
    monkeypatch.delattr("patchnet.make.search")
    assert cli.main(["search", "--data", str(folder), *OPTIONS, "-o", str(tmp_path / "run")]) == cli.USER_ERROR
    said = capsys.readouterr().err
    assert said == "patchnet: this needs the package 'optuna': pip install 'patchnet[train]'\n"


# ---------------------------------------------------------------- processes


def started(script: Path, *argv) -> subprocess.Popen:
    command = [sys.executable, str(script), "search", *map(str, argv)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("storage", ["", "sqlite"])
def test_two_processes_on_one_study(storage, folder, tmp_path):
    script, out = tmp_path / "stub.py", tmp_path / "run"
    script.write_text(STUB.replace("SLEEP", "__import__('time').sleep(0.05)") + ALONE)
    where = ("--storage", f"sqlite:///{tmp_path}/study.db", "--study", "one") if storage else ("--study", "one")
    # on a database folders may differ, as machines do
    outs = (out, tmp_path / "other") if storage else (out, out)
    argv = ("--data", folder, *OPTIONS, "--trials", 6, "--epochs", 3, *where)
    two = [started(script, *argv, "-o", one) for one in outs]
    for process in two:
        said = process.communicate(timeout=PATIENT)
        assert process.returncode == 0, said
    both = study.opened(out, "one", where[1] if storage else "")
    own = [t for t in both.get_trials(deepcopy=False) if t.user_attrs.get("fate") in ("trained", "stopped")]
    assert len(own) == 6 and len({t.user_attrs["network"] for t in own}) == len(own)
    assert len({t.user_attrs["worker"] for t in own}) == 2
    for one in set(outs):
        assert json.loads((one / "search.json").read_text())["study"] == "one" and (one / "best.toml").is_file()


def test_killed_within_a_training(folder, tmp_path):
    """The next one does that network, too, and all that was known is."""
    script, out = tmp_path / "stub.py", tmp_path / "run"
    script.write_text(STUB.replace("SLEEP", "__import__('time').sleep(600 if number == 2 else 0)") + ALONE)
    argv = ("--data", folder, *OPTIONS, "--trials", 7, "--epochs", 3, "-o", out)
    process = started(script, *argv)
    until = time.monotonic() + PATIENT
    while not (out / "short" / "2").exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    time.sleep(0.2)
    process.kill()
    process.communicate()
    half = trials_of(out)
    assert half[2].state.name == "RUNNING"
    script.write_text(STUB.replace("SLEEP", "pass") + ALONE)
    process = started(script, *argv)
    assert process.communicate(timeout=PATIENT) and process.returncode == 0
    every = trials_of(out)
    assert [t.number for t in every[:2]] == [t.number for t in half[:2]] and every[2].state.name == "FAIL"
    same = [t for t in every[3:] if t.user_attrs.get("network") == half[2].user_attrs["network"]]
    assert [t.user_attrs["fate"] for t in same] in (["trained"], ["stopped"])
    assert sum(t.user_attrs.get("fate") in ("trained", "stopped") for t in every) == 7
    assert not (out / "short" / "2").exists()


# ---------------------------------------------------------------- what the short trainings are worth


@pytest.mark.parametrize(("one", "two", "rho", "tau"), [
    ([1, 2, 3, 4], [10, 20, 30, 40], 1, 1), ([1, 2, 3, 4], [4, 3, 2, 1], -1, -1),
    ([1, 2, 3, 4], [1, 2, 4, 3], 0.8, 2 / 3), ([1, 1, 2, 3], [1, 2, 3, 3], 8 / 9, 0.8),
])  # fmt: skip
def test_rank_correlations_by_hand(one, two, rho, tau):
    assert proxy.spearman(one, two) == pytest.approx(rho) and proxy.kendall(one, two) == pytest.approx(tau)


# ---------------------------------------------------------------- all of it


def test_from_a_folder_to_an_experiment(folder, tmp_path, capsys):
    """Real trainings, tiny ones; what the table ends with is trained in full."""
    out = tmp_path / "run"
    argv = (
        "search",
        "--data",
        str(folder),
        *OPTIONS,
        "--trials",
        "3",
        "--epochs",
        "1",
        "--share",
        "0.6",
        "-o",
        str(out),
    )
    assert cli.main([*argv, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["trained"]) == 3 and set(told["front"]) <= {row["trial"] for row in told["trained"]}
    assert (out / "pareto.png").read_bytes().startswith(b"\x89PNG") and not list((out / "short").glob("[0-9]*"))
    e = load_experiment(out / "best.toml")
    best = told["trained"][0]
    assert (e.train, e.test, e.epochs) == (str(out / "train.npz"), str(out / "test.npz"), search.EPOCHS)
    assert (e.tied, e.init) == (best["tied"], best["begin"])
    assert cli.main(["search", "-o", str(out), "--show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == "next:" and best["network"] in "\n".join(lines)
    command = lines[-1].split()
    assert command[:2] == ["patchnet", "train"] and command[-2:] == ["--budget", "10240"]
    assert cli.main([*command[1:], "--set", "epochs=1", "--tune", "0", "--json"]) == 0
    packed = json.loads(capsys.readouterr().out)["packed"]
    assert packed["ram"] <= 10 << 10 and packed["blob_bytes"] <= 60 << 10
