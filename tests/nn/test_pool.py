"""`jaxhp.nn.max_pool` and `avg_pool` against flax's."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxhp import nn


@st.composite
def pools(draw):
    rank = draw(st.integers(1, 2))
    each = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * rank))  # noqa: E731
    leading = draw(st.lists(st.integers(1, 2), max_size=1))  # flax fails on two with explicit padding
    shape = (*leading, *each(4, 8), draw(st.integers(1, 3)))
    window = each(1, 4)
    strides = draw(st.sampled_from([None, window, each(1, 3)]))
    low_padding = st.tuples(*[st.integers(0, size - 1) for size in window])
    explicit = st.tuples(low_padding, low_padding).map(lambda pair: tuple(zip(*pair, strict=True)))
    padding = draw(st.sampled_from(["SAME", "VALID"]) | explicit)
    seed = draw(st.integers(0, 100))
    x = np.random.default_rng(seed).permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)
    return x, (window, strides, padding)


def value_and_gradient(function, x, *arguments):
    @jax.jit
    def run(x):
        out, pullback = jax.vjp(lambda x: function(x, *arguments), x)
        return out, *pullback(jnp.sin(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape))

    return run(x)


@settings(max_examples=5)
@given(pools())
def test_any_max_pool_equals_flax_forward_and_backward(case):
    x, arguments = case
    ours, theirs = (value_and_gradient(f, x, *arguments) for f in (nn.max_pool, flax.linen.max_pool))
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5, atol=1e-5)


@settings(max_examples=5)
@given(pools(), st.booleans())
def test_any_avg_pool_equals_flax_forward_and_backward(case, count_include_pad):
    x, arguments = case
    x = x / x.size
    ours, theirs = (value_and_gradient(f, x, *arguments, count_include_pad) for f in (nn.avg_pool, flax.linen.avg_pool))
    for mine, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strides", [(2, 2), (1, 1)])
def test_the_gradient_of_a_tie_goes_to_the_first(strides):
    x = jnp.zeros((1, 2, 2, 1))
    gradient = jax.grad(lambda x: nn.max_pool(x, (2, 2), strides).sum())(x)
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[1, 0], [0, 0]])


@pytest.mark.parametrize(("window", "strides"), [((2, 2), (2, 2)), ((3, 3), (2, 2))])
def test_the_program_has_no_select_and_scatter(window, strides):
    x = jnp.zeros((2, 8, 8, 3))
    text = jax.jit(jax.grad(lambda x: nn.max_pool(x, window, strides).sum())).lower(x).as_text()
    assert "scatter" not in text
    assert "reduce_window" not in text


def test_a_nan_reaches_its_window_alone():
    x = jnp.zeros((1, 4, 1)).at[0, 1].set(jnp.nan)
    np.testing.assert_array_equal(nn.max_pool(x, (2,), (2,))[0, :, 0], [np.nan, 0])


def test_batch_last():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((3, 6, 6, 5)), jnp.float32)
    ours = nn.max_pool(x.transpose(3, 1, 2, 0), (2, 2), (2, 2)).transpose(3, 1, 2, 0)
    np.testing.assert_array_equal(ours, nn.max_pool(x, (2, 2), (2, 2)))


@pytest.mark.parametrize("pool", [nn.max_pool, nn.avg_pool])
def test_more_leading_axes(pool):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 5, 4)), jnp.float32)
    np.testing.assert_array_equal(
        pool(x, (2,), (1,), "SAME"), pool(x.reshape(6, 5, 4), (2,), (1,), "SAME").reshape(2, 3, 5, 4)
    )


@pytest.mark.parametrize("pool", [nn.max_pool, nn.avg_pool])
def test_bad_arguments_are_named(pool):
    x = jnp.zeros((2, 4, 4, 3))
    with pytest.raises(ValueError, match=r"^strides: expected 2 of them, .* got \(2,\)"):
        pool(x, (2, 2), (2,))
    with pytest.raises(ValueError, match=r"^padding: expected 2 pairs, .* got \[\(0, 1\)\]"):
        pool(x, (2, 2), padding=[(0, 1)])
    with pytest.raises(ValueError, match=r"^window_shape: expected 1..4 \(the padded input\), got \(5, 2\)"):
        pool(x, (5, 2))
    with pytest.raises(ValueError, match=r"^inputs: expected 4 spatial axes"):
        pool(x, (1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"^inputs: expected floating point, got int32"):
        pool(jnp.zeros((2, 4, 3), int), (2,))
