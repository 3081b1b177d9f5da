"""A multi-layer perceptron for classification, as in Deep Learning from Scratch, section 6.5.

ReLU, He initialisation, softmax cross-entropy, mini-batch SGD with L2 weight decay on the weights (not the biases).

The examples are the last axis of every activation, and a weight is [outputs, inputs]. So the first layer of T stacked
networks is one product [T * O, I] @ [I, B], and its gradient one product [T * O, B] @ [B, I], of arrays as they lie in
memory; with examples first they would have to be rearranged for each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxhp.data import Dataset
from jaxhp.tasks.classification import Dropout, classification, dense
from jaxhp.tasks.task import Task
from jaxhp.values import Config, Error, is_int


def mlp(
    data: Dataset,
    hidden: Sequence[int] = (100,) * 6,
    *,
    optimizer: str = "sgd",
    valid: float | int = 0.2,
    split_seed: int = 0,
    batch_size: int = 100,
    train_examples: int | Literal["all"] | None = None,
    dtype: str | None = None,
) -> Task:
    """The book's network on labelled images or feature vectors.

    Args:
      data: its train part has `"image"` ([N, ...], uint8 is scaled to [0, 1] on the device) and `"label"` (integers
        from 0). A part of it is split off for validation.
      hidden: widths of the hidden layers.
      optimizer: `"sgd"`, `"momentum"` or `"adamw"`.
      valid: share (or number) of the training examples held out for validation.
      split_seed: seed of the shuffle before that split.
      batch_size, train_examples, dtype: see `Task`.

    The task reads `lr` and `weight_decay` (L2, added to the gradient, for sgd and momentum; decoupled for adamw).
    Where the space has them it also reads `momentum` (default 0.9, for `"momentum"`), `dropout` (rate in [0, 1) on
    hidden layers), `label_smoothing` in [0, 1) and `warmup` (steps of linear warm-up).
    """
    widths = tuple(hidden)
    if not all(is_int(width, 1) for width in widths):
        raise Error(f"mlp hidden: expected positive integers, got {hidden!r}")

    def init(key: jax.Array, config: Config, inputs: tuple[int, ...], classes: int) -> PyTree[Array]:
        sizes = (math.prod(inputs), *widths, classes)
        keys, shapes = jax.random.split(key, len(sizes) - 1), list(zip(sizes[1:], sizes[:-1], strict=True))
        drawn = {}  # of all layers of a shape at once, which compiles as one
        for shape in dict.fromkeys(shapes):
            layers = np.asarray([layer for layer, other in enumerate(shapes) if other == shape])
            values = jax.lax.map(
                lambda k, shape=shape: jax.random.normal(k, shape) * math.sqrt(2 / shape[1]), keys[layers]
            )
            drawn |= dict(zip(layers.tolist(), values, strict=True))
        return [{"w": drawn[layer], "b": jnp.zeros(fan_out)} for layer, (fan_out, fan_in) in enumerate(shapes)]

    def logits(params: PyTree[Array], x: jax.Array, dropout: Dropout) -> jax.Array:
        return dense(params, x.reshape(x.shape[0], -1).T, dropout)

    return classification(
        data,
        init,
        logits,
        optimizer=optimizer,
        valid=valid,
        split_seed=split_seed,
        batch_size=batch_size,
        train_examples=train_examples,
        dtype=dtype,
    )
