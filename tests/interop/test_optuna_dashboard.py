"""What `hp.optuna.optimize` does with a user's database, and that the real optuna-dashboard reads it."""

import json
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import optuna
import pytest
import small_loop

import jaxhp as hp

PROGRAM = shutil.which("optuna-dashboard", path=f"{Path(sys.executable).parent}")


def suggest(trial):
    trial.suggest_float("lr", 1e-3, 10.0, log=True)


def optimize(storage, **options):
    study = optuna.create_study(
        storage=storage,
        study_name="walk",
        load_if_exists=True,
        direction="minimize",
        sampler=optuna.samplers.TPESampler(seed=0),
    )
    options = {"batch": 8, "rounds": 2, "epochs": 6, "tile": 2, "quiet": True} | options
    return study, hp.optuna.optimize(study, small_loop.LOOP, suggest, **options)


@contextmanager
def dashboard(storage):
    """The server, and what asks it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(PROGRAM), storage, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(path):
        while True:
            try:
                with urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                    return json.load(answer)
            except HTTPError:
                raise
            except URLError:  # it does not listen yet
                assert server.poll() is None, "the dashboard has gone"
                time.sleep(0.2)

    try:
        yield ask
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.slow
def test_a_study_in_a_database_is_gone_on_with_and_opens_in_the_dashboard(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    study, result = optimize(storage, dir=tmp_path / "a", finals=hp.Finals(2, 4))
    assert result.estimate is not None
    assert len(study.trials) == 16
    again, same = optimize(storage, dir=tmp_path / "a", finals=hp.Finals(2, 4))
    assert (same.digest, len(again.trials)) == (result.digest, 16)
    more, _ = optimize(storage, finals=None)
    assert len(more.trials) == 32
    if PROGRAM is None:
        pytest.skip("optuna-dashboard is not installed")
    with dashboard(storage) as ask:
        (summary,) = ask("/api/studies")["study_summaries"]
        shown = ask(f"/api/studies/{summary['study_id']}")
    assert (summary["study_name"], shown["directions"]) == ("walk", ["minimize"])
    assert len(shown["trials"]) == 32
    for seen, trial in zip(shown["trials"], more.trials, strict=True):
        assert seen["state"].upper() == trial.state.name
        assert {s["step"]: s["value"] for s in seen["intermediate_values"]} == trial.intermediate_values
        assert {p["name"]: float(p["param_external_value"]) for p in seen["params"]} == trial.params
        assert seen.get("values") == trial.values or trial.values is None


def test_it_is_imported_when_it_is_used_and_missed_in_one_line():
    script = (
        "import sys; sys.modules['optuna'] = None\n"
        "import jaxhp as hp; hp.optuna; assert 'jax' not in sys.modules; from jaxhp import *\n"
        "for name in ('optimize', 'Study', 'Sampler', 'space', 'distributions', 'suggest'):\n"
        "    try: getattr(hp.optuna, name)(None, None, None)\n"
        "    except hp.Error as error: print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert len(told.splitlines()) == 6
    for line in told.splitlines():
        assert line.startswith("optuna: expected the package optuna (")
        assert line.endswith("): pip install 'optuna>=5.0', or 'jaxhp[interop]'")
