"""Every metric is scikit-learn's, padding and weights included, and its influences are its derivatives by weights."""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk

import jaxhp as hp
from jaxhp.compiling import jit
from jaxhp.tasks.whole_set import check_weights, found

CASES, LARGEST, CLASSES = 200, 3000, 4
KINDS = list(range(CLASSES))
EPS = float(np.finfo(np.float32).eps)
Columns = Mapping[str, np.ndarray]


def columns(rng: np.random.Generator, n: int) -> Columns:
    """Of a binary task, one of four classes and a regression; scores have ties, classes may be missing."""
    some = rng.random(CLASSES) * (rng.random(CLASSES) < 0.8) + [0.2, 0, 0, 0]
    kinds = rng.choice(CLASSES, size=n, p=some / some.sum())
    said = np.where(rng.random(n) < 0.5, kinds, rng.integers(0, CLASSES, n))
    label = rng.random(n) < rng.choice([0.0, 0.05, 0.5, 0.9])
    score = (rng.normal(size=n) + label).round(rng.integers(0, 5)) * 10.0 ** rng.integers(-6, 6)
    probs = rng.multinomial(8, rng.dirichlet(np.ones(CLASSES), n)) / 8
    target = rng.normal(size=n) * 3 + rng.choice([0.0, 20.0])
    return {
        "score": score.astype(np.float32),
        "label": label if rng.random() < 0.5 else label.astype(np.uint8),
        "prob": rng.beta(1, 1, n).round(rng.integers(1, 5)).clip(0.001, 0.999).astype(np.float32),
        "prediction": (rng.random(n) < 0.3) ^ (label & (rng.random(n) < 0.7)),
        "kind": kinds.astype(np.int32),
        "said": said.astype(np.int32),
        "probs": probs.astype(np.float32),
        "target": target.astype(np.float32).round(rng.integers(0, 6)),
        "guess": (target + rng.normal(size=n)).astype(np.float32).round(rng.integers(0, 6)),
        "value": rng.exponential(size=n).astype(np.float32),
        "count": rng.integers(0, 5, n).astype(np.int32),
    }


def ovr(binary: Callable[..., float], c: Columns, w: np.ndarray) -> float:
    return float(np.mean([binary(c["kind"] == k, c["probs"][:, k], sample_weight=w) for k in KINDS]))


def weighted_spearman(c: Columns, w: np.ndarray) -> float:
    """The correlation of mean ranks, where weights are numbers of equal examples."""

    def ranks(values: np.ndarray) -> np.ndarray:
        _, place = np.unique(values, return_inverse=True)
        upto = np.cumsum(np.bincount(place, w))
        return (upto - np.bincount(place, w) / 2)[place]

    return weighted_pearson(ranks(c["guess"]), ranks(c["target"]), w)


def weighted_pearson(a: np.ndarray, b: np.ndarray, w: np.ndarray) -> float:
    cov = np.cov(a, b, aweights=w, ddof=0) if len(a) > 1 else np.zeros((2, 2))
    spread = np.sqrt(cov[0, 0] * cov[1, 1])
    return cov[0, 1] / spread if spread > 1e-12 else np.nan


def calibration(confidence: np.ndarray, hit: np.ndarray, w: np.ndarray) -> float:
    edges = np.arange(16, dtype=np.float32) / 15
    at = [(confidence > low) & (confidence <= high) for low, high in itertools.pairwise(edges)]
    at[0] |= confidence == 0
    gaps = [abs(np.sum(w[b] * (confidence[b] - hit[b]))) for b in at]
    return float(np.sum(gaps) / w.sum())


def tokens(c: Columns, w: np.ndarray) -> float:
    counts = w * c["count"]
    return float(np.average(c["value"], weights=counts)) if counts.sum() > 0 else np.nan


def top_k(c: Columns, w: np.ndarray) -> float:
    return sk.top_k_accuracy_score(c["kind"], c["probs"], k=2, labels=KINDS, sample_weight=w)


def binary(function: Callable[..., Any], of: str) -> Callable[[Columns, np.ndarray], float]:
    return lambda c, w: function(c["label"], c[of], sample_weight=w)


def many(function: Callable[..., Any], **options: Any) -> Callable[[Columns, np.ndarray], float]:
    return lambda c, w: function(c["kind"], c["said"], sample_weight=w, **options)


def numbers(function: Callable[..., Any]) -> Callable[[Columns, np.ndarray], float]:
    return lambda c, w: function(c["target"], c["guess"], sample_weight=w)


m = hp.metrics
KIND, NUMBERS = {"prediction": "said", "label": "kind"}, {"prediction": "guess"}
METRICS: dict[str, tuple[hp.Metric, Callable[[Columns, np.ndarray], float]]] = {
    "roc_auc": (m.roc_auc(), binary(sk.roc_auc_score, "score")),
    "roc_auc macro": (m.roc_auc("probs", "kind"), lambda c, w: ovr(sk.roc_auc_score, c, w)),
    "roc_auc weighted": (
        m.roc_auc("probs", "kind", average="weighted"),
        lambda c, w: sk.roc_auc_score(
            c["kind"], c["probs"], multi_class="ovr", average="weighted", labels=KINDS, sample_weight=w
        ),
    ),
    "average_precision": (m.average_precision(), binary(sk.average_precision_score, "score")),
    "average_precision macro": (
        m.average_precision("probs", "kind"),
        lambda c, w: ovr(sk.average_precision_score, c, w),
    ),
    "accuracy": (m.accuracy(), binary(sk.accuracy_score, "prediction")),
    "accuracy of scores": (
        m.accuracy("probs", "kind"),
        lambda c, w: sk.accuracy_score(c["kind"], c["probs"].argmax(1), sample_weight=w),
    ),
    "precision": (m.precision(), binary(sk.precision_score, "prediction")),
    "recall": (m.recall(), binary(sk.recall_score, "prediction")),
    "f1": (m.f1(), binary(sk.f1_score, "prediction")),
    "macro_f1": (m.macro_f1(**KIND, classes=CLASSES), many(sk.f1_score, average="macro")),
    "weighted_f1": (m.weighted_f1(**KIND, classes=CLASSES), many(sk.f1_score, average="weighted")),
    "balanced_accuracy": (m.balanced_accuracy(**KIND, classes=CLASSES), many(sk.balanced_accuracy_score)),
    "balanced_accuracy of booleans": (m.balanced_accuracy(), binary(sk.balanced_accuracy_score, "prediction")),
    "matthews_corrcoef": (m.matthews_corrcoef(**KIND, classes=CLASSES), many(sk.matthews_corrcoef)),
    "matthews_corrcoef of booleans": (m.matthews_corrcoef(), binary(sk.matthews_corrcoef, "prediction")),
    "cohen_kappa": (m.cohen_kappa(**KIND, classes=CLASSES), many(sk.cohen_kappa_score)),
    "top_k_accuracy": (m.top_k_accuracy(2, "probs", "kind"), top_k),
    "log_loss": (
        m.log_loss(),
        lambda c, w: sk.log_loss(c["label"], c["prob"], labels=[0, 1], sample_weight=w),
    ),
    "log_loss of classes": (
        m.log_loss("probs", "kind"),
        lambda c, w: sk.log_loss(c["kind"], c["probs"].clip(EPS, 1 - EPS), labels=KINDS, sample_weight=w),
    ),
    "brier": (
        m.brier(),
        lambda c, w: sk.brier_score_loss(c["label"], c["prob"], labels=[0, 1], pos_label=1, sample_weight=w),
    ),
    "brier of classes": (
        m.brier("probs", "kind"),
        lambda c, w: sk.brier_score_loss(c["kind"], c["probs"], labels=KINDS, sample_weight=w),
    ),
    "ece": (m.ece(), lambda c, w: calibration(c["prob"], c["label"], w)),
    "ece of classes": (
        m.ece("probs", "kind"),
        lambda c, w: calibration(c["probs"].max(1), c["probs"].argmax(1) == c["kind"], w),
    ),
    "mse": (m.mse(**NUMBERS), numbers(sk.mean_squared_error)),
    "rmse": (m.rmse(**NUMBERS), numbers(sk.root_mean_squared_error)),
    "mae": (m.mae(**NUMBERS), numbers(sk.mean_absolute_error)),
    "mape": (m.mape(**NUMBERS), numbers(sk.mean_absolute_percentage_error)),
    "r2": (m.r2(**NUMBERS), numbers(sk.r2_score)),
    "pearson": (m.pearson(**NUMBERS), lambda c, w: weighted_pearson(c["guess"], c["target"], w)),
    "spearman": (m.spearman(**NUMBERS), weighted_spearman),
    "weighted_mean": (m.weighted_mean(), tokens),
    "token_accuracy": (m.token_accuracy("value"), tokens),
    "perplexity": (m.perplexity("value"), lambda c, w: float(np.exp(tokens(c, w)))),
}
BY_NAME = {name: metric for name, (metric, _) in METRICS.items()}
# one of each family; all of them, on all cases, are slow tests
FEW = ("roc_auc", "roc_auc macro", "average_precision", "accuracy", "f1", "macro_f1", "top_k_accuracy", "log_loss")
FEW += ("brier", "ece", "mse", "rmse", "r2", "spearman", "weighted_mean", "perplexity")
SOME = 5  # of so many cases one, but for slow tests
EVERY = [(name, SOME) for name in FEW]
EVERY += [pytest.param(name, 1, marks=pytest.mark.slow) for name in METRICS]


def reference(name: str, c: Columns, w: np.ndarray) -> float:
    """In float64, of the examples that count."""
    there = w > 0
    exact = {n: a[there].astype(np.float64) if a.dtype == np.float32 else a[there] for n, a in c.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(METRICS[name][1](exact, w[there].astype(np.float64)))


@functools.cache
def cases() -> list[tuple[Columns, np.ndarray]]:
    """Columns and weights. The last case has 60 examples, with every class, that all count alike."""
    rng = np.random.default_rng(0)
    made = []
    for case in range(CASES):
        n = 1 if case < 5 else int(np.exp(rng.uniform(0.7, np.log(LARGEST)))) if case < CASES - 5 else LARGEST
        some = np.ones(n), rng.integers(0, 4, n), rng.random(n) * (rng.random(n) < 0.7), rng.random(n)
        weight = some[case % 4].astype(np.float32)
        weight[rng.integers(n)] += weight.sum() == 0
        made.append((columns(rng, n), weight))
    c = next(c for c in (columns(rng, 60) for _ in range(99)) if len(set(c["kind"])) == 4 and 3 < c["label"].sum() < 57)
    prob = rng.random(60).astype(np.float32)  # no bin is calibrated in every bit: there the error has no derivative
    return [*made, ({**c, "prob": prob}, np.ones(60, np.float32))]


@functools.cache
def stacked(every: int) -> tuple[Columns, np.ndarray]:
    """Every so many of the cases, the last included, padded with what must not matter."""

    def padded(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.int32) if array.dtype == np.uint8 else array
        whole = np.full((LARGEST, *array.shape[1:]), np.nan if array.dtype.kind == "f" else 1).astype(array.dtype)
        whole[: len(array)] = array
        return whole

    made = cases()[::every]
    return (
        {n: np.stack([padded(c[n]) for c, _ in made]) for n in made[0][0]},
        np.nan_to_num(np.stack([padded(w) for _, w in made])),
    )


@functools.cache
def ours(name: str, every: int) -> tuple[np.ndarray, np.ndarray]:
    """A metric of every so many of the cases, and the influences on it of the last one."""
    value, influence = jit(jax.vmap(lambda c, w: found({name: BY_NAME[name]}, c, w)[name]))(*stacked(every))
    return np.asarray(value), np.asarray(influence)[-1, :60]


@pytest.mark.parametrize(("name", "every"), EVERY)
def test_it_is_scikit_learns(name, every):
    for (c, w), value in zip(cases()[::every], ours(name, every)[0], strict=True):
        np.testing.assert_allclose(value, reference(name, c, w), rtol=1e-6, atol=1e-6, err_msg=f"{name} of {len(w)}")


@pytest.mark.parametrize(("name", "every"), EVERY)
def test_influences_are_derivatives_by_weights(name, every):
    c, ones = cases()[-1]
    influence = ours(name, every)[1]
    assert abs(influence.sum()) < 1e-4 * np.abs(influence).sum() + 1e-4
    step = 1e-4
    moved = [[reference(name, c, ones + by * (np.arange(60) == i)) for by in (step, -step)] for i in range(0, 60, 3)]
    slopes = np.asarray([(up - down) / (2 * step) for up, down in moved])
    np.testing.assert_allclose(influence[::3], 60 * slopes, rtol=2e-5, atol=2e-5)


def test_influences_on_a_mean_are_distances_from_it():
    c, _ = cases()[-1]
    error = (c["guess"] - c["target"]).astype(float) ** 2
    np.testing.assert_allclose(ours("mse", SOME)[1], error - error.mean(), rtol=1e-4, atol=1e-5)


def test_spearmans_reference_is_scipys():
    rng = np.random.default_rng(0)
    c = {"guess": rng.normal(size=50).round(1), "target": rng.normal(size=50).round(1)}
    w = rng.integers(0, 4, 50)
    exact, _ = scipy.stats.spearmanr(np.repeat(c["guess"], w), np.repeat(c["target"], w))
    assert weighted_spearman(c, w.astype(float)) == pytest.approx(exact, abs=1e-12)


@pytest.mark.slow
def test_all_take_weights_for_what_they_are():
    check_weights(BY_NAME, cases()[-1][0])


def test_probabilities_of_0_and_1_are_clipped_as_those_of_float32():
    prob, label = np.asarray([0.0, 1.0, 1e-9, 0.5], np.float32), np.asarray([1, 0, 0, 1])
    exact = sk.log_loss(label, prob)
    assert float(m.log_loss()({"prob": prob, "label": label})) == pytest.approx(exact, rel=1e-6)
    both = np.stack([1 - prob, prob], 1)
    assert float(m.log_loss()({"prob": both, "label": label})) == pytest.approx(sk.log_loss(label, both), rel=1e-6)


def test_the_order_of_scores_is_that_of_numbers():
    score = np.asarray([-np.inf, -2e-38, -0.0, 0.0, 2e-38, 3.0, np.inf], np.float32)
    for label in np.eye(7, dtype=bool):
        below = np.sum(score[~label] < score[label]) + np.sum(score[~label] == score[label]) / 2
        assert float(m.roc_auc()({"score": score, "label": label})) == pytest.approx(below / 6, rel=1e-6)
    assert np.isnan(m.roc_auc()({"score": np.where(score == 3, np.nan, score), "label": score > 0}))


def test_sums_stay_right_for_many_examples():
    """One after another, 300,000 times 0.1 in float32 is 3% off."""
    error = np.full(300_000, 0.1, np.float32)
    found = jit(m.mae().fn)({"prediction": error, "target": 0 * error}, np.full(300_000, 0.3, np.float32))
    assert float(found) == pytest.approx(float(np.float32(0.1)), rel=6e-7)


def test_equal_arguments_make_equal_metrics():
    assert m.roc_auc("a", "b") == m.roc_auc(score="a", label="b") != m.roc_auc("b", "a")
    assert hash(m.macro_f1(classes=3)) == hash(m.macro_f1(classes=3))
    assert m.ece(bins=10) != m.ece() == m.ece(bins=15)
    assert m.roc_auc() != m.average_precision()


def test_tokens_count_and_padding_does_not():
    nll = np.asarray([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0]], np.float32)
    mask = np.asarray([[True, True, False], [True, True, True]])
    columns = {"nll": nll, "count": mask}
    assert float(m.perplexity()(columns)) == pytest.approx(np.exp(3.0), rel=1e-6)
    assert float(m.token_accuracy("hit", "mask")({"hit": nll < 3, "mask": mask})) == pytest.approx(2 / 5)
    per_example = {"nll": np.asarray([1.5, 4.0], np.float32), "count": np.asarray([2, 3])}
    assert float(m.perplexity()(per_example)) == pytest.approx(np.exp(3.0), rel=1e-6)
    assert np.isnan(m.weighted_mean("nll")({**columns, "count": 0 * mask}))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: m.f1(prediction=cast(Any, 3)), "metric column: expected the name of a column of evaluate, got 3"),
        (lambda: m.macro_f1(classes=1), "classes: expected a number from 2 or None, got 1"),
        (lambda: m.top_k_accuracy(0), "top_k_accuracy k: expected a positive integer, got 0"),
        (lambda: m.ece(bins=cast(Any, 2.5)), "ece bins: expected a positive integer, got 2.5"),
        (lambda: m.roc_auc(average="micro"), "average: expected 'macro' or 'weighted', got 'micro'"),
        (
            lambda: m.macro_f1()({"prediction": np.zeros(3, int), "label": np.zeros(3, int)}),
            "classes: expected their number where predictions are int32[n], got None",
        ),
        (
            lambda: m.macro_f1(classes=3)({"prediction": np.zeros((3, 4)), "label": np.zeros(3, int)}),
            "classes: expected 4, as predictions have, got 3",
        ),
        (
            lambda: m.r2()({"prediction": np.zeros((3, 1)), "target": np.zeros(3)}),
            "column 'prediction': expected [n], got float32[3, 1]",
        ),
        (
            lambda: m.weighted_mean()({"value": np.zeros((3, 2)), "count": np.ones(3)}),
            "column 'count': expected the shape of 'value', [3, 2], got [3]",
        ),
    ],
)
def test_mistakes_get_one_line(make, line):
    with pytest.raises(hp.Error) as raised:
        make()
    assert str(raised.value) == line


def test_a_class_beyond_their_number_makes_it_nan():
    said = {"prediction": np.asarray([0, 1, 2]), "label": np.asarray([0, 1, 3])}
    assert np.isnan(m.macro_f1(classes=3)(said))
    assert float(m.macro_f1(classes=3)(said, np.asarray([1.0, 1.0, 0.0]))) == 1


@pytest.mark.parametrize("dtype", [*(pytest.param(t, marks=pytest.mark.slow) for t in (bool, np.uint8)), np.int8])
def test_labels_may_be_of_any_such_type(dtype):
    rng = np.random.default_rng(0)
    label, said, score = rng.random(80) < 0.4, rng.random(80) < 0.4, rng.random(80).astype(np.float32)
    metrics = {"f1": m.f1(), "auc": m.roc_auc(), "mcc": m.matthews_corrcoef(classes=2), "brier": m.brier("score")}
    columns = {"label": label.astype(dtype), "prediction": said.astype(dtype), "score": score}
    ours = jit(lambda c: {name: metric(c) for name, metric in metrics.items()})(columns)
    exact = {
        "f1": sk.f1_score(label, said),
        "auc": sk.roc_auc_score(label, score),
        "mcc": sk.matthews_corrcoef(label, said),
        "brier": sk.brier_score_loss(label, score),
    }
    for name, value in exact.items():
        assert float(ours[name]) == pytest.approx(value, abs=1e-6)
