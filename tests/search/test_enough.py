"""When a search ends early: what is decided, by a clock that is made up, and that it is decided once."""

from types import SimpleNamespace

import numpy as np
import pytest
from crash import Killed, dying
from small_search import Shared, shared

import jaxhp as hp
from jaxhp.engine.events import Compiling, Progressed, RoundFinished
from jaxhp.objectives import Objectives
from jaxhp.report.result import Result
from jaxhp.search.enough import Ending, Pace, Until, read_time
from jaxhp.store.enlarging import LIMIT
from jaxhp.store.ledger import Ledger, Round
from jaxhp.trials import Rung, Trial, Trials

FINALS = hp.Finals(2, 4)


class Told:
    """A pace that was told of rounds: each trains so many seconds, and takes others beside; the first compiles."""

    def __init__(self, *rounds: tuple[int, int, float, float], compiling: float = 5.0):
        self.now = 100.0
        plan = SimpleNamespace(groups=[SimpleNamespace(tile=4, epoch_flops=10.0)], devices=2)
        self.pace = Pace(plan, 1, lambda: self.now, 100.0)  # type: ignore[arg-type]
        for number, (trials, epochs, seconds, beside) in enumerate(rounds):
            if not number:
                self.pace.observe(Compiling(1, 1, {}))
                self.now += compiling
                self.call(trials, 1, 0.0, fresh=True)
            self.now += seconds
            self.call(trials, epochs, seconds)
            self.now += beside
            self.pace.observe(RoundFinished(number, Trials.of(()), False))

    def call(self, trials: int, epochs: int, seconds: float, fresh: bool = False) -> None:
        ids, score = np.arange(trials), np.zeros(trials)
        self.pace.observe(Progressed(ids, score, epochs, trials * epochs, seconds, True, 0, fresh))


def ending(pace: Pace, rungs: list[Rung], finals: hp.Finals | None, **until) -> Ending:
    course = SimpleNamespace(rungs=rungs, members=1, epochs=rungs[-1].epochs, metric="error", mode="min")
    judged = None if finals is None else SimpleNamespace(finals=finals)
    of = SimpleNamespace(course=course, objectives=Objectives(("error",), ("min",)), folds=1, finals=judged)
    of.ended_after = lambda rounds: of
    return Ending(Until(**until), of, pace, Ledger(None, write=True), lambda event: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("finals", "needed"),
    [
        # 9 trials are 3 tiles of 4, so 2 on the busier of 2 devices; an epoch of a tile takes 6 s / (2 tiles * 3)
        (None, 1.1 * (6.0 + 0.5 + 1.0)),
        # 2 finalists: 1 tile a replicate; replicates are trained 2 and then 2 at a time: 1 tile on each device, twice
        (FINALS, 1.1 * (6.0 + 0.5 + 2 * 3 * 1.0 + 1.0 + 5.0)),
    ],
)
def test_a_round_is_begun_where_it_leaves_time_for_the_finals(finals, needed):
    told = Told((9, 3, 6.0, 0.5))
    took = 5.0 + 6.0 + 0.5
    assert told.pace.elapsed() == took
    for spare, enough in ((0.01, False), (-0.01, True)):
        of = ending(told.pace, [Rung(9, 3)] * 4, finals, seconds=took + needed + spare)
        assert of.enough(1) is enough
    assert f"the next one and the finals would take about {needed:.1f} s" in of.why(1)


def test_the_slower_of_the_last_round_and_the_average_counts():
    told = Told((8, 1, 1.0, 0.0), (8, 1, 3.0, 0.0))  # one tile on each device
    assert told.pace.rate == pytest.approx(3.0 / 40)
    told = Told((8, 1, 3.0, 0.0), (8, 1, 1.0, 0.0))
    assert told.pace.rate == pytest.approx(2.0 / 40)
    assert told.pace.round(1.0, 3, 5) == pytest.approx(40 * 5)  # three trials take the whole tile
    assert Told().pace.rate is None


def test_never_before_the_first_round_and_by_the_record_where_nothing_is_measured():
    of = ending(Told().pace, [Rung(8, 3)] * 4, None, seconds=7.6)
    assert not of.enough(0)
    record(of._ledger, 0, [1.0], 3, wall_s=6.0)
    assert "would take about 7.7 s, and 7.6 of 7.6 s are left" in of.why(1)  # 1.1 * (6 + 1)
    assert not ending(Told().pace, [Rung(8, 3)] * 4, None, seconds=7.8).why(0)


def record(ledger: Ledger, number: int, scores: list[float], epochs: int, wall_s: float = 1.0) -> None:
    score, ids = np.asarray(scores, np.float32), np.arange(len(scores), dtype=np.int32) + 10 * number
    drafts = [Trial(int(i), {"lr": 1.0}) for i in ids]
    ledger.begin(Round(number, epochs, score[:, None], 0 * ids - 1, ids), Trials.of(drafts))
    done = [Trial(int(i), {"lr": 1.0}, score=s, replicate_scores=(s,)) for i, s in zip(ids, scores, strict=True)]
    ledger.finish(number, Trials.of(done), score, wall_s)


NAN = float("nan")


@pytest.mark.parametrize(
    ("scores", "until", "ends"),
    [
        ([[3, 2], [4, 5], [2, 2]], {"patience": 2}, 3),  # an equal score is no better one
        ([[3, 2], [4, 5], [1, 2]], {"patience": 2}, None),
        ([[3, 2], [4, 5]], {"patience": 1}, 2),
        ([[NAN], [3], [NAN]], {"patience": 1}, 3),
        ([[3, 2], [1, NAN]], {"target": 1}, 2),
        ([[3, 2], [1.1, NAN]], {"target": 1}, None),
        ([[NAN, NAN]], {"target": 1}, None),
        ([[3, 2], [0.1]], {"target": 0.1}, 2),  # as a float32
    ],
)
def test_target_and_patience_look_at_the_best_of_every_round(scores, until, ends):
    of = ending(Told().pace, [Rung(2, 3)] * 9, None, **until)
    for number, some in enumerate(scores):
        record(of._ledger, number, some, 3)
    whys = [of.why(number) for number in (len(scores),)]
    assert bool(whys[0]) is (ends == len(scores))


def test_rounds_below_the_full_budget_do_not_wear_patience_out():
    of = ending(Told().pace, [Rung(9, 1), Rung(3, 3)] * 3, None, patience=1)
    for number, (epochs, score) in enumerate([(1, 5.0), (3, 2.0), (1, 4.0)]):
        record(of._ledger, number, [score], epochs)
        assert not of.why(number + 1)
    record(of._ledger, 3, [2.0], 3)
    assert of.why(4) == "the last 1 round brought no better error"


def test_each_round_is_read_once(monkeypatch):
    of = ending(Told().pace, [Rung(1, 3)] * 20, None, patience=30, target=-1)
    read = []
    monkeypatch.setattr(
        Ledger, "round", lambda ledger, number, real=Ledger.round: [read.append(number), real(ledger, number)][1]
    )
    for number in range(20):
        record(of._ledger, number, [1.0], 3)
        assert not of.why(number + 1)
    assert read == [*range(20)]


@pytest.fixture
def late(monkeypatch):
    """Leaves no time for a third round."""
    monkeypatch.setattr(Ending, "_late", lambda self, number: "no time" if self._until.seconds and number > 1 else "")


STRATEGY = hp.Random(population=9, rounds=4)


def asked(rounds: int = 4) -> hp.Search:
    return shared("random", strategy=hp.Random(population=9, rounds=rounds), finals=FINALS)


def test_what_was_decided_is_the_search_of_so_many_rounds(late, tmp_path, capsys):
    result = asked().run(tmp_path, seconds=60)
    assert result.digest == asked(2).run(quiet=True).digest
    assert "ends after 2 of 4 rounds: no time" in capsys.readouterr().out
    with Ledger(tmp_path) as ledger:
        assert ledger.meta(LIMIT) == "2"
        assert ledger.events("ended early")[0]["why"] == "no time"
    assert result.stage.rungs == ((9, 9), (9, 9))
    assert result.stage.finished
    assert asked().run(tmp_path, quiet=True).digest == result.digest  # it is finished
    more = asked().extend(tmp_path, rounds=0, quiet=True)
    assert more.digest == asked().run(quiet=True).digest


POINTS = ("search ended early", "finals recorded", "parameters written")


@pytest.mark.parametrize("point", [pytest.param(p, marks=[pytest.mark.slow] * (p != POINTS[0])) for p in POINTS])
def test_a_resume_does_not_decide_otherwise(point, late, tmp_path, monkeypatch):
    monkeypatch.setattr(Shared, "watch", (dying(point),))
    with pytest.raises(Killed):
        asked().run(tmp_path, quiet=True, seconds=60)
    monkeypatch.setattr(Shared, "watch", ())
    assert str(Result.load(tmp_path).stage).startswith("in training, or killed: 2 of")
    result = asked().run(tmp_path, quiet=True)
    assert result.digest == asked(2).run(quiet=True).digest


@pytest.mark.slow
def test_target_and_patience_end_a_search_where_its_scores_say(tmp_path):
    trials = asked().run(quiet=True).trials
    best = np.asarray([trials.score[(trials.round == r) & trials.healthy()].min() for r in range(4)])
    reached = int(np.argmax(best <= best.min())) + 1  # rounds until the best of all was seen
    assert len(asked().run(quiet=True, target=float(best.min())).trials) == 9 * reached
    so_far = np.minimum.accumulate(best)
    stale = [r for r in range(1, 4) if not best[r] < so_far[r - 1]]
    expected = stale[0] + 1 if stale else 4
    assert len(asked().run(quiet=True, patience=1).trials) == 9 * expected


@pytest.mark.parametrize("name", ["target", "patience"])
def test_several_objectives_have_no_one_score_that_is_enough(name):
    several = Objectives(("accuracy", "size"), ("max", "min"))
    with pytest.raises(hp.Error) as refused:
        Until(**{name: 1}).checked(several)
    assert str(refused.value) == f"{name}: expected none with several objectives (accuracy, size)"


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("1h30m", 5400), ("90", 90), ("2h5s", 7205)])
def test_times_on_a_command_line(text, seconds):
    assert read_time(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "30x", "1m2h", "half", "3 0"])
def test_what_is_no_time_gets_one_line(text):
    with pytest.raises(hp.Error) as refused:
        read_time(text)
    assert str(refused.value) == f"--time: expected a time such as 30m, 1h30m or 90s, got {text!r}"
