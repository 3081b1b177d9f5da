"""Compiled programs are kept by machine, and nothing that the user decided is overruled."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from jaxhp.engine.runtime import folder_for, keep_compiled

CPU = SimpleNamespace(platform="cpu", device_kind="cpu")
SCRIPT = """
import jax, jaxhp as hp
jax.numpy.zeros(1)  # JAX has compiled something before the search does
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
task = hp.tasks.mlp(hp.data.mnist_sample(60), hidden=(2,), batch_size=16)
print(hp.score(task, [{"lr": 0.1, "weight_decay": 0.0}], epochs=1))
"""


def run(**changes):
    """The script in a process without a cache of its own; its output."""
    env = {n: v for n, v in os.environ.items() if not n.startswith(("JAX_COMPILATION", "JAX_PERSISTENT"))}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env | changes, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.slow
def test_a_second_process_finds_what_the_first_compiled(tmp_path):
    first = run(XDG_CACHE_HOME=str(tmp_path))
    (folder,) = (tmp_path / "jaxhp").iterdir()
    kept = sorted(path.name for path in folder.iterdir() if path.name.endswith("-cache"))
    assert any("step" in name for name in kept)
    assert run(XDG_CACHE_HOME=str(tmp_path)) == first
    assert sorted(path.name for path in folder.iterdir() if path.name.endswith("-cache")) == kept


@pytest.mark.slow
def test_it_can_be_turned_off_and_is_done_without(tmp_path):
    run(XDG_CACHE_HOME=str(tmp_path / "off"), JAXHP_CACHE="off")
    assert not (tmp_path / "off").exists()
    (tmp_path / "file").touch()
    run(XDG_CACHE_HOME=str(tmp_path / "file"))  # no folder can be made there


def test_the_users_own_folder_stays():
    assert os.environ["JAX_COMPILATION_CACHE_DIR"]
    assert keep_compiled(CPU) is None


@pytest.mark.parametrize("other", [{"device_kind": "other"}, {"platform": "gpu"}])
def test_every_kind_of_device_has_its_folder(other, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder_for(CPU) == folder_for(CPU)
    assert folder_for(CPU).parent == tmp_path / "jaxhp"
    assert folder_for(SimpleNamespace(**(vars(CPU) | other))) != folder_for(CPU)
    monkeypatch.setattr("platform.node", lambda: "elsewhere")
    assert folder_for(CPU) != folder_for(SimpleNamespace(**(vars(CPU) | other)))
