"""A strategy as Optuna's sampler: trials get its points in turn, and it is told what the study knows."""

import pickle
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import optuna
import pytest

import jaxhp as hp
from jaxhp.trials import Proposal, Rung

SPACE = hp.Space(lr=hp.LogUniform(1e-4, 1.0), width=hp.IntUniform(4, 64))


class Notes(NamedTuple):
    asked: int
    unit: np.ndarray  # f32[N, D], told
    score: np.ndarray


@dataclass(frozen=True)
class Ladder:
    """Proposes rungs of a ladder, and keeps what it is told."""

    population: int = 3

    def schedule(self, epochs):
        return (Rung(self.population, epochs),)

    def init(self, key, dim, epochs=1):
        return Notes(0, np.zeros((0, dim), np.float32), np.zeros(0, np.float32))

    def ask(self, state):
        rungs = (np.arange(state.asked, state.asked + self.population) % 32 + 0.5) / 32
        unit = np.repeat(rungs[:, None], state.unit.shape[1], 1).astype(np.float32)
        return Proposal(unit, np.full(self.population, -1), 1), state._replace(asked=state.asked + self.population)

    def tell(self, state, proposal, scores):
        unit = np.concatenate([state.unit, proposal.unit])
        return state._replace(unit=unit, score=np.concatenate([state.score, np.asarray(scores)]))


def objective(trial):
    lr, width = trial.suggest_float("lr", 1e-4, 1.0, log=True), trial.suggest_int("width", 4, 64)
    momentum = trial.suggest_float("momentum", 0, 0.9) if trial.number % 3 else 0.0  # as under a condition
    trial.report(lr, 1)
    if trial.number == 5:
        raise optuna.TrialPruned
    if trial.number == 6:
        raise ArithmeticError
    return lr + momentum + width


def study_of(strategy: Any, n_trials: int, seed: int = 0, **options) -> optuna.Study:
    study = optuna.create_study(sampler=hp.optuna.Sampler(strategy, seed=seed), **options)
    study.optimize(objective, n_trials=n_trials, catch=ArithmeticError)
    return study


def test_trials_get_its_points_and_it_is_told_how_they_went():
    study = study_of(Ladder(), 13)
    asked = study.trials[1:]  # the first has nothing in common with earlier ones
    for place, trial in enumerate(asked):
        config = SPACE.config(np.full(2, (place + 0.5) / 32))
        assert {name: trial.params[name] for name in config} == config
    sampler: Any = study.sampler
    known = sampler._asked.state
    assert known.unit.tolist() == [
        SPACE.unit({name: t.params[name] for name in ("lr", "width")}).tolist() for t in study.trials[:10]
    ]
    values = [t.value for t in study.trials[:10]]
    values[5], values[6] = (
        study.trials[5].params["lr"],
        np.nan,
    )  # the last value of a pruned trial, none of a failed one
    np.testing.assert_array_equal(known.score, -np.asarray(values, np.float32))


def test_one_trial_at_a_time_a_seed_gives_the_same_study():
    first, again, other = (study_of(Ladder(), 12, seed=seed) for seed in (0, 0, 1))
    assert [t.params for t in first.trials] == [t.params for t in again.trials]
    drawn = [[t.params["momentum"] for t in s.trials if "momentum" in t.params] for s in (first, other)]
    assert drawn[0] != drawn[1]
    assert len(set(drawn[0])) == len(drawn[0])


def test_it_goes_on_with_a_study_that_others_began():
    study = study_of(Ladder(), 4)
    study.sampler = pickle.loads(pickle.dumps(hp.optuna.Sampler(Ladder())))
    study.optimize(objective, n_trials=1, catch=ArithmeticError)
    sampler: Any = study.sampler
    assert len(sampler._asked.state.score) == 4


def test_several_threads_share_it():
    study = optuna.create_study(sampler=hp.optuna.Sampler(Ladder()))
    study.optimize(objective, n_trials=12, n_jobs=3, catch=ArithmeticError)
    assert len(study.trials) == 12


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [hp.Auto(population=4, rounds=8), hp.Sobol(population=4, rounds=8)], ids=repr)
def test_strategies_of_jaxhp_find_more_than_chance(strategy):
    def bowl(trial):
        return (trial.suggest_float("x", -5, 5) - 2) ** 2 + (trial.suggest_float("y", -5, 5) + 1) ** 2

    study = optuna.create_study(sampler=hp.optuna.Sampler(strategy))
    study.optimize(bowl, n_trials=30)
    chance = np.pi * study.best_value / 100  # of a random point to be as good
    assert chance < 0.1  # which 30 random points miss once in 25 times; a grid of 30 never
    assert len({tuple(t.params.values()) for t in study.trials}) == 30


@pytest.mark.slow
def test_pareto_serves_several_objectives():
    sampler = hp.optuna.Sampler(hp.Pareto(population=4, rounds=3, inner=hp.TPE()))
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
    study.optimize(lambda t: (t.suggest_float("x", 0, 1), t.suggest_float("y", 0, 1)), n_trials=10)
    assert len(study.trials) == 10


BAD = {
    "a class": (lambda: hp.optuna.Sampler(hp.Auto), "strategy: expected a strategy such as hp.Auto(population=8)"),
    "rungs": (
        lambda: hp.optuna.Sampler(hp.Halving()),
        "strategy: expected one whose trials train to their end, as Optuna's do, got Halving(",
    ),
    "generations": (
        lambda: hp.optuna.Sampler(hp.PBT()),
        "strategy: expected one whose trials train to their end, as Optuna's do, got PBT(",
    ),
    "a seed": (lambda: hp.optuna.Sampler(Ladder(), seed=-1), "seed: expected at least 0, got -1"),
    "several objectives": (
        lambda: optuna.create_study(directions=["minimize"] * 2, sampler=hp.optuna.Sampler(Ladder())).optimize(
            lambda t: (t.suggest_float("x", 0, 1), 0.0), n_trials=3
        ),
        "strategy: expected hp.Pareto() for a study of several objectives, got Ladder(",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_said_in_one_line(case):
    make, message = BAD[case]
    with pytest.raises(hp.Error) as error:
        make()
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
