import contextlib
import itertools
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_search import digest, search, shared, task

import jaxhp as hp
from jaxhp.engine.population import Population
from jaxhp.report.result import Result
from jaxhp.store.ledger import Ledger

SCRIPT = """
import sys
import time
sys.path.insert(0, {tests!r})
from jaxhp.engine.population import Population
from jaxhp import Stopped
from small_search import search
if "endless" in sys.argv:
    Population.step = lambda *_: time.sleep(1000)
try:
    search("halving").run(sys.argv[1], checkpoint_s=0)
except Stopped:
    sys.exit(75)
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("script") / "experiment.py"
    path.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1])))
    return path


@pytest.mark.slow
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


@contextlib.contextmanager
def readable_only(directory: Path) -> Iterator[None]:
    """Takes this process the permission to write there; root, whom none binds, becomes nobody meanwhile."""
    root = os.geteuid() == 0
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        if root:
            os.seteuid(65534)
        yield
    finally:
        if root:
            os.seteuid(0)
        for path in (directory, *directory.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_directory_without_write_permission_is_refused_in_one_line_and_shown():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        directory = Path(folder) / "run"
        shared("random").run(directory, quiet=True)
        Path(folder).chmod(0o755)
        before = Result.load(directory, 1).summary()
        with readable_only(directory):
            with pytest.raises(OSError, match=r"dir: expected a writable directory, got .*: Permission denied"):
                Ledger(directory, write=True)
            assert Result.load(directory, 1).summary() == before


@pytest.mark.slow
def test_a_full_file_system_stops_cleanly_and_a_resume_goes_on(tmp_path):
    """A real one, of 400 kB; resumed once it has been made larger."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a file system here: {mounted.stderr.decode().strip()}")
    try:
        directories = (small / str(number) for number in itertools.count())

        def fill() -> None:
            for directory in directories:
                shared("pbt").run(directory, quiet=True, checkpoint_s=0)

        with pytest.raises(OSError, match=r"cannot be written|writable"):
            fill()
        directory = max(small.iterdir(), key=lambda path: int(path.name))
        kept = []
        if (directory / "manifest.json").exists():
            with Ledger(directory) as ledger:
                kept = [t.trial_id for t in ledger.trials(curves=False) if t.epochs]
        subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
        result = shared("pbt").run(directory, quiet=True, checkpoint_s=0)
        assert set(kept) <= {t.trial_id for t in result.trials}
        assert result.digest == digest("pbt")
    finally:
        subprocess.run(["umount", str(small)], check=True)


def wait_for(directory: Path, what, process: subprocess.Popen) -> None:
    while process.poll() is None:
        if (directory / "ledger.sqlite").exists():
            try:
                with Ledger(directory) as ledger:
                    if what(ledger):
                        return
            except ValueError:  # not there yet
                pass
        time.sleep(0.005)


def start(script: Path, directory: Path, *options: str) -> subprocess.Popen:
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(script.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, str(script), str(directory), *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
def test_kill_and_signals_in_processes(script, tmp_path):
    """kill -9, then SIGTERM, then Ctrl-C on one directory; a second process is refused meanwhile."""
    process = start(script, tmp_path)
    wait_for(tmp_path, lambda ledger: ledger.round(0) is not None, process)
    with pytest.raises(hp.Error, match=f"another process \\(pid {process.pid}\\) is running this search"):
        shared("halving").run(tmp_path, quiet=True)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    for number, name in enumerate(("SIGTERM", "SIGINT"), 1):
        process = start(script, tmp_path)
        wait_for(tmp_path, lambda ledger, n=number: len(ledger.events("resume")) == n, process)
        process.send_signal(getattr(signal, name))
        _, shown = process.communicate()
        assert process.returncode == 75, shown
        assert f"{name}: stopping after this step" in shown
        assert f"Go on with: python {script} {tmp_path}" in shown
    process = start(script, tmp_path)
    _, shown = process.communicate()
    assert process.returncode == 0, shown
    assert Result.load(tmp_path).digest == digest("halving")


def test_a_second_signal_stops_at_once(script, tmp_path):
    process = start(script, tmp_path, "endless")
    wait_for(tmp_path, lambda ledger: ledger.round(0) is not None, process)
    process.send_signal(signal.SIGINT)
    while "stopping after this step" not in process.stderr.readline():  # two that nobody has taken yet are one
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
    assert process.returncode == 128 + signal.SIGINT
    with Ledger(tmp_path, write=True) as ledger:
        assert len(ledger.trials()) == 9
