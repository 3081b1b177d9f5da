"""Ensembles and exported predictions against NumPy."""

from typing import Any

import jax
import numpy as np
import pytest
from small_search import _task, measure, predict, search, shared, task

import jaxhp as hp
from jaxhp.report.result import Result

VALID: Any = _task.valid


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return shared("random").run(tmp_path_factory.mktemp("run"), quiet=True)


def said(network, x: np.ndarray) -> np.ndarray:
    return (x @ network["w"]).prod(-1)


def test_an_ensemble_is_worth_what_numpy_says(result):
    made = result.ensemble(k=6, candidates=5)
    assert set(made.trials) <= set(result.trials.trial_id[:5].tolist())
    assert 1 <= sum(made.trials.values()) <= 6
    weight = np.asarray([*made.trials.values()]) / sum(made.trials.values())
    mean = np.tensordot(weight, np.stack([said(network, VALID["x"]) for network in made.networks]), 1)
    np.testing.assert_allclose(made.predict({"x": VALID["x"]}), mean, rtol=1e-5, atol=1e-6)  # without a label
    errors = (mean - VALID["y"]) ** 2
    assert (made.chosen_on, made.examples, made.held_out) == (5, 5, False)
    others = errors[hp.split({"row": np.arange(10)}, 0.5, seed=0)[1]["row"]]
    half = 2.776445 * others.std(ddof=1) / 5**0.5  # of Student's distribution with 4 degrees of freedom
    np.testing.assert_allclose(made.worth, (others.mean(), others.mean() - half, others.mean() + half), rtol=1e-4)
    assert np.isclose(made.gain.mean, made.single.mean - made.worth.mean, atol=1e-6)  # an error: less is better
    assert str(made).splitlines()[1].startswith("worth     error ")


def test_the_best_network_alone_is_an_ensemble_of_one(result):
    made = result.ensemble(k=1, candidates=1)
    assert made.trials == {result.best.trial_id: 1}
    assert made.gain == (0, 0, 0)
    assert made.networks[0]["w"].tobytes() == result.best.params["w"].tobytes()


def test_what_has_no_ensemble_says_why(result):
    with pytest.raises(hp.Error, match=r"ensemble: expected a result of search\.run\(dir\)"):
        Result.load(result.directory).ensemble()
    with pytest.raises(hp.Error, match="candidates: expected a positive integer, got 0"):
        result.ensemble(candidates=0)
    with pytest.raises(hp.Error, match="Task measure: expected predict= beside it"):
        task(measure=measure)
    with pytest.raises(
        hp.Error, match=r"Task predict: expected floating point numbers of each example.*got float32\[\]"
    ):
        search("random", task=task(predict=lambda params, batch, config: predict(params, batch, config).sum()))
    with pytest.raises(hp.Error, match=r"Task measure: expected the column 'error' of evaluate, .* got other \[7\]"):
        search("random", task=task(predict=predict, measure=lambda said, batch: {"other": said}))


@pytest.mark.slow
def test_a_measure_that_is_not_of_the_metric_is_refused():
    wrong = task(predict=predict, measure=lambda said, batch: {"error": abs(said - batch["y"]) + 1})
    result = search("random", task=wrong, epochs=1).run(quiet=True)
    with pytest.raises(hp.Error, match="Task measure: expected the error that evaluate gives"):
        result.ensemble()
    with pytest.raises(hp.Error, match=r"ensemble: expected a task with predict= and measure="):
        search("random", epochs=1).run(quiet=True).ensemble()


@pytest.mark.slow
def test_networks_of_several_groups_with_a_holdout_and_folds(tmp_path):
    """Widths are static, so two programs say what one mean is; each judged on examples that no network has seen."""
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_digits

    x, label = load_digits(return_X_y=True)
    data = hp.data.arrays({"image": x[:600].astype(np.float32) / 16, "label": label[:600].astype(np.int32)})
    made = lambda config: hp.tasks.mlp(data, (config["width"],), batch_size=60)  # noqa: E731
    space = hp.Space(lr=hp.LogUniform(1e-2, 1.0), weight_decay=0.0, width=hp.Choice([8, 16]))
    options: dict[str, Any] = {"epochs": 3, "finals": hp.Finals(2, 4, holdout=0.5)}
    result = hp.Search(made, space, hp.Random(12), **options).run(tmp_path, quiet=True)
    found = result.ensemble(k=6, candidates=12)
    assert (found.held_out, found.chosen_on, found.examples) == (True, 60, 60)
    widths = {network[0]["w"].shape[0] for network in found.networks}
    shares = 0
    for network, count in zip(found.networks, found.trials.values(), strict=True):
        h = np.maximum(network[0]["w"] @ x[:50].T / 16 + network[0]["b"][:, None], 0)
        scores = network[1]["w"] @ h + network[1]["b"][:, None]
        shares = shares + count * np.exp(scores - np.log(np.exp(scores).sum(0))).T
    expected = np.asarray(shares) / sum(found.trials.values())
    got = found.predict({"image": x[:50].astype(np.float32) / 16})
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert widths <= {8, 16}
    folds = hp.Search(
        made(dict(width=8)), hp.Space(lr=hp.LogUniform(1e-2, 1.0), weight_decay=0.0), hp.Random(6), folds=3
    )
    made_of_folds = folds.changed(epochs=2, finals=None).run(quiet=True).ensemble(k=3)
    assert made_of_folds.chosen_on + made_of_folds.examples == 200  # those of one fold of three


@pytest.mark.slow
def test_what_is_exported_says_the_same_without_the_task(result, tmp_path):
    pytest.importorskip("flatbuffers")
    assert result.export(tmp_path / "best.jaxexport") == ("x",)
    loaded = jax.export.deserialize(bytearray((tmp_path / "best.jaxexport").read_bytes()))
    for rows in (1, 7):
        x = VALID["x"][:rows]
        np.testing.assert_allclose(loaded.call({"x": x}), said(result.best.params, x), rtol=1e-5)
    made = result.ensemble()
    made.export(tmp_path / "all.jaxexport", rows=10)
    loaded = jax.export.deserialize(bytearray((tmp_path / "all.jaxexport").read_bytes()))
    np.testing.assert_allclose(loaded.call({"x": VALID["x"]}), made.predict(VALID), rtol=1e-5)


@pytest.mark.slow
def test_models_of_other_libraries_predict():
    """The model is called as `evaluate` calls it."""
    nnx = pytest.importorskip("flax.nnx")
    optax = pytest.importorskip("optax")

    class Net(nnx.Module):
        def __init__(self, rngs, config):
            self.out = nnx.Linear(4, 1, rngs=rngs)

        def __call__(self, x):
            return self.out(x)[:, 0]

    of = hp.tasks.nnx(
        Net,
        lambda model, batch, key, config: ((model(batch["x"]) - batch["y"]) ** 2).mean(),
        lambda model, batch, config: measure(model(batch["x"]), batch),
        lambda config: optax.sgd(config["lr"]),
        predict=lambda model, batch, config: model(batch["x"]),
        measure=measure,
        train=_task.train,
        valid=_task.valid,
        batch_size=10,
        metric="error",
        mode="min",
    )
    result = hp.search(of, hp.Space(lr=hp.LogUniform(1e-3, 0.1)), hp.Random(4), epochs=2, finals=None, tile=2)
    made = result.ensemble(k=2)
    means = 0
    for network, count in zip(made.networks, made.trials.values(), strict=True):
        model = hp.tasks.model(of, network, {})
        means = means + count * np.asarray(model(VALID["x"]))
    np.testing.assert_allclose(made.predict(VALID), np.asarray(means) / sum(made.trials.values()), rtol=1e-5, atol=1e-6)
