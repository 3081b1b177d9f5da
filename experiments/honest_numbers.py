"""How far the reported numbers can be trusted: simulated searches, pure noise, MNIST, pairs, folds, grid.

    python experiments/honest_numbers.py [simulation | noise | mnist | paired | folds | grid] [--seeds N] [--smoke]

On 2 cores about two hours in all, most of it for `simulation`; `--keep FOLDER` lets a run go on where an earlier one
was cut off.
Networks are 784-50-10 on 400 images, with 100 images for validation, trained for 15 epochs.

simulation   1,000 searches with a known truth for each of 72 settings: N = 64, 256 or 1024 configs that are equally
             good, of normal quality, or good in a part of the space; or Halving(81), Halving(243) and Hyperband(81).
             Means over these nine, biases in standard errors of the number that is biased. The figures are of the first
             so many searches; chance alone makes 0.04 of a line of 600, 0.06 of one of 300.
                                        searches   raw best   estimate (largest)   95% interval covers (lines)
               noise of seeds,  16       600         2.13     -0.014   -0.074      0.949   0.932 to 0.968
                  replicates;    4       400         2.14     -0.045   -0.121      0.957   0.945 to 0.975
               and of examples, 16       600         2.24     +0.004   +0.083      0.950   0.937 to 0.962
                                 4       600         2.26     -0.026   -0.064      0.953   0.940 to 0.960
                  half held out 16       400         2.27     -0.008   -0.116      0.956   0.938 to 0.973
                                 4       400         2.25     -0.011   -0.101      0.954   0.938 to 0.970
                  given up early 16      300         1.92     -0.005   -0.094      0.949   0.932 to 0.960
                                 4       300         1.95     -0.035   -0.100      0.952   0.930 to 0.973
             With noise of examples each example suits some configs much better than others (as strongly as all other
             noise of an example), and the search has chosen by it: fresh seeds alone leave +1.305 (16 replicates) and
             +0.891 (4), where configs are given up early +1.169 and +0.771, which `optimism.py` takes off. Where
             only seeds are noisy it takes off the little that looks like it by chance, 0.02.
             `best epoch` (12 epochs, of which the best counts) was run of few trials alone, 300 searches a line, 8
             finalists, configs equal or of normal quality; chance makes 0.04 to 0.05. Of the luck that the choice of
             trial and epoch leaves, 8 trials -0.036 and -0.020 (16 replicates), -0.028 and -0.130 (4), 16 trials -0.026
             and +0.029 (16); intervals cover in 0.953 to 0.970. The table above was made before the correction knew
             that luck of a trial makes its neighbours look better: in searches of 8 trials that had taken off a third
             of a standard error too much, in those of 64 and more a few hundredths.
noise        configs that are as good as equal, on MNIST: their networks differ by seed (8, 7 and 4 searches).
                 N   raw best - accuracy   estimate - accuracy    on the 4,500 images that the search did not have
                64    +0.048 +- 0.010        +0.004 +- 0.011
               256    +0.057 +- 0.013        +0.009 +- 0.011
              1024    +0.047 +- 0.013        -0.013 +- 0.016
mnist        256 configs, 20 seeds, each with 500 of the sample's 5,000 training images (400 and 100). Fresh images are
             the 4,500 others; the test images (written by other people) are harder. Networks are trained anew, 8 seeds.
                                            all validation data      half held out
               raw best                      0.8885 +- 0.0066       0.8990 +- 0.0059
               estimate                      0.8571 +- 0.0066       0.8588 +- 0.0110
               fresh images: chosen          0.8573 +- 0.0018       0.8572 +- 0.0021
                 raw best's config           0.8515 +- 0.0047       0.8483 +- 0.0055
               test images: chosen           0.8239 +- 0.0032       0.8237 +- 0.0035
                 raw best's config           0.8192 +- 0.0059       0.8157 +- 0.0062
               raw best - fresh accuracy    +0.0370 +- 0.0081      +0.0507 +- 0.0092
               estimate - fresh accuracy    -0.0002 +- 0.0066      +0.0016 +- 0.0106
               chosen - raw best, fresh     +0.0059 +- 0.0041      +0.0088 +- 0.0044
               chosen - raw best, test      +0.0046 +- 0.0043      +0.0079 +- 0.0045
               interval covers fresh             20 of 20               18 of 20
             `noise` was measured before estimates were corrected for the luck of examples.
paired       8 finalists of 64 configs, 32 seeds each, 4 searches. The variance of the difference of two is
               0.89, 1.62, 2.36, 0.41 times as large without shared seeds (geometric mean 1.09): so many replicates;
               52, 35, 123, 20 times (46) without shared seeds and shared validation examples.
             What pairs a comparison here is that both finalists meet the same examples. Shared seeds alone gave no
             reliable gain (presumably since learning rates this large soon lead the same initial weights elsewhere).
folds        5 folds x 4 seeds x 64 configs as one population against a plain search of 1,280 configs: 0.3985
             against 0.3900 ms a member and epoch, the best of five turns each: 1.022 (in an earlier run 1.006)
grid         64 trials each, 8 seeds. lr has 0.95 of the variance of the score and 0.98 of what it takes to be among the
             best tenth, weight decay 0.01 and 0.02. The grid tries 8 values of lr, random 64; the chosen config's
             accuracy on fresh images: random 0.8575, grid 0.8494, difference +0.0082 +- 0.0031.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxhp as hp
from jaxhp.search.anew import retrained, retraining
from jaxhp.selection.budgets import at_full_budget, latest
from jaxhp.selection.contest import Played, contest, nearest, neighbourhoods
from jaxhp.selection.intervals import crossed_mean
from jaxhp.selection.verdict import Verdict
from jaxhp.store.files import read_json
from jaxhp.trials import Rung, Status, Trial, rank

DONE = Status.COMPLETE


def anew(search: hp.Search, task: hp.Task, configs: Sequence[dict], seeds: int) -> Callable[[Any], np.ndarray]:
    """Train configs with fresh replicates of a search; see `retrained`."""
    how = retraining(search, search.machine().devices)
    return retrained(search.groups.first, how, task, [(configs, how.epochs)], seeds).measured


class Run(NamedTuple):
    """What is asked for, and the measurements made so far."""

    smoke: bool
    seeds: range
    measured: dict[str, list[float]]
    file: Path

    @property
    def epochs(self) -> int:
        return 3 if self.smoke else 15

    @property
    def sizes(self) -> tuple[int, ...]:
        """Configs of a search."""
        return (64,) if self.smoke else (64, 256, 1024)

    def trials(self, count: int) -> int:
        """So many; an eighth of them in the small version."""
        return count // 8 if self.smoke else count

    def finals(self, holdout: float | None = None) -> hp.Finals:
        return hp.Finals(3, 4, holdout=holdout) if self.smoke else hp.Finals(8, 16, holdout=holdout)

    def once(self, name: str, measure: Callable[[], list[float]]) -> list[float]:
        """What was measured under this name, now or by an earlier run."""
        if name not in self.measured:
            self.measured[name] = measure()
            self.file.write_text(json.dumps(self.measured))
        return self.measured[name]


SPACE = hp.Space(lr=hp.LogUniform(1e-3, 1.0), weight_decay=hp.LogUniform(1e-6, 1e-1))
EXAMPLES, EPOCHS, SEARCHES = 100, 27, 1000  # of the simulation


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
        self.of_a_score = np.sqrt(0.3**2 + 0.7**2 + (3**2 + fit**2 + 6**2) / EXAMPLES)
        n = EXAMPLES + holdout
        self.hard, self.suits = 3 * self.rng.normal(size=n), fit * self.rng.normal(size=(trials, n))
        self.shared = 0.3 * self.rng.normal(size=1000)
        self.rungs, self.trials = self.search()

    def search(self) -> tuple[tuple[Rung, ...], list[Trial]]:
        scores = [float(self.outcomes(i, 999)[:EXAMPLES].mean()) for i in range(len(self.truth))]
        return (Rung(len(scores), 1),), [
            Trial(i, {}, status=DONE, epochs=1, score=score) for i, score in enumerate(scores)
        ]

    def outcomes(self, config: int, replicate: int) -> np.ndarray:
        """f64[n], of one network."""
        own = 0.7 * self.rng.normal() + 6 * self.rng.normal(size=EXAMPLES + self.holdout)
        return self.truth[config] + self.shared[replicate] + self.hard + self.suits[config] + own

    def finals(self, finals: hp.Finals) -> Verdict:
        ranked = rank(self.trials, "max")
        best, scores = ranked[: finals.top], at_full_budget(ranked, "score", self.rungs)

        def play(who, replicates) -> Played:
            found = np.stack([[self.outcomes(best[p].trial_id, r) for r in replicates] for p in who])
            held_out = found[:, :, EXAMPLES:] if self.holdout else None
            return Played(found[:, :, :EXAMPLES], held_out, self.luck([best[p].trial_id for p in who], replicates))

        unit = self.unit[[t.trial_id for t in ranked]]
        around = nearest(unit, range(len(best)))
        near = neighbourhoods(latest(scores)[0], around, range(len(best)), "max")
        by_id = {t.trial_id: float(value) for t, value in zip(best, near, strict=True)}
        curves = self.curves(ranked)
        return contest(best, by_id, finals, play, mode="max", scores=scores, around=around, curves=curves)

    def curves(self, ranked: hp.Trials) -> np.ndarray | None:
        """Of trials of which the best epoch counts."""
        return None

    def luck(self, configs: list[int], replicates: range) -> np.ndarray | None:
        """What every other example shows more than all of them, of such trials."""
        return None


class GivenUp(World):
    """The same where a strategy gives configs up early. Some learn more slowly than others; the luck of examples is the
    same at every budget, and half of the seeds' at one budget is that at the one before."""

    def __init__(self, quality: str, strategy: hp.Halving, seed: int):
        self.strategy, self.seed = strategy, seed
        super().__init__(quality, sum(rung.trials for rung in strategy.schedule(EPOCHS)), seed, fit=6.0, holdout=0)

    def search(self) -> tuple[tuple[Rung, ...], list[Trial]]:
        rungs, n = self.strategy.schedule(EPOCHS), len(self.truth)
        state = self.strategy.init(jax.random.key(self.seed), 2, EPOCHS)
        slow, own = 3 + 3 * np.abs(self.rng.normal(size=n)), self.rng.normal(size=n)
        curves, begun = np.full((n, EPOCHS), np.nan), np.full(n, -1)
        trials, epochs = np.zeros(0, int), np.zeros(n, int)
        for number, rung in enumerate(rungs):
            proposal, state = self.strategy.ask(state)
            parent = np.asarray(proposal.parent)
            fresh = np.flatnonzero(begun < 0)[: int(np.sum(parent < 0))]
            before, trials = trials, np.empty(len(parent), int)
            trials[parent >= 0], trials[parent < 0] = before[parent[parent >= 0]], fresh
            begun[fresh] = number
            own = (own + self.rng.normal(size=n)) / 2**0.5
            learnt = self.truth - slow * (1 / rung.epochs - 1 / EPOCHS) ** 0.5 + self.shared[999] + self.hard.mean()
            scores = learnt + self.suits.mean(1) + (0.7**2 + 6**2 / EXAMPLES) ** 0.5 * own
            curves[trials, rung.epochs - 1], epochs[trials] = scores[trials], rung.epochs
            state = self.strategy.tell(state, proposal, scores[trials].astype(np.float32))
        curve = [{"valid_score": row[:end]} for row, end in zip(curves, epochs, strict=True)]
        return rungs, [
            Trial(i, {}, int(begun[i]), DONE, int(epochs[i]), score=float(curves[i, epochs[i] - 1]), curve=curve[i])
            for i in np.flatnonzero(epochs).tolist()
        ]


class BestEpoch(World):
    """The same where the best of 12 epochs counts. Half of what suits a config changes on the way; what a seed does to
    a score is new in every epoch."""

    def __init__(self, quality: str, trials: int, seed: int):
        super().__init__(quality, trials, seed, fit=6.0, holdout=0)

    def search(self) -> tuple[tuple[Rung, ...], list[Trial]]:
        n, epochs = len(self.truth), 12
        own = self.rng.normal(size=(epochs, n, EXAMPLES))
        for e in range(1, epochs):
            own[e] = 0.8 * own[e - 1] + 0.6 * own[e]
        self.suits_at = np.moveaxis((self.suits + 6 * own) / 2**0.5, 0, 1)
        self.truth_at = self.truth[:, None] - 3 * np.exp(-np.arange(epochs) / 2)
        curves = np.stack([self.seen(i, 999).mean(1) for i in range(n)])
        at = curves.argmax(1)
        self.truth, self.suits = self.truth_at[np.arange(n), at], self.suits_at[np.arange(n), at]
        facts: dict[str, Any] = {"status": DONE, "epochs": epochs, "metric": "score", "mode": "max", "epoch": "best"}
        return (Rung(n, epochs),), [
            Trial(i, {}, score=float(row.max()), curve={"valid_score": row}, budget=epochs, **facts)
            for i, row in enumerate(curves)
        ]

    def seen(self, config: int, replicate: int) -> np.ndarray:
        """f64[E, n], of one network after every epoch."""
        suits = self.suits_at[config]
        own = 0.7 * self.rng.normal(size=(len(suits), 1)) + 6 * self.rng.normal(size=suits.shape)
        return self.truth_at[config][:, None] + self.shared[replicate] + self.hard + suits + own

    def curves(self, ranked: hp.Trials) -> np.ndarray | None:
        return np.stack([t.curve["valid_score"] for t in ranked])

    def luck(self, configs: list[int], replicates: range) -> np.ndarray | None:
        seen = np.mean([[self.seen(c, r) for r in replicates] for c in configs], 1)
        return seen[:, :, ::2].mean(2) - seen.mean(2)


def simulated(world: Callable[..., World], quality: str, seeds: range, finals: hp.Finals) -> list[float]:
    """What one line of the table says: of searches in worlds of these seeds."""
    raw, error, covers, gain = [], [], [], []
    for seed in seeds:
        here = world(quality=quality, seed=seed)
        choice, best = here.finals(finals), rank(here.trials, "max")[0]
        estimate, truth, of_best = choice.estimate, here.truth[choice.trial_id], here.truth[best.trial_id]
        assert estimate is not None
        raw.append((best.score - of_best) / here.of_a_score)
        error.append(estimate.mean - truth)
        covers.append(estimate.low <= truth <= estimate.high)
        gain.append(truth - of_best)
    return [float(f) for f in (np.mean(raw), np.mean(error) / np.std(error), np.mean(covers), np.mean(gain))]


def simulation(run: Run) -> None:
    worlds: dict[str, dict[str, Callable[..., World]]] = {
        noise: {str(n): partial(World, trials=n, fit=fit, holdout=holdout) for n in run.sizes}
        for noise, fit, holdout in (("seeds", 0.0, 0), ("holdout", 6.0, EXAMPLES), ("no holdout", 6.0, 0))
    }
    strategies = {"81": hp.Halving(81), "243": hp.Halving(243), "Hyperband 81": hp.Hyperband(81)}
    given_up = list(strategies.items())[: len(run.sizes)]
    worlds["given up early"] = {n: partial(GivenUp, strategy=strategy) for n, strategy in given_up}
    worlds["best epoch"] = {str(n): partial(BestEpoch, trials=n) for n in run.sizes}
    searches, line = 3 if run.smoke else SEARCHES, 0
    print(f"{searches} searches a line; biases in standard errors of what is biased")
    print("noise            finals  quality             N  raw best  estimate  95% covers  chosen - raw best, truly")
    for (noise, sized), finals in itertools.product(worlds.items(), (hp.Finals(8, 16), hp.Finals(8, 4))):
        lines = []
        for quality, (size, world) in itertools.product(("equal", "normal", "plateau"), sized.items()):
            name = f"{noise:16s} 8 x {finals.replicates:2d}  {quality:8s}{size:>13s}"
            seeds = range(line * SEARCHES, line * SEARCHES + searches)
            found = run.once(name, partial(simulated, world, quality, seeds, finals))
            print("{}  {:8.2f}  {:+8.3f}  {:10.3f}  {:+8.3f}".format(name, *found), flush=True)
            lines.append(found)
            line += 1
        mean = np.mean(lines, axis=0)
        print(f"{'':32s}mean of the lines  {mean[0]:8.2f}  {mean[1]:+8.3f}  {mean[2]:10.3f}  {mean[3]:+8.3f}")


def drawn(seed: int) -> tuple[hp.Task, Any]:
    """A network on 500 of the sample's 5,000 training images, 100 of them for validation; and all other images."""
    order = np.random.default_rng(seed).permutation(5000)
    mine, fresh = ({n: a[rows] for n, a in hp.data.mnist_sample().train.items()} for rows in (order[:500], order[500:]))
    return hp.tasks.mlp(hp.data.arrays(mine), hidden=(50,), batch_size=50, split_seed=seed), fresh


def noise(run: Run) -> None:
    """Searches among configs that are as good as equal: their networks differ by their seeds alone."""
    space = hp.Space(lr=hp.LogUniform(0.1, 0.1001), weight_decay=1e-6)
    print("    N  raw best  estimate  accuracy on fresh images (mean of the seeds +- its standard error)")
    for trials in map(run.trials, run.sizes):

        def measure(seed: int, trials: int = trials) -> list[float]:
            task, fresh = drawn(seed)
            options: dict[str, Any] = {"epochs": run.epochs, "seed": seed, "paired": False, "finals": run.finals()}
            search = hp.Search(task, space, hp.Random(trials), **options)
            result = search.run(quiet=True)
            assert result.estimate is not None
            truth = anew(search, task, [result.best.config], seeds=16)(fresh).mean()
            return [result.raw_best.score, result.estimate.mean, float(truth)]

        rows = np.asarray([run.once(f"noise, {trials}, {seed}", lambda seed=seed: measure(seed)) for seed in run.seeds])
        error = rows.std(0, ddof=1) / len(rows) ** 0.5
        print(f"{trials:5d}" + "".join(f"  {m:.4f} +- {e:.4f}" for m, e in zip(rows.mean(0), error, strict=True)))
        best, estimate = (rows[:, :2] - rows[:, 2:]).T
        for name, bias in (("raw best", best), ("estimate", estimate)):
            print(
                f"      {name} - accuracy: {bias.mean():+.4f} +- {bias.std(ddof=1) / len(rows) ** 0.5:.4f}", flush=True
            )


def grid(run: Run) -> None:
    """Why random beats grid: both try 64 configs, of which the grid has but 8 values of what matters."""
    searched = hp.Search(drawn(0)[0], SPACE, hp.Random(run.trials(256)), epochs=run.epochs, finals=None)
    print(searched.run(quiet=True).importance())
    found = {}
    for name, strategy in (("random", hp.Random(64)), ("grid", hp.Grid((8, 8)))):

        def measure(seed: int, strategy: Any = strategy) -> list[float]:
            task, fresh = drawn(seed)
            search = hp.Search(task, SPACE, strategy, epochs=run.epochs, seed=seed, finals=hp.Finals(8, 8))
            result = search.run(quiet=True)
            outcomes = anew(search, task, [result.best.config], seeds=8)(fresh)
            return [len({f"{t.config['lr']:.6g}" for t in result.trials}), float(outcomes.mean())]

        rows = [run.once(f"{name}, {seed}", lambda seed=seed: measure(seed)) for seed in run.seeds]
        values, found[name] = np.asarray(rows).T
        print(
            f"{name}: {values.mean():.0f} values of lr; accuracy of the chosen on fresh images {found[name].mean():.4f}"
        )
    gain = found["random"] - found["grid"]
    print(f"random - grid {gain.mean():+.4f} +- {gain.std(ddof=1) / len(gain) ** 0.5:.4f}", flush=True)


def mnist(run: Run) -> None:
    """Each seed draws its own 500 of the sample's 5,000 training images; all others are fresh ones of the same kind."""
    sealed = hp.data.mnist_sample().test
    assert sealed is not None
    test = sealed.open()  # this experiment is about the test data: it opens it for every seed
    print(
        "finals              seed  raw best  estimate     low    high  fresh, chosen  raw best  test, chosen  raw best"
    )
    for label, finals in (("all validation data", run.finals()), ("half held out", run.finals(holdout=0.5))):

        def measure(seed: int, finals: hp.Finals = finals) -> list[float]:
            task, fresh = drawn(seed)
            search = hp.Search(task, SPACE, hp.Random(run.trials(256)), epochs=run.epochs, seed=seed, finals=finals)
            result = search.run(quiet=True)
            assert result.estimate is not None
            outcomes = anew(
                search,
                task,
                [result.best.config, result.raw_best.config],
                seeds=8,
            )
            accuracies = [outcomes(data).mean((1, 2)).tolist() for data in (fresh, test)]
            return [result.raw_best.score, *result.estimate[:3], *accuracies[0], *accuracies[1]]

        rows = []
        for seed in run.seeds:
            rows.append(run.once(f"mnist, {label}, {seed}", lambda seed=seed: measure(seed)))
            print(f"{label:20s}{seed:4d}" + "".join(f"{value:10.4f}" for value in rows[-1]), flush=True)
        raw, estimate, low, high, chosen, best, chosen_test, best_test = np.asarray(rows).T
        for name, found in (
            ("raw best", raw),
            ("estimate", estimate),
            ("fresh images, chosen", chosen),
            ("fresh images, raw best", best),
            ("test images, chosen", chosen_test),
            ("test images, raw best", best_test),
            ("raw best - its accuracy on fresh images", raw - best),
            ("estimate - its accuracy on fresh images", estimate - chosen),
            ("chosen - raw best, fresh images", chosen - best),
            ("chosen - raw best, test images", chosen_test - best_test),
        ):
            print(f"  {name:40s}{np.mean(found):+8.4f} +- {np.std(found, ddof=1) / len(rows) ** 0.5:.4f}")
        print(f"  interval covers it in {np.mean((low <= chosen) & (chosen <= high)):.2f} of {len(rows)}", flush=True)


def paired(run: Run) -> None:
    """Eight finalists with the same seeds, and with seeds of their own: the variance of the difference of two."""

    def measure(seed: int) -> list[float]:
        task, _ = drawn(seed)
        options: dict[str, Any] = {"epochs": run.epochs, "seed": seed, "finals": None}
        ways = [hp.Search(task, SPACE, hp.Random(run.trials(64)), paired=way, **options) for way in (True, False)]
        best = [trial.config for trial in ways[0].run(quiet=True).trials[:8]]
        shared, own = (anew(way, task, best, seeds=8 if run.smoke else 32)(task.valid) for way in ways)
        pairs = list(itertools.combinations(range(len(best)), 2))
        by_seed = [np.mean([np.var((of[a] - of[b]).mean(1), ddof=1) for a, b in pairs]) for of in (shared, own)]
        both = np.mean([crossed_mean(shared[a] - shared[b]).stderr ** 2 for a, b in pairs])
        neither = np.mean([crossed_mean(own[a]).stderr ** 2 + crossed_mean(own[b]).stderr ** 2 for a, b in pairs])
        return [float(variance) for variance in (*by_seed, both, neither)]

    found = np.asarray([run.once(f"paired, {seed}", partial(measure, seed)) for seed in run.seeds])
    for name, factor in (
        ("a comparison without shared seeds needs so many times the replicates", found[:, 1] / found[:, 0]),
        (
            "without shared seeds and examples its variance is so many times as large",
            found[:, 3] / found[:, 2],
        ),
    ):
        print(f"{name}: {np.exp(np.log(factor).mean()):.2f} (geometric mean of {np.round(factor, 2).tolist()})")


def folds(run: Run) -> None:
    task = hp.tasks.mlp(hp.data.mnist_sample(500), hidden=(50,), batch_size=50)
    configs = 8 if run.smoke else 64
    rates: dict[str, list[float]] = {"folds": [], "plain": []}
    for _ in range(1 if run.smoke else 5):
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


PARTS = {
    "simulation": simulation,
    "noise": noise,
    "mnist": mnist,
    "paired": paired,
    "folds": folds,
    "grid": grid,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("part", nargs="?", choices=PARTS)
    parser.add_argument("--smoke", action="store_true", help="a small version of everything, in a few minutes")
    parser.add_argument("--seeds", type=int, help="how many, for mnist and paired")
    parser.add_argument("--keep", type=Path, help="a folder in which measured seeds are kept for the next run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        # the seeds differ in data alone: one compilation serves them all
        jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
        for name, part in PARTS.items():
            if arguments.part in (None, name):
                print(f"--- {name}")
                seeds = arguments.seeds or (2 if arguments.smoke else {"mnist": 20}.get(name, 8))
                file = folder / f"{name}{'_smoke' if arguments.smoke else ''}.json"
                measured = json.loads(file.read_text()) if file.exists() else {}
                part(Run(arguments.smoke, range(seeds), measured, file))
