"""The search of "Deep Learning from Scratch", section 6.5, vectorised, and two narrowing rounds after it.

    jaxhp run experiments/book.py --dir runs/book      the search, its ranked table and its picture
    python experiments/book.py                         the same, printed as the book prints it, and what it shows

The book's setting: the first 500 images of MNIST, 400 to train and 100 to validate after a shuffle, a network
784-100x6-10 with ReLU and He initialisation, softmax cross-entropy, SGD with mini-batches of 100 and L2 weight decay,
50 epochs, 100 trials with the learning rate in 1e-6..1e-2 and the weight decay in 1e-8..1e-4, both on a log scale.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import jaxhp as hp
from jaxhp.report.curves import draw_curves
from jaxhp.trials import rank

space = hp.Space(lr=hp.LogUniform(1e-6, 1e-2), weight_decay=hp.LogUniform(1e-8, 1e-4))
task = hp.tasks.mlp(hp.data.mnist_sample(500), hidden=(100,) * 6, train_examples="all")
search = hp.Search(task, space, hp.Narrowing(population=(100, 64, 64)), epochs=50, seed=0)


def show(trials: Sequence[hp.Trial], picture: Path) -> None:
    """The best twenty as the book lists them, and the grid of their learning curves."""
    for place, trial in enumerate(trials[:20], 1):
        lr, decay = trial.config["lr"], trial.config["weight_decay"]
        print(f"Best-{place} (val acc: {trial.score:.2f}) | lr: {lr:.3e}, weight decay: {decay:.3e}")
    print(draw_curves(trials, "accuracy", picture))


def does_weight_decay_matter(lr: float) -> None:
    """Validation accuracy at one learning rate, from no weight decay at all to far beyond the book's range."""
    decays = [0.0, 1e-8, 1e-6, 1e-4, 1e-2, 1e-1]
    seeds = range(8)
    scores = np.stack(
        [hp.score(task, [{"lr": lr, "weight_decay": d} for d in decays], epochs=50, seed=s) for s in seeds]
    )
    print(f"\nlr {lr:.2e}, mean of {len(seeds)} seeds, and the paired difference to no weight decay:")
    for decay, column in zip(decays, scores.T, strict=True):
        difference = column - scores[:, 0]
        error = difference.std(ddof=1) / np.sqrt(len(seeds))
        print(f"weight decay {decay:7.0e}  accuracy {column.mean():.4f}  {difference.mean():+.4f} +- {error:.4f}")


if __name__ == "__main__":
    result = search.run("runs/book")
    for number in range(3):
        print(f"\nround {number + 1}")
        show(rank([t for t in result.trials if t.round == number], "max"), Path(f"runs/book/round{number + 1}.png"))
    print(f"\n{result.summary()}")
    does_weight_decay_matter(result.best.config["lr"])
