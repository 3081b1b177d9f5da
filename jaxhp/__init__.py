"""Train a whole hyperparameter search at once on JAX.

Names are imported when they are first used, so that what only reads a run directory does without JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jaxhp.host import split_host as _split_host

if TYPE_CHECKING:
    from jaxhp import data, nn, tasks
    from jaxhp.data import split
    from jaxhp.result import Result
    from jaxhp.scoring import score
    from jaxhp.searching import Search, search
    from jaxhp.select import Finals
    from jaxhp.space import Choice, IntUniform, LogUniform, Space, Uniform
    from jaxhp.strategies import GP, PBT, TPE, Auto, Grid, Halving, Hyperband, Narrowing, Random, Sobol, include
    from jaxhp.task import Task, Variables
    from jaxhp.types import Proposal, Rung, Status, Trial

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
_PACKAGES = ("data", "nn", "tasks")
_HOMES = {
    "data": ("split",),
    "result": ("Result",),
    "scoring": ("score",),
    "searching": ("Search", "search"),
    "select": ("Finals",),
    "space": ("Choice", "IntUniform", "LogUniform", "Space", "Uniform"),
    "task": ("Task", "Variables"),
    "types": ("Proposal", "Rung", "Status", "Trial"),
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
