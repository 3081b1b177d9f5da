"""What must not change when the code is rearranged: digests, ledger rows and lowered programs of small searches.

    python tests/safety_net.py record before.json
    python tests/safety_net.py compare before.json

Bits are those of one machine and jaxlib, so a recording is made where it is compared, and none is kept in the
repository. The searches are: every strategy; folds, replicates, unpaired trials, a stream, waves, a holdout, static
groups, conditions, finals, included configs, a warm start; and one that dies at each crash point and is resumed.
About three minutes.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import equinox
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
from crash import POINTS, Killed, dying

import jaxhp as hp
from jaxhp.store import files

LR = hp.LogUniform(1e-3, 10.0)
DECAYED = hp.Space(lr=hp.LogUniform(1e-3, 1.0), weight_decay=hp.LogUniform(1e-8, 1e-2))


def regression(seed: int = 0, **changes: Any) -> hp.Task:
    """Eight weights; learning rates from about 1 diverge."""
    x = np.random.default_rng(seed).normal(size=(40, 4)).astype(np.float32)
    data = {"x": x, "y": np.tanh(x.sum(1))}

    def error(params, batch):
        return ((batch["x"] @ params["w"]).prod(-1) - batch["y"]) ** 2

    parts: dict[str, Any] = {
        "init": lambda key, config: {"w": 0.3 * jax.random.normal(key, (4, 2))},
        "loss": lambda params, batch, key, config: jnp.mean(error(params, batch)),
        "evaluate": lambda params, batch, config: {"error": error(params, batch)},
        "optimizer": lambda config: optax.sgd(config["lr"], momentum=0.5),
        "train": {k: v[:30] for k, v in data.items()},
        "valid": {k: v[30:] for k, v in data.items()},
    }
    return hp.Task(**(parts | changes), batch_size=10, metric="error", mode="min")


def streamed() -> hp.Task:
    def epoch(number: int) -> Any:
        x = np.random.default_rng(number).normal(size=(30, 4)).astype(np.float32)
        return {"x": x, "y": np.tanh(x.sum(1))}

    return regression(train=hp.data.Stream(epoch))


def by_width(static: dict[str, Any]) -> hp.Task:
    kinds = {"sgd": optax.sgd, "adam": optax.adam}
    return regression(
        init=lambda key, config: {"w": 0.3 * jax.random.normal(key, (4, static["width"]))},
        optimizer=lambda config: kinds[static["kind"]](config["lr"] * config.get("scale", 1.0)),
    )


def images() -> hp.Task:
    return hp.tasks.mlp(hp.data.mnist_sample(300), hidden=(16,), batch_size=60)


GROUPS = hp.Space(
    lr=hp.LogUniform(1e-3, 0.1),
    width=hp.Choice([2, 3]),
    kind=hp.Choice(["sgd", "adam"]),
    scale=hp.Uniform(0.5, 2.0, when={"kind": "adam"}),
)
MIXED = hp.Space(lr=LR)


def small(strategy: Any, task: Any = None, space: hp.Space = MIXED, **options: Any) -> hp.Search:
    settings: dict[str, Any] = {"epochs": 9, "tile": 2, "finals": None}
    return hp.Search(task or regression(), space, strategy, **(settings | options))


def earlier() -> list[hp.Trial]:
    return list(small(hp.Random(8), seed=5).run(quiet=True).trials)


SEARCHES: dict[str, Callable[[], hp.Search]] = {
    "random": lambda: small(hp.Random(9, 2)),
    "sobol": lambda: small(hp.Sobol(9, 2)),
    "grid": lambda: small(hp.Grid((9,))),
    "narrowing": lambda: small(hp.Narrowing((9, 6, 4))),
    "tpe": lambda: small(hp.TPE(9, 2)),
    "gp": lambda: small(hp.GP(9, 2)),
    "auto": lambda: small(hp.Auto(9, 3)),
    "halving": lambda: small(hp.Halving(9, eta=3)),
    "hyperband": lambda: small(hp.Hyperband(9, eta=3)),
    "pbt": lambda: small(hp.PBT(9, generations=3)),
    "folds": lambda: small(hp.Halving(9, eta=3), folds=3, finals=hp.Finals(2, 9)),
    "replicates": lambda: small(hp.PBT(9, generations=3), replicates=2),
    "unpaired": lambda: small(hp.PBT(9, generations=3), paired=False),
    "stream": lambda: small(hp.Halving(9, eta=3), streamed()),
    "waves": lambda: small(hp.PBT(60, generations=3)),
    "waves of replicates": lambda: small(hp.Halving(27, eta=3), replicates=2, finals=hp.Finals(2, 4)),
    "holdout": lambda: small(hp.Random(9, 2), finals=hp.Finals(3, 8, holdout=0.5)),
    "groups": lambda: small(hp.Random(12, 2), by_width, GROUPS, finals=hp.Finals(4, 4)),
    "groups halved": lambda: small(hp.Halving(12, eta=2), by_width, GROUPS),
    "default finals": lambda: hp.Search(images(), DECAYED, hp.Narrowing((40, 24)), epochs=3, seed=3),
    "included": lambda: small(hp.TPE(9, 2), include=[{"lr": 0.25}, {"lr": 3e-3}], warm_start=earlier()),
    "all diverge": lambda: small(hp.Random(4), space=hp.Space(lr=hp.LogUniform(1e7, 1e8)), finals=hp.Finals(2, 4)),
}

SMALL_MEMORY = 107_500  # bytes, for searches in waves


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def rows(directory: Path) -> list[str]:
    """What the ledger holds, without times."""
    with closing(sqlite3.connect(f"file:{directory / 'ledger.sqlite'}?mode=ro", uri=True)) as db:
        found = [
            f"columns {number} {name} {dtype} {shape} {_sha(data)}"
            for number, name, dtype, shape, data in db.execute("SELECT round, name, dtype, shape, data FROM columns")
        ]
        found += [f"rounds {row}" for row in db.execute("SELECT round, epochs, wall_s IS NULL FROM rounds")]
        found += [
            f"meta {row}"
            for row in db.execute(
                "SELECT name, value FROM meta WHERE name NOT IN ('spent', 'writer', 'network', 'manifest', 'id')"
            )
        ]
        kinds = db.execute("SELECT kind, detail FROM events WHERE kind NOT IN ('resume')").fetchall()
        return sorted(found) + [f"event {kind} {detail}" for kind, detail in kinds]


@contextmanager
def programs() -> Iterator[list[str]]:
    """The lowered programs that are compiled meanwhile, as hashes of their text."""
    found: list[str] = []
    compile_lowered = jax.stages.Lowered.compile

    def compile_seen(lowered: Any, *args: Any, **options: Any) -> Any:
        text = re.sub(r"module @\S+", "module", lowered.as_text())
        found.append(_sha(text.encode()))
        return compile_lowered(lowered, *args, **options)

    jax.stages.Lowered.compile = compile_seen
    try:
        yield found
    finally:
        jax.stages.Lowered.compile = compile_lowered


def searched(search: hp.Search, directory: Path) -> dict[str, Any]:
    with programs() as compiled:
        memory = SMALL_MEMORY if directory.name.startswith("waves") else None
        result = search.run(directory, quiet=True, memory=memory)
    summary = files.read_json(directory / "summary.json")
    best = json.dumps([result.best.trial_id, result.summary()])
    params = [] if result.ruin is not None else jax.tree.leaves(result.best.params)  # nothing is chosen there
    return {
        "digest": result.digest,
        "rows": rows(directory),
        "programs": sorted(set(compiled) - _rate_programs()),
        "compilations": summary["compilations"],
        "epochs": summary["epochs_trained"],
        "best": best,
        "params": [_sha(np.asarray(leaf).tobytes()) for leaf in params],
    }


_known: set[str] = set()


def _rate_programs() -> set[str]:
    """Those that measure the machine."""
    if not _known:
        with programs() as compiled:
            from jaxhp.engine import rate

            rate.products(jax.local_devices(), 512, count=20)
        _known.update(compiled)
    return _known


def died(kind: str, point: str, directory: Path) -> dict[str, Any]:
    """Of a search that died at the second passing of a crash point, or the first, and went on."""
    strategies = {"random": hp.Random(9, 2), "halving": hp.Halving(9, eta=3), "pbt": hp.PBT(9, generations=3)}
    search = small(strategies[kind], finals=hp.Finals(2, 4))

    death = dying(point, 1 if kind == "random" else 2)
    with suppress(Killed):
        search.run(directory, quiet=True, checkpoint_s=0, watch=[death])
    result = search.run(directory, quiet=True, checkpoint_s=0)
    return {"digest": result.digest, "rows": [row for row in rows(directory) if row.startswith(("columns", "rounds"))]}


def interop() -> dict[str, Any]:
    """The lowered steps of the ready-made tasks and of models from other libraries."""

    def mlp(optimizer: str) -> hp.Task:
        return hp.tasks.mlp(hp.data.mnist_sample(200), hidden=(8,), optimizer=optimizer, batch_size=40)

    tasks: dict[str, Any] = {f"mlp {name}": partial(mlp, name) for name in ("sgd", "adamw")}
    tasks["cnn"] = lambda: hp.tasks.cnn(hp.data.mnist_sample(120), batch_size=30)
    tasks |= {"linen": linen_task, "equinox": equinox_task}
    found = {}
    for name, make in tasks.items():
        for paired in (True, False):
            task = make()
            space = MIXED if name in ("linen", "equinox") else DECAYED
            search = hp.Search(task, space, hp.Random(3), epochs=1, tile=2, finals=None, paired=paired)
            with programs() as compiled:
                digest = search.run(quiet=True).digest
            found[f"{name} {'paired' if paired else 'unpaired'}"] = [digest, *sorted(set(compiled) - _rate_programs())]
    return found


def linen_task() -> hp.Task:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x, train):
            x = linen.BatchNorm(use_running_average=not train)(linen.Dense(8)(x))
            return linen.Dense(1)(linen.Dropout(0.2, deterministic=not train)(x))[:, 0]

    net = Net()

    def init(key, config):
        variables = net.init(key, jnp.zeros((1, 4)), train=False)
        return hp.Variables(variables["params"], variables["batch_stats"])

    def loss(variables, batch, key, config):
        given = {"params": variables.params, "batch_stats": variables.state}
        out, new = net.apply(given, batch["x"], train=True, rngs={"dropout": key}, mutable=["batch_stats"])
        return jnp.mean((out - batch["y"]) ** 2), new["batch_stats"]

    def evaluate(variables, batch, config):
        given = {"params": variables.params, "batch_stats": variables.state}
        return {"error": (net.apply(given, batch["x"], train=False) - batch["y"]) ** 2}

    return regression(init=init, loss=loss, evaluate=evaluate)


def equinox_task() -> hp.Task:
    def parts(key):
        return equinox.partition(equinox.nn.MLP(4, "scalar", 8, 2, key=key), equinox.is_array)

    static = parts(jax.random.key(0))[1]

    def error(params, batch):
        return (jax.vmap(equinox.combine(params, static))(batch["x"]) - batch["y"]) ** 2

    return regression(
        init=lambda key, config: parts(key)[0],
        loss=lambda params, batch, key, config: jnp.mean(error(params, batch)),
        evaluate=lambda params, batch, config: {"error": error(params, batch)},
    )


def others() -> dict[str, Any]:
    """What is trained without a search, and the sealed test."""
    scores = hp.score(regression(), [{"lr": lr} for lr in (0.01, 0.1, 0.3)], epochs=5)
    x = np.random.default_rng(7).normal(size=(20, 4)).astype(np.float32)
    tested = small(hp.Random(4), regression(test={"x": x, "y": np.tanh(x.sum(1))})).run(quiet=True).test(seeds=3)
    return {"score": scores.tobytes().hex(), "test": repr(tested)}


def record() -> dict[str, Any]:
    found: dict[str, Any] = {"interop": interop(), "others": others()}
    with tempfile.TemporaryDirectory() as base:
        for name, make in SEARCHES.items():
            found[name] = searched(make(), Path(base, name.replace(" ", "-")))
        for kind in ("random", "halving", "pbt"):
            for point in POINTS:
                found[f"{kind} killed: {point}"] = died(kind, point, Path(base, f"{kind}-{point.replace(' ', '-')}"))
    return found


def differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            yield from differences(before.get(key), now.get(key), f"{name}/{key}")
    elif isinstance(before, list) and isinstance(now, list) and name.endswith("rows"):
        yield from (f"{name}: only before: {row}" for row in before if row not in now)
        yield from (f"{name}: only now: {row}" for row in now if row not in before)
    elif before != now:
        yield f"{name}: {before!r:.300} -> {now!r:.300}"


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("record", "compare"):
        sys.exit(f"usage: python tests/safety_net.py record|compare FILE.json, got {' '.join(sys.argv[1:])}")
    if sys.argv[1] == "record":
        Path(sys.argv[2]).write_text(json.dumps(record(), indent=1))
    else:
        known = json.loads(Path(sys.argv[2]).read_text())
        found = list(differences(known, json.loads(json.dumps(record()))))
        print(*found, f"{len(known)} recordings compared, {len(found)} differences", sep="\n")
        sys.exit(bool(found))
