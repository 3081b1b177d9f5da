"""The command line, on a small experiment file: what it prints, and what it says when something does not fit."""

import json
import shlex
import signal
import subprocess
import sys
import time

import pytest

from jaxhp.cli import main
from jaxhp.search.experiment import Experiment
from jaxhp.store.ledger import Ledger

FILE = """
from pathlib import Path
import numpy as np, jax, optax
import jaxhp as hp

x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
data = {"x": x, "y": x.sum(1)}
train, valid = hp.split(data)
task = hp.Task(
    lambda key, config: {"w": 0.1 * jax.random.normal(key, (4,))},
    lambda p, batch, key, config: ((batch["x"] @ p["w"] - batch["y"]) ** 2).mean(),
    lambda p, batch, config: {"error": (batch["x"] @ p["w"] - batch["y"]) ** 2},
    lambda config: optax.sgd(config["lr"]),
    train=train, valid=valid, test=valid, batch_size=8, metric="error", mode="min",
)
space = hp.Space(lr=hp.LogUniform(1e-4, 0.3))
search = hp.Search(task, space, hp.Narrowing(population=12, rounds=2), epochs=4, finals=hp.Finals(2, 4))
wild = hp.Search(task, hp.Space(lr=hp.LogUniform(1e8, 1e9)), hp.Random(4), epochs=4)
long = search.changed(epochs=200_000, population=2, rounds=1, finals=None)
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("experiment") / "small.py"
    path.write_text(FILE)
    return path


@pytest.fixture(scope="module")
def done(file, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    assert main(["run", str(file), "--dir", str(directory)]) == 0
    return directory


@pytest.fixture(scope="module")
def smoked(file, tmp_path_factory):
    directory = tmp_path_factory.mktemp("smoked")
    assert main(["run", str(file), "--dir", str(directory), "--smoke", "--set", "population=3"]) == 0
    return directory


def out(capsys, *arguments):
    code = main([str(a) for a in arguments])
    return code, *capsys.readouterr()


def test_run_ends_with_a_table_a_picture_and_the_choice(file, done, capsys):
    code, shown, _ = out(capsys, "run", file, "--dir", done)  # finished: it is shown again, and not run
    assert code == 0
    assert shown.splitlines()[0].split() == [
        "rank",
        "trial",
        "error",
        "±",
        "stderr",
        "finals",
        "lr",
        "epochs",
        "round",
        "status",
    ]
    assert "chosen    trial" in shown
    assert "raw best  error" in shown
    assert (done / "curves.png").read_bytes().startswith(b"\x89PNG")
    following = shown[shown.index("next ") :]
    commands = [line[10:].split("  # ")[0].strip() for line in following.splitlines()]
    assert [shlex.split(command)[:2] for command in commands[:-1]] == [
        ["jaxhp", name] for name in ("report", "extend", "test", "verify")
    ]
    assert all(shlex.split(command)[2] == str(done) for command in commands[:-1])
    assert "best.params" in commands[-1]


def test_where_every_trial_diverged_it_says_so_and_where_and_exits_with_a_code_of_its_own(file, tmp_path, capsys):
    code, shown, _ = out(capsys, "run", f"{file}:wild", "--dir", tmp_path)
    assert code == 3
    trials = json.loads(out(capsys, "show", tmp_path, "--json")[1])
    epochs, rates = [t["diverged_at"] for t in trials], [t["config"]["lr"] for t in trials]
    latest = max(trials, key=lambda t: t["diverged_at"])
    when = f"in epochs {min(epochs)} to {max(epochs)}" if min(epochs) < max(epochs) else f"in epoch {epochs[0]}"
    assert f"chosen    none: every trial diverged, 4 trials {when}\n" in shown
    assert (
        f"longest   trial {latest['trial_id']}, diverged in epoch {max(epochs)}: lr={latest['config']['lr']:.4g}"
        in shown
    )
    assert f"tried     lr {min(rates):.3e} to {max(rates):.3e}; search elsewhere" in shown
    assert "nan" not in shown
    assert "raw best" not in shown
    assert not (tmp_path / "best.safetensors").exists()
    summary = out(capsys, "show", tmp_path, "--top", 1)[1].split("\n\n")[1]
    assert summary.split("\nbits ")[0] in shown
    assert "every trial diverged" in out(capsys, "test", tmp_path)[2]
    main(["report", str(tmp_path)])
    page = (tmp_path / "report.html").read_text()
    assert "Nothing chosen" in page
    assert ">chosen</span>" not in page  # on no trial


def test_show_prints_ranked_trials_as_json(done, capsys):
    code, shown, _ = out(capsys, "show", done, "--json")
    assert code == 0
    trials = json.loads(shown)
    assert len(trials) == 24
    assert {"trial_id", "config", "score", "status", "round", "epochs"} <= set(trials[0])
    scores = [t["score"] for t in trials if t["score"] is not None]
    assert scores == sorted(scores)
    assert json.loads(out(capsys, "show", done, "--top", 3, "--json")[1]) == trials[:3]
    assert {t["round"] for t in trials} == {0, 1}
    rows = out(capsys, "show", done, "--top", 24)[1].split("\n\n")[0].splitlines()[1:]
    assert [int(row.split()[-2]) for row in rows] == [t["round"] + 1 for t in trials]  # a person counts from 1
    assert len(out(capsys, "show", done, "--top", 3)[1].split("\n\n")[0].splitlines()) == 4


@pytest.mark.parametrize("arguments", [["show"], ["show", "--json"], ["digest"]])
def test_what_reads_does_without_jax(arguments, done):
    script = "import sys; from jaxhp.cli import main; code = main(sys.argv[1:]); sys.exit(code or 'jax' in sys.modules)"
    command = [sys.executable, "-c", script, *arguments, str(done)]
    assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0


def test_plan_trains_nothing(file, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, shown, _ = out(capsys, "plan", file, "--json", "--set", "epochs=7")
    assert code == 0
    plan = json.loads(shown)
    assert plan["rungs"] == [[12, 7], [12, 7]]
    assert {"tile", "waves", "peak_bytes", "epoch_flops"} <= set(plan["groups"][0])
    assert "MFLOP a member and epoch" in out(capsys, "plan", file)[1]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_equal_searches_have_equal_digests(file, done, tmp_path, capsys):
    expected = out(capsys, "digest", done)[1]
    assert len(expected.strip()) == 64
    main(["run", str(file), "--dir", str(tmp_path / "same")])
    main(["run", str(file), "--dir", str(tmp_path / "other"), "--seed", "1"])
    capsys.readouterr()
    assert out(capsys, "digest", tmp_path / "same")[1] == expected
    assert out(capsys, "digest", tmp_path / "other")[1] != expected


def test_a_run_is_watched_also_one_that_is_finished(done, file, tmp_path):
    logs, path = tmp_path / "logs", tmp_path / "curves.csv"
    assert main(["run", str(file), "--dir", str(done), "--watch", f"tensorboard:{logs}", "--watch", f"csv:{path}"]) == 0
    rows = path.read_text().splitlines()
    assert len(rows) == 1 + 24 * (4 * 2 + 1)  # trials, epochs, train and valid, the score
    assert len(list(logs.glob("*/trial_*"))) == 24


@pytest.mark.slow
def test_verify_trains_again_and_finds_nothing(file, tmp_path, capsys):
    assert main(["run", str(file), "--dir", str(tmp_path / "run"), "--smoke"]) == 0
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "run"), "--trials", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("trials trained again: every bit is as it was recorded")


def test_smoke_and_set_change_the_search(smoked, capsys):
    assert len(json.loads(out(capsys, "show", smoked, "--json")[1])) == 6


def test_test_opens_the_sealed_data_and_counts(file, smoked, capsys):
    code, shown, told = out(capsys, "test", smoked, "--seeds", 2)
    assert code == 0
    assert f"running the code of {file}:search population=3 (smoke)" in told
    assert "test      error" in shown
    assert "opening 2: no longer a test" in out(capsys, "test", smoked, "--seeds", 2)[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "missing.py"], "missing.py: expected an experiment, a Python file; found none"),
        (["run", "{file}:task"], "expected a jaxhp.Search named 'task', got Task"),
        (["run", "{file}", "--set", "epoks=3"], "epoks: expected an argument of the search or its strategy (epochs,"),
        (["run", "{file}", "--set", "epochs"], "--set: expected KEY=VALUE, got 'epochs'"),
        (["run", "{file}", "--set", "epochs=many"], "epochs: expected an integer, got 'many'"),
        (["run", "{file}", "--dir", "{done}", "--seed", "5"], "holds another search: its seed is 0, now it is 5"),
        (
            ["run", "{file}", "--watch", "csvv:a"],
            "--watch: expected tensorboard:DIR, mlflow[:URI], wandb[:PROJECT] or csv",
        ),
        (["resume", "{done}", "--watch", "csv"], "--watch: expected tensorboard:DIR"),
        (["run", "{file}", "--watch", "csv:{empty}"], "watch: CSV path: expected a writable file, got {empty}"),
        (["show", "{empty}"], "expected a run directory, found no manifest.json in it"),
        (["show", "{done}", "--top", "0"], "--top: expected at least 1, got 0"),
        (["digest", "{empty}"], "{empty}"),
        (["resume", "{empty}"], "expected a run directory"),
        (["run", "{file}", "--time", "soon"], "--time: expected a time such as 30m, 1h30m or 90s, got 'soon'"),
        (["run", "{file}", "--target", "nan"], "target: expected a finite number, got nan"),
        (["extend", "{done}"], "extend: expected --rounds +N or --epochs N, got neither"),
        (
            ["extend", "{done}", "--rounds", "two"],
            "--rounds: expected a number such as +2, more, or 6, in all, got 'two'",
        ),
        (["extend", "{empty}", "--rounds", "+2"], "expected a run directory"),
    ],
)
def test_what_does_not_fit_gets_one_line(arguments, told, file, done, tmp_path, capsys):
    names = {"file": file, "done": done, "empty": tmp_path}
    code, _, line = out(capsys, *(a.format(**names) for a in arguments))
    assert code == 2
    assert line.startswith("jaxhp: ")
    assert told.format(**names) in line
    assert line.count("\n") == 1


def test_an_error_in_the_file_names_its_line(tmp_path, capsys):
    file = tmp_path / "bad.py"
    file.write_text("import jaxhp as hp\n\nspace = hp.Space(lr=hp.LogUniform(1, 0.1))\n")
    code, _, line = out(capsys, "plan", file)
    assert code == 2
    assert line == ("jaxhp: LogUniform: expected low <= high, got low=1, high=0.1\n" + f"  at {file}, line 3\n")


def test_what_jax_notes_on_a_traceback_is_not_shown(tmp_path, capsys):
    """A file that a user's function does not find, under `jax.eval_shape`."""
    file = tmp_path / "bad.py"
    file.write_text("import jax\n\njax.eval_shape(lambda: open('/nonexistent/file'))\n")
    code, _, line = out(capsys, "plan", file)
    assert code == 2
    assert line == f"jaxhp: [Errno 2] No such file or directory: '/nonexistent/file'\n  at {file}, line 3\n"


def test_a_stopped_search_is_resumed_by_its_directory(file, tmp_path, capsys):
    """A real process, a real SIGTERM, and the command that it names."""
    directory = tmp_path / "run"
    command = [sys.executable, "-m", "jaxhp", "run", f"{file}:long", "--dir", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while True:
        if (directory / "manifest.json").exists():  # the ledger is whole by then
            with Ledger(directory) as ledger:
                if ledger.round(0) is not None:
                    break
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=600)
    assert process.returncode == 75, told
    assert f"jaxhp resume {directory}" in told
    record = json.loads((directory / "manifest.json").read_text())["experiment"]
    assert Experiment.from_json(record) == Experiment(str(file), "long", {}, False)


@pytest.mark.parametrize(
    "record", [None, [], {}, {"file": "x.py"}, {"file": 1, "name": "a", "changes": {}, "smoke": False}]
)
def test_a_record_of_something_else_is_refused(record):
    with pytest.raises(ValueError, match="expected the record of an experiment file"):
        Experiment.from_json(record)
