"""Death at a chosen moment of a search: an observer that ends the process, or what stands for it."""

from __future__ import annotations

from collections.abc import Callable

from jaxhp.engine.events import STORED, Event, Observer, Progressed, Stored

STEP = "step done"  # a call of the step is done; nothing of it is on disk yet
POINTS = (*STORED, STEP)
OTHERS = {"search ended early", "search extended"}  # which a search that just runs does not pass


class Killed(BaseException):
    """Stands for the end of the process."""


def kill() -> None:
    raise Killed


def dying(point: str, number: int = 1, die: Callable[[], None] = kill) -> Observer:
    """Return the observer that dies at the n-th passing of a point."""
    passed = 0

    def observe(event: Event) -> None:
        nonlocal passed
        here = STEP if isinstance(event, Progressed) else event.what if isinstance(event, Stored) else None
        passed += here == point
        if here == point and passed == number:
            die()

    return observe
