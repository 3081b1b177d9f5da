import numpy as np
import pytest

from jaxhp.report.table import show_value, trials_text
from jaxhp.trials import Status, Trial


def shown(*args) -> list[list[str]]:
    return [line.split() for line in trials_text(*args).splitlines()]


def test_a_row_a_trial_and_a_column_a_parameter():
    trials = [
        Trial(7, {"lr": 0.00123, "kind": "adam"}, score=0.91234, stderr=0.01, epochs=5, status=Status.COMPLETE),
        Trial(3, {"lr": 2.0, "width": 64}, round=1, epochs=2, status=Status.DIVERGED),
        Trial(1, {"lr": 1.0}),
    ]
    rows = shown(trials, "accuracy", 2)
    assert rows[0] == ["rank", "trial", "accuracy", "±", "stderr", "lr", "kind", "width", "epochs", "round", "status"]
    assert rows[1] == ["1", "7", "0.912", "0.010", "1.230e-03", "adam", "5", "1", "complete"]
    assert rows[2] == ["2", "3", "-", "-", "2.0000", "64", "2", "2", "diverged"]
    assert len(rows) == 3
    assert shown(trials, "accuracy", 1, {7: np.array([0.5, 0.7])})[1][4] == "0.60"


def test_names_are_text_and_not_markup():
    row = shown([Trial(0, {"[red]x[/red]": "[bold]y"})], "accuracy", 1)
    assert "[red]x[/red]" in row[0]
    assert "[bold]y" in row[1]


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.5000"), (1e-5, "1.000e-05"), (12345.0, "1.234e+04"), (3, "3")])
def test_show_value(value, text):
    assert show_value(value) == text
