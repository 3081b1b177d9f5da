"""Metrics of predicted probabilities: log loss, the Brier score, the calibration error."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxhp.tasks.metrics.weighted import mean, of, ratio, total
from jaxhp.tasks.whole_set import Metric
from jaxhp.values import Error, is_int


def log_loss(prob: str = "prob", label: str = "label") -> Metric:
    """Make the mean of -log(probability of the true class), in nats, from 0: `sklearn.metrics.log_loss`.

    Probabilities are clipped to between 1.2e-7 and 1 less 1.2e-7, as scikit-learn clips those of float32. A label that
    is no class counts as of probability 0.
    """
    return of(_log_loss, (prob, (1, 2)), (label, (1,)))


def brier(prob: str = "prob", label: str = "label") -> Metric:
    """Make the mean squared distance of probabilities from 0 and 1: `sklearn.metrics.brier_score_loss`.

    With two classes it is that of the positive class, 0 to 1; with more it is summed over classes, 0 to 2.

    Source: Brier, Verification of forecasts expressed in terms of probability (1950).
    """
    return of(_brier, (prob, (1, 2)), (label, (1,)))


def ece(prob: str = "prob", label: str = "label", *, bins: int = 15) -> Metric:
    """Make the expected calibration error, 0 to 1: how far confidence is from the share of hits, bin by bin.

    It is the sum over bins of confidence of the bin's share of the examples times |mean confidence - share of hits|.
    With probabilities [n, C] confidence is that of the predicted class, with [n] it is the probability of class 1, and
    a hit is an example of class 1. Bins have equal widths and hold their upper end, the first also 0. A bin without
    examples counts nothing. Few examples in a bin make it too large.

    Source: Guo et al., On calibration of modern neural networks (2017), arXiv:1706.04599; scikit-learn has none.

    Args:
      prob, label: names of columns, see `jaxhp.metrics`.
      bins: how many.

    Raises:
      Error: bins is no positive integer.
    """
    if not is_int(bins, 1):
        raise Error(f"ece bins: expected a positive integer, got {bins!r}")
    return of(_ece, (prob, (1, 2)), (label, (1,)), bins=int(bins))


def _log_loss(prob: jax.Array, label: jax.Array, weight: jax.Array) -> jax.Array:
    if prob.ndim == 1:
        of_label = jnp.where(label == 1, prob, 1 - prob)
    else:
        of_label = jnp.sum(jnp.where(_one_hot(prob, label), prob, 0.0), 1)
    tiny = float(jnp.finfo(jnp.float32).eps)
    return mean(-jnp.log(jnp.clip(of_label, tiny, 1 - tiny)), weight)


def _brier(prob: jax.Array, label: jax.Array, weight: jax.Array) -> jax.Array:
    if prob.ndim == 1:
        return mean((prob - (label == 1)) ** 2, weight)
    half = 0.5 if prob.shape[1] == 2 else 1.0
    return mean(half * jnp.sum((prob - _one_hot(prob, label)) ** 2, 1), weight)


def _ece(prob: jax.Array, label: jax.Array, weight: jax.Array, bins: int) -> jax.Array:
    confidence, hit = (prob, label == 1) if prob.ndim == 1 else (prob.max(1), prob.argmax(1) == label)
    inner = jnp.arange(1, bins, dtype=jnp.float32) / bins
    at = jnp.sum(confidence[:, None] > inner, 1)
    gap = jnp.where(at[:, None] == jnp.arange(bins), (weight * (confidence - hit))[:, None], 0.0)
    return ratio(jnp.sum(jnp.abs(total(gap))), total(weight), jnp.nan)


def _one_hot(prob: jax.Array, label: jax.Array) -> jax.Array:
    return label[:, None] == jnp.arange(prob.shape[1])
