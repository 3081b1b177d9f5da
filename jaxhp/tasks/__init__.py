"""Ready-made tasks."""

from jaxhp.tasks.cnn import cnn
from jaxhp.tasks.mlp import mlp

__all__ = ["cnn", "mlp"]
