"""Search spaces: named hyperparameters, mapped to and from the unit cube."""

from jaxhp.space.parameters import Choice, IntUniform, LogUniform, Parameter, Uniform, register
from jaxhp.space.space import Space

__all__ = ["Choice", "IntUniform", "LogUniform", "Parameter", "Space", "Uniform", "register"]
