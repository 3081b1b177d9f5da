"""Parameters by name, values as they were given, each config trained once, and a network as `init` made it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_search import search, task

import jaxhp as hp
from jaxhp.engine.events import RoundBegan, Warned
from jaxhp.search.elsewhere import elsewhere
from jaxhp.strategies import GP, Halving, Random

ALIKE = {"epochs": 1, "tile": 4}
FOUR = Random(population=4)  # with these most programs are one


def wide(**changes):
    """A task with two numbers as data, in whatever order."""
    optimizer = lambda config: optax.chain(optax.add_decayed_weights(config["decay"]), optax.sgd(config["lr"]))  # noqa: E731
    return task(optimizer=optimizer, **changes)


RANGES = {"lr": hp.LogUniform(1e-3, 0.3), "decay": hp.LogUniform(1e-8, 1.0)}
SWAPPED = dict(reversed(RANGES.items()))


class Enough(BaseException):
    """Ends a search."""


def dying_in_round(number):
    def observe(event):
        if isinstance(event, RoundBegan) and event.round == number:
            raise Enough

    return observe


def test_the_order_of_keywords_changes_nothing_also_where_a_search_goes_on(tmp_path):
    made = {
        order: search(task=wide(), space=hp.Space(**ranges), strategy=Random(population=4, rounds=3), **ALIKE)
        for order, ranges in (("as begun", RANGES), ("swapped", SWAPPED))
    }
    whole = made["swapped"].run(quiet=True)
    with pytest.raises(Enough):
        made["as begun"].run(tmp_path, quiet=True, watch=[dying_in_round(1)])
    resumed = made["swapped"].run(tmp_path, quiet=True)
    assert resumed.digest == whole.digest
    assert [t.config for t in resumed.trials] == [t.config for t in whole.trials]


def test_an_included_value_is_trained_and_recorded_as_it_was_given(tmp_path):
    given = {"lr": 3e-4, "decay": 1e-8}
    space = hp.Space(lr=hp.LogUniform(1e-5, 0.3), decay=RANGES["decay"])
    rounded = space.config(space.unit(given))
    assert rounded["lr"] != 3e-4
    result = search(task=wide(), space=space, strategy=FOUR, include=[given], **ALIKE).run(tmp_path, quiet=True)
    first = next(t for t in hp.Result.load(tmp_path).trials if t.trial_id == 0)
    assert first.config == given
    assert [t.config for t in result.trials if t.trial_id == 0] == [given]
    # the score is that of a plain loop with the very number
    assert first.score == hp.score(wide(), [given] * 4, **ALIKE)[0]
    again = search(task=wide(), space=space, strategy=FOUR, include=[given], **ALIKE)
    assert again.run(tmp_path, quiet=True).digest == result.digest


@pytest.mark.parametrize("value", [0.0, -5e-7, 0.9e-8, 1.01])
def test_an_included_value_outside_of_its_range_is_refused(value):
    with pytest.raises(hp.Error, match=rf"include: LogUniform\(1e-08, 1\): expected a value in .*, got {value}"):
        search(task=wide(), space=hp.Space(**RANGES), include=[{"lr": 0.1, "decay": value}])


def test_configs_that_rounding_makes_one_are_refused():
    twins = [{"lr": 0.1, "decay": 0.5}, {"lr": 0.1, "decay": 0.5 + 1e-9}]
    with pytest.raises(hp.Error, match="include: expected configs that differ by more than rounding, got "):
        search(task=wide(), space=hp.Space(**RANGES), include=twins)


FEW = hp.Space(lr=hp.Choice([0.01, 0.02, 0.04], static=False), decay=hp.Choice([1e-4, 1e-3, 1e-2], static=False))


def test_a_config_is_trained_once_and_finalists_are_distinct():
    told = []
    finals = hp.Finals(4, replicates=4)
    made = search(task=wide(), space=FEW, strategy=Random(16, rounds=2), epochs=1, tile=16, finals=finals)
    result = made.run(quiet=True, watch=[told.append], devices=jax.local_devices()[:1])
    configs = [tuple(t.config.values()) for t in result.trials]
    assert len(configs) == len(set(configs)) == 9
    assert result.estimate.n_tried == 9
    finalists = [f.trial_id for f in result.finalists]
    assert len(set(finalists)) == len(finalists) == 4
    said = [event.text for event in told if isinstance(event, Warned)]
    assert said == [
        "round 1: 7 of 16 configs asked for are not trained: none is left that was not tried",
        "round 2: 16 of 16 configs asked for are not trained: none is left that was not tried",
    ]
    assert result.trials.epochs.tolist() == [1] * 9


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [GP(population=3, rounds=3), Halving(population=9, eta=3)])
def test_rows_are_spent_on_what_was_not_tried(strategy):
    result = search(task=wide(), space=FEW, strategy=strategy, epochs=3).run(quiet=True)
    assert len({tuple(t.config.values()) for t in result.trials}) == len(result.trials) == 9


def test_where_is_obeyed_by_whatever_a_strategy_asks(tmp_path):
    space = hp.Space(where=lambda c: c["lr"] * 4 > c["decay"], **RANGES)
    result = search(task=wide(), space=space, strategy=Random(4, rounds=6), **ALIKE).run(tmp_path, quiet=True)
    assert len(result.trials) == 24
    assert all(t.config["lr"] * 4 > t.config["decay"] for t in result.trials)
    other = hp.Space(where=lambda c: c["lr"] > c["decay"], **RANGES)
    with pytest.raises(hp.Error, match=r"holds another search: its space\.where"):
        search(task=wide(), space=other, strategy=Random(4, rounds=6), **ALIKE).run(tmp_path, quiet=True)


@pytest.mark.slow
def test_a_combination_that_where_forbids_is_not_even_made():
    def made(config):
        if config["width"] % config["heads"]:
            raise ValueError("heads do not divide the width")
        return wide()

    fits = [lambda c: c["width"] % c["heads"] == 0, lambda c: c["lr"] < 0.2]
    statics = {"width": hp.Choice([8, 12]), "heads": hp.Choice([2, 3])}
    asked = search(task=made, space=hp.Space(fits, **RANGES, **statics), strategy=Random(population=8), epochs=1)
    assert [g.static for g in asked.plan().groups] == [
        {"width": 8, "heads": 2},
        {"width": 12, "heads": 2},
        {"width": 12, "heads": 3},
    ]
    assert {(t.config["width"], t.config["heads"]) for t in asked.run(quiet=True).trials} <= {(8, 2), (12, 2), (12, 3)}


def test_where_that_lets_little_pass_still_finds_what_it_lets_pass():
    def rare(config):  # one of the 1,024 configs on which a space tries it
        return config in allowed

    allowed = [hp.Space(where=lambda c: True, **RANGES).allowed()[7]]
    space = hp.Space(where=rare, **RANGES)
    found = elsewhere(space, space.allows, jax.random.key(0), 4)
    assert space.configs(found) == allowed


def test_a_space_of_constants_is_one_trial():
    result = search(task=wide(), space=hp.Space(lr=0.05, decay=1e-3), strategy=FOUR, **ALIKE).run(quiet=True)
    assert [t.config for t in result.trials] == [{"decay": 1e-3, "lr": 0.05}]


class Layer(NamedTuple):
    weight: jax.Array
    scale: jax.Array


def tree(config_of_factory):
    def init(key, config):
        weight = 0.3 * jax.random.normal(key, (4, config_of_factory["width"]))
        return {2: (Layer(weight, jnp.float32(1.0)), [jnp.zeros(3), None])}

    def error(params, batch):
        layer = params[2][0]
        return (layer.scale * (batch["x"] @ layer.weight).prod(-1) - batch["y"]) ** 2 + 0 * params[2][1][0].sum()

    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    data = {"x": x, "y": np.tanh(x.sum(1))}
    return hp.Task(
        init=init,
        loss=lambda params, batch, key, config: jnp.mean(error(params, batch)),
        evaluate=lambda params, batch, config: {"error": error(params, batch)},
        optimizer=lambda config: optax.sgd(config["lr"]),
        train={k: v[:30] for k, v in data.items()},
        valid={k: v[30:40] for k, v in data.items()},
        test={k: v[40:] for k, v in data.items()},
        batch_size=10,
        metric="error",
        mode="min",
    )


@pytest.fixture(scope="module")
def structured(tmp_path_factory):
    directory = tmp_path_factory.mktemp("structured")
    space = hp.Space(lr=hp.LogUniform(1e-3, 0.1), width=hp.Choice([2, 3]))
    made = search(task=tree, space=space, strategy=FOUR, **ALIKE)
    return made, made.run(directory, quiet=True), directory


@pytest.mark.slow
def test_a_network_is_what_init_made_both_times(structured):
    made, first, directory = structured
    again = made.run(directory, quiet=True)
    expected = made.groups.spec(first.best.config).task.init(jax.random.key(0), first.best.config)
    for result in (first, again):
        assert jax.tree.structure(result.best.params) == jax.tree.structure(expected)
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(result.best.params)]
        assert shapes == [leaf.shape for leaf in jax.tree.leaves(expected)]
    same = jax.tree.map(np.array_equal, first.best.params, again.best.params)
    assert all(jax.tree.leaves(same))
    loaded = hp.Result.load(directory).best.params  # without the task a named tuple is a dict
    assert type(loaded[2]) is tuple
    assert loaded[2][1][1] is None
    np.testing.assert_array_equal(loaded[2][0]["weight"], first.best.params[2][0].weight)
    assert loaded[2][0]["scale"].shape == ()


@pytest.mark.slow
def test_what_only_a_factory_reads_is_known_to_test_score_and_a_space_of_the_best(structured):
    made, result, directory = structured
    best = result.best
    assert result.test(seeds=2).opening == 1
    assert made.test(directory, seeds=2).opening == 2
    both = [best.config, best.config | {"width": 5 - best.config["width"]}]
    assert hp.score(tree, both * 4, **ALIKE)[0] == best.score
    assert hp.score(tree(best.config), both[:1] * 4, **ALIKE)[0] == best.score
    for made_of in (tree, tree(best.config)):
        alone = search(task=made_of, space=hp.Space(**best.config), strategy=FOUR, **ALIKE)
        assert alone.run(quiet=True).best.score == best.score
