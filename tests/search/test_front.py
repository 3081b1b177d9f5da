"""Several objectives and constraints: the front, the finals along it, kills, warm starts, what is refused."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_search import search as plain_search

import jaxhp as hp
from jaxhp.objectives import dominated
from jaxhp.search.signals import Stopped
from jaxhp.strategies import TPE, Pareto, Random

SIZE = 0.5  # what a trial's size is, times its width
X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
Y = np.tanh(X.sum(1))


def task(metric=("error", "size"), mode=("min", "min"), **changes):
    """A regression whose weights count as far as `width` says, which is its size: both cannot be small."""

    def error(params, batch, config):
        return (config["width"] * (batch["x"] @ params["w"]) - batch["y"]) ** 2

    def evaluate(params, batch, config):
        row = jnp.ones(len(batch["y"]))
        return {"error": error(params, batch, config), "size": SIZE * config["width"] * row, "lr": config["lr"] * row}

    parts = {
        "init": lambda key, config: {"w": 0.1 * jax.random.normal(key, (4,))},
        "loss": lambda params, batch, key, config: jnp.mean(error(params, batch, config)),
        "evaluate": evaluate,
        "optimizer": lambda config: optax.sgd(config["lr"]),
        "train": {"x": X[:30], "y": Y[:30]},
        "valid": {"x": X[30:], "y": Y[30:]},
    }
    return hp.Task(**(parts | changes), batch_size=10, metric=metric, mode=mode)


SPACE = hp.Space(lr=hp.LogUniform(1e-3, 1.0), width=hp.Uniform(0.0, 1.0))
STRATEGY = Pareto(population=6, rounds=3, inner=TPE())


def search(strategy=STRATEGY, finals=None, epoch="last", seed=0, **of):
    of = task(**of)
    return hp.Search(of, SPACE, strategy, epochs=3, tile=2, finals=finals, epoch=epoch, seed=seed)


@functools.cache
def finished():
    return search(finals=hp.Finals(3, 4)).run(quiet=True)


def test_the_front_is_what_no_trial_beats():
    result = finished()
    trials = result.trials
    points = -np.stack([trials.score, [t.curve["valid_size"][-1] for t in trials]], 1)
    assert set(result.front.trial_id) == set(trials.trial_id[~dominated(points)])
    assert len(result.front) >= 3
    assert np.all(np.diff(result.front.score) >= 0)
    assert result.best.trial_id == result.front[0].trial_id == result.raw_best.trial_id
    assert result.objectives.names == ("error", "size")
    assert (result.metric, result.mode) == ("error", "min")
    found = {row["trial_id"]: row for row in result.rows()}
    for trial in result.front:
        row = found[trial.trial_id]
        assert row["front"]
        assert row["feasible"]
        assert row["metrics"]["size"] == pytest.approx(SIZE * trial.config["width"], rel=1e-6)


def test_the_finals_measure_the_front_on_fresh_replicates():
    result = finished()
    assert len(result.measured) == 3
    assert not result.finalists
    assert result.measured[0].trial_id == result.best.trial_id
    assert {one.trial_id for one in result.measured} <= set(result.front.trial_id)
    for one in result.measured:
        trial = result.trials[int(np.flatnonzero(result.trials.trial_id == one.trial_id)[0])]
        error, size = one.estimates["error"], one.estimates["size"]
        fresh = result.finals[one.trial_id]
        assert (one.replicates, error.replicates, error.examples, error.n_tried) == (4, 4, 10, 18)
        assert error.mean == pytest.approx(fresh.mean(), rel=1e-5)
        assert error.low < error.mean < error.high
        assert not np.any(np.isin(fresh, trial.replicate_scores))
        # a number that neither seeds nor examples change is known exactly
        assert size.mean == size.low == size.high == pytest.approx(SIZE * trial.config["width"], rel=1e-6)
    assert result.estimate == result.measured[0].estimates["error"]
    assert "not taken off" in result.estimate.basis
    assert "front" in result.summary()
    assert "measured" in result.summary()
    assert "size" in result.table()


@pytest.mark.slow
def test_a_holdout_is_what_the_front_is_measured_on():
    result = search(strategy=Random(population=4), finals=hp.Finals(2, 4, holdout=4)).run(quiet=True)
    for one in result.measured:
        assert all(e.held_out and e.examples == 4 for e in one.estimates.values())
        assert "not taken off" not in one.estimates["error"].basis


def test_a_search_that_was_stopped_goes_on_with_the_same_vectors(tmp_path):
    whole = finished()
    rounds = []

    def stop(event):
        if type(event).__name__ == "RoundFinished" and event.round < 2:
            rounds.append(event.round)
            raise Stopped(f"after round {event.round}")

    of = search(finals=hp.Finals(3, 4))
    for expected in ([0], [0, 1]):
        with pytest.raises(Stopped):
            of.run(tmp_path, quiet=True, watch=[stop])
        assert rounds == expected
    result = of.run(tmp_path, quiet=True)
    assert result.digest == whole.digest
    read = hp.Result.load(tmp_path)
    assert read.digest == whole.digest
    assert read.objectives == whole.objectives
    assert read.front.trial_id.tolist() == whole.front.trial_id.tolist()
    assert read.measured == whole.measured
    few = hp.Result.load(tmp_path, 2, curves=False)  # the front is of all trials, however few are shown
    assert len(few.trials) == 2
    assert few.front.trial_id.tolist() == whole.front.trial_id.tolist()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["objectives"]["metric"] == ["error", "size"]
    assert manifest["metric"] == "error"
    with pytest.raises(hp.Error, match=r"dir: .* holds another search: its objectives.mode is"):
        search(finals=hp.Finals(3, 4), mode=("min", "max")).run(tmp_path, quiet=True)


@pytest.mark.slow
def test_constraints_come_before_the_score():
    """Of one objective: what breaks a constraint is never chosen, however good it is, nor a finalist."""
    of = {"metric": "error", "mode": "min", "constraints": {"size": hp.AtLeast(0.2), "lr": hp.AtMost(2.0)}}
    result = search(strategy=Random(population=9), finals=hp.Finals(2, 4), **of).run(quiet=True)
    sizes = np.asarray([t.curve["valid_size"][-1] for t in result.trials])
    kept, scores = sizes >= 0.2, result.trials.score
    assert 2 < kept.sum() < 9
    assert np.all(np.diff(kept.astype(int)) <= 0)  # they come first
    assert np.all(np.diff(sizes[~kept]) <= 0)  # then the nearest
    assert result.raw_best.score == scores[kept].min() > scores.min()
    assert result.front.trial_id.tolist() == [result.raw_best.trial_id]
    assert {f.trial_id for f in result.finalists} == set(result.trials.trial_id[:2])
    assert all(one.estimates["size"].mean >= 0.2 for one in result.measured)
    assert set(result.measured[0].estimates) == {"size", "lr"}  # the score chose, so its estimate is another's
    assert result.estimate.n_tried == 9


@pytest.mark.slow
def test_nothing_keeps_the_constraints():
    of = {"metric": "error", "mode": "min", "constraints": {"size": hp.AtLeast(3.0)}}
    result = search(strategy=Random(population=4), finals=hp.Finals(2, 4), **of).run(quiet=True)
    widths = {t.trial_id: t.config["width"] for t in result.trials}
    assert not len(result.front)
    assert result.best.trial_id == max(widths, key=lambda i: widths[i])
    assert "no trial keeps size at least 3" in result.summary()
    assert not result.measured


@pytest.mark.slow
def test_a_nan_in_another_objective_keeps_a_trial_off_the_front():
    def evaluate(params, batch, config):
        row = jnp.ones(len(batch["y"]))
        size = jnp.where(config["width"] > 0.5, jnp.nan, config["width"])
        return {"error": (config["width"] - 1) ** 2 * row, "size": size * row}

    of = dataclasses.replace(task(), evaluate=evaluate, optimizer=lambda config: optax.sgd(0.1 * config["lr"]))
    result = hp.Search(of, SPACE, Random(population=8), epochs=1, tile=2, finals=None).run(quiet=True)
    widths = np.asarray([t.config["width"] for t in result.trials])
    assert (widths > 0.5).any()
    assert result.trials.healthy().all()
    assert set(result.front.trial_id) == set(result.trials.trial_id[widths <= 0.5])


def test_an_earlier_search_tells_its_vectors():
    earlier = finished().trials
    warm = dataclasses.replace(search(), warm_start=earlier)
    _unit, score, violation = warm.recalled.told
    assert score.shape == (18, 2)
    assert not violation.any()
    np.testing.assert_allclose(score[:, 1], [-SIZE * t.config["width"] for t in earlier], rtol=1e-6)
    assert warm.manifest()["warm_start"] is not None
    without = [dataclasses.replace(t, curve={"valid_error": t.curve["valid_error"]}) for t in earlier]
    with pytest.raises(hp.Error, match="18 without a curve of size"):
        dataclasses.replace(search(), warm_start=without)


@pytest.mark.parametrize("strategy", [hp.Halving(population=9), hp.PBT(population=4), hp.TPE(population=4), hp.Auto(4)])
def test_strategies_that_serve_one_objective_are_refused(strategy):
    with pytest.raises(hp.Error, match=r"strategy: expected one that serves several objectives .*Pareto"):
        search(strategy=strategy)
    with pytest.raises(hp.Error, match="strategy: expected one that serves constraints"):
        search(strategy=strategy, metric="error", mode="min", constraints={"size": hp.AtMost(1.0)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": ("error", "depth")}, "Task metric: expected one of error, lr, size, got 'depth'"),
        ({"constraints": {"depth": hp.AtMost(1)}}, "Task constraints: expected one of error, lr, size, got 'depth'"),
    ],
)
def test_names_of_metrics_are_checked(changes, message):
    with pytest.raises(hp.Error) as raised:
        search(**changes)
    assert str(raised.value) == message


def test_one_objective_is_as_it_was():
    """No trace in the manifest, and `replace` of a task keeps what there is."""
    assert "objectives" not in plain_search("random").manifest()
    of = task(constraints={"size": hp.AtMost(1.0)})
    again = dataclasses.replace(of, batch_size=5)
    assert again.objectives == of.objectives
    assert dataclasses.replace(of, metric="size").objectives.names == ("size",)
