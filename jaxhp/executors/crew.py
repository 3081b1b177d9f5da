"""The workers of a run: who is idle, who must not be used, and what they answer, in any order."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from jaxhp.engine.events import Warned
from jaxhp.engine.work import Emit
from jaxhp.executors.entry import work
from jaxhp.executors.orders import Address, Answer, Order, Refused
from jaxhp.executors.pool import Pool, submitted
from jaxhp.values import Error

_TICK_S = 0.2  # how often it is asked who lives, and a search looks for signals
_TRIES = 3  # workers that may be lost while one thing is asked for
_PATIENCE_S = 60.0  # that an answer is waited for before another worker is asked too, and twice as long for that one


_Answers = SimpleQueue[tuple[str, Future[Answer]]]


class Lost(NamedTuple):
    """No answer comes: the worker died, or was taken away."""

    why: str


class Arrived(NamedTuple):
    """An answer.

    Attributes:
      tag: what was told when its order was sent.
      worker: that had it.
      answer: or that none comes.
    """

    tag: Any
    worker: str
    answer: Answer | Lost


class Crew:
    """Workers, each of which has one order at a time.

    Args:
      pool: of these workers.
      address: of the search.
      emit: told that there is nobody.
    """

    def __init__(self, pool: Pool, address: Address, emit: Emit):
        self._pool, self._address, self._emit = pool, address, emit
        self._busy: dict[str, int] = {}  # orders under way
        self._arrived: SimpleQueue[tuple[Any, str, Future[Answer]]] = SimpleQueue()
        self._owed: list[_Answers] = []  # where answers come that nobody waits for any more
        self._refused: dict[str, str | None] = {}  # why they are not to be used; None: they have not answered for long
        self._alive: tuple[float, list[str]] = (-1.0, [])
        self._deserted = False
        self._served = False  # whether a worker has done what it was asked for

    @property
    def pinned(self) -> bool:
        """Whether an order reaches the worker that is named."""
        return getattr(self._pool, "pinned", True)

    def alive(self, *, anew: bool = False) -> list[str]:
        """Return the workers that live and may be used; those that are halted do not count until they answer.

        Args:
          anew: whether to look again, however short the time since the last look.

        Raises:
          Error: none of them may be used, and no others will join.
        """
        if anew or time.monotonic() - self._alive[0] > _TICK_S:
            self._alive = time.monotonic(), list(self._pool.workers())
        for answers in self._owed:
            while not answers.empty():
                self._heard(*answers.get())
        names = self._alive[1]
        able = [name for name in names if name not in self._refused]
        refused = [f"{name}: {self._refused[name]}" for name in names if self._refused.get(name)]
        if names and len(refused) == len(names) and not getattr(self._pool, "joins", True):
            raise Error(f"executor: no worker is left that may be used: {refused[0]}")
        if not able and not self._deserted:
            why = f" that may be used ({'; '.join(refused[:_TRIES])})" if refused else ""
            self._emit(Warned(f"executor: no worker is there{why}; the search waits for one"))
        self._deserted = not able
        return able

    def send(self, order: Order, worker: str, tag: Any) -> None:
        """Have a worker do something; what it answers arrives."""
        self._submit(order, worker, lambda future: self._arrived.put((tag, worker, future)))

    def arrived(self) -> list[Arrived]:
        """Return what has arrived; nothing if nothing does for a moment."""
        found = []
        try:
            found.append(self._arrived.get(timeout=_TICK_S))
            while True:
                found.append(self._arrived.get_nowait())
        except Empty:
            pass
        return [Arrived(tag, worker, self._known(worker, future)) for tag, worker, future in found]

    def ask(self, order: Order, worker: str | None) -> tuple[str, Answer]:
        """Have something done now, by this worker or by any; return the first answer, and whose it is.

        Raises:
          Error: too many workers were lost that were asked, or none may be used.
        """
        lost: list[str] = []
        answers, patience, until = _Answers(), _PATIENCE_S, time.monotonic()
        asked: list[str] = []  # who has not answered
        while len(lost) < _TRIES:
            if time.monotonic() >= until:
                if asked and asked[-1] not in self._refused:
                    self._fall_silent(asked[-1], patience / 2)
                if able := self.alive(anew=True):
                    asked.append(worker if worker in able else min(able, key=lambda name: self._busy.get(name, 0)))
                    self._submit(order, asked[-1], lambda future, name=asked[-1]: answers.put((name, future)))
                    until, patience = time.monotonic() + patience, 2 * patience
            try:
                chosen, future = answers.get(timeout=_TICK_S)
            except Empty:
                continue
            answer = self._heard(chosen, future)
            asked.remove(chosen)
            if isinstance(answer, Refused):
                self.refuse(chosen, answer)
            elif isinstance(answer, Lost):
                lost.append(f"{chosen}: {answer.why}")
            else:
                self._owed += [answers] * bool(asked)
                return chosen, answer
            until = time.monotonic()
        raise Error(f"executor: {_TRIES} workers were lost, one after another, that were asked: {'; '.join(lost)}")

    def _fall_silent(self, worker: str, waited: float) -> None:
        self._refused[worker] = None
        self._emit(Warned(f"executor: {worker} has not answered for {waited:.0f} s; without it until it does"))

    def _heard(self, worker: str, future: Future[Answer]) -> Answer | Lost:
        """Return the answer of a worker that was asked: it is not halted any more."""
        if self._refused.get(worker, "") is None:
            del self._refused[worker]
        return self._known(worker, future)

    def _known(self, worker: str, future: Future[Answer]) -> Answer | Lost:
        answer = _answer(future)
        self._busy[worker] -= 1
        self._served |= not isinstance(answer, Lost | Refused)
        return answer

    def refuse(self, worker: str, answer: Refused) -> str:
        """Give a worker nothing any more; return why.

        Raises:
          Error: orders cannot be kept from it, or it is the first one and does not see what all must see.
        """
        why = f"{answer.who}: {answer.why}"
        if answer.blind and not (self._served and self.pinned):
            raise Error(f"members: {why}")
        if not self.pinned:
            raise Error(f"executor: a worker does not make the bits of this search: {why}")
        self.dismiss(worker, why)
        return why

    def dismiss(self, worker: str, why: str) -> None:
        """Give a worker nothing any more, where orders can be kept from it."""
        if self.pinned:
            self._refused[worker] = why

    def _submit(self, order: Order, worker: str, tell: Callable[[Future[Answer]], None]) -> None:
        self._busy[worker] = self._busy.get(worker, 0) + 1
        submitted(self._pool, work, self._address, order, worker=worker).add_done_callback(tell)


def _answer(future: Future[Answer]) -> Answer | Lost:
    """Return what came. Functions of a task raise nothing there, so an error is one of the engine's."""
    try:
        return future.result(timeout=0)
    except (Exception, CancelledError) as error:
        return Lost(f"{type(error).__name__}: {error}".strip(": "))
