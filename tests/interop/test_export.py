"""What `jaxhp export` says."""

import sys

import pytest
from recorded import made

from jaxhp.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made(tmp_path_factory.mktemp("run"))


def test_it_says_what_it_wrote_and_what_it_left_out(run, tmp_path, capsys):
    assert main(["export", str(run), "--to", "csv", "--out", str(tmp_path / "a.csv")]) == 0
    assert capsys.readouterr().out == f"29 trials in {tmp_path}/a.csv\n"
    assert main(["export", str(run), "--to", "optuna", "--out", str(tmp_path / "a.db")]) == 0
    assert capsys.readouterr().out == f"27 trials in {tmp_path}/a.db; 2 still in training are left out\n"


@pytest.mark.parametrize(
    ("to", "package"), [("parquet", "pyarrow"), ("optuna", "optuna"), ("tensorboard", "tensorboardX")]
)
def test_a_missing_package_is_named(to, package, run, monkeypatch, capsys):
    for module in [name for name in sys.modules if name.startswith(("jaxhp.interop.", package))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["export", str(run), "--to", to]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"jaxhp: to: {to} needs the package {package} (")
    assert told.endswith(f"pip install {package}, or 'jaxhp[interop]'\n")
    assert told.count("\n") == 1


@pytest.mark.parametrize("out", ["missing/a.csv", "."])
def test_where_nothing_can_be_written_is_said(out, run, tmp_path, capsys):
    assert main(["export", str(run), "--to", "csv", "--out", str(tmp_path / out)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_directory_of_something_else_is_said(tmp_path, capsys):
    assert main(["export", str(tmp_path), "--to", "csv"]) == 2
    assert "expected a run directory" in capsys.readouterr().err
