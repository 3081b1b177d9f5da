"""Where the best epoch counts, scores, finals, the saved network and the test are all of that epoch.

One weight goes up by `lr` an epoch and the metric is best where it is nearest to 1: about epoch 1 / lr.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxhp as hp
from jaxhp.engine.streams import Keys, key_of
from jaxhp.trials import Proposal

EPOCHS = 12
LR = {4: 0.25, 6: 1 / 6, 8: 0.125, 12: 0.05}  # by the best of 12 epochs


def walk(metric: str = "far", mode: str = "min", seeds: float = 0.0) -> hp.Task:
    """One weight, and as metric its squared distance from 1 plus an example's part, or the same turned round."""
    parts = np.linspace(-0.3, 0.3, 6).astype("f4")

    def evaluate(params, batch, config):
        far = (params["w"] - 1) ** 2 + batch["x"]
        return {"far": far, "fit": -far}

    return hp.Task(
        lambda key, config: {"w": seeds * jax.random.normal(key)},
        lambda params, batch, key, config: -params["w"],
        evaluate,
        lambda config: optax.sgd(config["lr"]),
        train={"x": parts},
        valid={"x": parts},
        test={"x": parts},
        batch_size=6,
        metric=metric,
        mode=mode,
    )


def searched(task: hp.Task, strategy: hp.Strategy, epoch: str = "best", **options) -> hp.Search:
    space = hp.Space(lr=hp.LogUniform(0.01, 0.5))
    include = [{"lr": lr} for lr in LR.values()]
    return hp.Search(task, space, strategy, epochs=EPOCHS, seed=1, include=include, epoch=epoch, **options)


@pytest.mark.parametrize(("metric", "mode"), [("far", "min"), pytest.param("fit", "max", marks=pytest.mark.slow)])
def test_the_score_and_the_network_are_of_the_best_epoch(metric, mode):
    result = searched(walk(metric, mode), hp.Random(4, 1), finals=None).run(quiet=True)
    sign = 1 if mode == "min" else -1
    for trial in result.trials:
        path = (np.arange(1, EPOCHS + 1) * trial.config["lr"] - 1) ** 2
        assert (trial.scored_at, trial.epochs) == (1 + np.argmin(path), EPOCHS)
        np.testing.assert_allclose(trial.score, sign * path.min(), atol=1e-6)
        assert trial.score == trial.curve[f"valid_{metric}"][trial.scored_at - 1]
    best = result.best
    np.testing.assert_allclose(best.params["w"], best.scored_at * best.config["lr"], rtol=1e-6)
    assert best.history[-1].upto == best.scored_at < EPOCHS


def test_finals_and_the_test_are_of_the_epoch_that_the_search_found():
    search = searched(walk(), hp.Random(4, 1), finals=hp.Finals(4, 4))
    result = search.run(quiet=True)
    wanted = {t.trial_id: (t.scored_at * t.config["lr"] - 1) ** 2 for t in result.trials}
    for trial, scores in result.finals.items():
        np.testing.assert_allclose(scores, wanted[trial], atol=1e-6)
    best = result.best  # trained on train and validation data together: two steps an epoch
    np.testing.assert_allclose(result.test(2).mean, (2 * best.scored_at * best.config["lr"] - 1) ** 2, atol=1e-6)


@pytest.mark.slow
def test_finals_go_on_where_the_best_finalist_diverges():
    """Its curve is empty, and says nothing of how long the others are trained."""
    of, mine = walk(), jax.random.normal(key_of(jax.random.key(1), Keys.INIT, 0))

    def evaluate(params, batch, config):
        found = of.evaluate(params, batch, config)
        fresh = (params["own"] != mine) & (config["lr"] > 0.2)
        return {"far": jnp.where(fresh, jnp.nan, found["far"]), "fit": jnp.where(fresh, jnp.nan, found["fit"])}

    broken = replace(
        of,
        init=lambda key, config: {"w": jnp.zeros(()), "own": jax.random.normal(key)},
        evaluate=evaluate,
    )
    result = searched(broken, hp.Random(4, 1), finals=hp.Finals(4, 8)).run(quiet=True)
    first = result.raw_best
    assert (first.config["lr"], first.scored_at) == (0.25, 4)
    assert np.isnan(result.finals[first.trial_id]).all()
    assert result.best.trial_id != first.trial_id
    assert np.isfinite(result.estimate.mean)


@pytest.mark.slow
def test_fresh_replicates_do_not_choose_an_epoch_of_their_own():
    search = searched(walk(seeds=0.5), hp.Random(4, 1), finals=hp.Finals(2, 8))
    result = search.run(quiet=True)
    trials = {t.trial_id: t for t in result.trials}
    for trial, scores in result.finals.items():
        at, lr = trials[trial].scored_at, trials[trial].config["lr"]
        own_best = np.min([(lr * e - 1) ** 2 for e in range(1, EPOCHS + 1)])
        assert np.mean(scores) > own_best + 0.05  # chosen anew, each seed's would come near 0
        assert at in range(1, EPOCHS + 1)


@pytest.mark.slow
def test_the_mean_curve_of_replicates_decides_and_no_call_or_rung_changes_it(tmp_path):
    search = searched(walk(seeds=0.3), hp.Halving(9, eta=3), replicates=3, finals=None)
    result = search.run(tmp_path / "a", quiet=True)
    for trial in result.trials:
        curve = trial.curve["valid_far"]
        assert (trial.score, trial.scored_at) == (curve.min(), 1 + int(curve.argmin()))
        np.testing.assert_allclose(np.mean(trial.replicate_scores), trial.score, atol=1e-6)
    again = search.run(tmp_path / "b", quiet=True, checkpoint_s=0)
    assert again.digest == result.digest
    loaded = hp.Result.load(tmp_path / "a")
    assert loaded.best.scored_at == result.best.scored_at
    np.testing.assert_array_equal(loaded.best.params["w"], result.best.params["w"])


class Inherits:
    """A strategy of one's own whose trials go on with others' weights, as those of PBT do, of which it says nothing."""

    def schedule(self, epochs):
        return hp.Random(4, 2).schedule(epochs)

    def init(self, key, dim, epochs=1):
        return 0

    def ask(self, asked):
        unit = np.linspace(0.1, 0.4, 4, dtype=np.float32)[:, None] + np.float32(0.5 * asked)
        return Proposal(unit, np.full(4, -1) if not asked else np.arange(4), EPOCHS), asked + 1

    def tell(self, asked, proposal, scores):
        return asked


def test_any_strategy_whose_trials_inherit_weights_is_refused():
    with pytest.raises(hp.Error, match=r"epoch: expected 'last' with .*Inherits.* inherit weights, got 'best'"):
        searched(walk(), Inherits(), finals=None).run(quiet=True)


def test_last_stays_the_default_and_what_does_not_fit_is_refused(tmp_path):
    last = searched(walk(), hp.Random(4, 1), epoch="last", finals=None)
    result = last.run(tmp_path, quiet=True)
    for trial in result.trials:
        np.testing.assert_allclose(trial.score, (EPOCHS * trial.config["lr"] - 1) ** 2, rtol=1e-5)
        assert trial.scored_at == EPOCHS
    with pytest.raises(hp.Error, match="holds another search: its epoch"):
        searched(walk(), hp.Random(4, 1), finals=None).run(tmp_path, quiet=True)
    with pytest.raises(hp.Error, match="holds another search: its epoch differs"):
        searched(walk(), hp.Random(4, 1), finals=None).test(tmp_path)
    with pytest.raises(hp.Error, match=r"expected trials that fit.*scored at their last epoch, not their best"):
        searched(walk(), hp.Random(4, 1), warm_start=result)
    with pytest.raises(hp.Error, match="epoch: expected 'last' or 'best', got 'first'"):
        searched(walk(), hp.Random(4, 1), epoch="first")
    with pytest.raises(hp.Error, match="epoch: expected 'last' with PBT"):
        searched(walk(), hp.PBT(4, 2))
