"""Where things are written: through devices, not over links; again after a kill; under any name."""

import csv
import io
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from recorded import made

import jaxhp as hp
from jaxhp.cli import main
from jaxhp.interop import export, optuna_study, tensorboard_logs
from jaxhp.report.curves import draw_curves
from jaxhp.store.files import read_json
from jaxhp.store.ledger import Ledger


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made(tmp_path_factory.mktemp("places") / "run")


@pytest.mark.parametrize("command", [["export", "--to", "csv"], ["report"]])
def test_a_dash_is_standard_output(command, run, tmp_path):
    words = [sys.executable, "-m", "jaxhp", command[0], str(run), *command[1:], "--out"]
    done = subprocess.run([*words, "-"], capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(b"\n") == 1
    assert not list(tmp_path.iterdir())
    assert main([*words[3:], str(tmp_path / "file")]) == 0
    file = (tmp_path / "file").read_bytes()
    assert (file == done.stdout) or command[0] == "report"  # which has the moment in it
    if command[-1] == "csv":
        assert len(list(csv.reader(io.StringIO(done.stdout.decode())))) == 30


@pytest.mark.parametrize("to", ["optuna", "tensorboard"])
def test_what_is_no_stream_is_not_written_to_standard_output(to, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run), "--to", to, "--out", "-"]) == 2
    assert "only a table is written to standard output" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_fifo_and_a_device_are_written_through(run, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "fifo").read_bytes()))
    reader.start()
    export(run, "csv", tmp_path / "fifo")
    reader.join()
    assert (tmp_path / "fifo").is_fifo()
    export(run, "csv", tmp_path / "file")
    assert read == [(tmp_path / "file").read_bytes()]
    export(run, "csv", "/dev/null")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("to", ["csv", "parquet", "optuna", "tensorboard", "report"])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_is_neither_followed_nor_replaced(to, dangling, run, tmp_path, capsys):
    target, link = tmp_path / "target", tmp_path / "link"
    if not dangling:
        target.write_text("precious")
    link.symlink_to(target)
    words = ["report"] if to == "report" else ["export", "--to", to]
    assert main([words[0], str(run), *words[1:], "--out", str(link)]) == 2
    told = capsys.readouterr().err
    assert "link" in told
    assert told.count("\n") == 1
    assert link.is_symlink()
    assert (target.read_text() == "precious") if not dangling else not target.exists()


@pytest.mark.parametrize("name", ["trials.csv", "trials.parquet", "optuna.db", "report.html"])
def test_what_stands_at_a_default_place_leads_nowhere(name, tmp_path, capsys):
    """In a directory from somebody else."""
    run = made(tmp_path / "run")
    (tmp_path / "precious").write_text("x")
    to = {"trials.csv": "csv", "trials.parquet": "parquet", "optuna.db": "optuna"}.get(name)
    for plant in (lambda p: p.symlink_to(tmp_path / "precious"), os.mkfifo):
        plant(run / name)
        assert main(["export", str(run), "--to", to] if to else ["report", str(run)]) == 2
        assert name in capsys.readouterr().err
        (run / name).unlink()
    assert (tmp_path / "precious").read_text() == "x"


def test_a_link_in_place_of_the_picture_is_replaced(tmp_path):
    run = made(tmp_path / "run")
    (tmp_path / "precious").write_text("x")
    (run / "curves.png").symlink_to(tmp_path / "precious")
    draw_curves(hp.Result.load(run).trials, "accuracy", run / "curves.png")
    assert (tmp_path / "precious").read_text() == "x"
    assert not (run / "curves.png").is_symlink()


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize(("after", "before"), [(0, False), (1, True), (9, False)])
def test_a_study_that_a_kill_left_half_written_is_made_again(after, before, run, tmp_path, monkeypatch):
    """Also in a storage that holds other studies."""
    place = tmp_path / "all.db"
    if before:
        export(made(tmp_path / "other"), "optuna", place)
    calls, add, attr = [], optuna.Study.add_trial, optuna.Study.set_user_attr

    def dying(self, *args):
        calls.append(1)
        if len(calls) > after:
            raise Killed
        (add if len(args) == 1 else attr)(self, *args)

    monkeypatch.setattr(optuna.Study, "add_trial", dying)
    if after < 9:
        monkeypatch.setattr(optuna.Study, "set_user_attr", dying)
    with pytest.raises(Killed):
        export(run, "optuna", place)
    monkeypatch.undo()
    assert export(run, "optuna", place)[1] == 27
    with closing(sqlite3.connect(place)) as db:
        assert db.execute("SELECT count(*) FROM studies").fetchone() == (1 + before,)
        assert db.execute("SELECT count(*) FROM trials").fetchone() == (27 * (1 + before),)
    with pytest.raises(hp.Error, match="has a study named 'run' already"):
        export(run, "optuna", place)


def test_a_study_of_somebody_else_is_left_alone(run, tmp_path):
    with optuna_study._opened(tmp_path / "a.db") as storage:
        study = optuna.create_study(storage=storage, study_name="run")
        study.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(hp.Error, match="has a study named 'run' already"):
        export(run, "optuna", tmp_path / "a.db")


def test_event_files_that_a_kill_left_half_written_are_made_again(run, tmp_path, monkeypatch):
    write, calls = tensorboard_logs.append, []

    def dying(*args):
        calls.append(1)
        if len(calls) == 9:
            raise Killed
        write(*args)

    monkeypatch.setattr(tensorboard_logs, "append", dying)
    with pytest.raises(Killed):
        export(run, "tensorboard", tmp_path / "logs")
    assert not (tmp_path / "logs").exists()
    (tmp_path / "logs").mkdir()
    assert export(run, "tensorboard", tmp_path / "logs")[1] == 29
    assert {path.name for path in tmp_path.iterdir()} == {"logs"}
    assert len(list((tmp_path / "logs").rglob("events*"))) == 30


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are Unicode")
@pytest.mark.parametrize("name", [b"50% of? it&y=%2e#z", b"not \xff UTF-8"])
def test_any_name_of_a_directory_is_exported(name, tmp_path, capsysbinary):
    directory = made(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)))
    for to in ("csv", "optuna", "tensorboard"):
        assert main(["export", str(directory), "--to", to]) == 0
    assert main(["report", str(directory)]) == 0
    assert main(["show", str(directory)]) == 0
    made_files = {path.name for path in directory.iterdir()}
    assert {"trials.csv", "optuna.db", "tensorboard", "report.html"} <= made_files
    with closing(sqlite3.connect(directory / "optuna.db")) as db:
        assert db.execute("SELECT count(*) FROM trials").fetchone() == (27,)


def test_a_home_directory_is_meant_by_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    made(tmp_path / "run")
    assert hp.Result.load("~/run").directory == tmp_path / "run"
    assert export("~/run", "csv", "~/a.csv")[1] == 29
    assert (tmp_path / "a.csv").is_file()
    with pytest.raises(hp.Error, match="dir: expected a path, got '~nobody-of-that-name/run'"):
        hp.Result.load("~nobody-of-that-name/run")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["show", "-run"],
            "the following arguments are required: dir; a name that begins with a dash is given as ./-name",
        ),
        (["run", "a.py", "--dir", "-run"], "argument --dir: expected one argument; a name that begins with a dash"),
        (["shwo", "run"], "invalid choice: 'shwo'"),
        (
            ["show", "{link}"],
            "dir: expected a path that leads somewhere, got {link}: a link to gone, which does not exist",
        ),
        (["show", "{long}"], "(5001 characters): File name too long"),
        (["show", "/{long}"], "(5002 characters): File name too long"),
        (["digest", "a\0b"], "dir: expected a path, got "),
        (["plan", "{long}.py"], "FILE: expected a path that leads somewhere, got "),
        (["digest", "{loop}"], "Too many levels of symbolic links"),
        (["report", "{fifo}"], "expected a JSON object, got: something that is no file"),
    ],
)
def test_a_path_that_leads_nowhere_gets_one_line(words, told, tmp_path, capsys):
    (tmp_path / "link").symlink_to("gone")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "fifo").mkdir()
    os.mkfifo(tmp_path / "fifo" / "manifest.json")
    names = {name: tmp_path / name for name in ("link", "loop", "fifo")} | {"long": "x" * 5001}
    assert main([word.format(**names) for word in words]) == 2
    line = capsys.readouterr().err
    assert line.startswith("jaxhp: ")
    assert told.format(**names) in line
    assert line.count("\n") == 1
    assert len(line) < 500


def test_a_search_is_not_begun_at_a_dangling_link(tmp_path):
    (tmp_path / "link").symlink_to("gone")
    with pytest.raises(hp.Error, match="a link to gone, which does not exist"):
        Ledger(tmp_path / "link", write=True)
    assert not (tmp_path / "gone").exists()
    with pytest.raises(hp.Error, match="expected a JSON object, got: something that is no file"):
        read_json(Path("/dev/zero"))
