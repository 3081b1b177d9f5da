"""Schedules with traced peaks and lengths are those of optax with plain ones."""

import jax
import numpy as np
import optax
import pytest

import jaxhp as hp

COUNTS = np.arange(0, 260, 7)
PAIRS = {
    "linear": (lambda: hp.schedules.linear, (0.3, 0.1, 90), lambda a, b, n: optax.linear_schedule(a, b, n)),
    "cosine": (lambda: hp.schedules.cosine, (0.3, 120, 0.03), lambda a, n, b: optax.cosine_decay_schedule(a, n, b / a)),
    "exponential": (lambda: hp.schedules.exponential, (0.3, 0.9, 20), lambda a, r, n: optax.exponential_decay(a, n, r)),
    "warmup": (lambda: hp.schedules.warmup, (0.3, 50), lambda a, n: optax.linear_schedule(0.0, a, n)),
    "warmup_cosine": (
        lambda: hp.schedules.warmup_cosine,
        (0.3, 28, 200, 0.01),
        lambda a, w, n, b: optax.warmup_cosine_decay_schedule(0.0, a, w, n, b),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_schedule(name):
    made, values, theirs = PAIRS[name]
    found = jax.jit(lambda *values: jax.vmap(made()(*values))(COUNTS))(*values)
    np.testing.assert_allclose(found, jax.vmap(theirs(*values))(COUNTS), rtol=2e-5, atol=1e-8)


def test_no_warm_up_begins_at_the_peak():
    assert jax.jit(lambda n: hp.schedules.warmup(0.3, n)(0))(0) == np.float32(0.3)
    assert jax.jit(lambda n: hp.schedules.warmup_cosine(0.3, n, 100)(0))(0) == np.float32(0.3)


def test_dropout_keeps_the_share_and_the_mean():
    x = np.ones((100, 1000), np.float32)
    dropped = np.asarray(jax.jit(hp.nn.dropout)(jax.random.key(0), x, 0.25))
    assert set(np.unique(dropped)) == {0.0, np.float32(1 / 0.75)}
    assert abs((dropped == 0).mean() - 0.25) < 0.005  # 3.7 standard deviations
    np.testing.assert_array_equal(jax.jit(hp.nn.dropout)(jax.random.key(0), x, 0.0), x)
