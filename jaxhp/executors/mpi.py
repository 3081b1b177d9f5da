"""Workers that are the ranks of one MPI job: `mpiexec -n 4 python script.py`."""

from __future__ import annotations

import atexit
import pickle
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from jaxhp.executors.answers import answered, settle
from jaxhp.executors.pool import Pool, Submit, WorkerLost
from jaxhp.executors.post import pause
from jaxhp.packages import needed
from jaxhp.values import Error

_TAG = 20
_made: list[MPI] = []  # one at most: the other ranks are with the first, and end with it


class MPI:
    """The ranks of this MPI job but the first, which is the one that runs the search.

    All ranks run the same script. In the first this is a pool; in the others it takes calls, and ends the process with
    that pool, so that nothing after it is run by them: one pool is for all searches of a script. An MPI job does not
    outlive a rank, as MPI has it: resume then.

    Raises:
      Error: mpi4py or an MPI is missing, there is one rank alone, or this process has made one before.
    """

    joins = False  # see `Pool`

    def __init__(self) -> None:
        if _made:
            raise Error("executor: expected one hp.executors.MPI() for all searches of a script, got a second one")
        needed("mpi4py", "executor:", "mpi4py", "mpi")
        mpi = needed("mpi4py.MPI", "executor:", "mpi4py", "mpi")
        self._comm = mpi.COMM_WORLD.Dup()
        if self._comm.size < 2:
            raise Error("executor: expected several ranks, got 1: mpiexec -n 4 python script.py")
        if self._comm.rank:
            _serve(self._comm)
            sys.exit(0)
        _made.append(self)
        self._mpi = mpi
        self._asked: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._calls: dict[int, list[tuple[Future[Any], float]]] = {rank: [] for rank in range(1, self._comm.size)}
        self._thread = threading.Thread(target=self._talk, name="jaxhp mpi", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # the other ranks wait for it

    def workers(self) -> Sequence[str]:
        """See `Pool.workers`."""
        return [f"rank {rank}" for rank in self._calls]

    def submit(self, fn: Callable[..., Any], /, *args: Any, worker: str | None = None) -> Future[Any]:
        """See `Pool.submit`."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            call = pickle.dumps((fn, args))
        except Exception as error:
            future.set_exception(error)
            return future
        with self._lock:
            rank = next((rank for rank in self._calls if f"rank {rank}" == worker), None)
            if worker is None and self._calls:
                rank = min(self._calls, key=lambda rank: len(self._calls[rank]))
            if rank is not None:
                self._calls[rank].append((future, time.monotonic()))
                self._asked.put((rank, call))
        if rank is None:
            future.set_exception(WorkerLost(f"{worker}: gone"))
        return future

    def close(self) -> None:
        """Let the other ranks end, each with what it is at."""
        atexit.unregister(self.close)
        with self._lock:
            calls, self._calls = self._calls, {}
        if calls:
            self._asked.put(None)
            self._thread.join()
        for future, _ in [one for given in calls.values() for one in given]:
            future.set_exception(WorkerLost("closed"))

    def _talk(self) -> None:
        """Send calls and take answers: all that the first rank has to do with MPI, in one thread."""
        sent: list[Any] = []
        while True:
            with self._lock:
                given = [since for calls in self._calls.values() for _, since in calls]
            try:
                asked = self._asked.get(timeout=pause(time.monotonic() - min(given)) if given else None)
                if asked is None:
                    break
                rank, call = asked
                sent = [one for one in sent if not one.test()[0]] + [self._comm.isend(call, rank, _TAG)]
            except queue.Empty:
                pass
            while self._comm.iprobe(tag=_TAG, status=(status := self._mpi.Status())):
                answer = self._comm.recv(source=status.source, tag=_TAG)
                with self._lock:
                    future = self._calls[status.source].pop(0)[0] if self._calls else None
                if future is not None:
                    settle(future, answer)
        for rank in range(1, self._comm.size):
            self._comm.send(None, rank, _TAG)


def _serve(comm: Any) -> None:
    """Take calls from the first rank until it has no more."""
    while True:
        waits = time.monotonic()
        while not comm.iprobe(source=0, tag=_TAG):  # a receive that waits would keep a core busy
            time.sleep(pause(time.monotonic() - waits))
        call = comm.recv(source=0, tag=_TAG)
        if call is None:
            return
        comm.send(answered(call), 0, _TAG)


def parsed(text: str) -> MPI:
    """Return the ranks of this job but the first."""
    if text:
        raise Error(f"executor: expected mpi, got mpi:{text}; how many ranks there are mpiexec says")
    return MPI()


def adapted(executor: Any) -> Pool:
    """Return the workers of an `mpi4py.futures` executor; which of them has a call, it does not say."""
    return Submit(executor)
