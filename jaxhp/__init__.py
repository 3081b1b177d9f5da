"""Train a whole hyperparameter search at once on JAX."""

from jaxhp import data, nn, tasks
from jaxhp.data import split
from jaxhp.devices import split_host as _split_host
from jaxhp.result import Result
from jaxhp.scoring import score
from jaxhp.search import Search, search
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
