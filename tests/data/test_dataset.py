import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhp.data import Dataset, Sealed, arrays
from jaxhp.data.dataset import checked

IMAGE = np.zeros((6, 4, 4), np.uint8)
LABEL = np.arange(6, dtype=np.int32)


def test_sealed_counts_openings_and_loads_only_then():
    loads = []
    sealed = Sealed(lambda: loads.append("read") or {"x": LABEL})
    assert (sealed.opened, loads) == (0, [])
    assert repr(sealed) == "Sealed(opened=0)"
    np.testing.assert_array_equal(sealed.open()["x"], LABEL)
    assert (sealed.opened, loads) == (1, ["read"])
    sealed.open()
    assert repr(sealed) == "Sealed(opened=2)"


def test_a_failed_opening_does_not_count():
    sealed = Sealed(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sealed.open()
    assert sealed.opened == 0


def test_sealed_is_opaque():
    sealed: Any = Sealed({"x": LABEL})
    assert jax.tree.leaves(sealed) == [sealed]
    for read in (len, iter, jnp.asarray, lambda s: s["x"], lambda s: jax.jit(lambda x: x)(s)):
        with pytest.raises((TypeError, ValueError)):
            read(sealed)
    with pytest.raises(AttributeError):
        sealed.opened = 0
    assert sealed.opened == 0


def test_dataset_is_frozen_opaque_and_shows_no_values():
    data = Dataset({"image": IMAGE}, Sealed({"image": IMAGE}))
    assert repr(data) == "Dataset(train={'image': uint8[6,4,4]}, test=Sealed(opened=0))"
    assert jax.tree.leaves(data) == [data]
    with pytest.raises(AttributeError):
        data.test = None  # type: ignore[misc]
    assert data == data
    assert data != copy.copy(data)


def test_arrays_seals_the_test_data():
    data = arrays({"image": IMAGE, "label": LABEL}, test={"image": IMAGE[:2], "label": LABEL[:2]})
    assert isinstance(data.test, Sealed)
    assert data.test.opened == 0
    assert data.test.open()["image"].shape == (2, 4, 4)
    assert arrays(LABEL).test is None
    assert arrays(LABEL, test=data.test).test is data.test


def test_arrays_takes_any_pytree_and_device_arrays():
    train = arrays((jnp.ones(3), [np.zeros((3, 2), bool)])).train
    assert isinstance(train, tuple)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(train))
    assert checked({"x": jnp.ones(3, jnp.bfloat16)}, "train")["x"].dtype == jnp.bfloat16


HOLED = np.ones((6, 2, 2), np.float32)
HOLED[3, 1, 0] = np.nan
HOLED[4, 0, 0] = np.inf


@pytest.mark.parametrize(
    ("train", "test", "error", "message"),
    [
        ({}, None, ValueError, "train: expected a pytree with at least one array, got {}"),
        ((IMAGE, LABEL[:5]), None, ValueError, "train[1]: expected 6 examples on the first axis as in train[0], got 5"),
        ({"x": IMAGE[:0]}, None, ValueError, "train['x']: expected at least one example, got shape (0, 4, 4)"),
        ({"x": HOLED}, None, ValueError, "train['x']: expected finite values, got nan at index (3, 1, 0)"),
        ({"x": HOLED[4:]}, None, ValueError, "train['x']: expected finite values, got inf at index (0, 0, 0)"),
        (jnp.array([1, jnp.nan], jnp.bfloat16), None, ValueError, "train: expected finite values, got nan at index"),
        ({"x": np.array([1, 1j * np.inf])}, None, ValueError, "train['x']: expected finite values"),
        ({"x": [1, 2]}, None, ValueError, "train['x'][0]: expected an array, got int"),
        ({"x": np.array("a")}, None, ValueError, "train['x']: expected numbers or booleans, got dtype <U1"),
        ({"x": np.array([None])}, None, ValueError, "train['x']: expected numbers or booleans, got dtype object"),
        (np.float32(1), None, ValueError, "train: expected an array whose first axis counts examples, got a scalar"),
        ({"x": IMAGE}, {"x": HOLED}, ValueError, "test['x']: expected finite values"),
        ({"x": IMAGE}, {"x": LABEL}, ValueError, "test: expected examples shaped as in train"),
        ({"x": IMAGE}, {"y": IMAGE}, ValueError, "test: expected examples shaped as in train"),
    ],
)  # fmt: skip
def test_bad_arrays_name_the_leaf(train, test, error, message):
    with pytest.raises(error) as caught:
        arrays(train, test)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
