"""The same trials, trained in the ways that people train them today, and by jaxhp.

    python experiments/benchmarks/peers.py [--json] [--smoke] [--case NAME ...] [--way NAME ...] [--repeats N]

One list of learning rates and weight decays; every way trains a network for each, with mini-batches of 100 and SGD,
and measures the accuracy on training and validation data after every epoch:

- NumPy loop: the book's kind of code, in float32;
- Optuna + PyTorch: eager, fused SGD, with one thread or one a core, whichever is faster; one trial after another;
- Optuna + jitted step: a Python loop over minibatches and epochs around one jitted step, one trial after another;
- Optuna + jitted training: the whole training of a trial is one compiled call that takes the learning rate and the
  weight decay as data; one trial after another;
- the same with a worker a core: `study.optimize(n_jobs=cores)`, every worker with a device of its own;
- vmap: that function under `vmap` over all trials, in one compiled call;
- jaxhp: the compiled step of a search.

Every way has a process of its own, with the number of JAX devices that suits it, is run once to compile and warm up,
and is then timed in turns with the others, so that a change of the machine's speed meets all of them alike. Ways that
train one trial after another train fewer of them, the first of the list; a trial's time counts. Needs `optuna` and
`torch`.

Result (2 cores of an AMD EPYC with AVX2, shared with others, three turns; milliseconds a trial, and how much faster
jaxhp is):

    way                          book's network     small network
    NumPy loop                   369    2.0         150    7.4
    Optuna + PyTorch             651    3.4         477   25.2
    Optuna + jitted step         413    2.2         90     4.7
    Optuna + jitted training     318    1.7         72     4.0
    the same, a worker a core    203    1.1         34     1.9
    vmap                         381    2.0         36     2.0
    jaxhp                        190                18

One network of the book's size, trained in one call on one core, already runs at most of the speed that XLA's kernels
have for products of 100 by 100 (see peak.py), and so does jaxhp: a user who starts a worker a core is nearly as fast
there. Stacking pays where networks are smaller, or where one call waits for the next. Accuracies differ between ways by
the luck of the one set of initial weights that all trials of a way share.

Takes about 4 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import queue
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from machine import show
from peak import images8
from stacked import Stacked
from worker import Worker

import jaxhp as hp
from jaxhp.engine.runtime import cpu_cores

BATCH = 100
CORES = cpu_cores()


class Case(NamedTuple):
    """A network, its data, and how much of it is trained."""

    data: Callable[[], Any]  # a Dataset
    hidden: tuple[int, ...]
    epochs: int
    trials: int  # for ways that train all trials at once
    in_sequence: int  # for ways that train one after another


class Parts(NamedTuple):
    """Training and validation images f32[n, inputs] and labels i32[n]."""

    x: np.ndarray
    y: np.ndarray
    x_valid: np.ndarray
    y_valid: np.ndarray


def book() -> Any:
    return hp.data.mnist_sample(500)


def small() -> Any:
    return hp.data.arrays(images8(1800))


CASES = {
    "book MLP": Case(book, (100,) * 6, 50, 64, 16),
    "small MLP": Case(small, (32,), 50, 256, 32),
}


def trials(count: int) -> list[dict[str, float]]:
    rng = np.random.default_rng(0)
    rates, decays = 10 ** rng.uniform(-3, -1, count), 10 ** rng.uniform(-8, -4, count)
    return [{"lr": float(lr), "weight_decay": float(wd)} for lr, wd in zip(rates, decays, strict=True)]


def parts(case: Case) -> Parts:
    found = []
    for part in hp.split(case.data().train, 0.2, 0):
        found += [part["image"].reshape(len(part["label"]), -1).astype(np.float32) / 255, part["label"].astype(int)]
    return Parts(*found)


def sizes(case: Case, data: Parts) -> list[tuple[int, int]]:
    widths = (data.x.shape[1], *case.hidden, 10)
    return list(itertools.pairwise(widths))


def numpy_loop(case: Case, data: Parts, configs: list[dict[str, float]]) -> Callable[[], Any]:
    def forward(params: Any, x: np.ndarray) -> list[np.ndarray]:
        layers = [x]
        for w, b in params[:-1]:
            layers.append(np.maximum(layers[-1] @ w + b, 0))
        return [*layers, layers[-1] @ params[-1][0] + params[-1][1]]

    def accuracy(params: Any, x: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean(forward(params, x)[-1].argmax(1) == y))

    def trial(lr: float, weight_decay: float) -> float:
        rng = np.random.default_rng(0)
        params = [
            [
                rng.normal(size=(i, o)).astype(np.float32) * np.sqrt(2 / i, dtype=np.float32),
                np.zeros(o, np.float32),
            ]
            for i, o in sizes(case, data)
        ]
        rate, decay, found = np.float32(lr), np.float32(weight_decay), 0.0
        for _ in range(case.epochs):
            order = rng.permutation(len(data.x))
            for at in range(0, len(order), BATCH):
                rows = order[at : at + BATCH]
                layers = forward(params, data.x[rows])
                out = np.exp(layers[-1] - layers[-1].max(1, keepdims=True))
                delta = out / out.sum(1, keepdims=True)
                delta[np.arange(len(rows)), data.y[rows]] -= 1
                delta /= np.float32(len(rows))
                for layer, (w, b) in reversed(list(enumerate(params))):
                    gradient = layers[layer].T @ delta + decay * w
                    bias = delta.sum(0)
                    if layer:
                        delta = (delta @ w.T) * (layers[layer] > 0)
                    w -= rate * gradient
                    b -= rate * bias
            accuracy(params, data.x, data.y)
            found = accuracy(params, data.x_valid, data.y_valid)
        return found

    return lambda: [trial(**config) for config in configs]


def optuna_over(configs: list[dict[str, float]], train: Callable[..., float], jobs: int = 1) -> Callable[[], Any]:
    """Optuna proposing exactly these configs."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: Any) -> float:
        lr = trial.suggest_float("lr", 1e-3, 1e-1, log=True)
        return train(lr, trial.suggest_float("weight_decay", 1e-8, 1e-4, log=True))

    def run() -> list[Any]:
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
        for config in configs:
            study.enqueue_trial(config)
        study.optimize(objective, n_trials=len(configs), n_jobs=jobs)
        return [trial.value for trial in study.trials]

    return run


def torch_training(case: Case, data: Parts, configs: list[dict[str, float]]) -> Callable[[], Any]:
    import torch

    x, x_valid = torch.tensor(data.x), torch.tensor(data.x_valid)
    y, y_valid = torch.tensor(data.y), torch.tensor(data.y_valid)

    def train(lr: float, weight_decay: float, epochs: int = case.epochs) -> float:
        torch.manual_seed(0)
        layers: list[torch.nn.Module] = []
        for fan_in, fan_out in sizes(case, data):
            layer = torch.nn.Linear(fan_in, fan_out)
            torch.nn.init.kaiming_normal_(layer.weight)
            layers += [layer, torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers[:-1])
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, weight_decay=weight_decay, fused=True)
        right = 0.0
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(BATCH):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
            with torch.no_grad():
                (model(x).argmax(1) == y).float().mean().item()
                right = (model(x_valid).argmax(1) == y_valid).float().mean().item()
        return right

    taken = {}
    for threads in (1, CORES):
        torch.set_num_threads(threads)
        train(0.01, 1e-6, epochs=2)
        began = time.perf_counter()
        train(0.01, 1e-6, epochs=10)
        taken[threads] = time.perf_counter() - began
    torch.set_num_threads(min(taken, key=lambda n: taken[n]))
    return optuna_over(configs, train)


def jax_functions(case: Case, data: Parts) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """`init(key)`, `step(params, lr, weight_decay, rows)` and `accuracies(params)` of one network."""
    held = jax.tree.map(jnp.asarray, data)

    def logits(params: Any, x: jax.Array) -> jax.Array:
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b)
        return x @ params[-1][0] + params[-1][1]

    def loss(params: Any, rows: jax.Array) -> jax.Array:
        log_p = jax.nn.log_softmax(logits(params, held.x[rows]))
        return -jnp.mean(jnp.take_along_axis(log_p, held.y[rows, None], 1))

    def init(key: jax.Array) -> Any:
        shapes = sizes(case, data)
        keys = jax.random.split(key, len(shapes))
        return [
            (jax.random.normal(k, shape) * np.sqrt(2 / shape[0]), jnp.zeros(shape[1]))
            for k, shape in zip(keys, shapes, strict=True)
        ]

    def step(params: Any, lr: Any, weight_decay: Any, rows: jax.Array) -> Any:
        gradients = jax.grad(loss)(params, rows)
        return [
            (w - lr * (dw + weight_decay * w), b - lr * db) for (w, b), (dw, db) in zip(params, gradients, strict=True)
        ]

    def accuracies(params: Any) -> jax.Array:
        return jnp.stack(
            [jnp.mean(logits(params, x).argmax(1) == y) for x, y in ((held.x, held.y), (held.x_valid, held.y_valid))]
        )

    return init, step, accuracies


def whole_training(case: Case, data: Parts) -> Callable[..., Any]:
    """`train(lr, weight_decay, key)`, the accuracies f32[epochs, 2]."""
    init, step, accuracies = jax_functions(case, data)

    def train(lr: Any, weight_decay: Any, key: Any) -> Any:
        def epoch(params: Any, key: Any) -> tuple[Any, Any]:
            order = jax.random.permutation(key, len(data.x))[: len(data.x) // BATCH * BATCH].reshape(-1, BATCH)
            params, _ = jax.lax.scan(lambda p, rows: (step(p, lr, weight_decay, rows), None), params, order)
            return params, accuracies(params)

        return jax.lax.scan(epoch, init(key), jax.random.split(key, case.epochs))[1]

    return train


def jitted_step(case: Case, data: Parts, configs: list[dict[str, float]]) -> Callable[[], Any]:
    init, step, accuracies = map(jax.jit, jax_functions(case, data))

    def train(lr: float, weight_decay: float) -> float:
        rng, params, found = np.random.default_rng(0), init(jax.random.key(0)), None
        for _ in range(case.epochs):
            order = rng.permutation(len(data.x))
            for at in range(0, len(order), BATCH):
                params = step(params, lr, weight_decay, order[at : at + BATCH])
            found = accuracies(params)
        return float(found[1])  # type: ignore[index]

    return optuna_over(configs, train)


def jitted_training(case: Case, data: Parts, configs: list[dict[str, float]]) -> Callable[[], Any]:
    free: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for device in jax.local_devices():
        free.put((device, jax.device_put(jax.random.key(0), device)))
    whole = jax.jit(whole_training(case, data))

    def train(lr: float, weight_decay: float) -> float:
        device, key = free.get()
        rates = jax.device_put((np.float32(lr), np.float32(weight_decay)), device)
        found = float(whole(*rates, key)[-1, 1])
        free.put((device, key))
        return found

    return optuna_over(configs, train, jobs=jax.local_device_count())


def vmap(case: Case, data: Parts, configs: list[dict[str, float]]) -> Callable[[], Any]:
    every = jax.jit(jax.vmap(whole_training(case, data), (0, 0, None)))
    columns = [np.asarray([config[name] for config in configs], np.float32) for name in ("lr", "weight_decay")]
    return lambda: np.asarray(every(*columns, jax.random.key(0)))[:, -1, 1]


def jaxhp(case: Case, data: Parts, configs: list[dict[str, float]]) -> Callable[[], Any]:
    task = hp.tasks.mlp(case.data(), case.hidden, batch_size=BATCH)
    columns = {name: np.asarray([config[name] for config in configs]) for name in configs[0]}
    stacked = Stacked(task, columns, case.epochs)
    return lambda: np.asarray(stacked.run().score)


class Way(NamedTuple):
    prepare: Callable[[Case, Parts, list[dict[str, float]]], Callable[[], Any]]
    devices: int  # that JAX sees
    in_sequence: bool


WAYS = {
    "NumPy loop": Way(numpy_loop, 1, True),
    "Optuna + PyTorch": Way(torch_training, 1, True),
    "Optuna + jitted step": Way(jitted_step, 1, True),
    "Optuna + jitted training": Way(jitted_training, 1, True),
    "the same, a worker a core": Way(jitted_training, CORES, True),
    "vmap": Way(vmap, 1, False),
    "jaxhp": Way(jaxhp, CORES, False),
}


def work(way: str, case: Case) -> None:
    """A process of one way: prints a line when it is ready, and one for every run it is asked for by a line."""
    configs = trials(case.trials)[: case.in_sequence if WAYS[way].in_sequence else None]
    data = parts(case)
    began = time.perf_counter()
    run = WAYS[way].prepare(case, data, configs)
    found = run()
    print(json.dumps({"first": time.perf_counter() - began, "accuracy": float(np.mean(found))}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        run()
        print((time.perf_counter() - began) / len(configs), flush=True)


def compare(name: str, ways: Iterable[str], repeats: int, arguments: list[str]) -> list[dict[str, Any]]:
    """One row of the table for each way."""
    workers = {
        way: Worker(
            __file__, way, "--case", name, *arguments, JAX_NUM_CPU_DEVICES=str(WAYS[way].devices), JAXHP_CACHE="off"
        )
        for way in ways
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, worker in workers.items():
            taken[way].append(worker.run())
    for worker in workers.values():
        worker.end()
    return [
        {
            "case": name,
            "way": way,
            "ms a trial": round(1e3 * statistics.median(seconds), 2),
            "jaxhp is faster by": round(
                statistics.median(a / b for a, b in zip(seconds, taken["jaxhp"], strict=True)), 2
            ),
            "first run s": round(workers[way].ready["first"], 1),
            "mean accuracy": round(workers[way].ready["accuracy"], 3),
        }
        for way, seconds in taken.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--way", nargs="*", choices=WAYS, default=list(WAYS), help="jaxhp is always among them")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="a few trials of two epochs, seconds")
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    cases = {name: CASES[name] for name in args.case}
    if args.smoke:
        cases = {name: case._replace(epochs=2, trials=4, in_sequence=2) for name, case in cases.items()}
    if args.worker:
        work(args.worker, *cases.values())
        return
    ways = list(dict.fromkeys([*args.way, "jaxhp"]))
    smoke = ["--smoke"] if args.smoke else []
    rows = [row for name in cases for row in compare(name, ways, 1 if args.smoke else args.repeats, smoke)]
    show("The same trials in several ways", {}, rows, args.json)


if __name__ == "__main__":
    main()
