"""Strategies: what to train next."""

from jaxhp.strategies.auto import Auto
from jaxhp.strategies.base import Strategy, include
from jaxhp.strategies.gp import GP
from jaxhp.strategies.grid import Grid
from jaxhp.strategies.halving import Halving, Hyperband
from jaxhp.strategies.history import History
from jaxhp.strategies.narrowing import Narrowing
from jaxhp.strategies.pbt import PBT
from jaxhp.strategies.random import Random
from jaxhp.strategies.sampler import Sampler
from jaxhp.strategies.sobol import Sobol
from jaxhp.strategies.tpe import TPE

__all__ = [
    "GP",
    "PBT",
    "TPE",
    "Auto",
    "Grid",
    "Halving",
    "History",
    "Hyperband",
    "Narrowing",
    "Random",
    "Sampler",
    "Sobol",
    "Strategy",
    "include",
]
