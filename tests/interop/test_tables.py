"""CSV and Parquet: every trial is a row, every value comes back as it was."""

import csv

import numpy as np
import pytest
from pyarrow import parquet
from recorded import made

import jaxhp as hp
from jaxhp.interop import export

ODD = hp.Space(
    **{
        "epochs": hp.IntUniform(1, 5),
        'a,b"c\nd': hp.Choice(['x,"y"\nz', "plain", ""]),
        "mixed": hp.Choice([True, 2, "three"]),
        "<script>alert(1)</script>": hp.Uniform(0.0, 1.0),
    }
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made(tmp_path_factory.mktemp("run"))


def rows_of(path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_row_a_trial_best_first_with_its_config_score_and_finals(run, tmp_path):
    place, written, left_out = export(run, "csv", tmp_path / "t.csv")
    assert (place, written, left_out) == (str(tmp_path / "t.csv"), 29, 0)
    rows = rows_of(place)
    trials = hp.Result.load(run).trials
    assert [int(row["trial_id"]) for row in rows] == [t.trial_id for t in trials]
    assert [int(row["rank"]) for row in rows] == list(range(1, 30))
    for row, trial in zip(rows, trials, strict=True):
        assert float(row["config.lr"]) == trial.config["lr"]
        assert (row["config.momentum"] == "") == ("momentum" not in trial.config)
        assert row["status"] == str(trial.status)
        assert (row["score"] == "") == np.isnan(trial.score)
        assert row["score"] == "" or float(row["score"]) == trial.score
    assert [row["finals.p_best"] for row in rows[:4]] == ["0.55", "0.4", "0.05", ""]
    assert [row["chosen"] for row in rows[:3]] == ["False", "True", "False"]
    assert {row["status"] for row in rows} == {"complete", "stopped", "diverged", "running"}


def test_names_and_values_of_any_kind_are_quoted(tmp_path):
    run = made(tmp_path / "run", space=ODD, metric='0,"')
    rows = rows_of(export(run, "csv")[0])
    trials = hp.Result.load(run).trials
    for row, trial in zip(rows, trials, strict=True):
        assert {name: row[f"config.{name}"] for name in trial.config} == {n: str(v) for n, v in trial.config.items()}
        assert row["epochs"] == str(trial.epochs)  # a hyperparameter of that name does not hide it


def test_parquet_has_types_and_the_same_values(run, tmp_path):
    found = parquet.read_table(export(run, "parquet", tmp_path / "t.parquet")[0])
    kinds = {field.name: str(field.type) for field in found.schema}
    assert kinds["config.lr"] == "double"
    assert kinds["config.width"] == "int64"
    assert kinds["config.kind"] == "string"
    assert kinds["chosen"] == "bool"
    assert found.schema.metadata == {b"jaxhp.metric": b"accuracy", b"jaxhp.mode": b"max"}
    rows, expected = found.to_pylist(), hp.Result.load(run).trials
    assert [row["config.lr"] for row in rows] == [t.config["lr"] for t in expected]
    assert [row["config.momentum"] for row in rows] == [t.config.get("momentum") for t in expected]
    assert [row["score"] for row in rows] == [t.score if np.isfinite(t.score) else None for t in expected]
    assert rows[0]["finals.candidate"] is True
    assert rows[-1]["finals.candidate"] is None


def test_parquet_keeps_a_mixed_choice_as_json(tmp_path):
    found = parquet.read_table(export(made(tmp_path / "run", space=ODD), "parquet")[0]).to_pydict()
    assert set(found["config.mixed"]) == {"true", "2", '"three"'}
