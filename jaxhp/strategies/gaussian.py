"""A Gaussian process over the unit cube: Matern-5/2 with a length scale a dimension, fitted by maximum a posteriori.

The priors are Vizier's (Song et al., https://arxiv.org/abs/2408.11527). All in float32: the noise has a floor that
keeps the factorisation stable at a thousand points.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Bool, Float32

from jaxhp.compiling import jit

FLOOR = 1e-4  # least noise variance, of targets with variance about 1
STARTS = (0.25, 0.7)  # length scales from which the fit starts
STEPS = 40


class Fit(NamedTuple):
    """Logarithms of the amplitude's variance, the noise's variance above the floor, and the length scales."""

    amplitude: Float32[Array, "*fits"]
    noise: Float32[Array, "*fits"]
    scale: Float32[Array, "*fits D"]


def kernel(fit: Fit, a: Float32[Array, "A D"], b: Float32[Array, "B D"]) -> Float32[Array, "*fits A B"]:
    """Compute the covariance of the process between points, without noise.

    Args:
      fit: of one process, or of several at once.
      a: f32[A, D], points in the unit cube.
      b: f32[B, D], likewise.

    Returns:
      f32[..., A, B], the leading axes being those of the fit.
    """
    scale = jnp.exp(fit.scale)[..., None, :]
    # centred, so that the products lose little to rounding
    x, y = (a - 0.5)[(None,) * (scale.ndim - 2)] / scale, (b - 0.5)[(None,) * (scale.ndim - 2)] / scale
    norms = jnp.sum(x * x, -1)[..., :, None] + jnp.sum(y * y, -1)[..., None, :]
    square = jnp.maximum(norms - 2 * x @ jnp.swapaxes(y, -1, -2), 1e-10)
    distance = jnp.sqrt(5 * square)
    shape = (1 + distance + distance * distance / 3) * jnp.exp(-distance)
    return jnp.exp(fit.amplitude)[..., None, None] * shape


def covariance(fit: Fit, unit: Float32[Array, "N D"], present: Bool[Array, "N"]) -> Float32[Array, "*fits N N"]:
    """Compute the covariance of noisy observations; absent rows are independent of everything.

    Args:
      fit: of one process, or of several at once.
      unit: f32[N, D], where they were made.
      present: bool[N], which rows count.

    Returns:
      f32[..., N, N], the leading axes being those of the fit.
    """
    both = present[:, None] & present[None, :]
    size = unit.shape[0]
    noise = (jnp.exp(fit.noise) + FLOOR)[..., None, None]
    lead = (None,) * (noise.ndim - 2)
    own = jnp.where(present, 0.0, 1.0)[:, None] * jnp.eye(size)
    return jnp.where(both[lead], kernel(fit, unit, unit), 0.0) + jnp.eye(size)[lead] * noise + own[lead]


def penalty(fit: Fit) -> Float32[Array, "*fits"]:
    """Compute minus the log prior of a fit, or of several at once."""
    return (
        0.01 * jnp.square(fit.amplitude - jnp.log(0.039))
        + 0.01 * jnp.square(fit.noise - jnp.log(0.0039))
        + 0.01 * jnp.sum(jnp.square(2 * fit.scale - jnp.log(0.5)), axis=-1)
    )


@partial(jit, static_argnames=("steps",))
def maximise(
    unit: Float32[Array, "N D"], target: Float32[Array, "N"], present: Bool[Array, "N"], steps: int = STEPS
) -> Fit:
    """Fit a process by maximum a posteriori.

    Adam from a few starts at once, with the gradient of the likelihood in closed form.

    Args:
      unit: f32[N, D], points in the unit cube.
      target: f32[N], of mean 0 and variance 1 or so.
      present: bool[N], which rows count.
      steps: of Adam.
    """
    dim, starts = unit.shape[1], len(STARTS)
    values = jnp.where(present, target, 0.0)
    targets = jnp.broadcast_to(values[None, :, None], (starts, values.shape[0], 1))
    count = jnp.maximum(jnp.sum(present).astype(jnp.float32), 1)

    def loss_and_gradient(fit: Fit) -> tuple[Float32[Array, "starts"], Fit]:
        factor = jnp.linalg.cholesky(covariance(fit, unit, present))
        weights = cho_solve((factor, True), targets)  # [S, N, 1]
        inverse = cho_solve((factor, True), jnp.broadcast_to(jnp.eye(unit.shape[0])[None], factor.shape))
        slope = jax.lax.stop_gradient((inverse - weights @ jnp.swapaxes(weights, -1, -2)) / 2)

        def surrogate(fit: Fit) -> Float32[Array, ""]:  # its gradient is that of the loss
            return jnp.sum(slope * covariance(fit, unit, present)) + jnp.sum(penalty(fit))

        logdet = jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)
        loss = jnp.sum(targets * weights, axis=(-1, -2)) / 2 + logdet + penalty(fit)
        return loss, jax.grad(surrogate)(fit)

    start = Fit(
        jnp.zeros(starts),
        jnp.full(starts, jnp.log(0.05)),
        jnp.log(jnp.asarray(STARTS))[:, None] + jnp.zeros((starts, dim)),
    )
    low, high = Fit(jnp.log(0.02), jnp.log(1e-4), jnp.log(0.03)), Fit(jnp.log(30.0), jnp.log(3.0), jnp.log(20.0))

    def step(number, carry):
        fit, mean, square, best, least = carry
        loss, gradient = loss_and_gradient(fit)
        better = loss < least  # false for NaN
        best = Fit(
            *(
                jnp.where(better if new.ndim == 1 else better[:, None], new, old)
                for new, old in zip(fit, best, strict=True)
            )
        )
        gradient = jax.tree.map(lambda g: jnp.nan_to_num(g / count), gradient)
        mean = jax.tree.map(lambda m, g: 0.8 * m + 0.2 * g, mean, gradient)
        square = jax.tree.map(lambda s, g: 0.95 * s + 0.05 * g * g, square, gradient)
        time = number.astype(jnp.float32) + 1
        rate = 0.25 * (1 - 0.9 * time / steps)

        def move(value, m, s, lowest, highest):
            by = (m / (1 - 0.8**time)) / (jnp.sqrt(s / (1 - 0.95**time)) + 1e-8)
            return jnp.clip(value - rate * by, lowest, highest)

        return jax.tree.map(move, fit, mean, square, low, high), mean, square, best, jnp.where(better, loss, least)

    zero = jax.tree.map(jnp.zeros_like, start)
    carry = (start, zero, zero, start, jnp.full(starts, jnp.inf))
    *_, best, least = jax.lax.fori_loop(0, steps, step, carry)
    winner = jnp.argmin(least)
    return jax.tree.map(lambda leaf: leaf[winner], best)


def condition(
    fit: Fit, unit: Float32[Array, "N D"], target: Float32[Array, "N"], present: Bool[Array, "N"]
) -> tuple[Float32[Array, "N N"], Float32[Array, "N"], Float32[Array, "N"]]:
    """Condition a process on observations.

    Args:
      fit: of the process.
      unit: f32[N, D], where they were made.
      target: f32[N], what was seen.
      present: bool[N], which rows count.

    Returns:
      The factor f32[N, N] and weights f32[N] that `predict` needs, and the smoothed targets f32[N].
    """
    factor = jnp.linalg.cholesky(covariance(fit, unit, present))
    weights = cho_solve((factor, True), jnp.where(present, target, 0.0))
    own = jnp.where(present[:, None], kernel(fit, unit, unit), 0.0)
    return factor, weights, weights @ own


def predict(
    fit: Fit,
    unit: Float32[Array, "N D"],
    present: Bool[Array, "N"],
    factor: Float32[Array, "N N"],
    weights: Float32[Array, "N"],
    at: Float32[Array, "Q D"],
) -> tuple[Float32[Array, "Q"], Float32[Array, "Q Q"]]:
    """Predict the function, without noise, at other points.

    Args:
      fit, unit, present: as given to `condition`.
      factor, weights: what it returned.
      at: f32[Q, D], the points.

    Returns:
      The mean f32[Q] and the covariance f32[Q, Q].
    """
    cross = jnp.where(present[:, None], kernel(fit, unit, at), 0.0)  # [N, M]
    explained = solve_triangular(factor, cross, lower=True)
    return weights @ cross, kernel(fit, at, at) - explained.T @ explained
