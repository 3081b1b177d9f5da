"""What the page, tables and other tools say of a front, read from a directory made by hand."""

import csv
import json

import numpy as np
import optuna
import pytest
from recorded import front

import jaxhp as hp
from jaxhp.cli import main
from jaxhp.interop import export
from jaxhp.report.page import write_report


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return front(tmp_path_factory.mktemp("front") / "search")


def expected(result):
    """The ids on the front, by the definition."""
    vectors = {
        t.trial_id: (t.curve["valid_accuracy"][-1], -t.curve["valid_size"][-1])
        for t in result.trials
        if t.curve["valid_latency"][-1] <= 2 and np.isfinite(t.score)
    }
    beaten = {i for i, a in vectors.items() for b in vectors.values() if b != a and b[0] >= a[0] and b[1] >= a[1]}
    return set(vectors) - beaten


def test_the_page_has_the_front(run):
    page = write_report(run).read_text()
    result = hp.Result.load(run)
    assert (
        f"{len(result.front)} trials that keep latency at most 2, none better than another in all of accuracy" in page
    )
    assert page.count('class="point front"') + page.count('class="point chosen"') >= len(result.front)
    assert "accuracy by size" in page
    assert "Estimates along the front" in page
    assert "size: lower is better" in page


def test_the_summary_and_the_table_name_all_objectives(run):
    result = hp.Result.load(run)
    assert set(result.front.trial_id.tolist()) == expected(result)
    assert len(result.front) > 2
    summary = result.summary()
    assert "chosen is the best in accuracy" in summary
    assert summary.count("8 fresh replicates)") == len(result.measured) == 3
    assert result.table().split()[2:6] == ["accuracy", "±", "stderr", "size"]
    latencies = [t.curve["valid_latency"][-1] for t in result.trials[:-1]]
    kept = [latency <= 2 for latency in latencies]
    assert kept == sorted(kept, reverse=True)


def test_rows_as_json_and_csv_and_parquet(run, capsys):
    result = hp.Result.load(run)
    assert main(["show", str(run), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["trial_id"] for row in rows if row["front"]} == expected(result)
    assert rows[0]["metrics"].keys() == {"accuracy", "size", "latency"}
    place, _, _ = export(run, "csv")
    with open(place) as file:
        found = list(csv.DictReader(file))
    assert {int(row["trial_id"]) for row in found if row["front"] == "True"} == expected(result)
    chosen = next(row for row in found if row["chosen"] == "True")
    assert float(chosen["estimate.size"]) == pytest.approx(float(chosen["metric.size"]), rel=1e-6)
    assert float(chosen["estimate.accuracy.low"]) < float(chosen["estimate.accuracy"])
    parquet = pytest.importorskip("pyarrow.parquet")
    place, _, _ = export(run, "parquet")
    assert json.loads(parquet.read_schema(place).metadata[b"jaxhp.objectives"])["mode"] == ["max", "min"]


def test_optuna_reads_the_same_front(run):
    place, written, _ = export(run, "optuna")
    storage = optuna.storages.RDBStorage(f"sqlite:///{place}")
    study = optuna.load_study(study_name="search", storage=storage)
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert {t.user_attrs["trial_id"] for t in study.best_trials} == expected(hp.Result.load(run))
    assert [t.state.name for t in study.trials].count("FAIL") == 1
    assert written == len(study.trials) == 24
    storage.remove_session()
    storage.engine.dispose()


def test_tensorboard_gets_all_objectives(run):
    pytest.importorskip("tensorboardX")
    place, _, _ = export(run, "tensorboard")
    found = b"".join(file.read_bytes() for file in (run / "tensorboard").glob("events*")), place
    assert b"size/valid" in found[0]
