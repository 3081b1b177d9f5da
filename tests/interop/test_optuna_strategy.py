"""A study that trains with jaxhp is what plain Optuna makes of the same curves, which are known in closed form."""

import dataclasses
import functools
import math
from collections import Counter

import jax.numpy as jnp
import numpy as np
import optuna
import pytest
import small_loop
from optuna.trial import TrialState
from small_search import Shared, search, task

import jaxhp as hp
from jaxhp.engine.events import RoundBegan, RoundFinished

SPACE = hp.Space(lr=hp.LogUniform(1e-3, 10.0))
BATCH, ROUNDS, EPOCHS, STOPS = 9, 2, 9, (1, 2, 4, 9)


def new(storage=None, **options):
    made = {"sampler": optuna.samplers.TPESampler(seed=0), "pruner": optuna.pruners.MedianPruner(n_startup_trials=3)}
    return optuna.create_study(**({"direction": "minimize", "storage": storage} | made | options))


def run(study, dir=None, watch=(), name=None, **options):
    strategy = hp.optuna.Study(study, BATCH, options.pop("rounds", ROUNDS), options.pop("rungs", None), search=name)
    asked = search("random", task=small_loop.LOOP, kind_of=Shared, strategy=strategy, **options)
    asked.watch = watch
    return asked.run(dir, quiet=True)


@functools.cache
def undisturbed():
    study = new()
    return study, run(study)


def told(study):
    """What a study has of its trials."""
    return [(t.number, t.params, t.state, t.values, t.intermediate_values) for t in study.trials]


def by_hand():
    """A study that plain Optuna asks and tells, in step, of the curves of the closed form."""
    study = new()
    for _ in range(ROUNDS):
        alive = [study.ask() for _ in range(BATCH)]
        for trial in alive:
            trial.suggest_float("lr", 1e-3, 10.0, log=True)
        for begun, stop in zip((0, *STOPS), STOPS, strict=False):
            pruned = []
            for epoch in range(begun + 1, stop + 1):
                for trial in alive:
                    height = curve(trial.params["lr"])[epoch - 1]
                    if not math.isnan(height):
                        trial.report(height, epoch)
                        if stop < EPOCHS and trial not in pruned and trial.should_prune():
                            pruned.append(trial)
            left = []
            for trial in alive:
                height = curve(trial.params["lr"])[stop - 1]
                if math.isnan(height):
                    study.tell(trial, state=TrialState.FAIL)
                elif trial in pruned:
                    study.tell(trial, state=TrialState.PRUNED)
                elif stop == EPOCHS:
                    study.tell(trial, height)
                else:
                    left.append(trial)
            alive = left
    return study


def curve(lr):
    trained = SPACE.config(SPACE.unit({"lr": lr}))["lr"]  # to a part in 10**7
    return small_loop.known([(float(np.float32(trained)), EPOCHS)])[1]


def test_it_is_what_optuna_makes_of_the_same_curves():
    study, result = undisturbed()
    expected = by_hand()
    assert len(study.trials) == len(expected.trials) == BATCH * ROUNDS
    for ours, theirs in zip(study.trials, expected.trials, strict=True):
        assert ours.params == pytest.approx(theirs.params, rel=1e-6)
        assert ours.state is theirs.state
        assert list(ours.intermediate_values) == list(theirs.intermediate_values)
        assert [*ours.intermediate_values.values()] == pytest.approx([*theirs.intermediate_values.values()], 1e-3, 1e-3)
    assert {t.state for t in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    words = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "diverged": TrialState.FAIL}
    by_id = {t.user_attrs["trial_id"]: t for t in study.trials}
    for trial in result.trials:
        assert by_id[trial.trial_id].state is words[str(trial.status)]
        assert trial.config["lr"] == pytest.approx(by_id[trial.trial_id].params["lr"], rel=1e-6)
        if trial.status is hp.Status.COMPLETE:
            assert by_id[trial.trial_id].value == trial.score
        else:
            assert trial.epochs < EPOCHS
    assert result.raw_best.score == study.best_value


def test_a_seeded_study_gives_the_same_search_again():
    study, result = undisturbed()
    again = new()
    assert run(again).digest == result.digest
    assert told(again) == told(study)


def stop_at(number):
    def observe(event):
        if isinstance(event, RoundFinished) and event.round == number:
            raise hp.Stopped("here")

    return [observe]


def journal(folder):
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(f"{folder}/study.log"))


def database(folder):
    return f"sqlite:///{folder}/study.db"


@pytest.mark.parametrize(("storage", "number"), [pytest.param(database, 1, marks=pytest.mark.slow), (journal, 4)])
def test_a_search_that_was_cut_off_goes_on_in_its_storage(tmp_path, storage, number):
    """Round `number` is recorded, and not told to the study yet."""
    study, result = undisturbed()
    begun = new(storage(tmp_path), study_name="s")
    with pytest.raises(hp.Stopped):
        run(begun, tmp_path / "run", stop_at(number), "mine")
    assert len(begun.trials) == BATCH * (1 + number // len(STOPS))
    on = new(storage(tmp_path), study_name="s", load_if_exists=True, sampler=begun.sampler)  # which knows its draws
    assert run(on, tmp_path / "run", (), "mine").digest == result.digest
    assert told(on) == told(study)


def test_a_lost_study_is_made_again_of_the_record(tmp_path):
    """And has what was trained where its own sampler would have asked for other points."""
    with pytest.raises(hp.Stopped):
        run(new(), tmp_path / "run", stop_at(2))
    other = new(sampler=optuna.samplers.TPESampler(seed=7))
    result = run(other, tmp_path / "run")
    by_id = {t.user_attrs["trial_id"]: t for t in other.trials if "trial_id" in t.user_attrs}
    assert sorted(by_id) == sorted(result.trials.trial_id.tolist())
    for trial in result.trials:
        assert by_id[trial.trial_id].params["lr"] == pytest.approx(trial.config["lr"], rel=1e-6)
        curve = trial.curve["valid_height"]
        assert [*by_id[trial.trial_id].intermediate_values.values()] == curve[np.isfinite(curve)].tolist()
    assert Counter(t.state.name for t in other.trials)["RUNNING"] == 0


def test_where_the_pruner_gives_up_all_nothing_trains_on():
    study = new(pruner=optuna.pruners.ThresholdPruner(upper=-100.0))
    result = run(study)
    assert {t.last_step for t in study.trials if t.state is TrialState.PRUNED} == {1}
    assert len(result.trials) == BATCH * ROUNDS
    assert set(result.trials.epochs.tolist()) == {1}


def test_points_that_were_not_asked_for_are_in_the_study_as_they_were_trained():
    """A list of three values, of which Optuna asks for some twice, and one that a person asked for."""
    study = new(pruner=optuna.pruners.NopPruner())
    space = hp.Space(lr=hp.Choice([0.1, 0.2, 0.3, 0.4], static=False))
    result = run(study, space=space, include=({"lr": 0.4},), rounds=1)
    trained = [t for t in study.trials if t.state is TrialState.COMPLETE]
    assert {t.user_attrs["trial_id"] for t in trained} == set(result.trials.trial_id.tolist())
    by_id = {trial.trial_id: trial for trial in result.trials}
    for trial in trained:
        assert by_id[trial.user_attrs["trial_id"]].config == trial.params
    assert {t.state for t in study.trials} == {TrialState.COMPLETE, TrialState.FAIL}
    assert {t.params["lr"] for t in trained} == {0.1, 0.2, 0.3, 0.4}


@pytest.mark.slow
def test_several_objectives_and_constraints_are_told():
    def evaluate(params, batch, config):
        error = ((batch["x"] @ params["w"]).prod(-1) - batch["y"]) ** 2
        return {"error": error, "size": jnp.abs(params["w"]).mean() + 0 * error}

    several = {"metric": ("error", "size"), "mode": ("min", "max"), "constraints": {"error": hp.AtMost(0.8)}}
    of = dataclasses.replace(task(), evaluate=evaluate, **several)
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=optuna.samplers.NSGAIISampler(seed=0))
    result = hp.optuna.optimize(study, of, SPACE, batch=9, rounds=1, epochs=2, tile=2, finals=None, quiet=True)
    states, by_id = set(), {trial.trial_id: trial for trial in result.trials}
    for trial in study.trials:
        known = by_id[trial.user_attrs["trial_id"]]
        states.add(trial.state)
        assert (trial.state is TrialState.FAIL) == (known.status is hp.Status.DIVERGED)
        if trial.state is TrialState.COMPLETE:
            error, size = (float(known.curve[f"valid_{name}"][-1]) for name in ("error", "size"))
            assert trial.values == [error, size]
            assert trial.constraints == {"error": pytest.approx(max(error - 0.8, 0) / 0.8, abs=1e-7)}
    assert states == {TrialState.COMPLETE, TrialState.FAIL}
    kept = [t for t in study.trials if t.state is TrialState.COMPLETE and t.constraints["error"] <= 0]
    assert sorted(t.user_attrs["trial_id"] for t in study.best_trials) == sorted(result.front.trial_id.tolist())
    assert kept


def test_trials_that_are_cut_off_fail_and_the_study_knows_its_space():
    def stop(event):
        if isinstance(event, RoundBegan):
            raise hp.Stopped("before anything is compiled")

    study = new()
    study.add_trial(optuna.create_trial(value=0.3, params={"lr": 0.1}, distributions=hp.optuna.distributions(SPACE)))
    with pytest.raises(hp.Stopped):
        hp.optuna.optimize(study, small_loop.LOOP, batch=4, epochs=2, tile=2, finals=None, quiet=True, watch=[stop])
    assert [t.state.name for t in study.trials] == ["COMPLETE", *["FAIL"] * 4]
    assert {tuple(t.distributions.items()) for t in study.trials} == {tuple(hp.optuna.distributions(SPACE).items())}


BAD = {
    "no space": (
        lambda: hp.optuna.optimize(new(), small_loop.LOOP),
        "space: expected one, or a study whose trials all have the same parameters, got no trial that is finished",
    ),
    "no study": (lambda: hp.optuna.optimize(3, small_loop.LOOP, SPACE), "study: expected an optuna.Study, got 3"),
    "another direction": (
        lambda: hp.optuna.optimize(new(direction="maximize"), small_loop.LOOP, SPACE),
        "study: expected the directions of the task (minimize for height), got maximize",
    ),
    "other objectives": (
        lambda: hp.optuna.optimize(new(direction=None, directions=["minimize"] * 2), small_loop.LOOP, SPACE),
        "study: expected the directions of the task (minimize for height), got minimize, minimize",
    ),
    "a normal distribution": (
        lambda: hp.optuna.optimize(new(), small_loop.LOOP, hp.Space(lr=hp.Normal(0.1, 0.1))),
        "space lr: expected Uniform, LogUniform, IntUniform, Choice, which Optuna has distributions for",
    ),
    "rungs that descend": (lambda: hp.optuna.Study(new(), rungs=[3, 1]), "Study rungs: expected ascending epochs, got"),
    "a rung beyond the end": (
        lambda: hp.optuna.optimize(new(), small_loop.LOOP, SPACE, epochs=9, rungs=[12]),
        "Study rungs: expected at most 9 epochs, the full training, got (12,)",
    ),
    "an empty batch": (lambda: hp.optuna.Study(new(), 0), "Study population: expected at least 1, got 0"),
    "a warm start": (
        lambda: search(
            "random", task=small_loop.LOOP, strategy=hp.optuna.Study(new()), warm_start=[trial_of_another_search()]
        ),
        "warm_start: expected a strategy with a method recall, got Study(",
    ),
}


def trial_of_another_search():
    facts = {"metric": "height", "mode": "min", "epochs": 9, "budget": 9}
    return hp.Trial(0, {"lr": 0.1}, status=hp.Status.COMPLETE, score=0.9, **facts)


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_said_in_one_line(case):
    make, message = BAD[case]
    with pytest.raises(hp.Error) as error:
        make()
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
