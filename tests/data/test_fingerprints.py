import time

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from jaxhp.data import fingerprint

X = np.arange(12, dtype=np.int32).reshape(3, 4)


def test_what_does_not_matter():
    expected = fingerprint({"a": X, "b": X[0]})
    assert len(expected) == 64
    assert fingerprint({"b": X[0], "a": X}) == expected
    assert fingerprint({"a": np.asfortranarray(X), "b": X.astype(">i4")[0]}) == expected
    assert fingerprint({"a": jnp.asarray(X), "b": X[0]}) == expected


@pytest.mark.parametrize(
    "other",
    [
        {"b": X},
        {"a": X.astype(np.uint32)},
        {"a": X.reshape(4, 3)},
        {"a": X.T.copy().T[::-1]},
        {"a": {"a": X}},
        {"a": X, "b": X[:0]},
        {"a": X[:2], "b": X[2:]},
        [X],
        X,
    ],
)
def test_what_does_matter(other):
    assert fingerprint(other) != fingerprint({"a": X})


@given(arrays_of.arrays(np.uint8, st.integers(1, 40)), st.data())
def test_every_byte_counts(array, data):
    changed = array.copy()
    changed[data.draw(st.integers(0, len(array) - 1))] ^= data.draw(st.integers(1, 255))
    assert fingerprint(changed) != fingerprint(array)


def test_small_floats_and_scalars_have_one():
    assert fingerprint(jnp.ones(2, jnp.bfloat16)) != fingerprint(jnp.ones(2, jnp.float16))
    assert fingerprint(np.float32(1)) != fingerprint(np.ones(1, np.float32))


def test_objects_have_none():
    with pytest.raises(ValueError, match=r"^\['x'\]: expected an array of numbers, got object$"):
        fingerprint({"x": object()})


def test_mnist_takes_well_under_half_a_second():
    tree = {"image": np.ones((60_000, 28, 28), np.uint8), "label": np.ones(60_000, np.int32)}
    seconds = []
    for _ in range(3):
        start = time.process_time()
        fingerprint(tree)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.5
