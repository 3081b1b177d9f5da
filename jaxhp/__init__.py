"""Train a whole hyperparameter search at once on JAX."""

from jaxhp import devices as _devices

_devices.split_host()

from jaxhp import data, tasks
from jaxhp.data import split
from jaxhp.result import Result
from jaxhp.search import Search, score, search
from jaxhp.select import Finals
from jaxhp.space import Choice, IntUniform, LogUniform, Space, Uniform
from jaxhp.strategies import Grid, Narrowing, Random, Sobol
from jaxhp.task import Task, Variables
from jaxhp.types import Proposal, Rung, Status, Trial

__all__ = [
    "Choice",
    "Finals",
    "Grid",
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
    "score",
    "search",
    "split",
    "tasks",
]
