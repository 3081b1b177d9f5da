"""What is found, and for how many epochs, where the very points asked for are trained: Auto against others.

    python experiments/benchmarks/rungs.py --data ../shared/data --out runs/rungs.jsonl    # an hour on 2 cores
    python experiments/benchmarks/rungs.py --out runs/rungs.jsonl --table                  # of what was already run
    python experiments/benchmarks/rungs.py --smoke                                         # a minute

A search is of the data sets, networks and six hyperparameters of `curves.py`, in batches of so many for so many rounds.
What is compared is the validation score, after all epochs, of the best trial trained so long, as regret: 0 is the best
and 1 the median of the 1,024 random configurations of `curves.npz` after as many epochs (searches find better ones).
Trials of a search share initial weights and minibatches, so the best of many is in part the one that these suit. So its
config is trained again from 16 others, and the regret of their mean is shown too, at most 1.
Halving and Hyperband get the population with which they train about as many epochs as Auto.

Result (64x4, 27 epochs, on `wine`, `friedman` and `diabetes`, which are of the half for showing; pairs of a data set
and a seed that both have; one standard error; cores shared with many others, so few were run). "GP and forest" is the
Auto of 0.1.0 wherever points are trained as asked, and trains every trial to its end. As first scored:

    against          its epochs  pairs  Auto's regret, less its      Auto is better in
    GP and forest          6912     18  +.007 - -.032 = +.039 +- .011                2
    Halving                2160     11  -.014 -  .038 = -.052 +- .017                8
    Halving(TPE)           2160     11  -.014 -  .002 = -.016 +- .013                7
    Hyperband              2178     11  -.014 -  .062 = -.076 +- .017               10
    GP                     6912      6  -.014 - -.058 = +.044 +- .022                2
    Narrowing              6912      6  -.014 - -.020 = +.006 +- .022                3
    Optuna TPE             6912      5  -.036 -  .033 = -.069 +- .032                5

So with Auto's 2184 epochs, 32% of the full ones, its best score is .04 short of what full trainings of as many trials
find, of the distance from the median to the best of 1,024 random ones. Where 1/3 and 1/9 of a round went on instead of
2/5 and 1/6 (1776 epochs), Auto was .036 +- .010 short of it (17 pairs).

First scores flatter: trained again, the best configs of full trainings have a regret of .118 for -.027, and those of
Halving(TPE), 2268 epochs, .082 for .038 (17 pairs). So full trainings lead by .064 +- .016 at first, and are behind by
.036 +- .017 (in 12 of 17) with other initial weights: the more trainings share theirs, the more the best is the one
that these suit, and what is ahead at three rungs is less often ahead by luck. Auto was not trained again there but in
the form below; finals, which a search has unless told otherwise, were not run.

Tried: rungs in the first round alone, and later rounds that are a third as large and train to the end (2247 epochs).
First scores are no different: -.000 +- .010 from Auto in 18 pairs, on the half for choosing (breast_cancer, digits,
spirals, mnist_few) -.008 +- .010 in 9. It fits the process five times for eleven, and took 2.8 to 4.3 CPU s a search
there for 3.8 to 5.4 (full trainings 3.9 to 6.1). Trained again it is better than full trainings in 8 of 17 pairs
(median +.005; mean +.044 +- .052, as one of its configs nearly diverged in one of 16), and than Halving(TPE) in 4
(median +.022). But where values are few it is worse, by .012 +- .005 (replayed, 5 values a coordinate, 32x4, 27 epochs,
15 searches, half for choosing), as it tries half as many configs. So it is not in Auto.

On the half for choosing, trained as asked, 64x4, first scores less those of full trainings (3 to 10 searches each):
Auto +.033 +- .013; that form +.024 +- .007; three smaller rounds on rungs and a last one to the end +.049 +- .028; the
first round on rungs and in later ones half that go on from a ninth +.015 +- .018; no rungs and a third of the trials
+.025 +- .015: nothing that is told apart. Replayed (32x4, 50 epochs, 18 searches each), half by scores and half by what
is expected is -.001 +- .006 from full trainings of as many trials, by scores alone +.005 +- .005; on breast_cancer
(trained, 7 seeds), what is expected alone is .015 +- .017 worse than scores alone. So scores alone decide in Auto
since, which spares two of three fits of the process (the tables above are of half and half). A score a trial, its order
corrected at every rung, for a process that knows no budgets: no different (8 seeds).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from curves import SHOWING, SPACE, load, task_of

import jaxhp as hp

REGIMES = ("32x4", "16x8", "64x4")
REFERENCE, OPTUNA = "GP and forest", "Optuna TPE"
AGAIN = 16  # fresh trainings of the best config of a search


def _optuna(size: int, rounds: int, direction: Any, seed: int) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.TPESampler(seed=seed))
    return hp.optuna.Study(study, population=size, rounds=rounds)


def _alike(make: Callable[[int], Any], like: Any, epochs: int) -> Any:
    """The strategy of the population with which it trains about as many epochs as another."""
    wanted = trained(like, epochs)
    return make(min(range(2, 600), key=lambda size: abs(trained(make(size), epochs) - wanted)))


def trained(strategy: Any, epochs: int) -> int:
    """Epochs that a strategy trains in all."""
    rungs = strategy.schedule(epochs)
    before = [0, *(rung.epochs for rung in rungs)]
    return sum(r.trials * (r.epochs - b if b < r.epochs else r.epochs) for r, b in zip(rungs, before[:-1], strict=True))


METHODS: dict[str, Callable[[int, int, int], Any]] = {
    "Auto": lambda size, rounds, _: hp.Auto(size, rounds),
    REFERENCE: lambda size, rounds, _: hp.GP(size, rounds, trees=64),  # what Auto was until 0.1.0
    "GP": lambda size, rounds, _: hp.GP(size, rounds),
    "Narrowing": lambda size, rounds, _: hp.Narrowing(size, rounds),
    "TPE": lambda size, rounds, _: hp.TPE(size, rounds),
    "Halving": lambda size, rounds, e: _alike(lambda p: hp.Halving(p, rounds=rounds), hp.Auto(size, rounds), e),
    "Halving(TPE)": lambda size, rounds, e: _alike(
        lambda p: hp.Halving(p, rounds=rounds, inner=hp.TPE()), hp.Auto(size, rounds), e
    ),
    "Hyperband": lambda size, rounds, e: _alike(lambda p: hp.Hyperband(p), hp.Auto(size, rounds), e),
}


def again(task: hp.Task, config: dict[str, Any], epochs: int, seed: int) -> float:
    """The mean score of a config from other initial weights and minibatches than those that it was chosen by."""
    alone = hp.Search(
        task, SPACE, hp.Random(1), include=[config], replicates=AGAIN, epochs=epochs, seed=1000 + seed, finals=None
    )
    return float(alone.run(quiet=True).trials[0].score)


def run(task: hp.Task, method: str, regime: str, epochs: int, seed: int) -> dict[str, Any]:
    """One search: the best score at its end and that of the same config trained again, higher is better; its epochs."""
    size, rounds = map(int, regime.split("x"))
    direction = "maximize" if task.mode == "max" else "minimize"
    strategy = METHODS[method](size, rounds, epochs) if method != OPTUNA else _optuna(size, rounds, direction, seed)
    trials = hp.Search(task, SPACE, strategy, epochs=epochs, seed=seed, finals=None).run(quiet=True).trials
    sign = 1 if task.mode == "max" else -1
    full = [trial for trial in trials if trial.epochs == epochs and np.isfinite(trial.score)]
    top = max(full, key=lambda trial: sign * trial.score, default=None)
    best, fresh = (top.score, again(task, top.config, epochs, seed)) if top else (np.nan, np.nan)
    record = {"method": method, "regime": regime, "epochs": epochs, "seed": seed, "trained": trained(strategy, epochs)}
    return record | {"best": float(sign * best), "again": float(sign * fresh)}


def regrets(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records with the regret of the best score, and of its config trained again."""
    known = load()
    found = []
    for r in records:
        end = np.nan_to_num(known[r["set"]][:, r["epochs"] - 1], nan=-np.inf)
        again, best = ((end.max() - r[name]) / (end.max() - np.median(end)) for name in ("again", "best"))
        found.append(r | {"regret": [float(min(again, 1)), float(best)]})
    return found


def show(records: list[dict[str, Any]]) -> None:
    """A table a regime and budget: epochs, regret, mean rank, and the paired difference to the reference."""
    from scipy.stats import rankdata

    records = regrets(records)
    for regime, epochs in sorted({(r["regime"], r["epochs"]) for r in records}):
        mine = [r for r in records if (r["regime"], r["epochs"]) == (regime, epochs)]
        methods = [m for m in [*METHODS, OPTUNA] if any(r["method"] == m for r in mine)]
        by = {(r["method"], r["set"], r["seed"]): r for r in mine}
        pairs = sorted({(r["set"], r["seed"]) for r in mine if all((m, r["set"], r["seed"]) in by for m in methods)})
        if not pairs:
            continue
        sets = sorted({name for name, _ in pairs})
        regret = np.array([[by[m, *pair]["regret"] for m in methods] for pair in pairs])  # [pairs, methods, 2]
        ranks = rankdata(regret[..., 0], axis=1).mean(axis=0)
        print(f"\n{regime}, {epochs} epochs: {', '.join(sets)}; {len(pairs)} searches a method")
        of = methods.index(REFERENCE) if REFERENCE in methods else 0
        print(f"{'':22s}        trained again, {'against ' + methods[of]:25s} mean rank   as first scored, against it")
        for i in np.argsort(ranks):
            apart = regret[:, i] - regret[:, of]
            error = apart.std(axis=0, ddof=1) / len(apart) ** 0.5 if len(apart) > 1 else np.full(2, np.nan)
            own, other = (
                f"{m:+.4f}  {a:+.4f} +- {e:.4f}"
                for m, a, e in zip(regret[:, i].mean(0), apart.mean(0), error, strict=True)
            )
            print(f"{methods[i]:22s}{by[methods[i], *pairs[0]]['trained']:7d}  {own:40s} {ranks[i]:.2f}        {other}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared/data")
    parser.add_argument("--out", type=Path, default=Path("runs/rungs.jsonl"), help="records are added to this file")
    parser.add_argument("--sets", default="wine,diabetes,friedman", help=f"of {', '.join(SHOWING)}")
    parser.add_argument("--methods", default=",".join([*METHODS, OPTUNA]))
    parser.add_argument("--regimes", default=",".join(REGIMES))
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--seeds", default="0:10", help="FIRST:END")
    parser.add_argument("--table", action="store_true", help="only print the table of what --out holds")
    parser.add_argument("--smoke", action="store_true", help="one data set, one seed, 9 epochs; keeps nothing")
    args = parser.parse_args()
    if args.smoke:
        args.sets, args.methods, args.regimes, args.epochs, args.seeds = "wine", "Auto,Halving", "8x2", 9, "0:1"
        args.out = Path(tempfile.mkdtemp()) / "smoke.jsonl"
    records = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    if not args.table:
        done = {(r["set"], r["method"], r["regime"], r["epochs"], r["seed"]) for r in records}
        first, end = map(int, args.seeds.split(":"))
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with args.out.open("a") as file:
            tasks = {name: task_of(name, args.data) for name in args.sets.split(",")}
            for regime in args.regimes.split(","):
                for seed in range(first, end):
                    for name, task in tasks.items():
                        for method in args.methods.split(","):
                            if (name, method, regime, args.epochs, seed) not in done:
                                records.append(run(task, method, regime, args.epochs, seed) | {"set": name})
                                file.write(json.dumps(records[-1]) + "\n")
                                file.flush()
    show(records)


if __name__ == "__main__":
    cache = tempfile.TemporaryDirectory()  # seeds and methods differ in data and shapes alone
    jax.config.update("jax_compilation_cache_dir", cache.name)
    main()
