"""The forest, and its turns with the process."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhp.strategies import GP
from jaxhp.strategies.forest import forest
from jaxhp.strategies.gp import pick

KEY = jax.random.key(3)


def points(seed, count, dim):
    return jax.random.uniform(jax.random.key(seed), (count, dim))


@pytest.mark.slow
@pytest.mark.filterwarnings("error::FutureWarning")
def test_the_forest_grows_where_arrays_are_of_64_bits():
    """`scatter` is going to refuse an int64 in an array of int32; today it warns."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        unit = points(0, 8, 2).astype(jnp.float32)
        said, _ = forest(KEY, unit, jnp.arange(8, dtype=jnp.float32), jnp.ones(8, bool), unit, 2)
    assert said.shape == (8,)


def corner(unit):
    """1 in a corner of two of the dimensions, 0 elsewhere."""
    return jnp.all(unit[:, :2] > 0.7, axis=1).astype(jnp.float32)


@pytest.mark.slow
def test_a_corner_is_found_whatever_the_irrelevant_dimensions():
    unit, at = points(0, 256, 6), points(1, 500, 6)
    mean, cov = forest(KEY, unit, corner(unit), jnp.ones(256, bool), at, 64)
    inside = np.asarray(corner(at)) == 1
    assert np.asarray(mean)[inside].mean() > 0.7
    assert np.asarray(mean)[~inside].mean() < 0.05
    # the trees disagree where the edge may be
    edge = np.abs(np.asarray(at[:, :2]) - 0.7).min(axis=1) < 0.05
    deviation = np.sqrt(np.diagonal(cov))
    assert deviation[edge & (np.asarray(at[:, :2]).min(axis=1) > 0.6)].mean() > 3 * deviation[~inside & ~edge].mean()


def test_covariance_is_that_of_points_which_fall_into_the_same_leaves():
    unit = points(0, 64, 2)
    at = jnp.array([[0.2, 0.2], [0.2, 0.2], [0.9, 0.9]], jnp.float32)
    cov = np.asarray(forest(KEY, unit, unit[:, 0], jnp.ones(64, bool), at, 64)[1])
    assert cov[0, 1] == pytest.approx(cov[0, 0], rel=1e-5)
    assert abs(cov[0, 2]) < 0.5 * np.sqrt(cov[0, 0] * cov[2, 2])


@pytest.mark.slow
def test_only_present_rows_count_and_one_will_do():
    unit, at, here = points(0, 32, 2), points(1, 9, 2), jnp.arange(32) < 20
    target = jnp.where(here, unit[:, 0], jnp.nan)
    elsewhere = jnp.where(here[:, None], unit, 0.1)
    one, other = (forest(KEY, x, target, here, at, 8)[0] for x in (unit, elsewhere))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(
        forest(KEY, unit, target, jnp.arange(32) < 1, at, 8)[0], np.full(9, target[0]), rtol=1e-6
    )
    np.testing.assert_array_equal(forest(KEY, unit, target, jnp.zeros(32, bool), at, 8)[0], jnp.zeros(9))


def test_models_take_turns_and_learn_of_each_others_rows():
    of = jax.jit(pick, static_argnums=6)
    at = jnp.linspace(0, 1, 6)[:, None]
    mean = jnp.array([[3.0, 2.9, 0, 0, 0, 0], [0, 0, 0, 3.0, 2.0, 1.0]], jnp.float32)
    cov = jnp.broadcast_to(jnp.eye(6)[None] * 1e-6, (2, 6, 6))
    free = (jnp.float32(1e-4), at, jnp.full(6, jnp.inf), jnp.float32(0))
    assert of(mean, cov, *free, 4).tolist() == [0, 3, 1, 4]
    # what the first takes tells the second all about candidate 4, which is then not worth a look for it
    even, known = (
        jnp.zeros((2, 6)).at[0, 3].set(9.0),
        jnp.stack([jnp.eye(6)] * 2).at[1, 3, 4].set(1.0).at[1, 4, 3].set(1),
    )
    assert of(even, known, *free, 4).tolist()[:1] == [3]
    assert of(even.at[1, 4].set(0.1), known, *free, 4).tolist()[:2] != [3, 4]
    assert of(even.at[1, 4].set(0.1), jnp.stack([jnp.eye(6)] * 2), *free, 4).tolist()[:2] == [3, 4]


def test_bad_numbers_of_trees_get_one_clear_line():
    with pytest.raises(ValueError, match="GP trees: expected at least 0, got -1"):
        GP(trees=-1)
