"""Which worker trains which unit: whatever happens in whatever order, every unit ends once and no worker has two."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxhp.executors.scheduling import Dismissed, Finished, GivenUp, Outvoted, Schedule, Start, Undecided

WORKERS = [f"w{i}" for i in range(5)]


class Watched:
    """A schedule and a plain account of what it was told and said, which is checked at every step."""

    def __init__(self):
        self.schedule = Schedule(least_s=5.0)
        self.now = 0.0
        self.alive: set[str] = set()
        self.dismissed: set[str] = set()
        self.out: dict[str, int] = {}
        self.homes: dict[int, set[str]] = {}
        self.lost: dict[int, list[str]] = {}
        self.ended: dict[int, Finished | GivenUp] = {}
        self.results: dict[int, list[tuple[str, int]]] = {}
        self.verdicts: dict[int, list] = {}

    def add(self, homes: set[str], cost: float) -> None:
        unit = len(self.homes)
        self.homes[unit], self.lost[unit], self.results[unit] = homes, [], []
        self.schedule.add(unit, cost, sorted(homes))

    def join(self, worker: str) -> None:
        self.schedule.join(worker)
        self.alive |= {worker} - self.dismissed

    def end(self, worker: str, how: str, result: int = 0) -> None:
        unit = self.out.pop(worker, None)
        if how == "finish":
            if unit is not None and len({*self.verdicts} & {unit}) == 0:
                self.results[unit].append((worker, result))
            facts = self.schedule.finish(worker, result, self.now)
        elif how == "lose":
            facts = self.schedule.lose(worker, self.now)
        else:
            facts = self.schedule.leave(worker, self.now)
            self.alive.discard(worker)
        if how != "finish" and unit is not None:
            self.lost[unit].append(worker)
        for fact in facts:
            if isinstance(fact, Finished | GivenUp):
                assert fact.unit == unit
                assert unit not in self.ended
                self.ended[unit] = fact
                if isinstance(fact, Finished):
                    assert (fact.worker, fact.result) == (worker, result)
                else:
                    assert len(self.lost[unit]) >= 5
                    assert not self.results[unit]
            elif isinstance(fact, Dismissed):
                assert how == "lose"
                self.alive.discard(fact.worker)
                self.dismissed.add(fact.worker)
            else:
                self.verdicts.setdefault(fact.unit, []).append(fact)

    def start(self) -> list[Start]:
        idle = {worker for worker in self.alive if worker not in self.out}
        starts = self.schedule.starts(self.now)
        given = {start.worker for start in starts}
        assert len(given) == len(starts)
        for unit, worker, again in starts:
            assert worker in idle
            assert again == (unit in self.ended or unit in self.out.values())
            had = {*self.lost[unit], *(of for of, _ in self.results[unit])}
            if worker not in self.homes[unit]:
                assert (self.homes[unit] & idle) - had <= given, "its holder is idle"
            self.out[worker] = unit
            assert list(self.out.values()).count(unit) <= 3
        return starts

    def finish_all(self) -> None:
        """Nothing is lost any more."""
        self.join("last")
        for _ in range(4 * len(self.homes) + 50):
            self.now += 100.0
            self.start()
            for worker in list(self.out):
                self.end(worker, "finish")
        assert not self.out
        assert self.ended.keys() == self.homes.keys()
        assert self.schedule.unfinished() == 0
        assert not self.schedule._units, "what is done is forgotten"


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sets(st.sampled_from(WORKERS), max_size=2), st.sampled_from([0.5, 1.0, 4.0])),
        st.tuples(st.just("join"), st.sampled_from(WORKERS)),
        st.tuples(st.just("leave"), st.sampled_from(WORKERS)),
        st.tuples(st.just("lose"), st.sampled_from(WORKERS)),
        st.tuples(st.just("finish"), st.sampled_from(WORKERS), st.sampled_from([0, 0, 0, 1, 2])),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 1.0, 30.0])),
        st.tuples(st.just("start")),
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(EVENTS)
def test_every_unit_ends_once_whatever_happens(events):
    watched = Watched()
    for kind, *told in events:
        if kind == "add":
            watched.add(*told)
        elif kind == "join":
            watched.join(*told)
        elif kind == "wait":
            watched.now += told[0]
        elif kind == "start":
            watched.start()
        else:
            watched.end(told[0], kind, *told[1:])
    watched.finish_all()
    for unit, facts in watched.verdicts.items():
        values = [value for _, value in watched.results[unit]]
        assert len(set(values)) > 1
        for fact in facts:
            if isinstance(fact, Outvoted):
                assert values.count(fact.right) == 2
                assert (fact.worker, fact.right) not in watched.results[unit]
            else:
                assert isinstance(fact, Undecided)
                assert len(set(values)) == len(values)
    for unit, results in watched.results.items():
        if len(results) > 1 and len({value for _, value in results}) > 1:
            assert unit in watched.verdicts


def begun(workers: int, units: int, cost: float = 10.0) -> Schedule:
    schedule = Schedule(least_s=5.0)
    for worker in WORKERS[:workers]:
        schedule.join(worker)
    for unit in range(units):
        schedule.add(unit, cost)
    return schedule


def test_a_straggler_gets_a_copy_when_a_worker_is_idle_and_not_before():
    schedule = begun(2, 3)
    assert schedule.starts(0.0) == [Start(0, "w0", False), Start(1, "w1", False)]
    assert schedule.due() is None
    assert schedule.finish("w0", "a", 10.0) == [Finished(0, "w0", "a")]
    assert schedule.starts(10.0) == [Start(2, "w0", False)]
    schedule.finish("w0", "b", 20.0)  # a cost of 10 takes 10 seconds, and unit 1 is out for 20
    assert schedule.due() == 20.0
    assert schedule.starts(19.9) == []
    assert schedule.starts(20.0) == [Start(1, "w0", True)]
    assert schedule.finish("w0", "c", 30.0) == [Finished(1, "w0", "c")]
    assert schedule.unfinished() == 0
    assert schedule.finish("w1", "c", 99.0) == []
    assert schedule.due() is None


def test_short_units_get_no_copies():
    schedule = begun(2, 2, cost=0.01)
    schedule.starts(0.0)
    schedule.finish("w0", "a", 0.01)
    assert schedule.starts(4.9) == []
    assert schedule.due() == 5.0
    assert schedule.starts(5.0) == [Start(1, "w0", True)]


@pytest.mark.parametrize(
    ("third", "told"),
    [("a", [Outvoted(1, "w1", "a")]), ("b", [Outvoted(1, "w0", "b")]), ("c", [Undecided(1, ("w0", "w1", "w2"))])],
)
def test_a_third_run_tells_which_of_two_results_is_wrong(third, told):
    schedule = begun(2, 2)
    schedule.starts(0.0)
    schedule.finish("w0", "x", 10.0)
    assert schedule.starts(50.0) == [Start(1, "w0", True)]
    assert schedule.finish("w0", "a", 60.0) == [Finished(1, "w0", "a")]
    assert schedule.starts(60.0) == []
    assert schedule.finish("w1", "b", 61.0) == []
    assert schedule.unfinished() == 1
    schedule.join("w2")
    assert schedule.starts(61.0) == [Start(1, "w2", True)]
    assert schedule.finish("w2", third, 71.0) == told
    assert schedule.unfinished() == 0


def test_no_third_run_to_be_had():
    schedule = begun(2, 2)
    schedule.starts(0.0)
    schedule.finish("w0", "x", 10.0)
    schedule.starts(50.0)
    schedule.finish("w0", "a", 60.0)
    schedule.finish("w1", "b", 61.0)
    facts = []
    for worker in ("w2", "w3", "w4", "w5", "w6"):
        schedule.join(worker)
        started = next(start for start in schedule.starts(62.0) if start.unit == 1)
        facts += schedule.leave(started.worker, 63.0)
    assert facts == [Undecided(1, ("w0", "w1"))]


def test_five_losses_and_a_unit_is_given_up():
    schedule = begun(5, 1)
    schedule.join("w5")
    facts = []
    for lost in range(5):
        (start,) = schedule.starts(float(lost))
        facts += schedule.lose(start.worker, lost + 0.5)
    assert facts == [GivenUp(0, ("w0", "w1", "w2", "w3", "w4"))]  # another worker each time
    assert schedule.unfinished() == 0


def test_what_is_refused_is_not_lost():
    schedule = Schedule()
    schedule.add(0)
    for number in range(7):
        schedule.join(f"w{number}")
        (start,) = schedule.starts(0.0)
        assert schedule.refuse(start.worker) == []
    assert schedule.unfinished() == 1
    assert schedule.workers() == []
    schedule.join("other")
    (start,) = schedule.starts(0.0)
    assert schedule.finish(start.worker, "it", 1.0) == [Finished(0, "other", "it")]


def test_a_worker_that_loses_all_it_gets_is_dismissed_and_harms_nothing():
    schedule = begun(3, 40)
    told = []
    now = 0.0
    while schedule.unfinished():
        for unit, worker, _ in schedule.starts(now):
            told += schedule.lose(worker, now) if worker == "w1" else schedule.finish(worker, unit, now + 1.0)
        now += 1.0
    assert [fact for fact in told if not isinstance(fact, Finished)] == [Dismissed("w1")]
    assert sorted(fact.unit for fact in told if isinstance(fact, Finished)) == [*range(40)]
    schedule.join("w1")
    assert schedule.workers() == ["w0", "w2"]


def test_the_only_worker_may_try_again():
    schedule = begun(1, 1)
    assert schedule.starts(0.0) == [Start(0, "w0", False)]
    schedule.lose("w0", 1.0)
    assert schedule.starts(1.0) == [Start(0, "w0", False)]


def test_a_worker_that_hangs_is_not_waited_for():
    schedule = begun(2, 1)
    schedule.add("stuck")
    schedule.starts(0.0)
    schedule.lose("w0", 1.0)
    assert schedule.starts(1.0) == []  # w1 may come back for it
    assert schedule.due() == 6.0
    assert schedule.starts(6.0) == [Start(0, "w0", False)]


def test_members_stay_where_they_are():
    schedule = begun(3, 0)
    for unit, home in enumerate(["w2", "w1", "w1", "w0", "gone"]):
        schedule.add(unit, 1.0, [home])
    assert schedule.starts(0.0) == [Start(3, "w0", False), Start(1, "w1", False), Start(0, "w2", False)]
    schedule.finish("w0", "", 1.0)
    assert schedule.starts(1.0) == [Start(4, "w0", False)]  # whose members are in the store, before w1's
    schedule.finish("w1", "", 1.0)
    assert schedule.starts(1.0) == [Start(2, "w1", False)]
    schedule.add("rest", 1.0, ["w1"], order=-1)
    schedule.add("next", 1.0, ["w1"])
    schedule.finish("w1", "", 2.0)
    assert schedule.starts(2.0) == [Start("rest", "w1", False)]
    schedule.finish("w2", "", 2.0)
    assert schedule.starts(2.0) == [Start("next", "w2", False)]  # w1 is busy
    schedule.add("last", 1.0, ["w1"])
    schedule.leave("w1", 3.0)
    schedule.finish("w0", "", 3.0)
    assert {start.unit for start in schedule.starts(3.0)} == {"rest"}
    schedule.finish("w2", "", 3.0)
    assert {start.unit for start in schedule.starts(3.0)} == {"last"}


def test_a_unit_that_is_withdrawn_is_not_heard_of():
    schedule = begun(2, 3)
    schedule.starts(0.0)
    schedule.withdraw(0)
    schedule.withdraw(2)
    assert schedule.unfinished() == 1
    assert schedule.finish("w0", "a", 1.0) == []
    assert schedule.starts(1.0) == []
    assert schedule.leave("w1", 1.0) == []
    assert schedule.starts(1.0) == [Start(1, "w0", False)]


def test_nothing_grows_with_what_is_done():
    schedule = begun(4, 0)
    for unit in range(5000):
        schedule.add(unit, 1.0, [WORKERS[unit % 4]] if unit % 2 else [])
        for _, worker, _ in schedule.starts(float(unit)):
            schedule.finish(worker, "", unit + 0.5)
    waiting = schedule._waiting
    assert max(map(len, (waiting.free, waiting.away, *waiting._home.values(), schedule._late._heap))) <= 130
    assert not schedule._units
    assert math.isclose(schedule._late._sorted[0], 0.5)


def test_what_is_slow_is_not_told_by_stragglers_alone():
    schedule = Schedule(least_s=5.0)
    for number in range(200):
        schedule.add(number, 1.0)
    for number in range(100):
        schedule.join(str(number))
    schedule.starts(0.0)
    for number in range(100):
        schedule.finish(str(number), "", 10.0)
    schedule.starts(10.0)
    for number in range(90):  # of 100 units the last 70 take ten times as long
        schedule.finish(str(number), "", 20.0 if number < 20 else 110.0)
    assert {start.unit for start in schedule.starts(110.0)} == {*range(190, 200)}
