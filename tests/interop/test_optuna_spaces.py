"""Spaces to Optuna and back: the same values, conditions found in define-by-run functions, one line for the rest."""

import warnings

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

import jaxhp as hp

FLOATS = st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda x: float(f"{x:.6g}"))


@st.composite
def parameters(draw):
    kind = draw(st.sampled_from(["float", "step", "log", "int", "int log", "int step", "choice"]))
    if kind == "choice":
        values = st.one_of(st.none(), st.integers(2, 99), st.text(max_size=3), st.just(True), st.just((1, 2)))
        return hp.Choice(draw(st.lists(values, min_size=1, max_size=5, unique_by=repr)))
    if kind in ("float", "log"):
        low = draw(FLOATS if kind == "float" else st.floats(1e-6, 1e3))
        high = low + draw(st.floats(1.0, 1e3))
        return hp.Uniform(low, high) if kind == "float" else hp.LogUniform(low, high)
    if kind == "step":
        step, steps = draw(st.sampled_from([0.1, 0.25, 0.5, 3.0])), draw(st.integers(1, 40))
        low = draw(st.integers(-20, 20)) * step
        return hp.Uniform(float(f"{low:.12g}"), float(f"{low + steps * step:.12g}"), step=step)
    low, count = draw(st.integers(1, 1000)), draw(st.integers(0, 50))
    step = draw(st.integers(2, 9)) if kind == "int step" else 1
    return hp.IntUniform(low, low + count * step, log=kind == "int log", step=step)


@settings(max_examples=40, deadline=None)
@given(parameters(), st.floats(0, 1))
def test_every_value_is_the_same_in_both(parameter, u):
    space = hp.Space(x=parameter, fixed=3)
    distribution = hp.optuna.distributions(space)["x"]
    value = space.config(np.asarray([u]))["x"]
    told = repr(value) if isinstance(value, tuple) else value
    internal = distribution.to_internal_repr(told)
    assert distribution._contains(internal)
    assert distribution.to_external_repr(internal) == told
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a value that Optuna finds outside of its range
        found = hp.optuna.suggest(optuna.trial.FixedTrial({"x": told}), space)
    assert found == {"fixed": 3, "x": value}
    assert type(found["x"]) is type(value)
    if not any(isinstance(one, tuple) for one in parameter.categories()):
        assert hp.optuna.space({"x": distribution}) == hp.Space(x=parameter)


def test_ranges_are_optunas():
    space = hp.Space(
        a=hp.Uniform(0, 1), b=hp.Uniform(0, 1, step=0.25), c=hp.LogUniform(1e-4, 1), d=hp.IntUniform(1, 9, step=2)
    )
    assert hp.optuna.distributions(space) == {
        "a": FloatDistribution(0, 1),
        "b": FloatDistribution(0, 1, step=0.25),
        "c": FloatDistribution(1e-4, 1, log=True),
        "d": IntDistribution(1, 9, step=2),
    }
    assert hp.optuna.distributions(hp.Space(k=hp.Choice(["a", None, 3]))) == {
        "k": CategoricalDistribution(["a", None, 3])
    }
    assert hp.optuna.space(hp.optuna.distributions(space)) == space


def suggest(trial):
    trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    if trial.suggest_categorical("optimizer", ["sgd", "adam", "adamw"]) == "sgd":
        trial.suggest_float("momentum", 0, 0.9)
    else:
        trial.suggest_float("b1", 0.8, 0.99)
    layers = trial.suggest_int("layers", 1, 3)
    for layer in range(layers):
        trial.suggest_int(f"units{layer}", 4, 512, log=True)
    if layers > 1 and trial.suggest_categorical("drop", [True, False]):
        trial.suggest_float("rate", 0, 0.5, step=0.1)


def test_conditions_of_a_function_are_found():
    units = hp.IntUniform(4, 512, log=True)
    with pytest.raises(hp.Error, match="Space drop: expected when= of a static parameter to name static ones"):
        hp.optuna.space(suggest)  # a choice under an integer, which is no static one
    without = hp.optuna.space(lambda trial: suggest(NoDrop(trial)))
    assert without == hp.Space(
        lr=hp.LogUniform(1e-5, 1e-1),
        optimizer=hp.Choice(["sgd", "adam", "adamw"]),
        momentum=hp.Uniform(0, 0.9, when={"optimizer": ["sgd"]}),
        b1=hp.Uniform(0.8, 0.99, when={"optimizer": ["adam", "adamw"]}),
        layers=hp.IntUniform(1, 3),
        units0=units,
        units1=hp.IntUniform(4, 512, log=True, when={"layers": [2, 3]}),
        units2=hp.IntUniform(4, 512, log=True, when={"layers": [3]}),
    )


class NoDrop:
    """A trial whose `drop` is decided."""

    def __init__(self, trial):
        self.trial = trial

    def __getattr__(self, name):
        return getattr(self.trial, name)

    def suggest_categorical(self, name, choices):
        return name != "drop" and self.trial.suggest_categorical(name, choices)


def test_a_study_is_asked_for_what_exists():
    space = hp.optuna.space(lambda trial: suggest(NoDrop(trial)))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        config = hp.optuna.suggest(trial, space)
        assert config == trial.params
        by_hand = optuna.trial.FixedTrial(config)
        suggest(NoDrop(by_hand))
        assert by_hand.params == config


def test_forbidden_configs_are_pruned():
    space = hp.Space(where=lambda c: c["heads"] <= c["width"], heads=hp.IntUniform(1, 8), width=hp.IntUniform(1, 8))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: hp.optuna.suggest(trial, space)["width"], n_trials=30)
    assert {t.state.name for t in study.trials} == {"COMPLETE", "PRUNED"}
    for trial in study.trials:
        assert (trial.state.name == "COMPLETE") == (trial.params["heads"] <= trial.params["width"])


BAD = {
    "normal": (
        lambda: hp.optuna.distributions(hp.Space(x=hp.Normal(0, 1))),
        "space x: expected Uniform, LogUniform, IntUniform, Choice, which Optuna has distributions for, got Normal",
    ),
    "when": (
        lambda: hp.optuna.distributions(hp.Space(k=hp.Choice(["a", "b"]), x=hp.Uniform(0, 1, when={"k": "a"}))),
        "space x: expected no when=, as a dict has no conditions; use hp.optuna.suggest",
    ),
    "where": (
        lambda: hp.optuna.distributions(hp.Space(where=lambda c: True, x=hp.Uniform(0, 1))),
        "space where: expected none, as Optuna has no forbidden combinations; use hp.optuna.suggest",
    ),
    "steps of a third": (
        lambda: hp.optuna.distributions(hp.Space(x=hp.Uniform(0, 1, step=1 / 3))),
        "space x: expected at most 4096 steps that Optuna counts as jaxhp does, got Uniform",
    ),
    "text of a tuple": (
        lambda: hp.optuna.distributions(hp.Space(x=hp.Choice([(1, 2), "(1, 2)"]))),
        "space x: expected no string that is the text of a tuple, got Choice",
    ),
    "no space": (lambda: hp.optuna.distributions({"x": 3}), "space: expected a Space, got {'x': 3}"),
    "no distributions": (lambda: hp.optuna.space([3]), "distributions: expected Optuna's distributions by name"),
    "no distribution": (
        lambda: hp.optuna.space({"x": 3}),
        "distributions x: expected a float, int or categorical distribution of Optuna, got 3",
    ),
    "too wide": (
        lambda: hp.optuna.space({"x": IntDistribution(0, 2**40)}),
        "distributions x: IntUniform: expected int32 bounds",
    ),
    "the name of conditions": (
        lambda: hp.optuna.space({"where": FloatDistribution(0, 1)}),
        "distributions where: expected another name",
    ),
    "a branch on a float": (
        lambda: hp.optuna.space(lambda t: t.suggest_float("lr", 0, 1) > 0.3 and t.suggest_float("x", 0, 1)),
        "distributions x: expected conditions that are a list of values for each choice or integer",
    ),
    "a branch on two choices together": (
        lambda: hp.optuna.space(
            lambda t: t.suggest_int("a", 1, 3) == t.suggest_int("b", 1, 3) and t.suggest_float("x", 0, 1)
        ),
        "distributions x: expected conditions that are a list of values for each choice or integer",
    ),
    "two ranges under one name": (
        lambda: hp.optuna.space(lambda t: t.suggest_float("x", 0, t.suggest_categorical("k", [1, 2]))),
        "distributions x: expected one range under one name",
    ),
    "a function that asks for nothing": (
        lambda: hp.optuna.space(lambda t: None),
        "distributions: expected a function that calls its trial's suggest_ methods",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_converted_is_said_in_one_line(case):
    make, message = BAD[case]
    with pytest.raises(hp.Error) as error:
        make()
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
