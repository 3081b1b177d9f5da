"""Spaces as Optuna knows them, and back: distributions by name, and the suggestions of a define-by-run function.

A range or a list is the same in both, value for value. What Optuna has no distribution for is refused here; what a
dictionary of distributions cannot say, conditions and forbidden combinations, `suggest` does one value after another.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from jaxhp.interop.optuna_defined import Define, defined
from jaxhp.space import Choice, IntUniform, LogUniform, Parameter, Space, Uniform
from jaxhp.space.conditions import exists
from jaxhp.values import Config, Error, Value

Distributions = Mapping[str, BaseDistribution]
_KINDS = (Uniform, LogUniform, IntUniform, Choice)
_STEPS = 4096  # of a float, at most


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return Optuna's distribution of every parameter of a space, for `study.ask` and others; fixed values have none.

    `hp.optuna.space` makes an equal space of them, but for fixed values, tuples, and whether a Choice is static.

    Raises:
      Error: the space says what a dictionary of distributions cannot: a condition, a forbidden combination, or a
        distribution that Optuna does not have.

    >>> from jaxhp.space import IntUniform, LogUniform
    >>> distributions(Space(lr=LogUniform(1e-4, 1e-1)))
    {'lr': FloatDistribution(high=0.1, log=True, low=0.0001, step=None)}
    """
    check(space)
    if space.where:
        raise Error("space where: expected none, as Optuna has no forbidden combinations; use hp.optuna.suggest")
    for name, parameter in space.parameters.items():
        if parameter.when:
            raise Error(f"space {name}: expected no when=, as a dict has no conditions; use hp.optuna.suggest")
    return {name: recorded(parameter) for name, parameter in space.parameters.items()}


def space(of: Distributions | Define | Space) -> Space:
    """Return the space of distributions by name, or of a define-by-run function.

    Args:
      of: name to distribution; or a function of a trial that calls its `suggest_float`, `suggest_int` and
        `suggest_categorical`, the part of an objective that chooses hyperparameters. It is called with every
        combination of choices and small integers, so that what it asks for under some of them alone gets a `when=`;
        what it returns is not looked at.

    Raises:
      Error: it is neither, a space cannot hold it, or a function's conditions are no lists of choices and integers.

    >>> space({"width": IntDistribution(8, 64, step=8)})
    Space(width=IntUniform(8, 64, step=8))
    """
    if isinstance(of, Space):
        return of
    if callable(of):
        return _space({name: parameter(name, d, when) for name, (d, when) in defined(of).items()})
    if not isinstance(of, Mapping) or not of:
        raise Error(f"distributions: expected Optuna's distributions by name, or a function of a trial, got {of!r:.80}")
    return _space({name: parameter(name, d) for name, d in of.items()})


def suggest(trial: Any, space: Space) -> Config:
    """Ask a trial of Optuna for a config, of a space with conditions and forbidden combinations as well.

    Args:
      trial: an `optuna.Trial`, or another object that has its `suggest_` methods.
      space: what to suggest.

    Returns:
      The config, fixed values included.

    Raises:
      optuna.TrialPruned: one of the space's `where` forbids it.
      Error: the space has a distribution that Optuna does not have.
    """
    check(space)
    config = suggested(trial, space)
    if not space.allows(config):
        raise optuna.TrialPruned("its config is forbidden by the space's where")
    return config


def suggested(trial: Any, space: Space) -> Config:
    """Ask a trial for a config, whatever `where` says of it."""
    found: Config = dict(space.fixed)
    asked: set[str] = set()

    def ask(name: str) -> None:
        if name in asked or name not in space.parameters:
            return
        asked.add(name)
        for owner in space.parameters[name].when or {}:
            ask(owner)
        if exists(name, space.parameters, found):
            found[name] = inward(space.parameters[name], _suggest(trial, name, recorded(space.parameters[name])))

    for name in space.parameters:
        ask(name)
    return found


def _suggest(trial: Any, name: str, of: BaseDistribution) -> Any:
    if isinstance(of, CategoricalDistribution):
        return trial.suggest_categorical(name, of.choices)
    if isinstance(of, IntDistribution):
        return trial.suggest_int(name, of.low, of.high, step=of.step, log=of.log)
    assert isinstance(of, FloatDistribution)
    return trial.suggest_float(name, of.low, of.high, step=of.step, log=of.log)


def params(space: Space, config: Config) -> dict[str, Any]:
    """Return the searched part of a config as Optuna writes it."""
    return {name: outward(config[name]) for name in space.parameters if name in config}


def config_of(space: Space, params: Mapping[str, Any]) -> Config:
    """Return the config that `params` made this of; raises where it is none of this space."""
    return {name: inward(space.parameters[name], value) for name, value in params.items() if name in space.parameters}


def of_config(space: Space, config: Config) -> dict[str, BaseDistribution]:
    """Return the distributions of what exists in a config; see `recorded`."""
    return {name: recorded(parameter) for name, parameter in space.parameters.items() if name in config}


def check(space: Space) -> None:
    """Check that Optuna has a distribution with exactly the values of every parameter.

    Raises:
      Error: it has not, or it is no space.
    """
    if not isinstance(space, Space):
        raise Error(f"space: expected a Space, got {space!r:.80}")
    for name, known in space.parameters.items():
        if not isinstance(known, _KINDS):
            kinds = ", ".join(kind.__name__ for kind in _KINDS)
            raise Error(f"space {name}: expected {kinds}, which Optuna has distributions for, got {known}")
        values = [outward(value) for value in known.categories()]
        if len(set(values)) < len(values):
            raise Error(f"space {name}: expected no string that is the text of a tuple, got {known}")
        if isinstance(known, Uniform) and known.step is not None and getattr(recorded(known), "step", None) is None:
            raise Error(f"space {name}: expected at most {_STEPS} steps that Optuna counts as jaxhp does, got {known}")


def recorded(of: Parameter) -> BaseDistribution:
    """Return a distribution that holds the values of a parameter of any kind, as a record of trials needs it."""
    bounds, log, step = of.bounds(), of.scale == "log", getattr(of, "step", None)
    if bounds is None:
        return CategoricalDistribution([outward(value) for value in of.categories()])
    low, high = bounds
    if issubclass(of.dtype, np.integer):
        return IntDistribution(int(low), int(high), log=log, step=step or 1)
    cells = None if step is None else of.cells(_STEPS)
    if cells is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a high that is no whole number of steps away
            stepped = FloatDistribution(low, high, step=step)
        if all(stepped._contains(of.value(u)) for u in cells.tolist()):  # type: ignore[arg-type]
            return stepped
    return FloatDistribution(low, high, log=log)


def parameter(name: str, of: BaseDistribution, when: Mapping[str, object] | None = None) -> Parameter:
    """Return the parameter that has exactly the values of a distribution.

    Raises:
      Error: there is none.
    """
    try:
        if isinstance(of, CategoricalDistribution):
            return Choice(list(of.choices), when=when)
        if isinstance(of, IntDistribution):
            return IntUniform(of.low, of.high, log=of.log, step=of.step, when=when)
        if isinstance(of, FloatDistribution):
            return LogUniform(of.low, of.high, when) if of.log else Uniform(of.low, of.high, of.step, when)
    except Error as error:
        raise Error(f"distributions {name}: {error}") from error
    raise Error(f"distributions {name}: expected a float, int or categorical distribution of Optuna, got {of!r:.80}")


def outward(value: Value) -> Any:
    """Return a value as Optuna can keep it in any storage: a tuple as its text."""
    return repr(value) if isinstance(value, tuple) else value


def inward(of: Parameter, value: Any) -> Value:
    """Return the value of a parameter that `outward` made this of; a float with a step without its rounding errors."""
    for known in of.categories():
        if isinstance(known, tuple) and repr(known) == value:
            return known
    return of.value(of.unit(value)) if getattr(of, "step", None) is not None else of.given(value)


def _space(parameters: dict[str, Any]) -> Space:
    if "where" in parameters:
        raise Error("distributions where: expected another name, as `where` is what a Space calls its conditions")
    return Space(**parameters)
