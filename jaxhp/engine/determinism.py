"""How programs are compiled so that they give the same bits in every process.

While XLA compiles for a GPU it times several kernels and takes the fastest, and may take another one next time, which
rounds otherwise; and some operations, scatters among them, may add in any order. Both are turned off for whatever a
search records. On a CPU there is neither. On an H200 timed kernels would train the book's network 5% faster. Source: https://openxla.org/xla/determinism.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax

_GPU = {
    "xla_gpu_exclude_nondeterministic_ops": True,
    "xla_gpu_autotune_level": 0,
    "xla_gpu_enable_triton_gemm": False,  # untimed, its default tiles were a tenth slower than cuBLAS's choice (H200)
}


def compiler_options(device: Any) -> dict[str, Any]:
    """Options for `jax.jit(..., compiler_options=)`; without those that the user chose in `XLA_FLAGS`.

    An operation that has no deterministic form does not compile with them; such a flag set to false admits it, for
    results that may differ from run to run.
    """
    chosen = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in _GPU.items() if device.platform == "gpu" and name not in chosen}


def on_host() -> AbstractContextManager[Any]:
    """A context in which JAX computes on the CPU, so that a strategy proposes the same wherever networks train.

    Where the user left JAX no CPU (`JAX_PLATFORMS=cuda`), it changes nothing.
    """
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:
        return nullcontext()
