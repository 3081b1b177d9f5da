"""Ready-made tasks."""

from jaxhp.tasks.mlp import mlp

__all__ = ["mlp"]
