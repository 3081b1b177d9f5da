"""A search that is extended is the one asked for at once: trial for trial, bit for bit, also after a kill anywhere."""

import json
import shutil
from dataclasses import dataclass

import numpy as np
import optax
import pytest
from crash import POINTS, Killed, dying
from small_search import Shared, search, shared, task

import jaxhp as hp
from jaxhp.cli import main
from jaxhp.report.result import Result
from jaxhp.search.extension import Extent, in_all, read_rounds
from jaxhp.store import enlarging
from jaxhp.store.files import read_json
from jaxhp.store.ledger import BEST, Ledger

FINALS = hp.Finals(2, 4)
# what was asked for, and what more
EXTENSIONS = {
    "random": (hp.Random(population=9, rounds=2), 9, {"rounds": 1}),
    "sobol": (hp.Sobol(population=9, rounds=2), 9, {"rounds": 1}),
    "narrowing": (hp.Narrowing(population=9, rounds=2), 9, {"rounds": 1}),
    "halving": (hp.Halving(population=9, eta=3), 9, {"rounds": 1}),
    "random, longer": (hp.Random(population=9, rounds=2), 6, {"epochs": 9}),
    "sobol, longer and more": (hp.Sobol(population=9, rounds=1), 6, {"rounds": 1, "epochs": 9}),
    "halving, longer": (hp.Halving(population=9, eta=3), 3, {"epochs": 9}),
}
TOLD = ("search extended", "round finished", "finals recorded")
WHOLLY = ("narrowing", "halving", "random, longer")  # which are killed everywhere
QUICK = ("halving, longer",)
_digests: dict[str, str] = {}


def asked(kind: str) -> tuple[hp.Search, hp.Search, dict]:
    """A search, the larger one, and what makes the one the other."""
    strategy, epochs, more = EXTENSIONS[kind]
    small = shared("random", strategy=strategy, epochs=epochs, finals=FINALS)
    changes = {"epochs": more.get("epochs", epochs), "rounds": strategy.rounds + more.get("rounds", 0)}
    return small, small.changed(**changes), more


def at_once(kind: str) -> str:
    if kind not in _digests:
        _digests[kind] = asked(kind)[1].run(quiet=True).digest
    return _digests[kind]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Gives a copy of a finished search of a kind, in a new directory."""
    folder = tmp_path_factory.mktemp("begun")

    def copy(kind: str, directory, **options):
        whole = folder / kind
        if not whole.exists():
            asked(kind)[0].run(whole, quiet=True, checkpoint_s=0)
        return shutil.copytree(whole, directory)

    return copy


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind not in QUICK)) for kind in EXTENSIONS]
)
def test_an_extended_search_is_the_one_asked_for_at_once(kind, begun, tmp_path, capsys):
    small, large, more = asked(kind)
    directory = begun(kind, tmp_path / "run")
    before = Result.load(directory)
    result = small.extend(directory, checkpoint_s=0, **more)
    assert result.digest == at_once(kind) == Result.load(directory).digest
    assert f"extended: {large.extent} instead of {small.extent}" in (shown := capsys.readouterr().out)
    assert "asks for other points" not in shown
    assert result.estimate.n_tried == len(result.trials) >= len(before.trials)
    assert result.trials.budget.tolist() == [large.epochs] * len(result.trials)
    again = [s.run(directory, quiet=True) for s in (small, large)] + [small.extend(directory, quiet=True, **more)]
    assert {r.digest for r in again} == {result.digest}
    with Ledger(directory) as ledger:
        assert [event["budget"] for event in ledger.events("extended")] == [large.epochs]


@pytest.mark.parametrize(
    ("kind", "point"),
    [("halving, longer", point) for point in TOLD]
    + [pytest.param(kind, point, marks=pytest.mark.slow) for kind in EXTENSIONS for point in TOLD]
    + [pytest.param(kind, point, marks=pytest.mark.slow) for kind in WHOLLY for point in sorted({*POINTS} - {*TOLD})],
)
def test_an_extension_that_dies_at_any_point_ends_the_same(kind, point, begun, tmp_path, monkeypatch):
    small, large, more = asked(kind)
    for number in (1, 2) if point in ("round finished", "checkpoint named", "step done") else (1,):
        directory = begun(kind, tmp_path / str(number))
        trials = Result.load(directory).trials
        monkeypatch.setattr(Shared, "watch", (dying(point, number),))
        try:
            small.extend(directory, quiet=True, checkpoint_s=0, **more)
        except Killed:
            left = Result.load(directory)  # it can be read as it was left, and no trial is lost
            assert {*trials.trial_id} <= {*left.trials[left.trials.epochs > 0].trial_id}
        monkeypatch.setattr(Shared, "watch", ())
        goes_on = {1: lambda d: small.run(d, quiet=True), 2: lambda d: small.extend(d, quiet=True, **more)}[number]
        with Ledger(directory) as ledger:
            if ledger.meta(enlarging.MANIFEST) is None:  # so early that nothing was extended yet
                goes_on = lambda d: small.extend(d, quiet=True, **more)  # noqa: E731
        assert goes_on(directory).digest == at_once(kind)
        assert read_json(directory / "manifest.json")["epochs"] == large.epochs


def trained(result: Result, directory) -> int:
    """Count the epochs that the last run trained in the search, without its finals."""
    played = sum(int(np.isfinite(scores).sum()) for scores in result.finals.values())
    return read_json(directory / "summary.json")["epochs_trained"] - played * int(result.trials.budget[0])


@pytest.mark.parametrize("kept", [True, False])
def test_the_best_go_on_from_their_weights_or_are_trained_again(kept, begun, tmp_path):
    small, _, more = asked("halving, longer")
    directory = begun("halving, longer", tmp_path / "run")
    with Ledger(directory) as ledger:
        assert [saved.round for saved in ledger.checkpoints()] == [BEST]
    if not kept:
        shutil.rmtree(directory / "checkpoints")
    result = small.extend(directory, quiet=True, **more)
    (longest,) = result.trials[result.trials.epochs == 9]  # the one trial of the last rung
    network = (
        0 if kept or result.best.trial_id == longest.trial_id else 3
    )  # of another one that is chosen, trained again
    assert trained(result, directory) == (9 - 3 if kept else 9) + network
    assert result.digest == at_once("halving, longer")


@pytest.mark.slow
def test_of_a_round_that_is_trained_on_the_best_go_on_from_their_weights(begun, tmp_path):
    small, _, more = asked("random, longer")
    directory = begun("random, longer", tmp_path / "run")
    result = small.extend(directory, quiet=True, **more)
    assert trained(result, directory) == 18 * 9 - 2 * 6  # two finalists were kept


@dataclass(frozen=True)
class Planning(hp.Random):
    """Draws points that depend on how many rounds there are, and on the scores of those before."""

    def points(self, history, size):
        known = abs(float(np.nansum(np.asarray(history.score))))
        return super().points(history, size) * (1 - 0.1 / self.rounds) / (1 + known)


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"rounds": 1}, {"epochs": 9}])
def test_where_a_strategy_would_have_asked_for_other_points_a_line_says_so(more, tmp_path, capsys):
    small = shared(
        "random", strategy=Planning(population=9, rounds=2), epochs=6 if "epochs" in more else 9, finals=FINALS
    )
    before = small.run(tmp_path, quiet=True).trials
    result = small.extend(tmp_path, **more)
    extent = "3 rounds of 9 epochs" if "rounds" in more else "2 rounds of 9 epochs"
    line = f"extended: a search of {extent} asked for at once is another one, in which Planning asks for other points"
    assert capsys.readouterr().out.count(line) == 1
    kept = result.trials[np.isin(result.trials.trial_id, before.trial_id)]
    lr = dict(zip(before.trial_id.tolist(), before.config["lr"].tolist(), strict=True))
    assert dict(zip(kept.trial_id.tolist(), kept.config["lr"].tolist(), strict=True)) == lr
    at_once = small.changed(epochs=9, rounds=2 + more.get("rounds", 0)).run(quiet=True)
    assert at_once.digest != result.digest
    assert len(at_once.trials) == len(result.trials)


@pytest.mark.parametrize(
    ("kind", "changes", "more", "message"),
    [
        ("halving, longer", {"seed": 1}, {"rounds": 1}, "holds another search: its seed is 0, now it is 1"),
        (
            "halving, longer",
            {},
            {"epochs": 6},
            "extend: expected 1 round of 6 epochs to begin with the rounds that the directory holds, got 3 trials to "
            "epoch 2 for round 2, which trained 3 trials to epoch 3; run that in another directory",
        ),
        (
            "halving, longer",
            {"task": lambda: task(optimizer=lambda config, *, steps: optax.sgd(config["lr"] / steps))},
            {"epochs": 18},
            "holds another search: its task is another one",
        ),
    ],
)
def test_what_is_no_part_of_the_larger_search_is_refused(kind, changes, more, message, begun, tmp_path):
    small, directory = asked(kind)[0], begun(kind, tmp_path / "run")
    digest = Result.load(directory).digest
    if "task" in changes:
        small = search("random", strategy=small.strategy, epochs=small.epochs, task=changes["task"](), finals=FINALS)
    elif changes:
        small = small.changed(**changes)
    with pytest.raises(hp.Error) as refused:
        small.extend(directory, quiet=True, **more)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert Result.load(directory).digest == digest


@pytest.mark.slow
def test_a_task_that_is_told_of_all_its_steps_is_not_trained_on(tmp_path):
    told = task(optimizer=lambda config, *, steps: optax.sgd(config["lr"] / steps))
    small = search("random", strategy=hp.Random(9), epochs=3, task=told)
    small.run(tmp_path, quiet=True)
    with pytest.raises(
        hp.Error, match="epochs: expected 3 for a task whose optimizer asks for steps, which tells it of"
    ):
        small.extend(tmp_path, epochs=6, quiet=True)


@pytest.mark.slow
def test_rounds_on_a_command_line_are_counted_from_what_a_directory_holds(begun, tmp_path):
    small, directory = asked("random")[0], begun("random", tmp_path / "run")
    known = (small.strategy, small.extent)
    assert in_all(directory, *known, read_rounds("+2"), None) == Extent(4, 9)
    assert in_all(directory, *known, read_rounds("6"), None) == Extent(6, 9)
    assert in_all(directory, *known, None, 20) == Extent(2, 20)
    with Ledger(directory, write=True) as ledger:
        ledger.set_meta(enlarging.LIMIT, "1")
    assert in_all(directory, *known, read_rounds("+2"), None) == Extent(3, 9)
    with Ledger(directory, write=True) as ledger:
        ledger.write("DELETE FROM meta WHERE name = 'finished'", ())
    with pytest.raises(hp.Error) as refused:
        in_all(directory, *known, read_rounds("+2"), None)
    assert str(refused.value) == "--rounds: expected a number in all, such as 4, for an unfinished search, got +2"


FILE = """
import sys; sys.path[:0] = {path!r}
from small_search import search as small
import jaxhp as hp
search = small("random", strategy=hp.Halving(9), epochs=3, finals=hp.Finals(2, 4))
"""


@pytest.mark.slow
def test_the_command_line_extends(tmp_path, capsys):
    import sys

    (tmp_path / "small.py").write_text(FILE.format(path=sys.path))
    run = str(tmp_path / "run")
    assert main(["run", str(tmp_path / "small.py"), "--dir", run]) == 0
    assert main(["extend", run, "--epochs", "9"]) == 0
    assert Result.load(run).digest == at_once("halving, longer")
    assert main(["extend", run, "--rounds", "+1"]) == 0
    assert main(["extend", run]) == 2
    shown = capsys.readouterr()
    assert "extended: 1 round of 9 epochs instead of 1 round of 3 epochs" in shown.out
    assert "extended: 2 rounds of 9 epochs instead of 1 round of 9 epochs" in shown.out
    assert "extend: expected --rounds +N or --epochs N, got neither" in shown.err
    assert Result.load(run).digest == at_once("halving")
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["experiment"]["name"] == "search"
    main(["report", run])
    assert main(["resume", run]) == 0
