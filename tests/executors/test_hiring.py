"""Workers are asked what they are before a search begins, and may die while they are."""

from concurrent.futures import Future

import pytest

import jaxhp as hp
from jaxhp.executors.pool import WorkerLost
from jaxhp.search.workers import _what_they_are


class Dying:
    """A pool of which so many workers die before one answers."""

    def __init__(self, deaths: int):
        self.asked, self._deaths = 0, deaths

    def submit(self, fn, /, *args, worker=None):
        future: Future = Future()
        self.asked += 1
        if self.asked > self._deaths:
            future.set_result(("who", ["a device"], {"jaxlib": "1"}))
        else:
            future.set_exception(WorkerLost("process 1 was ended by signal 9\nand more"))
        return future


def test_another_worker_is_asked_where_one_dies():
    assert _what_they_are(Dying(4)) == (["a device"], {"jaxlib": "1"})  # type: ignore[arg-type]
    pool = Dying(5)
    with pytest.raises(hp.Error, match=r"5 workers were lost before they answered: WorkerLost: .* by signal 9$"):
        _what_they_are(pool)  # type: ignore[arg-type]
    assert pool.asked == 5
