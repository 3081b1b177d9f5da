"""The host is split into one device a core unless somebody said otherwise; in processes of their own."""

import os
import subprocess
import sys

import pytest

import jaxhp
from jaxhp.engine.runtime import cpu_cores


def run(script: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {k: v for k, v in os.environ.items() if k not in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")}
    return subprocess.run([sys.executable, "-c", script], env=clean | environment, capture_output=True, text=True)


COUNT = "print(jax.local_device_count())"
SCORE = """
import jax.numpy as jnp, numpy as np, optax
rows = {"x": np.ones((4, 2), "f4")}
task = jaxhp.Task(lambda k, c: {"w": jnp.ones(2)}, lambda p, b, k, c: jnp.mean(b["x"] @ p["w"]),
    lambda p, b, c: {"e": b["x"] @ p["w"]}, lambda c: optax.sgd(c["lr"]), rows, rows, batch_size=2, metric="e")
for _ in range(2):
    jaxhp.Search(task, jaxhp.Space(lr=jaxhp.LogUniform(0.1, 1.0)), jaxhp.Random(2), finals=None)
"""


@pytest.mark.parametrize("call", ["jaxhp.setup()", SCORE], ids=["setup", "search"])
@pytest.mark.parametrize("order", [pytest.param("jaxhp, jax", marks=pytest.mark.slow), "jax, jaxhp"])
def test_one_device_a_core(order, call):
    assert run(f"import {order}\n{call}\n{COUNT}").stdout.strip() == str(cpu_cores())


def test_as_many_as_asked_for():
    assert run(f"import jaxhp, jax; jaxhp.setup(3); {COUNT}").stdout.strip() == "3"
    with pytest.raises(jaxhp.Error, match="cpu_devices: expected a positive integer, got 0"):
        jaxhp.setup(0)


@pytest.mark.parametrize(
    ("order", "environment"),
    [
        ("jaxhp, jax", {"JAX_NUM_CPU_DEVICES": "3"}),
        ("jax, jaxhp", {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}),
    ],
)
def test_a_number_that_the_user_set_stays(order, environment):
    assert run(f"import {order}; jaxhp.setup(); {COUNT}", **environment).stdout.strip() == "3"


@pytest.mark.skipif(cpu_cores() < 2, reason="one core is one device")
def test_too_late_is_said_once_whatever_is_asked_for():
    always = "import warnings; warnings.simplefilter('always')"
    other = "for n in (2, 3, 4): jaxhp.setup(n)"
    done = run(f"{always}\nimport jax; jax.devices(); import jaxhp\n{SCORE}\n{COUNT}\n{other}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1"
    assert done.stderr.count("JAX had begun before") == 1
    assert f"training uses 1 of {cpu_cores()} CPU cores; call jaxhp.setup() before the first JAX" in done.stderr
