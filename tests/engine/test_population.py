"""What a member's numbers may depend on: its config, its identity, the tile, and nothing else. All bit for bit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from populations import Trained, train, two_devices

import jaxhp as hp
from jaxhp.engine.layout import arrange

EPOCHS = 4
CONFIGS = [{"lr": lr, "weight_decay": decay} for lr in np.geomspace(1e-3, 0.3, 16) for decay in (1e-6, 1e-3, 1e-2, 0.1)]
NAN = {"lr": 1e30, "weight_decay": 0.1}


KINDS = {"deep sgd": ((32, 16), "sgd"), "deep adamw": ((32, 16), "adamw"), "adamw": ((16,), "adamw")}


@pytest.fixture(scope="module", params=[pytest.param(k, marks=[pytest.mark.slow] * ("deep" in k)) for k in KINDS])
def task(request):
    hidden, optimizer = KINDS[request.param]
    return hp.tasks.mlp(hp.data.mnist_sample(250), hidden=hidden, optimizer=optimizer, batch_size=50)


@pytest.fixture(scope="module")
def alone(task) -> Trained:
    """Sixteen trials on all devices in one call."""
    return train(task, CONFIGS[:16], EPOCHS, devices=jax.local_devices())


def same(found: Trained, alone: Trained, rows: list[int] | range) -> None:
    """Rows of `found` are the first trials of `alone`, in order."""
    for position, row in enumerate(rows):
        for got, want in zip(*map(jax.tree.leaves, (found.params[row], alone.params[position])), strict=True):
            np.testing.assert_array_equal(got, want)
        for got, want in zip(found.ranked[1:], alone.ranked[1:], strict=True):
            np.testing.assert_array_equal(got[row], want[position])


def test_of_the_population_size(task, alone):
    same(train(task, CONFIGS, EPOCHS), alone, range(16))
    same(train(task, CONFIGS[:5], EPOCHS), alone, range(5))


@pytest.mark.slow
@two_devices
def test_of_the_number_of_devices(task, alone):
    assert len(jax.local_devices()) == 2
    same(train(task, CONFIGS[:16], EPOCHS, devices=jax.local_devices()[:1]), alone, range(16))


@pytest.mark.slow
def test_of_the_number_of_calls(task, alone):
    same(train(task, CONFIGS[:16], EPOCHS, stops=(0, 1, 2, 3)), alone, range(16))


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
def test_of_its_slot_and_neighbours(task, paired):
    expected = train(task, CONFIGS[:16], EPOCHS, paired=paired)
    order = np.random.default_rng(0).permutation(16).tolist()
    devices = jax.local_devices()
    moved = train(task, [CONFIGS[i] for i in order], EPOCHS, trials=order, paired=paired, devices=devices)
    same(moved, expected, [order.index(i) for i in range(16)])


@pytest.mark.slow  # tests/search/test_failures.py has one of a whole search
def test_of_neighbours_that_diverge(task, alone):
    mixed = [config for pair in zip(CONFIGS[:16], [NAN] * 16, strict=True) for config in pair]
    found = train(task, mixed, EPOCHS, trials=range(32))
    same(found, alone, range(0, 32, 2))
    assert np.isnan(found.ranked.score[1::2]).all()
    assert (found.ranked.diverged_at[1::2] >= 1).all()
    assert set(found.ranked.order[:16].tolist()) == set(range(0, 32, 2))  # NaN never wins


@pytest.mark.slow
def test_other_seeds_replicates_and_unpaired_trials_are_other_networks(task, alone):
    def differ(a, b):
        return any(np.any(x != y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))

    assert differ(train(task, CONFIGS[:1], EPOCHS, seed=1).params[0], alone.params[0])
    assert differ(train(task, CONFIGS[:1], EPOCHS, replicates=(1,)).params[0], alone.params[0])
    own = train(task, [CONFIGS[0]] * 2, EPOCHS, paired=False)
    assert differ(own.params[0], own.params[1])
    shared = train(task, [CONFIGS[0]] * 2, EPOCHS)
    assert not differ(shared.params[0], shared.params[1])


@pytest.mark.slow
def test_a_score_is_the_mean_over_replicates_whatever_their_number(task):
    many = train(task, CONFIGS[:6], EPOCHS, replicates=(0, 1, 2))
    for replicate in range(3):
        one = train(task, CONFIGS[:6], EPOCHS, replicates=(replicate,))
        np.testing.assert_array_equal(many.ranked.replicate_scores[:, replicate], one.ranked.score)
    np.testing.assert_allclose(many.ranked.score, many.ranked.replicate_scores.mean(1), rtol=1e-6)
    spread = many.ranked.replicate_scores.std(1, ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(many.ranked.stderr, spread, rtol=1e-4, atol=1e-7)


def test_take_moves_members_with_their_optimizer_state(alone):
    compiled = alone.population

    def columns(rows):
        return {name: np.asarray([CONFIGS[row][name] for row in rows], np.float32) for name in CONFIGS[0]}

    everyone, survivors = np.arange(16, dtype=np.int32), np.asarray([14, 3, 9, 0, 7], np.int32)
    before, after = arrange([0] * 16, [0], 4), arrange([2] * 5, [0], 4)
    state, _ = compiled.step(compiled.init(), columns(everyone), everyone, before, 0, 2)
    source = np.full(after.row.size, -1, np.int32)
    source[after.slots[:, 0]] = before.slots[survivors, 0]
    state = compiled.take(state, source)
    state, ranked = compiled.step(state, columns(survivors), survivors, after, 2, EPOCHS)
    for position, trial in enumerate(survivors):
        np.testing.assert_array_equal(ranked.score[position], alone.ranked.score[trial])
        np.testing.assert_array_equal(ranked.curve[position], alone.ranked.curve[trial])
        weights = jax.tree.leaves(state.member.variables)
        for got, want in zip(weights, jax.tree.leaves(alone.params[trial]), strict=True):
            moved = np.asarray(got).reshape(-1, *got.shape[3:])[after.slots[position, 0]]
            np.testing.assert_array_equal(moved, want)
    assert compiled.compilations == 1


def test_evaluation_sees_every_example_once_whatever_the_chunks():
    """2,500 validation examples are measured in three chunks, the last one padded."""
    n = 2500
    task = hp.Task(
        lambda key, config: {"w": jnp.zeros(())},
        lambda params, batch, key, config: params["w"] * config["lr"],
        lambda params, batch, config: {"value": batch["x"]},
        lambda config: optax.sgd(config["lr"]),
        train={"x": np.arange(10, dtype=np.float32)},
        valid={"x": np.arange(n, dtype=np.float32)},
        batch_size=5,
        metric="value",
        train_examples=4,
    )
    found = train(task, [{"lr": 0.1}], 1)
    np.testing.assert_allclose(found.ranked.score[0], (n - 1) / 2, rtol=1e-6)
    np.testing.assert_allclose(found.ranked.stderr[0], np.arange(n).std() / np.sqrt(n), rtol=1e-4)
    np.testing.assert_allclose(found.ranked.curve[0, 0, :, 0], [(0 + 2 + 5 + 7) / 4, (n - 1) / 2], rtol=1e-6)
