"""Ways to search six hyperparameters of one network, each a process that says whom it would choose, and when.

A line of JSON is printed whenever the way would choose another config than before: one that is trained for all epochs
and has the best accuracy on the validation data; of Ray, as its results do, one that has reached the best accuracy
after any epoch; of jaxhp whatever it chooses. `time_to_quality.py` starts them.

Every way trains the network of `hp.tasks.mlp` or `cnn`. What uses JAX takes the functions of that task, which spares it
no work; PyTorch has layers of its own. Configs come from one space.
"""

from __future__ import annotations

import json
import os
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

CORES = len(os.sched_getaffinity(0))
RANGES = {
    "lr": (1e-4, 1.0, "log"),
    "weight_decay": (1e-8, 1e-2, "log"),
    "momentum": (0.0, 0.99, "linear"),
    "dropout": (0.0, 0.6, "linear"),
    "label_smoothing": (0.0, 0.3, "linear"),
    "warmup": (0, 200, "int"),
}
BATCH_OF_CONFIGS = 64
Config = dict[str, Any]


class Case(NamedTuple):
    """A network and its data; validation data is split off here, so that all ways have the same."""

    kind: str  # "mlp" or "cnn"
    sizes: tuple[int, ...]  # hidden widths of an MLP, channels of a CNN
    epochs: int
    batch: int
    train: dict[str, Any]  # image f32[n, ...] and label i32[n]
    valid: dict[str, Any]
    test: dict[str, Any]


class Incumbent:
    """Prints what would be chosen now, where that is new."""

    def __init__(self, began: float):
        self._began, self._best = began, float("-inf")

    def told(self, config: Config, score: float) -> None:
        """Learn the validation accuracy of a config that is trained to its end."""
        if score > self._best:
            self._best = score
            self.chosen(config, score, final=False)

    def chosen(self, config: Config, score: float, *, final: bool = True) -> None:
        """Say whom the way would choose; a final choice counts whatever its score."""
        line = {"at": time.time() - self._began, "config": config, "score": score, "final": final}
        print(json.dumps(line, default=float), flush=True)


def task_of(case: Case, valid: dict[str, Any] | None = None) -> Any:
    """The task of a case, measured on other data than its validation data if that is given."""
    from dataclasses import replace

    import jaxhp as hp

    data = hp.data.arrays(case.train)
    common = {"optimizer": "momentum", "batch_size": case.batch}
    if case.kind == "mlp":
        task = hp.tasks.mlp(data, case.sizes, **common)
    else:
        task = hp.tasks.cnn(data, case.sizes, (32,), kernel=3, **common)
    return replace(task, train=case.train, valid=case.valid if valid is None else valid)


def space() -> Any:
    import jaxhp as hp

    kinds = {"log": hp.LogUniform, "linear": hp.Uniform, "int": hp.IntUniform}
    return hp.Space(**{name: kinds[kind](low, high) for name, (low, high, kind) in RANGES.items()})


def jaxhp_auto(case: Case, seed: int, incumbent: Incumbent) -> None:
    """Searches of `hp.Auto()` as it comes, one after another, each with another seed."""
    import jaxhp as hp
    from jaxhp.engine.events import RoundFinished
    from jaxhp.trials import order

    task, found = task_of(case), space()

    def watch(event: Any) -> None:
        if isinstance(event, RoundFinished):
            full = event.trials[event.trials.epochs == case.epochs]
            if len(full):
                best = full[int(order(full, "max")[0])]
                incumbent.told(best.config, best.score)

    for again in range(1000):
        result = hp.Search(task, found, hp.Auto(), epochs=case.epochs, seed=1000 * seed + again).run(
            quiet=True, watch=[watch]
        )
        incumbent.told(result.best.config, result.best.score)
        if again == 0:
            incumbent.chosen(result.best.config, result.best.score)


def _suggest(trial: Any) -> Config:
    return {
        name: trial.suggest_int(name, low, high)
        if kind == "int"
        else trial.suggest_float(name, low, high, log=kind == "log")
        for name, (low, high, kind) in RANGES.items()
    }


def _optuna(case: Case, seed: int, incumbent: Incumbent, epochs_of: Callable[[Config], Iterator[float]], **of: Any):
    """Optuna's TPE with its Hyperband pruner over what yields an accuracy after each epoch."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: Any) -> float:
        config, score = _suggest(trial), float("nan")
        for epoch, score in enumerate(epochs_of(config), 1):
            trial.report(score, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        incumbent.told(config, score)
        return score

    jobs = of.pop("jobs", 1)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.HyperbandPruner(1, case.epochs),
        load_if_exists=True,
        **of,
    )
    study.optimize(objective, n_trials=None, n_jobs=jobs)


def torch_epochs(case: Case, config: Config, seed: int) -> Iterator[float]:
    """Train a network by PyTorch; yields its validation accuracy after each epoch."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x, y = torch.tensor(case.train["image"]), torch.tensor(case.train["label"]).long()
    xv, yv = torch.tensor(case.valid["image"]), torch.tensor(case.valid["label"]).long()
    classes = int(case.train["label"].max()) + 1
    layers: list[nn.Module] = []
    if case.kind == "cnn":
        x, xv, into = x[:, None], xv[:, None], 1
        for channels in case.sizes:
            layers += [nn.Conv2d(into, channels, 3), nn.MaxPool2d(2), nn.ReLU()]
            into = channels
        layers.append(nn.Flatten())
        into, widths = nn.Sequential(*layers)(x[:1]).shape[1], (32,)
    else:
        into, widths, layers = x[0].numel(), case.sizes, [nn.Flatten()]
    for width in widths:
        layers += [nn.Linear(into, width), nn.ReLU(), nn.Dropout(config["dropout"])]
        into = width
    model = nn.Sequential(*layers, nn.Linear(into, classes))
    for layer in model:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    weights = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.SGD(
        [{"params": weights, "weight_decay": config["weight_decay"]}, {"params": biases}],
        lr=config["lr"],
        momentum=config["momentum"],
        fused=True,
    )
    step = 0
    for _ in range(case.epochs):
        model.train()
        for rows in torch.randperm(len(x)).split(case.batch):
            for group in optimizer.param_groups:
                group["lr"] = config["lr"] * min(1.0, (step + 1) / (config["warmup"] + 1))
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows], label_smoothing=config["label_smoothing"]).backward()
            optimizer.step()
            step += 1
        model.eval()
        with torch.no_grad():
            yield (model(xv).argmax(1) == yv).float().mean().item()


def optuna_torch(case: Case, seed: int, incumbent: Incumbent) -> None:
    """A worker a core, which are processes that share a study in a journal file."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    journal = os.path.join(tempfile.gettempdir(), f"quality-{os.getpid()}.journal")
    me = next((core for core in range(1, CORES) if os.fork() == 0), 0)
    of = {"storage": JournalStorage(JournalFileBackend(journal)), "study_name": "quality"}
    _optuna(case, 1000 * seed + me, incumbent, partial(torch_epochs, case, seed=seed), **of)


class Jitted(NamedTuple):
    """Functions of one network, for `jit` and `vmap`: what `begin(key, config)` makes goes through `epoch`."""

    begin: Callable[..., Any]
    epoch: Callable[..., Any]  # (member, key, config) -> member, validation accuracy


def jitted(case: Case) -> Jitted:
    import jax
    import jax.numpy as jnp
    import optax

    task = task_of(case)
    train, valid = (jax.tree.map(jnp.asarray, part) for part in (case.train, case.valid))
    n = len(case.train["label"])

    def begin(key: Any, config: Config) -> Any:
        params = task.init(key, config)
        return params, task.optimizer(config).init(params)

    def epoch(member: Any, key: Any, config: Config) -> Any:
        def step(member: Any, taken: Any) -> Any:
            (params, opt_state), (rows, key) = member, taken
            batch = jax.tree.map(lambda leaf: leaf[rows], train)
            gradient = jax.grad(task.loss)(params, batch, key, config)
            updates, opt_state = task.optimizer(config).update(gradient, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        order, noise = jax.random.split(key)
        rows = jax.random.permutation(order, n)[: n // case.batch * case.batch].reshape(-1, case.batch)
        member, _ = jax.lax.scan(step, member, (rows, jax.random.split(noise, len(rows))))
        return member, jnp.mean(task.evaluate(member[0], valid, config)["accuracy"])

    return Jitted(begin, epoch)


def optuna_jitted(case: Case, seed: int, incumbent: Incumbent) -> None:
    """One jitted epoch that takes the hyperparameters as data; a thread and a JAX device a core."""
    os.environ["JAX_NUM_CPU_DEVICES"] = str(CORES)
    import queue

    import jax
    import numpy as np

    of = jitted(case)
    begin, epoch = jax.jit(of.begin), jax.jit(of.epoch, donate_argnums=0)
    free: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for device in jax.local_devices():
        free.put(device)

    def epochs_of(config: Config) -> Iterator[float]:
        device = free.get()
        try:
            on = jax.device_put({n: np.float32(v) for n, v in config.items()}, device)
            keys = jax.device_put(jax.random.split(jax.random.key(seed), case.epochs + 1), device)
            member = begin(keys[0], on)
            for key in keys[1:]:
                member, score = epoch(member, key, on)
                yield float(score)
        finally:
            free.put(device)

    _optuna(case, seed, incumbent, epochs_of, jobs=CORES)


def _whole(case: Case, seed: int) -> Callable[[dict[str, Any]], Any]:
    """Train 64 configs, given as columns, by `vmap` over all devices; returns their validation accuracies f32[64]."""
    os.environ["JAX_NUM_CPU_DEVICES"] = str(CORES)
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    of = jitted(case)

    def train(config: Config) -> Any:
        keys = jax.random.split(jax.random.key(seed), case.epochs + 1)
        _, scores = jax.lax.scan(lambda m, key: of.epoch(m, key, config), of.begin(keys[0], config), keys[1:])
        return scores[-1]

    mesh = Mesh(np.asarray(jax.local_devices()), ("device",))
    over = NamedSharding(mesh, PartitionSpec("device"))
    every = jax.jit(jax.vmap(train))
    return lambda columns: every({n: jax.device_put(np.asarray(c, np.float32), over) for n, c in columns.items()})


def _points(unit: Any) -> dict[str, Any]:
    """Columns of configs from points f[P, 6] of the unit cube."""
    import numpy as np

    columns = {}
    for at, (name, (low, high, kind)) in enumerate(RANGES.items()):
        u = np.asarray(unit, float)[:, at]
        columns[name] = low * (high / low) ** u if kind == "log" else low + (high - low) * u
        if kind == "int":
            columns[name] = np.round(columns[name])
    return columns


def _tell(incumbent: Incumbent, columns: dict[str, Any], scores: Any) -> None:
    import numpy as np

    best = int(np.nanargmax(scores))
    incumbent.told({name: float(column[best]) for name, column in columns.items()}, float(scores[best]))


def random_vmap(case: Case, seed: int, incumbent: Incumbent) -> None:
    """Random search in batches of 64."""
    train = _whole(case, seed)
    import numpy as np

    rng = np.random.default_rng(seed)
    while True:
        columns = _points(rng.random((BATCH_OF_CONFIGS, len(RANGES))))
        _tell(incumbent, columns, np.asarray(train(columns)))


def hyperoptax(case: Case, seed: int, incumbent: Incumbent) -> None:
    """The Gaussian process of Hyperoptax in batches of 64, trained by `vmap`."""
    train = _whole(case, seed)
    import jax
    import numpy as np
    from hyperoptax import BayesianSearch, LinearSpace

    state, bayesian = BayesianSearch.init(
        [LinearSpace(0.0, 1.0)] * len(RANGES), n_max=16 * BATCH_OF_CONFIGS, n_parallel=BATCH_OF_CONFIGS
    )
    ask, tell = jax.jit(bayesian.get_next_params), jax.jit(bayesian.update_state)
    keys = iter(jax.random.split(jax.random.key(seed), 32))
    scale = None
    for _ in range(16):
        unit = np.stack(ask(state, next(keys)), axis=1)
        columns = _points(unit)
        scores = np.nan_to_num(np.asarray(train(columns)))
        _tell(incumbent, columns, scores)
        scale = scale or (scores.mean(), max(scores.std(), 1e-12))
        state = tell(state, next(keys), ((scores - scale[0]) / scale[1]).astype(np.float32), unit)


def _ray(case: Case, seed: int, incumbent: Incumbent, scheduler: Any, search: Any = None) -> None:
    """Ray Tune over PyTorch, a worker a core that is used again."""
    import logging

    import ray
    from ray import tune

    def train(config: Config) -> None:
        for score in torch_epochs(case, config, seed):
            tune.report({"accuracy": score})

    class Told(tune.Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            incumbent.told(trial.config, result["accuracy"])

    def drawn(name: str) -> Any:
        low, high, kind = RANGES[name]
        kinds = {"log": tune.loguniform, "linear": tune.uniform, "int": lambda a, b: tune.randint(a, b + 1)}
        return kinds[kind](low, high)

    logging.disable(logging.WARNING)
    ray.init("local", num_cpus=CORES, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={name: drawn(name) for name in RANGES},
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            num_samples=100_000,
            scheduler=scheduler,
            search_alg=search,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            callbacks=[Told()], verbose=0, storage_path=tempfile.mkdtemp(prefix="quality-ray-"), log_to_file=False
        ),
    ).fit()


def ray_asha(case: Case, seed: int, incumbent: Incumbent) -> None:
    """ASHA of Ray Tune."""
    from ray.tune.schedulers import ASHAScheduler

    _ray(case, seed, incumbent, ASHAScheduler(time_attr="training_iteration", max_t=case.epochs, grace_period=1))


def ray_bohb(case: Case, seed: int, incumbent: Incumbent) -> None:
    """BOHB of Ray Tune."""
    from ray.tune.schedulers import HyperBandForBOHB
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.bohb import TuneBOHB

    scheduler = HyperBandForBOHB(time_attr="training_iteration", max_t=case.epochs, stop_last_trials=False)
    _ray(case, seed, incumbent, scheduler, ConcurrencyLimiter(TuneBOHB(seed=seed), CORES))


WAYS = {
    "jaxhp": jaxhp_auto,
    "Optuna + PyTorch": optuna_torch,
    "Optuna + jitted": optuna_jitted,
    "Ray ASHA": ray_asha,
    "Ray BOHB": ray_bohb,
    "Hyperoptax": hyperoptax,
    "random, vmap": random_vmap,
}


def search(way: str, file: str, seed: str, began: str) -> None:
    """Search in a way, without end.

    Args:
      file: the case, as `time_to_quality.py` wrote it.
      began: when this process was started, in seconds since 1970.
    """
    with open(file, "rb") as stored:
        case = Case(*pickle.load(stored))
    WAYS[way](case, int(seed), Incumbent(float(began)))
