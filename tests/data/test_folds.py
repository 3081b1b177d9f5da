import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxhp as hp
from jaxhp.data.folds import joined, numbers

N_TRAIN, N_VALID = 20, 4


def one_weight_an_example(batch_size: int = 5) -> hp.Task:
    """Every example has a weight of its own, which moves only if the example is trained on."""

    def data(first, count):
        return {"id": np.arange(first, first + count, dtype=np.int32), "label": np.arange(count, dtype=np.int32) % 2}

    return hp.Task(
        init=lambda key, config: jnp.zeros(N_TRAIN + N_VALID) + jax.random.normal(key) * 1e-3,
        loss=lambda params, batch, key, config: jnp.mean((params[batch["id"]] - 1.0) ** 2),
        evaluate=lambda params, batch, config: {"seen": (jnp.abs(params[batch["id"]]) > 0.01).astype(jnp.float32)},
        optimizer=lambda config: optax.sgd(config["lr"]),
        train=data(0, N_TRAIN),
        valid=data(N_TRAIN, N_VALID),
        batch_size=batch_size,
        metric="seen",
    )


SPACE = hp.Space(lr=hp.LogUniform(0.1, 1.0))


@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.integers(2, 6), st.integers(0, 5))
def test_folds_are_balanced_over_examples_and_classes(labels, folds, seed):
    label = np.asarray(labels, np.int32)
    fold = numbers({"x": np.zeros((len(label), 3)), "label": label}, folds, seed)
    assert fold.shape == label.shape
    for part in (fold, *(fold[label == c] for c in set(labels))):
        counts = np.bincount(part, minlength=folds)
        assert counts.sum() == len(part)
        assert counts.max() - counts.min() <= 1


def test_which_leaf_holds_the_labels():
    label = np.repeat(np.arange(2, dtype=np.int32), 12)
    alone = numbers({"y": label, "x": np.zeros((24, 2))}, 3, 0)
    named = numbers({"y": label, "user_id": np.arange(24)[::-1].copy(), "x": np.zeros((24, 2))}, 3, 0)
    target = numbers({"target": label, "user_id": np.arange(24)[::-1].copy()}, 3, 0)
    assert np.array_equal(np.bincount(alone[label == 0]), [4, 4, 4])
    assert np.array_equal(alone, target)
    assert not np.array_equal(alone, named)  # two candidates and no name: not stratified
    assert np.array_equal(np.bincount(named), [8, 8, 8])


def test_seeds_deal_differently_and_repeatably():
    data = {"x": np.zeros(40)}
    assert np.array_equal(numbers(data, 4, 1), numbers(data, 4, 1))
    assert not np.array_equal(numbers(data, 4, 1), numbers(data, 4, 2))


def test_members_never_train_on_their_fold():
    result = hp.Search(
        one_weight_an_example(), SPACE, hp.Random(population=3), folds=3, replicates=2, epochs=2, finals=None
    ).run(quiet=True)
    for trial in result.trials:
        assert trial.replicate_scores == (0.0,) * 6  # no validation example was ever trained on
        assert trial.curve["train_seen"].tolist() == [1.0, 1.0]  # and every other one was, in every epoch


def test_a_fold_is_the_plain_search_on_its_rows():
    task = one_weight_an_example()
    task = hp.Task(
        task.init,
        task.loss,
        lambda params, batch, config: {"loss": params[batch["id"]] * (1 + batch["id"])},
        task.optimizer,
        train=task.train,
        valid=task.valid,
        batch_size=5,
        metric="loss",
    )
    fold = numbers(joined(task.train, task.valid), 4, seed=0)
    data = joined(task.train, task.valid)
    plain = hp.Task(
        task.init,
        task.loss,
        task.evaluate,
        task.optimizer,
        train=jax.tree.map(lambda a: a[fold != 0], data),
        valid=jax.tree.map(lambda a: a[fold == 0], data),
        batch_size=5,
        metric="loss",
    )
    options = {"epochs": 3, "finals": None, "seed": 0, "tile": 2}
    folded = hp.Search(task, SPACE, hp.Random(population=4), folds=4, **options).run(quiet=True)
    alone = hp.Search(plain, SPACE, hp.Random(population=4), **options).run(quiet=True)
    first = {t.trial_id: t.replicate_scores[0] for t in folded.trials}
    assert first == {t.trial_id: t.score for t in alone.trials}


@pytest.mark.parametrize(
    ("folds", "batch_size", "message"),
    [
        (25, 5, "folds: expected at most the 24 examples"),
        (2, 13, "batch_size = 13 of the 24 examples for training, got 12"),
    ],
)
def test_folds_that_do_not_fit_are_refused_before_training(folds, batch_size, message):
    with pytest.raises(ValueError, match=message):
        hp.Search(one_weight_an_example(batch_size), SPACE, hp.Random(population=3), folds=folds)
