import numpy as np
import pytest
from scipy.special import stdtrit

from jaxhp.selection.intervals import Mean, crossed_mean, probability_best


def crossed(rng, seeds, n, by_seed=0.0, by_example=0.0, rest=0.0):
    return by_seed * rng.normal(size=(seeds, 1)) + by_example * rng.normal(size=n) + rest * rng.normal(size=(seeds, n))


def test_one_seed_is_the_mean_of_examples():
    y = np.random.default_rng(0).normal(size=(1, 50))
    found = crossed_mean(y)
    assert found.mean == pytest.approx(y.mean())
    assert found.stderr == pytest.approx(y.std(ddof=1) / np.sqrt(50))
    assert found.dof == 49


def test_without_spread_of_examples_it_is_students_interval_over_seeds():
    seeds = np.array([1.0, 2.0, 4.0, 5.0])
    found = crossed_mean(np.tile(seeds[:, None], 30))
    half = stdtrit(3, 0.975) * seeds.std(ddof=1) / 2
    assert found.interval() == pytest.approx((3 - half, 3 + half))


def test_other_seeds_tell_of_the_spread_but_not_of_the_mean():
    rng = np.random.default_rng(1)
    y, more = crossed(rng, 2, 40, by_seed=1.0), crossed(rng, 20, 40, by_seed=1.0) + 100
    assert crossed_mean(y, more=[more]).mean == pytest.approx(y.mean())
    assert crossed_mean(y, more=[more]).dof > 15
    assert crossed_mean(y, more=[more]).stderr == pytest.approx(1 / np.sqrt(2), rel=0.4)


@pytest.mark.parametrize(("by_seed", "by_example", "rest"), [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.1, 1, 1), (0.3, 0, 3)])
def test_intervals_cover_the_truth(by_seed, by_example, rest):
    rng = np.random.default_rng(2)
    hits = []
    for _ in range(600):
        low, high = crossed_mean(crossed(rng, 4, 40, by_seed, by_example, rest)).interval()
        hits.append(low <= 0 <= high)
    assert 0.925 <= np.mean(hits) <= 0.985


@pytest.mark.parametrize(("spread", "least", "most"), [(0.5, 0.86, 0.94), (1.0, 0.93, 0.98), (2.0, 0.97, 1.0)])
def test_peers_moderate_a_spread_that_few_seeds_cannot_tell(spread, least, most):
    """Four seeds of the trial's own, those of its peers `spread` times as far apart as its own."""
    rng = np.random.default_rng(6)
    hits = []
    for _ in range(600):
        y, more = crossed(rng, 2, 40, 0.7, 1.0, 2.0), crossed(rng, 2, 40, 0.7, 1.0, 2.0)
        peers = [crossed(rng, 4, 40, 0.7 * spread, 1.0, 2.0) for _ in range(7)]
        low, high = crossed_mean(y, more=[more], peers=peers).interval()
        hits.append(low <= 0 <= high)
    assert least <= np.mean(hits) <= most


def test_peers_count_for_as_much_as_four_seeds_at_most():
    rng = np.random.default_rng(7)
    y, peer = crossed(rng, 3, 1, by_seed=1.0), crossed(rng, 101, 1, by_seed=3.0)
    expected = (2 * y.var(ddof=1) + 4 * peer.var(ddof=1)) / 6 / 3
    found = crossed_mean(y, peers=[peer])
    assert (found.stderr**2, found.dof) == pytest.approx((expected, 6))
    assert crossed_mean(y, peers=[peer[:2]]).dof == 3


def test_intervals_of_folds_cover_the_truth():
    rng = np.random.default_rng(3)
    fold = np.arange(60) % 3
    hits = []
    for _ in range(600):
        networks = rng.normal(size=(4, 3))  # one a seed and fold
        low, high = crossed_mean(networks[:, fold] + crossed(rng, 4, 60, by_example=3.0, rest=1.0), fold).interval()
        hits.append(low <= 0 <= high)
    assert 0.925 <= np.mean(hits) <= 0.985


def test_less():
    found = Mean(1.0, 3.0, 4.0)
    assert found.less(0.0, 0.0) == found
    assert found.less(0.2, 16.0) == pytest.approx((0.8, 5.0, 4 * (25 / 9) ** 2))


def test_below():
    assert Mean(0.0, 1.0, 1e6).below(0.0) == pytest.approx(0.5)
    assert Mean(-1.96, 1.0, 1e6).below(0.0) == pytest.approx(0.025, rel=1e-2)
    assert Mean(0.0, 0.0, 3).below(0.0) == 1
    assert Mean(-0.1, 0.0, 3).below(0.0) == 0


def test_probability_of_being_best():
    rng = np.random.default_rng(4)
    same = crossed(rng, 8, 50, 1.0, 1.0, 1.0)
    assert probability_best([]).tolist() == []
    assert probability_best([same, same]).tolist() == [0.5, 0.5]  # ties are shared
    assert probability_best([same, same + 1, same - 1]).tolist() == [0, 1, 0]  # a paired difference without noise
    equals = [crossed(np.random.default_rng(s), 8, 50, rest=1.0) for s in range(4)]
    assert probability_best(equals).sum() == pytest.approx(1)
    assert probability_best(equals).max() < 0.9
    # a trial that was given up is compared on the seeds it has
    assert probability_best([same, same[:2] + 1]).tolist() == [0, 1]
