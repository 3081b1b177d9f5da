"""Mixed precision against a loop written out, whose every operation rounds to bfloat16."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from plain_loop import BATCH, MOMENTUM, error
from populations import train
from small_search import task

import jaxhp as hp
from jaxhp.engine.streams import Keys, key_of
from jaxhp.nn import conv
from jaxhp.search.groups import spec_of
from jaxhp.tasks.task import create, update

LR, EPOCHS, HALF = {"lr": np.dtype(np.float32)}, 4, ml_dtypes.bfloat16


def by_hand(of: hp.Task, lr: float) -> np.ndarray:
    """SGD with momentum: weights and velocity in float32, errors and gradients in NumPy's bfloat16."""
    root = jax.random.key(0)
    w = np.asarray(of.init(key_of(root, Keys.INIT, 0), {})["w"])
    x, y, velocity = of.train["x"].astype(HALF), of.train["y"].astype(HALF), np.zeros_like(w)
    for epoch in range(EPOCHS):
        key = jax.random.fold_in(key_of(root, Keys.ORDER, 0), epoch)
        order = np.argsort(np.asarray(jax.random.bits(key, (len(x),))) >> 1, kind="stable")
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            sides = (x[rows] @ w.astype(HALF)).astype(HALF)
            slope = HALF(2) * (sides[:, 0] * sides[:, 1] - y[rows])[:, None] * sides[:, ::-1] / HALF(BATCH)
            assert slope.dtype == HALF
            velocity = np.float32(MOMENTUM) * velocity + (x[rows].T @ slope).astype(np.float32)
            w = w - np.float32(lr) * velocity
    return w


def test_a_member_is_that_of_a_loop_in_bfloat16_with_weights_in_float32():
    of, wanted = task(dtype="bfloat16"), []
    found = train(of, [{"lr": 0.05}, {"lr": 0.02}], EPOCHS, tile=2)
    for params, lr in zip(found.params, (0.05, 0.02), strict=True):
        assert params["w"].dtype == np.float32
        begun = np.asarray(of.init(key_of(jax.random.key(0), Keys.INIT, 0), {})["w"])
        want, way = by_hand(of, lr), np.linalg.norm(params["w"] - begun)
        assert np.linalg.norm(params["w"] - want) < 0.01 * way
        assert np.abs(want - begun).max() > 0.02
        wanted.append(error(want, of.valid))
    np.testing.assert_allclose(found.ranked.score, wanted, rtol=0.01)


def test_what_is_computed_is_in_bfloat16_and_what_is_kept_in_float32():
    seen = {}

    def loss(variables, batch, key, config):
        seen["loss"] = variables.params["w"].dtype, batch["x"].dtype, variables.state["n"].dtype
        value = jnp.mean((batch["x"] @ variables.params["w"]).sum(-1) - batch["y"])
        seen["value"] = value.dtype
        return value, {"n": variables.state["n"] + 1}

    def evaluate(variables, batch, config):
        seen["evaluate"] = variables.params["w"].dtype, batch["x"].dtype, variables.state["n"].dtype
        return {"error": (batch["x"] @ variables.params["w"]).sum(-1)}

    init = lambda key, config: hp.Variables({"w": jnp.ones((4, 2))}, {"n": jnp.zeros(())})  # noqa: E731
    spec = spec_of(task(init=init, loss=loss, evaluate=evaluate, dtype="bfloat16"), {}, LR)
    half, wide = jnp.dtype("bfloat16"), jnp.dtype("float32")
    assert seen == {"loss": (half, half, wide), "evaluate": (half, half, wide), "value": half}
    member = jax.eval_shape(lambda: create(spec.task, jax.random.key(0), {"lr": 0.1}))
    after, value = jax.eval_shape(
        lambda m: update(spec.task, m, {n: a[:10] for n, a in spec.task.train.items()}, None, {"lr": 0.1}), member
    )
    assert {leaf.dtype for leaf in jax.tree.leaves((after, value))} == {wide}
    shapes = jax.eval_shape(lambda m: spec.task.evaluate(m.variables, spec.task.valid, {}), member)
    assert shapes["error"].dtype == wide


MLP, CNN = partial(hp.tasks.mlp, hidden=(8,)), partial(hp.tasks.cnn, channels=(2,), hidden=(8,))


@pytest.mark.slow
@pytest.mark.parametrize(("make", "at_once"), [(MLP, lambda rows: 1), (CNN, lambda rows: 1), (CNN, lambda rows: rows)])
def test_ready_made_networks_train_in_bfloat16(make, at_once, monkeypatch):
    """All products are of bfloat16, and the gradient is that in float32 of the same weights, to bfloat16's rounding."""
    monkeypatch.setattr(conv, "rows_at_once", at_once)
    draws = np.random.default_rng(0)
    image, label = draws.integers(0, 256, (50, 8, 8), dtype=np.uint8), np.arange(50) % 3
    data = hp.data.arrays({"image": image, "label": label})
    names = dict.fromkeys(("lr", "weight_decay", "dropout", "label_smoothing"), np.dtype(np.float32))
    wide, half = make(data, batch_size=10), spec_of(make(data, batch_size=10, dtype="bfloat16"), {}, names).task
    config = {"lr": 0.1, "weight_decay": 0.0, "dropout": np.float32(0.1), "label_smoothing": np.float32(0.1)}
    params = jax.tree.map(
        lambda leaf: leaf.astype(jnp.bfloat16).astype(jnp.float32), wide.init(jax.random.key(0), config)
    )

    def gradient(task):
        return jax.jit(jax.value_and_grad(lambda p: task.loss(p, task.train, jax.random.key(1), config)))

    products = [line for line in gradient(half).lower(params).as_text().splitlines() if "dot_general" in line]
    assert len(products) >= 5
    assert all(re.search(r": \(tensor<[\dx]*bf16>, tensor<[\dx]*bf16>\)", line) for line in products)
    (loss, found), (wanted, reference) = gradient(half)(params), gradient(wide)(params)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, wanted, rtol=0.02)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    mine, true = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (found, reference))
    assert np.linalg.norm(mine - true) < 0.05 * np.linalg.norm(true)  # a pool may choose another maximum


def test_dropout_keeps_its_rate_in_bfloat16():
    x, rate, n = jnp.ones(100_000, jnp.bfloat16), np.float32(0.001), 100_000  # 1 - rate is 1 in bfloat16
    out = hp.nn.dropout(jax.random.key(0), x, rate)
    assert out.dtype == jnp.bfloat16
    assert abs(int((out == 0).sum()) - n * rate) < 4 * np.sqrt(n * rate)


def test_other_dtypes_are_refused_and_so_are_products_that_are_none():
    with pytest.raises(hp.Error, match="Task dtype: expected None or 'bfloat16', got 'float16'"):
        task(dtype="float16")

    def loss(params, batch, key, config):
        return jnp.mean(batch["x"].astype(jnp.float32) @ params["w"])

    with pytest.raises(hp.Error, match=r"Task dtype: expected products of bfloat16, got only float32; turn examples"):
        spec_of(task(loss=loss, dtype="bfloat16"), {}, LR)
    of = task()
    assert spec_of(of, {}, LR).task is of
