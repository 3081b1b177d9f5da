"""How long a search will still take, by a clock that is made up."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from jaxhp.engine.events import Compiling, Event, FinalsBegan, Progressed, RoundBegan, RoundFinished, RoundSkipped
from jaxhp.search.enough import Pace
from jaxhp.search.time_left import TimeLeft
from jaxhp.trials import Trial, Trials


class Told(TimeLeft):
    """One that tells its pace."""

    def observe(self, event: Event) -> None:
        self._pace.observe(event)
        super().observe(event)


def time_left(plan, clock: Callable[[], float], at_most: float | None = None) -> Told:
    return Told(plan, 1, Pace(plan, 1, clock, 0.0), at_most)


def test_the_time_left_has_compiling_rungs_and_finals_in_it():
    """Two rungs, of 8 trials to 2 epochs and 4 on to 6, and finals of 2 with 4 replicates, on one device."""
    groups = [SimpleNamespace(tile=4, epoch_flops=10.0, static={})]
    plan = SimpleNamespace(
        groups=groups, devices=1, rungs=[(8, 2), (4, 6)], finals=(2, 4), seconds=32.0, compile_seconds=5.0
    )
    now = [0.0]
    pace = time_left(plan, lambda: now[0])
    # epochs of tiles: 2 * 2, 1 * 4 and 4 * 6, which is 32; a tenth of the compiling for small programs of the finals
    assert pace.left() == pytest.approx(32.0 + 5.0 + 0.5)
    eight, four, two = (Trials.of([Trial(i, {}) for i in range(n)]) for n in (8, 4, 2))

    def call(trials: Trials, epoch: int, member_epochs: int, seconds: float, fresh: bool = False) -> None:
        now[0] += seconds
        event = Progressed(trials.trial_id, np.zeros(len(trials)), epoch, member_epochs, seconds, False, 0, fresh)
        pace.observe(event)

    pace.observe(RoundBegan(0, 2, 2, eight))
    pace.observe(Compiling(1, 1, {}))
    now[0] += 4.0
    assert pace.left() == pytest.approx(32.0 + 1.0 + 0.5)
    call(eight, 1, 8, 1.0, fresh=True)  # 5 seconds compiling with its first call, whose speed does not count
    assert pace.left() == pytest.approx(30.0 + 0.5)
    call(eight, 2, 8, 4.0)  # two epochs of tiles in 4 seconds
    assert pace.left() == pytest.approx(28 * 2.0 + 0.5)
    assert pace.member_epochs_s == 2.0
    pace.observe(RoundFinished(0, eight, True))
    pace.observe(RoundBegan(1, 2, 6, four))
    call(four, 4, 8, 4.0)
    assert pace.left() == pytest.approx((2 + 24) * 2.0 + 0.5)
    pace.observe(RoundFinished(1, four, False))
    pace.observe(FinalsBegan([], 6))
    call(two, 6, 24, 24.0)  # half of the replicates
    assert pace.left() == pytest.approx(12 * 2.0 + 0.25)
    call(two[:1], 6, 12, 24.0)  # of one of them the other half, in as many tiles
    assert pace.left() == pytest.approx(0.0)


def test_the_time_left_is_no_more_than_the_search_may_take_and_unknown_of_a_loop():
    groups = [SimpleNamespace(tile=4, epoch_flops=10.0, static={})]
    facts = {"groups": groups, "devices": 1, "rungs": [(4, 2)], "finals": None, "compile_seconds": 5.0}
    plan = SimpleNamespace(**facts, seconds=32.0)
    assert time_left(plan, lambda: 2.0, 12.0).left() == pytest.approx(10.0)
    assert time_left(SimpleNamespace(**facts, seconds=None), lambda: 2.0).left() is None


def test_a_round_that_an_earlier_run_has_trained_is_not_left():
    groups = [SimpleNamespace(tile=4, epoch_flops=10.0, static={})]
    plan = SimpleNamespace(
        groups=groups, devices=1, rungs=[(4, 2), (4, 2)], finals=None, seconds=4.0, compile_seconds=0.0
    )
    pace = time_left(plan, lambda: 0.0)
    pace.observe(RoundSkipped(0, 8))
    assert pace.left() == pytest.approx(2.0)
    pace.observe(RoundBegan(1, 2, 2, Trials.of(())))
    pace.observe(RoundSkipped(1, 2))  # copies of earlier trials, which are not trained
    assert pace.left() == pytest.approx(2.0)


def test_finals_take_the_tiles_of_the_groups_that_the_finalists_are_of():
    """Two groups; all four finalists are of the dear one, so that they fill one of its tiles and none of the other."""
    groups = [SimpleNamespace(tile=4, epoch_flops=flops, static={"w": w}) for w, flops in ((1, 10.0), (2, 50.0))]
    plan = SimpleNamespace(groups=groups, devices=1, rungs=[(4, 2)], finals=(4, 4), seconds=1.0, compile_seconds=0.0)
    pace = time_left(plan, lambda: 0.0)
    pace.observe(RoundBegan(0, 1, 2, Trials.of(())))
    trials = [Trial(i, {"w": 2}) for i in range(4)]
    pace.observe(FinalsBegan(trials, 2))
    assert pace._finals() == pytest.approx(4 * 2 * 4 * 50.0)  # replicates, epochs, members of a tile
    pace.observe(Progressed(np.arange(4), np.zeros(4), 2, 16, 8.0, False, 0))  # two of the replicates
    assert pace.left() == pytest.approx(8.0)
