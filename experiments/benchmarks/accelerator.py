"""How much of an accelerator does a population use, and how many networks a second does it train?

    python experiments/benchmarks/accelerator.py [--json] [--smoke] [--network NAME ...] [--optimizer NAME ...]
                                                 [--precision NAME ...] [--dtype NAME] [--members N ...] [--tile N]
    python experiments/benchmarks/accelerator.py --before FOLDER [--json] [--smoke]

The networks of `peak.py` and a LeNet-like one on MNIST images (the small network on such of 8x8 pixels), mini-batches
of 100, three epochs, with the evaluation of training and validation data after each, on one accelerator (or whatever
JAX finds; the CPU will do to see that it works):

- in sequence: one jitted training function that takes the learning rate and the weight decay as data, compiled with
  XLA's defaults, called for one network after another; every call is waited for, as a loop over trials does;
- jaxhp: 1 to 16,384 networks in one call of the compiled step.

Shares are of what plain products reach in the same run and precision: of the best of a few large square ones, and of
the best that the network's own kind reaches, [100, 100] by [100, 100] for as many networks as a tile has (either
side transposed or neither), which moves as much memory as it does arithmetic. Precision is JAX's default for float32
(TF32 on recent NVIDIA GPUs, bfloat16 passes on TPUs) or full float32. Compilation apart; median of three runs. The
digest is one of all scores: equal in equal tiles, whatever the size of the population.

With `--before` the networks a second of searches of 64 (the book's network and the CNN, this also in bfloat16) are set
against those of an older version's step, each in processes of its own, in turns; in about six minutes on a GPU. The
folder holds that version's files, of 0.1.0: `mkdir before && git archive 7c695d0^ | tar x -C before`. The last column
says whether 64 networks have the same bits in a population of 64 and in one of 256, in equal tiles.

Result (one NVIDIA H200, JAX 0.11.2, TF32, best of three runs; measured by parts of this script in three short loans of
such a card, not yet by it as a whole). Book's network: in sequence 104.6 us a step with SGD and 102.1 with AdamW,
evaluation included. 1,024 networks, us a network and step, by the size of a tile:

    tile      64     128     256     512    1024
    SGD      4.01    3.07    2.52    2.41    2.31
    AdamW    4.59    3.65    3.05    2.96    2.83

A search takes 256: 42 times one after another with SGD, 33 with AdamW, 23 with SGD in full float32 (4.59 us); 4,096
networks in tiles of 1,024 46 times (2.29). Fewer networks than a tile cost as much as one: 64 of them 9 times, 16
twice; so small searches take smaller tiles now (16 in a tile of 16: 9 times, 1 in one of 1: 0.7). At 37.5 TFLOP/s it is
.11 of the peak (350) and .85 of hidden products (44). The small network on whole images takes 0.45 us in tiles of 256
and 0.31 of 1,024; on 8x8 images 0.27 and 0.16.

What keeps it from 100 times is memory. A profile (tile of 1,024): kernels follow one another nearly without gaps and
move 2.8 to 4.4 TB/s, where a copy reaches 4.0. A step reads and writes 7 MB for each network, evaluation included, as
counted from the compiled program; were all that is elementwise done inside the products, it would be 4. Of the time,
updates take 16%, products of the first layer 14%, hidden products 31%, activations and bias gradients 18%, evaluation
19%. Gradients behind a barrier (see `task.update`) gave 1.2 times with SGD. Tried without gain: XLA's Triton products
(untimed 2.81; timed 2.53 in tiles of 1,024, where cuBLAS has 2.31 and 2.20), loops inside command buffers, none at all
(2.57), gradients without transposes.

CNN (LeNet-like, SGD), us a network and step by tile: 16: 78, 32: 56, 64: 47, 128: 41; a search takes 64. With
`lax.conv_general_dilated` 64 take 1,589.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from machine import Peak, show, timed
from peak import CONFIG, OPTIMIZERS, book, small
from stacked import Stacked

import jaxhp as hp
from jaxhp.tasks.task import Task, create, update
from jaxhp.tasks.traces import traces

MEMBERS = (1, 16, 64, 256, 1024, 4096, 16_384)
SIZES = (2048, 4096, 8192)
SEQUENCE = 8  # networks
NETWORKS = {
    "book MLP": book,
    "small MLP": small,
    "CNN": lambda optimizer, images: hp.tasks.cnn(hp.data.mnist_sample(images), optimizer=optimizer),
}


def in_sequence(task: Task, epochs: int, count: int) -> Callable[[], Any]:
    """Trains `count` networks, one jitted call each."""
    train, valid = jax.device_put((task.train, task.valid))
    steps = task.n_train // task.batch_size

    @jax.jit
    def training(key: jax.Array, config: dict[str, jax.Array]) -> jax.Array:
        def epoch(member: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            order = jax.random.permutation(key, task.n_train)[: steps * task.batch_size].reshape(steps, -1)

            def step(member: Any, rows: jax.Array) -> tuple[Any, None]:
                batch = jax.tree.map(lambda a: a[rows], train)
                return update(task, member, batch, key, config)[0], None

            member, _ = jax.lax.scan(step, member, order)
            seen = [task.evaluate(member.variables, part, config)["accuracy"].mean() for part in (train, valid)]
            return member, jnp.stack(seen)

        return jax.lax.scan(epoch, create(task, key, config), jax.random.split(key, epochs))[1]

    config = {name: np.float32(value) for name, value in CONFIG.items()}
    return lambda: [jax.block_until_ready(training(jax.random.key(0), config)) for _ in range(count)]


def hidden_rate(tile: int, width: int = 100, times: int = 160, unrolled: int = 8) -> float:
    """FLOP/s of one hidden layer's products for a tile of networks, the best of those that training does."""
    key = jax.random.key(0)
    weights, activations = (jax.random.normal(k, (tile, width, width)) / width**0.5 for k in jax.random.split(key))

    def rate(product: str) -> float:
        def several(_: Any, h: jax.Array) -> jax.Array:
            for _ in range(unrolled):
                h = jnp.einsum(product, weights, h)
            return h

        chain = jax.jit(lambda h: jax.lax.fori_loop(0, times // unrolled, several, h))
        chain(activations)
        taken = statistics.median(timed(lambda: chain(activations)) for _ in range(5))
        return 2.0 * tile * width**3 * times / taken

    return max(rate(product) for product in ("toi,tib->tob", "toi,tob->tib", "toi,tbi->tob"))


def measure(args: argparse.Namespace, network: str, optimizer: str, precision: str, peak: Peak) -> list[dict[str, Any]]:
    """The rows of one network and optimizer."""
    images, epochs, repeats, sequence = (250, 1, 1, 2) if args.smoke else (5000, 3, 3, SEQUENCE)
    counts = [1, 4] if args.smoke else sorted(args.members)
    task = replace(NETWORKS[network](optimizer, images), dtype=None if args.dtype == "float32" else args.dtype)
    one_by_one = in_sequence(task, epochs, sequence)
    one_by_one()
    alone = statistics.median(timed(one_by_one) for _ in range(repeats)) / sequence
    stacked = Stacked(task, {name: np.full(max(counts), value) for name, value in CONFIG.items()}, epochs, args.tile)
    abstract = {name: jax.ShapeDtypeStruct((), np.dtype(np.float32)) for name in CONFIG}
    work = traces(task, stacked.shapes, abstract).epoch_flops * epochs
    hidden = hidden_rate(stacked.tile) if network == "book MLP" else float("nan")
    stacked.run(1)
    rows = []
    for count in counts:
        each = statistics.median(timed(lambda n=count: stacked.run(n)) for _ in range(repeats)) / count
        scores = np.asarray(stacked.run(count).score)[:count]
        rows.append(
            {
                "network": network,
                "optimizer": optimizer,
                "precision": precision if task.dtype is None else task.dtype,
                "networks": count,
                "networks/s": f"{1 / each:.4g}",
                "times one by one": round(alone / each, 2),
                "TFLOP/s": round(work / each / 1e12, 3),
                "share of peak": f"{work / each / peak.flops:.3f} of {peak.flops / 1e12:.3g}",
                "share of hidden products": f"{work / each / hidden:.3f} of {hidden / 1e12:.3g}",
                "tile": stacked.tile,
                "compile s": round(stacked.population.compile_s, 1),
                "digest": hashlib.sha256(scores.tobytes()).hexdigest()[:8],
            }
        )
    return rows


def before_and_now(folder: Path, smoke: bool) -> list[dict[str, Any]]:
    """The rows of searches of 64 by the older version in a folder and by this one."""
    here, turns, few = Path(__file__).resolve().parents[2], 1 if smoke else 2, ["--smoke"] if smoke else []
    rows = []
    for network, dtypes in (("book MLP", ("float32",)), ("CNN", ("float32", "bfloat16"))):
        common = ["--network", network, "--optimizer", "sgd", "--precision", "default", *few, "--members"]
        old, new = [], {dtype: [] for dtype in dtypes}
        for _ in range(turns):
            old.append(run_at(folder, [*common, "64"]))
            for dtype in dtypes:
                new[dtype].append(run_at(here, [*common, "64", "--dtype", dtype]))
        for dtype in dtypes:
            rates = [[float(row["networks/s"]) for row in turn] for turn in (old, new[dtype])]
            now = new[dtype][-1]
            larger = run_at(here, [*common, "64", "256", "--dtype", dtype, "--tile", str(now["tile"])])
            rows.append(
                {
                    "network": network,
                    "networks": now["networks"],
                    "dtype": dtype,
                    "networks/s before": statistics.median(rates[0]),
                    "now": statistics.median(rates[1]),
                    "times": round(statistics.median(n / b for b, n in zip(*rates, strict=True)), 2),
                    "tile before": old[-1]["tile"],
                    "tile now": now["tile"],
                    "same bits in a larger population": now["digest"] == larger["digest"],
                }
            )
    return rows


def run_at(folder: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """The row of the fewest networks that this script, as a folder has it, prints."""
    done = subprocess.run(
        [sys.executable, str(folder / "experiments/benchmarks/accelerator.py"), "--json", *arguments],
        env=os.environ | {"PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(found[0])["rows"][0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", nargs="*", type=int, default=MEMBERS)
    parser.add_argument("--network", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--optimizer", nargs="*", choices=OPTIMIZERS, default=["sgd", "adamw"])
    parser.add_argument("--precision", nargs="*", choices=("default", "float32"), default=["default", "float32"])
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="that networks compute in")
    parser.add_argument("--before", type=Path, help="folder of an older version that searches of 64 are compared with")
    parser.add_argument("--tile", type=int, help="networks of a tile; by default what a search would take")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="a few networks and images, seconds")
    args = parser.parse_args()
    if args.before is not None:
        rows = before_and_now(args.before.resolve(), args.smoke)
        show("Searches of 64, before and now", {"before": str(args.before)}, rows, args.json)
        return
    networks, optimizers, precisions = (
        names[:1] if args.smoke else names for names in (args.network, args.optimizer, args.precision)
    )
    for precision in precisions:
        with jax.default_matmul_precision(precision):
            peak = Peak(jax.local_devices(), (256,) if args.smoke else SIZES)
            for network, optimizer in itertools.product(networks, optimizers):
                rows = measure(args, network, optimizer, precision, peak)
                show("An accelerator", {"epochs": 1 if args.smoke else 3}, rows, args.json)


if __name__ == "__main__":
    main()
