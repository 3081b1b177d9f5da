"""Train a whole hyperparameter search at once on JAX.

Names are imported when they are first used, so that what only reads a run directory does without JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jaxhp.engine.host import split_host as _split_host

if TYPE_CHECKING:
    from jaxhp import data, nn, search, tasks
    from jaxhp.data import split
    from jaxhp.report.result import Result
    from jaxhp.search.score import score
    from jaxhp.search.search import Search
    from jaxhp.selection.verdict import Finals
    from jaxhp.space import Choice, IntUniform, LogUniform, Space, Uniform
    from jaxhp.strategies import GP, PBT, TPE, Auto, Grid, Halving, Hyperband, Narrowing, Random, Sobol, include
    from jaxhp.tasks.task import Task, Variables
    from jaxhp.trials import Proposal, Rung, Status, Trial, Trials

_split_host()

__all__ = [
    "GP",
    "PBT",
    "TPE",
    "Auto",
    "Choice",
    "Finals",
    "Grid",
    "Halving",
    "Hyperband",
    "IntUniform",
    "LogUniform",
    "Narrowing",
    "Proposal",
    "Random",
    "Result",
    "Rung",
    "Search",
    "Sobol",
    "Space",
    "Status",
    "Task",
    "Trial",
    "Trials",
    "Uniform",
    "Variables",
    "data",
    "include",
    "nn",
    "score",
    "search",
    "split",
    "tasks",
]
_PACKAGES = ("data", "nn", "search", "tasks")
_HOMES = {
    "data": ("split",),
    "report.result": ("Result",),
    "search.score": ("score",),
    "search.search": ("Search",),
    "selection.verdict": ("Finals",),
    "space": ("Choice", "IntUniform", "LogUniform", "Space", "Uniform"),
    "tasks.task": ("Task", "Variables"),
    "trials": ("Proposal", "Rung", "Status", "Trial", "Trials"),
}
_HOME = dict.fromkeys(__all__, "strategies") | {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"jaxhp.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'jaxhp' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"jaxhp.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
