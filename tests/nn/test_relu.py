"""`hp.nn.relu` is `jax.nn.relu`, gradient and all."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxhp as hp


@settings(max_examples=50)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=8, max_size=8), st.integers(0, 9))
def test_values_and_gradients_are_those_of_jax(values, seed):
    x, weight = jnp.asarray(values, jnp.float32), jax.random.normal(jax.random.key(seed), (len(values),))
    for wrap in (lambda f: f, jax.vmap):
        np.testing.assert_array_equal(wrap(hp.nn.relu)(x), wrap(jax.nn.relu)(x))
    ours, theirs = (jax.vjp(f, x)[1](weight)[0] for f in (hp.nn.relu, jax.nn.relu))
    np.testing.assert_array_equal(ours, theirs)
    ours, theirs = (jax.jvp(f, (x,), (weight,))[1] for f in (hp.nn.relu, jax.nn.relu))
    np.testing.assert_array_equal(ours, theirs)


def test_a_network_that_diverged_stays_nan():
    assert jnp.isnan(hp.nn.relu(jnp.nan))
    assert jnp.isnan(jax.grad(hp.nn.relu)(jnp.nan))
