"""Which strategy finds the better front? jaxhp's `Pareto` against Optuna's NSGA-II and TPE at equal evaluations.

    python experiments/pareto.py --out runs/pareto.jsonl            # half an hour on 2 cores, in parts
    python experiments/pareto.py --out runs/pareto.jsonl --table    # from what was already run
    python experiments/pareto.py --smoke                            # a minute

Needs `pip install jaxhp[bench]`, and for the two real tasks the file lcbench_dev.npz in `--data` (see
`benchmarks/strategies.py`): of each config the loss in accuracy (1 - accuracy / 100) and its size, the logarithm of
units times layers, from a pool of 2000 configs, of which the nearest one that was not taken yet is evaluated.

ZDT1 to ZDT3 (Zitzler et al., doi:10.1162/106365600568202) have 10 parameters, DTLZ2 (Deb et al.,
doi:10.1109/CEC.2002.1007032) 8 and three objectives. Every method gets four rounds of so many points, none of which it
is told before a round is over, but for "one by one", which is told each at once. The figure is the hypervolume that is
dominated below a reference point, as a share of the best there is: of the true front, or of the whole pool.

Results with 4 rounds of 32 points on seeds 0 to 4, mean and standard error over these. (That 8 slots of a round share
weights was chosen for its cost, and which sampler is inside on ZDT1 and DTLZ2 with 64 points and two seeds, which are
among those of the table.)

    32 x 4                      ZDT1       ZDT2       ZDT3       DTLZ2      APSFailure  fabert
    Pareto                      .875 .011  .843 .016  .851 .012  .764 .019  .985 .005  .990 .003
    Pareto, TPE inside          .675 .017  .582 .014  .657 .019  .691 .011  .936 .011  .990 .003
    Sobol                       .606 .008  .455 .008  .583 .009  .697 .010  .837 .016  .940 .013
    Optuna NSGA-II              .643 .027  .531 .035  .600 .020  .683 .020  .894 .013  .976 .006
    Optuna NSGA-II, one by one  .638 .027  .495 .027  .616 .023  .657 .014  .884 .023  .951 .016
    Optuna TPE                  .799 .017  .701 .030  .764 .010  .851 .010  .963 .019  .992 .004
    Optuna TPE, one by one      .776 .024  .645 .030  .757 .026  .869 .009  .956 .019  .996 .000

So Pareto finds more than NSGA-II on all six, and more than Optuna's TPE on ZDT. On DTLZ2 TPE is well ahead; on the
two real tasks they are within two standard errors of each other. A search took Pareto about 40 s on 2 cores that were
shared with others, nearly all of it compiling and fitting Gaussian processes, and with TPE inside a second or two.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxhp.strategies as js
from jaxhp.objectives import hypervolume
from jaxhp.trials import Proposal

HERE = Path(__file__).parent
ROUNDS = 4
Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # [P, D] -> points evaluated, and losses f64[P, K]


class Problem(NamedTuple):
    """A function of the unit cube, all of whose objectives are to be small."""

    name: str
    dim: int
    reference: tuple[float, ...]
    best: float  # the hypervolume of the front
    begin: Callable[[], Evaluate]  # makes what evaluates, for one search


def zdt(number: int, dim: int = 10) -> Problem:
    """One of ZDT1 to ZDT3, whose front has g = 1."""

    def losses(x: np.ndarray) -> np.ndarray:
        first, g = x[:, 0], 1 + 9 * x[:, 1:].mean(1)
        ratio = first / g
        second = {1: 1 - np.sqrt(ratio), 2: 1 - ratio**2, 3: 1 - np.sqrt(ratio) - ratio * np.sin(10 * np.pi * first)}
        return np.stack([first, g * second[number]], 1)

    x = np.zeros((2001, dim))
    x[:, 0] = np.linspace(0, 1, 2001)
    reference = (1.1, 6.0)
    return _problem(f"ZDT{number}", dim, reference, losses, losses(x))


def dtlz2(dim: int = 8) -> Problem:
    """DTLZ2 with three objectives, whose front is an eighth of a sphere."""

    def losses(x: np.ndarray) -> np.ndarray:
        a, b = x[:, 0] * np.pi / 2, x[:, 1] * np.pi / 2
        radius = 1 + ((x[:, 2:] - 0.5) ** 2).sum(1)
        return radius[:, None] * np.stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)], 1)

    problem = _problem("DTLZ2", dim, (1.5, 1.5, 1.5), losses, np.zeros((0, 3)))
    return problem._replace(best=1.5**3 - np.pi / 6)


def _problem(
    name: str, dim: int, reference: tuple[float, ...], losses: Callable[[np.ndarray], np.ndarray], front: np.ndarray
) -> Problem:
    best = hypervolume(-front, [-r for r in reference]) if len(front) else 0.0
    return Problem(name, dim, reference, best, lambda: lambda points: (points, losses(points.astype(float))))


def lcbench(folder: Path, tasks: tuple[int, ...] = (0, 9)) -> list[Problem]:
    """Accuracy against size on two of the tasks; none where the file is missing."""
    path = folder / "lcbench_dev.npz"
    if not path.exists():
        print(f"{path} is missing: without LCBench")
        return []
    tables = list(np.load(path).items())
    return [_pool(*tables[task]) for task in tasks]


def _pool(name: str, table: np.ndarray) -> Problem:
    raw = table[:, :7].astype(np.float64)
    raw[:, [0, 1, 3]] = np.log(raw[:, [0, 1, 3]])
    unit = ((raw - raw.min(0)) / (raw.max(0) - raw.min(0))).astype(np.float32)
    size = np.log(table[:, 3] * table[:, 5])
    found = np.stack([1 - table[:, 7] / 100, (size - size.min()) / (size.max() - size.min())], 1).astype(np.float64)
    reference = tuple(np.quantile(found, 0.9, axis=0).tolist())

    def begin() -> Evaluate:
        free = np.ones(len(unit), bool)

        def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            rows = []
            for point in points:
                rows.append(int(np.argmin(np.where(free, np.square(unit - point).sum(1), np.inf))))
                free[rows[-1]] = False
            return unit[rows], found[rows]

        return evaluate

    return Problem(name, 7, reference, hypervolume(-found, [-r for r in reference]), begin)


def ours(strategy: Callable[[int], Any]) -> Callable[[Problem, int, int], np.ndarray]:
    """Search with a strategy of jaxhp, made for a size of rounds; return all losses."""

    def run(problem: Problem, size: int, seed: int) -> np.ndarray:
        of, evaluate, losses = strategy(size), problem.begin(), []
        state = of.init(jax.random.key(seed), problem.dim)
        for _ in range(ROUNDS):
            asked, state = of.ask(state)
            points, found = evaluate(np.asarray(asked.unit))
            losses.append(found)
            told = Proposal(points, asked.parent, 1)
            state = of.tell_objectives(state, told, (-found).astype(np.float32), np.zeros(len(found), np.float32))
        return np.concatenate(losses)

    return run


def optunas(name: str, batch: int | None = None) -> Callable[[Problem, int, int], np.ndarray]:
    """Search with a sampler of Optuna, told after every so many points; None: after every round."""

    def run(problem: Problem, size: int, seed: int) -> np.ndarray:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        settings = {"population_size": size} if name == "NSGAIISampler" and batch is None else {}
        sampler = getattr(optuna.samplers, name)(seed=seed, **settings)
        directions = [optuna.study.StudyDirection.MINIMIZE] * len(problem.reference)
        study = optuna.create_study(directions=directions, sampler=sampler)
        space: dict[str, Any] = {f"x{i}": optuna.distributions.FloatDistribution(0, 1) for i in range(problem.dim)}
        evaluate, losses = problem.begin(), []
        for _ in range(size * ROUNDS // (batch or size)):
            asked = [study.ask(space) for _ in range(batch or size)]
            points, found = evaluate(np.asarray([[t.params[n] for n in space] for t in asked], np.float32))
            losses.append(found)
            for trial, point, values in zip(asked, points, found, strict=True):
                for (parameter, distribution), x in zip(space.items(), point, strict=True):
                    # the sampler is to learn from the point that was really evaluated
                    study._storage.set_trial_param(trial._trial_id, parameter, float(x), distribution)
                study.tell(trial, values.tolist())
        return np.concatenate(losses)

    return run


METHODS: dict[str, Callable[[Problem, int, int], np.ndarray]] = {
    "Pareto": ours(lambda size: js.Pareto(size, ROUNDS)),
    "Pareto, TPE inside": ours(lambda size: js.Pareto(size, ROUNDS, inner=js.TPE())),
    "Sobol": ours(lambda size: js.Sobol(size, ROUNDS)),
    "Optuna NSGA-II": optunas("NSGAIISampler"),
    "Optuna NSGA-II, one by one": optunas("NSGAIISampler", 1),
    "Optuna TPE": optunas("TPESampler"),
    "Optuna TPE, one by one": optunas("TPESampler", 1),
}


def share(problem: Problem, losses: np.ndarray) -> float:
    """Return the share of the best hypervolume that losses f64[N, K] reach."""
    return hypervolume(-losses, [-r for r in problem.reference]) / problem.best


def table(records: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of means and standard errors over seeds, one a method."""
    problems = list(dict.fromkeys(r["problem"] for r in records))
    for size in sorted({r["size"] for r in records}):
        yield f"\n{size} x {ROUNDS}".ljust(32) + "".join(f"{name[:16]:>17s}" for name in problems)
        for method in METHODS:
            cells = []
            for problem in problems:
                found = [
                    r["share"] for r in records if (r["method"], r["problem"], r["size"]) == (method, problem, size)
                ]
                error = np.std(found, ddof=1) / len(found) ** 0.5 if len(found) > 1 else np.nan
                cells.append(f"{np.mean(found):.3f} ± {error:.3f} ({len(found)})" if found else "")
            if any(cells):
                yield method.ljust(31) + "".join(f"{cell:>17s}" for cell in cells)


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("JAXHP_BENCH", str(HERE.parents[1] / "shared" / "bench"))
    parser.add_argument("--data", type=Path, default=Path(default), help="the folder of lcbench_dev.npz")
    parser.add_argument("--out", type=Path, default=Path("pareto.jsonl"), help="records are added to this file")
    parser.add_argument("--methods", default="", help="beginnings of names, with ; between them; all if not given")
    parser.add_argument("--size", type=int, default=32, help="points of a round")
    parser.add_argument("--seeds", default="0:5", help="FIRST:END")
    parser.add_argument("--table", action="store_true", help="only print the table of what --out holds")
    parser.add_argument("--smoke", action="store_true", help="one problem, one seed, cheap methods; keeps nothing")
    args = parser.parse_args()
    if args.smoke:
        args.size, args.seeds, args.methods = 8, "0:1", "Pareto, TPE;Sobol;Optuna NSGA-II"
        args.out = Path(tempfile.mkdtemp()) / "smoke.jsonl"
    problems = [zdt(1), *([] if args.smoke else [zdt(2), zdt(3), dtlz2(), *lcbench(args.data)])]
    records = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    done = {(r["problem"], r["method"], r["size"], r["seed"]) for r in records}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    methods = [method for method in METHODS if method.startswith(tuple(args.methods.split(";")))]
    for seed in range(*map(int, args.seeds.split(":"))) if not args.table else ():
        for method in methods:
            for problem in problems:
                if (problem.name, method, args.size, seed) not in done:
                    found = share(problem, METHODS[method](problem, args.size, seed))
                    known = {"problem": problem.name, "method": method, "size": args.size, "seed": seed}
                    records.append(known | {"share": found})
                    with args.out.open("a") as file:
                        file.write(json.dumps(records[-1]) + "\n")
    print("\n".join(table(records)))


if __name__ == "__main__":
    main()
