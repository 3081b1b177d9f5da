"""Searches of a loop, all of whose numbers are known in closed form."""

import jax
import numpy as np
import plain_loop
import pytest
from crash import Killed, dying
from scipy import stats
from small_loop import LOOP, SAMPLES, Walk, drawn, known, shared
from small_search import Shared, search

import jaxhp as hp
from jaxhp.engine.streams import Keys
from jaxhp.report.page import write_report
from jaxhp.selection.contest import Played, contest
from jaxhp.trials import Status, Trial


class InWaves(Shared):
    at_most = 2


@pytest.fixture(scope="module")
def runs():
    """A result of each kind of strategy, all of one compilation."""
    return {kind: shared(kind).run(quiet=True) for kind in ("random", "halving", "pbt")}


@pytest.mark.parametrize("kind", ["random", "halving", "pbt"])
def test_every_score_is_the_one_known(kind, runs):
    check_scores(runs[kind])
    assert kind != "random" or runs[kind].trials.having(Status.DIVERGED).any()


@pytest.mark.slow  # the strategy compiles longer than the loop
def test_a_model_finds_the_best(runs):
    result = shared("random", strategy=hp.GP(9, rounds=4)).run(quiet=True)
    check_scores(result)
    assert abs(result.best.config["lr"] - 0.5) < 0.3  # where one step reaches the bottom


def check_scores(result):
    for trial in result.trials:
        budgets = [budget for budget in (3, 6, 9) if budget <= trial.epochs]
        schedule = plain_loop.stages(result.trials, trial.trial_id, budgets or [trial.epochs])
        _, heights = known(schedule)
        np.testing.assert_allclose(trial.curve["valid_height"], heights, rtol=2e-3, atol=1e-4)
        if np.isnan(heights[-1]):
            assert trial.status is Status.DIVERGED
            assert trial.diverged_at == np.flatnonzero(np.isnan(heights))[0] + 1
        else:
            np.testing.assert_allclose(trial.score, heights[-1], rtol=2e-3, atol=1e-4)
            np.testing.assert_array_equal(trial.curve["valid_steps"], np.arange(1, len(heights) + 1))


def test_the_best_is_the_one_that_is_known_to_be(runs):
    """All trials of a replicate are measured with one key: the noise of that orders nothing."""
    trials = runs["random"].trials
    heights = {trial.trial_id: known([(trial.config["lr"], 9)])[1][-1] for trial in trials}
    assert runs["random"].best.trial_id == min((id for id in heights if np.isfinite(heights[id])), key=heights.get)


def test_the_error_of_a_score_is_that_of_its_samples(runs):
    best = runs["random"].best
    samples = 0.1 * drawn(Keys.EVALUATE, 0, best.epochs - 1)
    assert best.stderr == pytest.approx(stats.sem(samples), rel=1e-4)
    assert len(samples) == SAMPLES


def test_the_best_state_is_what_init_made_both_times(tmp_path, runs):
    result = shared("random").run(tmp_path, quiet=True)
    assert result.digest == runs["random"].digest
    best = result.best
    x, _ = known([(best.config["lr"], 9)])
    for found in (best.params, shared("random").run(tmp_path, quiet=True).best.params):
        assert isinstance(found, Walk)
        np.testing.assert_allclose(found.x, x, rtol=1e-3, atol=1e-5)
        assert (found.steps, found.steps.dtype, found.moved.dtype) == (9, np.int32, bool)
        assert found.moved.all()
        assert np.isnan(found.never)


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        ("pbt", "step done"),
        pytest.param("halving", "step done", marks=pytest.mark.slow),
        pytest.param("pbt", "round finished", marks=pytest.mark.slow),
    ],
)
def test_a_search_that_is_killed_ends_the_same(kind, point, tmp_path, monkeypatch, runs):
    monkeypatch.setattr(Shared, "watch", (dying(point, 2),))
    with pytest.raises(Killed):
        shared(kind).run(tmp_path, quiet=True, checkpoint_s=0)
    monkeypatch.setattr(Shared, "watch", ())
    assert shared(kind).run(tmp_path, quiet=True, checkpoint_s=0).digest == runs[kind].digest


def test_the_number_of_devices_changes_no_bit(runs):
    assert len(jax.local_devices()) == 2
    one = search("halving", task=LOOP)
    assert one.run(quiet=True, devices=jax.local_devices()[:1]).digest == runs["halving"].digest


@pytest.mark.slow
def test_waves_change_no_bit(runs):
    assert search("halving", task=LOOP, kind_of=InWaves).run(quiet=True).digest == runs["halving"].digest


def test_finals_rest_on_fresh_seeds_alone(tmp_path):
    result = shared("random", finals=hp.Finals(1, 8)).run(tmp_path, quiet=True)
    lr = result.best.config["lr"]
    fresh = np.asarray([known([(lr, 9)], replicate)[1][-1] for replicate in range(1, 9)])
    np.testing.assert_allclose(result.finals[result.best.trial_id], fresh, rtol=1e-4, atol=1e-5)
    choosing, estimating = fresh[:4], fresh[4:]  # the spread of both tells of the mean of the second
    spread = (choosing.var(ddof=1) + estimating.var(ddof=1)) / 2
    low, high = stats.t.interval(0.95, 6, estimating.mean(), np.sqrt(spread / 4))
    found = result.estimate
    np.testing.assert_allclose(
        (found.mean, found.low, found.high), (estimating.mean(), low, high), rtol=1e-3, atol=1e-6
    )
    assert (found.examples, found.correction) == (0, 0)
    assert found.basis == "4 fresh seeds, which are the only noise; 18 trials tried"
    assert f"({found.basis})" in result.summary()
    shown = write_report(tmp_path).read_text()
    assert "4 fresh seeds, which are the only noise; 18 trials tried" in shown
    assert "none: it is a loop" in shown
    with pytest.raises(hp.Error, match="test: a Loop has no test data; its finals, on fresh seeds"):
        result.test()


def test_the_best_epoch_may_count():
    result = shared("random", finals=hp.Finals(1, 6), epoch="best").run(quiet=True)
    for trial in result.trials:
        heights = known([(trial.config["lr"], 9)])[1]
        if trial.status is not Status.DIVERGED:
            np.testing.assert_allclose(trial.score, heights.min(), rtol=2e-3, atol=1e-4)
    best = result.best
    assert best.scored_at < 9
    fresh = [known([(best.config["lr"], best.scored_at)], replicate)[1][-1] for replicate in range(4, 7)]
    np.testing.assert_allclose(result.estimate.mean, np.mean(fresh), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(best.params.x, known([(best.config["lr"], best.scored_at)])[0], rtol=1e-3, atol=1e-5)


def test_their_interval_covers_the_truth():
    """Of 8 equal finalists among 64 trials, whose seeds' luck is normal: the best mean is too good, this is not."""
    rng, covered, off = np.random.default_rng(0), 0, []
    for _ in range(150):
        scores = np.sort(rng.normal(size=64))[::-1]
        trials = [Trial(i, {}, score=score, replicate_scores=np.asarray([score])) for i, score in enumerate(scores)]
        near = {i: float(value) for i, value in enumerate(rng.normal(size=8))}
        fresh = rng.normal(size=(8, 16, 1))
        found = contest(
            trials[:8],
            near,
            hp.Finals(8, 16),
            lambda who, replicates, fresh=fresh: Played(fresh[list(who)][:, list(replicates)], None),
            mode="max",
            scores=scores[:, None],
            examples=False,
        ).estimate
        assert found.correction == 0
        covered += found.low <= 0 <= found.high
        off.append(found.mean)
    assert 0.91 <= covered / 150 <= 0.98
    assert abs(np.mean(off)) < 3 * 8**-0.5 / 150**0.5


def test_static_groups_of_a_factory_and_warm_start(runs):
    def make(static):
        return hp.Loop(
            lambda key, config: {"x": jax.numpy.ones(static["size"])},
            lambda state, key, config: {"x": (1 - config["lr"]) * state["x"]},
            lambda state, key, config: {"height": state["x"].sum()},
            metric="height",
            mode="min",
        )

    configs = [{"size": size, "lr": lr} for size in (1, 3) for lr in (0.5, 0.25)]
    found = hp.score(make, configs, epochs=2)
    np.testing.assert_allclose(found, [c["size"] * (1 - c["lr"]) ** 2 for c in configs], rtol=1e-6)
    space = hp.Space(lr=hp.LogUniform(1e-3, 10.0))
    warm = hp.Search(LOOP, space, hp.TPE(9, rounds=2), epochs=9, warm_start=runs["random"])
    assert len(warm.recalled.score) == 18
    plan = warm.plan()
    assert plan.seconds is None
    assert "how long a loop takes is not known before it runs" in str(plan)
