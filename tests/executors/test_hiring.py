"""Workers are asked what they are before a search begins, and may die while they are."""

import tempfile
from concurrent.futures import Future

import numpy as np
import pytest

import jaxhp as hp
from jaxhp.executors.member_store import MemberStore
from jaxhp.executors.pool import WorkerLost
from jaxhp.search.workers import _what_they_are, hired


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
    assert _what_they_are(Dying(4), said.append) == (["a device"], {"jaxlib": "1"})  # type: ignore[arg-type]
    assert said == ["executor: waiting for a first worker"]
    pool = Dying(5)
    with pytest.raises(hp.Error, match=r"5 workers were lost before they answered: WorkerLost: .* by signal 9$"):
        _what_they_are(pool, said.append)
    assert pool.asked == 5


def test_nobody_is_asked_again_where_none_will_come():
    class Ended(Dying):
        def submit(self, fn, /, *args, worker=None):
            self.asked += 1
            raise hp.Error("executor: all 3 jobs have ended")

    pool = Ended(0)
    with pytest.raises(hp.Error, match=r"^executor: all 3 jobs have ended$"):
        _what_they_are(pool, print)
    assert pool.asked == 1


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
