"""What one search hands to the next: configs to include, trials to learn from, ranges to widen."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from small_search import search, shared, task

import jaxhp as hp
from jaxhp.engine.events import RoundFinished
from jaxhp.report.page import write_report
from jaxhp.search.experiment import _smaller
from jaxhp.search.warm_start import recalled
from jaxhp.selection.edges import best_at_edges
from jaxhp.store.ledger import Ledger
from jaxhp.strategies import Narrowing, Random
from jaxhp.trials import Status, Trial

SPACE = hp.Space(lr=hp.LogUniform(1e-3, 10.0))


def trial(number, score, status=Status.COMPLETE, told=("error", "min", 9), **config):
    metric, mode, epochs = told
    return Trial(number, config, status=status, score=score, metric=metric, mode=mode, epochs=epochs)


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
    unit, score, left_out, _ = recalled(SPACE, trials, "error", "min", 9, "last")
    assert unit.tolist() == [[0.5], [1.0]]
    np.testing.assert_array_equal(score, np.array([-0.3, np.nan], np.float32))
    assert left_out == {"not trained to their end": 1, "outside of its space": 2}


def test_only_trials_with_the_same_metric_mode_and_budget_count():
    fits = trial(0, 0.8, told=("accuracy", "max", 50), lr=0.1)
    others = [
        trial(1, 0.3, told=("error", "min", 50), lr=0.1),  # the smaller the better, of another metric
        trial(2, 0.3, told=("accuracy", "min", 50), lr=0.1),
        trial(3, 0.9, told=("accuracy", "max", 2), lr=0.1),  # of a smoke run
        trial(4, 0.9, told=("accuracy", "max", 2), lr=0.2),
        trial(5, np.nan, Status.DIVERGED, told=("accuracy", "max", 2), lr=0.2),
        replace(trial(6, np.nan, Status.DIVERGED, told=("accuracy", "max", 1), lr=10.0), budget=50),  # at a rung
        Trial(7, {"lr": 0.1}, status=Status.COMPLETE, score=0.9),  # by hand, and does not say of what
        trial(8, 0.9, Status.RUNNING, told=("accuracy", "max", 50), lr=0.1),
    ]
    found = recalled(SPACE, [fits, *others], "accuracy", "max", 50, "last")
    np.testing.assert_array_equal(found.score, np.array([0.8, np.nan], np.float32))
    assert found.unit.tolist() == [[0.5], [1.0]]
    assert found.left_out == {
        "ranked by error, not accuracy": 1,
        "whose accuracy is ranked by its min, not its max": 1,
        "of a training of 2 epochs, not 50": 3,
        "without a metric and a mode": 1,
        "not trained to their end": 1,
    }
    with pytest.raises(hp.Error, match="warm_start: expected trials that fit this search, got 0 of 7 earlier trials"):
        recalled(SPACE, [t for t in others if t.trial_id != 6], "accuracy", "max", 50, "last")


def test_recorded_trials_know_their_metric_mode_and_budget(tmp_path):
    told = []
    result = hp.Search.run(shared("halving"), tmp_path, quiet=True, watch=[told.append])
    seen = next(event.trials for event in told if isinstance(event, RoundFinished))
    for trials in (seen, result.trials, hp.Result.load(tmp_path).trials, hp.Result.load(tmp_path, top=2).trials):
        assert {(t.metric, t.mode, t.budget, t.epoch) for t in trials} == {("error", "min", 9, "last")}
    fit = sum(t.status is not Status.STOPPED for t in result.trials)
    for given, parent in (
        (result, tmp_path),
        (tmp_path, tmp_path),
        (str(tmp_path), tmp_path),
        ([*result.trials], None),
    ):
        warm = search("random", warm_start=given)
        assert warm.parent == (parent and str(parent))
        assert len(warm.recalled.score) == fit
        assert warm.recalled.left_out == {"not trained to their end": 9 - fit}


def test_what_is_left_out_is_said_once_in_one_line(first, tmp_path, capsys):
    short = [replace(t, epochs=2, budget=2) for t in first.trials]
    known = SimpleNamespace(trials=[*first.trials, *short], directory=tmp_path / "before")
    search("random", warm_start=known).run(tmp_path)
    line = (
        f"warm start: {len(first.trials)} of {2 * len(first.trials)} earlier trials fit this search; left out are "
        f"{len(short)} of a training of 2 epochs, not 9"
    )
    assert line in " ".join(capsys.readouterr().out.split())
    with Ledger(tmp_path) as ledger:
        assert [event["text"] for event in ledger.events("warning")] == [line]
        assert [event["learns_from"] for event in ledger.events("begun")] == [str(tmp_path / "before")]
    assert f"<span>learns from {tmp_path / 'before'}</span>" in write_report(tmp_path).read_text("utf-8")
    with pytest.raises(hp.Error, match=r"warm_start: .* left out are 18 of a training of 2 epochs, not 9"):
        search("random", warm_start=short)
    other = replace(task(), metric="gain", mode="max", evaluate=lambda params, batch, config: {"gain": batch["y"]})
    with pytest.raises(hp.Error, match=r"warm_start: .* left out are 18 ranked by error, not gain"):
        search("random", task=other, warm_start=first)


def test_a_smoke_run_learns_from_no_trials_of_another_budget(first):
    warm = search(
        strategy=Random(population=9, rounds=2), warm_start=first, include=[{"lr": 0.1 * i} for i in range(1, 10)]
    )
    small = warm.changed(**_smaller(warm))
    assert (small.epochs, len(small.recalled.score), len(small.included.configs)) == (2, 0, 8)


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
    assert not recalled(wider, trials, "error", "min", 9, "last").left_out


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
        ({"warm_start": [0.3]}, "warm_start: expected trials, .* got 0.3 in it"),
        ({"warm_start": 3}, "warm_start: expected trials, .* got 3"),
        ({"warm_start": [np.zeros((9, 9))]}, r"warm_start: expected trials, .* got array\(.*\.\.\. in it"),
        ({"include": [Trial(0, {}, curve={"x": np.zeros(99)})]}, r"include: expected a list of configs, got Trial\("),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(hp.Error, match=message) as caught:
        search(strategy=Random(population=9), **options)
    assert "\n" not in str(caught.value)


def test_widening_what_has_no_range_is_refused():
    space = hp.Space(kind=hp.Choice([1, 2], static=False), lr=hp.Uniform(0, 1))
    with pytest.raises(ValueError, match=r"edges kind: expected a list of numbers in an order, .*; leave it out"):
        space.widened({"kind": 1})
    with pytest.raises(ValueError, match="edges: expected a parameter's name to -1 or 1, got 'rate': 1"):
        space.widened({"rate": 1})
