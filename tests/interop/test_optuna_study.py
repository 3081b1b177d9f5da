"""Optuna reads the study back: the same best trial, the same parameters, curves and states."""

import gc

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from recorded import SPACE, made

import jaxhp as hp
from jaxhp.interop import export


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made(tmp_path_factory.mktemp("optuna") / "halving")


@pytest.fixture(scope="module")
def study(run):
    place, written, left_out = export(run, "optuna")
    assert (written, left_out) == (27, 2)
    storage = optuna.storages.RDBStorage(f"sqlite:///{place}")
    yield optuna.load_study(study_name="halving", storage=storage)
    storage.remove_session()
    storage.engine.dispose()


def test_optuna_finds_the_same_best_trial(run, study):
    best = hp.Result.load(run).raw_best
    assert study.best_trial.number == study.best_trial.user_attrs["trial_id"] == best.trial_id
    assert study.best_value == best.score
    assert study.direction is optuna.study.StudyDirection.MAXIMIZE
    assert study.best_params == {name: best.config[name] for name in study.best_params}
    assert study.user_attrs["fixed"] == {"batch": 100}


def test_states_curves_and_distributions_are_the_trials(run, study):
    state = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "diverged": TrialState.FAIL}
    trials = {t.trial_id: t for t in hp.Result.load(run).trials}
    assert {t.state for t in study.trials} == set(state.values())
    for found in study.trials:
        trial = trials[found.number]
        assert found.state is state[str(trial.status)]
        assert list(found.intermediate_values) == list(range(1, trial.epochs + 1))
        np.testing.assert_array_equal(list(found.intermediate_values.values()), trial.curve["valid_accuracy"])
        assert found.params == {name: v for name, v in trial.config.items() if name != "batch"}
        assert found.distributions["lr"] == optuna.distributions.FloatDistribution(1e-5, 1.0, log=True)
        assert found.distributions["width"] == optuna.distributions.IntDistribution(4, 64, log=True)
        assert found.distributions["kind"] == optuna.distributions.CategoricalDistribution(("sgd", "adam"))
        assert ("momentum" in found.distributions) == (found.params["kind"] == "sgd")


def test_optuna_can_go_on_from_it(study):
    study.sampler = optuna.samplers.TPESampler(seed=0)
    asked = study.ask(study.best_trial.distributions)
    assert SPACE.parameters["lr"].unit(asked.params["lr"]) >= 0
    study.tell(asked, 0.0)


def test_a_storage_takes_several_searches_each_once(run, tmp_path):
    place = tmp_path / "all.db"
    other = made(tmp_path / "other", mode="min")
    for directory in (run, other):
        export(directory, "optuna", place)
    storage = optuna.storages.RDBStorage(f"sqlite:///{place}")
    assert set(optuna.get_all_study_names(storage)) == {"halving", "other"}
    storage.remove_session()
    storage.engine.dispose()
    with pytest.raises(ValueError, match="has a study named 'other' already"):
        export(other, "optuna", place)


@pytest.mark.filterwarnings("ignore:.*sqlite3.Connection:pytest.PytestUnraisableExceptionWarning")  # Optuna's
def test_what_is_no_storage_is_said(run, tmp_path):
    (tmp_path / "text").write_text("not a database, " * 100)
    with pytest.raises(ValueError, match=r"out: expected a storage of Optuna, got .*text: "):
        export(run, "optuna", tmp_path / "text")
    gc.collect()  # within this test
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(ValueError, match="a link"):
        export(run, "optuna", tmp_path / "link")
    assert not (tmp_path / "target").exists()
