import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxhp.trials import Status, Trial, rank, signed, standing


def order(scores, ids=None):
    ids = np.arange(len(scores)) if ids is None else np.asarray(ids)
    return standing(np.asarray(scores, np.float32), np.ones(len(scores), int), ids, "max")


SCORES = st.lists(st.one_of(st.floats(-1e6, 1e6, width=32), st.just(float("nan"))), max_size=30)


@given(SCORES)
def test_order_is_a_permutation_best_first_with_nan_last_and_ties_by_id(scores):
    values = np.asarray(scores, np.float32)
    found = order(values)
    assert sorted(found.tolist()) == list(range(len(values)))
    keys = [(bool(np.isnan(values[i])), 0.0 if np.isnan(values[i]) else -float(values[i]), int(i)) for i in found]
    assert keys == sorted(keys)


@given(SCORES, st.randoms())
def test_the_order_does_not_depend_on_where_trials_stand(scores, random):
    ids = list(range(len(scores)))
    random.shuffle(ids)
    shuffled = np.asarray([scores[i] for i in ids], np.float32)
    there = order(shuffled, ids)
    assert [ids[i] for i in there] == order(np.asarray(scores, np.float32)).tolist()


@given(SCORES)
def test_what_is_not_finite_never_beats_a_number(scores):
    values = np.asarray([*scores, 0.0], np.float32)
    for mode in ("max", "min"):
        turned = signed(np.where(np.isnan(values), np.inf, values), mode)
        assert np.isfinite(turned[order(turned)[0]])


def trial(i, score, epochs=9, status=Status.COMPLETE):
    return Trial(i, {}, score=score, epochs=epochs, status=status)


def test_rank_of_trials():
    trials = [
        trial(0, 0.5),
        trial(1, 0.9, epochs=3, status=Status.STOPPED),
        trial(2, 0.99, status=Status.DIVERGED),
        trial(3, 0.7),
        trial(4, 0.7),
        trial(5, float("nan")),
    ]
    assert [t.trial_id for t in rank(trials, "max")] == [3, 4, 0, 1, 2, 5]
    assert [t.trial_id for t in rank(trials, "min")] == [0, 3, 4, 1, 2, 5]
