"""A program is compiled once, whatever the number of devices, and every device computes the same with it."""

import random
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding
from populations import two_devices

from jaxhp.compiling import cpu_options
from jaxhp.engine import programs
from jaxhp.engine.programs import Program

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


@pytest.fixture
def compiled(monkeypatch):
    """The devices that XLA has compiled for so far."""
    seen, plain = [], jax.stages.Lowered.compile

    def compile(lowered, *args, **options):
        made = plain(lowered, *args, **options)
        seen.extend(made.runtime_executable().local_devices())  # type: ignore[union-attr]
        return made

    monkeypatch.setattr(programs, "_file", lambda *_: None)
    monkeypatch.setattr(jax.stages.Lowered, "compile", compile)
    name = "jax_persistent_cache_min_compile_time_secs"  # so that JAX's own cache keeps nothing
    before = jax.config.values[name]
    jax.config.update(name, 1e9)
    yield seen
    jax.config.update(name, before)


@pytest.fixture
def on_all():
    """What each device makes of X with a program that no cache has."""
    new = random.SystemRandom().random()
    return partial(run_on_all, new)


def run_on_all(new: float) -> list[np.ndarray]:

    def lower(device):
        shape = jax.ShapeDtypeStruct(X.shape, X.dtype, sharding=SingleDeviceSharding(device))
        return jax.jit(
            lambda x: {"sums": x + jnp.tanh(x).sum(1)[:, None] + 0 * jnp.maximum(x, new)}, donate_argnums=0
        ).lower(shape)

    devices = jax.local_devices()
    made = Program(lower, devices, cpu_options())
    found = [run(jax.device_put(X, device)) for run, device in zip(made.on_each(), devices, strict=True)]
    assert [leaf["sums"].devices() for leaf in found] == [{device} for device in devices]
    assert made.seconds > 0
    return [np.asarray(leaf["sums"]) for leaf in found]


@two_devices
def test_one_compilation_serves_all_devices(compiled, on_all):
    one, other = on_all()
    np.testing.assert_allclose(one, X + np.tanh(X).sum(1)[:, None], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(one, other)
    assert compiled == jax.local_devices()[:1]


@two_devices
def test_where_jax_does_not_load_it_there_it_is_compiled_there_too(compiled, on_all, monkeypatch):
    def refuses(_):
        raise NotImplementedError("serialize_executables with const_args")

    monkeypatch.setattr(programs, "serialize", refuses)
    one, other = on_all()
    np.testing.assert_array_equal(one, other)
    assert compiled == jax.local_devices()


@two_devices
def test_a_later_process_loads_what_was_kept_and_compiles_again_where_that_is_broken(
    compiled, on_all, monkeypatch, tmp_path
):
    monkeypatch.setattr(programs, "_file", lambda *_: tmp_path / "kept")
    first = on_all()
    again = on_all()
    assert compiled == jax.local_devices()[:1]
    (tmp_path / "kept").write_bytes((tmp_path / "kept").read_bytes()[:-9])
    anew = on_all()
    assert compiled == jax.local_devices()[:1] * 2
    for found in (again, anew, on_all()):
        np.testing.assert_array_equal(found, first)
    assert len(compiled) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@two_devices
def test_what_jax_has_found_in_its_own_cache_is_compiled_for_each_device(compiled, on_all, monkeypatch):
    """Written out again, it would lack its functions."""
    hits = iter(range(9))
    monkeypatch.setattr(programs, "_hits", lambda: next(hits))
    one, other = on_all()
    np.testing.assert_array_equal(one, other)
    assert compiled == jax.local_devices()
