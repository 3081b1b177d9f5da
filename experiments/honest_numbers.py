"""How far the reported numbers can be trusted: simulated searches, MNIST, paired comparisons, folds, importance.

    python experiments/honest_numbers.py [simulation | mnist | paired | folds | grid] [--smoke]

simulation   searches with a known truth: bias of the raw best and of the estimate, and how often the interval covers
mnist        500 images, 256 configurations, 20 seeds: raw best, estimate, fresh test accuracy
paired       how many replicates a paired comparison saves
folds        5 folds x 4 seeds x 64 configurations as one population, against a plain search of as many members
grid         why random search beats grid: what mattered, and how many values of it each of them tried

RESULTS
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxhp as hp
from jaxhp.sealed import retrained
from jaxhp.select import Choice, Played, contest, neighbourhoods
from jaxhp.store.files import read_json
from jaxhp.types import Trial

SPACE = hp.Space(lr=hp.LogUniform(1e-3, 1.0), weight_decay=hp.LogUniform(1e-6, 1e-1))
EXAMPLES = 100


class World:
    """A search whose truth is known: N configs in the unit square, and noise of their scores of one unit of size.

    Noise comes from the seed (shared by all configs of a replicate, and a config's own), and from the validation
    examples: how hard each is, how well it suits the config (`fit`), and what is left.
    """

    def __init__(self, quality: str, trials: int, seed: int, *, fit: float, holdout: int):
        self.rng = np.random.default_rng([seed, trials])
        self.unit = self.rng.random((trials, 2)).astype(np.float32)
        distance = ((self.unit - 0.5) ** 2).sum(1)
        self.truth = {
            "equal": np.zeros(trials),
            "normal": self.rng.normal(size=trials),
            "plateau": -20 * np.maximum(0, distance - 0.05),
        }[quality]
        self.holdout = holdout
        n = EXAMPLES + holdout
        self.hard, self.suits = 3 * self.rng.normal(size=n), fit * self.rng.normal(size=(trials, n))
        self.shared = 0.3 * self.rng.normal(size=1000)
        self.scores = np.asarray([self.outcomes(i, 999)[:EXAMPLES].mean() for i in range(trials)])

    def outcomes(self, config: int, replicate: int) -> np.ndarray:
        """f64[n], of one network."""
        own = 0.7 * self.rng.normal() + 6 * self.rng.normal(size=EXAMPLES + self.holdout)
        return self.truth[config] + self.shared[replicate] + self.hard + self.suits[config] + own

    def finals(self, finals: hp.Finals) -> Choice:
        order = np.argsort(-self.scores)
        trials = [Trial(int(i), {}, score=float(self.scores[i])) for i in order[: finals.top]]

        def play(who, replicates) -> Played:
            found = np.stack([[self.outcomes(trials[p].trial_id, r) for r in replicates] for p in who])
            return Played(found[:, :, :EXAMPLES], found[:, :, EXAMPLES:] if self.holdout else None)

        near = neighbourhoods(self.unit, self.scores, [t.trial_id for t in trials], "max")
        around = {t.trial_id: float(value) for t, value in zip(trials, near, strict=True)}
        return contest(trials, around, finals, play, mode="max", n_tried=len(order))


def simulation(smoke: bool) -> None:
    searches = 20 if smoke else 600
    print(f"{searches} searches a line; biases in standard errors of what is biased")
    print("noise            finals  quality     N  raw best  estimate  95% covers  chosen - raw best, true quality")
    for noise, fit, holdout in (("seeds", 0.0, 0), ("holdout", 6.0, EXAMPLES), ("no holdout", 6.0, 0)):
        for finals in (hp.Finals(8, 16), hp.Finals(8, 4)):
            for quality in ("equal", "normal", "plateau"):
                for trials in (64, 256, 1024):
                    raw, error, covers, gain = [], [], [], []
                    for seed in range(searches):
                        world = World(quality, trials, seed, fit=fit, holdout=holdout)
                        choice = world.finals(finals)
                        best, estimate = int(np.argmax(world.scores)), choice.estimate
                        assert estimate is not None
                        truth = world.truth[choice.trial_id]
                        raw.append(world.scores[best] - world.truth[best])
                        error.append(estimate.mean - truth)
                        covers.append(estimate.low <= truth <= estimate.high)
                        gain.append(truth - world.truth[best])
                    one = np.sqrt(0.3**2 + 0.7**2 + (3**2 + fit**2 + 6**2) / EXAMPLES)  # of a raw score
                    print(
                        f"{noise:16s} 8 x {finals.replicates:2d}  {quality:8s}{trials:5d}  {np.mean(raw) / one:8.2f}  "
                        f"{np.mean(error) / np.std(error):+8.3f}  {np.mean(covers):10.3f}  {np.mean(gain):+8.3f}",
                        flush=True,
                    )


def mnist(smoke: bool) -> None:
    data = hp.data.mnist_sample(500)
    assert data.test is not None
    test = data.test.open()  # this experiment is about the test data: it opens it for every seed
    rows = []
    print("finals                seed  raw best  estimate   low    high   test(chosen)  test(raw best)")
    for finals in (hp.Finals(8, 16), hp.Finals(8, 16, holdout=0.5)):
        rows = []
        for seed in range(2 if smoke else 20):
            task = hp.tasks.mlp(data, hidden=(50,), batch_size=50, split_seed=seed)
            search = hp.Search(task, SPACE, hp.Random(16 if smoke else 256), epochs=15, seed=seed, finals=finals)
            result = search.run(quiet=True)
            assert result.estimate is not None
            measure = retrained(search, search.task, [result.best.config, result.raw_best.config], seeds=8)
            chosen, raw = measure(test).mean((1, 2))
            rows.append((result.raw_best.score, *result.estimate[:3], chosen, raw))
            label = "all validation data" if finals.holdout is None else "half held out"
            print(f"{label:20s}{seed:6d}" + "".join(f"{value:10.4f}" for value in rows[-1]), flush=True)
        found = np.asarray(rows)
        error = found[:, 1] - found[:, 4]
        print(
            f"mean of {len(found)} seeds: raw best {found[:, 0].mean():.4f}, estimate {found[:, 1].mean():.4f}, test "
            f"of the chosen {found[:, 4].mean():.4f}, test of the raw best {found[:, 5].mean():.4f}\n"
            f"raw best - its test {np.mean(found[:, 0] - found[:, 5]):+.4f}, estimate - its test {error.mean():+.4f} "
            f"+- {error.std(ddof=1) / np.sqrt(len(error)):.4f}, interval covers the test accuracy in "
            f"{np.mean((found[:, 2] <= found[:, 4]) & (found[:, 4] <= found[:, 3])):.2f}, "
            f"chosen - raw best {np.mean(found[:, 4] - found[:, 5]):+.4f} "
            f"+- {np.std(found[:, 4] - found[:, 5], ddof=1) / np.sqrt(len(error)):.4f}",
            flush=True,
        )


def paired(smoke: bool) -> None:
    """Variance of the difference of two finalists' scores: replicates needed go with it."""
    data = hp.data.mnist_sample(500)
    variance = {}
    for is_paired in (True, False):
        found = []
        for seed in range(1 if smoke else 8):
            task = hp.tasks.mlp(data, hidden=(50,), batch_size=50, split_seed=seed)
            options: dict[str, Any] = {"epochs": 15, "seed": seed, "paired": is_paired, "finals": hp.Finals(8, 32)}
            result = hp.Search(task, SPACE, hp.Random(32 if smoke else 64), **options).run(quiet=True)
            scores = np.stack([result.finals[f.trial_id][:8] for f in result.finalists])
            found += [np.var(a - b, ddof=1) for i, a in enumerate(scores) for b in scores[:i]]
        variance[is_paired] = np.mean(found)
        print(f"paired={is_paired}: variance of a difference {variance[is_paired]:.3e}", flush=True)
    print(f"an unpaired comparison needs {variance[False] / variance[True]:.2f} times the replicates")


def folds(smoke: bool) -> None:
    task = hp.tasks.mlp(hp.data.mnist_sample(500), hidden=(50,), batch_size=50)
    configs = 8 if smoke else 64
    rates: dict[str, list[float]] = {"folds": [], "plain": []}
    for _ in range(1 if smoke else 5):
        runs: list[tuple[str, int, dict[str, Any]]] = [
            ("folds", configs, {"folds": 5, "replicates": 4}),
            ("plain", configs * 20, {}),
        ]
        for name, population, options in runs:
            with tempfile.TemporaryDirectory() as directory:
                search = hp.Search(task, SPACE, hp.Random(population), epochs=10, finals=None, **options)
                search.run(directory, quiet=True)
                summary = read_json(Path(directory) / "summary.json")
            rates[name].append(1e3 * summary["step_s"] / summary["epochs_trained"])
            print(f"{name}: {rates[name][-1]:.4f} ms a member and epoch", flush=True)
    print(f"folds / plain, best of each: {min(rates['folds']) / min(rates['plain']):.3f}")


PARTS = {"simulation": simulation, "mnist": mnist, "paired": paired, "folds": folds}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("part", nargs="?", choices=PARTS)
    parser.add_argument("--smoke", action="store_true", help="a small version of everything, in a minute")
    arguments = parser.parse_args()
    cache = tempfile.TemporaryDirectory()  # the seeds differ in data alone: one compilation serves them all
    jax.config.update("jax_compilation_cache_dir", cache.name)
    for name, part in PARTS.items():
        if arguments.part in (None, name):
            print(f"--- {name}")
            part(arguments.smoke)
