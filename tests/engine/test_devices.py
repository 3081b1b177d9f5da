"""Arrays spread over devices are taken apart and put together without being moved."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from populations import two_devices

from jaxhp.engine.runtime import join, members_at, split

pytestmark = two_devices


def test_split_and_join_move_nothing():
    devices = jax.local_devices()[:2]
    sharding = NamedSharding(Mesh(np.asarray(devices), ("d",), axis_types=(AxisType.Auto,)), PartitionSpec(None, "d"))
    whole = {"a": jax.device_put(np.arange(12.0).reshape(3, 2, 2), sharding)}
    parts = split(whole, devices)
    assert [p["a"].devices() for p in parts] == [{d} for d in devices]
    np.testing.assert_array_equal(parts[1]["a"][:, 0], whole["a"][:, 1])
    again = join(parts, sharding)
    np.testing.assert_array_equal(again["a"], whole["a"])


def test_members_are_brought_without_a_copy_of_the_whole():
    devices = jax.local_devices()[:2]
    sharding = NamedSharding(Mesh(np.asarray(devices), ("d",), axis_types=(AxisType.Auto,)), PartitionSpec(None, "d"))
    values = np.arange(3 * 2 * 4 * 5.0).reshape(3, 2, 4, 5)
    leaf = jax.device_put(values, sharding)
    slots = np.asarray([[0, 23], [7, 8], [5, 5]])
    np.testing.assert_array_equal(members_at(leaf, slots), values.reshape(24, 5)[slots])
    assert leaf._npy_value is None  # type: ignore[attr-defined]
    alone = jax.device_put(values[:, :1], devices[1])
    np.testing.assert_array_equal(members_at(alone, slots[2:]), values[:, :1].reshape(12, 5)[slots[2:]])
