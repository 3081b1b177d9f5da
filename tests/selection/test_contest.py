import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxhp.selection.contest import Played, contest, nearest, neighbourhoods
from jaxhp.selection.verdict import Finals, Verdict, default_finals
from jaxhp.trials import Trial

N = 40


def finalists(count):
    return [Trial(10 + i, {}, score=1.0 - i / 100) for i in range(count)]


def scores_of(trials):
    """Of a search: the finalists' own, and those of 91 more trials."""
    return np.asarray([t.score for t in trials] + [0.9 - i / 200 for i in range(99 - len(trials))])


class Stage:
    """Plays finalists whose outcomes are given; remembers who played what."""

    def __init__(self, outcome, held_out=None, bias=None):
        self.outcome, self.held_out, self.bias, self.played = outcome, held_out, bias, []

    def __call__(self, who, replicates):
        self.played.append((list(who), replicates))

        def table(function):
            return np.stack([[function(p, r) for r in replicates] for p in who]).astype(np.float32)

        held_out = table(self.held_out) if self.held_out else None
        return Played(table(self.outcome), held_out, bias=table(self.bias) if self.bias else None)


def noise(p, r):
    return np.random.default_rng([p, r]).normal(size=N)


def run(outcome, count=4, finals=None, mode="max", near=None, held_out=None, fold=None, bias=None):
    stage = Stage(outcome, held_out, bias)
    trials = finalists(count)
    near = near or {t.trial_id: 0.0 for t in trials}
    choice = contest(
        trials, near, finals or Finals(count, 8), stage, mode=mode, scores=scores_of(trials)[:, None], fold=fold
    )
    return choice, stage


def test_choice_and_estimate_share_no_replicate():
    choice, stage = run(lambda p, r: noise(p, r) * 0.01 + (p == 2) + (100.0 if r >= 4 else 0.0))
    assert choice.trial_id == 12
    assert choice.estimate.mean == pytest.approx(101, abs=0.01)
    assert choice.estimate.low < choice.estimate.mean < choice.estimate.high < 101.1
    assert choice.estimate.n_tried == 99
    assert [replicates for _, replicates in stage.played] == [range(2), range(2, 4), range(4, 8)]


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("fold", [None, np.arange(N) % 4 % 2])
def test_the_bias_of_the_metric_is_taken_off_the_estimate_and_chooses_nothing(mode, fold):
    """That of the replicates of the estimate, each by the examples of its fold."""

    def outcome(p, r):
        values = noise(p, r) * 0.01 + p
        return values if fold is None else np.where(fold == r % 2, values, np.nan)

    plain, _ = run(outcome, mode=mode, fold=fold)
    first = 4 if fold is None else 2 * 2
    found, _ = run(outcome, mode=mode, fold=fold, bias=lambda p, r: 0.25 * (r % 2) + 9.0 * (r < first))
    assert found.finalists == plain.finalists
    assert found.estimate.bias == pytest.approx(0.125)
    for one, other in zip(found.estimate[:3], plain.estimate[:3], strict=True):
        assert one == pytest.approx(other - 0.125)
    assert "for the metric's own bias with so few" in found.estimate.basis
    assert "bias" not in plain.estimate.basis


def test_the_estimate_is_taken_on_the_holdout():
    choice, _ = run(lambda p, r: noise(p, r) * 0.01 + (p == 1), held_out=lambda p, r: np.full(7, 5.0 + p))
    assert choice.trial_id == 11
    assert choice.estimate[:3] == (6.0, 6.0, 6.0)


def test_clearly_worse_finalists_are_given_up_early():
    choice, stage = run(lambda p, r: noise(p, r) * 0.1 + (0.0 if p < 2 else -1.0), count=5)
    assert stage.played[0][0] == [0, 1, 2, 3, 4]
    assert stage.played[1][0] == [0, 1]
    given_up = choice.finalists[3]
    assert (given_up.replicates, given_up.candidate, given_up.p_best) == (2, False, 0.0)
    assert sum(f.p_best for f in choice.finalists) == pytest.approx(1)


def test_paired_comparison_sees_through_shared_noise():
    choice, _ = run(lambda p, r: noise(99, r) * 10 + noise(p, r) * 0.01 + 0.1 * (p == 3))
    assert choice.trial_id == 13
    assert choice.finalists[3].p_best == 1


def test_among_equals_the_flattest_neighbourhood_wins():
    near = {10: 0.1, 11: 0.3, 12: 0.9, 13: 0.2}
    equal = lambda p, r: noise(7, r) + (-5.0 if p == 2 else 0.0)  # noqa: E731
    choice, _ = run(equal, near=near)
    assert choice.trial_id == 11  # 12 has the best surroundings, but is no candidate
    assert [f.candidate for f in choice.finalists] == [True, True, False, True]


def test_smaller_is_better_mirrors():
    outcome = lambda p, r: noise(p, r) * 0.3 + p  # noqa: E731
    near = {10: 1.0, 11: 2.0, 12: 3.0, 13: 4.0}
    low, _ = run(outcome, mode="min", near=near)
    high, _ = run(lambda p, r: -outcome(p, r), near={i: -v for i, v in near.items()})
    assert low.trial_id == high.trial_id == 10
    assert low.estimate.mean == -high.estimate.mean
    assert [f.difference for f in low.finalists] == [f.difference for f in high.finalists]


def test_a_finalist_that_diverges_is_not_chosen():
    def sick(p, r):
        return np.full(N, np.nan) if (p, r) in ((0, 1), (1, 6)) else noise(p, r) * 0.01 + (4 - p) * 1e-4

    choice, _ = run(sick)
    assert choice.trial_id in (12, 13)  # 10 diverged in the choice, 11 in the estimate
    assert np.isnan(choice.finalists[0].mean)
    assert np.isfinite(choice.estimate.mean)


def test_when_all_diverge_nothing_is_estimated():
    choice, _ = run(lambda p, r: np.full(N, np.nan))
    assert (choice.trial_id, choice.estimate) == (10, None)
    assert Verdict.from_json(choice.to_json()).finalists[0].p_best == 0


def test_folds_are_put_together_to_whole_seeds():
    fold = np.arange(N) % 2

    def outcome(p, r):
        return np.where(fold == r % 2, 1.0 + p + 10 * (r >= 4), np.nan)

    choice, stage = run(outcome, count=2, finals=Finals(2, 7), fold=fold)
    assert [r for _, r in stage.played] == [range(4), range(4, 8)]
    assert choice.trial_id == 11
    assert choice.estimate.mean == 12


class Drawn:
    """Finalists with outcomes and neighbourhoods drawn at random; some replicates diverge."""

    def __init__(self, seed, count=5):
        rng = np.random.default_rng(seed)
        shared, own = rng.normal(size=(8, 1)) + rng.normal(size=N), rng.normal(size=(count, 8, N))
        self.outcomes = shared + own + rng.normal(size=(count, 1, 1)) * rng.choice([0.0, 0.1, 1.0])
        self.outcomes[rng.random((count, 8)) < rng.choice([0.0, 0.05])] = np.nan
        self.near = {10 + i: float(value) for i, value in enumerate(rng.normal(size=count))}

    def choice(self, order=range(5), sign=1):
        trials = [finalists(5)[i] for i in order]
        stage = Stage(lambda p, r: sign * self.outcomes[trials[p].trial_id - 10, r])
        near = {i: sign * value for i, value in self.near.items()}
        return contest(
            trials,
            near,
            Finals(5, 8),
            stage,
            mode="max" if sign > 0 else "min",
            scores=sign * scores_of(trials)[:, None],
        )


worlds = st.builds(Drawn, st.integers(0, 2**32 - 1))


def table(choice, sign=1):
    """What was found of each finalist, by trial id."""
    rows = [f._replace(mean=sign * f.mean, neighbourhood=sign * f.neighbourhood) for f in choice.finalists]
    return np.asarray(sorted(rows), float)


@settings(max_examples=50)
@given(worlds, st.permutations(range(5)))
def test_the_order_of_finalists_does_not_matter(world, order):
    one, other = world.choice(), world.choice(order)
    if one.estimate is None:
        assert other.estimate is None
        return
    assert one.trial_id == other.trial_id
    assert tuple(one.estimate) == pytest.approx(tuple(other.estimate), abs=1e-9)
    np.testing.assert_allclose(table(one), table(other), atol=1e-12)


@settings(max_examples=50)
@given(worlds)
def test_a_smaller_metric_that_is_better_is_the_mirror_image(world):
    high, low = world.choice(), world.choice(sign=-1)
    assert high.trial_id == low.trial_id
    np.testing.assert_allclose(table(high), table(low, sign=-1), atol=1e-6)
    if high.estimate is not None:
        assert [-low.estimate.mean, -low.estimate.high, -low.estimate.low] == pytest.approx(high.estimate[:3])


@settings(max_examples=50)
@given(worlds)
def test_the_winner_is_the_flattest_of_those_that_may_be_the_best(world):
    choice = world.choice()
    by_id = {f.trial_id: f for f in choice.finalists}
    for found in choice.finalists:
        if found.candidate:
            assert found.difference >= -found.stderr
        assert found.replicates == 8 or not found.candidate
    if choice.estimate is None:
        assert not any(f.candidate and np.isfinite(f.mean) for f in choice.finalists)
        return
    winner = by_id[choice.trial_id]
    healthy = [f for f in choice.finalists if f.candidate and np.isfinite(f.mean)]
    assert winner in healthy
    assert winner.neighbourhood == max(f.neighbourhood for f in healthy)
    assert sum(f.p_best for f in choice.finalists) == pytest.approx(1)
    measured = world.outcomes[choice.trial_id - 10, 4:].mean()
    assert choice.estimate.mean == pytest.approx(measured - choice.estimate.correction, abs=1e-6)


def test_a_choice_survives_json():
    choice, _ = run(lambda p, r: noise(p, r))
    assert Verdict.from_json(choice.to_json()) == choice


@pytest.mark.parametrize(
    ("replicates", "folds", "blocks"),
    [
        (4, 1, ([2], 2)),
        (16, 1, ([4, 4], 8)),
        (9, 1, ([2, 2], 5)),
        (16, 5, ([10], 10)),
        (4, 5, ([10], 5)),
        (24, 3, ([6, 6], 12)),
    ],
)
def test_rounds_of_the_finals(replicates, folds, blocks):
    assert Finals(8, replicates).blocks(folds) == blocks


@pytest.mark.parametrize(
    ("searched", "expected"),
    [
        # members x epochs, tiles x epochs, trials, tile, epochs, folds
        ((3840, 480, 128, 8, 10, 1), Finals(8, 12)),
        ((30720, 480, 1024, 64, 10, 1), Finals(16, 12)),
        ((3840, 960, 128, 4, 10, 1), Finals(8, 12)),
        ((1280, 20, 64, 64, 10, 1), Finals(8, 4)),  # two tiles: counted in members
        ((400, 100, 40, 4, 10, 1), Finals(2, 4)),
        ((5000, 640, 64, 8, 10, 5), Finals(8, 15)),
        ((300, 80, 30, 4, 10, 1), None),
    ],
)
def test_default_finals_cost_a_fifth(searched, expected):
    assert default_finals(*searched) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top": 0}, "Finals top: expected an integer of at least 1, got 0"),
        ({"replicates": 3}, "Finals replicates: expected an integer of at least 4, got 3"),
        ({"holdout": 1.5}, "Finals holdout: expected a share"),
        ({"holdout": True}, "Finals holdout: expected a share"),
    ],
)
def test_bad_finals(arguments, message):
    with pytest.raises(ValueError, match=message):
        Finals(**arguments)


def test_neighbourhoods():
    unit = np.linspace(0, 1, 11, dtype=np.float32)[:, None]
    scores = np.where(np.arange(11) < 5, 1.0, 0.0)
    scores[10] = np.nan
    assert neighbourhoods(scores, nearest(unit, [1, 5, 9]), [1, 5, 9], "max").tolist() == [1.0, 0.5, 0.0]
    assert neighbourhoods(scores, nearest(unit, [9]), [9], "min").tolist() == [0.25]
    assert neighbourhoods(scores[:1], nearest(unit[:1], [0]), [0], "max").tolist() == [1.0]


@pytest.mark.slow
@pytest.mark.parametrize("replicates", [4, 16])
def test_of_equal_trials_the_estimate_is_unbiased(replicates):
    errors, hits, raw = [], [], []
    for world in range(200):
        rng = np.random.default_rng([world, replicates])
        scores = np.sort(rng.normal(size=256))[::-1]
        trials = [Trial(i, {}, score=float(s)) for i, s in enumerate(scores[:8])]

        def play(who, replicates, rng=rng):
            shape = (len(who), len(replicates))
            return Played(rng.normal(size=(*shape, 1)) * 0.8 + rng.normal(size=(*shape, N)) * 0.6 * N**0.5, None)

        near = dict(enumerate(rng.normal(size=8)))
        found = contest(trials, near, Finals(8, replicates), play, mode="max", scores=scores[:, None]).estimate
        errors.append(found.mean)
        hits.append(found.low <= 0 <= found.high)
        raw.append(scores[0])
    assert np.mean(raw) > 2.5  # in standard errors of one score
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(200)
    assert 0.9 <= np.mean(hits) <= 0.99


def test_with_a_holdout_the_estimate_is_unbiased_where_examples_suit_some_configs():
    errors, hits, raw = [], [], []
    for world in range(200):
        rng = np.random.default_rng([world, 7])
        suits = 6 * rng.normal(size=(256, 2 * N))  # the same for every seed; all configs are equally good
        score = suits[:, :N].mean(1) + 0.3 * rng.normal(size=256)
        best = np.argsort(-score)[:8]
        trials = [Trial(int(i), {}, score=float(score[i])) for i in best]

        def play(who, replicates, rng=rng, suits=suits[best]):
            found = suits[who][:, None] + 0.3 * rng.normal(size=(len(who), len(replicates), 1))
            return Played(found[:, :, :N], found[:, :, N:])

        near = {t.trial_id: float(value) for t, value in zip(trials, rng.normal(size=8), strict=True)}
        found = contest(trials, near, Finals(8, 8), play, mode="max", scores=np.sort(score)[::-1, None]).estimate
        assert found.held_out
        errors.append(found.mean)
        hits.append(found.low <= 0 <= found.high)
        raw.append(score[best[0]])
    assert np.mean(raw) / np.hypot(6 / N**0.5, 0.3) > 2.5  # in standard errors of one score
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(200)
    assert 0.9 <= np.mean(hits) <= 0.99
