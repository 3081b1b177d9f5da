"""What does it cost to coordinate 1,000 workers and 1,000,000 trials, where units are lost and workers are slow?

    python experiments/benchmarks/many_workers.py            # half a minute of one core
    python experiments/benchmarks/many_workers.py --smoke    # 20 workers and 2,000 trials, a second

No training: a clock that jumps from event to event, the scheduling that runs searches (`jaxhp/executors/scheduling.py`)
and their ledger on a disk. 25 brackets of successive halving are trained one rung after another: 40,000 trials for 1
epoch, the best 10,000 of these to 4, the best 2,500 to 16. A unit is 8 trials of a rung that one worker holds, and an
epoch of it takes 10 seconds, give or take a tenth; 1% of the units are lost, half of them with their worker, whose
successor comes a minute later; 5% take ten times as long as they should. Every trial has two parameters, three
replicates and four curves.

Each unit must be told as finished once and each trial be in the ledger once. It prints seconds of CPU of the
coordinator a unit, the ledger's size, the memory, and how busy workers were. What workers answer is not sent, unpacked
or merged here.

Result (CPU seconds of one core of a busy machine): 187,916 units were started 199,748 times, 9,954 of them again;
none was lost or told twice. Scheduling takes 4.6 s, 25 microseconds a unit; recording 75 rounds 0.6 s; the ledger has
134 MB, the coordinator 54 MB. Read again: the ten best in 0.3 s, all rounds in 0.1 s, all trials in 1.9 s and 0.9 GB.
Workers do what is needed 16% of the time: 900 units of a last rung are fewer than the workers, and each round waits
for a few that took ten times as long. With 10,000 workers scheduling takes 31 microseconds of 287,669 units (a
logarithm; a list of all idle workers made it 236), with 20 workers and 9,999 rounds of 100 trials 16, and recording
9.4 s.

Where it breaks, by these figures: one core schedules 40,000 units a second, 400,000 workers at ten seconds a unit, so
what it does beside, taking answers apart, comes first. A resume reads all trials with their curves: 0.9 KB each, so a
machine of 16 GB ends at 15 million trials; reading configs and scores alone, as the ten best are, would mend it. A
round is a column a blob, of a gigabyte at most in SQLite: a million trials of 250 epochs a round; cut into parts of a
round it would have no end. Whoever asked for a target or patience read all rounds before each round: at 9,999 rounds
1.4 s each, two hours in all; now each round is read once.
"""

from __future__ import annotations

import argparse
import heapq
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxhp.executors.scheduling import Dismissed, Fact, Finished, GivenUp, Schedule
from jaxhp.store.ledger import Ledger, Round
from jaxhp.trials import STATUSES, Status, Trials

EPOCHS, REPLICATES, CURVES = (1, 4, 16), 3, ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy")
OF_UNIT, EPOCH_S, LOST, SLOW, TIMES, BACK_S = 8, 10.0, 0.01, 0.05, 10.0, 60.0


class Clock:
    """Seconds of CPU of this process, by what it did."""

    def __init__(self):
        self.spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.spent[what] += time.process_time() - began


class Work(NamedTuple):
    """A unit: which rows of the round it has."""

    rows: np.ndarray
    cost: float
    home: str


class Fleet:
    """Workers that only wait, on a clock that jumps."""

    def __init__(self, workers: int, seed: int, clock: Clock):
        self.now, self.clock = 0.0, clock
        self._rng = np.random.default_rng(seed)
        self._schedule, self._named = Schedule(), 0
        self._events: list[tuple[float, int, str, str]] = []  # when, a number, what, worker
        self._count = 0
        self.told: Counter[str] = Counter()
        self.busy_s = self.asked_s = 0.0
        for _ in range(workers):
            self._join()

    def train(self, units: list[Work]) -> list[str]:
        """Have units trained; return who has trained each."""
        by: dict[int, str] = {}
        with self.clock.of("scheduling"):
            for number, unit in enumerate(units):
                self._schedule.add((self.told["rounds"], number), unit.cost, [unit.home] if unit.home else [])
        self.told["rounds"] += 1
        self.asked_s += sum(unit.cost for unit in units) * EPOCH_S
        self._ask(units)
        while self._schedule.unfinished():
            facts = self._next()
            for fact in facts:
                self.told[type(fact).__name__] += 1
                if isinstance(fact, Finished):
                    assert fact.unit[1] not in by
                    by[fact.unit[1]] = fact.worker
                elif isinstance(fact, GivenUp):
                    sys.exit(f"{fact} is given up")
            self._ask(units)
        assert len(by) == len(units)
        return [by[number] for number in range(len(units))]

    def _next(self) -> list[Fact]:
        due = self._schedule.due()
        if due is not None and (not self._events or due < self._events[0][0]):
            self.now = max(self.now, due)
            return []
        self.now, _, what, worker = heapq.heappop(self._events)
        if what == "back":
            self._join()
            return []
        with self.clock.of("scheduling"):
            if what == "result":
                return self._schedule.finish(worker, "", self.now)
            end = self._schedule.lose if what == "loss" else self._schedule.leave
            facts = end(worker, self.now)
        if what == "death" or any(isinstance(fact, Dismissed) for fact in facts):
            self._at(self.now + BACK_S, "back", "")
        return facts

    def _ask(self, units: list[Work]) -> None:
        with self.clock.of("scheduling"):
            starts = self._schedule.starts(self.now)
        for (_, number), worker, again in starts:
            self.told["starts"] += 1
            self.told["copies"] += again
            self.told["at home"] += worker == units[number].home
            chance, share = self._rng.random(2).tolist()
            takes = units[number].cost * EPOCH_S * (0.9 + 0.2 * share) * (TIMES if chance > 1 - SLOW else 1.0)
            what = "result" if chance > LOST else "loss" if share < 0.5 else "death"
            takes *= 1.0 if what == "result" else share
            self.busy_s += takes
            self._at(self.now + takes, what, worker)

    def _join(self) -> None:
        self._named += 1
        with self.clock.of("scheduling"):
            self._schedule.join(f"worker {self._named}")

    def _at(self, when: float, what: str, worker: str) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what, worker))


def units_of(homes: list[str], epochs: int) -> list[Work]:
    """Cut rows into units, those of one home together."""
    order = sorted(range(len(homes)), key=lambda row: homes[row])
    found, at = [], 0
    while at < len(order):
        home = homes[order[at]]
        end = next((i for i in range(at, min(at + OF_UNIT, len(order))) if homes[order[i]] != home), at + OF_UNIT)
        found.append(Work(np.asarray(order[at:end]), float(epochs), home))
        at = min(end, len(order))
    return found


def asked(number: int, ids: np.ndarray, parent: np.ndarray, epochs: int) -> tuple[Round, Trials, Trials]:
    """A round as it is asked, and its trials before and after training; a trial keeps its config in all rungs."""
    count = len(ids)
    unit = ((ids[:, None] * np.asarray([0.6180339887, 0.7548776662])) % 1.0).astype(np.float32)
    rng = np.random.default_rng(number)
    curve = {name: rng.random((count, epochs), np.float32) for name in CURVES}
    nothing, unsaid = np.full(count, np.nan, np.float32), np.full(count, None, object)
    draft = Trials(
        trial_id=ids,
        config={"lr": 10 ** (4.0 * unit[:, 0] - 6), "weight_decay": 10 ** (4.0 * unit[:, 1] - 8)},
        round=np.full(count, number - number % len(EPOCHS), np.int32),
        parent=np.full(count, -1, np.int32),
        status=np.zeros(count, np.uint8),
        epochs=np.zeros(count, np.int32),
        score=nothing,
        stderr=nothing,
        replicate_scores=np.zeros((count, 0), np.float32),
        diverged_at=np.zeros(count, np.int32),
        curve={},
        metric=unsaid,
        mode=unsaid,
        budget=unsaid,
        epoch=unsaid,
    )
    score = curve["valid_accuracy"][:, -1]
    healthy = STATUSES.index(Status.COMPLETE if epochs == EPOCHS[-1] else Status.STOPPED)
    facts = {"status": np.full(count, healthy, np.uint8), "epochs": np.full(count, epochs, np.int32)}
    scores = {"score": score, "stderr": score * 0.01, "replicate_scores": np.repeat(score[:, None], REPLICATES, 1)}
    measured = draft.__class__(**{**vars(draft), **facts, **scores, "curve": curve})
    return Round(number, epochs, unit, parent, ids), draft, measured


def search(ledger: Ledger, fleet: Fleet, trials: int, brackets: int, clock: Clock) -> int:
    """Run all brackets; return how many units there were."""
    per, number, units = trials // brackets, 0, 0
    for bracket in range(brackets):
        ids = np.arange(bracket * per, (bracket + 1) * per, dtype=np.int32)
        parent, homes = np.full(per, -1, np.int32), [""] * per
        before = 0
        for epochs in EPOCHS:
            round, draft, measured = asked(number, ids, parent, epochs)
            with clock.of("ledger"):
                ledger.begin(round, draft)
            cut = units_of(homes, epochs - before)
            units += len(cut)
            began = fleet.now
            for unit, worker in zip(cut, fleet.train(cut), strict=True):
                for row in unit.rows:
                    homes[row] = worker
            with clock.of("ledger"):
                ledger.finish(number, measured, measured.score, fleet.now - began)
            parent = np.sort(np.argsort(-measured.score, kind="stable")[: len(ids) // 4]).astype(np.int32)
            ids, homes = ids[parent], [homes[row] for row in parent]
            number, before = number + 1, epochs
    return units


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--brackets", type=int, default=25)
    options = parser.parse_args()
    workers, trials, brackets = options.workers, options.trials, options.brackets
    if options.smoke:
        workers, trials, brackets = 20, 2_000, 2
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="many_workers_") as folder:
        with Ledger(folder, write=True) as ledger:
            fleet = Fleet(workers, 0, clock)
            units = search(ledger, fleet, trials, brackets, clock)
        size = (Path(folder) / "ledger.sqlite").stat().st_size
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        told = fleet.told
        print(f"{workers} workers, {trials} trials, {units} units, {told['starts']} starts, {told['copies']} again")
        took = clock.spent["scheduling"]
        print(f"scheduling: {took:.1f} s of CPU, {took / units * 1e6:.0f} microseconds a unit")
        print(f"ledger: {clock.spent['ledger']:.1f} s of CPU, {size / 1e6:.0f} MB; peak memory {peak:.0f} MB")
        share = fleet.asked_s / (workers * fleet.now)
        print(f"the search takes {fleet.now / 3600:.2f} h; workers do what is needed {share:.0%} of it")
        print(f"units started where their members are: {told['at home'] / max(told['starts'], 1):.0%}; {dict(told)}")
        with Ledger(folder) as ledger:
            with clock.of("best"):
                ledger.best("max", 10)
            with clock.of("rounds"):
                ledger.rounds()
            with clock.of("trials"):
                found = ledger.trials()
            assert np.array_equal(found.trial_id, np.arange(trials // brackets * brackets))
            assert np.isfinite(found.score).all()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        spent = ", ".join(f"{what} {clock.spent[what]:.2f} s" for what in ("best", "rounds", "trials"))
        print(f"read again: {spent} of CPU; peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
