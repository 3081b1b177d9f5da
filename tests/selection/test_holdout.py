"""Which validation examples are held out for the estimate."""

from dataclasses import replace

import numpy as np
import pytest
from small_search import search, task

import jaxhp as hp

PATIENT = np.asarray([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])


def parts(**finals):
    """What is left to choose by, and what is held out."""
    plain = task()
    valid = {**plain.valid, "patient": PATIENT, "day": np.arange(10)[::-1].copy()}
    train = {**plain.train, "patient": np.full(30, 9), "day": np.zeros(30, int)}
    first = search(task=replace(plain, train=train, valid=valid), finals=hp.Finals(2, 4, 0.4, **finals)).groups.first
    return first.task.valid, first.holdout


def test_a_holdout_by_groups_holds_whole_groups():
    left, held = parts(groups="patient")
    assert len(held["patient"]) == 4
    assert not set(left["patient"]) & set(held["patient"])
    left, held = parts()
    assert set(left["patient"]) & set(held["patient"])  # at random it cuts across


def test_a_holdout_along_an_order_comes_last():
    left, held = parts(order="day")
    assert (sorted(left["day"]), sorted(held["day"])) == (list(range(6)), [6, 7, 8, 9])


def test_what_is_no_such_holdout_is_refused():
    with pytest.raises(hp.Error, match=r"Finals holdout: groups: expected a column of .*, got 'site'"):
        parts(groups="site")
    with pytest.raises(hp.Error, match="Finals groups: expected holdout= beside it, got none"):
        hp.Finals(groups="patient")
    with pytest.raises(hp.Error, match="Finals order: expected neither stratify nor groups beside an order"):
        hp.Finals(holdout=0.5, groups="patient", order="day")


def test_finals_are_written_as_directories_know_them():
    assert repr(hp.Finals(3, 8)) == "Finals(top=3, replicates=8, holdout=None)"
    assert repr(hp.Finals(3, 8, 0.5, groups="patient")) == "Finals(top=3, replicates=8, holdout=0.5, groups='patient')"
