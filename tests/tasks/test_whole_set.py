"""Metrics of the whole set: what is refused before training, and a search that ranks by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from populations import train
from sklearn.metrics import f1_score, roc_auc_score
from small_search import task

import jaxhp as hp
from jaxhp.compiling import jit
from jaxhp.search.groups import spec_of
from jaxhp.tasks.whole_set import bias, check_weights, found

m = hp.metrics
LR = {"lr": "f4"}
EXAMPLES = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
LABEL = (EXAMPLES.sum(1) + np.random.default_rng(1).normal(size=90) > 0).astype(np.uint8)


def given(metrics: Any, evaluate: Any = None, **changes: Any) -> hp.Task:
    return replace(task(**({"evaluate": evaluate} if evaluate else {})), metrics=metrics, **changes)


def median(columns, weight):
    order = jnp.argsort(columns["error"])
    upto = jnp.cumsum(weight[order])
    return columns["error"][order][jnp.argmax(upto >= upto[-1] / 2)]


REFUSED = {
    "a plain function": (
        lambda: given({"f1": median}),
        "Task metrics: expected a dict of name to hp.Metric, got {'f1': <function median at ",
    ),
    "a list": (lambda: given([m.f1()]), "Task metrics: expected a dict of name to hp.Metric, got [Metric("),
    "no function": (lambda: hp.Metric(cast(Any, 3)), "Metric fn: expected a function of columns and weight, got 3"),
    "a name that is none": (lambda: given({"a b\n": m.mae("error")}), "Task metrics"),
    "a column that is not there": (
        lambda: given({"f1": m.f1()}),
        "Task metrics 'f1': expected evaluate to return the column 'prediction', which it reads, got only error",
    ),
    "a column of another shape": (
        lambda: given({"r2": m.r2("both", "error")}, lambda p, b, c: {"both": b["x"] @ p["w"], "error": b["y"] * 1.0}),
        "Task metrics 'r2': column 'both': expected [n], got float32[7, 2]",
    ),
    "the name of a column": (
        lambda: given({"error": m.mae("error", "error")}),
        "Task metrics: expected other names than those of evaluate's columns, got 'error'",
    ),
    "a column that no metric reads": (
        lambda: given({"mae": m.mae("error", "error")}, lambda p, b, c: {"both": b["x"] @ p["w"], "error": b["y"] * 1}),
        "Task evaluate: expected one value an example, f32[B], for 'both', which no metric reads; with B = 7 got "
        "float32[7, 2]",
    ),
    "one that is asked for but not there": (
        lambda: given({"mae": m.mae("error", "error")}, metric="auc"),
        "Task metric: expected one of mae, got 'auc'",
    ),
    "no scalar": (
        lambda: given({"m": hp.Metric(lambda columns, weight: columns["error"] * weight)}),
        "Task metrics 'm': expected a floating point scalar, got float32[7]",
    ),
    "an integer": (
        lambda: given({"m": hp.Metric(lambda columns, weight: jnp.sum(columns["error"] > 0))}),
        "Task metrics 'm': expected a floating point scalar, got int32[]",
    ),
    "Python on values": (
        lambda: given({"m": hp.Metric(lambda c, weight: c["error"].sum() if weight.sum() > 0 else jnp.nan)}),
        "Task metrics 'm': raised TracerBoolConversionError when called on shapes: ",
    ),
    "too few arguments": (
        lambda: given({"m": hp.Metric(cast(Any, lambda columns: columns["error"].sum()))}),
        "Task metrics 'm': raised TypeError when called on shapes: ",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_metric_is_refused_on_shapes(name):
    make, message = REFUSED[name]
    with pytest.raises(hp.Error) as raised:
        spec_of(make(), {}, LR)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


MISUSED = {
    "weights ignored": (lambda c, w: c["error"].mean(), "of weight 0 is as if it were not there"),
    "divided by the examples": (lambda c, w: (w * c["error"]).mean(), "of weight 0 is as if it were not there"),
    "roots of weights": (
        lambda c, w: jnp.sum(jnp.sqrt(w) * c["error"]) / jnp.sum(jnp.sqrt(w)),
        "and of weight 2 as if it were there twice",
    ),
    "a sum": (lambda c, w: jnp.sum(w * c["error"]), "does not change when all weights are scaled"),
    "a median": (median, "expected a metric with a derivative by the weights"),
    "a constant divisor": (
        lambda c, w: jnp.sum(w * c["error"]) / jax.lax.stop_gradient(jnp.sum(w)),
        "expected a metric with a derivative by the weights",
    ),
}


@pytest.mark.parametrize("name", MISUSED)
def test_what_does_not_take_weights_for_what_they_are_is_refused(name):
    fn, message = MISUSED[name]
    error = np.random.default_rng(0).exponential(size=40).astype(np.float32)
    with pytest.raises(hp.Error, match=f"^Task metrics 'm': .*{message}"):
        check_weights({"m": hp.Metric(fn)}, {"error": error})


def test_the_search_refuses_it_before_training():
    made = given({"m": hp.Metric(lambda c, w: c["error"].mean())})
    with pytest.raises(hp.Error, match="Task metrics 'm': expected one for which an example of weight 0"):
        hp.score(made, [{"lr": 0.1}], epochs=1)


def test_a_network_that_always_says_the_same_is_no_reason_to_refuse():
    """To leave out the only example of a class moves these by a jump, though no weight near 1 does."""
    label = np.asarray([0] * 30 + [1] * 20 + [2] + [3] * 9)
    columns = {"prediction": np.zeros(60, int), "label": label}
    check_weights(
        {"b": m.balanced_accuracy(classes=4), "m": m.macro_f1(classes=4), "k": m.cohen_kappa(classes=4)}, columns
    )


def test_large_steep_and_constant_metrics_are_accepted():
    rng = np.random.default_rng(0)
    nll = {"nll": (20 * rng.exponential(size=64)).astype(np.float32), "count": rng.integers(1, 9, 64)}
    check_weights({"perplexity": m.perplexity(), "r2": m.r2("nll", "count"), "rmse": m.rmse("nll", "nll")}, nll)
    infinite = {"nll": 100 * nll["nll"], "count": nll["count"]}
    check_weights({"perplexity": m.perplexity()}, infinite)


def test_influences_on_a_mean_are_distances_from_it_and_absent_rows_have_none():
    value = np.random.default_rng(0).normal(size=9).astype(np.float32)
    weight = np.asarray([1, 1, 0, 1, 1, 0, 1, 1, 1], np.float32)
    mean, influence = found({"m": m.weighted_mean("v", "one")}, {"v": value, "one": np.ones(9, int)}, weight)["m"]
    there = weight > 0
    np.testing.assert_allclose(mean, value[there].mean(), rtol=1e-6)
    np.testing.assert_allclose(influence, np.where(there, value - value[there].mean(), 0), atol=1e-6)


def classifier(**changes: Any) -> hp.Task:
    """Logistic regression with a hidden layer of three, ranked by the area under its ROC curve."""

    def score(params, batch):
        return jnp.tanh(batch["x"] @ params["w"]) @ params["v"]

    def init(key, config):
        first, second = jax.random.split(key)
        return {"w": jax.random.normal(first, (4, 3)), "v": jax.random.normal(second, (3,))}

    def loss(params, batch, key, config):
        return optax.sigmoid_binary_cross_entropy(score(params, batch), batch["label"]).mean()

    def evaluate(params, batch, config):
        found = score(params, batch)
        return {"score": found, "prediction": found > 0, "label": batch["label"], "certain": jnp.abs(found)}

    data = {"x": EXAMPLES, "label": LABEL}
    return hp.Task(
        init,
        loss,
        evaluate,
        lambda config: optax.sgd(config["lr"]),
        train={n: a[:60] for n, a in data.items()},
        valid={n: a[60:] for n, a in data.items()},
        batch_size=20,
        metric="auc",
        metrics={"auc": m.roc_auc(), "f1": m.f1()},
        **changes,
    )


def scores(params: Any, x: np.ndarray) -> np.ndarray:
    return np.tanh(x.astype(float) @ params["w"]) @ params["v"]


@pytest.mark.slow
@pytest.mark.parametrize("folds", [None, 3])
def test_a_search_ranked_by_auc_reports_scikit_learns_of_the_network_it_saves(folds):
    space = hp.Space(lr=hp.LogUniform(1e-2, 1.0))
    options: dict[str, Any] = {"epochs": 2, "tile": 2, "folds": folds, "finals": hp.Finals(2, 6 if folds else 4)}
    search = hp.Search(classifier(), space, hp.Random(4), **options)
    result = search.run(quiet=True)
    rows = np.arange(60, 90) if search.fold is None else np.flatnonzero(search.fold == 0)
    said = scores(result.best.params, EXAMPLES[rows])
    at = {t.trial_id: t for t in result.trials}[result.best.trial_id]
    assert at.replicate_scores[0] == pytest.approx(roc_auc_score(LABEL[rows], said), abs=2e-6)
    assert sorted(at.curve) == sorted(f"{part}_{n}" for part in ("train", "valid") for n in ("auc", "f1", "certain"))
    if folds is None:
        assert at.curve["valid_f1"][-1] == pytest.approx(f1_score(LABEL[rows], said > 0), abs=2e-6)
        assert at.curve["valid_certain"][-1] == pytest.approx(np.abs(said).mean(), rel=1e-5)
        assert at.stderr == pytest.approx(delong(LABEL[rows], said), rel=1e-4)
    assert result.estimate is not None
    assert result.estimate.low <= result.estimate.mean <= result.estimate.high


def placements(label: np.ndarray, score: np.ndarray) -> np.ndarray:
    """What each example adds to an AUC, f64[n]: the share of the other class that it beats, around their mean."""
    one, n = label == 1, len(label)
    wins = (score[one][:, None] > score[~one]).astype(float)
    found = np.empty(n)
    found[one] = n / one.sum() * (wins.mean(1) - wins.mean())
    found[~one] = n / (~one).sum() * (wins.mean(0) - wins.mean())
    return found


def delong(label: np.ndarray, score: np.ndarray) -> float:
    """The standard error of an AUC."""
    return float(placements(label, score).std() / len(label) ** 0.5)


def test_the_mean_of_outcomes_is_the_score_and_their_spread_its_error():
    trained = train(classifier(train_examples=0), [{"lr": 0.1}, {"lr": 1.0}], 1, tile=2)
    outcomes, off = (of[:, 0] for of in trained.population.outcomes(trained.state, trained.columns, trained.layout, 1))
    keys = jax.random.split(jax.random.key(0), 8)
    signs = np.asarray(jax.vmap(lambda k: jax.random.rademacher(k, (30,)))(keys), float)
    moves = np.concatenate([sign * (signs - signs.mean(1, keepdims=True)) / 2 for sign in (1, -1)])
    for row, params in enumerate(trained.params):
        said = scores(params, EXAMPLES[60:])
        exact = roc_auc_score(LABEL[60:], said)
        assert trained.ranked.score[row] == pytest.approx(exact, abs=2e-6)
        assert trained.ranked.stderr[row] == pytest.approx(delong(LABEL[60:], said), rel=1e-4)
        np.testing.assert_allclose(outcomes[row], exact + placements(LABEL[60:], said), atol=1e-5)
        assert outcomes[row].mean() == pytest.approx(exact, abs=2e-6)
        moved = [roc_auc_score(LABEL[60:], said, sample_weight=1 + move) for move in moves]
        assert off[row] == pytest.approx(4 * (np.mean(moved) - exact), abs=2e-6)


def test_the_bias_of_few_examples_is_that_of_the_jackknife():
    """R2's, on average of 300 sets of 100 examples; a mean has none, nor has an AUC on average."""
    rng, n = np.random.default_rng(0), 100
    target = rng.normal(size=(300, n))
    columns = {"target": target, "prediction": target + rng.normal(size=(300, n)), "label": rng.random((300, n)) < 0.5}
    columns["label"][:, :2] = [False, True]

    def r2(kept):
        left, known = columns["target"][:, kept] - columns["prediction"][:, kept], columns["target"][:, kept]
        return 1 - (left**2).mean(1) / known.var(1)

    jackknife = (n - 1) * (np.mean([r2(np.arange(n) != i) for i in range(n)], 0) - r2(np.arange(n)))
    metrics = {"r2": m.r2(), "mse": m.mse(), "auc": m.roc_auc("prediction", "label")}
    of_set = lambda c: {name: bias(metric, c, jnp.ones(n)) for name, metric in metrics.items()}  # noqa: E731
    off = jax.device_get(jit(lambda c: jax.lax.map(of_set, c))(jax.tree.map(np.float32, columns)))
    assert jackknife.mean() < -0.02
    assert off["r2"].mean() == pytest.approx(jackknife.mean(), rel=0.1)
    np.testing.assert_allclose(off["mse"], 0, atol=1e-6)
    assert abs(off["auc"].mean()) < 0.005
