"""Trials as columns: rows come back as they were, rows are picked as from a list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxhp.trials import ABSENT, Status, Trial, Trials, joined

numbers = st.one_of(st.floats(width=32), st.sampled_from([0.0, -0.0, 0.5, float("nan")]))
values = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.none(),
    st.sampled_from(["", "adam", "sgd"]),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
configs = st.one_of(
    st.fixed_dictionaries({"lr": st.floats(allow_nan=False), "width": st.integers(-(2**63), 2**63 - 1)}),
    st.dictionaries(st.sampled_from("abc"), values),
)


@st.composite
def some_rows(draw, max_size=6):
    """Draws rows with two replicates and at most four epochs, as a ledger may have them."""
    rows = []
    for trial_id in draw(st.lists(st.integers(0, 50), unique=True, max_size=max_size)):
        status, epochs = draw(st.sampled_from(Status)), draw(st.integers(1, 4))
        running = status is Status.RUNNING
        line = st.lists(numbers, min_size=epochs, max_size=epochs).map(np.float32)
        rows.append(
            Trial(
                trial_id,
                draw(configs),
                draw(st.integers(0, 9)),
                status,
                0 if running else epochs,
                draw(numbers),
                draw(numbers),
                {} if running else {"train_x": draw(line), "valid_x": draw(line)},
                () if running else (draw(numbers), draw(numbers)),
                draw(st.integers(0, 4)),
                draw(st.one_of(st.none(), st.integers(0, 50))),
            )
        )
    return rows


def facts(trial):
    """Returns all of a row, types included, whatever the order of the entries of its dicts."""
    curve = {name: line.tolist() for name, line in trial.curve.items()}
    return repr({**vars(trial), "config": sorted(trial.config.items()), "curve": sorted(curve.items())})


@given(some_rows())
def test_rows_come_back_as_they_were(rows):
    trials = Trials.of(rows)
    assert len(trials) == len(rows)
    assert [facts(t) for t in trials] == [facts(t) for t in rows]
    assert trials.configs() == [t.config for t in rows]
    assert trials.healthy().tolist() == [t.status is not Status.DIVERGED and bool(np.isfinite(t.score)) for t in rows]


@given(some_rows(), some_rows())
def test_parts_put_together_are_the_trials_of_all(first, second):
    rows = [*first, *second]
    whole = joined([Trials.of(first), Trials.of(second)])
    assert [facts(t) for t in whole] == [facts(t) for t in rows]


@given(some_rows(), st.data())
def test_rows_are_picked_as_from_a_list(rows, data):
    trials, count = Trials.of(rows), len(rows)
    part = data.draw(st.slices(count))
    mask = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    places = data.draw(st.lists(st.integers(-count, count - 1), max_size=9)) if count else []
    assert [facts(t) for t in trials[part]] == [facts(t) for t in rows[part]]
    assert [facts(t) for t in trials[np.array(mask, bool)]] == [facts(t) for t, m in zip(rows, mask, strict=True) if m]
    assert [facts(t) for t in trials[places]] == [facts(rows[place]) for place in places]
    for place in places:
        assert facts(trials[place]) == facts(trials[np.int64(place)]) == facts(rows[place])
    with pytest.raises(IndexError, match="out of bounds"):
        _ = trials[count]


def test_columns_keep_the_types_of_python():
    trials = Trials.of([Trial(0, {"x": 1.0, "n": 3, "k": "a"}), Trial(1, {"x": 2.0, "n": 4, "m": 1})])
    assert [trials.config[name].dtype for name in "xnkm"] == [np.float64, np.int64, object, object]
    assert trials.config["k"].tolist() == ["a", ABSENT]
    mixed = joined([trials, Trials.of([Trial(2, {"x": 3, "n": True})])])
    assert list(map(type, mixed.config["x"].tolist())) == [float, float, int]
    assert mixed[2].config == {"x": 3, "n": True}
