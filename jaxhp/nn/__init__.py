"""Layers that stay fast when a population of them is stacked."""

from jaxhp.nn.conv import conv_general_dilated
from jaxhp.nn.dropout import dropout
from jaxhp.nn.pool import avg_pool, max_pool
from jaxhp.nn.relu import relu

__all__ = ["avg_pool", "conv_general_dilated", "dropout", "max_pool", "relu"]
