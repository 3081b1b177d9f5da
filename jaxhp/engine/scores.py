"""What a step of a population tells: every trial's score, its error, its curve, and the order of trials."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32, Int32


class Ranked(NamedTuple):
    """What a step tells of its trials: P rows, of which the first ones are filled."""

    order: Int32[Array | np.ndarray, "P"]  # rows best first, diverged and empty ones last, ties by row
    score: Float32[Array | np.ndarray, "P"]  # mean over replicates, NaN if any of them diverged
    stderr: Float32[Array | np.ndarray, "P"]  # over replicates, of one over validation examples
    replicate_scores: Float32[Array | np.ndarray, "P R"]
    curve: Float32[Array | np.ndarray, "P E 2 M"]  # mean over replicates
    diverged_at: Int32[Array | np.ndarray, "P"]  # the first epoch in which a replicate diverged, 0 for none


def rank_trials(
    curve: Float32[Array, "deep devices T E 2 M"],
    spread: Float32[Array, "deep devices T"],
    diverged_at: Int32[Array, "deep devices T"],
    stop: Int32[Array, "deep devices"],
    slots: Int32[Array, "P R"],
    *,
    metric: int,
    mode: str,
    n_valid: int,
    epoch: str = "last",
) -> Ranked:
    """Score trials from their members' curves and rank them, in an order of operations that no shape changes.

    Args:
      curve: f32[deep, devices, T, E, 2, M], every member's train and valid metrics after each epoch.
      spread: f32[deep, devices, T], the variance of its metric over validation examples.
      diverged_at: i32[deep, devices, T], the epoch in which it diverged, from 1; 0 for none.
      stop: i32[deep, devices], the epochs that each tile was trained to.
      slots: i32[P, R], the member of each trial's replicate, counted through the three axes; -1 for none.
      metric: the column of `curve` that is the score.
      mode: "max" or "min".
      n_valid: validation examples of a member.
      epoch: whether a trial's score is that after its "last" epoch, or the "best" of its curve so far.
    """
    there = slots >= 0
    n = there.sum(1).astype(jnp.float32)
    place = jnp.maximum(slots, 0)
    tile = spread.shape[2]
    curve, spread, diverged_at = (
        leaf.reshape(-1, *leaf.shape[3:])[place] for leaf in (curve, spread, diverged_at)
    )  # [P, R, ...]
    scored = jnp.maximum(stop.reshape(-1)[place[:, 0] // tile] - 1, 0)

    def mean(values: Float32[Array, "P R *rest"]) -> Float32[Array, "P *rest"]:
        """Take the mean over replicates, added one after another."""
        total = jnp.zeros_like(values[:, 0])
        for r in range(values.shape[1]):
            here = there[:, r].reshape(-1, *(1,) * (total.ndim - 1))
            total = total + jnp.where(here, values[:, r], 0.0)
        return quotient(total, n.reshape(-1, *(1,) * (total.ndim - 1)))

    means = mean(curve)
    if epoch == "best":
        known = jnp.where(jnp.arange(curve.shape[2]) <= scored[:, None], means[:, :, 1, metric], jnp.nan)
        signed = known if mode == "max" else -known
        scored = jnp.argmax(jnp.where(jnp.isnan(signed), -jnp.inf, signed), axis=1)
    final = jnp.take_along_axis(curve, scored[:, None, None, None, None], axis=2)[:, :, 0, 1, metric]
    score = mean(final)
    between = mean((final - score[:, None]) ** 2) / jnp.maximum(n - 1, 1)
    examples = jnp.where(there[:, 0], spread[:, 0], jnp.nan) * np.float32(1 / n_valid)
    failed = jnp.where(there & (diverged_at > 0), diverged_at, jnp.iinfo(jnp.int32).max).min(1)
    failed = jnp.where(failed == jnp.iinfo(jnp.int32).max, 0, failed)
    score = jnp.where((n > 0) & (failed == 0), score, jnp.nan)
    signed = score if mode == "max" else -score
    bad = jnp.isnan(signed).astype(jnp.int32)
    rows = jnp.arange(len(slots), dtype=jnp.int32)
    order = lax.sort((bad, jnp.where(bad == 1, 0.0, -signed), rows), num_keys=3)[2]
    return Ranked(
        order=order,
        score=score,
        stderr=jnp.sqrt(jnp.where(n > 1, between, examples)),
        replicate_scores=jnp.where(there, final, jnp.nan),
        curve=means,
        diverged_at=failed,
    )


def quotient(total: Float32[Array, "*shape"], count: Float32[Array, "*#shape"]) -> Float32[Array, "*shape"]:
    """Divide, in an order of operations that no program changes: n ones by n are 1, and equal totals give equal means.

    XLA turns divisions by what is broadcast into products with `1 / count` in some programs, not in all. So that is
    done here in all of them, and what the product lacks is added.
    """
    share = 1 / count
    about = total * share
    return about + (total - about * count) * share


@cache
def ranking(
    metric: int, mode: str, n_valid: int, epoch: str, options: tuple[tuple[str, Any], ...]
) -> Callable[..., Ranked]:
    """Return `rank_trials`, compiled once for all populations of a shape."""
    rank = partial(rank_trials, metric=metric, mode=mode, n_valid=n_valid, epoch=epoch)
    return jax.jit(rank, compiler_options=dict(options))


def lengthened(curve: np.ndarray, epochs: int) -> np.ndarray:
    """Return curves f32[n, R, E, 2, M] with room for so many epochs, if they have less."""
    more = epochs - curve.shape[2] if curve.ndim == 5 else 0
    return np.pad(curve, [(0, 0)] * 2 + [(0, more)] + [(0, 0)] * 2, constant_values=np.nan) if more > 0 else curve
