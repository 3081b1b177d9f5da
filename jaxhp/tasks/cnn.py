"""A small convolutional network for image classification, in the manner of LeNet (LeCun et al., 1998).

Convolution, ReLU and max-pooling several times, then dense layers; the rest as in `tasks/mlp.py`. Inside, the batch is
the last axis, which is how `jaxhp.nn` is fastest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxhp.data import Dataset
from jaxhp.nn import conv_general_dilated, max_pool, relu
from jaxhp.tasks.classification import Dropout, classification, dense
from jaxhp.tasks.task import Task
from jaxhp.values import Config, Error, is_int

_ORDER = ("CHWN", "HWIO", "CHWN")


def cnn(
    data: Dataset,
    channels: Sequence[int] = (16, 32),
    hidden: Sequence[int] = (128,),
    *,
    kernel: int = 5,
    optimizer: str = "sgd",
    valid: float | int = 0.2,
    split_seed: int = 0,
    batch_size: int = 100,
    train_examples: int | Literal["all"] | None = None,
    dtype: str | None = None,
) -> Task:
    """A small convolutional network on labelled images.

    Args:
      data: its train part has `"image"` ([N, height, width] or [N, height, width, channels], uint8 is scaled to [0, 1]
        on the device) and `"label"` (integers from 0). A part of it is split off for validation.
      channels: of the convolutions, each followed by ReLU and 2 x 2 max-pooling, which drops an odd last row.
      hidden: widths of the dense hidden layers.
      kernel: height and width of the convolutions' kernels; images are not padded.
      optimizer, valid, split_seed, batch_size, train_examples, dtype: as in `hp.tasks.mlp`.

    The task reads the hyperparameters that `hp.tasks.mlp` reads; `dropout` is on the dense hidden layers.

    Raises:
      Error: if an argument is out of range, or the images are too small for so many layers.
    """
    if not channels or not all(is_int(n, 1) for n in channels):
        raise Error(f"cnn channels: expected positive integers, got {channels!r}")
    if not all(is_int(width, 1) for width in hidden):
        raise Error(f"cnn hidden: expected positive integers, got {hidden!r}")
    if not is_int(kernel, 1):
        raise Error(f"cnn kernel: expected a positive integer, got {kernel!r}")

    def init(key: jax.Array, config: Config, image: tuple[int, ...], classes: int) -> PyTree[Array]:
        fan_ins, shapes = _weights(image, channels, kernel, (*hidden, classes))
        keys, units = jax.random.split(key, len(shapes)), (*channels, *hidden, classes)
        return [
            {"w": jax.random.normal(k, shape) * math.sqrt(2 / fan_in), "b": jnp.zeros(outputs)}
            for k, fan_in, shape, outputs in zip(keys, fan_ins, shapes, units, strict=True)
        ]

    def logits(params: PyTree[Array], x: jax.Array, dropout: Dropout) -> jax.Array:
        h = x.reshape(*x.shape[:3], -1).transpose(3, 1, 2, 0)  # [C, H, W, B]
        for layer in params[: len(channels)]:
            h = conv_general_dilated(h, layer["w"], (1, 1), "VALID", dimension_numbers=_ORDER)
            # Bias and ReLU keep the order of numbers, so they may follow the pooling, which leaves a quarter to do.
            h = relu(max_pool(h, (2, 2), (2, 2)) + layer["b"][:, None, None, None])
        return dense(params[len(channels) :], h.reshape(-1, x.shape[0]), dropout)

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


def _weights(
    image: tuple[int, ...], channels: Sequence[int], kernel: int, widths: Sequence[int]
) -> tuple[list[int], list[tuple[int, ...]]]:
    """Inputs of one unit, and the shape of the weights, of every layer."""
    if len(image) not in (2, 3):
        came = ", ".join(map(str, ("N", *image)))
        raise Error(f"data image: expected [N, height, width] or [N, height, width, channels], got [{came}]")
    height, width, inputs = *image[:2], math.prod(image[2:])
    fan_ins, shapes = [], []
    for outputs in channels:
        fan_ins.append(kernel * kernel * inputs)
        shapes.append((kernel, kernel, inputs, outputs))
        height, width, inputs = (height - kernel + 1) // 2, (width - kernel + 1) // 2, outputs
        if min(height, width) < 1:
            raise Error(
                f"data image: expected at least 1 x 1 pixels after {len(channels)} convolutions with kernel {kernel} "
                f"and poolings, got images of {image[0]} x {image[1]}"
            )
    inputs *= height * width
    for outputs in widths:
        fan_ins.append(inputs)
        shapes.append((outputs, inputs))
        inputs = outputs
    return fan_ins, shapes
