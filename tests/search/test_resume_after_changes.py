"""A search that goes on with a changed script gives the digest that it gives unbroken, or is refused by name."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxhp as hp
from jaxhp.engine.events import RoundBegan
from jaxhp.engine.population import Population

X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
DATA = {"x": X, "y": np.tanh(X.sum(1))}
SCRIPT: dict[str, Any] = {
    "parameters": {
        "lr": hp.LogUniform(1e-3, 0.3),
        "decay": hp.Uniform(0.0, 0.5),
        "k": hp.Choice([8, 16], static=False),
        "depth": 2,
    },
    "decay": "decay",  # the name of this parameter
    "where": [lambda config: config["lr"] < 0.29],
    "strategy": hp.Random(population=4, rounds=2),
    "search": {"epochs": 2, "tile": 2, "finals": None},
    "task": {"batch_size": 10, "metric": "error", "mode": "min"},
    "data": DATA,
    "momentum": 0.5,
    "loss": lambda error, config: jnp.mean(error) * config["k"] / 8,
    "metrics": ("error", "size"),
}


class Cheap(hp.Search):
    """A search whose programs are compiled once for all whose scripts are said to have the same."""

    program: frozenset[str] = frozenset()

    def population(self, spec, machine, at_most=None):
        rows = self.plan_on(machine).groups[0].rows
        key = (self.program, rows, self.finals, spec.key)
        if key not in _compiled:
            _compiled[key] = super().population(spec, machine, at_most)
        return _compiled[key]


_compiled: dict[Any, Population] = {}


def search(script: Mapping[str, Any], program: frozenset[str]) -> hp.Search:
    data, decay = script["data"], script["decay"]

    def errors(params, batch):
        return ((batch["x"] @ params["w"]).prod(-1) - batch["y"]) ** 2

    def evaluate(params, batch, config):
        found = errors(params, batch)
        return dict(zip(script["metrics"], (found, jnp.full_like(found, jnp.abs(params["w"]).sum())), strict=True))

    task = hp.Task(
        init=lambda key, config: {"w": 0.3 * jax.random.normal(key, (4, 2))},
        loss=lambda params, batch, key, config: script["loss"](errors(params, batch), config),
        evaluate=evaluate,
        optimizer=lambda config: optax.chain(
            optax.add_decayed_weights(config[decay]), optax.sgd(config["lr"], momentum=script["momentum"])
        ),
        train={name: leaf[:30] for name, leaf in data.items()},
        valid={name: leaf[30:] for name, leaf in data.items()},
        **script["task"],
    )
    space = hp.Space(script["where"], **script["parameters"])
    made = type("Known", (Cheap,), {"program": program})
    return made(task, space, script["strategy"], **script["search"])


class Edit(NamedTuple):
    """A change of the script."""

    change: Callable[[dict[str, Any]], dict[str, Any]]  # the entries that are others
    named: str = ""  # by what a refusal must name it; "" where it means nothing, so that the digest is the same
    compiled: bool = True  # whether it may be compiled to another program


def within(entry: str, **values: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda script: {entry: script[entry] | values}


def renamed(script: dict[str, Any]) -> dict[str, Any]:
    parameters = {"wd" if name == "decay" else name: p for name, p in script["parameters"].items()}
    return {"parameters": parameters, "decay": "wd"}


def moved(script: dict[str, Any]) -> dict[str, Any]:
    return {"data": script["data"] | {"y": script["data"]["y"] + np.float32(1e-3) * (np.arange(40) == 3)}}


EARLIER = hp.Trial(
    0, {"lr": 0.1, "decay": 0.1, "k": 8, "depth": 2}, status=hp.Status.COMPLETE, score=0.5, metric="error", mode="min",
    epochs=2,
)  # fmt: skip
EDITS = {
    "order of keywords": Edit(lambda s: {"parameters": dict(reversed(s["parameters"].items()))}, compiled=False),
    "NumPy's range": Edit(within("parameters", lr=hp.LogUniform(np.float64(1e-3), np.float64(0.3))), compiled=False),
    "NumPy's choice": Edit(within("parameters", k=hp.Choice(np.asarray([8, 16]), static=False)), compiled=False),
    "NumPy's fixed": Edit(within("parameters", depth=np.int64(2)), compiled=False),
    "NumPy's epochs": Edit(within("search", epochs=np.int64(2), tile=np.int32(2)), compiled=False),
    "NumPy's seed": Edit(within("search", seed=np.uint8(0)), compiled=False),
    "NumPy's strategy": Edit(lambda s: {"strategy": hp.Random(population=np.int64(4), rounds=np.int64(2))}, "", False),
    "NumPy's batch size": Edit(within("task", batch_size=np.int64(10)), compiled=False),
    "another function": Edit(lambda s: {"loss": lambda e, c: (e.mean() * c["k"]) / 8}),
    "another where": Edit(lambda s: {"where": [lambda config: not config["lr"] >= 0.29]}, compiled=False),
    "no where": Edit(lambda s: {"where": ()}, "space.where", False),
    "8 to 8.0": Edit(within("parameters", k=hp.Choice([8.0, 16.0], static=False)), "space.parameters.k.values"),
    "2 to 2.0": Edit(within("parameters", depth=2.0), "space.fixed.depth"),
    "2 to True": Edit(within("parameters", depth=True), "space.fixed.depth"),
    "range end": Edit(within("parameters", lr=hp.LogUniform(1e-3, 0.31)), "space.parameters.lr.high", False),
    "kind of range": Edit(within("parameters", lr=hp.Uniform(1e-3, 0.3)), "space.parameters.lr", False),
    "order of a choice": Edit(within("parameters", k=hp.Choice([16, 8], static=False)), "k.values", False),
    "name of a parameter": Edit(renamed, "space.parameters.wd"),
    "where": Edit(lambda s: {"where": [lambda config: config["lr"] < 0.1]}, "space.where", False),
    "where, of one config": Edit(
        lambda s: {"where": [*s["where"], lambda config: config["lr"] != first_config()["lr"]]}, "space.where", False
    ),
    "epochs": Edit(within("search", epochs=3), "epochs"),
    "seed": Edit(within("search", seed=1), "seed"),
    "replicates": Edit(within("search", replicates=2), "replicates"),
    "folds": Edit(within("search", folds=4), "folds"),
    "paired": Edit(within("search", paired=False), "paired"),
    "finals": Edit(within("search", finals=hp.Finals(2, 4)), "finals"),
    "tile": Edit(within("search", tile=3), "tile"),
    "include": Edit(within("search", include=[EARLIER.config]), "include", False),
    "warm start": Edit(within("search", warm_start=[EARLIER]), "warm_start", False),
    "population": Edit(lambda s: {"strategy": hp.Random(population=5, rounds=2)}, "strategy", False),
    "rounds": Edit(lambda s: {"strategy": hp.Random(population=4, rounds=3)}, "strategy", False),
    "strategy": Edit(lambda s: {"strategy": hp.Narrowing(population=4, rounds=2)}, "strategy", False),
    "metric": Edit(within("task", metric="size"), "metric"),
    "mode": Edit(within("task", mode="max"), "mode"),
    "name of another metric": Edit(lambda s: {"metrics": ("error", "sum")}, "metrics"),
    "batch size": Edit(within("task", batch_size=15), "batch_size"),
    "training curve": Edit(within("task", train_examples=5), "train_examples"),
    "a label": Edit(moved, "data"),
    "order of examples": Edit(lambda s: {"data": {n: leaf[::-1].copy() for n, leaf in s["data"].items()}}, "data"),
    "optimizer's constant": Edit(lambda s: {"momentum": 0.6}, "task"),
    "loss": Edit(lambda s: {"loss": lambda error, config: jnp.mean(error) * config["k"] / 9}, "task"),
}
ALIKE = {  # what changes the same part of a script; of each only one is drawn
    "the choice": ("NumPy's choice", "8 to 8.0", "order of a choice"),
    "the fixed value": ("NumPy's fixed", "2 to 2.0", "2 to True"),
    "the range": ("NumPy's range", "range end", "kind of range"),
    "names": ("order of keywords", "name of a parameter"),
    "where": ("another where", "no where", "where", "where, of one config"),
    "epochs": ("NumPy's epochs", "epochs"),
    "seed": ("NumPy's seed", "seed"),
    "strategy": ("NumPy's strategy", "population", "rounds", "strategy"),
    "batch": ("NumPy's batch size", "batch size"),
    "data": ("a label", "order of examples"),
    "loss": ("another function", "loss"),
    "metrics": ("metric", "name of another metric"),
}
PARTS = [*ALIKE.values(), *((name,) for name in EDITS if not any(name in names for names in ALIKE.values()))]
IDLE = [tuple(n for n in names if not EDITS[n].named and not EDITS[n].compiled) for names in PARTS]


def edited(names: frozenset[str]) -> hp.Search:
    script = dict(SCRIPT)
    for name in sorted(names):
        script |= EDITS[name].change(script)
    return search(script, frozenset(name for name in names if EDITS[name].compiled))


@cache
def unbroken(names: frozenset[str]) -> str:
    return edited(names).run(quiet=True).digest


class Enough(BaseException):
    """Ends a search."""


def stop_in_the_second_round(event: Any) -> None:
    if isinstance(event, RoundBegan) and event.round == 1:
        raise Enough


@cache
def begun() -> Path:
    """The directory of the script as it was, cut off after its first round."""
    directory = Path(tempfile.mkdtemp(prefix="jaxhp-begun-"))
    with pytest.raises(Enough):
        edited(frozenset()).run(directory, quiet=True, watch=[stop_in_the_second_round])
    return directory


@cache
def first_config() -> dict[str, Any]:
    """A config of the first round."""
    return next(trial.config for trial in hp.Result.load(begun()).trials if trial.epochs)


def check(names: frozenset[str], directory: Path) -> bool:
    """Go on with an edited script; return whether that was refused."""
    shutil.copytree(begun(), directory)
    meaning = {EDITS[name].named for name in names} - {""}
    shown = {EDITS[name].named for name in names - {"where, of one config"}} - {""}  # by the manifest, which is first
    try:
        changed = edited(names)
    except hp.Error as error:  # included configs and earlier trials may not fit what else was changed
        assert str(error).split(":")[0] in meaning & {"include", "warm_start"}  # noqa: PT017
        return True
    try:
        found = changed.run(directory, quiet=True).digest
    except hp.Error as error:
        assert "holds another search" in str(error)  # noqa: PT017
        assert all(name in str(error) for name in shown or meaning)  # noqa: PT017
        return True
    assert found == unbroken(names)
    assert meaning or found == unbroken(frozenset())
    return False


QUICK = ("where, of one config", "name of another metric", "optimizer's constant")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in EDITS])
def test_one_change(name, tmp_path):
    refused = check(frozenset([name]), tmp_path / "run")
    assert refused == bool(EDITS[name].named) or name == "another function"


def some(parts: list[tuple[str, ...]], least: int) -> st.SearchStrategy[frozenset[str]]:
    """Draw changes, at most one of each part of the script."""
    chosen = st.lists(st.sampled_from([names for names in parts if names]), min_size=least, max_size=4, unique=True)
    return chosen.flatmap(lambda names: st.tuples(*map(st.sampled_from, names))).map(frozenset)


@pytest.mark.slow
@settings(max_examples=150)
@given(some(PARTS, 2))
def test_any_changes(names):
    with tempfile.TemporaryDirectory() as directory:
        check(names, Path(directory) / "run")


@settings(max_examples=4)
@given(some(IDLE, 3))
def test_any_changes_that_mean_nothing(names):
    with tempfile.TemporaryDirectory() as directory:
        assert not check(names, Path(directory) / "run")
