"""Observers of a search: what they are told, and that nothing they do changes a bit of it."""

import re
import time
import typing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_search import digest, shared

import jaxhp as hp
from jaxhp.engine.events import Progressed, RoundBegan, RoundFinished, SearchBegan, SearchFinished
from jaxhp.search.watching import read_only


def run(kind, directory, *watch):
    return hp.Search.run(shared(kind), directory, quiet=True, watch=watch)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The events of a search by halving, and those of a second run in its directory."""
    events, again, directory = [], [], tmp_path_factory.mktemp("told") / "run"
    result = run("halving", directory, events.append)
    run("halving", directory, again.append)
    return events, again, result


def test_the_search_is_told_when_it_begins_and_when_it_is_finished(told):
    events, again, result = told
    (began,) = (event for event in events if isinstance(event, SearchBegan))
    assert (len(began.trials), began.directory) == (0, result.directory)
    assert (began.manifest["metric"], began.manifest["mode"]) == ("error", "min")
    assert isinstance(events[-1], SearchFinished)
    assert events[-1].result.digest == result.digest
    first, last = again[0], again[-1]
    assert first.id == began.id != ""
    assert sorted(first.trials.trial_id) == list(range(9))
    assert first.trials.curve["valid_error"].shape[0] == 9
    assert last.result.digest == result.digest


def test_curves_so_far_are_the_first_epochs_of_the_curves_that_are_recorded(told):
    events, _, _ = told
    calls = []
    for event in events:
        if isinstance(event, Progressed):
            calls.append((event.trials, event.epoch, event.curves()))
        if isinstance(event, RoundFinished):
            recorded = dict(zip(event.trials.trial_id.tolist(), range(len(event.trials)), strict=True))
            for trials, epoch, curves in calls:
                assert set(curves) == {"train_error", "valid_error"}
                for name, curve in curves.items():
                    rows = [recorded[trial] for trial in trials.tolist()]
                    np.testing.assert_array_equal(curve, event.trials.curve[name][rows, :epoch])
            assert calls
            calls = []


def test_an_observer_cannot_write_what_it_is_told(tmp_path):
    def spoil(event):
        for value in event:
            for array in [value, *(vars(value).values() if isinstance(value, hp.Trials) else [])]:
                for leaf in array.values() if isinstance(array, dict) else [array]:
                    if isinstance(leaf, np.ndarray) and leaf.size:
                        tried.append(type(event))
                        leaf[...] = leaf[::-1]

    def forget(event):
        if isinstance(event, RoundFinished | RoundBegan):
            event.trials.config.clear()
            event.trials.curve.clear()

    tried = []
    assert run("pbt", tmp_path, spoil, forget).digest == digest("pbt")
    assert {RoundBegan, Progressed, RoundFinished} <= set(tried)
    arrays = read_only(Progressed(np.arange(3), np.zeros(3), 1, 1, 1.0, True, 0))
    with pytest.raises(ValueError, match="read-only"):
        arrays.score.sort()


def test_an_observer_that_hangs_costs_its_own_time_alone(tmp_path, monkeypatch):
    """On a clock that it turns on, by a quarter of an hour for every call of the step."""

    def hang(event):
        nonlocal hung
        if isinstance(event, Progressed):
            seconds.append(event.seconds)
            hung += 900.0

    hung, seconds = 0.0, []
    clock = SimpleNamespace(perf_counter=lambda: time.perf_counter() + hung)
    monkeypatch.setattr("jaxhp.engine.local.time", clock)
    assert run("random", tmp_path, hang).digest == digest("random")
    assert sum(seconds) < 900 <= hung


def test_the_events_are_told_to_people_as_they_are():
    text = (Path(hp.__file__).parents[1] / "docs" / "watching.md").read_text()
    table = [line.split("|")[1:4] for line in text[text.index("| event |") :].splitlines()[2:]]
    shown = {name.strip(" `"): set(re.findall(r"`(\w+)`", said)) for name, _, said in table}
    events = {kind.__name__: set(kind._fields) for kind in typing.get_args(hp.events.Event)}
    assert list(shown) == sorted(events, key=list(shown).index)
    assert all(fields <= shown[name] for name, fields in events.items())
