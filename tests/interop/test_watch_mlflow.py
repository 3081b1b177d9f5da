"""The real MLflow reads back what was logged: trial for trial, curve for curve."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from crash import STEP, Killed, dying
from small_search import shared
from watched import check

import jaxhp as hp
from jaxhp.store.ledger import Ledger

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # those of MLflow and what it imports
    pytest.mark.skipif(not find_spec("mlflow"), reason="hp.watch.MLflow is tested where mlflow is installed"),
]


@pytest.fixture(scope="module", autouse=True)
def silent():
    """MLflow tells nobody that it is used, and makes nothing in this directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield


def run(directory, *watch, **changes):
    search = shared("halving", **changes)
    return hp.Search.run(search, directory, quiet=True, checkpoint_s=0, watch=watch)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A database, and a folder for artifacts."""
    place = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{place}/mlflow.db"
    import mlflow  # in a second, which other tests need not wait for

    client = mlflow.MlflowClient(uri)
    client.create_experiment("searches", artifact_location=(place / "artifacts").as_uri())
    return uri, client


def logged(client, directory):
    """What MLflow has of the search in a directory: the search's run, trials' runs, and trials' histories."""
    with Ledger(directory) as ledger:
        tag = f"tags.`jaxhp.search` = '{ledger.meta('id')}'"
    home = client.get_experiment_by_name("searches").experiment_id
    runs = client.search_runs([home], tag)
    (parent,) = (one for one in runs if "jaxhp.trial_id" not in one.data.tags)
    trials = {int(one.data.tags["jaxhp.trial_id"]): one for one in runs if one is not parent}
    assert len(trials) == len(runs) - 1
    assert {one.data.tags["mlflow.parentRunId"] for one in trials.values()} == {parent.info.run_id}
    found = {
        trial: {
            name: [(m.step, m.value) for m in client.get_metric_history(one.info.run_id, name)]
            for name in one.data.metrics
        }
        for trial, one in trials.items()
    }
    return parent, trials, found


FINALS = {"finals": hp.Finals(2, 4)}


@pytest.fixture(scope="module")
def watched(server, tmp_path_factory):
    directory = tmp_path_factory.mktemp("watched") / "run"
    return directory, run(directory, hp.watch.MLflow(server[0], "searches"), **FINALS)


def test_every_trial_is_a_run_with_its_curves(server, watched):
    directory, result = watched
    parent, trials, found = logged(server[1], directory)
    check(found, result.trials)
    for trial in result.trials:
        of = trials[trial.trial_id]
        assert of.data.params == {name: str(value) for name, value in trial.config.items()}
        assert of.data.tags["jaxhp.status"] == str(trial.status)
        assert of.info.status == ("FAILED" if str(trial.status) == "diverged" else "FINISHED")
    assert parent.data.params["space.lr"] == str(shared("halving").space.parameters["lr"])


def test_the_choice_its_estimate_and_the_report_are_there(server, watched):
    directory, result = watched
    parent, _, _ = logged(server[1], directory)
    assert int(parent.data.tags["jaxhp.chosen"]) == result.best.trial_id
    assert float(parent.data.tags["chosen.lr"]) == result.best.config["lr"]
    assert result.summary() in parent.data.tags["mlflow.note.content"]
    for end in ("mean", "low", "high"):
        assert parent.data.metrics[f"estimate/{end}"] == getattr(result.estimate, end)
    page = server[1].download_artifacts(parent.info.run_id, "report.html")
    assert "<h2" in Path(page).read_text()
    assert parent.info.status == "FINISHED"


def test_nothing_is_logged_twice(server, watched):
    directory, _ = watched
    before = logged(server[1], directory)[2]
    run(directory, hp.watch.MLflow(server[0], "searches"), **FINALS)
    parent, _, after = logged(server[1], directory)
    assert after == before or str(after) == str(before)  # NaN of a diverged trial is not equal to itself
    assert len(server[1].get_metric_history(parent.info.run_id, "estimate/mean")) == 1


@pytest.mark.parametrize(("point", "number"), [(STEP, 2), ("round begun", 2), ("round finished", 2)])
def test_a_search_that_is_killed_and_resumed_is_logged_once(point, number, server, tmp_path):
    with pytest.raises(Killed):
        run(tmp_path / "run", hp.watch.MLflow(server[0], "searches"), dying(point, number), **FINALS)
    result = run(tmp_path / "run", hp.watch.MLflow(server[0], "searches"), **FINALS)
    check(logged(server[1], tmp_path / "run")[2], result.trials)


def test_a_server_out_of_reach_is_one_warning(monkeypatch, tmp_path, watched):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    result = run(tmp_path / "run", hp.watch.MLflow("http://127.0.0.1:9"), **FINALS)
    assert result.digest == watched[1].digest
    with Ledger(tmp_path / "run") as ledger:
        (warned,) = ledger.events("warning")
    assert warned["text"].startswith("watch: MLflow failed at SearchBegan (")
