"""Weights that are evaluated, and are not those that are trained; against optax's own functions in a plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from small_search import task

import jaxhp as hp
from jaxhp.engine.streams import Keys, key_of
from jaxhp.search.anew import Retraining
from jaxhp.search.groups import spec_of
from jaxhp.search.sealed import open_test
from jaxhp.selection.stretches import Stretch

EPOCHS, LR = 3, 0.05
EMA = optax.ema(0.8)


def ema(config):
    """SGD, beside which a mean of the weights is kept."""
    inner = optax.sgd(config["lr"])

    def update(updates, state, params=None):
        updates, first = inner.update(updates, state[0], params)
        _, mean = EMA.update(optax.apply_updates(params, updates), state[1])
        return updates, (first, mean)

    return optax.GradientTransformation(lambda params: (inner.init(params), EMA.init(params)), update)


def ema_of(state, params, config):
    return jax.tree.map(lambda mean: mean / (1 - 0.8 ** state[1].count), state[1].ema)


def free(config):
    return optax.contrib.schedule_free(optax.sgd(config["lr"]), config["lr"], b1=0.7)


def free_of(state, params, config):
    return optax.contrib.schedule_free_eval_params(state, params)


def ahead(config):
    return optax.lookahead(optax.sgd(config["lr"]), sync_period=4, slow_step_size=0.4)


def slow_of(state, params, config):
    return params._replace(fast=params.slow)


KINDS = {"ema": (ema, ema_of), "schedule-free": (free, free_of), "lookahead": (ahead, slow_of)}


def task_of(kind: str, **changes) -> hp.Task:
    """The task whose weights are averaged so; those of lookahead are two, of which the fast ones are read."""
    more = {"optimizer": KINDS[kind][0], "averaged": KINDS[kind][1]} | changes
    of = task(**more)
    if kind != "lookahead":
        return of
    return task(
        init=lambda key, config: optax.LookaheadParams.init_synced(of.init(key, config)),
        loss=lambda params, *rest: of.loss(params.fast, *rest),
        evaluate=lambda params, *rest: of.evaluate(params.fast, *rest),
        **more,
    )


def weights(params) -> np.ndarray:
    return np.asarray(jax.tree.leaves(params)[0])  # of lookahead the fast ones


def plain(of: hp.Task, kind: str, replicate: int, data: dict, lr: float = LR, epochs: int = EPOCHS):
    """The averaged weights after a plain loop of optax, from the same keys."""
    optimizer, root = KINDS[kind][0]({"lr": lr}), jax.random.key(0)
    params = of.init(key_of(root, Keys.INIT, replicate), {})
    state, n = optimizer.init(params), len(data["x"])

    @jax.jit
    def step(params, state, batch):
        gradient = jax.grad(of.loss)(params, batch, None, {})
        updates, state = optimizer.update(getattr(gradient, "fast", gradient), state, params)
        return optax.apply_updates(params, updates), state

    for epoch in range(epochs):
        key = jax.random.fold_in(key_of(root, Keys.ORDER, replicate), epoch)
        order = np.argsort(np.asarray(jax.random.bits(key, (n,))) >> 1, kind="stable")
        for start in range(0, n, 10):
            rows = np.take(order, range(start, start + 10), mode="wrap")
            params, state = step(params, state, {name: column[rows] for name, column in data.items()})
    return KINDS[kind][1](state, params, {}), params


def error(of: hp.Task, params, data) -> float:
    return float(np.mean(of.evaluate(params, data, {})["error"]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ema", "schedule-free"])
def test_the_mean_is_evaluated_ranked_reported_and_saved(kind, tmp_path):
    of = task_of(kind)
    space = hp.Space(lr=hp.LogUniform(0.02, 0.2))
    search = hp.Search(of, space, hp.Random(4), epochs=EPOCHS, tile=2, finals=hp.Finals(2, 4))
    result = search.run(tmp_path, quiet=True, devices=jax.local_devices()[:1])
    best = result.best
    mean, last = plain(of, kind, 0, of.train, best.config["lr"])
    assert best.score == pytest.approx(error(of, mean, of.valid), rel=1e-4)
    assert abs(best.score - error(of, last, of.valid)) > 1e-3 * best.score
    for found in (best.params, hp.Result.load(tmp_path).best.params):
        np.testing.assert_allclose(weights(found), weights(mean), rtol=1e-4, atol=1e-6)
    fresh = [error(of, plain(of, kind, r, of.train, best.config["lr"])[0], of.valid) for r in range(1, 5)]
    np.testing.assert_allclose(result.finals[best.trial_id], fresh, rtol=1e-4)
    assert result.estimate is not None
    assert np.isfinite(result.estimate.mean)


@pytest.mark.slow
def test_and_in_the_sealed_test():
    fresh = {"x": np.ones((5, 4), np.float32), "y": np.zeros(5, np.float32)}
    of = task(optimizer=ema, averaged=ema_of, test=fresh)
    how, spec = Retraining(EPOCHS, 0, True, 1, jax.local_devices()[:1]), spec_of(of, {}, {"lr": np.dtype(np.float32)})
    found = open_test(lambda _: spec, how, 0, (Stretch(0, {"lr": LR}, EPOCHS),), None, 0, 2)
    whole = jax.tree.map(lambda *parts: np.concatenate(parts), of.train, of.valid)
    expected = [error(of, plain(of, "ema", replicate, whole)[0], fresh) for replicate in (1, 2)]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-4)


def test_what_is_no_such_weights_is_refused():
    with pytest.raises(hp.Error, match="Task averaged: expected a function or None, got 3"):
        task(averaged=3)
    wrong = task(averaged=lambda state, params, config: {"w": params["w"].astype(jnp.bfloat16)})
    with pytest.raises(hp.Error, match="Task averaged: params"):
        spec_of(wrong, {}, {"lr": np.dtype(np.float32)})
