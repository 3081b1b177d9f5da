"""Means, standard errors and divergence: right for metrics of any size, and of no concern to other metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from populations import train

import jaxhp as hp
from jaxhp.data.folds import Folding
from jaxhp.engine.examples import examples_of
from jaxhp.engine.measure import measure
from jaxhp.engine.scores import quotient

OFFSETS = {"thousand": (1e3, 0.1), "quarter": (2.5e5, 50.0), "negative": (-5e3, 2.0), "zero": (0.0, 1.0)}


def columns(n: int) -> dict[str, np.ndarray]:
    """Values far from zero, and some whose first one lies far from the others."""
    noise = np.random.default_rng(0).normal(size=(n, len(OFFSETS)))
    found = {name: (at + sd * noise[:, i]).astype("f4") for i, (name, (at, sd)) in enumerate(OFFSETS.items())}
    found["outlier"] = found["zero"].copy()
    found["outlier"][0] = 1e4
    found["million"] = (1e6 + np.round(8 * noise[:, 0]) / 8).astype("f4")
    return found


@pytest.mark.parametrize(("n", "at_once"), [(400, 1024), (400, 100), (399, 64), (5000, 1024), (2, 1)])
def test_mean_and_variance_are_those_of_float64(n, at_once):
    data = columns(n)
    rows = jnp.pad(jnp.arange(n), (0, 7))
    means, of_tile = tuple(sorted(data)), lambda batch: {k: v[None] for k, v in batch.items()}
    measured = jax.jit(lambda data: measure(of_tile, means, None, data, rows, jnp.int32(n), at_once))
    for name, mean, variance in zip(means, *(part[0] for part in measured(data)), strict=True):
        exact = data[name].astype(np.float64)
        np.testing.assert_allclose(mean, exact.mean(), rtol=3e-6, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(np.sqrt(variance), exact.std(), rtol=1e-3, err_msg=name)


def test_a_mean_of_ones_is_one_and_a_mean_of_hits_is_the_fraction():
    n = np.arange(1, 70_000, dtype=np.float32)
    np.testing.assert_array_equal(jax.jit(quotient)(n, n), 1.0)
    hits = np.floor(n * np.random.default_rng(0).random(len(n))).astype(np.float32)
    np.testing.assert_array_equal(jax.jit(quotient)(hits, n), hits / n)


def constant(**changes):
    """A task that learns nothing: metrics are columns of its data."""
    data = columns(49) | {"ones": np.ones(49, "f4"), "some": np.where(np.arange(49) == 3, 0.0, 1.0).astype("f4")}
    parts = {
        "init": lambda key, config: {"w": jnp.ones(3)},
        "loss": lambda params, batch, key, config: jnp.sum(params["w"] ** 2),
        "evaluate": lambda params, batch, config: {
            "quarter": batch["quarter"],
            "ones": batch["ones"],
            "side": jnp.log(batch["some"]) * 0.0,  # NaN for one example
            "large": batch["some"] / (1 - batch["some"]),
        },
        "optimizer": lambda config: optax.sgd(config["lr"]),
        "metric": "quarter",
    }
    return hp.Task(**(parts | changes), train=data, valid=data, batch_size=7)


@pytest.fixture(scope="module")
def ranked():
    return train(constant(), [{"lr": 0.1}, {"lr": 1e30}], 2, tile=2).ranked


def test_a_metric_that_is_nan_is_so_in_its_own_curve_alone(ranked):
    names = ["large", "ones", "quarter", "side"]
    assert ranked.diverged_at.tolist()[0] == 0
    curve = dict(zip(names, np.moveaxis(ranked.curve[0], -1, 0), strict=True))
    assert np.isnan(curve["side"]).all()
    assert np.isnan(curve["large"]).all()
    assert (curve["ones"] == 1.0).all()
    assert ranked.order[0] == 0


def test_the_error_of_a_score_far_from_zero(ranked):
    exact = columns(49)["quarter"].astype(np.float64)
    np.testing.assert_allclose(ranked.stderr[0], exact.std() / 7, rtol=1e-3)


def test_weights_that_are_nan_diverge_whatever_the_metrics_say(ranked):
    assert ranked.diverged_at[1] == 1
    assert np.isnan(ranked.score[1])
    assert np.isnan(ranked.curve[1]).all()


def test_no_training_curve():
    found = train(constant(train_examples=0), [{"lr": 0.1}], 1, tile=1).ranked
    assert np.isnan(found.curve[0, :, 0]).all()
    assert found.diverged_at[0] == 0
    assert np.isfinite(found.score[0])


def test_a_training_curve_is_of_examples_from_all_over_a_fold():
    """So that data which is sorted by its classes has examples of all of them there."""
    fold = np.repeat([0, 1, 0], [10, 36, 52]).astype(np.int32)  # of twice 49
    train = valid = columns(49)
    found = examples_of(train, valid, lambda *_: 7, Folding(fold, False, "own numbers"))
    for number in (0, 1):
        rows = np.flatnonzero(fold != number)
        there = np.floor(np.linspace(0, len(rows), 7, endpoint=False)).astype(int)
        np.testing.assert_array_equal(found.curve_rows[number], rows[there])
