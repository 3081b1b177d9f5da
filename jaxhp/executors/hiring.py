"""What workers are, before a search begins: the first one that may train it is the measure of all others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any

from jaxhp.engine.environment import differences, harmful
from jaxhp.executors.described import Described
from jaxhp.executors.entry import describe
from jaxhp.executors.orders import Who
from jaxhp.executors.pool import Pool, submitted
from jaxhp.values import Error, Json
from jaxhp.words import short

_TRIES = 5  # workers that may be lost before one says what it is
_LOOK_S = 0.5
_PATIENCE_S = 60.0  # that a first worker is waited for before the others are asked too, and others where a run goes on
_KIND = ("platform", "device_kind", "cpu")  # of an environment: where these differ, another process is no measure


def chosen(
    pool: Pool, begun: Json | None, own: Json | None, say: Callable[[str], None]
) -> tuple[list[Described], Json]:
    """Return the devices and the environment that all workers must be alike to.

    That of the search so far, where it was begun; else that of this process, where it has such a device, so that the
    bits are those that it would make; else that of the first worker that answers.

    Args:
      begun: the environment that the search was begun in; None: a new one, or any will do.
      own: the environment of this process.
      say: tells a person who is not used, and that the first one decides.

    Raises:
      Error: several workers died before they answered; none of those that there will be may be used, or none of those
        that are there may go on with what was begun.
    """
    refused: dict[str, str] = {}
    cure = "; accept_environment=True goes on with another environment" if begun else ""
    patience = _PATIENCE_S if begun else math.inf
    for who, devices, environment in _answers(pool, say, patience):
        wanted = begun or (own if own is not None and _of_one_kind(own, environment) else environment)
        if other := unlike(wanted, environment):
            if str(who) not in refused:
                refused[str(who)] = f"{who}: {other}"
                say(f"executor: not used: {refused[str(who)]}; waiting for others{cure}")
            continue
        if begun is None and own is not None and wanted is environment:
            version = environment.get("jaxlib")
            say(f"executor: workers are to be as the first one: {environment.get('device_kind')}, jaxlib {version}")
        return devices, environment
    raise Error(f"executor: no worker makes the bits of this search: {'; '.join(refused.values())}{cure}")


def unlike(wanted: Json, environment: Json) -> str:
    """Say in what an environment makes other bits than is wanted; "" where it does not."""
    other = harmful(differences(wanted, environment))
    return "; ".join(f"its {name} is {short(here)}, not {short(there)}" for name, there, here in other)


def _of_one_kind(own: Json, other: Json) -> bool:
    return not harmful(differences({n: own.get(n) for n in _KIND}, {n: other.get(n) for n in _KIND}))


def _answers(pool: Pool, say: Callable[[str], None], patience: float) -> Iterator[tuple[Who, list[Described], Json]]:
    """Yield what workers say of themselves: any one, and then all others, those that join later too.

    One that dies before it answers is one that dies later.

    Args:
      patience: seconds that others are waited for, while somebody is there and all who are have answered.
    """
    if not pool.workers():
        say("executor: waiting for a first worker")
    answers: SimpleQueue[Future[Any]] = SimpleQueue()
    submitted(pool, describe).add_done_callback(answers.put)
    waits, waited, idle, lost = 1, 0.0, 0.0, 0
    asked: set[str] = set()
    while waits or (getattr(pool, "joins", True) and idle < patience):
        try:
            future = answers.get(timeout=_LOOK_S)
        except Empty:
            passed = _LOOK_S if pool.workers() else 0.0
            waited += passed
            idle += 0.0 if waits else passed
        else:
            waits, waited = waits - 1, _PATIENCE_S
            idle = 0.0
            try:
                said = future.result()
            except Error:
                raise
            except Exception as error:  # of an engine
                lost, waited = lost + 1, 0.0
                if lost == _TRIES:
                    why = f"{type(error).__name__}: {error}".splitlines()[0]
                    raise Error(f"executor: {_TRIES} workers were lost before they answered: {why}") from error
                submitted(pool, describe).add_done_callback(answers.put)
                waits += 1
            else:
                yield said
        if waited >= _PATIENCE_S:
            for name in {*pool.workers()} - asked:
                asked.add(name)
                submitted(pool, describe, worker=name).add_done_callback(answers.put)
                waits += 1
