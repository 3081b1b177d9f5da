"""What is recorded is computed alike in every process, on a GPU too. None is needed here: only the options are seen."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from small_search import search

from jaxhp.compiling import on_host
from jaxhp.engine.runtime import compiler_options

GPU = SimpleNamespace(platform="gpu")


def test_a_gpu_gets_options_that_this_jaxlib_knows():
    options = compiler_options(GPU)
    assert options["xla_gpu_exclude_nondeterministic_ops"] is True
    assert options["xla_gpu_autotune_level"] == 0
    jax.jit(lambda x: x + 1).lower(1.0).compile(options)  # which refuses names that it does not know


def test_other_devices_need_none():
    assert compiler_options(SimpleNamespace(platform="tpu")) == {}


def test_what_the_user_chose_stays(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_exclude_nondeterministic_ops=false")
    assert "xla_gpu_exclude_nondeterministic_ops" not in compiler_options(GPU)
    assert "xla_gpu_autotune_level" in compiler_options(GPU)


def test_strategies_compute_on_the_cpu(monkeypatch):
    with on_host():
        assert jnp.zeros(3).devices() == {jax.local_devices(backend="cpu")[0]}

    def none(**_):
        raise RuntimeError("Unknown backend cpu")

    monkeypatch.setattr(jax, "local_devices", none)
    with on_host():
        jnp.zeros(3)


def test_the_step_is_compiled_with_them(monkeypatch):
    monkeypatch.setattr("jaxhp.engine.population.compiler_options", lambda _: {"xla_nonsense": 1})
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_nonsense"):
        search("random").run(quiet=True)
