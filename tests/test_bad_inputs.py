"""Every bad input gets one clear line that names the argument, what was expected and what came, before any training."""

import os
import re

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from recorded import made
from small_search import search, task

import jaxhp as hp
from jaxhp.report.page import live_page
from jaxhp.report.serving import watch
from jaxhp.strategies import Random

SPACE = hp.Space(lr=hp.LogUniform(1e-3, 1.0), weight_decay=hp.LogUniform(1e-8, 1e-4))


TWO = task(
    evaluate=lambda params, batch, config: {"error": batch["y"] ** 2, "size": batch["y"]},
    metric=("error", "size"),
    mode=("min", "min"),
)


def images(label, n=20, value=0):
    return hp.data.arrays({"image": np.full((n, 4, 4), value, np.float32), "label": label})


def another(changes):
    """The directory of a search, run by one that differs."""

    def run(tmp_path):
        search("random").run(tmp_path, quiet=True)
        search("random", **changes).run(tmp_path, quiet=True)

    return run


def into_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    search("random").run(tmp_path / "file" / "run", quiet=True)


def smaller(**more):
    """A search that is extended."""
    return lambda tmp_path: search("random").extend(tmp_path, quiet=True, **more)


CASES = {
    "an observer in no list": (
        lambda _: search("random").run(quiet=True, watch=print),
        "watch: expected a list of functions of one event, such as [hp.watch.CSV(path)], got print itself",
    ),
    "an observer that is none": (lambda _: search("random").run(quiet=True, watch=[3]), "got 3 in it"),
    "an observer's class": (
        lambda _: search("random").run(quiet=True, watch=[hp.Trial]),
        "got the class Trial itself in it: Trial(...)",
    ),
    "a tracker's folder that is a file": (
        lambda tmp_path: hp.watch.TensorBoard(__file__),
        "watch: TensorBoard dir: expected a writable directory, got",
    ),
    "a tracker's file that is a folder": (
        lambda tmp_path: hp.watch.CSV(tmp_path),
        "watch: CSV path: expected a writable file, got",
    ),
    "observers that are a word": (lambda _: search("random").run(quiet=True, watch="csv"), "got 'csv'"),
    "seconds that are none": (
        lambda _: search("random").run(seconds=0, quiet=True),
        "seconds: expected a number above 0, got 0",
    ),
    "seconds as text": (
        lambda _: search("random").run(seconds="30m", quiet=True),
        "seconds: expected a number above 0, got '30m'",
    ),
    "target that is no number": (
        lambda _: search("random").run(target=float("nan"), quiet=True),
        "target: expected a finite number, got nan",
    ),
    "patience of none": (
        lambda _: search("random").run(patience=0, quiet=True),
        "patience: expected at least 1, got 0",
    ),
    "extended by nothing": (
        smaller(),
        "extend: expected rounds=, how many more, or epochs=, the new budget, got neither",
    ),
    "extended by fewer rounds": (smaller(rounds=-1), "rounds: expected at least 0, got -1"),
    "extended to fewer epochs": (
        smaller(epochs=3),
        "epochs: expected at least the 9 that the search has, got 3",
    ),
    "extended strategy without rounds": (
        lambda tmp_path: search("pbt").extend(tmp_path, rounds=1),
        "rounds: expected a strategy with a setting rounds, got PBT, which has none",
    ),
    "extended directory that holds nothing": (smaller(rounds=1), "expected a run directory"),
    "reversed range": (
        lambda _: hp.LogUniform(1e-2, 1e-6),
        "LogUniform: expected low <= high, got low=0.01, high=1e-06",
    ),
    "log range with zero": (lambda _: hp.LogUniform(0, 1), "LogUniform: expected low > 0"),
    "parameter that the task does not read": (
        lambda _: search(space=hp.Space(lr=hp.Uniform(0.1, 1), momentun=hp.Uniform(0, 1))),
        "space: expected only parameters that the task reads (lr), got also momentun",
    ),
    "parameter that who makes the task misses": (
        lambda _: search(task=lambda c: task(batch_size=c["batch"]), space=hp.Space(lr=hp.Uniform(0.1, 1))),
        "space: expected a static parameter 'batch' (hp.Choice), which the function that makes the task reads, got",
    ),
    "width of hp.score that is read of data": (
        lambda _: hp.score(task(init=lambda key, c: {"w": jnp.ones((4, c["width"]))}), [{"lr": 0.1, "width": 2}]),
        "'width' as data, which is traced, got one that needs its value in Python (TypeError); give a function of the",
    ),
    "parameter that the task misses": (
        lambda _: search(space=hp.Space(rate=hp.Uniform(0.1, 1))),
        "space: expected the parameter 'lr', which the task's optimizer reads, got only rate",
    ),
    "NaN in data": (
        lambda _: task(train={"x": np.full((30, 4), np.nan, "f4"), "y": np.zeros(30, "f4")}),
        "Task train['x']: expected finite values, got nan at index (0, 0)",
    ),
    "parts of unequal length": (
        lambda _: task(train={"x": np.zeros((30, 4), "f4"), "y": np.zeros(29, "f4")}),
        "Task train['y']: expected 30 examples on the first axis as in Task train['x'], got 29",
    ),
    "empty validation split": (
        lambda _: hp.split({"x": np.zeros(3)}, valid=0.1),
        "valid: 0.1 of 3 examples leaves the validation split empty",
    ),
    "empty validation data": (
        lambda _: task(valid={"x": np.zeros((0, 4), "f4"), "y": np.zeros(0, "f4")}),
        "Task valid['x']: expected at least one example, got shape (0, 4)",
    ),
    "batch larger than the data": (
        lambda _: hp.tasks.mlp(hp.data.mnist_sample(100), batch_size=100),
        "Task batch_size: expected at most the 80 training examples, got 100",
    ),
    "more examples of a training curve than there are": (
        lambda _: hp.tasks.mlp(hp.data.mnist_sample(100), batch_size=20, train_examples=81),
        "Task train_examples: expected 0 (no training curve) to 80, 'all', or None (as many as valid has), got 81",
    ),
    "a training curve of some": (
        lambda _: hp.tasks.mlp(hp.data.mnist_sample(100), batch_size=20, train_examples="some"),
        "Task train_examples: expected 0 (no training curve) to 80, 'all', or None (as many as valid has), got 'some'",
    ),
    "labels that are no integers": (
        lambda _: hp.tasks.mlp(images(np.zeros(20, np.float32)), batch_size=4),
        "data label: expected integers of shape [N], got float32[20]",
    ),
    "negative labels": (
        lambda _: hp.tasks.mlp(images(np.arange(20) - 1), batch_size=4),
        "data label: expected classes numbered from 0, got values -1 to 18",
    ),
    "one class": (
        lambda _: hp.tasks.mlp(images(np.zeros(20, np.int32)), batch_size=4),
        "data label: expected at least two classes, got only class 0",
    ),
    "loss that is no scalar": (
        lambda _: search(task=task(loss=lambda params, batch, key, config: batch["y"])),
        "Task loss: expected a floating point scalar, got float32[10]",
    ),
    "loss that raises": (
        lambda _: search(task=task(loss=lambda params, batch, key, config: jnp.ones(3) @ jnp.ones(4))),
        "Task loss: raised TypeError when called on shapes: dot_general requires",
    ),
    "metric that does not exist": (
        lambda _: search(task=hp.Task(**{**vars(task()), "metric": "accuracy"})),
        "Task metric: expected one of error, got 'accuracy'",
    ),
    "metric that is a mean": (
        lambda _: search(task=task(evaluate=lambda params, batch, config: {"error": jnp.mean(batch["y"])})),
        "Task evaluate: expected one value an example, f32[B], for 'error'; with B = 7 got float32[]",
    ),
    "optimizer that is none": (
        lambda _: search(task=task(optimizer=lambda config: config["lr"])),
        "Task optimizer: raised TypeError when called on shapes: expected an optax.GradientTransformation",
    ),
    "weights that are integers": (
        lambda _: search(task=task(init=lambda key, config: {"w": jnp.zeros((4, 2), jnp.int32)})),
        "Task init: expected floating point parameters, got int32 at params['w']",
    ),
    "mode that is none": (
        lambda _: hp.Task(**{**vars(task()), "mode": "best"}),
        "Task mode: expected 'max' or 'min', got 'best'",
    ),
    "no epochs": (lambda _: search(epochs=0), "epochs: expected at least 1, got 0"),
    "seed that is no integer": (lambda _: search(seed=0.5), "seed: expected an integer, got 0.5"),
    "strategy's class": (
        lambda _: search(strategy=Random),
        "strategy: expected a strategy such as Random(...), got the class Random itself",
    ),
    "strategy by name": (lambda _: search(strategy="tpe"), "strategy: expected a strategy with a method schedule"),
    "space as a dict": (lambda _: hp.Search(task(), {"lr": 1}, Random()), "space: expected a Space, got dict"),
    "population of none": (lambda _: Random(population=0), "Random population: expected at least 1, got 0"),
    "finals of one replicate": (
        lambda _: hp.Finals(replicates=1),
        "Finals replicates: expected an integer of at least 4, got 1",
    ),
    "too little memory": (
        lambda _: search().plan(memory=1000),
        "plan: one tile of 2 members with 1 replicates needs",
    ),
    "directory of another search": (
        another({"seed": 1}),
        "holds another search: its seed is 0, now it is 1",
    ),
    "directory that is a file": (into_a_file, "dir: expected a writable directory, got"),
    "configs with other names": (
        lambda _: hp.score(task(), [{"lr": 0.1}, {"rate": 0.1}]),
        "configs[1]: expected the keys ['lr'], got ['rate']",
    ),
    "several metrics with one mode": (
        lambda _: task(metric=("error", "size"), mode="min"),
        "Task mode: expected a tuple of 2, one for each metric, got 'min'",
    ),
    "several modes of one metric": (
        lambda _: task(mode=("min", "max")),
        "Task mode: expected 'max' or 'min', got ('min', 'max')",
    ),
    "one metric in a tuple": (
        lambda _: task(metric=("error",), mode=("min",)),
        "Task metric: expected a name, or a tuple of at least two, got ('error',)",
    ),
    "the same metric twice": (
        lambda _: task(metric=("error", "error"), mode=("min", "max")),
        "Task metric: expected different names, got ('error', 'error')",
    ),
    "several metrics, one of which is not there": (
        lambda _: search(task=task(metric=("error", "size"), mode=("min", "min")), strategy=hp.Pareto(4)),
        "Task metric: expected one of error, got 'size'",
    ),
    "several metrics with a strategy of one": (
        lambda _: search("halving", task=TWO),
        "strategy: expected one that serves several objectives",
    ),
    "a constraint that is a number": (
        lambda _: task(constraints={"error": 2.0}),
        "Task constraints: expected a dict of metric to hp.AtMost or hp.AtLeast, got {'error': 2.0}",
    ),
    "a constraint that is no dict": (
        lambda _: task(constraints=hp.AtMost(2.0)),
        "Task constraints: expected a dict of metric to hp.AtMost or hp.AtLeast, got AtMost(value=2.0)",
    ),
    "a constraint on what is not there": (
        lambda _: search(task=task(constraints={"size": hp.AtMost(2.0)}), strategy=hp.Pareto(4)),
        "Task constraints: expected one of error, got 'size'",
    ),
    "a constraint with a strategy that knows none": (
        lambda _: search("halving", task=task(constraints={"error": hp.AtMost(2.0)})),
        "strategy: expected one that serves constraints",
    ),
    "a bound that is no number": (lambda _: hp.AtLeast("2"), "AtLeast: expected a finite number, got '2'"),
    "a picture of a metric that was not recorded": (
        lambda tmp_path: hp.Result.load(made(tmp_path / "run")).plot.slices(metric="los"),
        "slices: expected a metric that was recorded (accuracy), got 'los'",
    ),
    "a picture on what is not Axes": (
        lambda tmp_path: hp.Result.load(made(tmp_path / "run")).plot.curves(ax="here"),
        "ax: expected matplotlib's Axes or None, got str",
    ),
    "a port that there cannot be": (
        lambda tmp_path: watch(made(tmp_path / "run"), -1, live_page),
        "--port: expected a number from 0 to 65535, got -1",
    ),
    "option that does not exist": (
        lambda _: search().changed(epoks=3),
        "epoks: expected an argument of the search or its strategy (epochs, seed,",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name, tmp_path):
    give, message = CASES[name]
    with pytest.raises((ValueError, TypeError, OSError, MemoryError)) as raised:
        give(tmp_path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not isinstance(raised.value, AssertionError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_directory_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match=re.escape(f"dir: expected a writable directory, got {tmp_path}")):
        search("random").run(tmp_path / "run", quiet=True)


@pytest.mark.parametrize("name", ["parameter that the task misses", "parameter that who makes the task misses"])
def test_a_name_that_is_missing_is_told_without_the_way_to_it(name, tmp_path):
    with pytest.raises(hp.Error) as raised:
        CASES[name][0](tmp_path)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_a_group_is_named_in_the_error():
    space = hp.Space(lr=hp.LogUniform(1e-3, 1.0), width=hp.Choice([2, 3]))

    def make(static):
        return task(init=lambda key, config: {"w": jnp.ones((static["width"] + 2, 2))})

    with pytest.raises(ValueError, match="Task loss: raised") as raised:
        hp.Search(make, space, Random(), epochs=1)
    assert raised.value.__notes__ == ["for the configs with {'width': 3}"]


def test_optax_schedules_of_a_traced_peak_work_as_the_readme_says():
    unit = optax.cosine_decay_schedule(1.0, 10)
    made = task(optimizer=lambda config: optax.sgd(lambda count: config["lr"] * unit(count)))
    assert np.isfinite(hp.score(made, [{"lr": 0.01}], epochs=1)).all()
