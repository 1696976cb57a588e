"""The study that a search keeps, and those who work on it: networks are proposed by evolution, planned, and trained for
a while.

All who work on one study ask it what is known: a network that one of them planned or trained is no other's work. What
is known of a trial stands in its attributes: "network" (Proposal.key), "needs" (as plain values of Needs), "fate" (what
became of it), "score", "worker" and "beat" (when its worker was last alive).
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, Trial, TrialState

from ..blob.pack import blob_bytes
from ..data import load
from ..net.toml import write_toml
from ..plan import choice
from ..plan.place import place
from ..tasks.making import Making
from ..train.experiment import NoNumber
from ..whole import write_text
from .choose import FEWEST, Wanted, candidates, training_of
from .space import EVEN, LATE, Gene, Proposal, Space

STUDY = "study.log"
SPARE = 512  # bytes of a blob: those of trained weights differ by some
POPULATION = 16
PATIENCE = 300  # proposals in a row, none of which is both new and within the limits
BEAT, LOST = 30.0, 300.0  # seconds: a worker tells that it is alive; one that has not is taken for dead
FAILED = 3  # trainings in a row: then something else is wrong
TRIES = 3  # to open a storage
# what became of a proposal
BEYOND, AGAIN, WEIGHED, TRAINED, STOPPED, FAULTY = "beyond", "again", "weighed", "trained", "stopped", "faulty"

Told = Callable[[str], object]


@dataclass(frozen=True)
class Order:
    """What all who work on a study are asked for alike. `epochs` of a `share` of the data for each network; of so many
    `proposals` that fit the one with the best score is trained. `seed`: of proposals and trainings."""

    wanted: Wanted
    epochs: int = 6
    share: float = 0.5
    proposals: int = 1
    seed: int = 1


@dataclass(frozen=True)
class Needs:
    """Of a proposal under the quickest plan in the RAM that is wanted. `beyond`: by how much it breaks limits, 0 if it
    keeps to them; then other figures are 0 that were not asked for any more."""

    arena: int = 0
    flash: int = 0
    cycles: float = 0.0
    macs: int = 0
    beyond: float = 0.0


# ---------------------------------------------------------------- what a network needs


def needs_of(proposal: Proposal, wanted: Wanted) -> Needs:
    """Nothing is planned that cannot keep to flash and time by its weights and multiply-accumulates alone."""
    network = proposal.network()
    least = Needs(flash=network.stored(proposal.tied), cycles=FEWEST * network.macs, macs=network.macs)
    if beyond := over(least, wanted):
        return replace(least, beyond=beyond)
    front = choice.front(network, source=wanted.source)
    fits = [point for point in front if wanted.ram is None or point.arena_bytes <= wanted.ram]
    point = fits[-1] if fits else front[0]
    planned = replace(least, arena=point.arena_bytes, cycles=point.cost)
    if beyond := over(planned, wanted):
        return replace(planned, beyond=beyond)
    plan = place(network, point.schedule)
    packed = replace(planned, flash=blob_bytes(network, plan, proposal.tied) + SPARE)
    return replace(packed, beyond=over(packed, wanted))


def over(needs: Needs, wanted: Wanted) -> float:
    """The sum of the parts by which limits are broken."""
    pairs = (needs.arena, wanted.ram), (needs.flash, wanted.flash), (needs.cycles, wanted.cycles())
    return sum(max(0.0, own / most - 1) for own, most in pairs if most is not None)


def check(space: Space, wanted: Wanted) -> None:
    """ValueError, telling what the smallest networks need, if none of them keeps to the limits."""
    proposals = [space.proposal(genes) for genes in space.smallest()]
    if all(needs_of(proposal, wanted).beyond for proposal in proposals):
        every = [needs_of(proposal, Wanted(source=wanted.source)) for proposal in proposals]
        fronts = [choice.front(proposal.network(), source=wanted.source) for proposal in proposals]
        arena, flash = min(front[0].arena_bytes for front in fronts), min(needs.flash for needs in every)
        ms = 1000 * min(needs.cycles for needs in every) / wanted.clock
        raise ValueError(
            f"{space.making.name}: no network of the search keeps to {wanted.limits()}; the smallest needs "
            f"{arena:,} B of RAM, {flash:,} B of flash, {ms:.1f} ms"
        )


# ---------------------------------------------------------------- the study


def opened(out: Path, study: str, storage: str, epochs: int = 0, tries: int = TRIES) -> optuna.Study:
    """The study, made if need be for trainings of so many epochs. ValueError if the storage cannot be reached, or is
    damaged; or, epochs being 0, has it not."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")
    where = storage_of(out, storage)
    if isinstance(where, Path):
        if not epochs and not where.exists():
            raise ValueError(f"{where}: wanted the study {study!r}, there is no such file")
        if epochs:
            mend(where)
        else:
            end_of(where)
    try:
        own = JournalStorage(JournalFileBackend(str(where))) if isinstance(where, Path) else RDBStorage(where)
        if not epochs:
            return optuna.load_study(study_name=study, storage=own)
        return optuna.create_study(
            storage=own, pruner=halving(epochs), study_name=study, direction="maximize", load_if_exists=True
        )
    except KeyError:
        raise ValueError(f"{where}: has no study {study!r}: --study names another") from None
    except Exception as error:  # of each database its own
        if tries == 1:
            told = (str(error).splitlines() or [""])[0][:150]
            raise ValueError(f"storage {where}: {told}") from None
    time.sleep(1)  # two that begin at once get in each other's way
    return opened(out, study, storage, epochs, tries - 1)


def storage_of(out: Path, storage: str) -> str | Path:
    """Of a database its URL, of a journal its path; by default a journal in the folder."""
    if "://" in storage:
        return storage
    return Path(storage) if storage else out / STUDY


def end_of(journal: Path) -> int:
    """Where its last whole line ends; behind that may be half a line, of one who was killed or found the disk full.
    ValueError, telling the line, if another is damaged."""
    if not journal.exists():
        return 0
    if not journal.is_file():
        raise ValueError(f"storage {journal}: wanted a file, or a database's URL")
    *lines, rest = journal.read_bytes().split(b"\n")
    if not rest and len(lines) > 1 and not is_record(lines[-1]):  # half a line that something was appended to
        lines.pop()
    wrong = [n for n, line in enumerate(lines, 1) if not is_record(line)]
    if wrong or (rest and not lines):  # a file of something else is left as it is
        raise ValueError(f"{journal}: line {(wrong or [1])[0]}: wanted JSON of a study, this is none or damaged")
    return sum(len(line) + 1 for line in lines)


def mend(journal: Path) -> None:
    """Cuts off half a line at its end, else the next would be appended to it. Under the lock that all write under: so
    it is nobody's who is alive."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileSymlinkLock(str(journal))
    lock.acquire()
    try:
        end = end_of(journal)
        if journal.exists() and journal.stat().st_size > end:
            os.truncate(journal, end)
    finally:
        lock.release()


def is_record(line: bytes) -> bool:
    try:
        return "op_code" in dict(json.loads(line))
    except (ValueError, TypeError):
        return False


def halving(epochs: int) -> optuna.pruners.BasePruner:
    """After a third of the epochs the better third goes on."""
    return optuna.pruners.SuccessiveHalvingPruner(max(1, epochs // 3), 3)


# ---------------------------------------------------------------- one who works on it


class Worker:
    """Proposes networks for a study, trains some. `most`: that are trained in all, by whomever; `until`: a time of
    time.monotonic at which it ends."""

    def __init__(self, study: optuna.Study, space: Space, order: Order, out: Path, most: int | None,
                 until: float | None, told: Told):  # fmt: skip
        self.study, self.space, self.order, self.out = study, space, order, out
        self.most, self.until, self.told = most, until, told
        self.name, self.failed = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}", 0

    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def over(self) -> bool:
        return self.until is not None and time.monotonic() >= self.until

    def work(self) -> None:
        """ValueError where nothing fits, or trainings fail: one by its data, or FAILED in a row by themselves."""
        while not self.over():
            self.free_lost()
            if self.most is not None and sum(map(taken_up, self.trials())) >= self.most:
                break
            if not self.step():
                break

    def first(self) -> None:
        """What is proposed first: networks that `make` would choose, then two kinds that begin with nothing."""
        wanted, genes = self.order.wanted, list[dict[str, Gene]]()
        with suppress(ValueError):  # `make` has none that fit
            genes += map(self.space.of_candidate, candidates(self.space.making, wanted))

        def fitting(every: Iterator[dict[str, Gene]]) -> Iterator[dict[str, Gene]]:
            return (one for one in every if not needs_of(self.space.proposal(one), wanted).beyond)

        for kernels in (EVEN, LATE):
            genes += islice(fitting(self.space.free(4, kernels)), 1)
        for one in genes or fitting(self.space.smallest()):
            self.study.enqueue_trial(one, {"first": True})

    def free_lost(self) -> None:
        """Trials of workers that are gone are to be done again."""
        for trial in self.trials():
            if trial.state == TrialState.RUNNING and lost(trial.user_attrs, self.name):
                self.again(trial)

    def again(self, trial: FrozenTrial | Trial) -> None:
        """The trial has failed; if it was to be trained, its network is proposed once more."""
        shutil.rmtree(self.out / "short" / str(trial.number), ignore_errors=True)
        genes = self.trials()[trial.number].system_attrs.get("fixed_params", trial.params)
        with suppress(ValueError, RuntimeError):  # another worker was first
            self.study.tell(trial.number, state=TrialState.FAIL)
            if {"first", "training"} & trial.user_attrs.keys():
                self.study.enqueue_trial(genes, {"first": True})

    def step(self) -> bool:
        """One network is trained. False if there is none left, or no time."""
        best: tuple[float, Trial, Proposal] | None = None
        fitting = 0
        try:
            for _ in range(PATIENCE):
                if self.over():
                    break
                found = self.proposed()
                if found is None:
                    continue
                fitting += 1
                trial, proposal = found
                score = self.score(trial, proposal)
                if best is None or score > best[0]:
                    trial, best = (best[1] if best else None), (score, trial, proposal)
                if trial is not None:
                    self.end(trial, WEIGHED)
                if fitting == self.order.proposals or score == math.inf:
                    break
        except BaseException:
            if best:
                self.again(best[1])
            raise
        if best is None:
            if not self.over():
                self.told(f"none of {PATIENCE} proposals is new and keeps to the limits: the search ends")
            return False
        self.train(best[1], best[2])
        return True

    def proposed(self) -> tuple[Trial, Proposal] | None:
        """A network, if it is new and keeps to the limits."""
        known = self.trials()
        trial = self.study.ask()
        try:
            # drawn by the trial's number, so that no two workers propose the same
            self.study.sampler = optuna.samplers.NSGAIISampler(
                population_size=POPULATION, seed=(self.order.seed * 1_000_003 + trial.number) % 2**32
            )
            trial.set_user_attr("beat", time.time())
            trial.set_user_attr("worker", self.name)  # the last: a trial of nobody is not lost
            _ = trial.relative_params  # one that was enqueued belongs to a generation, too
            genes = {name: trial.suggest_categorical(name, values) for name, values in self.space.genes.items()}
            proposal = self.space.proposal(genes)
            key = proposal.key()
            trial.set_user_attr("network", key)
            same = [t for t in known if t.user_attrs.get("network") == key]
            there = next((t.user_attrs["needs"] for t in same if "needs" in t.user_attrs), None)
            needs = Needs(**there) if there else needs_of(proposal, self.order.wanted)
            trial.set_user_attr("needs", asdict(needs))
            trial.set_constraint("beyond", needs.beyond)
            if any(map(taken_up, same)) or (there and needs.beyond):
                self.end(trial, AGAIN)
                return None
            if needs.beyond:
                self.end(trial, BEYOND, 0.0)
                return None
        except BaseException:
            self.again(trial)
            raise
        return trial, proposal

    def end(self, trial: Trial, fate: str, value: float | None = None) -> None:
        """Only what has a `value` is a parent of others. What breaks limits is one, too, until there is better: the
        less it does the better it is."""
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        with suppress(ValueError, RuntimeError):  # it was taken for lost, and is another's
            trial.set_user_attr("fate", fate)
            self.study.tell(trial, value, state)

    def score(self, trial: Trial, proposal: Proposal) -> float:
        """Of those that are proposed first: more than any."""
        if "first" in trial.user_attrs or self.order.proposals == 1:
            return math.inf
        from ..train import naswot  # imported here: torch takes seconds to start, and may not be installed

        score = naswot.score(proposal.network(), load(self.out / "short" / "train.npz"))
        trial.set_user_attr("score", score)
        return score

    # ---- training

    def train(self, trial: Trial, proposal: Proposal) -> None:
        trial.set_user_attr("training", True)
        if self.most is not None and sum(map(taken_up, self.trials())) > self.most:  # another worker was quicker
            self.again(trial)
            return
        watch = Watch(trial, self.order.epochs, self.over)
        start = time.monotonic()
        try:
            with self.alive(trial):
                shortly(self.out, self.space.making, proposal, self.order, trial.number, watch)
        except NoNumber as error:
            self.failed += 1
            self.told(f"{trial.number}: {error}: {proposal.described()}")
            trial.set_user_attr("reason", str(error))
            trial.set_user_attr("fate", FAULTY)
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            if self.failed == FAILED:
                raise
            return
        except optuna.exceptions.UpdateFinishedTrialError:  # it was taken for lost, and is another's
            return
        except BaseException:
            self.again(trial)
            raise
        if watch.epoch < self.order.epochs and not watch.pruned:  # no time is left
            self.again(trial)
            return
        self.failed = 0
        self.end(trial, STOPPED if watch.pruned else TRAINED, watch.accuracy)
        took = f"{time.monotonic() - start:.0f} s"
        after = f", stopped after {watch.epoch} of {self.order.epochs} epochs" if watch.pruned else ""
        needs = Needs(**trial.user_attrs["needs"])
        self.told(f"{trial.number}: {watch.accuracy:.2%}{after}, {took}: {proposal.described()}; "
                  f"{needs.arena:,} B, flash {needs.flash:,} B, {needs.cycles / 1e6:.1f} M cycles")  # fmt: skip

    @contextmanager
    def alive(self, trial: Trial) -> Iterator[None]:
        """Tells the others that the trial is not lost, as long as the block lasts."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(BEAT):
                with suppress(Exception):  # the next one may reach the storage
                    trial.set_user_attr("beat", time.time())

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def taken_up(trial: FrozenTrial) -> bool:
    """Whether its network was trained, could not be, or is at it."""
    fate = trial.user_attrs.get("fate")
    return fate in (TRAINED, STOPPED, FAULTY) or ("training" in trial.user_attrs and trial.state == TrialState.RUNNING)


def lost(attributes: dict[str, Any], me: str) -> bool:
    """Whether the trial's worker, not `me`, is gone: a process of this machine that is no more, or one that has not
    been heard of."""
    worker = attributes.get("worker", "")
    if worker == me or not worker:  # none: it has only just been asked for
        return False
    (host, process, _), (own, mine, _) = worker.split(":"), me.split(":")
    if host == own and os.name == "posix":
        if process == mine:  # one that had the same number before
            return True
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except OSError:  # it is another user's
            pass
    return time.time() - attributes.get("beat", 0.0) > LOST


class Watch:
    """Sees a training's epochs: tells the study of each, and ends the training where the study, or the clock, says
    so."""

    def __init__(self, trial: Trial, epochs: int, over: Callable[[], bool]):
        self.trial, self.epochs, self.over = trial, epochs, over
        self.epoch, self.accuracy, self.pruned = 0, 0.0, False

    def seen(self, run: Path) -> None:
        """After an epoch of `run`."""
        epoch, _, accuracy, *_ = (run / "log.csv").read_text().splitlines()[-1].split(",")
        self.epoch, self.accuracy = int(epoch), float(accuracy)
        self.trial.report(self.accuracy, self.epoch)
        self.pruned = self.epoch < self.epochs and self.trial.should_prune()

    def stop(self) -> bool:
        return self.pruned or self.over()


def shortly(out: Path, making: Making, proposal: Proposal, order: Order, number: int, watch: Watch) -> None:
    """Trains the proposal for a while; what it leaves behind is gone then."""
    from ..train import loop  # imported here: torch takes seconds to start, and may not be installed

    short = out / "short"
    own = {"name": f"trial-{number}", "train": str(short / "train.npz"), "validation": str(short / "test.npz"),
           "epochs": order.epochs, "seed": order.seed}  # fmt: skip
    run = short / str(number)
    run.mkdir(exist_ok=True)
    try:
        write_text(run / "experiment.toml", write_toml(own | experiment_of(making, proposal)))
        with redirect_stdout(io.StringIO()):
            loop.run(run / "experiment.toml", run, seen=watch.seen, stop=watch.stop, force=True)
    finally:
        shutil.rmtree(run, ignore_errors=True)


def experiment_of(making: Making, proposal: Proposal) -> dict[str, Any]:
    """What the training is, but for its data, name and length."""
    return training_of(making, proposal.recipe, proposal.begin) | {"tied": proposal.tied}
