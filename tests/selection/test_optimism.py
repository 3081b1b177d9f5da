import numpy as np
import pytest

from jaxhp.selection.contest import Played, contest
from jaxhp.selection.optimism import Luck, Optimism, luck, luck_of_epochs, optimism
from jaxhp.selection.verdict import Finals
from jaxhp.trials import Trial

N = 60
ALONE = np.zeros((8, 0), int)  # no trial is near another


def outcomes(rng, trials, seeds, suits, own, fold=None):
    """[P, S, N]: luck that lasts, seeds' luck of a trial's own, and what is common to all trials or none."""
    folds = 1 if fold is None else fold.max() + 1
    of = np.zeros(N, int) if fold is None else fold
    cells = own * rng.normal(size=(trials, seeds, folds)) * folds**0.5  # of mean variance own ** 2 a seed
    common = 2 * rng.normal(size=(seeds, 1)) + 3 * rng.normal(size=N) + rng.normal(size=(seeds, N))
    rest = 0.5 * rng.normal(size=(trials, seeds, N))
    return suits * N**0.5 * rng.normal(size=(trials, 1, N)) + cells[:, :, of] + common + rest


@pytest.mark.parametrize("fold", [None, np.arange(N) % 3])
@pytest.mark.parametrize("suits", [0.0, 0.4])
def test_both_kinds_of_luck_are_measured(fold, suits):
    rng = np.random.default_rng(5)
    found = np.asarray([luck(outcomes(rng, 6, 4, suits, 0.7, fold), fold, seeds=2) for _ in range(200)])
    assert found[:, 0].mean() == pytest.approx(suits**2, abs=0.01)
    assert found[:, 1].mean() == pytest.approx((0.7**2 + 0.5**2 / N) / 2, rel=0.06)
    assert found[:, 2] == pytest.approx(found[:, 1] * 2)


def optimistic(scores, size, *, means=None, passing=0.0, slack=0.0, count=8):
    scores = scores[np.argsort(-scores)]
    means = scores[:count] if means is None else means
    near = np.arange(count, dtype=float)
    return optimism(scores[:, None], means, near, ALONE[:count], slack, Luck(size**2, passing, passing))


def test_without_luck_that_lasts_nothing_is_taken_off():
    assert optimistic(np.random.default_rng(0).normal(size=100), 0.0) == Optimism(0.0, 0.0)


def test_a_clear_winner_was_not_chosen_by_luck():
    scores = np.random.default_rng(0).normal(size=100)
    scores[17] = 20.0
    assert optimistic(scores, 1.0) == pytest.approx(Optimism(0.0, 0.0), abs=0.01)


@pytest.mark.slow
def test_the_best_of_pure_luck_is_corrected_to_nothing():
    rng = np.random.default_rng(1)
    rows = [rng.normal(size=256) for _ in range(60)]
    left = np.asarray([row.max() - optimistic(row, 1.0).mean for row in rows])
    assert np.mean([row.max() for row in rows]) > 2.7
    assert left.mean() == pytest.approx(0.0, abs=0.3)
    claimed = np.mean([optimistic(row, 1.0).variance for row in rows])
    assert left.var() == pytest.approx(1 + claimed, rel=0.4)  # 1: of luck itself, which the mean's interval has


@pytest.mark.slow
@pytest.mark.parametrize("slack", [0.0, 10.0])
def test_it_is_unbiased_whether_means_or_neighbourhoods_decide(slack):
    of = Luck(lasting=0.6**2, passing=0.9**2, fresh=0.3**2)
    left = []
    for world in range(300):
        rng = np.random.default_rng([7, world])
        lasting = 0.6 * rng.normal(size=128)  # all trials are equally good
        scores = lasting + 0.9 * rng.normal(size=128)
        order = np.argsort(-scores)
        lasting, scores = lasting[order], scores[order]
        means, near = lasting[:3] + 0.3 * rng.normal(size=3), rng.normal(size=3)
        chosen = np.where(means >= means.max() - slack, near, -np.inf).argmax()
        told = scores[chosen] / of.passing + means[chosen] / of.fresh
        expected = told / (1 / of.lasting + 1 / of.passing + 1 / of.fresh)  # luck, where score and mean are known
        left.append(expected - optimism(scores[:, None], means, near, ALONE[:3], slack, of, seed=[world]).mean)
    assert np.mean(left) == pytest.approx(0.0, abs=0.06)


@pytest.mark.slow
def test_luck_that_gets_trials_through_the_rungs_is_taken_off_too():
    of = Luck(lasting=0.6**2, passing=0.9**2, fresh=0.3**2)
    dealt, left, last_alone = [], [], []
    for world in range(100):
        rng = np.random.default_rng([8, world])
        lasting = 0.6 * rng.normal(size=128)  # all trials are equally good
        passing, scores, alive = rng.normal(size=128), np.full((128, 3), np.nan), np.arange(128)
        for column, count in enumerate((32, 8, 8)):
            passing = 0.8 * passing + 0.6 * rng.normal(size=128)
            scores[alive, column] = (lasting + 0.9 * passing)[alive]
            alive = alive[np.argsort(-scores[alive, column])[:count]]
        scores = scores[np.concatenate([alive, np.setdiff1d(np.arange(128), alive)])]
        means, near = lasting[alive] + 0.3 * rng.normal(size=8), rng.normal(size=8)
        dealt.append(lasting[alive[means.argmax()]])
        left.append(dealt[-1] - optimism(scores, means, near, ALONE, 0.0, of, seed=[world]).mean)
        last_alone.append(dealt[-1] - optimism(scores[:, 2:], means, near, ALONE, 0.0, of, seed=[world]).mean)
    assert np.mean(dealt) > 1.2
    assert np.mean(last_alone) > 0.3
    assert np.mean(left) == pytest.approx(0.0, abs=0.2)


def test_who_is_chosen_by_others_scores_is_the_unlucky_one():
    """Of 4 trials of pure luck the one whose others are best is the worst: by -1.029, the mean least of 4 normals."""
    around = np.asarray([[j for j in range(4) if j != i] for i in range(4)])
    found = []
    for world in range(60):
        scores = np.sort(np.random.default_rng([3, world]).normal(size=4))[::-1]
        near = scores[around].mean(1)
        found.append(optimism(scores[:, None], scores, near, around, 10.0, Luck(1.0, 0.0, 0.0), seed=[world]).mean)
    assert np.mean(found) == pytest.approx(-1.029, abs=0.2)


def test_the_luck_of_epochs_is_measured_without_what_is_common_and_the_noise_of_seeds():
    rng, epochs = np.random.default_rng(4), np.arange(5)
    luck, found = 0.5 + 0.5 * 0.6 ** np.abs(epochs[:, None] - epochs), []
    for _ in range(600):
        own = rng.multivariate_normal(np.zeros(5), luck, size=6) + 3 * rng.normal(size=5)
        blocks = [{p: own[p] + 0.7 * rng.normal(size=5) for p in some} for some in (range(6), range(4), [0, 3])]
        found.append(luck_of_epochs(blocks))
    np.testing.assert_allclose(np.mean(found, 0), luck, atol=0.12)
    assert not luck_of_epochs([{0: own[0]}]).any()


def test_it_is_in_the_units_of_the_scores():
    scores = np.random.default_rng(2).normal(size=200)
    one, other = optimistic(scores, 0.7, passing=0.3), optimistic(50 + 1e-3 * scores, 0.7e-3, passing=0.3e-6)
    assert one.mean > 0.3
    assert other == pytest.approx(Optimism(1e-3 * one.mean, 1e-6 * one.variance))


def test_the_many_that_cannot_become_finalists_change_nothing():
    scores = np.sort(np.random.default_rng(3).normal(size=2000))[::-1]
    best = optimistic(scores, 0.5)
    others = np.where(np.arange(2000) < 1000, scores, np.nan)
    assert optimistic(others, 0.5) == pytest.approx(best)


@pytest.mark.slow
@pytest.mark.parametrize(("replicates", "mode"), [(4, "max"), pytest.param(16, "min", marks=pytest.mark.slow)])
def test_where_examples_suit_some_trials_the_estimate_is_unbiased_without_a_holdout(replicates, mode):
    errors, corrections, hits = [], [], []
    sign = 1 if mode == "max" else -1
    for world in range(120):
        rng = np.random.default_rng([world, replicates])
        suits = 6 * rng.normal(size=(256, N))  # the same for every seed; all trials are equally good
        score = suits.mean(1) + 0.5 * rng.normal(size=256)
        best = np.argsort(-score)[:8]
        trials = [Trial(int(i), {}, score=sign * float(score[i])) for i in best]

        def play(who, replicates, rng=rng, suits=suits[best]):
            found = 0.5 * rng.normal(size=(len(who), len(replicates), 1)) + rng.normal(size=(len(replicates), N))
            return Played(sign * (suits[who][:, None] + found), None)

        near = {t.trial_id: float(value) for t, value in zip(trials, rng.normal(size=8), strict=True)}
        scores = sign * np.sort(score)[::-1]
        found = contest(trials, near, Finals(8, replicates), play, mode=mode, scores=scores[:, None]).estimate
        errors.append(sign * found.mean)
        corrections.append(sign * found.correction)
        hits.append(found.low <= 0 <= found.high)
    assert (np.mean(errors) + np.mean(corrections)) / np.std(errors) > 1.5
    assert abs(np.mean(errors)) < 0.1 * np.std(errors) + 2.5 * np.std(errors) / np.sqrt(120)
    assert 0.9 <= np.mean(hits) <= 0.99
