"""Train a whole hyperparameter search at once on JAX.

Importing this changes nothing, in JAX or in the environment: names are imported when they are first used, so that what
only reads a run directory does without JAX. Whatever is not named here is private and may move.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

TYPE_CHECKING = _TYPE_CHECKING  # the name that type checkers know
if TYPE_CHECKING:
    from jaxhp import data, executors, nn, optuna, schedules, strategies, tasks
    from jaxhp.data import Folds, split
    from jaxhp.engine import events
    from jaxhp.engine.runtime import setup
    from jaxhp.interop import watch
    from jaxhp.objectives import AtLeast, AtMost
    from jaxhp.report.compare import compare
    from jaxhp.report.result import Result
    from jaxhp.search import search
    from jaxhp.search.score import score
    from jaxhp.search.search import Search
    from jaxhp.search.signals import Stopped
    from jaxhp.search.verify import verify
    from jaxhp.selection.verdict import Finals
    from jaxhp.space import Choice, IntUniform, LogUniform, Normal, Space, Uniform
    from jaxhp.strategies import (
        GP,
        PBT,
        TPE,
        Auto,
        Grid,
        Halving,
        Hyperband,
        Narrowing,
        Pareto,
        Random,
        Sampler,
        Sobol,
        Strategy,
        include,
        testing,
    )
    from jaxhp.tasks import metrics
    from jaxhp.tasks.loop import Loop
    from jaxhp.tasks.task import Task, Variables
    from jaxhp.tasks.whole_set import Metric
    from jaxhp.trials import Error, Proposal, Rung, Status, Trial, Trials

__all__ = [
    "GP",
    "PBT",
    "TPE",
    "AtLeast",
    "AtMost",
    "Auto",
    "Choice",
    "Error",
    "Finals",
    "Folds",
    "Grid",
    "Halving",
    "Hyperband",
    "IntUniform",
    "LogUniform",
    "Loop",
    "Metric",
    "Narrowing",
    "Normal",
    "Pareto",
    "Proposal",
    "Random",
    "Result",
    "Rung",
    "Sampler",
    "Search",
    "Sobol",
    "Space",
    "Status",
    "Stopped",
    "Strategy",
    "Task",
    "Trial",
    "Trials",
    "Uniform",
    "Variables",
    "compare",
    "data",
    "events",
    "executors",
    "include",
    "metrics",
    "nn",
    "optuna",
    "schedules",
    "score",
    "search",
    "setup",
    "split",
    "strategies",
    "tasks",
    "testing",
    "verify",
    "watch",
]
_PACKAGES = ("data", "executors", "nn", "optuna", "schedules", "search", "strategies", "tasks")
_MODULES = {"events": "engine.events", "metrics": "tasks.metrics", "watch": "interop.watch"}
_HOMES = {
    "data": ("Folds", "split"),
    "engine.runtime": ("setup",),
    "objectives": ("AtLeast", "AtMost"),
    "report.compare": ("compare",),
    "report.result": ("Result",),
    "search.score": ("score",),
    "search.search": ("Search",),
    "search.signals": ("Stopped",),
    "search.verify": ("verify",),
    "selection.verdict": ("Finals",),
    "space": ("Choice", "IntUniform", "LogUniform", "Normal", "Space", "Uniform"),
    "strategies": (
        "GP",
        "PBT",
        "TPE",
        "Auto",
        "Grid",
        "Halving",
        "Hyperband",
        "Narrowing",
        "Pareto",
        "Random",
        "Sampler",
        "Sobol",
        "Strategy",
        "include",
        "testing",
    ),
    "tasks.loop": ("Loop",),
    "tasks.task": ("Task", "Variables"),
    "tasks.whole_set": ("Metric",),
    "trials": ("Error", "Proposal", "Rung", "Status", "Trial", "Trials"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return _import_module("importlib.metadata").version("jaxhp")
    if name in _PACKAGES:
        return _import_module(f"jaxhp.{name}")
    if name in _MODULES:
        return _import_module(f"jaxhp.{_MODULES[name]}")
    if name not in _HOME:
        raise AttributeError(f"module 'jaxhp' has no attribute {name!r}")
    value = globals()[name] = getattr(_import_module(f"jaxhp.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
