"""Which idle worker gets which part of a job."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from jaxhp.executors.parts import Part

_LATE = 2.0  # times what most pieces took, after which an idle worker gets one too


def assigned(left: Sequence[Part], idle: Sequence[str], took: Sequence[float], now: float) -> list[tuple[Part, str]]:
    """Return what idle workers do next: what waits, each its own where it can; else what is late elsewhere.

    Args:
      left: parts that are not done.
      idle: workers.
      took: seconds of pieces that are done.
      now: on the clock of `Part.flight`.
    """
    waiting = [part for part in left if not part.flight]
    found: list[tuple[Part, str]] = []
    for worker in idle:
        able = [part for part in waiting if worker not in {one.worker for one in part.disputed}] or waiting
        mine = next((part for part in able if part.home == worker), None)
        part = mine or next((part for part in able if part.home not in idle), able[0] if able else None)
        if part is not None:
            waiting.remove(part)
        elif took:
            late = [part for part in left if len(part.flight) == 1 and worker not in part.flight]
            late = [part for part in late if now - min(part.flight.values()) > _LATE * median(took)]
            given = [other for other, _ in found]
            part = min((p for p in late if p not in given), key=lambda p: min(p.flight.values()), default=None)
        if part is not None:
            found.append((part, worker))
    return found
