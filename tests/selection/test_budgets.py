import numpy as np
import pytest

from jaxhp.selection.budgets import at_full_budget, latest, replayed
from jaxhp.trials import Rung, Trial

NAN = float("nan")


def trained(trial_id, *curve, diverged_at=0, begun=0):
    score = NAN if diverged_at else curve[-1]
    values = {"valid_error": np.asarray(curve, np.float32)}
    return Trial(trial_id, {}, begun, epochs=len(curve), score=score, curve=values, diverged_at=diverged_at)


RUNGS = [Rung(5, 1), Rung(3, 3), Rung(2, 4), Rung(1, 3)]


def test_trials_that_were_given_up_are_compared_as_if_they_had_gone_on():
    trials = [
        trained(0, 9, 8, 6, 2),
        trained(1, 9, 7, 5, 3),
        trained(2, 9, 6, 7),  # from here on the others gained 3
        trained(3, 12),  # to epoch 3 those that went on gained 3 on average, and 3 more from there on
        trained(4, 1, NAN, diverged_at=2),
        trained(5, 9, 9, 6, begun=3),  # was not compared at epoch 1
    ]
    found = at_full_budget(trials, "error", RUNGS)
    expected = [[3, 3, 2], [3, 2, 3], [3, 4, NAN], [6, NAN, NAN], [NAN] * 3, [NAN, 3, NAN]]
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(latest(found)[0], [2, 3, 4, 6, NAN, 3])
    assert latest(found)[1].tolist() == [2, 2, 1, 0, -1, 1]


def test_after_one_budget_scores_are_those_of_the_trials():
    trials = [trained(0, 9, 3), trained(1, 9, 7)]
    assert at_full_budget(trials, "error", [Rung(2, 2)]).tolist() == [[3], [7]]


def halved(rng, trials, counts=(), step=0.5):
    """f64[N, B] scores of a search in which so many go on after each budget."""
    scores = np.full((trials, len(counts) + 1), NAN)
    scores[:, 0] = rng.normal(size=trials)
    for column, count in enumerate(counts):
        on = np.argsort(-np.nan_to_num(scores[:, column], nan=-np.inf))[:count]
        scores[on, column + 1] = scores[on, column] + step * rng.normal(size=count)
    return scores


def test_with_nothing_added_the_same_trials_go_on():
    rng = np.random.default_rng(0)
    scores = halved(rng, 27, (9, 3))
    scores = np.concatenate([scores, np.pad(halved(rng, 6, (2,)), ((0, 0), (1, 0)), constant_values=NAN)])  # a bracket
    score, level = replayed(scores, np.arange(33), np.zeros((2, 33)), rng)
    known, last = latest(scores)
    assert level.tolist() == [last.tolist()] * 2
    assert score.tolist() == [known.tolist()] * 2


def test_a_trial_that_goes_on_instead_of_another_is_scored_as_the_others_that_did():
    rng = np.random.default_rng(1)
    scores = halved(rng, 300, (100,))
    scores[:, 1] = 2 + 0.5 * scores[:, 0] + 0.1 * (scores[:, 1] - scores[:, 0])
    order = np.argsort(-scores[:, 0])
    added = np.zeros((500, 300))
    added[:, order[250]] = 9.0
    score, level = replayed(scores, np.arange(300), added, rng)
    assert level[:, order[250]].all()
    assert not level[:, order[99]].any()
    assert (score[:, order[99]] == scores[order[99], 0]).all()
    gone = score[:, order[250]]
    assert gone.mean() == pytest.approx(2 + 0.5 * scores[order[250], 0], abs=0.1)
    assert gone.std() == pytest.approx(0.05, rel=0.25)
