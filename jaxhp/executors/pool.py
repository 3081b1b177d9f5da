"""What trains elsewhere: some workers, and a way to have a function called on one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from jaxhp.values import Error, check_int

_ADAPTERS = {"distributed": "dask", "ray": "ray", "submitit": "slurm", "mpi4py": "mpi"}  # by an executor's own library
_NAMES = ("processes:4", "ray", "dask://host:port", "slurm:nodes=8,gres=gpu:1", "mailbox:FOLDER", "mpi")
_COUNTS = ("max_workers", "_max_workers", "num_workers")  # where executors tell how many workers they have


class WorkerLost(Exception):
    """The worker that had a call died, or was taken away, before it answered. Another one may be asked."""


@runtime_checkable
class Pool(Protocol):
    """Workers that come and go. Each is a process with devices of its own, which has one call at a time.

    A pool may say two things more of itself, as attributes:

    - `joins`: False where none will come that are unlike those that are there, so that it is an error where none of
      these may be used. Without it others are waited for.
    - `pinned`: False where a call cannot be sent to a worker by its name. Without it it can.
    """

    def workers(self) -> Sequence[str]:
        """Return the names of those that live now. A name never comes back for another process that knows less."""
        ...

    def submit(self, fn: Callable[..., Any], /, *args: Any, worker: str | None = None) -> Future[Any]:
        """Have `fn(*args)` called on a worker, None: on any.

        The future fails with `WorkerLost`, or with an error of the engine's own, where no answer comes; what is called
        here raises nothing of its own.
        """
        ...

    def close(self) -> None:
        """End what this has started. What was started by somebody else goes on."""
        ...


class Submit:
    """The pool of anything with `submit(fn, *args) -> Future` that says nothing of its workers.

    Which process has a call is left to the executor, so that members come by way of the members' store.

    Args:
      executor: whose it is, and who closes it.
      workers: how many calls it has under way at once; None: as many as it tells.

    Raises:
      Error: it has no `submit`, does not tell how many workers it has, or its processes are forked.
    """

    pinned = False  # see `Pool`
    joins = False

    def __init__(self, executor: Any, workers: int | None = None):
        if not callable(getattr(executor, "submit", None)):
            raise Error(f"executor: expected something with submit(fn, *args) -> Future, got {_shown(executor)}")
        told = (getattr(executor, name, None) for name in _COUNTS)
        count = workers or next((n for n in told if isinstance(n, int) and n > 0), None)
        if count is None:
            raise Error(
                f"executor: expected one that tells how many workers it has, got {_shown(executor)}; say it with "
                "executor=hp.executors.Submit(executor, workers=4)"
            )
        context = getattr(executor, "_mp_context", None)
        if context is not None and context.get_start_method() == "fork":
            raise Error(
                "executor: expected processes that are spawned, since JAX does not bear a fork, got a "
                "ProcessPoolExecutor that forks; take hp.executors.Processes(4), or give it "
                "mp_context=multiprocessing.get_context('spawn')"
            )
        self._executor, self._count = executor, check_int("workers", count, 1)

    def workers(self) -> Sequence[str]:
        """See `Pool.workers`; here these are places."""
        return [f"{_shown(self._executor)} {place}" for place in range(self._count)]

    def submit(self, fn: Callable[..., Any], /, *args: Any, worker: str | None = None) -> Future[Any]:
        """See `Pool.submit`; any worker may get it."""
        return self._executor.submit(fn, *args)

    def close(self) -> None:
        """See `Pool.close`."""


def submitted(pool: Pool, fn: Callable[..., Any], /, *args: Any, worker: str | None = None) -> Future[Any]:
    """Have `fn(*args)` called on a worker; what an engine raises at once is what the future fails with.

    Raises:
      Error: the pool has no workers any more.
    """
    try:
        return pool.submit(fn, *args, worker=worker)
    except Error:
        raise
    except Exception as error:  # of an engine whose worker is gone by now
        future: Future[Any] = Future()
        future.set_exception(error)
        return future


def as_pool(executor: Any) -> Pool:
    """Return the workers that a person means by `executor`.

    Args:
      executor: a `Pool`; an executor of a library that there is an adapter for; anything else with
        `submit(fn, *args) -> Future`; or the text that `--executor` takes.

    Raises:
      Error: it is none of these, or its library is missing.
    """
    if isinstance(executor, str):
        return parsed(executor)
    if isinstance(executor, Pool):
        return executor
    library = type(executor).__module__.split(".")[0]
    if library in _ADAPTERS:
        return import_module(f"jaxhp.executors.{_ADAPTERS[library]}").adapted(executor)
    return Submit(executor)


def parsed(text: str) -> Pool:
    """Return the workers that a text names: the adapter's `parsed` gets what follows the name.

    Raises:
      Error: it names none.
    """
    name, _, rest = text.partition(":")
    if name not in ("processes", "mailbox", *_ADAPTERS.values()):
        raise Error(f"executor: expected one of {', '.join(_NAMES)}, got {text!r}")
    return import_module(f"jaxhp.executors.{name}").parsed(rest)


def _shown(executor: object) -> str:
    return type(executor).__name__
