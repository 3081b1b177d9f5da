"""Ready-made tasks, and tasks of models of other libraries."""

from jaxhp.tasks.cnn import cnn
from jaxhp.tasks.mlp import mlp
from jaxhp.tasks.models import equinox, haiku, linen, model, nnx

__all__ = ["cnn", "equinox", "haiku", "linen", "mlp", "model", "nnx"]
