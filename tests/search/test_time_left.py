"""How long a search will still take, by a clock that is made up: what is said, against what then happens."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxhp.engine.events import Compiling, Event, FinalsBegan, Progressed, RoundBegan, RoundFinished, RoundSkipped
from jaxhp.search.learnt import Asks, Compilations, Epochs
from jaxhp.search.time_left import TimeLeft
from jaxhp.trials import Trial, Trials


def plan(rungs, *, finals=None, widths=(1,), compile_seconds=0.0, seconds=None):
    groups = [SimpleNamespace(tile=4, epoch_flops=10.0 * w, static={"w": w} if len(widths) > 1 else {}) for w in widths]
    facts = {"groups": groups, "of_groups": len(groups), "devices": 1, "rungs": rungs, "finals": finals}
    return SimpleNamespace(**facts, seconds=seconds, compile_seconds=compile_seconds)


class World:
    """A search that takes the time that it is made to take; what is said is written down beside the moment."""

    def __init__(self, of, finals=(), members=1):
        self.now, self.said, self.number = 0.0, [], 0
        self.of, self.left = of, TimeLeft(of, members, lambda: self.now, finals)

    def tell(self, event: Event) -> None:
        self.left.observe(event)
        self.said.append((self.now, self.left.left()))

    def calls(self, trials: Trials, members: int, epochs: int, each: float, first: float = 0.0) -> None:
        """Train, an epoch a call; the first call takes longer by `first`."""
        for epoch in range(1, epochs + 1):
            self.now += each + (first if epoch == 1 else 0.0)
            done, fresh = epoch == epochs, first > 0 and epoch == 1
            work = len(trials) * members
            self.tell(Progressed(trials.trial_id, np.zeros(len(trials)), epoch, work, each, done, 0, fresh))

    def round(self, trials: Trials, epochs: int) -> None:
        self.tell(RoundBegan(self.number, len(self.of.rungs), epochs, trials))
        self.number += 1

    def end(self, trials: Trials, ask: float) -> None:
        self.tell(RoundFinished(self.number - 1, trials, True))
        self.now += ask

    def off(self, since: float = 0.1) -> float:
        """Return by what share of the time that was left what was said was off, at worst after a tenth."""
        ahead = [(said, self.now - at) for at, said in self.said if at > since * self.now]
        return max(abs(said - real) / max(real, 1.0) for said, real in ahead)


def some(count: int) -> Trials:
    return Trials.of([Trial(i, {}) for i in range(count)])


def epoch_s(tiles: int) -> float:
    """What an epoch takes in these worlds: a part that every call takes, and one a tile."""
    return 0.5 + 0.25 * tiles


def test_small_rungs_take_what_a_call_takes_at_least():
    """81 trials for an epoch, 27 for 2 more, 9 for 6, 3 for 18: in proportion to its work the last takes a third."""
    rungs = [(81, 1), (27, 3), (9, 9), (3, 27)]
    world = World(plan(rungs, compile_seconds=2.0))
    for (count, to), epochs, tiles in zip(rungs, (1, 2, 6, 18), (21, 7, 3, 1), strict=True):
        world.round(some(count), to)
        if count == 81:
            world.tell(Compiling(1, 1, {}))
        world.calls(some(count), 1, epochs, epoch_s(tiles), first=4.0 if count == 81 else 0.0)
        world.end(some(count), 0.0)
    assert world.off(since=0.5) < 0.2  # from when two sizes of calls are known
    assert world.left.left() == pytest.approx(0.0, abs=0.5)


def test_asking_counts_for_each_kind_of_round_apart():
    """Brackets of two rungs, as Auto's: before fresh trials it thinks for 6 seconds, before those that go on for 1."""
    rungs = [(8, 1), (4, 3)] * 5
    world = World(plan(rungs))
    for bracket in range(5):
        for place, (count, to) in enumerate(rungs[:2]):
            world.round(some(count), to)
            world.calls(some(count), 1, 1 if place == 0 else 2, epoch_s(2 if place == 0 else 1))
            last = bracket == 4 and place
            world.end(some(count), 0.0 if last else (6.0 if place else 1.0))
    assert world.off(since=0.3) < 0.2  # from the third bracket on


def test_groups_that_are_still_to_be_compiled_take_what_those_took_that_were():
    world = World(plan([(16, 6)], widths=(1, 2, 3, 4), compile_seconds=400.0))
    trials = Trials.of([Trial(i, {"w": 1 + i // 4}) for i in range(16)])
    world.round(trials, 6)
    for w in (1, 2, 3, 4):
        world.tell(Compiling(w, 4, {"w": w}))
        world.calls(trials[4 * w - 4 : 4 * w], 1, 6, 0.2 * w, first=5.0)
    assert world.off(since=0.2) < 0.05  # after one of them
    assert world.said[-1][1] == pytest.approx(0.0, abs=0.1)


def test_finals_are_as_planned_and_those_given_up_are_not_waited_for():
    """Of 8 finalists in a part of 3 replicates all take part, in one of 4 one half."""
    world = World(plan([(16, 10)], finals=(8, 7), seconds=20.0), finals=(3, 4))
    world.round(some(16), 10)
    world.calls(some(16), 1, 10, 4 * 0.5)
    world.end(some(16), 0.0)
    world.tell(FinalsBegan([Trial(i, {}) for i in range(8)], 10))
    for replicates in (2, 1):  # as many at a time as the population of the search holds
        world.calls(some(8), replicates, 10, 2 * replicates * 0.5)
    world.calls(some(4), 4, 10, 4 * 0.5)
    assert world.off() < 0.02
    assert world.left.left() == pytest.approx(0.0, abs=1e-3)


def test_before_anything_is_measured_it_is_what_the_plan_says_and_never_more_than_the_run_may_take():
    of = plan([(8, 2), (4, 6)], finals=(2, 4), seconds=32.0, compile_seconds=5.0)
    now = [0.0]
    left = TimeLeft(of, 1, lambda: now[0], (2, 2))
    assert left.left() == pytest.approx(32.0 + 5.0 + 0.5)  # a tenth of compiling for small programs of the finals
    left.observe(RoundBegan(0, 2, 2, some(8)))
    left.observe(Compiling(1, 1, {}))
    now[0] = 4.0
    assert left.left() == pytest.approx(32.0 + 1.0 + 0.5)
    assert TimeLeft(of, 1, lambda: 2.0, (2, 2), 12.0).left() == pytest.approx(10.0)
    assert TimeLeft(plan([(4, 2)]), 1, lambda: 2.0).left() is None  # of a loop


def test_a_round_that_an_earlier_run_has_trained_is_not_left():
    left = TimeLeft(plan([(4, 2), (4, 2)], seconds=4.0), 1, lambda: 0.0)
    left.observe(RoundSkipped(0, 8))
    assert left.left() == pytest.approx(2.0)
    left.observe(RoundBegan(1, 2, 2, Trials.of(())))
    left.observe(RoundSkipped(1, 2))  # copies of earlier trials, which are not trained
    assert left.left() == pytest.approx(0.0)


def test_finals_take_the_tiles_of_the_groups_that_the_finalists_are_of():
    """Two groups; all four finalists are of the dear one, so that they fill one of its tiles and none of the other."""
    left = TimeLeft(plan([(4, 2)], finals=(4, 4), widths=(1, 5), seconds=1.0), 1, lambda: 0.0)
    left.observe(RoundBegan(0, 1, 2, Trials.of(())))
    left.observe(FinalsBegan([Trial(i, {"w": 5}) for i in range(4)], 2))
    assert left._calls(left._parts[1]) == [(1.0, 4 * 4 * 50.0)]  # replicates, members of a tile


def test_what_is_learnt_of_calls_of_two_sizes_holds_for_a_third():
    epochs = Epochs(None)
    for work in (8.0, 2.0):
        epochs.learn(work, 3, 3 * (0.5 + 0.25 * work))
    assert epochs.seconds(20.0) == pytest.approx(0.5 + 0.25 * 20.0, rel=0.02)
    epochs = Epochs(None)
    epochs.learn(8.0, 1, 4.0)
    assert epochs.seconds(4.0) == pytest.approx(2.0)  # of one size, in proportion


def test_an_ask_that_compiles_is_not_expected_again():
    asks = Asks()
    asks.learn(True, 9.0)
    asks.learn(True, 2.0)
    assert asks.seconds(True) == asks.seconds(False) == 2.0
    compiling = Compilations(4, 80.0)
    compiling.learn(5.0)
    compiling.begin(7.0)
    assert compiling.left(9.0, 3) == pytest.approx(13.0)
    assert compiling.left(9.0, 1) == pytest.approx(3.0)
    assert compiling.left(9.0, 0) == 0.0


def test_groups_that_no_trial_is_of_are_not_waited_for():
    """All trials are of the first group, so the other three are compiled never; those that go on need none either."""
    world = World(plan([(4, 2), (2, 4)], widths=(1, 2, 3, 4), compile_seconds=400.0))
    trials = Trials.of([Trial(i, {"w": 1}) for i in range(4)])
    world.round(trials, 2)
    world.tell(Compiling(1, 4, {"w": 1}))
    world.calls(trials, 1, 2, 0.2, first=5.0)
    world.end(trials, 0.0)
    assert world.left.left() == pytest.approx(2 * 0.5 * 0.2 * (1 + 2 + 3 + 4))  # as if each group had the same chance


def test_a_run_that_goes_on_with_trials_compiles_their_groups():
    left = TimeLeft(plan([(4, 2), (4, 4)], widths=(1, 2), compile_seconds=10.0, seconds=6.0), 1, lambda: 0.0)
    left.observe(RoundSkipped(0, 8))
    assert left.left() == pytest.approx(3.0 + 10.0)


def test_the_machine_is_measured_where_nothing_else_is_known():
    measured = []

    class Planned(SimpleNamespace):
        @property
        def seconds(self):
            measured.append(self)
            return 8.0

    facts = vars(plan([(8, 2)]))
    left = TimeLeft(Planned(**{name: fact for name, fact in facts.items() if name != "seconds"}), 1, lambda: 0.0)
    left.observe(RoundBegan(0, 1, 2, some(8)))
    assert not measured
    assert left.left() == pytest.approx(8.0)
    assert measured


def test_finals_of_several_groups_are_counted_group_by_group():
    left = TimeLeft(plan([(4, 10)], finals=(2, 1), widths=(1, 5)), 1, lambda: 0.0)
    left.observe(RoundBegan(0, 1, 10, Trials.of(())))
    left.observe(FinalsBegan([Trial(0, {"w": 1}), Trial(1, {"w": 5})], 10))
    for trial, epoch, trained in ((0, 5, 5), (1, 3, 3), (0, 8, 3), (1, 8, 5)):
        left.observe(Progressed(np.asarray([trial]), np.zeros(1), epoch, trained, 0.1, False, 0, False))
    assert left._at.done == {4 * 10.0: 8, 4 * 50.0: 8}
