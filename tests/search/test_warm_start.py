"""What one search hands to the next: configs to include, trials to learn from, ranges to widen."""

import itertools

import numpy as np
import pytest
from small_search import search, shared

import jaxhp as hp
from jaxhp.search.warm_start import recalled
from jaxhp.selection.edges import best_at_edges
from jaxhp.strategies import Narrowing, Random
from jaxhp.trials import Status, Trial

SPACE = hp.Space(lr=hp.LogUniform(1e-3, 10.0))


def trial(number, score, status=Status.COMPLETE, **config):
    return Trial(number, config, status=status, score=score)


@pytest.fixture(scope="module")
def first():
    return shared("random").run(quiet=True)


def test_included_configs_are_the_first_trials_and_the_rest_is_the_strategys(first):
    wanted = [{"lr": 0.25}, {"lr": 0.5}]
    result = search("random", include=wanted).run(quiet=True)
    by_id = {t.trial_id: t.config["lr"] for t in result.trials}
    assert [by_id[i] for i in (0, 1)] == pytest.approx([0.25, 0.5], rel=1e-5)
    before = {t.trial_id: t.config["lr"] for t in first.trials}
    assert {i: lr for i, lr in by_id.items() if i > 1} == {i: lr for i, lr in before.items() if i > 1}


def test_warm_start_is_told_before_the_first_round(first):
    assert first.mode == "min"
    strategy = Narrowing(population=9, rounds=1)
    warm = search(strategy=strategy, warm_start=first.trials).run(quiet=True)
    cold = search(strategy=strategy).run(quiet=True)
    best = np.log(first.best.config["lr"])
    away = {name: [abs(np.log(t.config["lr"]) - best) for t in r.trials] for name, r in (("w", warm), ("c", cold))}
    assert np.median(away["w"]) < np.median(away["c"]) / 2


def test_resume_refuses_other_seeds_of_the_search(first, tmp_path):
    search("random", include=[{"lr": 0.25}], warm_start=first.trials).run(tmp_path, quiet=True)
    with pytest.raises(ValueError, match=r"its include is \[\{'lr': .*its warm_start is"):
        search("random").run(tmp_path, quiet=True)


def test_what_is_recalled_is_signed_and_whole():
    trials = [
        trial(0, 0.3, lr=0.1),
        trial(1, 9.0, Status.DIVERGED, lr=10.0),
        trial(2, 0.1, Status.STOPPED, lr=0.1),
        trial(3, 0.2, lr=50.0),
        trial(4, 0.2, width=3),
    ]
    unit, score, left_out = recalled(SPACE, trials, "min")
    assert unit.tolist() == [[0.5], [1.0]]
    np.testing.assert_array_equal(score, np.array([-0.3, np.nan], np.float32))
    assert left_out == 3


def test_an_edge_is_reported_and_widened():
    space = hp.Space(
        kind=hp.Choice(["a", "b"]),
        lr=hp.LogUniform(1e-4, 1.0),
        width=hp.IntUniform(1, 4),
        step=hp.Uniform(0, 1, when={"kind": "a"}),
    )
    spread = itertools.product([0.25, 0.75], np.linspace(0, 1, 6), [0.1, 0.4, 0.6, 0.9], [0.2, 0.5, 0.8])
    trials = []
    for number, config in enumerate(space.configs(np.array(list(spread), np.float32))):
        good = -np.log(config["lr"]) + 2 * config["width"] - abs(config.get("step", 9) - 0.5)
        trials.append(trial(number, float(good), **config))
    assert best_at_edges(space, trials, "max") == {"lr": -1, "width": 1}
    assert best_at_edges(space, trials, "min") == {"lr": 1, "width": -1}
    wider = space.widened({"lr": -1, "width": 1})
    low = wider.parameters["lr"].low  # type: ignore[attr-defined]
    assert (low, str(wider.parameters["width"])) == (pytest.approx(1e-6), "IntUniform(1, 5)")
    assert recalled(wider, trials, "max").left_out == 0


def test_no_edge_is_reported_where_all_diverged():
    trials = [trial(number, np.nan, Status.DIVERGED, lr=0.1) for number in range(3)]
    assert best_at_edges(SPACE, trials, "max") == {}


def test_summary_tells_of_an_edge(tmp_path):
    space = hp.Space(lr=hp.LogUniform(1e-4, 3e-2))  # the smaller, the better for this task
    result = search("random", space=space).run(tmp_path, quiet=True)
    assert result.edges == {"lr": -1}
    assert "edge      lr: the best lie at the lower end of its range" in result.summary()
    assert hp.Result.load(tmp_path).edges == {"lr": -1}


@pytest.mark.parametrize(
    ("parameter", "side", "expected"),
    [
        (hp.Uniform(0.0, 0.5), 1, "Uniform(0, 0.75)"),
        (hp.Uniform(0.1, 0.5), -1, "Uniform(0, 0.5)"),
        (hp.Uniform(-1.0, 1.0), -1, "Uniform(-2, 1)"),
        (hp.Uniform(-1.0, -0.5), 1, "Uniform(-1, -0.25)"),
        (hp.LogUniform(1e-2, 1.0), 1, "LogUniform(0.01, 10)"),
        (hp.IntUniform(8, 128, log=True), -1, "IntUniform(2, 128, log=True)"),
        (hp.IntUniform(1, 2), 1, "IntUniform(1, 3)"),
    ],
)
def test_widened_ranges(parameter, side, expected):
    assert str(parameter.widened(side)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"include": [{"lr": 50.0}]}, "include: .*expected a value in"),
        ({"include": [{"width": 1}]}, "include: config: expected the parameters lr, got width"),
        ({"include": [{"lr": 0.1}] * 10}, "include: expected at most 9 configs, the first round's trials, got 10"),
        ({"include": ["lr"]}, "include: expected a list of configs, got 'lr' in it"),
        ({"warm_start": [0.3]}, "warm_start: expected trials"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(hp.Error, match=message) as caught:
        search(strategy=Random(population=9), **options)
    assert "\n" not in str(caught.value)


def test_widening_what_has_no_range_is_refused():
    space = hp.Space(kind=hp.Choice([1, 2], static=False), lr=hp.Uniform(0, 1))
    with pytest.raises(ValueError, match="widened: expected a list of numbers in an order"):
        space.widened({"kind": 1})
    with pytest.raises(ValueError, match="edges: expected a parameter's name to -1 or 1, got 'rate': 1"):
        space.widened({"rate": 1})
