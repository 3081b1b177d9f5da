"""Programs in which rows are proven apart, and others in which they meet, or may."""

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxhp.data.sample import mnist_sample
from jaxhp.search.groups import spec_of
from jaxhp.tasks import mlp
from jaxhp.tasks.apart import apart
from jaxhp.tasks.rows import check_rows

X = jax.ShapeDtypeStruct((61, 8, 8), jnp.float32)
Y = jax.ShapeDtypeStruct((61,), jnp.int32)
W = jax.ShapeDtypeStruct((64, 10), jnp.float32)


def proven(function):
    return apart(jax.make_jaxpr(function)(W, X, Y), [False, True, True])


def logits(w, x):
    return x.reshape(x.shape[0], -1) @ w


@pytest.mark.parametrize(
    "function",
    [
        lambda w, x, y: logits(w, x).argmax(1) == y,
        lambda w, x, y: optax.softmax_cross_entropy_with_integer_labels(logits(w, x), y),
        lambda w, x, y: -jnp.sum(jax.nn.one_hot(y, 10) * jax.nn.log_softmax(logits(w, x)), axis=-1),
        lambda w, x, y: w[y].sum(1) + x.mean((1, 2)),
        lambda w, x, y: jnp.einsum("bij,bjk->bi", x, x),
        lambda w, x, y: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2), (1, 2, 2), "VALID").max((1, 2)),
        lambda w, x, y: jax.vmap(lambda row, label: jnp.where(label > 3, row.sum(), jax.nn.relu(row).max()))(x, y),
        lambda w, x, y: (
            jnp.concatenate([x, jnp.pad(x, ((0, 0), (1, 1), (0, 0)))], axis=1).transpose(1, 0, 2)[:2].sum((0, 2))
        ),
    ],
)
def test_rows_are_apart(function):
    assert proven(function)


@pytest.mark.parametrize(
    "function",
    [
        lambda w, x, y: jnp.broadcast_to((logits(w, x).argmax(1) == y).mean(), y.shape),
        lambda w, x, y: x.sum((1, 2)) - x.mean(),
        lambda w, x, y: (x - x.mean(0)).sum((1, 2)),
        lambda w, x, y: x[::-1].sum((1, 2)),
        lambda w, x, y: jnp.roll(x, 1, axis=0).sum((1, 2)),
        lambda w, x, y: x.sum((1, 2)) * jnp.arange(61),
        lambda w, x, y: jnp.sort(x.sum((1, 2))),
        lambda w, x, y: jnp.cumsum(x.sum((1, 2))),
        lambda w, x, y: x.reshape(-1, 61, 8)[0].sum(1),
        lambda w, x, y: x.sum((1, 2))[y],
        lambda w, x, y: x.transpose(1, 0, 2).reshape(61, 8, 8).sum((1, 2)),
        lambda w, x, y: jnp.einsum("bij,cij->b", x, x),
        lambda w, x, y: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (3, 1, 1), (1, 1, 1), "SAME").max((1, 2)),
        lambda w, x, y: jnp.where(jnp.any(y > 3), x.sum((1, 2)), 0.0),
        lambda w, x, y: jax.lax.map(lambda row: row.sum(), x),  # apart, and not known here
        lambda w, x, y: w.sum(1)[:61],
    ],
)
def test_rows_meet_or_it_is_not_known(function):
    assert not proven(function)


def test_a_ready_made_network_is_proven_and_never_tried(monkeypatch):
    monkeypatch.setattr("jaxhp.tasks.rows.jit", None)
    spec = spec_of(mlp(mnist_sample(200), (16,)), {}, {"lr": "f4", "weight_decay": "f4"})
    check_rows(spec.task, spec.shapes, {}, spec.traced)
