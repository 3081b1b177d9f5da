"""Fronts, constraints and hypervolumes, against closed forms, brute force and Optuna's."""

import itertools

import numpy as np
import pytest

import jaxhp as hp
from jaxhp.objectives import AtLeast, AtMost, Objectives, dominated, hypervolume, objectives_of, spread
from jaxhp.trials import Status, Trial, Trials


def test_dominated_is_what_the_definition_says():
    rng = np.random.default_rng(0)
    for k in (1, 2, 3):
        points = rng.integers(0, 5, (40, k)).astype(float)  # with ties and copies
        expected = [any((q >= p).all() and (q > p).any() for q in points) for p in points]
        assert dominated(points).tolist() == expected


def test_hypervolume_of_a_corner_of_the_ball():
    """The points of a sphere dominate its corner: of a quarter circle pi / 4, of an eighth of a ball pi / 6."""
    angle = np.linspace(0, np.pi / 2, 2001)
    assert hypervolume(np.stack([np.cos(angle), np.sin(angle)], 1), [0, 0]) == pytest.approx(np.pi / 4, abs=1e-3)
    a, b = np.meshgrid(np.linspace(0, np.pi / 2, 41), np.linspace(0, np.pi / 2, 41))
    ball = np.stack([np.cos(a) * np.cos(b), np.sin(a) * np.cos(b), np.sin(b)], -1).reshape(-1, 3)
    assert hypervolume(ball, [0, 0, 0]) == pytest.approx(np.pi / 6, abs=0.03)


def test_hypervolume_by_inclusion_and_exclusion():
    rng = np.random.default_rng(1)
    for k in (1, 2, 3, 4):
        points = rng.random((6, k)) - 0.2  # some below the reference
        boxes = np.maximum(points, 0)
        exact = sum(
            (-1) ** (size + 1) * np.prod(np.min(some, axis=0))
            for size in range(1, 7)
            for some in itertools.combinations(boxes, size)
        )
        assert hypervolume(points, np.zeros(k)) == pytest.approx(exact, rel=1e-12)
    assert hypervolume(np.zeros((0, 2)), [0, 0]) == 0


def test_hypervolume_is_optunas():
    optuna = pytest.importorskip("optuna")
    rng = np.random.default_rng(2)
    for k in (2, 3):
        losses = rng.random((30, k))
        theirs = optuna._hypervolume.compute_hypervolume(losses, np.full(k, 1.1))
        assert hypervolume(-losses, np.full(k, -1.1)) == pytest.approx(theirs, rel=1e-9)


def test_spread_has_the_first_and_covers_most():
    points = np.stack([np.linspace(1, 0, 11), np.linspace(0, 1, 11)], 1)
    assert spread(points, 20).tolist() == list(range(11))
    rows = [0]
    for _ in range(3):
        worth = {row: hypervolume(points[[*rows, row]], [-0.1, -0.1]) for row in range(11) if row not in rows}
        rows.append(max(worth, key=lambda row: worth[row]))
    assert spread(points, 4).tolist() == sorted(rows)


def trial(number, accuracy, size, latency=1.0, status=Status.COMPLETE):
    curve = {"valid_accuracy": [0.0, accuracy], "valid_size": [9e9, size], "valid_latency": [9.0, latency]}
    curve = {name: np.asarray(values, np.float32) for name, values in curve.items()}
    score = float("nan") if status is Status.DIVERGED else accuracy
    return Trial(number, {}, status=status, epochs=2, score=score, curve=curve)


OF = Objectives(("accuracy", "size"), ("max", "min"), {"latency": AtMost(2.0)})


def test_the_front_is_of_feasible_trials_that_were_trained_to_their_end():
    trials = Trials.of(
        [
            trial(0, 0.7, 10),
            trial(1, 0.9, 50),
            trial(2, 0.8, 60),  # 1 dominates it
            trial(3, 0.99, 5, latency=2.5),  # breaks the constraint
            trial(4, 0.98, 5, latency=np.nan),  # nobody knows whether it keeps it
            trial(5, 0.97, np.nan),  # has no second objective
            trial(6, 0.99, 1, status=Status.STOPPED),
            trial(7, 0.99, 1, status=Status.DIVERGED),
        ]
    )
    assert trials.trial_id[OF.front(trials)].tolist() == [1, 0]
    assert OF.violation(trials).tolist() == [0, 0, 0, 0.25, np.inf, 0, 0, 0]
    np.testing.assert_array_equal(OF.scores(trials)[[0, 7]], np.asarray([[0.7, -10], [np.nan, np.nan]], np.float32))
    # given up at a rung it stands behind those that were not, and what breaks a constraint behind all but diverged ones
    assert OF.ranked(trials[[0, 1, 3, 7]]).trial_id.tolist() == [1, 0, 3, 7]


def test_the_epoch_that_counts_is_that_of_the_score():
    best = Trials.of([trial(0, 0.7, 10), trial(1, -0.1, 50)]).ranked_by("accuracy", "max", 2, "best")
    assert OF.values(best, "size").tolist() == np.asarray([10, 9e9], np.float32).tolist()


def test_objectives_are_written_and_read():
    of = Objectives(("a", "b"), ("max", "min"), {"b": AtLeast(-1), "c": AtMost(np.float32(2))})
    assert Objectives.from_json(of.to_json()) == of
    assert of.measured == ("a", "b", "c")
    assert not of.plain
    assert Objectives(("a",), ("max",)).plain


@pytest.mark.parametrize(
    ("metric", "mode", "constraints", "message"),
    [
        (("a", "b"), "max", {}, "Task mode: expected a tuple of 2, one for each metric, got 'max'"),
        (("a", "b"), ("max",), {}, "Task mode: expected a tuple of 2, one for each metric, got ('max',)"),
        (("a",), ("max",), {}, "Task metric: expected a name, or a tuple of at least two, got ('a',)"),
        (("a", "a"), ("max", "min"), {}, "Task metric: expected different names, got ('a', 'a')"),
        (("a", "b"), ("max", "best"), {}, "Task mode: expected 'max' or 'min', got ('max', 'best')"),
        ("a", ("max", "min"), {}, "Task mode: expected 'max' or 'min', got ('max', 'min')"),
        (3, "max", {}, "Task metric: expected a name, or a tuple of at least two, got 3"),
        (
            "a",
            "max",
            {"b": 2.0},
            "Task constraints: expected a dict of metric to hp.AtMost or hp.AtLeast, got {'b': 2.0}",
        ),
    ],
)
def test_what_does_not_fit_is_refused(metric, mode, constraints, message):
    with pytest.raises(hp.Error) as raised:
        objectives_of(metric, mode, constraints)
    assert str(raised.value) == message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "2", True, None])
def test_bounds_are_finite_numbers(value):
    with pytest.raises(hp.Error, match="AtMost: expected a finite number, got"):
        AtMost(value)
