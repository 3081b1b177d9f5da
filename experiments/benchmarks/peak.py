"""Which share of the machine's own matrix-product peak does training a population reach?

    python experiments/benchmarks/peak.py [--json] [--smoke] [--case NAME ...] [--members N ...]

The peak is the best of a few plain square matrix products on all devices at once. A case's time is one call of the
compiled step (compilation apart): every epoch of every member, with the evaluation of training and validation data
after each epoch. Its FLOPs are those of the matrix products in that work, and nothing else. The speed of a shared
machine changes from one second to the next, so the peak is measured again before and after every call, and the share
is the median over five calls of the call's rate by the mean of the two.

Result at 64 members (2 cores of an AMD EPYC with AVX2, shared with others: peak 110 to 145 GFLOP/s, changing by half of
that within minutes): the book's network .75 with SGD and .70 with AdamW (.67 when measured again, in tiles of 4, which
paired with tiles of 2 were 1.06 times as fast), the small network .52 to .55 and .46 to .53. Before the
ready-made networks kept examples on the last axis the small one had .74 of that speed (AdamW .71; paired, in one run),
the book's .93 to 1. On another machine, with AVX-512 and a peak of 460 GFLOP/s, the book's network had .71 and .61 with
that older code; at 1,024 members, which train for one epoch, .62 and .50: making weights is a tenth of that.

What keeps the book's network from .9 is products of 100 by 100: XLA's kernels alone, on one core and in the cache, run
[100, 100] @ [100, 100] at .88 of the rate of [256, 256] @ [256, 256], and a product whose left side is transposed, of
which each hidden layer has one, at .71 (AVX-512: .81 and .63). In a step the first layer's products run at .86 to .93,
the hidden ones at .64 to .77, and products are 86% of the time: alone they would reach .8. The other 14% are
activations, updates and gathering minibatches, the largest of them the first layer's update (2%), which is more than a
core's cache holds. In the small network the first layer's products run at .95, those with the ten classes at .1 to .3.
But were these free, all three of them, the small network were 1.15 times as fast, and 1.08 without the gradient by the
input (user CPU time, in turns). Tried for that gradient: a sum of ten outer products 1.01, a reduced broadcast product
1.00, classes padded to 16 or weights transposed first are slower or as fast alone; the class scores as a reduced
broadcast product 0.78. So they stay plain products.

Takes about 8 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from machine import SIZES, Peak, show, timed
from stacked import Stacked

import jaxhp as hp
from jaxhp.tasks.check import check
from jaxhp.tasks.task import Task
from jaxhp.tasks.traces import traces

OPTIMIZERS = ("sgd", "momentum", "adamw")
MEMBERS = (1, 4, 16, 64, 256, 1024)
CONFIG = {"lr": 1e-3, "weight_decay": 1e-6}


class Case(NamedTuple):
    """A network and its data."""

    task: Callable[[str], Task]  # from the name of an optimizer
    members: tuple[int, ...] = MEMBERS
    flops: float = 2e11  # of one call, about


def book(optimizer: str, images: int = 500) -> Task:
    """784-100x6-10; a fifth of the images is for validation."""
    return hp.tasks.mlp(hp.data.mnist_sample(images), optimizer=optimizer)


def small(optimizer: str, images: int = 1800) -> Task:
    """64-32-10 on images of 8x8 pixels; a fifth of them is for validation."""
    return hp.tasks.mlp(hp.data.arrays(images8(images)), hidden=(32,), optimizer=optimizer)


@functools.cache
def images8(count: int) -> dict[str, np.ndarray]:
    """MNIST images shrunk to 8x8 pixels."""
    train = hp.data.mnist_sample(count).train
    inner = train["image"][:, 2:26, 2:26].reshape(-1, 8, 3, 8, 3)
    return {"image": inner.mean((2, 4)).astype(np.uint8), "label": train["label"]}


CASES = {"book MLP": Case(book), "small MLP": Case(small)}


def measure(name: str, case: Case, optimizer: str, count: int, peak: Peak, repeats: int) -> dict[str, Any]:
    """One row of the table: `count` members of a case in one compiled step."""
    task = case.task(optimizer)
    abstract = {k: jax.ShapeDtypeStruct((), np.dtype(np.float32)) for k in CONFIG}
    flops = traces(task, check(task, abstract), abstract).epoch_flops
    epochs = int(np.clip(case.flops / (flops * count), 1, 50))
    stacked = Stacked(task, {k: np.full(count, v) for k, v in CONFIG.items()}, epochs)
    stacked.run()
    work, taken, share = flops * count * epochs, [], []
    for _ in range(repeats):
        before = peak.measure()
        taken.append(timed(stacked.run))
        share.append(2 * work / taken[-1] / (before + peak.measure()))
    typical = statistics.median(taken)
    return {
        "case": name,
        "optimizer": optimizer,
        "members": count,
        "tile": stacked.tile,
        "epochs": epochs,
        "seconds": round(typical, 3),
        "member-epochs/s": f"{count * epochs / typical:.4g}",
        "GFLOP/s": round(work / typical / 1e9, 1),
        "share of peak": round(statistics.median(share), 3),
        "compile s": round(stacked.population.compile_s, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--optimizer", nargs="*", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--members", nargs="*", type=int)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="a few members, seconds")
    args = parser.parse_args()
    peak, repeats = Peak(jax.local_devices(), SIZES[:1] if args.smoke else SIZES), 1 if args.smoke else 5
    rows = []
    for name in args.case:
        case = CASES[name]._replace(flops=1e9) if args.smoke else CASES[name]
        for optimizer in args.optimizer[:1] if args.smoke else args.optimizer:
            for count in args.members or ((1, 4) if args.smoke else case.members):
                rows.append(measure(name, case, optimizer, count, peak, repeats))
    facts = {"matrix-product peak": f"{peak.flops / 1e9:.0f} GFLOP/s at first (f32, n = {peak.size})"}
    show("Share of the matrix-product peak", facts, rows, args.json)


if __name__ == "__main__":
    main()
