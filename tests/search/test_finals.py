import numpy as np
import plain_loop
import pytest
from crash import Killed, kill
from small_search import Shared, search, shared
from small_search import task as regression

import jaxhp as hp
from jaxhp.engine.events import FinalsBegan, Progressed
from jaxhp.engine.population import Population
from jaxhp.report.result import Result
from jaxhp.selection.budgets import at_full_budget, latest
from jaxhp.selection.contest import nearest, neighbourhoods
from jaxhp.selection.stretches import Stretch, stretches
from jaxhp.store.ledger import Ledger
from jaxhp.trials import Trial, Trials

FINALS = hp.Finals(4, 8)


def test_finalists_are_judged_by_neighbours_after_the_same_budget():
    search = shared("halving", finals=FINALS)
    result = search.run(quiet=True)
    assert len({trial.epochs for trial in result.trials}) == 3
    unit = np.stack([result.space.unit(trial.config) for trial in result.trials])
    scores, _ = latest(at_full_budget(result.trials, "error", search.rungs))
    found = neighbourhoods(scores, nearest(unit, range(9)), range(9), "min")
    near = dict(zip((t.trial_id for t in result.trials), found, strict=True))
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


def test_a_lineage_is_followed_back_to_its_fresh_start():
    trials = Trials.of(
        [
            Trial(0, {"lr": 1.0}),
            Trial(1, {"lr": 2.0}),
            Trial(4, {"lr": 3.0}, round=1, parent=1),
            Trial(7, {"lr": 4.0}, round=3, parent=4),
        ]
    )
    budgets = [2, 4, 4, 9]
    assert stretches(trials, 0, budgets, 9) == (Stretch(0, {"lr": 1.0}, 9),)
    whole = (Stretch(1, {"lr": 2.0}, 2), Stretch(4, {"lr": 3.0}, 4), Stretch(7, {"lr": 4.0}, 9))
    assert stretches(trials, 7, budgets, 9) == whole
    assert stretches(trials, 7, budgets, 3) == (whole[0], Stretch(4, {"lr": 3.0}, 3))
    with pytest.raises(hp.Error, match="expected trial 1"):
        stretches(trials[np.array([0, 2])], 4, budgets, 9)
    with pytest.raises(hp.Error, match="expected a parent older than trial 2"):
        stretches(Trials.of([Trial(2, {}, round=1, parent=3), Trial(3, {}, round=1, parent=2)]), 2, budgets, 9)


@pytest.fixture(scope="module")
def generations():
    """Of population based training, whose finalists have inherited weights."""
    return shared("pbt", finals=FINALS).run(quiet=True)


def test_finalists_that_inherited_weights_are_trained_as_they_were(generations):
    """Against plain NumPy, which trains each with its ancestors' learning rates."""
    task, trials, budgets = regression(), generations.trials, [3, 6, 9]
    schedules = {f: plain_loop.stages(trials, f, budgets) for f in generations.finals}
    assert sum(len(stages) > 1 for stages in schedules.values()) >= 2
    ancestors = [stages[0] for stages in schedules.values() if len(stages) > 1]
    assert len({*ancestors}) < len(ancestors)  # two share theirs
    for trial, scores in generations.finals.items():
        expected = [
            plain_loop.error(plain_loop.trained(task, schedules[trial], replicate), task.valid)
            for replicate in range(1, 1 + len(scores))
        ]
        np.testing.assert_allclose(scores, expected, rtol=1e-4)
    assert [(s.config["lr"], s.upto) for s in generations.best.history] == schedules[generations.best.trial_id]


def test_the_summary_says_the_schedule(generations):
    (before, upto), (after, _) = plain_loop.stages(generations.trials, generations.best.trial_id, [3, 6, 9])
    assert f"schedule  lr {before:.3e} to epoch {upto}, then {after:.3e}\n" in generations.summary()


def test_after_a_resume_the_network_is_still_that_of_the_search(tmp_path, monkeypatch):
    """The first replicate of the search, where the executor holds those of the finals, by plain NumPy."""
    search = shared("random", finals=hp.Finals(2, 4))
    monkeypatch.setattr(Shared, "watch", (lambda event: kill() if isinstance(event, FinalsBegan) else None,))
    with pytest.raises(Killed):
        search.run(tmp_path, quiet=True)
    monkeypatch.setattr(Shared, "watch", ())
    best = search.run(tmp_path, quiet=True).best
    expected = plain_loop.trained(search.task, [(best.config["lr"], 9)], 0)
    np.testing.assert_allclose(best.params["w"], expected, rtol=1e-3, atol=1e-5)
    n, shown = search.task.n_train, search.task.n_valid  # as many as validate, evenly spread
    as_many = {name: leaf[[i * n // shown for i in range(shown)]] for name, leaf in search.task.train.items()}
    assert best.curve["train_error"][-1] == pytest.approx(plain_loop.error(expected, as_many), rel=1e-3)


@pytest.mark.parametrize("calls", [1, 2, 3, 4])
def test_finals_of_many_stages_that_are_cut_off_go_on(calls, generations, tmp_path, monkeypatch):
    passed: list[object] = []

    def die(event):
        if isinstance(event, FinalsBegan) or (passed and isinstance(event, Progressed)):
            passed.append(event)
        if len(passed) > calls:
            kill()

    monkeypatch.setattr(Shared, "watch", (die,))
    with pytest.raises(Killed):
        shared("pbt", finals=FINALS).run(tmp_path, quiet=True, checkpoint_s=0)
    monkeypatch.setattr(Shared, "watch", ())
    again = shared("pbt", finals=FINALS).run(tmp_path, quiet=True, checkpoint_s=0)
    assert again.digest == generations.digest
    assert (again.estimate, again.finalists) == (generations.estimate, generations.finalists)
    np.testing.assert_array_equal(again.best.params["w"], generations.best.params["w"])
    assert Result.load(tmp_path).best.history == generations.best.history
