"""Search spaces: named hyperparameters, mapped to and from the unit cube."""

from jaxhp.space.choice import Choice
from jaxhp.space.parameters import Parameter, register
from jaxhp.space.ranges import IntUniform, LogUniform, Normal, Uniform
from jaxhp.space.space import Space

__all__ = ["Choice", "IntUniform", "LogUniform", "Normal", "Parameter", "Space", "Uniform", "register"]
