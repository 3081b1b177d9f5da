"""Networks trained again, all data trained on once more, and what a record's bits are worth."""

import re
from typing import Any

import numpy as np
import pandas
import pytest
from small_search import shared, task

import jaxhp as hp
from jaxhp.report.result import Result
from jaxhp.search.manifest import other_bits
from jaxhp.store import files
from jaxhp.store.ledger import Ledger


@pytest.fixture(scope="module", params=["halving", "pbt"])
def finished(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    return shared(request.param), directory, shared(request.param).run(directory, quiet=True)


def error(w: np.ndarray) -> float:
    """The metric of a network, by NumPy."""
    valid: Any = task().valid
    return float(np.mean(((valid["x"] @ w).prod(-1) - valid["y"]) ** 2))


def test_networks_are_those_that_were_measured(finished):
    search, directory, result = finished
    networks = result.networks(6)
    for trial, network in zip(result.trials, networks, strict=False):
        assert np.isclose(error(network["w"]), trial.replicate_scores[0], rtol=1e-5)
    assert networks[0]["w"].tobytes() == result.best.params["w"].tobytes()
    assert len({network["w"].tobytes() for network in networks}) == 6
    assert len(result.networks(99)) == int(result.trials.healthy().sum())
    again = search.load(directory).networks(2)
    assert [network["w"].tobytes() for network in again] == [network["w"].tobytes() for network in networks[:2]]
    with pytest.raises(hp.Error, match=r"networks: expected a result of search\.run\(dir\) or search\.load\(dir\)"):
        Result.load(directory).networks(2)
    with pytest.raises(hp.Error, match="k: expected a positive integer, got 0"):
        result.networks(0)


def flip(directory, trial: int, name: str) -> tuple[float, float]:
    """Flip the last bit of a number that was recorded last of a trial, under a checksum that fits."""
    with Ledger(directory, write=True) as ledger:
        for asked in reversed(ledger.rounds()):
            if trial not in asked.trials:
                continue
            row = int(np.flatnonzero(asked.trials == trial)[0])
            column = ledger._get(asked.number, name)[name].copy()
            before = float(column[row].flat[0])
            column[row : row + 1].view(np.uint32).flat[0] ^= 1
            ledger.put_columns(asked.number, {name: column})
            ledger.put_round(asked.number, asked.epochs, asked.wall_s)
            return before, float(column[row].flat[0])
    raise AssertionError("no such trial")


def test_what_nobody_touched_is_verified_and_one_flipped_bit_is_found(finished):
    search, directory, result = finished
    content = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    found = hp.verify(search, directory, None)
    assert (found.differences, found.elsewhere, len(found.trials)) == ((), "", len(result.trials))
    assert str(found) == f"{found.of} of {found.of} trials trained again: every bit is as it was recorded"
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == content
    for name, what in {"score": "score", "curve.valid_error": "valid_error of epoch 1"}.items():
        true, wrong = flip(directory, result.best.trial_id, name)
        (difference,) = hp.verify(search, directory, trials=1).differences
        assert difference == (result.best.trial_id, what, wrong, true)
        assert flip(directory, result.best.trial_id, name) == (wrong, true)
    assert not hp.verify(search, directory, 2).differences


def test_trials_that_are_verified_are_spread_and_the_chosen_one_is_among_them(finished):
    search, directory, result = finished
    found = hp.verify(search, directory, trials=3)
    assert len(found.trials) == 3
    assert result.best.trial_id in found.trials
    assert found.of == len(result.trials)
    with pytest.raises(hp.Error, match="trials: expected a positive integer or None, got 0"):
        hp.verify(search, directory, trials=0)
    with pytest.raises(hp.Error, match="holds another search: its seed"):
        hp.verify(search.changed(seed=3), directory)


def test_a_record_from_elsewhere_says_what_may_differ(finished):
    search, directory, _ = finished
    manifest = files.read_json(directory / "manifest.json")
    where = manifest["environment"]
    files.write_json(
        directory / "manifest.json", manifest | {"environment": where | {"jaxlib": "0.0.1", "devices": 64}}
    )
    try:
        said = str(hp.verify(search, directory, 1))
    finally:
        files.write_json(directory / "manifest.json", manifest)
    assert re.search(r"written elsewhere, and last bits may differ for it: its jaxlib is '0\.0\.1', now it is", said)
    assert "devices" not in said  # on which no bit depends
    assert other_bits(manifest, search.manifest()) == ""


def test_data_frames_have_what_trials_have(finished):
    _, directory, result = finished
    frame = result.to_pandas()
    assert frame["trial_id"].tolist() == result.trials.trial_id.tolist()
    assert frame.columns[:4].tolist() == ["trial_id", "config.lr", "score", "stderr"]
    for (_, row), trial in zip(frame.iterrows(), result.trials, strict=True):
        assert row["config.lr"] == trial.config["lr"]
        assert (row["status"], row["epochs"], row["chosen"]) == (
            str(trial.status),
            trial.epochs,
            trial.trial_id == result.best.trial_id,
        )
        assert row["parent"] is pandas.NA if trial.parent is None else row["parent"] == trial.parent
        for name in ("valid_error", "train_error"):
            assert np.float32(row[name]).tobytes() == trial.curve[name][-1].tobytes()
        np.testing.assert_equal(np.float32(row["replicate.0"]), np.float32(trial.replicate_scores[0]))
    curves = result.to_pandas(curves=True)
    assert len(curves) == sum(trial.epochs for trial in result.trials)
    for trial in result.trials:
        rows = curves[curves.trial_id == trial.trial_id]
        assert rows.epoch.tolist() == list(range(1, trial.epochs + 1))
        np.testing.assert_array_equal(rows.valid_error, trial.curve["valid_error"])
    with pytest.raises(hp.Error, match="curves: expected a result with learning curves"):
        Result.load(directory, curves=False).to_pandas()


def test_polars_gets_the_same_columns(finished):
    polars = pytest.importorskip("polars")
    frame = finished[2].to_polars()
    assert isinstance(frame, polars.DataFrame)
    assert frame["trial_id"].to_list() == finished[2].trials.trial_id.tolist()
    assert frame["parent"].to_list() == [trial.parent for trial in finished[2].trials]


def test_a_search_is_compared_with_itself(tmp_path):
    made = shared("random").run(tmp_path, quiet=True)
    found = hp.compare(made, Result.load(tmp_path))
    assert not found.better.any()
    assert found.a.trials == len(made.trials)
    with pytest.raises(hp.Error, match="compare: expected trials of a trained in full"):
        hp.compare(shared("halving").run(quiet=True), made)
    with pytest.raises(hp.Error, match="compare: expected a result with all trials"):
        hp.compare(made, Result.load(tmp_path, top=3))
