"""Workers of a Dask cluster."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from jaxhp.executors.pool import WorkerLost
from jaxhp.packages import needed
from jaxhp.values import Error

_LOOK_S = 0.5  # how often the scheduler is asked who lives
_alone = threading.Lock()  # of a worker process


class Dask:
    """The workers of a `distributed.Client`, those that join later too.

    One call at a time is made in each, whatever threads it has: a worker a device is what to start, such as
    `dask worker HOST:8786 --nthreads 1 --nworkers 1` with `CUDA_VISIBLE_DEVICES`, or `dask cuda worker`.

    Args:
      client: a `distributed.Client`, or the address of a scheduler, such as "tcp://host:8786".

    Raises:
      Error: Dask is missing, the scheduler does not answer, or it is neither.
    """

    def __init__(self, client: Any):
        distributed = needed("distributed", "executor:", "distributed", "dask")
        self._began = isinstance(client, str)
        if self._began:
            try:
                client = distributed.Client(client, set_as_default=False)
            except (OSError, ValueError) as error:
                raise Error(f"executor: expected the address of a Dask scheduler, got {client!r}: {error}") from error
        if not isinstance(client, distributed.Client):
            raise Error(f"executor: expected a distributed.Client or an address, got {type(client).__name__}")
        self._client, self._distributed = client, distributed
        self._lock = threading.Lock()
        self._calls: dict[Future[Any], tuple[str | None, Any]] = {}  # worker, and Dask's own future
        self._living: dict[str, str] = {}  # addresses by name
        self._closed = threading.Event()
        self._look()
        self._thread = threading.Thread(target=self._watch, name="jaxhp dask", daemon=True)
        self._thread.start()

    def workers(self) -> Sequence[str]:
        """See `Pool.workers`."""
        with self._lock:
            return list(self._living)

    def submit(self, fn: Callable[..., Any], /, *args: Any, worker: str | None = None) -> Future[Any]:
        """See `Pool.submit`."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            address = self._living.get(worker) if worker else None
        if self._closed.is_set() or (worker and not address):
            future.set_exception(WorkerLost(f"{worker}: gone"))
            return future
        try:
            call = self._distributed.protocol.pickle.dumps(
                (fn, args)
            )  # which Dask leaves as it is, other than lists and dicts
            where = [address] if address else None
            asked = self._client.submit(_called, call, workers=where, pure=False, retries=0, allow_other_workers=False)
        except Exception as error:  # what cannot be pickled; the scheduler is gone
            future.set_exception(error)
            return future
        with self._lock:
            self._calls[future] = worker, asked
        asked.add_done_callback(lambda asked: self._answered(future, asked))
        return future

    def close(self) -> None:
        """See `Pool.close`."""
        self._closed.set()
        self._thread.join()
        with self._lock:
            left = list(self._calls)
        for future in left:
            self._lose(future, "closed")
        if self._began:
            self._client.close()

    def _answered(self, future: Future[Any], asked: Any) -> None:
        try:
            error = asked.exception(timeout=60) if asked.status == "error" else None
            value = asked.result(timeout=60) if error is None else None
        except Exception as lost:  # cancelled, or gathered from a worker that is gone
            error, value = WorkerLost(f"{type(lost).__name__}: {lost}"), None
        if isinstance(error, self._distributed.scheduler.KilledWorker):
            error = WorkerLost(str(error))
        with self._lock:
            waits = self._calls.pop(future, None) is not None  # not taken for lost meanwhile
        if waits and error is not None:
            future.set_exception(error)
        elif waits:
            future.set_result(value)

    def _lose(self, future: Future[Any], why: str) -> None:
        with self._lock:
            _, asked = self._calls.pop(future, (None, None))
        if asked is not None:
            asked.cancel(force=True)
            future.set_exception(WorkerLost(why))

    def _look(self) -> None:
        """Ask the scheduler who lives, and give up the calls of those that do not."""

        def names(dask_scheduler: Any) -> dict[str, str]:
            # one at an address that another had gets another name; a function of a function is sent as its code
            return {f"{one.address} {one.server_id}": one.address for one in dask_scheduler.workers.values()}

        living = self._client.run_on_scheduler(names)
        with self._lock:
            self._living = living
            lost = [(future, worker) for future, (worker, _) in self._calls.items() if worker and worker not in living]
        for future, worker in lost:
            self._lose(future, f"{worker}: gone")

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_S):
            try:
                self._look()
            except Exception:  # the scheduler is away: it may come back, and without it nobody lives
                with self._lock:
                    self._living = {}
                    lost = list(self._calls)
                for future in lost:
                    self._lose(future, "the Dask scheduler does not answer")


def _called(call: bytes) -> Any:
    with _alone:
        fn, args = pickle.loads(call)
        return fn(*args)


def parsed(text: str) -> Dask:
    """Return the workers of the scheduler that a text names, such as `//host:8786`."""
    if not text.strip("/"):
        raise Error(f"executor: expected dask://host:port, got dask:{text}")
    return Dask(f"tcp:{text}" if text.startswith("//") else text)


def adapted(executor: Any) -> Dask:
    """Return the workers of a `distributed.Client`, or of what `client.get_executor()` made."""
    return Dask(getattr(executor, "_client", executor))
