"""How counts, times and the course of a number are told, in a few characters."""

from __future__ import annotations

import math
from collections.abc import Sequence


def spark(values: Sequence[float]) -> str:
    """Write numbers as a line of little bars, the lowest at the bottom; a dot for one that is not known.

    >>> spark([0.5, float("nan"), 0.75, 1.0]), spark([2.0, 2.0])
    ('▁·▅█', '▅▅')
    """
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    steps = [round(7 * (v - low) / (high - low)) if high > low else 4 for v in values if math.isfinite(v)]
    found = iter(steps)
    return "".join("▁▂▃▄▅▆▇█"[next(found)] if math.isfinite(value) else "·" for value in values)


def clock(seconds: float) -> str:
    """Write how long something lasts, in minutes and seconds, with hours where there are any.

    >>> clock(4.4), clock(75), clock(7261)
    ('0:04', '1:15', '2:01:01')
    """
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def duration(seconds: float) -> str:
    """Write how long something took, in units that suit it.

    >>> duration(12.34), duration(75), duration(7260)
    ('12.3 s', '1 min 15 s', '2 h 1 min')
    """
    if not math.isfinite(seconds) or seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def plural(count: int, noun: str) -> str:
    """Write so many of something.

    >>> plural(1, "trial"), plural(2000, "trial")
    ('1 trial', '2,000 trials')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
