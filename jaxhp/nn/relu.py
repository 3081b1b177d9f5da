"""ReLU whose gradient is fast on every CPU.

The gradient of `jax.nn.relu` keeps or clears elements in place, which LLVM compiles to masked stores; AMD's CPUs
before AVX-512 run those in microcode, at half the speed of a product or less. Here it is a product with the sign, which
on a GPU moves as many bytes as a choice does (`experiments/benchmarks/budgets.py`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


@jax.custom_jvp
def relu(x: jax.Array) -> jax.Array:
    """Compute max(x, 0), with derivative 0 at 0, as `jax.nn.relu`.

    Where x is not positive, a gradient that is infinite becomes NaN rather than 0.
    """
    return jnp.maximum(x, 0)


@relu.defjvp
def _relu_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    y = relu(*primals)
    return y, tangents[0] * jnp.sign(y)
