import numpy as np
import pytest
from small_search import search, shared

import jaxhp as hp
from jaxhp.engine.population import Population
from jaxhp.report.result import Result
from jaxhp.selection.budgets import at_full_budget, latest
from jaxhp.selection.contest import neighbourhoods
from jaxhp.store.ledger import Ledger

FINALS = hp.Finals(4, 8)


def test_finalists_are_judged_by_neighbours_after_the_same_budget():
    search = shared("halving", finals=FINALS)
    result = search.run(quiet=True)
    assert len({trial.epochs for trial in result.trials}) == 3
    unit = np.stack([result.space.unit(trial.config) for trial in result.trials])
    scores, _ = latest(at_full_budget(result.trials, "error", search.rungs))
    near = dict(zip((t.trial_id for t in result.trials), neighbourhoods(unit, scores, range(9), "min"), strict=True))
    assert [f.neighbourhood for f in result.finalists] == [near[f.trial_id] for f in result.finalists]


def test_finals_that_were_trained_but_not_recorded_end_with_the_same_choice(tmp_path, monkeypatch):
    whole = shared("random", finals=FINALS).run(quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record_finals", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            shared("random", finals=FINALS).run(tmp_path, quiet=True)
    monkeypatch.setattr(Population, "outcomes", lambda *_: pytest.fail("the finals were trained already"))
    again = shared("random", finals=FINALS).run(tmp_path, quiet=True)
    assert again.estimate.correction != 0
    assert (again.estimate, again.finalists) == (whole.estimate, whole.finalists)
    assert Result.load(tmp_path).estimate == whole.estimate
    assert again.summary() == whole.summary()


@pytest.mark.parametrize(("folds", "least"), [(None, 4), (3, 9)])
def test_default_finals_that_a_small_search_does_not_have_say_what_to_pass(folds, least):
    """4 trials are 4 trainings; 2 finalists with 4 replicates would be 8 more, two thirds of them all."""
    small = search(strategy=hp.Random(4), folds=folds, finals=hp.Finals())
    assert small.no_finals == ""
    assert search(strategy=hp.Random(4), folds=folds).no_finals == "finals=None was asked for"
    default = hp.Search(small.task, small.space, hp.Random(4), folds=folds, epochs=1)
    assert f"2 trials with {least} fresh replicates each" in default.no_finals
    assert default.no_finals.endswith(f"pass finals=hp.Finals(2, {least}) to have them")
    assert default.changed(finals=hp.Finals(2, least)).no_finals == ""
