import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_search import digest, search, shared, task

import jaxhp as hp
from jaxhp.population import Population
from jaxhp.result import Result
from jaxhp.store import Ledger

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from small_search import search
search("halving").run(sys.argv[1], checkpoint_s=0)
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("script") / "experiment.py"
    path.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    return path


@pytest.mark.parametrize("kind", ["random", "halving", "pbt"])
def test_a_step_that_runs_out_of_memory_is_retried_with_fewer_rows(kind, tmp_path, monkeypatch):
    step = Population.step

    def limited(self, state, configs, trials, layout, start, stop):
        if layout.tiles > 2 and stop > (kind != "halving"):
            jax.tree.map(lambda leaf: leaf.delete(), state)  # a step donates its members, and they are gone
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
        return step(self, state, configs, trials, layout, start, stop)

    monkeypatch.setattr(Population, "step", limited)
    result = shared(kind).run(tmp_path, quiet=True)
    monkeypatch.undo()
    assert result.digest == digest(kind)
    with Ledger(tmp_path) as ledger:
        notes = ledger.events("out of memory")
    assert (notes[0]["rows_before"], notes[0]["rows_now"]) == (9, 4)


def test_where_not_even_a_tile_fits_one_line_says_so(monkeypatch):
    def full(self, *args):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")

    monkeypatch.setattr(Population, "step", full)
    with pytest.raises(MemoryError, match="round 1: not even one tile fits: RESOURCE_EXHAUSTED"):
        shared("random").run(quiet=True)


def test_other_errors_of_a_step_name_the_trials_and_are_not_retried(monkeypatch):
    def broken(self, *args):
        raise jax.errors.JaxRuntimeError("INTERNAL: a callback failed")

    monkeypatch.setattr(Population, "step", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="a callback failed") as error:
        shared("random").run(quiet=True)
    assert error.value.__notes__[0].startswith("in round 1, training trial 0: {'lr': ")


def test_a_failing_function_names_the_config_of_its_group():
    def optimizer(config):
        raise ZeroDivisionError("no such optimizer")

    space = hp.Space(lr=hp.LogUniform(1e-3, 1.0), kind=hp.Choice(["sgd", "other"]))
    with pytest.raises(ZeroDivisionError, match="no such optimizer") as error:
        search("random", space=space, task=lambda static: task(optimizer=optimizer))
    assert "for the configs with {'kind': 'sgd'}" in error.value.__notes__


def test_members_that_diverge_leave_the_others_as_they_are_alone():
    """Weights grow by a factor of 1 + lr a step, so that a larger rate overflows in an earlier epoch."""
    rates = [1e-3, 30.0, 1e-2, 3e3, 1e-1, 300.0, 2e-3, 1e9]
    healthy = [rate for rate in rates if rate < 1]

    growing = task(loss=lambda params, batch, key, config: -0.5 * jnp.sum(params["w"] ** 2))
    space = hp.Space(lr=hp.Choice(rates, static=False))
    found = search(space=space, task=growing, strategy=hp.Grid((len(rates),)), tile=4).run(quiet=True)
    together = {trial.config["lr"]: trial.score for trial in found.trials}
    alone = hp.score(growing, [{"lr": rate} for rate in healthy], epochs=9, tile=4)
    assert {rate: np.isnan(score) for rate, score in together.items()} == {rate: rate > 1 for rate in rates}
    assert np.float32([together[rate] for rate in healthy]).tobytes() == alone.tobytes()
    epochs = {trial.config["lr"]: trial.diverged_at for trial in found.trials}
    assert all(epochs[rate] == 0 for rate in healthy)
    assert len({epochs[rate] for rate in rates if rate > 1}) >= 3
    for trial in found.trials:
        assert np.isnan(trial.curve["valid_error"]).sum() == (10 - trial.diverged_at if trial.diverged_at else 0)


def test_a_full_disk_stops_cleanly_and_a_resume_goes_on(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    shared("pbt").run(tmp_path / "warm", quiet=True, checkpoint_s=0)
    ends = 0
    for size in (3_000, 20_000, 50_000, 70_000, 100_000):
        directory = tmp_path / str(size)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
            shared("pbt").run(directory, quiet=True, checkpoint_s=0)
        except OSError as error:
            ends += 1
            assert str(directory) in str(error)  # noqa: PT017
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert shared("pbt").run(directory, quiet=True, checkpoint_s=0).digest == digest("pbt")
    assert ends >= 3


def wait_for(directory: Path, what, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (directory / "ledger.sqlite").exists():
            try:
                with Ledger(directory) as ledger:
                    if what(ledger):
                        return
            except ValueError:  # not there yet
                pass
        time.sleep(0.005)


def test_kill_and_signals_in_processes(script, tmp_path):
    """kill -9, then SIGTERM, then two at once, each on the same directory; a second process is refused meanwhile."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    directory = tmp_path / "run"

    def start() -> subprocess.Popen:
        command = [sys.executable, str(script), str(directory)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)

    process = start()
    wait_for(directory, lambda ledger: ledger.round(0) is not None, process)
    with pytest.raises(RuntimeError, match=f"another process \\(pid {process.pid}\\)"):
        Ledger(directory, write=True)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    process = start()
    wait_for(directory, lambda ledger: ledger.events("resume"), process)
    process.send_signal(signal.SIGTERM)
    _, shown = process.communicate()
    assert process.returncode == 75, shown
    assert f"Go on with: python {script} {directory}" in shown

    process = start()
    wait_for(directory, lambda ledger: len(ledger.events("resume")) > 1, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode in (130, 75, 0)

    process = start()
    _, shown = process.communicate()
    assert process.returncode == 0, shown
    assert Result.load(directory).digest == digest("halving")
