"""What only reads a run directory executes nothing that it holds: commands in a process under an audit hook."""

import json
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from recorded import ENVIRONMENT, made

import jaxhp
from jaxhp.store import columns
from jaxhp.store.ledger import _crc

COMMANDS = {
    "show": ["show"],
    "show --json": ["show", "--json"],
    "report": ["report"],
    "digest": ["digest"],
    "csv": ["export", "--to", "csv"],
    "parquet": ["export", "--to", "parquet"],
    "optuna": ["export", "--to", "optuna"],
    "tensorboard": ["export", "--to", "tensorboard"],
}
# Runs commands, and after each names whatever the interpreter was asked to run or to unpickle from the directory, and
# any program that was started. `-P` keeps the working directory out of the path of imports, as the installed command
# does.
WATCH = """
import sys, os
directory, seen = os.getcwd(), []

def hook(event, args):
    ran = event.startswith(("pickle.", "os.system", "os.exec", "os.posix_spawn", "subprocess."))
    if ran and args[0] != "/sbin/ldconfig":  # where ctypes looks for libraries, when torch is installed
        seen.append((event, str(args)[:200]))
    where = {"exec": lambda: args[0].co_filename, "compile": lambda: args[1]}.get(event, str)()
    if str(where).startswith(directory):
        seen.append((event, where))

sys.addaudithook(hook)
from jaxhp.cli import main
for words in sys.argv[1:]:
    before = len(seen)
    code = main(words.split())
    print(f"\\nwatched {code} {seen[before:]}", file=sys.stderr)
    print(flush=True, end="\\0")
sys.exit(100 + code if seen else code)
"""


class Bomb:
    """Unpickling it leaves a mark."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="module")
def mark(tmp_path_factory):
    """What code that runs would make; nothing ever does."""
    return tmp_path_factory.mktemp("mark") / "executed"


@pytest.fixture(scope="module")
def planted(mark, tmp_path_factory):
    """A whole search whose directory is full of code."""
    code = f"import os; os.mkdir({str(mark)!r})"
    call = f"__import__('os').mkdir({str(mark)!r})"
    directory = tmp_path_factory.mktemp("planted") / "run"
    experiment = {"file": str(directory / "experiment.py"), "name": "search", "changes": {"seed": call}, "smoke": False}
    facts = {"strategy": call, "finals": call, "task": call, "tile": call, "experiment": experiment}
    made(directory, **facts, environment=ENVIRONMENT | {"jax": call, "argv": ["-c", code]})
    names = ("experiment", "jaxhp", "json", "numpy", "sitecustomize", "usercustomize", "optuna", "conftest", "readline")
    for name in names:
        (directory / f"{name}.py").write_text(code)
    (directory / "matplotlibrc").write_text("backend: module://experiment")
    bomb = pickle.dumps(Bomb(mark))
    checkpoint = directory / "checkpoints" / "00001-000001"
    checkpoint.mkdir(parents=True)
    for place in ("best.safetensors", "best.pkl", "state.npy", "summary.json"):
        (directory / place).write_bytes(bomb)
        (checkpoint / place).write_bytes(bomb)
    np.save(checkpoint / "object.npy", np.array([Bomb(mark)], object), allow_pickle=True)
    return directory


def run(directory: Path, *commands: list[str]) -> subprocess.CompletedProcess:
    root = Path(jaxhp.__file__).parents[1]
    words = (" ".join([command[0], ".", *command[1:]]) for command in commands)
    whole = [sys.executable, "-P", "-c", WATCH, *words]
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.run(whole, cwd=directory, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def done(planted):
    """What one process of all commands gave."""
    return run(planted, *COMMANDS.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_reads_runs_nothing_from_the_directory(name, done, mark):
    watched = [line for line in done.stderr.splitlines() if line.startswith("watched ")]
    assert dict(zip(COMMANDS, watched, strict=True))[name] == "watched 0 []", done.stderr
    assert dict(zip(COMMANDS, done.stdout.split("\0")[:-1], strict=True))[name]
    assert done.returncode == 0, done.stderr
    assert not mark.exists()


def test_the_watch_would_see_it(planted, tmp_path):
    """The same watch on a command that is asked to run the file, and says so."""
    directory = tmp_path / "run"
    shutil.copytree(planted, directory)
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["experiment"] = {"file": str(directory / "experiment.py"), "name": "search", "changes": {}, "smoke": False}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    (directory / "experiment.py").write_text("print('it ran')")
    done = run(directory, ["resume"])
    assert done.returncode > 100
    assert f"running the code of {directory / 'experiment.py'}" in done.stderr
    assert "experiment.py" in done.stderr.splitlines()[-1]
    assert "it ran" in done.stdout


@pytest.mark.parametrize("name", ["show", "report", "digest", "csv"])
def test_a_pickle_in_the_ledger_is_damage(name, mark, tmp_path):
    """A column that claims to hold Python objects, with every checksum right."""
    directory = made(tmp_path / "run")
    bomb = columns.Packed("config.lr", "|O", json.dumps([27]), pickle.dumps(Bomb(mark)), 0)
    bomb = bomb._replace(crc=columns._crc(*bomb[:4]))
    with sqlite3.connect(directory / "ledger.sqlite") as db:
        change = "UPDATE columns SET dtype = ?, data = ?, crc = ? WHERE round = 0 AND name = ?"
        db.execute(change, (bomb.dtype, bomb.data, bomb.crc, bomb.name))
        known = db.execute("SELECT name, crc FROM columns WHERE round = 0 ORDER BY name").fetchall()
        row = db.execute("SELECT round, epochs, wall_s FROM rounds WHERE round = 0").fetchone()
        db.execute("UPDATE rounds SET crc = ? WHERE round = 0", (_crc(*row, *known),))
    db.close()
    done = run(directory, COMMANDS[name])
    assert done.returncode == 2, done.stderr
    assert "config.lr of round 1 is damaged: expected numbers, got dtype '|O'" in done.stderr
    assert done.stderr.splitlines()[-1] == "watched 2 []"
    assert not mark.exists()
