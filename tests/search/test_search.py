"""Whole searches: what a result offers, one compilation, groups of static choices, strategies used by hand."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_search import digest, search, shared, task

import jaxhp as hp
from jaxhp.engine.events import Compiling, Progressed, RoundFinished, Stored
from jaxhp.engine.local import Local
from jaxhp.store.ledger import Ledger
from jaxhp.strategies import Halving, Narrowing, Random


@pytest.fixture(scope="module")
def images():
    return hp.tasks.mlp(hp.data.mnist_sample(300), hidden=(16,), batch_size=60)


SPACE = hp.Space(lr=hp.LogUniform(1e-3, 1.0), weight_decay=hp.LogUniform(1e-8, 1e-2))


@pytest.fixture(scope="module")
def found(images, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    made = hp.Search(images, SPACE, hp.Narrowing(population=(100, 64, 16)), epochs=4, finals=hp.Finals(4, 4))
    return made.run(directory, quiet=True, devices=jax.local_devices()[:1])


def test_one_compilation_serves_rounds_of_any_size_and_the_finals(found):
    summary = json.loads((found.directory / "summary.json").read_text())
    assert summary["compilations"] == 1
    assert summary["members"] == 180
    assert 180 * 4 < summary["epochs_trained"] <= 180 * 4 + 4 * 4 * 4
    assert {"wall_s", "compile_s", "step_s", "best"} <= set(summary)


def test_the_plan_and_what_came_of_it_stand_side_by_side(found):
    summary = json.loads((found.directory / "summary.json").read_text())
    planned, measured = summary["planned"], summary["measured"]
    assert set(planned) == set(measured) == {"flops", "seconds", "peak_bytes"}
    assert 0.5 * planned["flops"] < measured["flops"] <= planned["flops"]  # finalists are given up early
    assert measured["seconds"] == summary["step_s"]
    assert planned["seconds"] > 0


def test_one_compilation_serves_a_resume(tmp_path, monkeypatch):
    def make():
        return search("halving", finals=hp.Finals(2, 4))

    made = make()
    one = jax.local_devices()[:1]
    whole = made.run(quiet=True, devices=one)
    train, calls = Local.train, []

    def dies(self, *args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(self, *args, **options)

    monkeypatch.setattr(Local, "train", dies)
    with pytest.raises(KeyboardInterrupt):
        made.run(tmp_path, quiet=True, devices=one)
    monkeypatch.undo()
    assert make().run(tmp_path, quiet=True, devices=one).digest == whole.digest
    assert json.loads((tmp_path / "summary.json").read_text())["compilations"] == 1


def test_a_result_offers_what_scripts_rely_on(found):
    best = found.best
    assert set(best.config) == {"lr", "weight_decay"}
    assert best.status == "complete"
    assert best.score == pytest.approx(best.curve["valid_accuracy"][-1])
    assert best.stderr == pytest.approx(np.sqrt(best.score * (1 - best.score) / 60), rel=1e-3)
    assert len(best.curve["train_loss"]) == 4
    assert found.trials[[t.trial_id for t in found.trials].index(best.trial_id)].config == best.config
    assert [t.trial_id for t in sorted(found.trials, key=lambda t: t.trial_id)] == list(range(180))
    scores = [t.score for t in found.trials]
    assert scores == sorted(scores, reverse=True)
    assert found.raw_best.score == max(scores)
    estimate = found.estimate
    assert estimate.low <= estimate.mean <= estimate.high
    assert estimate.n_tried == 180
    assert "accuracy" in found.table()
    assert f"trial {best.trial_id}" in found.summary()


def test_later_rounds_look_where_the_good_values_were(found):
    """The book: lr matters, and narrowing finds where."""
    spread = [np.std([np.log(t.config["lr"]) for t in found.trials if t.round == number]) for number in (0, 2)]
    assert spread[1] < spread[0] / 2
    first, last = (np.mean([t.score for t in found.trials if t.round == number]) for number in (0, 2))
    assert last > first + 0.2


@pytest.mark.slow
def test_of_the_number_of_devices_and_of_step_calls(images, monkeypatch):
    made = hp.Search(images, SPACE, Halving(population=9, eta=3), epochs=9, tile=2)

    def digest(**options):
        return made.run(quiet=True, **options).digest

    expected = digest()
    assert digest(devices=jax.local_devices()[:1]) == expected
    monkeypatch.setattr("jaxhp.engine.local._STEP_SECONDS", 0.0)  # a call an epoch
    assert digest() == expected


def test_each_group_of_static_choices_is_compiled_once(tmp_path):
    space = hp.Space(lr=hp.LogUniform(1e-3, 0.1), width=hp.Choice([2, 3]))

    def make(static):
        def init(key, config):
            return {"w": 0.3 * jax.random.normal(key, (4, static["width"]))}

        return task(init=init)

    one = jax.local_devices()[:1]
    made = hp.Search(make, space, Random(population=12, rounds=2), epochs=2, finals=None)
    assert len(made.plan().groups) == 2
    told = []
    result = made.run(tmp_path, quiet=True, devices=one, watch=[told.append])
    compiled = [event for event in told if isinstance(event, Compiling)]
    assert [event[:2] for event in compiled] == [(1, 2), (2, 2)]
    assert {tuple(event.static) for event in compiled} == {("width",)}
    fresh = [event.fresh for event in told if isinstance(event, Progressed)]
    assert fresh.count(True) == 2
    groups = {t.config["width"] for t in result.trials}
    assert json.loads((tmp_path / "summary.json").read_text())["compilations"] == len(groups) == 2
    assert result.best.params["w"].shape == (4, result.best.config["width"])


def test_failure_is_data():
    made = search("random", space=hp.Space(lr=hp.LogUniform(1e-3, 1e6)))
    result = made.run(quiet=True)
    diverged = [t for t in result.trials if t.status is hp.Status.DIVERGED]
    healthy = [t for t in result.trials if t.status is hp.Status.COMPLETE]
    assert diverged
    assert healthy
    assert result.trials.trial_id[-len(diverged) :].tolist() == sorted(t.trial_id for t in diverged)
    for trial in diverged:
        assert np.isnan(trial.score)
        assert trial.diverged_at >= 1
        assert np.isnan(trial.curve["valid_error"][trial.diverged_at - 1 :]).all()
        assert np.isfinite(trial.curve["valid_error"][: trial.diverged_at - 1]).all()
    assert np.isfinite(result.best.score)


def test_a_search_of_which_everything_diverges_says_so():
    result = search("random", space=hp.Space(lr=hp.LogUniform(1e7, 1e8)), finals=hp.Finals(2, 4)).run(
        quiet=True, devices=jax.local_devices()[:1]
    )
    assert all(t.status is hp.Status.DIVERGED for t in result.trials)
    assert result.estimate is None
    assert "diverged" in result.table()


@pytest.mark.parametrize(
    "strategy",
    [hp.TPE(12, 3), hp.Narrowing(12, 3), *(pytest.param(of(12, 3), marks=pytest.mark.slow) for of in (hp.GP, hp.Auto))],
)
def test_a_strategy_works_with_an_evaluator_of_ones_own(strategy):
    state = strategy.init(jax.random.key(0), 2)
    best = []
    for _ in range(3):
        proposal, state = strategy.ask(state)
        assert proposal.unit.shape == (12, 2)
        scores = -jnp.sum((proposal.unit - 0.7) ** 2, axis=1).at[0].set(jnp.nan)
        state = strategy.tell(state, proposal, scores)
        best.append(float(jnp.nanmax(scores)))
    assert max(best[1:]) > best[0]


@pytest.mark.parametrize(("size", "finals", "devices"), [(4, None, 1), (5, None, 2), (4, hp.Finals(2, 4), 2)])
def test_no_program_is_compiled_for_a_device_that_has_no_tile(size, finals, devices, monkeypatch):
    monkeypatch.setattr("jaxhp.search.asked.compile", lambda *_, **options: options["devices"])
    made = search(strategy=Random(size), tile=4, finals=finals)
    spec = made.groups.spec({"lr": 0.1})
    assert made.population(spec, made.machine()) == jax.local_devices()[:devices]


@pytest.mark.slow
def test_score_agrees_with_a_search_of_the_same_configs(images):
    result = hp.Search(images, SPACE, Random(population=5), epochs=3, finals=None).run(quiet=True)
    trials = sorted(result.trials, key=lambda t: t.trial_id)
    scores = hp.score(images, [t.config for t in trials], epochs=3, seed=0)
    np.testing.assert_array_equal(scores, np.asarray([t.score for t in trials], np.float32))


def test_changed_keeps_what_is_not_changed():
    made = search("random", seed=3, epochs=5)
    other = made.changed(epochs=2, population=4)
    assert (other.seed, other.epochs, other.tile, other.finals) == (3, 2, 2, None)
    assert other.strategy == Random(population=4, rounds=2)
    assert (made.epochs, made.strategy.population) == (5, 9)
    free = hp.Search(task(), hp.Space(lr=hp.LogUniform(1e-3, 0.1)), Narrowing(64, 4), epochs=9)
    assert free.finals is not None
    assert free.changed(population=2, rounds=1).finals != free.finals  # a default fits the size


def test_an_observer_that_fails_is_warned_of_once_and_harms_nothing(tmp_path):
    def tracker(event):
        told.append(event)
        raise ConnectionError("no [server] here\nat all")

    def late(event):
        if isinstance(event, Stored) and event.what == "summary written":
            raise KeyError("late")

    told = []
    result = hp.Search.run(shared("random"), tmp_path, quiet=True, watch=[tracker, late])
    assert result.digest == digest("random")
    assert [event.round for event in told if isinstance(event, RoundFinished)] == [0, 1]
    with Ledger(tmp_path) as ledger:
        warned = [event["text"] for event in ledger.events("warning")]
    assert sorted(text.split(" failed at ")[0].rpartition(".")[2] for text in warned) == ["late", "tracker"]
    assert any("failed at Stored (ConnectionError: no [server] here" in text for text in warned)
    assert all(text.startswith("watch: ") and "\n" not in text for text in warned)


def test_an_observer_stops_a_search_by_raising_stopped(tmp_path):
    def enough(event):
        if isinstance(event, RoundFinished):
            raise hp.Stopped("enough")

    with pytest.raises(hp.Stopped, match="enough"):
        hp.Search.run(shared("random"), tmp_path, quiet=True, watch=[enough])
    assert hp.Search.run(shared("random"), tmp_path, quiet=True).digest == digest("random")
