"""How fast this machine multiplies matrices, and so how long a search may take."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np

from jaxhp.engine.runtime import Device

SHARE = 0.5  # of that rate, what populations reach: .5 (tiny networks) to .75, see experiments/benchmarks/peak.py


def expected_seconds(flops: float, devices: Sequence[Device]) -> float:
    """How long so many floating-point operations of a population take on these devices: right within a factor of two
    for the networks of the benchmarks."""
    told = getattr(devices[0], "rate", None)  # of devices that are elsewhere
    return flops / (SHARE * (product_rate(tuple(devices)) if told is None else told * len(devices)))


def compile_seconds(equations: int) -> float:
    """About how long a step of so many operations takes to compile, where no earlier process has kept it.

    Fitted to five of our tasks, of 50 to 1,318 operations, that took 3 to 12 CPU seconds; right within a factor of two
    on two cores that do nothing else.

    >>> round(compile_seconds(50), 1), round(compile_seconds(396), 1), round(compile_seconds(1318), 1)
    (2.6, 6.2, 10.2)
    """
    return 0.5 * equations**0.42


@functools.cache
def product_rate(devices: tuple[Device, ...]) -> float:
    """FLOP/s of plain f32 matrix products on all devices at once, in JAX's default precision; takes a blink."""
    measure = products(devices, 512 if devices[0].platform == "cpu" else 4096, count=20)
    return max(measure() for _ in range(3))


def products(devices: Sequence[Device], n: int, count: int) -> Callable[[], float]:
    """A measurement, compiled: the FLOP/s of `count` products f32[n, n] @ f32[n, n] on every device at once."""
    chain = jax.jit(lambda a, b: jax.lax.fori_loop(0, count, lambda _, c: c @ b, a))
    drawn = np.random.default_rng(0).standard_normal((n, n), np.float32)  # by NumPy, which compiles nothing
    matrix = drawn / np.float32(n**0.5)  # so that products neither grow nor vanish
    matrices = [jax.device_put(matrix, device) for device in devices]
    compiled = [chain.lower(matrix, matrix).compile() for matrix in matrices]  # here: threads have their own precision
    pool = ThreadPoolExecutor(len(devices))

    def measure() -> float:
        began = time.perf_counter()
        list(pool.map(lambda run, matrix: jax.block_until_ready(run(matrix, matrix)), compiled, matrices))
        return 2.0 * n**3 * count * len(devices) / (time.perf_counter() - began)

    measure()
    return measure
