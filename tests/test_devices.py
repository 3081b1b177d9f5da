"""Arrays spread over devices are taken apart and put together without being moved."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxhp.devices import join, split


def test_split_and_join_move_nothing():
    devices = jax.local_devices()[:2]
    sharding = NamedSharding(Mesh(np.asarray(devices), ("d",), axis_types=(AxisType.Auto,)), PartitionSpec(None, "d"))
    whole = {"a": jax.device_put(np.arange(12.0).reshape(3, 2, 2), sharding)}
    parts = split(whole, devices)
    assert [p["a"].devices() for p in parts] == [{d} for d in devices]
    np.testing.assert_array_equal(parts[1]["a"][:, 0], whole["a"][:, 1])
    again = join(parts, sharding)
    np.testing.assert_array_equal(again["a"], whole["a"])
