"""How fast does a population of small convolutional networks train on a CPU?

    python experiments/benchmarks/convolution.py [--json] [--smoke] [--members N] [--repeats N]

The same LeNet-like network (two 5x5 convolutions with 2x2 max-pooling, two dense layers; SGD, mini-batches of 100, 800
training and 200 validation images of MNIST), the same number of members and epochs, five ways:

- jaxhp: `hp.tasks.cnn` in one compiled step of a population, evaluation included as everywhere here;
- vmap: the plain network (`lax.conv_general_dilated`, `lax.reduce_window`) under `vmap` over all members, jitted;
- one by one: the plain network, one jitted epoch that takes the learning rate as data, one member after another;
- PyTorch one by one, batch first and channels last: eager, with as many threads as there are cores.

Compilation apart; median of several runs after one that is not counted. All ways but the first train fewer members
(the plain `vmap` 8 and once, the others 4), and their time a member counts. The share is of the machine's
matrix-product peak, measured in the same run; FLOPs are those of the layers' products and convolutions, evaluation
included. Needs `torch`.

Takes about 3 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax
from machine import SIZES, Peak, show, timed
from stacked import Stacked

import jaxhp as hp

BATCH = 100


class Net(NamedTuple):
    """Widths of the layers."""

    channels: tuple[int, int]
    hidden: int

    @property
    def features(self) -> int:
        return 16 * self.channels[1]  # 28 -> 24 -> 12 -> 8 -> 4

    def flops(self, n_train: int, n_valid: int) -> float:
        """Of one member in one epoch: forward, both gradients (images need none), and evaluation of both parts."""
        one, two = self.channels
        first = 2.0 * 25 * one * 24 * 24
        rest = 2.0 * (25 * one * two * 8 * 8 + self.features * self.hidden + self.hidden * 10)
        return n_train * (2 * first + 3 * rest) + (n_train + n_valid) * (first + rest)


NETS = {"16-32-128": Net((16, 32), 128), "6-16-120": Net((6, 16), 120)}


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """Median of several runs, after one that is not counted; with no repeats, that one."""
    taken = [timed(run) for _ in range(repeats + 1)]
    return statistics.median(taken[1:] or taken)


def population(net: Net, data: hp.data.Dataset, rates: np.ndarray, repeats: int) -> tuple[float, str]:
    task = hp.tasks.cnn(data, net.channels, (net.hidden,), batch_size=BATCH)
    made = Stacked(task, {"lr": rates, "weight_decay": np.full(len(rates), 1e-6)}, epochs=1)
    return seconds(made.run, repeats), f"tile {made.tile}, compiled in {made.population.compile_s:.1f} s"


def plain(net: Net, data: hp.data.Dataset) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Initial weights from a key; and one epoch, with evaluation, of (weights, learning rate, order i32[800])."""
    train, valid = hp.split(data.train, 0.2, 0)

    def logits(params: Any, image: jax.Array) -> jax.Array:
        h = image.astype(jnp.float32)[..., None] / 255
        for w, b in params[:2]:
            h = lax.conv_general_dilated(h, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            h = lax.reduce_window(jax.nn.relu(h + b), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        h = h.reshape(len(h), -1)
        (w, b), (last_w, last_b) = params[2:]
        return jax.nn.relu(h @ w + b) @ last_w + last_b

    def loss(params: Any, image: jax.Array, label: jax.Array) -> jax.Array:
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits(params, image)), label[:, None], 1))

    def init(key: jax.Array) -> Any:
        one, two = net.channels
        shapes = [(5, 5, 1, one), (5, 5, one, two), (net.features, net.hidden), (net.hidden, 10)]
        keys = jax.random.split(key, 4)
        return [
            (jax.random.normal(k, s) * (2 / np.prod(s[:-1])) ** 0.5, jnp.zeros(s[-1]))
            for k, s in zip(keys, shapes, strict=True)
        ]

    def epoch(params: Any, rate: jax.Array, order: jax.Array) -> tuple[Any, jax.Array]:
        def step(params: Any, rows: jax.Array) -> tuple[Any, None]:
            gradient = jax.grad(loss)(params, jnp.asarray(train["image"])[rows], jnp.asarray(train["label"])[rows])
            return jax.tree.map(lambda p, g: p - rate * g, params, gradient), None

        params, _ = lax.scan(step, params, order.reshape(-1, BATCH))
        right = [jnp.mean(jnp.argmax(logits(params, part["image"]), -1) == part["label"]) for part in (train, valid)]
        return params, jnp.stack(right)

    return init, epoch


def vmapped(net: Net, data: hp.data.Dataset, rates: np.ndarray, repeats: int) -> tuple[float, str]:
    init, epoch = plain(net, data)
    params = jax.vmap(init)(jax.random.split(jax.random.key(0), len(rates)))
    order = jnp.arange(len(data.train["label"]) * 4 // 5)
    compiled = jax.jit(jax.vmap(epoch, (0, 0, None))).lower(params, rates, order).compile()
    return seconds(lambda: compiled(params, rates, order), repeats), f"{len(rates)} members"


def in_sequence(net: Net, data: hp.data.Dataset, rates: np.ndarray, repeats: int) -> tuple[float, str]:
    init, epoch = plain(net, data)
    params, order = init(jax.random.key(0)), jnp.arange(len(data.train["label"]) * 4 // 5)
    compiled = jax.jit(epoch).lower(params, rates[0], order).compile()
    return seconds(lambda: [compiled(params, rate, order) for rate in rates], repeats), f"{len(rates)} members"


def torch_in_sequence(
    net: Net, data: hp.data.Dataset, rates: np.ndarray, repeats: int, channels_last: bool
) -> tuple[float, str]:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    train, valid = hp.split(data.train, 0.2, 0)
    parts = [
        (torch.tensor(p["image"][:, None] / np.float32(255)).contiguous(memory_format=layout), torch.tensor(p["label"]))
        for p in (train, valid)
    ]
    image, label = parts[0][0], parts[0][1].long()

    def member(rate: float) -> None:
        one, two = net.channels
        model = torch.nn.Sequential(
            *(torch.nn.Conv2d(1, one, 5), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
            *(torch.nn.Conv2d(one, two, 5), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten()),
            *(torch.nn.Linear(net.features, net.hidden), torch.nn.ReLU(), torch.nn.Linear(net.hidden, 10)),
        ).to(memory_format=layout)  # pyright: ignore[reportCallIssue]
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        for rows in torch.randperm(len(image)).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(image[rows]), label[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            for x, y in parts:
                (model(x).argmax(1) == y).float().mean().item()

    return seconds(lambda: [member(float(rate)) for rate in rates], repeats), f"{torch.get_num_threads()} threads"


WAYS = {
    "jaxhp": population,
    "PyTorch one by one": lambda *args: torch_in_sequence(*args, channels_last=False),
    "PyTorch one by one, channels last": lambda *args: torch_in_sequence(*args, channels_last=True),
    "plain jitted JAX one by one": in_sequence,
    "plain vmap": vmapped,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--net", nargs="*", choices=NETS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="two members of the smaller network, seconds")
    args = parser.parse_args()
    members, repeats, images = (2, 1, 250) if args.smoke else (args.members, args.repeats, 1000)
    data, peak = hp.data.mnist_sample(images), Peak(jax.local_devices(), SIZES[:1] if args.smoke else SIZES)
    rows = []
    for name in args.net or list(NETS)[-1 if args.smoke else 0 :]:
        flops = NETS[name].flops(images * 4 // 5, images // 5)
        for way, measure in WAYS.items():
            # Time a member is the same for fewer, and these are slow.
            count = members if way == "jaxhp" else min(members, 8 if way == "plain vmap" else 4)
            runs = 0 if way == "plain vmap" else repeats
            rates = np.geomspace(1e-3, 1e-1, count).astype(np.float32)
            taken, note = measure(NETS[name], data, rates, runs)
            rows.append(
                {
                    "network": name,
                    "way": way,
                    "ms a member and epoch": round(1e3 * taken / count, 1),
                    "GFLOP/s": round(flops * count / taken / 1e9, 1),
                    "share of peak": round(flops * count / taken / peak.flops, 3),
                    "note": note,
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
    facts = {"members": members, "peak": f"{peak.flops / 1e9:.0f} GFLOP/s, after it all {peak.measure() / 1e9:.0f}"}
    show("Convolutional networks", facts, rows, args.json)


if __name__ == "__main__":
    main()
