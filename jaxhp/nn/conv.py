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
    size = tuple(rhs.shape[axis] for axis in window)
    dilation = tuple(rhs_dilation or (1,) * rank)
    if isinstance(padding, str):
        reach = [(n - 1) * step + 1 for n, step in zip(size, dilation, strict=True)]
        padding = lax.padtype_to_pads([lhs.shape[axis] for axis in spatial], reach, window_strides, padding)

    x = lhs.transpose(channels, *spatial, batch)
    edges = [(low, high, step - 1) for (low, high), step in zip(padding, lhs_dilation or (1,) * rank, strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    x = x.reshape(groups, -1, *x.shape[1:])
    kernel = rhs.transpose(*window, inputs, features)
    kernel = kernel.reshape(-1, groups, rhs.shape[features] // groups).transpose(1, 0, 2)
    shape = _Shape(
        window=size,
        strides=tuple(window_strides),
        dilation=dilation,
        out=tuple(out.shape[axis] for axis in out_spec[2:]),
        dtype=out.dtype,
        precision=precision,
    )
    if rank == 1:
        shape, x = shape.as_one_row(), jnp.expand_dims(x, 2)
    y: Any = _product(shape, _shifted(shape, x), kernel)  # [G, O/G, *out, B]
    y = y.reshape((rhs.shape[features], *(out.shape[axis] for axis in out_spec[2:]), -1))
    place = {axis: at for at, axis in enumerate((out_spec[1], *out_spec[2:], out_spec[0]))}
    return y.transpose([place[axis] for axis in range(rank + 2)])


class _Shape(NamedTuple):
    """What of a convolution does not depend on numbers; in each tuple one entry a spatial axis, at least two."""

    window: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    out: tuple[int, ...]
    dtype: Any
    precision: Any

    def as_one_row(self) -> _Shape:
        first = {name: (1, *getattr(self, name)) for name in ("window", "strides", "dilation", "out")}
        return self._replace(**first)


def _shifted(shape: _Shape, x: jax.Array) -> jax.Array:
    """[G, C, H, *W, B] -> [H, G, T, *out[1:], B] with T over (*window[1:], C): the slices along all axes but H."""
    x = jnp.moveaxis(x, 2, 0)
    axes = list(zip(shape.window, shape.strides, shape.dilation, shape.out, strict=True))[1:]
    starts = [range(0, window * dilation, dilation) for window, _, dilation, _ in axes]
    parts = []
    for start in itertools.product(*starts):
        box = [slice(at, at + (out - 1) * step + 1, step) for at, (_, step, _, out) in zip(start, axes, strict=True)]
        parts.append(x[(slice(None), slice(None), slice(None), *box)])
    return jnp.concatenate(parts, axis=2)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(shape: _Shape, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`_shifted`'s result and a kernel [G, K, O] with K over (*window, C) -> [G, O, *out, B]."""
    if _at_once(shape, x):
        y = _dot(shape, kernel, _slices(shape, x), 1, 1, shape.dtype)
        return y.reshape(*y.shape[:2], *shape.out, x.shape[-1])

    def row(h: jax.Array, y: jax.Array) -> jax.Array:
        part = _dot(shape, kernel, _row(shape, x, h), 1, 1, shape.dtype)
        part = part.reshape(*part.shape[:2], 1, *y.shape[3:])
        return lax.dynamic_update_slice_in_dim(y, part, h, 2)

    y = jnp.zeros((kernel.shape[0], kernel.shape[2], *shape.out, x.shape[-1]), shape.dtype)
    return lax.fori_loop(0, shape.out[0], row, y)


def _forward(shape: _Shape, x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _product(shape, x, kernel), (x, kernel)


def _backward(shape: _Shape, residuals: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    dtype = jnp.promote_types(g.dtype, jnp.float32)  # of sums over rows and window positions
    kernel = kernel.astype(g.dtype)
    if _at_once(shape, x):
        slices, back = jax.vjp(partial(_slices, shape), x.astype(dtype))
        flat = g.reshape(*g.shape[:2], -1)
        dk = _dot(shape, slices.astype(g.dtype), flat, 2, 2, dtype)
        (dx,) = back(_dot(shape, kernel, flat, 2, 1, dtype))
        return dx.astype(x.dtype), dk.astype(residuals[1].dtype)

    def g_row(h: jax.Array) -> jax.Array:
        return lax.dynamic_index_in_dim(g, h, 2, keepdims=False).reshape(*g.shape[:2], -1)

    def kernel_gradient(h: jax.Array, dk: jax.Array) -> jax.Array:
        return dk + _dot(shape, _row(shape, x, h).astype(g.dtype), g_row(h), 2, 2, dtype)

    def input_gradient(h: jax.Array, dx: jax.Array) -> jax.Array:
        part = _dot(shape, kernel, g_row(h), 2, 1, dtype)  # [G, K, N]
        part = part.reshape(x.shape[1], shape.window[0], *x.shape[2:]).swapaxes(0, 1)
        part = lax.pad(part, jnp.zeros((), dtype), [(0, 0, shape.dilation[0] - 1)] + [(0, 0, 0)] * (x.ndim - 1))
        start = h * shape.strides[0]
        return lax.dynamic_update_slice_in_dim(
            dx, lax.dynamic_slice_in_dim(dx, start, part.shape[0], 0) + part, start, 0
        )

    dk = lax.fori_loop(0, shape.out[0], kernel_gradient, jnp.zeros(kernel.shape, dtype))
    dx = lax.fori_loop(0, shape.out[0], input_gradient, jnp.zeros(x.shape, dtype))
    return dx.astype(x.dtype), dk.astype(residuals[1].dtype)


_product.defvjp(_forward, _backward)


def _at_once(shape: _Shape, x: jax.Array) -> bool:
    """Whether all rows are one product: on accelerators, and where the slices fit a CPU core's cache."""
    size = math.prod((shape.window[0], shape.out[0], *x.shape[1:])) * x.dtype.itemsize
    return jax.default_backend() != "cpu" or shape.out[0] == 1 or size <= CACHE_BYTES


def _slices(shape: _Shape, x: jax.Array) -> jax.Array:
    """[H, G, T, *out[1:], B] -> [G, K, N], K over (window[0], T), N over (*out, B)."""
    step, reach = shape.strides[0], (shape.out[0] - 1) * shape.strides[0] + 1
    starts = range(0, shape.window[0] * shape.dilation[0], shape.dilation[0])
    rows = jnp.stack([x[start : start + reach : step] for start in starts])  # [window[0], out[0], G, T, ...]
    return rows.transpose(2, 0, 3, 1, *range(4, rows.ndim)).reshape(x.shape[1], len(starts) * x.shape[2], -1)


def _row(shape: _Shape, x: jax.Array, h: jax.Array) -> jax.Array:
    """`_slices` for output row `h` alone."""
    reach = (shape.window[0] - 1) * shape.dilation[0] + 1
    rows = lax.dynamic_slice_in_dim(x, h * shape.strides[0], reach, 0)[:: shape.dilation[0]]
    return rows.swapaxes(0, 1).reshape(x.shape[1], len(rows) * x.shape[2], -1)


def _dot(shape: _Shape, a: jax.Array, b: jax.Array, a_axis: int, b_axis: int, dtype: Any) -> jax.Array:
    """The product of each group's pair over one axis of each."""
    numbers = (((a_axis,), (b_axis,)), ((0,), (0,)))
    return lax.dot_general(a, b, numbers, precision=shape.precision, preferred_element_type=dtype)
