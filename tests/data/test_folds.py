"""Folds are dealt out as asked, by rules that scikit-learn's splitters state; members train on what their fold says."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit

import jaxhp as hp
from jaxhp.data.dealing import counted, lightest
from jaxhp.data.folds import folding, joined
from jaxhp.search import manifest as manifests
from jaxhp.search.manifest import claim
from jaxhp.store.ledger import Ledger

N_TRAIN, N_VALID = 20, 4
SPACE = hp.Space(lr=hp.LogUniform(0.1, 1.0))
ONE = jax.local_devices()[:1]
WHEN = np.random.default_rng(0).permutation(N_TRAIN + N_VALID)
PATIENT = np.arange(N_TRAIN + N_VALID) % 8


def counting(batch_size: int = 6) -> hp.Task:
    """Every example has a weight of its own, which counts how many times it was trained on."""
    n = N_TRAIN + N_VALID
    number = np.arange(n)
    data = {"id": number, "label": number % 2, "patient": PATIENT, "when": WHEN, "x": np.zeros((n, 2), np.float32)}

    def evaluate(params, batch, config):
        return {"id": batch["id"].astype(jnp.float32), "times": params[batch["id"]]}

    return hp.Task(
        init=lambda key, config: jnp.zeros(n),
        loss=lambda params, batch, key, config: -jnp.sum(params[batch["id"]]),
        evaluate=evaluate,
        optimizer=lambda config: optax.sgd(1.0 + 0.0 * config["lr"]),
        train={name: values[:N_TRAIN] for name, values in data.items()},
        valid={name: values[N_TRAIN:] for name, values in data.items()},
        batch_size=batch_size,
        metric="id",
        train_examples="all",
    )


def search(folds, task=None, **options):
    return hp.Search(task or counting(), SPACE, hp.Random(3), folds=folds, **({"epochs": 2, "finals": None} | options))


def deal(data, folds, seed=0, label=None):
    """The fold of every example, of which one is given as training data and the others as validation data."""
    parts = ({name: np.asarray(a)[rows] for name, a in data.items()} for rows in (slice(1), slice(1, None)))
    return folding(*parts, folds, seed=seed, label=label, batch_size=1).fold


def by_splits(splits, n):
    fold = np.full(n, -1)
    for number, (_, valid) in enumerate(splits):
        fold[valid] = number
    return fold


labels = st.lists(st.integers(0, 3), min_size=2, max_size=60)


@given(labels, st.integers(2, 6), st.integers(0, 5))
def test_folds_are_balanced_over_examples_and_classes(label, k, seed):
    if k > len(label):
        return
    label = np.asarray(label)
    fold = deal({"y": label}, k, seed, label="y")
    for part in (fold, *(fold[label == c] for c in set(label.tolist()))):
        counts = np.bincount(part, minlength=k)
        assert counts.sum() == len(part)
        assert counts.max() - counts.min() <= 1
    if np.bincount(label)[np.unique(label)].min() >= k:
        assert np.array_equal(deal({"y": label}, hp.Folds(k, stratify="y"), seed), fold)
        theirs = by_splits(StratifiedKFold(k).split(label, label), len(label))
        for c in np.unique(label):
            assert sorted(np.bincount(fold[label == c])) == sorted(np.bincount(theirs[label == c]))


def test_a_number_of_folds_is_dealt_out_by_no_column_that_the_task_does_not_call_its_label():
    patient = np.repeat(np.arange(8), 3)
    at_random = np.empty(24, int)
    at_random[np.argsort(np.random.PCG64(5).random_raw(24), kind="stable")] = np.arange(24) % 3
    assert np.array_equal(deal({"patient": patient, "x": np.zeros(24)}, 3, 5), at_random)
    assert np.array_equal(deal({"label": patient}, 3, 5), at_random)
    assert not np.array_equal(deal({"patient": patient}, 3, 5, label="patient"), at_random)
    assert hp.tasks.mlp(hp.data.mnist_sample(50), hidden=(), batch_size=10).label == "label"


@given(st.lists(st.integers(0, 9), min_size=2, max_size=80), st.integers(2, 5), st.integers(0, 3))
def test_no_group_is_in_two_folds_and_sizes_are_those_of_group_k_fold(groups, k, seed):
    if len(set(groups)) < k:
        return
    groups = np.asarray(groups)
    fold = deal({"patient": groups}, hp.Folds(k, groups="patient"), seed)
    assert all(len(set(fold[groups == g])) == 1 for g in groups)
    theirs = by_splits(GroupKFold(k).split(groups, groups=groups), len(groups))
    assert sorted(np.bincount(fold)) == sorted(np.bincount(theirs))


def stratified_greedily(counts, k):
    """The rule of StratifiedGroupKFold: the lowest mean deviation of the classes' shares, then the smallest."""
    held, fold = np.zeros((k, counts.shape[1])), []
    for group in counts:

        def cost(number, group=group):
            after = held.copy()
            after[number] += group
            return round(float((after / counts.sum(0)).std(axis=0).mean()), 9), held[number].sum(), number

        fold.append(min(range(k), key=cost))
        held[fold[-1]] += group
    return fold


def test_stratified_groups_are_dealt_out_as_evenly_as_stratified_group_k_fold_does():
    rng, ours, theirs = np.random.default_rng(0), [], []
    for _ in range(40):
        k = int(rng.integers(2, 6))
        groups, label = np.arange(90) % rng.integers(12, 30), rng.integers(0, 3, 90)
        group, counts = counted(groups, label)
        order = np.argsort(-counts.std(1), kind="stable")
        assert lightest(counts[order], k).tolist() == stratified_greedily(counts[order], k)
        fold = deal({"y": label, "g": groups}, hp.Folds(k, stratify="y", groups="g"))
        assert all(len(set(fold[group == g])) == 1 for g in group)
        for found, mine in ((fold, ours), (by_splits(StratifiedGroupKFold(k).split(label, label, groups), 90), theirs)):
            shares = np.stack([np.bincount(label[found == f], minlength=3) for f in range(k)]) / np.bincount(label)
            mine.append(shares.std(0).mean())
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.05)


@given(st.integers(2, 5), st.integers(6, 40), st.integers(0, 3))
def test_an_order_without_ties_is_cut_as_time_series_split_cuts_it(k, n, seed):
    when = np.random.default_rng(seed).permutation(n)
    found = folding({"t": when[:1]}, {"t": when[1:]}, hp.Folds(k, order="t"), seed=seed, label=None, batch_size=1)
    order = np.argsort(when)
    for fold, (train, valid) in enumerate(TimeSeriesSplit(k).split(order)):
        assert set(found.train(fold)) == set(order[train])
        assert set(found.valid(fold)) == set(order[valid])


@given(st.lists(st.integers(-5, 5), min_size=5, max_size=60), st.integers(2, 5))
def test_an_order_with_ties_never_trains_on_the_future(when, k):
    if len(set(when)) <= k:
        with pytest.raises(hp.Error, match=f"Folds order: expected more than {k} different values in 't', got"):
            deal({"t": when}, hp.Folds(k, order="t"))
        return
    when = np.asarray(when)
    found = folding({"t": when[:1]}, {"t": when[1:]}, hp.Folds(k, order="t"), seed=0, label=None, batch_size=1)
    assert found.k == k
    for fold in range(k):
        assert when[found.train(fold)].max() < when[found.valid(fold)].min()
        assert set(found.train(fold)) == set(np.flatnonzero(when < when[found.valid(fold)].min()))


def test_seeds_deal_differently_and_repeatably():
    data = {"x": np.zeros(40), "g": np.repeat(np.arange(20), 2)}
    for how in (4, hp.Folds(4, groups="g")):
        assert np.array_equal(deal(data, how, 1), deal(data, how, 1))
        assert not np.array_equal(deal(data, how, 1), deal(data, how, 2))


OWN = np.where(WHEN < 6, -1, WHEN % 3)
TIMES = {  # the mean over folds of how many times an example was trained on, in an epoch of steps * batch_size draws
    "an order": (hp.Folds(3, order="when"), (18 / 6 + 18 / 12 + 18 / 18) / 3),
    "own numbers": (OWN.tolist(), (18 / 18 + 18 / 18 + 18 / 18) / 3),
}


@pytest.mark.parametrize("kind", TIMES)
def test_members_train_on_what_their_fold_says_in_equally_many_steps(kind):
    folds, times = TIMES[kind]
    made = search(folds, finals=hp.Finals(2, 9))
    fold, forward = made.fold, kind == "an order"
    result = made.run(quiet=True, devices=ONE)
    for trial in result.trials:
        assert not trial.curve["valid_times"].any()  # no validation example was ever trained on
        np.testing.assert_allclose(trial.curve["train_times"], [times, 2 * times], rtol=1e-6)
        np.testing.assert_allclose(trial.replicate_scores, [np.flatnonzero(fold == f).mean() for f in range(3)])
    seen = np.flatnonzero(fold >= 0)
    assert result.estimate.examples == len(seen)
    assert result.estimate.mean == pytest.approx(seen.mean(), rel=1e-6)  # every example counts once
    assert (fold == -1).sum() == {"an order": 6, "own numbers": 6}.get(kind, 0)
    if forward:
        assert [set(WHEN[fold == f] // 6) for f in range(-1, 3)] == [{0}, {1}, {2}, {3}]


def test_a_fold_is_the_plain_search_on_its_rows():
    task = replace(
        counting(5),
        init=lambda key, config: jax.random.normal(key, (N_TRAIN + N_VALID,)) * 1e-3,
        loss=lambda params, batch, key, config: jnp.mean((params[batch["id"]] - 1.0) ** 2),
        evaluate=lambda params, batch, config: {"loss": params[batch["id"]] * (1 + batch["id"])},
        optimizer=lambda config: optax.sgd(config["lr"]),
        metric="loss",
    )
    data = joined(task.train, task.valid)
    folded = search(4, task, epochs=3, tile=2)
    plain = replace(
        task,
        train=jax.tree.map(lambda a: a[folded.fold != 0], data),
        valid=jax.tree.map(lambda a: a[folded.fold == 0], data),
    )
    first = {t.trial_id: t.replicate_scores[0] for t in folded.run(quiet=True, devices=ONE).trials}
    alone = search(None, plain, epochs=3, tile=2).run(quiet=True, devices=ONE)
    assert first == {t.trial_id: t.score for t in alone.trials}


def test_a_directory_goes_on_with_the_same_folding_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(manifests, "trained", lambda ledger: True)  # else any search may have it

    def manifest(folds, **options):
        return search(folds, **options).manifest()

    with Ledger(tmp_path, write=True) as ledger:
        claim(ledger, manifest(hp.Folds(3, groups="patient")), accept_environment=False)
        claim(ledger, manifest(hp.Folds(3, groups="patient")), accept_environment=False)
        for other in (3, hp.Folds(3, order="when"), hp.Folds(3, stratify="label", groups="patient"), OWN):
            with pytest.raises(hp.Error, match=r"holds another search: its folding is .*groups='patient'.*, now it is"):
                claim(ledger, manifest(other), accept_environment=False)
        with pytest.raises(hp.Error, match="its folds is 3, now it is None"):
            claim(ledger, manifest(None), accept_environment=False)
        # begun before foldings were recorded: it is not known which it was; without folds there is nothing to know
        for folds, goes_on in ((3, False), (None, True)):
            before = {name: value for name, value in manifest(folds).items() if name != "folding"}
            (tmp_path / "manifest.json").write_text(json.dumps(before))
            if goes_on:
                claim(ledger, manifest(folds), accept_environment=False)
            else:
                with pytest.raises(hp.Error, match="its folding is None, now it is 'Folds"):
                    claim(ledger, manifest(folds), accept_environment=False)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (1, "folds: expected at least 2, got 1"),
        (True, "folds: expected an integer, hp.Folds or the fold of each example, got True"),
        ("3", "folds: expected an integer, hp.Folds or the fold of each example, got '3'"),
        (25, "folds: expected at most the 24 examples of train and valid, got 25"),
        (hp.Folds(3, stratify="sex"), r"Folds stratify: expected a column of the training data \(id, label, .*'sex'"),
        (hp.Folds(3, groups="x"), r"Folds groups: expected a column with one number an example, got 'x', \(20, 2\)"),
        (hp.Folds(3, stratify="id"), "Folds stratify: .* at least 3 examples of each class of 'id', .* 1 of class 0"),
        (hp.Folds(5, groups="label"), "Folds groups: expected at least 5 groups in 'label', got 2"),
        (
            hp.Folds(3, stratify="label", groups="label"),
            "Folds stratify: expected at least 3 groups of each class of 'label', .* got 1 of class 0",
        ),
        (hp.Folds(2, order="label"), "Folds order: expected more than 2 different values in 'label', got 2"),
        (hp.Folds(11, order="when"), "expected each of the 11 folds to leave .* training, got 2; use fewer folds or"),
        ([0, 1, 2], "folds: expected the fold of each of the 24 examples of train and valid, got 3"),
        (np.zeros(24, int), "folds: expected folds from 0, two or more of them, and -1 for no fold, got 0 to 0"),
        (PATIENT % 7 + 1, "folds: expected an example in each fold from 0 to 7, got none in fold 0"),
        (PATIENT - 2, "folds: expected folds from 0, .*, got -2 to 5"),
        (PATIENT / 2, r"folds: expected an integer for each example, its fold, got float64\[24\]"),
    ],
)
def test_folds_that_do_not_fit_are_refused_before_training(folds, message):
    with pytest.raises(hp.Error, match=message) as caught:
        search(folds)
    assert "\n" not in str(caught.value)


def test_other_arguments_that_do_not_fit_are_refused():
    with pytest.raises(hp.Error, match="batch_size = 13 of the 24 examples for training, got 12; use more folds"):
        search(2, counting(13))
    with pytest.raises(hp.Error, match="Folds k: expected at least 2, got 1"):
        hp.Folds(1)
    with pytest.raises(hp.Error, match="Folds groups: expected the name of a column of the data, got 3"):
        hp.Folds(3, groups=3)  # type: ignore[arg-type]
    with pytest.raises(hp.Error, match="Folds order: expected neither stratify nor groups beside an order, got groups"):
        hp.Folds(3, order="when", groups="patient")
    with pytest.raises(hp.Error, match=r"Task label: expected a column of classes, .*, got 'y', float"):
        hp.Task(**(vars(counting()) | {"train": {"y": np.zeros(9)}, "label": "y"}))
    with pytest.raises(hp.Error, match="Finals holdout: expected none beside folds by groups, by an order or of one's"):
        search(hp.Folds(3, groups="patient"), finals=hp.Finals(2, 9, holdout=0.5))
