"""What a machine can do, and how the benchmarks beside this file time, count and print."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxhp.engine.rate import products

SIZES = (256, 512, 1024, 2048)


def timed(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - began


class Peak:
    """Plain matrix products f32[n, n] @ f32[n, n] on all devices at once, for a few n.

    Attributes:
      size: the n that was the fastest at first.
      flops: its rate then, FLOP/s; `measure` gives what the fastest reaches now.
    """

    def __init__(self, devices: Sequence[Any], sizes: Sequence[int] = SIZES):
        self._measures = {n: products(devices, n, max(1, int(1.5e10 / (2 * n**3)))) for n in sizes}
        rates = {n: statistics.median(measure() for _ in range(5)) for n, measure in self._measures.items()}
        self.size = max(rates, key=lambda n: rates[n])
        self.flops = rates[self.size]

    def measure(self) -> float:
        """The best rate of all n, each measured once."""
        return max(measure() for measure in self._measures.values())


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows with the same keys as a Markdown table."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([str(row[name]) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(title: str, facts: dict[str, Any], rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    """Prints one benchmark's result as Markdown, or as one JSON object."""
    devices = jax.local_devices()
    facts = {
        "device": f"{len(devices)} x {devices[0].device_kind}",
        "jax": jax.__version__,
        **facts,
    }
    if as_json:
        print(json.dumps({"title": title, "facts": facts, "rows": list(rows)}))
    else:
        print(f"## {title}\n\n{', '.join(f'{name}: {value}' for name, value in facts.items())}\n\n{table(rows)}\n")
    sys.stdout.flush()
