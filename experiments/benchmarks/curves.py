"""Learning curves of 1,024 configurations on 12 small data sets, trained by jaxhp itself; strategies replay them.

    python experiments/benchmarks/curves.py --data ../shared/data                 # makes curves.npz: 8 CPU minutes
    python experiments/benchmarks/curves.py --smoke                               # one data set, 16 configs, 3 epochs

`curves.npz` beside this file holds f32[1024, 6], Sobol points in the unit cube of `SPACE`, and for each data set
f16[1024, 50], the score on validation data after each of 50 epochs, higher is better, NaN once it diverged. That of
pictures, digits and spirals is accuracy, that of the others minus the cross-entropy, which overfits where accuracy
would tie. What is decided by the curves is decided on `CHOOSING`; what is claimed is shown on `SHOWING`, whose data are
of other sources. Networks have one hidden layer of 32 units, SGD with momentum.

Pictures are MNIST's (the bundled sample) and Fashion-MNIST's (`--data`), as means of 2 x 2 pixels; `few` has 200
training examples, `noisy` 30% random labels. `digits`, `breast_cancer`, `wine` and `diabetes` (which third a patient is
in) are scikit-learn's, and `friedman` is its first function of that name in four equal classes.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import jaxhp as hp

EPOCHS, CONFIGS = 50, 1024
FILE = Path(__file__).resolve().parent / "curves.npz"
CHOOSING = ("mnist", "mnist_few", "mnist_noisy", "digits", "breast_cancer", "spirals")
SHOWING = ("fashion", "fashion_few", "fashion_noisy", "wine", "diabetes", "friedman")
SPACE = hp.Space(
    lr=hp.LogUniform(1e-4, 1.0),
    weight_decay=hp.LogUniform(1e-7, 1e-1),
    momentum=hp.Uniform(0.0, 0.99),
    dropout=hp.Uniform(0.0, 0.6),
    label_smoothing=hp.Uniform(0.0, 0.3),
    warmup=hp.IntUniform(0, 200),
)


def task_of(name: str, data: Path) -> hp.Task:
    """What is trained on a data set; Fashion-MNIST's files are in `data`/fashion_mnist."""
    kind, _, variant = name.partition("_")
    if kind in ("mnist", "fashion"):
        return _pictures(
            hp.data.mnist_sample(3000) if kind == "mnist" else hp.data.idx(data / "fashion_mnist"), variant
        )
    x, y, batch, metric = _table(name)
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6)
    known = hp.data.arrays({"image": x.astype(np.float32), "label": y.astype(np.int32)})
    task = hp.tasks.mlp(known, (32,), optimizer="momentum", valid=0.5, batch_size=batch)
    return task if metric == "accuracy" else replace(task, metric="loss", mode="min")


def _pictures(source: hp.data.Dataset, variant: str) -> hp.Task:
    image, label = source.train["image"][:3000], source.train["label"][:3000].astype(np.int32)
    image = image.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4), dtype=np.float32) / 255
    rng = np.random.default_rng(20)  # not 0, which `split` draws from
    if variant == "noisy":
        label = np.where(rng.random(len(label)) < 0.3, rng.integers(0, 10, len(label)), label).astype(np.int32)
    count, batch = (200, 20) if variant == "few" else (1000, 50)
    known = hp.data.arrays({"image": image[: 2000 + count], "label": label[: 2000 + count]})
    return hp.tasks.mlp(known, (32,), optimizer="momentum", valid=2000, batch_size=batch, train_examples=200)


def _table(name: str) -> tuple[Any, Any, int, str]:
    """Features, classes, the size of a batch, and what is compared."""
    from sklearn import datasets

    known: Any
    if name == "digits":
        known = datasets.load_digits(return_X_y=True)
        return *known, 32, "accuracy"
    if name == "breast_cancer":
        known = datasets.load_breast_cancer(return_X_y=True)
        return *known, 32, "loss"
    if name == "wine":
        known = datasets.load_wine(return_X_y=True)
        return *known, 16, "loss"
    if name == "diabetes":
        known = datasets.load_diabetes(return_X_y=True)
        x, y = known
        return x, np.digitize(y, np.quantile(y, (1 / 3, 2 / 3))), 32, "loss"
    if name == "friedman":
        known = datasets.make_friedman1(1200, noise=1.0, random_state=0)
        x, y = known
        return x, np.digitize(y, np.quantile(y, (0.25, 0.5, 0.75))), 32, "loss"
    rng = np.random.default_rng(20)  # two spirals of one and a half turns
    turn, y = 3 * np.pi * np.sqrt(rng.random(2000)), rng.integers(0, 2, 2000)
    x = np.stack([turn * np.cos(turn + np.pi * y), turn * np.sin(turn + np.pi * y)], axis=1)
    return x + 0.5 * rng.normal(size=x.shape), y, 50, "accuracy"


def train(task: hp.Task, configs: int, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Train Sobol points to their end; f32[configs, 6] and f16[configs, epochs]."""
    trials = hp.Search(task, SPACE, hp.Sobol(configs), epochs=epochs, finals=None).run(quiet=True).trials
    unit = np.stack([SPACE.unit(trial.config) for trial in trials])
    curve = trials.curve[f"valid_{task.metric}"] * (1 if task.mode == "max" else -1)
    return unit, np.where(np.abs(curve) < 6e4, curve, np.nan).astype(np.float16)


def load(file: Path = FILE) -> dict[str, np.ndarray]:
    """`unit` and the curves of every data set, as f32."""
    with np.load(file) as known:
        return {name: known[name].astype(np.float32) for name in known.files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared/data")
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--smoke", action="store_true", help="one data set, 16 configs, 3 epochs; keeps nothing")
    args = parser.parse_args()
    if not args.smoke and not (args.data / "fashion_mnist").is_dir():
        sys.exit(f"Fashion-MNIST: {args.data}/fashion_mnist is missing; name the folder above it with --data")
    names, size = (("digits",), (16, 3)) if args.smoke else (CHOOSING + SHOWING, (CONFIGS, EPOCHS))
    found: dict[str, np.ndarray] = {}
    for name in names:
        began = time.process_time()
        found["unit"], found[name] = train(task_of(name, args.data), *size)
        last = found[name][:, -1].astype(np.float32)
        spread = " ".join(f"{q:.4f}" for q in np.nanquantile(last, (0.5, 0.9, 0.99, 1)))
        seconds = time.process_time() - began
        print(f"{name:14s} quantiles {spread}, {np.isnan(last).sum()} diverged, {seconds:.0f} CPU s", flush=True)
    if not args.smoke:
        np.savez_compressed(args.out, allow_pickle=False, **found)
        print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
