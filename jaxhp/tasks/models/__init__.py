"""Tasks of models that are written with a library for networks: nnx and linen of flax, equinox, haiku.

All four take a function that makes the model, and `loss`, `evaluate` and `optimizer` as `hp.Task` does, with the model
where that has `params`. The model is called with a batch. In `loss` it trains: dropout draws from the key of the step,
and running statistics move; in `evaluate` it does neither. It is made anew from the config in every call, with the
member's weights in it, so `config["dropout"]` is data, and `config["width"]` may be a static `hp.Choice`.

The key of a step is split in two, `jax.random.split(key)`: the first is the model's, the second is what `loss` gets.
"""

from jaxhp.tasks.models.adapter import model
from jaxhp.tasks.models.equinox import equinox
from jaxhp.tasks.models.haiku import haiku
from jaxhp.tasks.models.linen import linen
from jaxhp.tasks.models.nnx import nnx

__all__ = ["equinox", "haiku", "linen", "model", "nnx"]
