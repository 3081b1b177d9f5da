"""How far the intervals of AUC, F1 and R2 can be trusted: simulated networks whose true metric is known.

    python experiments/whole_set_metrics.py [--samples N] [--smoke]

A sample is n validation examples and some networks of one config, which differ by their seeds: each network has a
quality of its own, and a score or prediction with noise that is an example's own for all networks, and noise of both.
The truth is the mean over networks of the metric on all examples that there could be. What finals make of a sample is
the mean over networks and examples of the metric plus its influences, `crossed_mean`, less the metric's own bias with
so few examples, `bias`. Biases are in standard errors.

1,500 samples a line; chance alone makes 0.026 of a bias, 0.018 of an error, 0.006 of a share.

    metric     n  networks     bias  error told / true  95% covers
    AUC      300         1   +0.028              0.986       0.941
    AUC      300         4   -0.057              0.972       0.941
    AUC      300        16   +0.023              0.985       0.947
    AUC     1000         1   +0.021              1.022       0.951
    AUC     1000         4   -0.020              0.965       0.937
    AUC     1000        16   +0.003              0.963       0.944
    AUC     2000         1   +0.001              1.016       0.950
    AUC     2000         4   +0.006              0.975       0.940
    AUC     2000        16   +0.007              1.003       0.953
    F1       300         1   +0.030              1.009       0.945
    F1       300         4   -0.040              0.983       0.949
    F1       300        16   +0.029              1.017       0.950
    F1      1000         1   +0.044              1.036       0.956
    F1      1000         4   -0.029              0.962       0.931
    F1      1000        16   +0.001              0.982       0.943
    F1      2000         1   -0.009              1.009       0.953
    F1      2000         4   +0.006              0.976       0.939
    F1      2000        16   +0.009              1.001       0.955
    R2       300         1   -0.028              1.022       0.959
    R2       300         4   -0.027              0.986       0.949
    R2       300        16   -0.056              1.010       0.955
    R2      1000         1   +0.018              0.981       0.940
    R2      1000         4   -0.036              0.971       0.941
    R2      1000        16   -0.016              1.008       0.959
    R2      2000         1   +0.021              1.047       0.964
    R2      2000         4   -0.062              1.004       0.944
    R2      2000        16   -0.014              0.987       0.948

The plain R2 of few examples is too low: with 300 by -0.111, -0.107 and -0.144, with 1,000 by -0.026, -0.075 and -0.061
of these standard errors. AUC and F1 have no such bias, and their lines without `bias` are the same to 0.04.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxhp as hp
from jaxhp.compiling import jit
from jaxhp.selection.intervals import crossed_mean
from jaxhp.tasks.whole_set import bias, found

SHARE, APART, CUT, SPREAD = 0.3, 1.2, 0.8, 0.15  # positives, their distance, the threshold, the sd of networks' quality
SHARED = 0.6  # of the noise's variance: an example's own
Columns = dict[str, np.ndarray]


class Kind(NamedTuple):
    """A metric, what draws columns of S networks on n examples, [S, n], and the truth."""

    metric: hp.Metric
    draw: Callable[[np.random.Generator, int, int, float], Columns]
    truth: Callable[[float], float]


def noise(rng: np.random.Generator, seeds: int, n: int) -> np.ndarray:
    """Of variance 1, partly that of the example."""
    return SHARED**0.5 * rng.normal(size=n) + (1 - SHARED) ** 0.5 * rng.normal(size=(seeds, n))


def classes(rng: np.random.Generator, seeds: int, n: int, spread: float) -> Columns:
    label = np.broadcast_to(rng.random(n) < SHARE, (seeds, n))
    score = (APART + spread * rng.normal(size=(seeds, 1))) * label + noise(rng, seeds, n)
    return {"score": score.astype(np.float32), "label": label, "prediction": score > CUT}


def numbers(rng: np.random.Generator, seeds: int, n: int, spread: float) -> Columns:
    """Targets of variance 2; a network's error has variance 1 and that of its quality."""
    known = rng.normal(size=n)
    error = (1 + spread * rng.normal(size=(seeds, 1))) * noise(rng, seeds, n)
    return {
        "target": np.broadcast_to(known + rng.normal(size=n), (seeds, n)).astype(np.float32),
        "prediction": (known + 0.5 * error).astype(np.float32),
    }


def above(cut: float) -> float:
    return 0.5 * math.erfc(cut / 2**0.5)


def auc(spread: float) -> float:
    return above(-APART / 2**0.5 / (1 + spread**2 / 2) ** 0.5)


def f1(spread: float) -> float:
    points, weights = np.polynomial.hermite_e.hermegauss(40)
    hits = np.asarray([SHARE * above(CUT - APART - spread * at) for at in points])
    return float(np.average(2 * hits / (hits + (1 - SHARE) * above(CUT) + SHARE), weights=weights))


def r2(spread: float) -> float:
    return 1 - (1 + 0.25 * (1 + spread**2)) / 2


KINDS = {
    "AUC": Kind(hp.metrics.roc_auc(), classes, auc),
    "F1": Kind(hp.metrics.f1(), classes, f1),
    "R2": Kind(hp.metrics.r2(), numbers, r2),
}


class Line(NamedTuple):
    """What samples of one kind and size tell."""

    bias: float  # in standard errors
    error: float  # mean standard error that is told, over the one that is
    covers: float  # share of the 95% intervals that hold the truth


def line(name: str, n: int, seeds: int, samples: int, seed: int = 0) -> Line:
    """Draw samples and see what becomes of them: one network is taken as it is, several are taken as seeds.

    Args:
      name: of a kind.
      n, seeds: examples and networks of a sample.
      samples: how many.
      seed: of the samples.
    """
    kind, rng = KINDS[name], np.random.default_rng([seed, n, seeds])
    spread = SPREAD if seeds > 1 else 0.0
    truth, means, covers = kind.truth(spread), [], []

    def of_network(columns: Columns) -> tuple[jax.Array, jax.Array, jax.Array]:
        weight = jnp.ones(n)
        return *found({"": kind.metric}, columns, weight)[""], bias(kind.metric, columns, weight)

    measure = jit(lambda c: jax.lax.map(of_network, c))
    for _ in range(samples):
        values, influence, off = jax.device_get(measure(kind.draw(rng, seeds, n, spread)))
        mean = crossed_mean(values[:, None] + influence).less(float(off.mean()), 0.0)
        low, high = mean.interval()
        means.append(mean[:2])
        covers.append(low <= truth <= high)
    at, told = np.asarray(means).T
    return Line(float((at.mean() - truth) / at.std()), float(told.mean() / at.std()), float(np.mean(covers)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=1500, help="a line")
    parser.add_argument("--smoke", action="store_true", help="a small version: few samples of few examples")
    arguments = parser.parse_args()
    print("metric     n  networks     bias  error told / true  95% covers")
    for name in KINDS:
        for n in (300,) if arguments.smoke else (300, 1000, 2000):
            for seeds in (1, 4, 16):
                got = line(name, n, seeds, 40 if arguments.smoke else arguments.samples)
                print(f"{name:6s}{n:6d}{seeds:10d}{got.bias:+9.3f}{got.error:19.3f}{got.covers:12.3f}", flush=True)
