"""The host is split into one device a core unless somebody said otherwise; in processes of their own."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxhp.devices import cpu_cores, join, split


def run(script: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {k: v for k, v in os.environ.items() if k not in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")}
    return subprocess.run([sys.executable, "-c", script], env=clean | environment, capture_output=True, text=True)


COUNT = "print(jax.local_device_count())"


def test_one_device_a_core():
    assert run(f"import jaxhp, jax; {COUNT}").stdout.strip() == str(cpu_cores())


@pytest.mark.parametrize(
    "environment", [{"JAX_NUM_CPU_DEVICES": "3"}, {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}]
)
def test_a_number_that_the_user_set_stays(environment):
    assert run(f"import jaxhp, jax; {COUNT}", **environment).stdout.strip() == "3"


@pytest.mark.skipif(cpu_cores() < 2, reason="one core is one device")
def test_too_late_is_said():
    done = run(f"import jax; jax.devices(); import jaxhp; {COUNT}")
    assert done.stdout.strip() == "1"
    assert f"training uses 1 of {cpu_cores()} CPU cores; import jaxhp before the first JAX call" in done.stderr


def test_split_and_join_move_nothing():
    devices = jax.local_devices()[:2]
    sharding = NamedSharding(Mesh(np.asarray(devices), ("d",), axis_types=(AxisType.Auto,)), PartitionSpec(None, "d"))
    whole = {"a": jax.device_put(np.arange(12.0).reshape(3, 2, 2), sharding)}
    parts = split(whole, devices)
    assert [p["a"].devices() for p in parts] == [{d} for d in devices]
    np.testing.assert_array_equal(parts[1]["a"][:, 0], whole["a"][:, 1])
    again = join(parts, sharding)
    np.testing.assert_array_equal(again["a"], whole["a"])
