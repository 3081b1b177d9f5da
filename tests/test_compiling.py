"""What jaxlib gets wrong on a CPU reaches no user; and no longer than it gets it wrong is anything done about it."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from public_programs import PROGRAMS

from jaxhp.compiling import WRONG_ON_CPU, cpu_options, jit
from jaxhp.engine.runtime import compiler_options

FILE = Path(__file__).with_name("public_programs.py")
NAME = "xla_cpu_experimental_ynn_fusion_type"
on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="of CPUs")


def printed(how: str, *names: str) -> dict[str, np.ndarray] | None:
    """What programs give; None where they crash or never end."""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": str(FILE.parents[1])}
    command = [sys.executable, str(FILE), how, *names]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode < 0:
        return None
    assert done.returncode == 0, done.stderr
    return {name: np.asarray(numbers, float) for name, *numbers in map(str.split, done.stdout.splitlines())}


@on_cpu
@pytest.mark.parametrize("names", [["energy"], pytest.param(["product", "likelihood"], marks=pytest.mark.slow)])
def test_the_metric_and_the_loss_of_members_are_right(names):
    found = printed("members", *names)
    assert found is not None
    for name in names:
        np.testing.assert_allclose(found[name], PROGRAMS[name][-1], rtol=1e-6)


@on_cpu
@pytest.mark.slow
def test_it_is_needed_for_this_jaxlib_or_left_out():
    """Where this fails, `WRONG_ON_CPU` has a version too many or too few; one that no user has any more can go."""

    def right(name: str) -> bool:
        found = printed("alone", name)
        return found is not None and np.allclose(found[name], PROGRAMS[name][-1], rtol=1e-5)

    assert all(map(right, PROGRAMS)) == (version("jaxlib") not in WRONG_ON_CPU)


def test_only_affected_versions_get_an_option(monkeypatch):
    cpu = jax.local_devices(backend="cpu")[0]
    for number, options in {"0.10.1": {}, "0.10.2": {NAME: ""}, "0.11.0": {NAME: ""}, "0.12.0": {}}.items():
        monkeypatch.setattr("jaxhp.compiling.version", lambda _, number=number: number)
        assert compiler_options(cpu) == cpu_options() == options
    monkeypatch.setattr("jaxhp.compiling.version", lambda _: "0.10.2")
    monkeypatch.setenv("XLA_FLAGS", f"--{NAME}=-reduce")
    assert compiler_options(cpu) == {}


@on_cpu
def test_a_program_by_itself_and_as_a_part_of_another_one():
    energy, rows, matrix, _ = PROGRAMS["energy"]
    exact = np.arange(len(rows), dtype=np.float64) ** 2
    by_itself, few = jit(energy), jnp.asarray(rows[:5])
    found = [
        by_itself(rows, matrix),
        jax.jit(by_itself)(few, matrix),
        jax.jit(lambda: by_itself(few, matrix))(),
        jax.vmap(by_itself, (0, None))(few[None], matrix)[0],
    ]
    for values in found:
        np.testing.assert_allclose(values, exact[: len(values)], rtol=1e-6)
