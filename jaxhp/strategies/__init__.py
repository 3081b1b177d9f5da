"""Strategies: what to train next. Each is imported when its name is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxhp.strategies.auto import Auto
    from jaxhp.strategies.base import Strategy, include
    from jaxhp.strategies.gp import GP
    from jaxhp.strategies.grid import Grid
    from jaxhp.strategies.halving import Halving, Hyperband
    from jaxhp.strategies.history import History
    from jaxhp.strategies.narrowing import Narrowing
    from jaxhp.strategies.pareto import Pareto
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
    "Pareto",
    "Random",
    "Sampler",
    "Sobol",
    "Strategy",
    "include",
]
_HOMES = {
    "auto": ("Auto",),
    "base": ("Strategy", "include"),
    "gp": ("GP",),
    "grid": ("Grid",),
    "halving": ("Halving", "Hyperband"),
    "history": ("History",),
    "narrowing": ("Narrowing",),
    "pareto": ("Pareto",),
    "pbt": ("PBT",),
    "random": ("Random",),
    "sampler": ("Sampler",),
    "sobol": ("Sobol",),
    "tpe": ("TPE",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "testing":
        return import_module("jaxhp.strategies.testing")
    if name not in _HOME:
        raise AttributeError(f"module 'jaxhp.strategies' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"jaxhp.strategies.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
