"""Max and average pooling whose gradients are fast on a CPU and deterministic on a GPU.

The gradient of `lax.reduce_window` with max is select-and-scatter, which deterministic GPU mode refuses and which a
CPU runs one element at a time. Here pooling is an elementwise maximum or sum over shifted slices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxhp.values import Error

Padding = str | Sequence[tuple[int, int]]


def max_pool(
    inputs: jax.Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding = "VALID",
) -> jax.Array:
    """Take the maximum over windows: `flax.linen.max_pool` with a gradient that is fast and deterministic.

    Where several elements of a window are the maximum, the gradient goes to the first of them in row-major order.
    Differentiable in reverse mode.

    Args:
      inputs: floating point, [..., *spatial, channels], or [channels, *spatial, batch].
      window_shape: the window's size along each spatial axis; its length says how many there are.
      strides: the step along each spatial axis, by default 1.
      padding: "VALID", "SAME", or (low, high) for each spatial axis, of minus infinity.

    Returns:
      [..., *windows, channels].

    Raises:
      Error: if `inputs` is not floating point.
      Error: if the lengths of the arguments do not agree.
    """
    window, steps, edges = _geometry(inputs, window_shape, strides, padding)
    return _max(window, steps, lax.pad(inputs, jnp.array(-jnp.inf, inputs.dtype), edges))


def avg_pool(
    inputs: jax.Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> jax.Array:
    """Take the mean over windows: `flax.linen.avg_pool` by slices and sums.

    Args:
      inputs: floating point, [..., *spatial, channels], or [channels, *spatial, batch].
      window_shape: the window's size along each spatial axis; its length says how many there are.
      strides: the step along each spatial axis, by default 1.
      padding: "VALID", "SAME", or (low, high) for each spatial axis, of zeros.
      count_include_pad: whether the padded zeros count in the mean's denominator.

    Returns:
      [..., *windows, channels].

    Raises:
      Error: if `inputs` is not floating point.
      Error: if the lengths of the arguments do not agree.
    """
    window, steps, edges = _geometry(inputs, window_shape, strides, padding)

    def total(x: jax.Array) -> jax.Array:
        return sum(_taps(window, steps, lax.pad(x, jnp.zeros((), x.dtype), edges)))  # pyright: ignore[reportReturnType]

    if count_include_pad:
        return total(inputs) / math.prod(window)
    return total(inputs) / total(jnp.ones_like(inputs))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _max(window: tuple[int, ...], steps: tuple[int, ...], x: jax.Array) -> jax.Array:
    return _max_forward(window, steps, x)[0]


def _max_forward(
    window: tuple[int, ...], steps: tuple[int, ...], x: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    highest, *others = _taps(window, steps, x)
    winner = jnp.zeros(highest.shape, jnp.int32)  # which position in the window
    for n, tap in enumerate(others, start=1):
        winner = jnp.where(tap > highest, n, winner)
        highest = jnp.maximum(highest, tap)
    return highest, (winner, x[..., :0])


def _max_backward(
    window: tuple[int, ...], steps: tuple[int, ...], residuals: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array]:
    winner, empty = residuals
    first = g.ndim - 1 - len(window)
    size = empty.shape[first:-1]
    if window == steps:
        return (_spread(window, winner, g, size),)
    dx = jnp.zeros((), g.dtype)
    for n, tap in enumerate(itertools.product(*map(range, window))):
        edges = [
            (at, whole - at - (out - 1) * step - 1, step - 1)
            for at, whole, out, step in zip(tap, size, g.shape[first:-1], steps, strict=True)
        ]
        part = jnp.where(winner == n, g, jnp.zeros((), g.dtype))
        dx = dx + lax.pad(part, jnp.zeros((), g.dtype), [(0, 0, 0)] * first + edges + [(0, 0, 0)])
    return (dx,)


_max.defvjp(_max_forward, _max_backward)


def _spread(window: tuple[int, ...], winner: jax.Array, g: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Put each window's gradient at its winner, where windows tile the input."""
    first = g.ndim - 1 - len(window)
    inner = tuple(range(first + 1, first + 2 * len(window), 2))
    shape = np.ones(g.ndim + len(window), int)
    shape[list(inner)] = window
    position = np.arange(math.prod(window), dtype=np.int32).reshape(shape)
    dx = jnp.where(jnp.expand_dims(winner, inner) == position, jnp.expand_dims(g, inner), jnp.zeros((), g.dtype))
    covered = [out * n for out, n in zip(g.shape[first:-1], window, strict=True)]
    dx = dx.reshape(*g.shape[:first], *covered, g.shape[-1])
    edges = [(0, whole - part, 0) for whole, part in zip(size, covered, strict=True)]
    return lax.pad(dx, jnp.zeros((), g.dtype), [(0, 0, 0)] * first + edges + [(0, 0, 0)])


def _taps(window: tuple[int, ...], steps: tuple[int, ...], x: jax.Array) -> list[jax.Array]:
    """Return for each position in the window what all windows have there: [..., *windows, channels]."""
    first = x.ndim - 1 - len(window)
    counts = [(n - w) // step + 1 for n, w, step in zip(x.shape[first:-1], window, steps, strict=True)]
    return [
        x[
            (
                ...,
                *(slice(at, at + (n - 1) * s + 1, s) for at, n, s in zip(tap, counts, steps, strict=True)),
                slice(None),
            )
        ]
        for tap in itertools.product(*map(range, window))
    ]


def _geometry(
    inputs: jax.Array, window_shape: Sequence[int], strides: Sequence[int] | None, padding: Padding
) -> tuple[tuple[int, ...], tuple[int, ...], list[tuple[int, int, int]]]:
    """Return the checked window, the steps, and the edges of every axis as `lax.pad` takes them."""
    window = tuple(window_shape)
    steps = (1,) * len(window) if strides is None else tuple(strides)
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise Error(f"inputs: expected floating point, got {inputs.dtype}")
    if inputs.ndim <= len(window):
        raise Error(f"inputs: expected {len(window)} spatial axes and a last one, got shape {inputs.shape}")
    if len(steps) != len(window):
        raise Error(f"strides: expected {len(window)} of them, as window_shape {window} has, got {steps}")
    first = inputs.ndim - 1 - len(window)
    edges = lax.padtype_to_pads(inputs.shape[first:-1], window, steps, padding) if isinstance(padding, str) else padding
    if len(edges) != len(window):
        raise Error(f"padding: expected {len(window)} pairs, as window_shape {window} has, got {padding}")
    for whole, part, (low, high) in zip(inputs.shape[first:-1], window, edges, strict=True):
        if not 1 <= part <= whole + low + high:
            raise Error(f"window_shape: expected 1..{whole + low + high} (the padded input), got {window}")
    return window, steps, [(0, 0, 0)] * first + [(low, high, 0) for low, high in edges] + [(0, 0, 0)]
