"""Strategies: what to train next."""

from jaxhp.strategies.base import Strategy
from jaxhp.strategies.grid import Grid
from jaxhp.strategies.history import History
from jaxhp.strategies.narrowing import Narrowing, edges
from jaxhp.strategies.random import Random
from jaxhp.strategies.sampler import Sampler
from jaxhp.strategies.sobol import Sobol

__all__ = ["Grid", "History", "Narrowing", "Random", "Sampler", "Sobol", "Strategy", "edges"]
