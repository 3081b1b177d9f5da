import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import plain_loop
import pytest
from small_search import task as regression

import jaxhp as hp
from jaxhp.data import Sealed
from jaxhp.report.result import Result
from jaxhp.search.anew import Retraining
from jaxhp.search.groups import spec_of
from jaxhp.search.sealed import open_test
from jaxhp.selection.stretches import Stretch
from jaxhp.store import params

SPACE = hp.Space(lr=hp.LogUniform(0.5, 2.0))
ONE = jax.local_devices()[:1]


class Untouchable:
    """Stands for test arrays; whoever looks at it is caught."""

    def __getattribute__(self, name):
        if name != "__class__":
            raise AssertionError(f"test data was touched: {name}")
        return object.__getattribute__(self, name)

    def __len__(self):
        raise AssertionError("test data was touched: len")

    def __getitem__(self, index):
        raise AssertionError("test data was touched: item")


def points(seed, count):
    rng = np.random.default_rng(seed)
    label = np.arange(count, dtype=np.int32) % 2
    return {"x": (rng.normal(size=(count, 3)) + 0.7 * label[:, None]).astype(np.float32), "label": label}


def task(test):
    def logit(params, batch):
        return batch["x"] @ params["w"] + params["b"]

    return hp.Task(
        init=lambda key, config: {"w": jax.random.normal(key, (3,)), "b": jnp.zeros(())},
        loss=lambda params, batch, key, config: jnp.mean(
            optax.sigmoid_binary_cross_entropy(logit(params, batch), batch["label"].astype(jnp.float32))
        ),
        evaluate=lambda params, batch, config: {
            "accuracy": ((logit(params, batch) > 0) == (batch["label"] == 1)).astype(jnp.float32)
        },
        optimizer=lambda config: optax.sgd(config["lr"]),
        train=points(0, 40),
        valid=points(1, 20),
        test=test,
        batch_size=10,
    )


def make(test, **options):
    options = {"epochs": 2, "tile": 8, "finals": hp.Finals(top=2, replicates=4)} | options
    return hp.Search(task(test), SPACE, hp.Random(population=6), **options)


def test_a_search_never_touches_the_test_data(tmp_path):
    search = make(Untouchable(), folds=2, finals=hp.Finals(top=2, replicates=6, holdout=0.3))
    search.plan()
    result = search.run(tmp_path, quiet=True, devices=ONE)
    result.table()
    result.summary()
    Result.load(tmp_path).summary()
    search.run(tmp_path, quiet=True, devices=ONE)
    with pytest.raises(AssertionError, match="test data was touched"):
        result.test(seeds=2)
    again = Result.load(tmp_path)
    assert (again.opened, again.tests) == (1, [])  # the attempt counts
    assert "without a result" in again.summary()


@pytest.mark.slow
def test_neither_does_anything_else_that_is_told_of_it():
    """Test data that cannot even be loaded, in a ready-made task."""

    def load():
        raise AssertionError("test data was loaded")

    train = {"image": points(3, 60)["x"], "label": points(3, 60)["label"]}
    mlp = hp.tasks.mlp(hp.data.arrays(train, Sealed(load)), hidden=(2,), batch_size=16)
    assert len(hp.score(mlp, [{"lr": 0.1, "weight_decay": 1e-4}], epochs=1)) == 1
    space = hp.Space(lr=hp.LogUniform(1e-3, 1.0), weight_decay=1e-4)
    result = hp.Search(mlp, space, hp.Halving(16), epochs=2, finals=None).run(quiet=True)
    result.importance()
    assert (result.opened, result.tests, mlp.test.opened) == (0, [], 0)


def test_only_the_sealed_test_opens_the_seal():
    found = set()
    for file in Path(hp.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "open":
                receiver = ast.unparse(node.func.value)
                if receiver not in ("os", "gzip", "Image", "file") and file.parent.name != "executors":
                    found.add((file.name, receiver))
    assert found == {("sealed.py", "task.test")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    return directory, make(None).run(directory, quiet=True, devices=ONE)


def test_opening_is_recorded_counted_and_shown(finished):
    directory, before = finished
    sealed = Sealed(points(2, 50))
    search = make(sealed)
    first = search.test(directory, seeds=3)
    assert (first.opening, sealed.opened, len(first.scores)) == (1, 1, 3)
    assert first.low < first.mean < first.high
    assert first.mean == pytest.approx(np.mean(first.scores))
    assert first.mean > 0.6
    second = search.test(directory, seeds=3)
    assert second == first._replace(opening=2)  # the same seeds on the same data
    result = Result.load(directory)
    assert (result.opened, result.tests) == (2, [first, second])
    assert result.digest == before.digest
    assert "opening 2: no longer a test" in result.summary()


def test_it_trains_on_everything_but_the_test_data():
    """Each example's weight moves only if it is trained on; the test asks for those of train, valid and holdout."""
    ids = np.arange(24, dtype=np.int32)
    whole = hp.Task(
        init=lambda key, config: jnp.zeros(30),
        loss=lambda params, batch, key, config: jnp.mean((params[batch["id"]] - 1.0) ** 2),
        evaluate=lambda params, batch, config: {"seen": (params[batch["id"]] != 0).astype(jnp.float32)},
        optimizer=lambda config: optax.sgd(config["lr"]),
        train={"id": ids[:16]},
        valid={"id": ids[16:]},
        test={"id": np.arange(30, dtype=np.int32)},
        batch_size=4,
        metric="seen",
    )
    finals = hp.Finals(top=2, replicates=4, holdout=0.5)
    result = hp.Search(whole, SPACE, hp.Random(population=3), epochs=1, finals=finals).run(quiet=True, devices=ONE)
    assert result.estimate.mean == 0  # the holdout is trained on in no search
    assert result.test(seeds=2).mean == pytest.approx(24 / 30)
    assert (result.opened, len(result.tests)) == (1, 1)  # in memory too


def test_a_trial_that_inherited_weights_is_trained_as_it_was():
    """Against plain NumPy."""
    fresh = np.random.default_rng(5).normal(size=(12, 4)).astype(np.float32)
    of = regression(test={"x": fresh, "y": fresh[:, 0]})
    spec = spec_of(of, {}, {"lr": np.dtype(np.float32)})
    history = (Stretch(3, {"lr": 0.05}, 2), Stretch(8, {"lr": 0.01}, 5))
    how = Retraining(epochs=5, seed=0, paired=True, used=3, devices=ONE)
    found = open_test(lambda _: spec, how, 8, history, None, 0, 2)
    everything = regression(train=jax.tree.map(lambda *parts: np.concatenate(parts), of.train, of.valid))
    for replicate, score in zip((3, 4), found.scores, strict=True):
        w = plain_loop.trained(everything, [(0.05, 2), (0.01, 5)], replicate)
        assert score == pytest.approx(plain_loop.error(w, {"x": fresh, "y": fresh[:, 0]}), rel=1e-4)


@pytest.mark.parametrize("seeds", [1, True, 2.0])
def test_bad_seeds(finished, seeds):
    with pytest.raises(ValueError, match="seeds: expected an integer of at least 2"):
        finished[1].test(seeds=seeds)


def test_what_cannot_be_tested_says_so(finished):
    directory, result = finished
    with pytest.raises(ValueError, match="test: expected a task with test data"):
        result.test()
    with pytest.raises(ValueError, match=r"search\.load\(dir\), which know the task"):
        Result.load(directory).test()
    with pytest.raises(ValueError, match="holds another search: its seed differs"):
        make(None, seed=1).test(directory)


@pytest.mark.slow
def test_a_network_of_all_data_is_the_first_that_the_test_has(tmp_path):
    """So its score on the test data, by NumPy, is that of the test's first seed; it is kept, and read again."""
    test = points(2, 30)
    result = make(test, epochs=1, finals=None).run(tmp_path, quiet=True, devices=ONE)
    network = result.refit()
    correct = (test["x"] @ network["w"] + network["b"] > 0) == (test["label"] == 1)
    assert np.isclose(np.mean(correct), result.test(seeds=2).scores[0])
    path = tmp_path / "refit.safetensors"
    facts, whole = params.facts(path), path.read_bytes()
    assert (facts["trial_id"], facts["epochs"], facts["replicate"]) == (result.best.trial_id, 1, 1)
    assert result.refit()["w"].tobytes() == network["w"].tobytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(hp.Error, match=r"refit\.safetensors: expected the network that this search wrote"):
        result.refit()
    with pytest.raises(hp.Error, match="refit: expected a result of"):
        Result.load(tmp_path).refit()
