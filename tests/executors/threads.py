"""Workers that are threads of this process, whose calls a test may lose or alter."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from jaxhp.executors.entry import work

Meddle = Callable[[str, Callable[..., Any], tuple[Any, ...]], Any]


def call(worker: str, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """What an honest worker does."""
    return fn(*args)


class Threads:
    """A `Pool`.

    Args:
      names: of the workers.
      meddle: does the calls of orders; raises where a worker dies.
    """

    def __init__(self, names: str, meddle: Meddle = call):
        self._pools = {name: ThreadPoolExecutor(1) for name in names.split()}
        self._meddle = meddle

    def workers(self) -> list[str]:
        return [*self._pools]

    def submit(self, fn: Callable[..., Any], /, *args: Any, worker: str | None = None) -> Future[Any]:
        name = worker or self.workers()[0]
        return self._pools[name].submit(self._meddle if fn is work else call, name, fn, args)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.shutdown(cancel_futures=True)
