"""The common part of the ready-made tasks: images and labels, dense layers, softmax cross-entropy, usual optimizers.

Examples are the last axis of activations and scores, so what runs over units or classes runs along whole rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, PyTree

from jaxhp.data import Dataset, split
from jaxhp.nn import relu
from jaxhp.tasks.task import Task
from jaxhp.values import Config, Error

OPTIMIZERS = ("sgd", "momentum", "adamw")

Dropout = Callable[[jax.Array, int], jax.Array]
"""To be applied to hidden activations: `(h, layer)`."""


def classification(
    data: Dataset,
    init: Callable[..., PyTree[Array]],
    logits: Callable[..., jax.Array],
    *,
    optimizer: str,
    valid: float | int,
    split_seed: int,
    batch_size: int,
    train_examples: int | Literal["all"] | None,
    dtype: str | None,
) -> Task:
    """A task from a network: `init(key, config, input_shape, classes)` and `logits(params, x, dropout)`.

    `logits` gets `x` as [B, ...] in the dtype of its weights and returns [classes, B] in it; losses and metrics are
    computed of these in float32 at least. `dropout(h, layer)` is to be applied to hidden activations. The data and the
    hyperparameters read are those of `hp.tasks.mlp`.
    """
    if optimizer not in OPTIMIZERS:
        raise Error(f"optimizer: expected one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
    if not isinstance(data, Dataset):
        raise Error(f"data: expected a Dataset (see jaxhp.data), got {type(data).__name__}")
    if set(data.train) != {"image", "label"}:
        raise Error(f"data: expected the arrays image and label, got {', '.join(data.train)}")
    classes = _count_classes(data.train["label"])
    shape = data.train["image"].shape[1:]
    train_part, valid_part = split(data, valid, split_seed)

    def scored(params: PyTree[Array], batch: dict[str, Array], dropout: Dropout = lambda h, layer: h) -> jax.Array:
        """Computes scores in the dtype of the weights, and returns them in float32 at least."""
        image = batch["image"].astype(jnp.float32)
        x = image * (1 / 255) if batch["image"].dtype == jnp.uint8 else image
        scores = logits(params, x.astype(jax.tree.leaves(params)[0].dtype), dropout)
        return scores.astype(jnp.promote_types(scores.dtype, jnp.float32))

    def loss(params: PyTree[Array], batch: dict[str, Array], key: jax.Array, config: Config) -> jax.Array:
        def dropout(h: jax.Array, layer: int) -> jax.Array:
            if "dropout" not in config:
                return h
            keep = 1 - config["dropout"]
            kept = jax.random.bernoulli(jax.random.fold_in(key, layer), keep, h.shape)
            return jnp.where(kept, (h / keep).astype(h.dtype), 0)

        scores = scored(params, batch, dropout)
        return jnp.mean(cross_entropy(scores, batch["label"], config.get("label_smoothing")))

    def evaluate(params: PyTree[Array], batch: dict[str, Array], config: Config) -> dict[str, jax.Array]:
        scores = scored(params, batch)
        correct = jnp.argmax(scores, axis=0) == batch["label"]
        return {"accuracy": correct.astype(jnp.float32), "loss": cross_entropy(scores, batch["label"])}

    def predict(params: PyTree[Array], batch: dict[str, Array], config: Config) -> jax.Array:
        return jax.nn.softmax(scored(params, batch), axis=0).T

    def measure(shares: jax.Array, batch: dict[str, Array]) -> dict[str, jax.Array]:
        correct = jnp.argmax(shares, axis=1) == batch["label"]
        of_label = jnp.take_along_axis(shares, batch["label"][:, None], axis=1)[:, 0]
        return {"accuracy": correct.astype(jnp.float32), "loss": -jnp.log(jnp.maximum(of_label, 1e-30))}

    return Task(
        lambda key, config: init(key, config, shape, classes),
        loss,
        evaluate,
        lambda config: _optimizer(optimizer, config),
        train=train_part,
        valid=valid_part,
        test=data.test,
        batch_size=batch_size,
        train_examples=train_examples,
        dtype=dtype,
        label="label",
        predict=predict,
        measure=measure,
    )


def dense(params: PyTree[Array], h: jax.Array, dropout: Dropout) -> jax.Array:
    """f32[classes, B] from features f32[I, B]: affine layers `{"w": f32[O, I], "b": f32[O]}` with ReLU between them."""
    *hidden, last = params
    for depth, layer in enumerate(hidden):
        h = dropout(relu(_product(layer["w"], h) + layer["b"][:, None]), depth)
    return _product(last["w"], h) + last["b"][:, None]


@jax.custom_vjp
def _product(w: jax.Array, h: jax.Array) -> jax.Array:
    """f32[O, B] from f32[O, I] and f32[I, B], with a gradient by `h` that lies as `h` does.

    JAX's own is a transposed [B, I]. On a CPU XLA turns it round at no cost, but on a GPU each layer took two more
    kernels for that, and read its gradient twice.
    """
    return w @ h


def _forward(w: jax.Array, h: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return w @ h, (w, h)


def _backward(residuals: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    w, h = residuals
    by_w, by_h = (((1,), (1,)), ((), ())), (((0,), (0,)), ((), ()))
    return lax.dot_general(g, h, by_w), lax.dot_general(w, g, by_h)


_product.defvjp(_forward, _backward)


def cross_entropy(scores: jax.Array, label: jax.Array, smoothing: float | jax.Array | None = None) -> jax.Array:
    """f32[B] from scores f32[classes, B] and labels i32[B], in nats.

    Args:
      smoothing: the share of the target that is spread evenly over all classes, in [0, 1]; None: none of it.
    """
    of_label = jnp.arange(len(scores))[:, None] == label
    target = jnp.sum(jnp.where(of_label, scores, 0), axis=0)
    if smoothing is not None:
        target = target + smoothing * (jnp.mean(scores, axis=0) - target)
    return jax.nn.logsumexp(scores, axis=0) - target


def _optimizer(kind: str, config: Config) -> optax.GradientTransformation:
    rate = config["lr"]
    if "warmup" in config:
        peak, steps = config["lr"], config["warmup"]
        rate = lambda count: peak * jnp.minimum(1.0, (count + 1) / (steps + 1))  # noqa: E731
    if kind == "adamw":
        return optax.adamw(rate, weight_decay=config["weight_decay"], mask=_weights)
    momentum = config.get("momentum", 0.9) if kind == "momentum" else None
    return optax.chain(optax.add_decayed_weights(config["weight_decay"], mask=_weights), optax.sgd(rate, momentum))


def _weights(params: PyTree[Array]) -> PyTree[bool]:
    """Weight decay is for matrices and kernels, not for biases."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _count_classes(label: np.ndarray) -> int:
    if label.ndim != 1 or not np.issubdtype(label.dtype, np.integer):
        raise Error(f"data label: expected integers of shape [N], got {label.dtype}{list(label.shape)}")
    if label.min() < 0 or label.max() > 100_000:
        raise Error(f"data label: expected classes numbered from 0, got values {label.min()} to {label.max()}")
    if label.max() == 0:
        raise Error("data label: expected at least two classes, got only class 0")
    return int(label.max()) + 1
