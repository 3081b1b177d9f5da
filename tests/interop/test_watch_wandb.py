"""W&B, offline: its own records have what was logged, trial for trial, curve for curve."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
from crash import STEP, Killed, dying
from small_search import shared
from watched import Logged, check

import jaxhp as hp
from jaxhp.interop.wandb_files import key_of, logged, records
from jaxhp.store.ledger import Ledger

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # those of W&B and what it imports
    pytest.mark.skipif(not find_spec("wandb"), reason="hp.watch.WandB is tested where wandb is installed"),
]
FINALS = {"finals": hp.Finals(2, 4)}


@pytest.fixture(scope="module", autouse=True)
def offline():
    """The package, which sends nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        import wandb  # in a second, which other tests need not wait for

        yield wandb
        wandb.teardown()


def run(directory, *watch):
    return hp.Search.run(shared("halving", **FINALS), directory, quiet=True, checkpoint_s=0, watch=watch)


def of_wandb(place, directory) -> tuple[Logged, dict[int, dict], list[dict]]:
    """Curves, configs and summaries of trials, and what each run of the search's own came to, in the order of time."""
    with Ledger(directory) as ledger:
        search = ledger.meta("id")[:16]
    found: Logged = {}
    facts: dict[int, dict] = {}
    own = []
    for path in sorted(place.glob(f"wandb/offline-run-*-{search}*/run-*.wandb")):
        if path.stem == f"run-{search}":
            own.append({name: json.loads(value) for name, value in logged(path).summary.items()})
            continue
        trial = int(path.stem.rpartition("-")[2])
        known = facts.setdefault(trial, {"summary": {}})
        for record in records(path):
            if record.WhichOneof("record_type") == "run":
                known["config"] = {item.key: json.loads(item.value_json) for item in record.run.config.update}
                known["group"] = record.run.run_group
            if record.WhichOneof("record_type") == "history":
                for item in record.history.item:
                    if not key_of(item).startswith("_"):
                        curve = found.setdefault(trial, {}).setdefault(key_of(item), [])
                        curve.append((record.history.step.num, float(json.loads(item.value_json))))
        known["summary"] |= {name: json.loads(value) for name, value in logged(path).summary.items()}
    return found, facts, own


def check_all(place, directory, result):
    found, facts, own = of_wandb(place, directory)
    for trial in result.trials:
        summary = facts[trial.trial_id]["summary"]
        assert facts[trial.trial_id]["config"]["lr"] == trial.config["lr"]
        assert (summary["status"], summary["epochs"]) == (str(trial.status), trial.epochs)
        if np.isfinite(trial.score):
            found[trial.trial_id]["score"] = [(trial.epochs, summary["score"])]
    check(found, result.trials)
    assert own[-1]["chosen"] == result.best.trial_id
    assert own[-1]["estimate/mean"] == result.estimate.mean
    return own


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    place = tmp_path_factory.mktemp("wandb")
    return place, run(place / "run", hp.watch.WandB("searches", place))


def test_every_trial_is_a_run_with_its_curves(watched):
    place, result = watched
    check_all(place, place / "run", result)
    own = next(place.glob("wandb/offline-run-*/run-????????????????.wandb"))
    artifacts = [record.artifact for record in records(own) if record.HasField("artifact")]
    assert [artifact.type for artifact in artifacts] == ["report"]


def test_nothing_is_logged_twice(watched):
    place, result = watched
    run(place / "run", hp.watch.WandB("searches", place))
    assert len(check_all(place, place / "run", result)) == 2


@pytest.mark.parametrize(("point", "number"), [(STEP, 2), ("round finished", 2)])
def test_a_search_that_is_killed_and_resumed_is_logged_once(offline, point, number, tmp_path):
    with pytest.raises(Killed):
        run(tmp_path / "run", hp.watch.WandB("searches", tmp_path), dying(point, number))
    offline.teardown()  # which a process does at its end
    result = run(tmp_path / "run", hp.watch.WandB("searches", tmp_path))
    check_all(tmp_path, tmp_path / "run", result)
