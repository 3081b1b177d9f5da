"""How much of an accelerator does a population use, and how many networks a second does it train?

    python experiments/benchmarks/accelerator.py [--json] [--smoke] [--members N ...] [--optimizer NAME ...]

The book's network (784-100x6-10) on 5,000 MNIST images, mini-batches of 100, evaluation of training and validation data
after every epoch included, on one accelerator (or whatever JAX finds; the CPU will do to see that it works):

- in sequence: one jitted training function that takes the learning rate and the weight decay as data, called for one
  network after another; every call is waited for, as a loop over trials does;
- jaxhp: 1 to 16,384 networks in one call of the compiled step.

The share is of the rate of plain matrix products in the same precision, the best of a few sizes, measured in the same
run; and of the rate of the network's own hidden product, [100, 100] @ [100, 100] for as many networks as a tile has,
which is what its shape allows. Precision is JAX's default for float32 inputs (TF32 on recent NVIDIA GPUs, bfloat16
passes on TPUs) and full float32, by `--precision`. Compilation apart; median of five runs.

Not run on an accelerator yet: no figures are recorded here.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from machine import Peak, show, timed
from peak import CONFIG, epoch_flops
from stacked import Stacked

import jaxhp as hp
from jaxhp.task import Task, check, create, update

MEMBERS = (1, 16, 64, 256, 1024, 4096, 16_384)
SIZES = (1024, 2048, 4096, 8192)


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


def hidden_rate(tile: int, batch: int = 100, width: int = 100, times: int = 100) -> float:
    """FLOP/s of one hidden layer's product for a tile of networks."""
    weights = jnp.full((tile, width, width), 1 / width)
    chain = jax.jit(lambda h: jax.lax.fori_loop(0, times, lambda _, h: h @ weights, h))
    activations = jnp.ones((tile, batch, width))
    chain(activations)
    taken = statistics.median(timed(lambda: chain(activations)) for _ in range(5))
    return 2.0 * tile * batch * width * width * times / taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", nargs="*", type=int, default=MEMBERS)
    parser.add_argument("--optimizer", nargs="*", choices=("sgd", "momentum", "adamw"), default=["sgd", "adamw"])
    parser.add_argument("--precision", nargs="*", choices=("default", "float32"), default=["default", "float32"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="a few networks and images, seconds")
    args = parser.parse_args()
    images, epochs, repeats, sizes, counts, sequence = (
        (250, 1, 1, (256,), (1, 4), 2) if args.smoke else (5000, 3, 5, SIZES, args.members, 8)
    )
    rows = []
    for precision in args.precision[:1] if args.smoke else args.precision:
        with jax.default_matmul_precision(precision):
            peak = Peak(jax.local_devices(), sizes)
            for optimizer in args.optimizer:
                task = hp.tasks.mlp(hp.data.mnist_sample(images), optimizer=optimizer)
                abstract = {name: jax.ShapeDtypeStruct((), np.dtype(np.float32)) for name in CONFIG}
                work = epoch_flops(task, check(task, abstract), abstract) * epochs
                one_by_one = in_sequence(task, epochs, sequence)
                one_by_one()
                alone = statistics.median(timed(one_by_one) for _ in range(repeats)) / sequence
                for count in counts:
                    stacked = Stacked(task, {name: np.full(count, value) for name, value in CONFIG.items()}, epochs)
                    stacked.run()
                    each = statistics.median(timed(stacked.run) for _ in range(repeats)) / count
                    rows.append(
                        {
                            "precision": precision,
                            "optimizer": optimizer,
                            "networks": count,
                            "tile": stacked.tile,
                            "networks/s": f"{1 / each:.4g}",
                            "times one by one": round(alone / each, 2),
                            "TFLOP/s": round(work / each / 1e12, 3),
                            "peak TFLOP/s": round(peak.flops / 1e12, 2),
                            "share of peak": round(work / each / peak.flops, 3),
                            "share of hidden product": round(work / each / hidden_rate(stacked.tile), 3),
                            "compile s": round(stacked.population.compile_s, 1),
                        }
                    )
    show("An accelerator", {"epochs": epochs, "images": images}, rows, args.json)


if __name__ == "__main__":
    main()
