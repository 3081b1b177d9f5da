"""The greedy choice of networks against every ensemble that it could have made, tried by hand."""

import itertools

import numpy as np

from jaxhp.selection.greedy import greedy


def errors(said, truth):
    def with_each(total, count):
        return np.asarray([np.mean(((total + one) / (count + 1) - truth) ** 2) for one in said])

    return with_each


def test_two_that_err_in_opposite_ways_are_better_than_the_best():
    truth = np.zeros(4)
    said = np.stack([truth + 0.9, truth + 1.0, truth - 1.0])
    assert greedy(said, errors(said, truth), 3, "min") == [0, 2]  # -0.05 together; a third makes it worse
    assert greedy(said[:2], errors(said[:2], truth), 1, "min") == [0]
    assert greedy(-said, lambda total, count: -errors(-said, truth)(total, count), 3, "max") == [0, 2]


def test_of_equals_the_mean_of_most_is_taken():
    """Of four networks with the same accuracy on all ensembles, each once; and the one that makes it worse not."""

    def accuracy(total, count):
        return np.asarray([1.0, 1.0, 0.5, 1.0, 1.0])

    assert greedy(np.zeros((5, 2)), accuracy, 4, "max") == [0, 1, 3, 4]
    assert greedy(np.zeros((5, 2)), accuracy, 6, "max") == [0, 1, 3, 4, 0, 1]


def test_weights_come_of_repetition():
    truth = np.zeros(3)
    said = np.stack([truth + 0.5, truth - 1.0])
    assert greedy(said, errors(said, truth), 3, "min") == [0, 1, 0]  # 0.5 + 0.5 - 1 = 0


def test_each_step_is_the_best_there_is():
    rng = np.random.default_rng(3)
    truth = rng.normal(size=30)
    said = truth + rng.normal(size=(6, 30)) * rng.uniform(0.5, 2, (6, 1))
    chosen = greedy(said, errors(said, truth), 6, "min")

    def error(some):
        return np.mean((said[list(some)].mean(0) - truth) ** 2)

    assert chosen[0] == min(range(6), key=lambda one: error([one]))
    for length in range(1, len(chosen)):
        assert chosen[length] == min(range(6), key=lambda one: error([*chosen[:length], one]))
    best = min(error(some) for k in (1, 2, 3) for some in itertools.combinations_with_replacement(range(6), k))
    assert best <= error([chosen[0]]) * 0.9  # there is something to gain
    assert error(chosen) < error([chosen[0]])


def test_what_is_not_finite_is_not_chosen():
    assert greedy(np.zeros((2, 1)), lambda total, count: np.asarray([np.nan, 1.0]), 1, "max") == [1]
    assert greedy(np.zeros((2, 1)), lambda total, count: np.full(2, np.nan), 2, "max") == []
