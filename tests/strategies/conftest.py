"""Strategies are all our own code, so no promotion of dtypes or ranks happens in them unseen."""

import jax
import pytest


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
