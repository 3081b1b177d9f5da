"""How fast this machine multiplies matrices, and so how long a search may take."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp

SHARE = 0.5  # of that rate, what populations reach: .3 (tiny networks) to .7 on CPU, see experiments/benchmarks/peak.py


def expected_seconds(flops: float, devices: Sequence[Any]) -> float:
    """How long so many floating-point operations of a population take on these devices: right within a factor of two
    for the networks of the benchmarks."""
    return flops / (SHARE * product_rate(tuple(devices)))


@functools.cache
def product_rate(devices: tuple[Any, ...]) -> float:
    """FLOP/s of plain f32 matrix products on all devices at once, in JAX's default precision; takes a blink."""
    n, count = (512, 20) if devices[0].platform == "cpu" else (4096, 20)
    chain = jax.jit(lambda a: jax.lax.fori_loop(0, count, lambda _, c: a @ c, a))
    matrices = [jax.device_put(jnp.full((n, n), 1 / n), device) for device in devices]

    def run(matrix: jax.Array) -> None:
        jax.block_until_ready(chain(matrix))

    taken = []
    with ThreadPoolExecutor(len(devices)) as pool:
        for _ in range(4):
            began = time.perf_counter()
            list(pool.map(run, matrices))
            taken.append(time.perf_counter() - began)
    return 2.0 * n**3 * count * len(devices) / min(taken[1:])
