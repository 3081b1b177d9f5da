"""A result as text and in a notebook."""

import re

import pytest
import rich.console
from recorded import made

import jaxhp as hp


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return hp.Result.load(made(tmp_path_factory.mktemp("run") / "search"))


def test_text_is_text_in_a_notebook_and_whatever_the_environment_says_of_colours(result, monkeypatch, capsys):
    plain = result.table()
    assert plain.splitlines()[0].split()[:3] == ["rank", "trial", "accuracy"]
    assert len({len(line) - len(line.split()[-1]) for line in plain.splitlines()}) == 1
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    assert result.table() == plain
    assert capsys.readouterr() == ("", "")


def test_a_notebook_shows_the_ten_best_and_the_summary(result):
    shown = result._repr_html_()
    assert len(re.findall("<tr", shown)) == 11
    for name, text in result.lines():
        assert f"<dt>{name}</dt>" in shown
        assert text.split("(")[0] in shown


def test_its_repr_says_what_was_chosen(result):
    best = result.best
    assert (
        f"<Result of 29 trials: status in training, or killed: 2 rounds finished, round 3 under way; chosen trial "
        f"{best.trial_id}: " in repr(result)
    )
    assert "\n" not in repr(result)
