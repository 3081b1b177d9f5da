"""Convolutions as matrix products, so that a stack of them is one batched product.

`vmap` over kernels turns `lax.conv_general_dilated` into a grouped convolution, which XLA runs on a CPU at about one
hundredth of the machine's speed. Here the shifted slices of the input are laid side by side (im2col) and multiplied
by the kernel. Inside, the batch is the last axis: slices are then long runs of memory, and pooling and activations
vectorise over the batch. A product goes over a few output rows at a time, so that its slices stay in the cache.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

CACHE_BYTES = 1 << 20
"""Size of the slices that one product reads on a CPU: about a core's second-level cache."""


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> jax.Array:
    """`jax.lax.conv_general_dilated`, as matrix products.

    Takes the same arguments, raises the same errors and returns the same numbers up to rounding, forward and
    backward (reverse mode only). It fits `flax.linen.Conv(conv_general_dilated=...)` and the same argument of
    `flax.nnx.Conv`. Fastest with the batch last: `dimension_numbers=("CHWN", "HWIO", "CHWN")`.

    Args:
      lhs: the input, by default [batch, channels, *spatial].
      rhs: the kernel, by default [features, channels / groups, *window].
      window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count, batch_group_count,
        precision, preferred_element_type, out_sharding: as in `jax.lax.conv_general_dilated`. With
        `batch_group_count` other than 1 or an `out_sharding`, that function is called.

    Returns:
      The convolution, by default [batch, features, *spatial].
    """
    reference = partial(
        lax.conv_general_dilated,
        window_strides=window_strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
        out_sharding=out_sharding,
    )
    if batch_group_count != 1 or out_sharding is not None:
        return reference(lhs, rhs)
    out = jax.eval_shape(reference, lhs, rhs)

    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    (batch, channels, *spatial), (features, inputs, *window), out_spec = numbers
    rank, groups = len(spatial), feature_group_count
    lhs_dilation = tuple(lhs_dilation or (1,) * rank)
    rhs_dilation = tuple(rhs_dilation or (1,) * rank)
    size = tuple(rhs.shape[axis] for axis in window)
    if isinstance(padding, str):
        reach = [(n - 1) * step + 1 for n, step in zip(size, rhs_dilation, strict=True)]
        padding = lax.padtype_to_pads([lhs.shape[axis] for axis in spatial], reach, window_strides, padding)

    x = lhs.transpose(channels, *spatial, batch)
    edges = [(low, high, step - 1) for (low, high), step in zip(padding, lhs_dilation, strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    x = x.reshape(groups, -1, *x.shape[1:])
    kernel = rhs.transpose(*window, inputs, features).reshape(-1, groups, rhs.shape[features] // groups)
    shape = _Shape(
        window=size,
        strides=tuple(window_strides),
        dilation=rhs_dilation,
        out=tuple(out.shape[axis] for axis in out_spec[2:]),
        dtype=out.dtype,
        precision=precision,
    )
    y = _conv(shape, _phases(x, shape.strides), kernel.transpose(1, 0, 2))
    y = jnp.reshape(y, (rhs.shape[features], *shape.out, -1))  # [O, *out, B]
    place = {axis: at for at, axis in enumerate((out_spec[1], *out_spec[2:], out_spec[0]))}
    return y.transpose([place[axis] for axis in range(rank + 2)])


class _Shape(NamedTuple):
    """What of a convolution does not depend on numbers; one entry a spatial axis in each tuple."""

    window: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    out: tuple[int, ...]
    dtype: Any
    precision: Any

    def taps(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """For each position in the window its phase and its offset within that phase, see `_phases`."""
        positions = itertools.product(*(range(0, n * d, d) for n, d in zip(self.window, self.dilation, strict=True)))
        pairs = ([divmod(p, s) for p, s in zip(position, self.strides, strict=True)] for position in positions)
        return [(tuple(phase for _, phase in pair), tuple(offset for offset, _ in pair)) for pair in pairs]


def _phases(x: jax.Array, strides: tuple[int, ...]) -> jax.Array:
    """[G, C, *S, B] -> [*strides, G, C, *S/strides, B]: every slice of the result that a tap needs has stride one."""
    rank = len(strides)
    fill = [(0, -n % step, 0) for n, step in zip(x.shape[2:-1], strides, strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (0, 0, 0), *fill, (0, 0, 0)])
    split = [size for n, step in zip(x.shape[2:-1], strides, strict=True) for size in (n // step, step)]
    x = x.reshape(*x.shape[:2], *split, x.shape[-1])
    return x.transpose(*range(3, 3 + 2 * rank, 2), 0, 1, *range(2, 2 + 2 * rank, 2), x.ndim - 1)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv(shape: _Shape, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[*strides, G, C, *S, B] and [G, K, O] with K over (*window, C) -> [G, O, *out, B]."""
    rows = _rows(shape, x)

    def product(start: jax.Array | int) -> jax.Array:
        y = _dot(shape, kernel, _slices(shape, _window(shape, x, start, rows), rows), 1, 1, shape.dtype)
        return y.reshape(*y.shape[:2], rows, *shape.out[1:], x.shape[-1])

    def body(i: jax.Array, y: jax.Array) -> jax.Array:
        return lax.dynamic_update_slice_in_dim(y, product(i * rows), i * rows, 2)

    if rows == shape.out[0]:
        return product(0)
    empty = jnp.zeros((kernel.shape[0], kernel.shape[2], *shape.out, x.shape[-1]), shape.dtype)
    return lax.fori_loop(0, shape.out[0] // rows, body, empty)


def _conv_forward(shape: _Shape, x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _conv(shape, x, kernel), (x, kernel)


def _conv_backward(shape: _Shape, residuals: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    rows = _rows(shape, x)
    steps = shape.out[0] // rows
    dtype = jnp.promote_types(g.dtype, jnp.float32)  # of sums over rows and taps

    def output_rows(i: jax.Array) -> jax.Array:
        part = lax.dynamic_slice_in_dim(g, i * rows, rows, 2)
        return part.reshape(*g.shape[:2], -1)

    def kernel_gradient(i: jax.Array, dk: jax.Array) -> jax.Array:
        slices = _slices(shape, _window(shape, x, i * rows, rows), rows)
        return dk + _dot(shape, slices.astype(g.dtype), output_rows(i), 2, 2, dtype)

    def input_gradient(i: jax.Array, dx: jax.Array) -> jax.Array:
        parts = _dot(shape, kernel.astype(g.dtype), output_rows(i), 2, 1, dtype)  # [G, K, N]
        taps = shape.taps()
        parts = parts.reshape(parts.shape[0], len(taps), -1, rows, *shape.out[1:], x.shape[-1])
        window = _window(shape, dx, i * rows, rows)
        for n, (phase, offset) in enumerate(taps):
            at = (*phase, 0, 0, *offset, 0)
            part = parts[:, n].reshape((1,) * len(phase) + parts[:, n].shape)
            end = [start + size for start, size in zip(at, part.shape, strict=True)]
            window = lax.dynamic_update_slice(window, lax.slice(window, at, end) + part, at)
        return lax.dynamic_update_slice_in_dim(dx, window, i * rows, len(shape.out) + 2)

    dk = lax.fori_loop(0, steps, kernel_gradient, jnp.zeros(kernel.shape, dtype))
    dx = lax.fori_loop(0, steps, input_gradient, jnp.zeros(x.shape, dtype))
    return dx.astype(x.dtype), dk.astype(kernel.dtype)


_conv.defvjp(_conv_forward, _conv_backward)


def _rows(shape: _Shape, x: jax.Array) -> int:
    """How many output rows one product covers: a divisor of their number whose slices fit the cache, at least one."""
    if jax.default_backend() != "cpu":
        return shape.out[0]
    channels = math.prod(x.shape[len(shape.out) :][:2])
    row = math.prod((*shape.window, *shape.out[1:], channels, x.shape[-1])) * x.dtype.itemsize
    return max(n for n in range(1, shape.out[0] + 1) if shape.out[0] % n == 0 and (n == 1 or n * row <= CACHE_BYTES))


def _window(shape: _Shape, x: jax.Array, start: jax.Array | int, rows: int) -> jax.Array:
    """The input rows that `rows` output rows from `start` on read."""
    reach = (shape.window[0] - 1) * shape.dilation[0] // shape.strides[0]
    return lax.dynamic_slice_in_dim(x, start, rows + reach, len(shape.out) + 2)


def _slices(shape: _Shape, x: jax.Array, rows: int) -> jax.Array:
    """[*strides, G, C, *S, B] -> [G, K, N], K over (*window, C), N over (rows, *out[1:], B)."""
    size = (rows, *shape.out[1:])
    parts = []
    for phase, offset in shape.taps():
        box = tuple(slice(start, start + n) for start, n in zip(offset, size, strict=True))
        parts.append(x[(*phase, slice(None), slice(None), *box)])
    slices = jnp.concatenate(parts, axis=1)
    return slices.reshape(slices.shape[0], slices.shape[1], -1)


def _dot(shape: _Shape, a: jax.Array, b: jax.Array, a_axis: int, b_axis: int, dtype: Any) -> jax.Array:
    """The product of each group's pair over one axis of each."""
    numbers = (((a_axis,), (b_axis,)), ((0,), (0,)))
    return lax.dot_general(a, b, numbers, precision=shape.precision, preferred_element_type=dtype)
