"""Right numbers on CPUs: what programs are compiled with, a `jit` that compiles so, and a context that computes there.

jaxlib 0.10.2 and 0.11.0 hand reductions and products on a CPU to YNNPACK, which gets some wrong, and crashes or hangs
on others of rank 7 and more. An empty list of what is handed over avoids it, a program at a time.
`tests/test_compiling.py` says when this can go. Sources: https://github.com/jax-ml/jax/issues/39103, 39257 and 40412.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from typing import Any

import jax
from jax.core import Tracer

WRONG_ON_CPU = ("0.10.2", "0.11.0")  # versions of jaxlib
_RIGHT = {"xla_cpu_experimental_ynn_fusion_type": ""}


def cpu_options() -> dict[str, Any]:
    """Returns what `compiler_options` of a program for a CPU must have; nothing of what is chosen in `XLA_FLAGS`."""
    chosen = os.environ.get("XLA_FLAGS", "")
    wrong = version("jaxlib") in WRONG_ON_CPU
    return {name: value for name, value in _RIGHT.items() if wrong and name not in chosen}


def on_host() -> AbstractContextManager[object]:
    """Make a context in which JAX computes on the CPU, so that a strategy proposes the same wherever networks train.

    Where the user left JAX no CPU (`JAX_PLATFORMS=cuda`), it changes nothing.
    """
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:
        return nullcontext()


def jit(function: Callable[..., Any], *, static_argnames: tuple[str, ...] = ()) -> Callable[..., Any]:
    """Compiles as `jax.jit` does, with `cpu_options` where the program is for a CPU.

    Inside another program it is a part of that one, and compiled with the options of that one.
    """
    plain = jax.jit(function, static_argnames=static_argnames)
    right = jax.jit(function, static_argnames=static_argnames, compiler_options=cpu_options())

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return (right if _on_cpu((args, kwargs)) else plain)(*args, **kwargs)

    return call


def _on_cpu(arguments: Any) -> bool:
    """Tells whether a program that is called with these runs by itself, and on a CPU."""
    leaves = [jax.numpy.zeros(()), *jax.tree.leaves(arguments)]  # the former is a tracer where a program is traced
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return False
    return all(d.platform == "cpu" for leaf in leaves if isinstance(leaf, jax.Array) for d in leaf.devices())
