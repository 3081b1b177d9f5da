"""Workers are asked what they are before a search begins, and may die while they are."""

import tempfile
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

import jaxhp as hp
from jaxhp.executors import hiring
from jaxhp.executors.hiring import chosen
from jaxhp.executors.member_store import MemberStore
from jaxhp.executors.pool import WorkerLost
from jaxhp.search import workers
from jaxhp.search.manifest import FORMAT
from jaxhp.search.workers import hired


class Dying:
    """A pool of which so many workers die before one answers."""

    def __init__(self, deaths: int):
        self.asked, self._deaths = 0, deaths

    def workers(self):
        return ["one"] if self.asked > self._deaths else []

    def close(self):
        raise AssertionError("whoever made it closes it")

    def submit(self, fn, /, *args, worker=None):
        future: Future = Future()
        self.asked += 1
        if self.asked > self._deaths:
            future.set_result(("who", ["a device"], {"jaxlib": "1"}))
        else:
            future.set_exception(WorkerLost("process 1 was ended by signal 9\nand more"))
        return future


def test_another_worker_is_asked_where_one_dies():
    said: list[str] = []
    assert chosen(Dying(4), None, None, said.append) == (["a device"], {"jaxlib": "1"})  # type: ignore[arg-type]
    assert said == ["executor: waiting for a first worker"]
    pool = Dying(5)
    with pytest.raises(hp.Error, match=r"5 workers were lost before they answered: WorkerLost: .* by signal 9$"):
        chosen(pool, None, None, said.append)
    assert pool.asked == 5


def test_nobody_is_asked_again_where_none_will_come():
    class Ended(Dying):
        def submit(self, fn, /, *args, worker=None):
            self.asked += 1
            raise hp.Error("executor: all 3 jobs have ended")

    pool = Ended(0)
    with pytest.raises(hp.Error, match=r"^executor: all 3 jobs have ended$"):
        chosen(pool, None, None, print)
    assert pool.asked == 1


def test_an_engine_that_breaks_when_it_is_asked_is_one_line():
    class Broken(Dying):
        def submit(self, fn, /, *args, worker=None):
            self.asked += 1
            raise BrokenProcessPool("a child process terminated abruptly")

    pool = Broken(9)
    with pytest.raises(hp.Error, match=r"5 workers were lost before they answered: BrokenProcessPool: a child process"):
        chosen(pool, None, None, print)
    assert pool.asked == 5


class Told(Dying):
    """A pool whose workers say, one after another, which jaxlib they have; all are there at once."""

    def __init__(self, *versions, kind="cpu", joins=False):
        self.asked, self.versions, self.kind, self.joins = 0, versions, kind, joins

    def workers(self):
        return [*self.versions]

    def submit(self, fn, /, *args, worker=None):
        future: Future = Future()
        version = worker or self.versions[0]
        future.set_result((f"who has {version}", [version], {"jaxlib": version, "device_kind": self.kind}))
        return future


def test_an_odd_first_worker_is_no_measure_of_the_others():
    said: list[str] = []
    own = {"jaxlib": "2", "device_kind": "cpu"}
    assert chosen(Told("1", "2"), None, own, said.append)[0] == ["2"]
    assert chosen(Told("2", "1"), {"jaxlib": "1", "device_kind": "cpu"}, own, said.append)[0] == ["1"]  # begun so
    assert [text for text in said if "jaxlib is '1', not '2'" in text]
    with pytest.raises(hp.Error, match=r"no worker makes the bits of this search: who has 1: its jaxlib is '1', not"):
        chosen(Told("1"), None, own, said.append)
    said.clear()
    assert chosen(Told("3", "2", kind="H200"), None, own, said.append)[0] == ["3"]  # here is no such device
    assert said == ["executor: workers are to be as the first one: H200, jaxlib 3"]


def test_a_run_that_nobody_there_may_go_on_with_ends_with_the_cure_though_others_may_join(monkeypatch):
    monkeypatch.setattr(hiring, "_LOOK_S", 0.001)
    monkeypatch.setattr(hiring, "_PATIENCE_S", 0.002)
    said: list[str] = []
    begun = {"jaxlib": "3", "device_kind": "cpu"}
    with pytest.raises(hp.Error, match=r"has 1: .*has 2: .*; accept_environment=True goes on with another env\w+$"):
        chosen(Told("1", "2", joins=True), begun, None, said.append)
    assert all(text.endswith("; accept_environment=True goes on with another environment") for text in said)


def test_what_is_no_executor_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(hp.Error, match=r"^executor: expected something with submit"), hired(3, None, None, print):
        pass
    assert not [*tmp_path.iterdir()]


def failing(dir, *, member: bool) -> MemberStore:
    """Have workers for a search that fails, with a trained member or without."""
    store = MemberStore(dir / "members" / "failing")
    with pytest.raises(ZeroDivisionError):
        _fail(dir, store, member)
    return store


def _fail(dir, store, member):
    with hired(Dying(0), None, dir, print) as workers:
        workers.stores.append(store)
        store.put_blob(b"a recipe")
        if member:
            store.put("key", 0, 1, [np.zeros(3)], [0])
        raise ZeroDivisionError


def test_a_run_directory_keeps_members_until_the_search_is_finished_and_nothing_else(tmp_path):
    failing(tmp_path, member=False)
    assert not [*tmp_path.iterdir()]
    assert [*failing(tmp_path, member=True).names()]
    with hired(Dying(0), None, tmp_path, print):  # in another environment
        pass
    assert not [*tmp_path.iterdir()]


class Closed(Dying):
    """A pool that tells whether it was closed."""

    closed = False

    def close(self):
        self.closed = True


def test_a_finished_directory_loses_what_a_kill_left_and_the_other_ranks_of_mpi_serve_there(tmp_path, monkeypatch):
    failing(tmp_path, member=True)
    monkeypatch.setattr(workers, "_begun", lambda _: ({}, True))
    pool, made = Closed(9), []
    monkeypatch.setattr(workers, "as_pool", lambda executor: made.append(executor) or pool)
    with hired("mpi", None, tmp_path, print):
        assert made == ["mpi"]
        assert not pool.closed
        assert [*tmp_path.rglob("*.member")]
    assert pool.closed
    assert not [*tmp_path.iterdir()]
    with hired("ray", None, tmp_path, print):
        assert made == ["mpi"]


@pytest.mark.parametrize("change", [{"format": 2}, {"environment": 3}, {"environment": {"platform": "cpu"}}])
def test_a_directory_of_another_version_or_damaged_is_no_measure(tmp_path, monkeypatch, change):
    environment = {"platform": "cpu", "device_kind": "cpu", "runtime": "1", "devices": 1}
    known = {"format": FORMAT, "environment": environment}
    (tmp_path / "manifest.json").touch()
    monkeypatch.setattr(workers, "Ledger", lambda _: nullcontext(SimpleNamespace(meta=lambda _: "yes")))
    monkeypatch.setattr(workers, "trained", lambda _: True)
    monkeypatch.setattr(workers, "recorded", lambda _: known)
    assert workers._begun(tmp_path) == (environment, True)
    monkeypatch.setattr(workers, "recorded", lambda _: known | change)
    assert workers._begun(tmp_path) == (None, False)
