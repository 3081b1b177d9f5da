"""How long a search is expected to take, on a machine that is made up and whose speed is known."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

import jaxhp as hp
from jaxhp.engine.events import Compiling, FinalsBegan, Progressed, RoundBegan, RoundFinished, RoundSkipped
from jaxhp.search.pace import Pace
from jaxhp.trials import Rung, Trials

TILE, DEVICES, TILE_EPOCH_S, BESIDE_S, END_S = 4, 2, 0.25, 0.3, 1.0
NONE = Trials.of(())


class Machine:
    """Trains tiles of 4 on 2 devices, a quarter of a second an epoch of a tile; notes what was expected, and when."""

    def __init__(self, rungs: list[Rung], finals: hp.Finals | None):
        self.now, self.expected = 0.0, []
        plan = SimpleNamespace(groups=[SimpleNamespace(tile=TILE, epoch_flops=7.0)], devices=DEVICES)
        self.pace = Pace(plan, 1, lambda: self.now, 0.0)  # type: ignore[arg-type]
        self.of = rungs, finals, 1, rungs[-1].epochs

    def train(self, trials: int, members: int, epochs: int) -> None:
        """An epoch a call."""
        tiles = math.ceil(math.ceil(trials / TILE) * members / DEVICES)
        for epoch in range(1, epochs + 1):
            self.now += tiles * TILE_EPOCH_S
            ids = np.arange(trials)
            done = trials * members
            self.pace.observe(Progressed(ids, np.zeros(trials), epoch, done, tiles * TILE_EPOCH_S, False, 0))
            self.expected.append((self.now, self.pace.left(*self.of)))

    def run(self) -> None:
        rungs, finals, _, epochs = self.of
        for number, (before, rung) in enumerate(pairwise([Rung(0, 0), *rungs])):
            self.pace.observe(RoundBegan(number, len(rungs), rung.epochs, NONE))
            further = before.epochs if rung.epochs > before.epochs else 0
            self.train(rung.trials, 1, rung.epochs - further)
            self.now += BESIDE_S
            self.pace.observe(RoundFinished(number, NONE, False))
        if finals is not None:
            self.pace.observe(FinalsBegan([], epochs))
            rounds, estimating = finals.blocks(1)
            for replicates in (*rounds, estimating):
                self.train(finals.top, replicates, epochs)
        self.now += END_S


@pytest.mark.parametrize(
    ("rungs", "finals"),
    [
        ([Rung(16, 10)] * 4, None),
        ([Rung(16, 10)] * 4, hp.Finals(4, 8)),
        ([Rung(81, 1), Rung(27, 3), Rung(9, 9), Rung(3, 27)], hp.Finals(3, 8)),
        ([Rung(64, 2), Rung(32, 4), Rung(64, 2), Rung(32, 4)], hp.Finals(8, 4)),
    ],
)
def test_the_time_left_is_right_within_a_fifth_after_a_tenth_of_the_time(rungs, finals):
    machine = Machine(rungs, finals)
    machine.run()
    after = [(left, machine.now - at) for at, left in machine.expected if at > 0.1 * machine.now]
    assert len(after) > 10
    for expected, real in after:
        assert abs(expected - real) <= 0.2 * real + 2 * BESIDE_S


def test_nothing_is_expected_before_anything_is_measured_and_what_is_done_does_not_count():
    machine = Machine([Rung(8, 2)] * 3, None)
    assert machine.pace.left(*machine.of) is None
    machine.pace.observe(RoundSkipped(0, 16))
    machine.pace.observe(Compiling(1, 1, {}))
    machine.pace.observe(RoundBegan(1, 3, 2, NONE))
    machine.now += 50.0  # of compiling
    machine.train(8, 1, 2)  # the first call of which says how long that took
    assert machine.expected[0][1] is None
    assert machine.expected[1][1] == pytest.approx(2 * TILE_EPOCH_S + END_S)
