"""Two methods at equal budgets: of trials whose distribution is known, and of a search."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import jaxhp as hp
from jaxhp.report.result import Result
from jaxhp.store.ledger import Ledger, Round
from jaxhp.trials import Status, Trial, Trials


def result(scores, mode="max", strategy="Random(population=9, rounds=1)", epochs=4, replicates=1, round=0) -> Result:
    """A result of one round with these scores."""
    trials = Trials.of(
        Trial(
            i,
            {"lr": float(i + 1)},
            round=round,
            status=Status.COMPLETE if np.isfinite(score) else Status.DIVERGED,
            epochs=epochs,
            score=float(score),
            replicate_scores=(float(score),) * replicates,
            diverged_at=0 if np.isfinite(score) else 1,
        )
        for i, score in enumerate(scores)
    )
    with Ledger(None, write=True) as ledger:
        ids = trials.trial_id
        ledger.begin(Round(0, epochs, np.zeros((len(ids), 1), np.float32), ids * 0 - 1, ids), trials)
        ledger.finish(0, trials, trials.score, 0.0)
        return Result.of(ledger, "score", mode, budget=epochs, strategy=strategy)


def test_what_is_surely_better_is_said_and_what_is_not_is_not():
    rng = np.random.default_rng(0)
    scores = rng.random(64)
    found = hp.compare(result(scores + 2), result(scores))
    assert found.better[:3].tolist() == [1, 1, 1]
    assert not (found.better == -1).any()
    assert hp.compare(result(scores), result(scores + 2)).better[:3].tolist() == [-1, -1, -1]
    same = hp.compare(result(scores), result(rng.random(64)))
    assert not same.better.any()
    assert "the bounds do not say which is better" in str(same)
    turned = hp.compare(result(-scores, "min"), result(2 - scores, "min"))  # an error that is less is better
    assert turned.better[:3].tolist() == [1, 1, 1]
    np.testing.assert_allclose(turned.a.median, -hp.compare(result(scores), result(scores)).a.median)


def test_a_trial_that_costs_twice_counts_twice():
    """With 64 trials of 4 epochs there are 32 of the other for the same: its curve lies at half the numbers."""
    scores = np.random.default_rng(1).random(64)
    alike, dear = hp.compare(result(scores), result(scores)), hp.compare(result(scores), result(scores, replicates=2))
    assert (dear.a.cost, dear.b.cost, dear.budget[0], dear.budget[-1]) == (4, 8, 8, 256)
    np.testing.assert_array_equal(dear.b.median, alike.b.median[:32])
    np.testing.assert_array_equal(dear.a.median, alike.a.median[1::2])


def test_only_independent_trials_count():
    scores = np.random.default_rng(2).random(12)
    later = result(scores, strategy="Narrowing(population=12, rounds=2)")
    assert hp.compare(later, later).a.trials == 12
    mixed = result(scores, strategy="Narrowing(population=12, rounds=2)")
    mixed.trials = replace(mixed.trials, round=(np.arange(12) % 2).astype(np.int32))
    found = hp.compare(mixed, later)
    assert (found.a.trials, found.a.left_out) == (6, 6)
    assert "a: 6 trials that were asked for by what was found are left out" in str(found)
    broken = hp.compare(result([np.nan] * 6 + [0.5] * 6), later)
    assert broken.a.median[0] == -np.inf  # half of them diverge


CASES: dict[str, tuple[Any, Any, str]] = {
    "another mode": (
        {},
        {"mode": "min"},
        r"compare: expected one metric and mode, got score \(max\) and score \(min\)",
    ),
    "a grid": (
        {},
        {"strategy": "Grid(points=3)"},
        "compare: expected trials drawn at random for b, got those of a grid",
    ),
    "too few": (
        {},
        {"strategy": "TPE()", "round": 1},
        "compare: expected at least 4 trials drawn at random for b, got 0",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_compared_says_why(case):
    a, b, told = CASES[case]
    scores = np.random.default_rng(3).random(9)
    with pytest.raises(hp.Error, match=told):
        hp.compare(result(scores, **a), result(scores, **b))
