"""Tuning curves and their bands against closed forms, SciPy's Kolmogorov distribution, and simulation."""

import numpy as np
import pytest
from scipy.stats import kstwo

from jaxhp.selection.tuning import order_bounds, probability, tuning_curve


@pytest.mark.parametrize("n", [1, 2, 5, 40, 300])
@pytest.mark.parametrize("p", [0.2, 0.9, 0.99])
def test_the_probability_is_that_of_kolmogorovs_statistic(n, p):
    """The largest distance of an empirical distribution is at most d where all order statistics lie so."""
    d, i = kstwo.ppf(p, n), np.arange(1, n + 1)
    found = probability(n, i, np.clip(i / n - d, 0, 1), np.clip((i - 1) / n + d, 0, 1))
    assert np.isclose(found, p, atol=1e-9)


def test_the_probability_for_two_is_an_area():
    """Of the smaller in [0.1, 0.5] and the larger in [0.3, 0.8]: twice an area of the unit square."""
    found = probability(2, np.array([1, 2]), np.array([0.1, 0.3]), np.array([0.5, 0.8]))
    x = (np.arange(4000) + 0.5) / 4000
    inside = np.where((x > 0.1) & (x < 0.5), np.maximum(0.8 - np.maximum(x, 0.3), 0), 0).mean()
    assert np.isclose(found, 2 * inside, atol=1e-4)
    alone = probability(9, np.array([9]), np.array([0.7]), np.array([0.95]))
    assert np.isclose(alone, 0.95**9 - 0.7**9)  # of the largest of nine alone


@pytest.mark.parametrize("n", [1, 3, 64])
def test_bounds_hold_with_the_probability_asked_for(n):
    places, low, high = order_bounds(n, 0.95)
    assert 0.95 - 1e-12 <= probability(n, places, low, high) < 0.9502
    assert np.all(np.diff(low) > 0)
    assert np.all(low < places / (n + 1))
    assert np.all(places / (n + 1) < high)
    if n == 1:
        np.testing.assert_allclose((low[0], high[0]), (0.025, 0.975), atol=1e-4)


def test_the_curve_of_uniform_scores_is_known():
    """The best of k is below y with probability y ** k, so its median is 0.5 ** (1 / k)."""
    k = np.asarray([1, 2, 4, 8, 16])
    found = tuning_curve((np.arange(4000) + 0.5) / 4000, k)
    np.testing.assert_allclose(found.median, 0.5 ** (1 / k), atol=3e-4)
    assert np.all((found.low < 0.5 ** (1 / k)) & (found.high > 0.5 ** (1 / k)))
    assert np.all(np.diff(found.low) > 0)
    few = tuning_curve(np.asarray([0.1, 0.2, -np.inf]), np.asarray([1, 100]))
    assert few.high[1] == np.inf  # three trials tell nothing of the best of a hundred
    assert few.median[1] == 0.2


def test_the_band_holds_the_whole_curve_as_often_as_it_says():
    """Of uniform scores, and of a few classes' accuracies, which have ties."""
    rng, n, k, times = np.random.default_rng(0), 30, np.arange(1, 31), 1500
    truth = 0.5 ** (1 / k)
    for steps in (0, 7):
        kept = 0
        for _ in range(times):
            scores = rng.random(n)
            scores, true = (np.floor(scores * steps), np.floor(truth * steps)) if steps else (scores, truth)
            found = tuning_curve(scores, k, 0.9)
            kept += bool(np.all((found.low <= true) & (true <= found.high)))
        assert kept / times >= 0.9 - 3 * (0.09 / times) ** 0.5
        if not steps:
            assert kept / times <= 0.98  # and not much more often


@pytest.mark.slow
@pytest.mark.parametrize("draw", ["normal", "exponential", "lognormal"])
def test_the_band_holds_whatever_the_distribution(draw):
    rng, n, k, times = np.random.default_rng(1), 100, np.arange(1, 101), 4000
    big = np.sort(getattr(np.random.default_rng(2), draw)(size=2_000_000))
    truth = big[np.ceil(0.5 ** (1 / k) * len(big)).astype(int) - 1]
    bands = (tuning_curve(getattr(rng, draw)(size=n), k) for _ in range(times))
    kept = sum(bool(np.all((band.low <= truth) & (truth <= band.high))) for band in bands)
    assert 0.95 - 3 * (0.0475 / times) ** 0.5 <= kept / times <= 0.99
