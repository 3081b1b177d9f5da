"""Whom a search asks, whose an answer is, and who is asked no more."""

from concurrent.futures import Future

import jax
import numpy as np
import pytest

import jaxhp as hp
from jaxhp.engine.environment import environment
from jaxhp.executors import crew, worker
from jaxhp.executors.member_store import MemberStore
from jaxhp.executors.orders import Address, Answered, Hand, Missing, Rank, Refused, Who
from jaxhp.executors.stock import Stock

NAME, CHUNK, WHO = (0, 1), (0,), Who("here", 1, 1)
ADDRESS = Address("", "", {})


class Scripted:
    """A pool whose workers answer what a test says; None: nothing yet."""

    def __init__(self, **answers):
        self.answers, self.waiting = answers, []

    def workers(self):
        return [*self.answers]

    def submit(self, fn, /, *args, worker=None):
        future: Future = Future()
        answer = self.answers[worker]
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            self.waiting.append(future)
        else:
            future.set_result(answer)
        return future

    def close(self):
        raise AssertionError("whoever made it closes it")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """A worker that has not answered at once is halted."""
    monkeypatch.setattr(crew, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(crew, "_TICK_S", 0.001)


def test_what_a_busy_worker_holds_is_not_forgotten_though_another_one_answers(tmp_path):
    pool = Scripted(busy=None, other=Missing([NAME], "no longer in the worker's memory", WHO))
    of = crew.Crew(pool, ADDRESS, lambda _: None)
    stock = Stock(of, MemberStore(tmp_path / "members"))
    stock.where.found(NAME, CHUNK, "key", worker="busy")
    assert stock.store("key", [NAME], CHUNK) == [NAME]  # nobody has it now: the other one says so of itself
    pool.waiting.pop().set_result(Answered({}, 5, WHO))
    assert of.alive(anew=True) == ["busy", "other"]
    assert stock.homes([NAME], CHUNK) == ["busy"]
    pool.answers["busy"] = Answered({}, 7, WHO)
    assert stock.store("key", [NAME], CHUNK) == []
    assert stock.moved == 7
    pool.answers.pop("busy")
    assert of.alive(anew=True) == ["other"]
    assert stock.spot(NAME, CHUNK).stored
    stock.where.lost(NAME, CHUNK)
    assert stock.spot(NAME, CHUNK) is None


def test_that_no_worker_is_left_ends_a_search_when_it_asks():
    of = crew.Crew(Scripted(a=hp.Error("executor: all 3 jobs have ended")), ADDRESS, lambda _: None)
    with pytest.raises(hp.Error, match=r"^executor: all 3 jobs have ended$"):
        of.ask(Rank([]), None)


def test_who_does_not_see_the_store_is_refused_where_others_do():
    blind = Refused("expected the search in s3://members", WHO, blind=True)
    pool = Scripted(late=blind)
    with pytest.raises(hp.Error, match=r"^members: here process 1: expected the search in s3://members$"):
        crew.Crew(pool, ADDRESS, lambda _: None).ask(Rank([]), None)
    pool.answers = {"first": Answered([], 0, WHO)}
    of = crew.Crew(pool, ADDRESS, lambda _: None)
    of.ask(Rank([]), None)
    pool.answers["late"] = blind
    assert of.ask(Rank([]), "late") == ("first", Answered([], 0, WHO))
    assert of.alive(anew=True) == ["first"]


def test_a_worker_that_does_not_see_the_store_says_so(tmp_path):
    here = environment(jax.local_devices())
    answer = worker.work(Address(str(tmp_path / "members"), 64 * "0", here), Rank([]))
    assert isinstance(answer, Refused)
    assert answer.blind
    assert f"expected the search in {tmp_path / 'members'}, which all workers must see: blob" in answer.why


def test_a_member_that_is_handed_over_takes_the_place_of_another_without_a_gap(tmp_path, monkeypatch):
    site = worker.Site.__new__(worker.Site)
    site._store, site._kept = MemberStore(tmp_path), worker.Kept(1000)
    wrong, right = [np.ones(3, np.float32)], [np.arange(3, dtype=np.float32)]
    site._store.put("key", *NAME, wrong, CHUNK)
    site._kept.add({("key", NAME, CHUNK): right})
    monkeypatch.setattr(MemberStore, "drop", lambda *_: pytest.fail("there is a gap"))
    answer = site.answer(Hand("key", [NAME], CHUNK), WHO)
    assert isinstance(answer, Answered)
    assert answer.sent == 12
    np.testing.assert_array_equal(site._store.get("key", *NAME, CHUNK)[0], right[0])
