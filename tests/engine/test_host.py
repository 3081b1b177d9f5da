"""The host is split into one device a core unless somebody said otherwise; in processes of their own."""

import os
import subprocess
import sys

import pytest

from jaxhp.engine.host import cpu_cores


def run(script: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {k: v for k, v in os.environ.items() if k not in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")}
    return subprocess.run([sys.executable, "-c", script], env=clean | environment, capture_output=True, text=True)


COUNT = "print(jax.local_device_count())"


@pytest.mark.parametrize("order", ["jaxhp, jax", "jax, jaxhp"])
def test_one_device_a_core(order):
    script = f"import {order}; jax.numpy.zeros(1); jaxhp.Search; {COUNT}"  # what trains is imported late
    assert run(script).stdout.strip() == str(cpu_cores())


@pytest.mark.parametrize(
    "environment", [{"JAX_NUM_CPU_DEVICES": "3"}, {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}]
)
def test_a_number_that_the_user_set_stays(environment):
    for order in ("jaxhp, jax", "jax, jaxhp"):
        assert run(f"import {order}; {COUNT}", **environment).stdout.strip() == "3"


@pytest.mark.skipif(cpu_cores() < 2, reason="one core is one device")
def test_too_late_is_said():
    done = run(f"import jax; jax.devices(); import jaxhp; {COUNT}")
    assert done.stdout.strip() == "1"
    assert f"training uses 1 of {cpu_cores()} CPU cores; import jaxhp before the first JAX call" in done.stderr
