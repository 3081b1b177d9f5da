"""Models of other libraries: the networks of the docstrings, as members and in loops of the libraries' own."""

import inspect
import sys
import textwrap
from functools import cache, partial

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from test_averaged import ema, ema_of

import jaxhp as hp
from jaxhp.engine import population
from jaxhp.engine.layout import arrange
from jaxhp.engine.population import Capacity
from jaxhp.engine.streams import Keys, key_of
from jaxhp.search.groups import spec_of
from jaxhp.tasks.task import create, shown, update

CONFIG = {"lr": 0.02, "dropout": 0.3, "width": 8}
TRACED = {"lr": np.dtype(np.float32), "dropout": np.dtype(np.float32)}
LIBRARIES = {"nnx": hp.tasks.nnx, "linen": hp.tasks.linen, "equinox": hp.tasks.equinox, "haiku": hp.tasks.haiku}
every_library = pytest.mark.parametrize("library", LIBRARIES)
BATCH = 60
TRAIN, VALID = hp.split(hp.data.mnist_sample(300).train, 0.2, 0)


@cache
def example(library: str) -> dict:
    """What the code in the docstring defines."""
    text = textwrap.dedent((inspect.getdoc(LIBRARIES[library]) or "").split("\n\n", 1)[1].split("\nArgs:")[0])
    names = {"eqx": eqx, "hk": hk, "linen": linen, "nnx": nnx, "hp": hp, "jax": jax, "optax": optax}
    names |= {"train": TRAIN, "valid": VALID}
    exec(text, names)
    return names


@cache
def averaged(library: str, **options) -> hp.Task:
    """The example's task with a running mean of the weights."""
    of = example(library)
    make = of["Net"] if library == "nnx" else of["make"]
    options = {"train": TRAIN, "valid": VALID, "batch_size": BATCH, "averaged": ema_of} | options
    return LIBRARIES[library](make, of["loss"], of["evaluate"], ema, **options)


def cross_entropy(scores, batch):
    return optax.softmax_cross_entropy_with_integer_labels(scores, batch["label"]).mean()


class OfNnx:
    """A loop of nnx: a model that is changed in place."""

    def __init__(self, key):
        self.model = example("nnx")["Net"](nnx.Rngs(key), CONFIG)

    def params(self):
        return nnx.state(self.model, nnx.Param)

    def step(self, batch, key, state):
        @nnx.jit
        def run(model, batch, key, state):
            model.train()
            nnx.reseed(model, default=key)
            gradients = nnx.grad(lambda model: cross_entropy(model(batch["image"] / 255), batch))(model)
            updates, state = ema(CONFIG).update(gradients, state, nnx.state(model, nnx.Param))
            nnx.update(model, optax.apply_updates(nnx.state(model, nnx.Param), updates))
            return state

        self.run = getattr(self, "run", run)
        return self.run(self.model, batch, key, state)

    def kept(self):
        return nnx.to_pure_dict(self.params()), nnx.to_pure_dict(nnx.state(self.model, nnx.BatchStat))


class OfLinen:
    def __init__(self, key):
        self.module = example("linen")["make"](CONFIG)
        variables = self.module.init(key, jnp.zeros((1, 28, 28)), train=False)
        self.weights, self.rest = variables["params"], {"batch_stats": variables["batch_stats"]}

    def params(self):
        return self.weights

    @partial(jax.jit, static_argnums=0)
    def run(self, weights, rest, batch, key, state):
        def loss(weights):
            scores, after = self.module.apply(
                {"params": weights, **rest},
                batch["image"] / 255,
                train=True,
                rngs={"dropout": key},
                mutable=["batch_stats"],
            )
            return cross_entropy(scores, batch), after

        gradients, rest = jax.grad(loss, has_aux=True)(weights)
        updates, state = ema(CONFIG).update(gradients, state, weights)
        return optax.apply_updates(weights, updates), rest, state

    def step(self, batch, key, state):
        self.weights, self.rest, state = self.run(self.weights, self.rest, batch, key, state)
        return state

    def kept(self):
        return self.weights, self.rest


class OfHaiku(OfLinen):
    def __init__(self, key):
        self.module = hk.transform_with_state(lambda x, now: example("haiku")["make"](CONFIG)(x, now))
        self.weights, self.rest = self.module.init(key, jnp.zeros((1, 28, 28)), True)

    @partial(jax.jit, static_argnums=0)
    def run(self, weights, rest, batch, key, state):
        def loss(weights):
            scores, after = self.module.apply(weights, rest, key, batch["image"] / 255, True)
            return cross_entropy(scores, batch), after

        gradients, rest = jax.grad(loss, has_aux=True)(weights)
        updates, state = ema(CONFIG).update(gradients, state, weights)
        return optax.apply_updates(weights, updates), rest, state


class OfEquinox(OfLinen):
    def __init__(self, key):
        self.module, self.rest = eqx.nn.make_with_state(example("equinox")["Net"])(
            key, CONFIG
        )  # whose rate is a number
        self.weights, self.module = eqx.partition(self.module, eqx.is_inexact_array)

    @partial(eqx.filter_jit, donate="none")
    def run(self, weights, rest, batch, key, state):
        def loss(weights):
            each = jax.vmap(
                eqx.combine(weights, self.module), axis_name="batch", in_axes=(0, None, 0), out_axes=(0, None)
            )
            scores, after = each(batch["image"] / 255, rest, jax.random.split(key, BATCH))
            return cross_entropy(scores, batch), after

        gradients, rest = jax.grad(loss, has_aux=True)(weights)
        updates, state = ema(CONFIG).update(gradients, state, weights)
        return optax.apply_updates(weights, updates), rest, state


OWN = {"nnx": OfNnx, "linen": OfLinen, "haiku": OfHaiku, "equinox": OfEquinox}


def named(library: str, tree) -> list[np.ndarray]:
    """Leaves in the order of a member's, whose names equinox's are sorted by."""
    if library == "equinox":
        flat, _ = jax.tree_util.tree_flatten_with_path(tree)
        tree = {jax.tree_util.keystr(path).removeprefix("."): leaf for path, leaf in flat}
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def own_loop(library: str, epochs: int, steps: int = 4):
    """Weights, state and averaged weights after a loop of the library's own, from the documented keys."""
    root = jax.random.key(0)
    own = OWN[library](key_of(root, Keys.INIT, 0))
    begun, state = named(library, own.params()), ema(CONFIG).init(own.params())
    for epoch in range(epochs):
        key, noise = (jax.random.fold_in(key_of(root, of, 0), epoch) for of in (Keys.ORDER, Keys.NOISE))
        order = np.argsort(np.asarray(jax.random.bits(key, (len(TRAIN["image"]),))) >> 1, kind="stable")
        for i in range(steps):
            rows = order[i * BATCH : (i + 1) * BATCH]
            of_model, _ = jax.random.split(jax.random.fold_in(noise, i))
            state = own.step({name: column[rows] for name, column in TRAIN.items()}, of_model, state)
    weights, rest = own.kept()
    mean = ema_of(state, None, CONFIG)
    mean = nnx.to_pure_dict(mean) if library == "nnx" else mean
    statistics = jax.tree.leaves(rest) if library == "equinox" else rest
    return begun, named(library, weights), named("", statistics), named(library, mean)


def distance(got, want, begun) -> float:
    """How far weights are apart, relative to the way that they were trained (a bias before a norm has no way)."""
    far, way = (
        np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(one, other, strict=True)))
        for one, other in ((got, want), (want, begun))
    )
    return far / way


@pytest.mark.slow
@every_library
def test_steps_are_those_of_the_librarys_own_loop(library):
    of = averaged(library)
    spec, root = spec_of(of, {"width": 8}, TRACED), jax.random.key(0)
    member = jax.jit(lambda key: create(spec.task, key, CONFIG))(key_of(root, Keys.INIT, 0))
    order = np.argsort(
        np.asarray(jax.random.bits(jax.random.fold_in(key_of(root, Keys.ORDER, 0), 0), (len(TRAIN["image"]),))) >> 1
    )
    step = jax.jit(lambda m, b, k, traced: update(spec.task, m, b, k, CONFIG | traced)[0])
    for i in range(2):
        batch = {name: column[order[i * BATCH : (i + 1) * BATCH]] for name, column in TRAIN.items()}
        key = jax.random.fold_in(jax.random.fold_in(key_of(root, Keys.NOISE, 0), 0), i)
        member = step(member, batch, key, {name: jnp.float32(CONFIG[name]) for name in TRACED})
    begun, weights, state, mean = own_loop(library, 1, 2)
    assert distance(jax.tree.leaves(member.variables.params), weights, begun) < 1e-5
    for got, want in zip(jax.tree.leaves(member.variables.state), state, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    assert distance(jax.tree.leaves(shown(spec.task, member, CONFIG).params), mean, begun) < 1e-5


@pytest.mark.slow
@every_library
def test_a_member_among_others_is_that_of_the_librarys_own_loop_after_200_steps(library):
    spec = spec_of(averaged(library), {"width": 8}, TRACED)
    layout = arrange([0, 0, 0], [0], 2)
    compiled = population.compile(spec, Capacity(2, 2, 3, 1, 50), devices=jax.local_devices()[:1])
    columns = {name: np.asarray([0.1, CONFIG[name], 0.2], np.float32) for name in TRACED}
    state, _ = compiled.step(compiled.init(), columns, np.arange(3, dtype=np.int32), layout, 0, 50)
    held = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[3:])[layout.slots[1, 0]], state.member)
    begun, weights, statistics, mean = own_loop(library, 50)
    far = distance(jax.tree.leaves(held.variables.params), weights, begun)
    far_mean = distance(jax.tree.leaves(shown(spec.task, held, CONFIG).params), mean, begun)
    assert max(far, far_mean) < 1e-5
    for got, want in zip(jax.tree.leaves(held.variables.state), statistics, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def made(library: str, make=None, **options) -> hp.Task:
    of = example(library)
    make = make or (of["Net"] if library == "nnx" else of["make"])
    options = {"train": TRAIN, "valid": VALID, "batch_size": BATCH} | options
    return LIBRARIES[library](make, of["loss"], of["evaluate"], lambda config: optax.sgd(config["lr"]), **options)


@every_library
def test_the_trained_model_is_given_back_and_says_what_it_was_measured_to_say(library):
    of = made(library)
    config = {name: np.float32(value) for name, value in CONFIG.items() if name != "width"} | {"width": 8}
    variables = create(of, jax.random.key(1), config).variables
    model = hp.tasks.model(of, variables, config)
    said = model(VALID["image"] / 255).argmax(-1) == VALID["label"]
    np.testing.assert_array_equal(said, of.evaluate(variables, VALID, config)["accuracy"])
    with pytest.raises(hp.Error, match=r"task: expected one of hp.tasks.nnx, linen, equinox or haiku, got Task"):
        hp.tasks.model(hp.tasks.mlp(hp.data.mnist_sample(300)), variables, config)


@every_library
def test_what_the_model_does_not_read_is_refused_with_the_cure(library):
    with pytest.raises(hp.Error, match=r"\(dropout, lr, width\), got also depth; where a number .* config\['depth'\]"):
        spec_of(made(library), {"width": 8}, TRACED | {"depth": np.dtype(np.float32)})


@every_library
def test_a_library_that_is_missing_is_named_with_what_installs_it(library, monkeypatch):
    module = {"nnx": "flax.nnx", "linen": "flax.linen"}.get(library, library)
    monkeypatch.setitem(sys.modules, module, None)
    package, extra = {"haiku": ("dm-haiku", "haiku"), "equinox": ("equinox", "equinox")}.get(library, ("flax", "flax"))
    with pytest.raises(hp.Error, match=rf"expected the package {package}, .*: pip install 'jaxhp\[{extra}\]'"):
        made(library)


@pytest.mark.parametrize(
    ("library", "make", "got"),
    [
        ("nnx", lambda rngs, config: 3, "nnx make: expected .rngs, config. -> nnx.Module, got int"),
        ("linen", lambda config: len, "linen make: expected .config. -> linen.Module, got builtin"),
        ("equinox", lambda key, config: 3, "equinox make: expected .key, config. -> eqx.Module, or what .*, got int"),
        ("haiku", lambda config: 3, "haiku make: expected .config. -> hk.Module or function, got int"),
    ],
)
def test_what_is_no_model_is_refused(library, make, got):
    with pytest.raises(hp.Error, match=rf"^hp\.tasks\.{got}"):
        spec_of(made(library, make), {"width": 8}, TRACED)


class Fixed(nnx.Module):
    """Random features in an attribute."""

    def __init__(self, rngs, config):
        self.features = nnx.data(jax.random.normal(rngs(), (784, 8)))
        self.out = nnx.Linear(8, 10, rngs=rngs)

    def __call__(self, x):
        return self.out(x.reshape(len(x), -1) @ self.features)


class Kept(Fixed):
    """Random features in a variable."""

    def __init__(self, rngs, config):
        self.features = nnx.BatchStat(jax.random.normal(rngs(), (784, 8)))
        self.out = nnx.Linear(8, 10, rngs=rngs)


def test_random_arrays_of_nnx_are_variables_or_refused():
    with pytest.raises(hp.Error, match=r"expected what is random in the model to be in an nnx\.Variable"):
        spec_of(made("nnx", Fixed), {}, {"lr": np.dtype(np.float32)})
    init = made("nnx", Kept).init
    one, other = (init(jax.random.key(seed), {}).state["features"] for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_the_rate_of_equinoxs_dropout_is_no_weight():
    shapes = spec_of(made("equinox"), {"width": 8}, TRACED).shapes
    assert sorted(shapes.member.variables.params) == [
        *("hidden.bias", "hidden.weight", "norm.bias", "norm.weight", "out.bias", "out.weight")
    ]


@every_library
def test_mixed_precision(library):
    of = example(library)

    def half(model, batch, key, config):
        return cross_entropy(model(batch["image"].astype(jnp.bfloat16) / 255).astype(jnp.float32), batch)

    with pytest.raises(hp.Error, match="Task dtype: expected products of bfloat16, got only float32"):
        spec_of(made(library, dtype="bfloat16"), {"width": 8}, TRACED)
    make = of["Net"] if library == "nnx" else of["make"]
    task = LIBRARIES[library](
        make, half, of["evaluate"], ema, train=TRAIN, valid=VALID, batch_size=BATCH, dtype="bfloat16"
    )
    member = spec_of(task, {"width": 8}, TRACED).shapes.member
    floating = {leaf.dtype for leaf in jax.tree.leaves(member) if jnp.issubdtype(leaf.dtype, jnp.floating)}
    assert floating == {np.dtype(np.float32)}


def test_a_config_is_a_plain_dict_to_a_model_and_parts_may_be_compiled_or_computed_twice():
    def make(config):
        doubled = jax.tree.map(lambda value: 2 * value, {**config} | {"more": 1.0})
        return example("linen")["Net"](config["width"], 0.5 * doubled["dropout"])

    def loss(model, batch, key, config):
        scores = model(batch["image"] / 255)
        return jax.jit(jax.checkpoint(lambda scores, config: cross_entropy(scores * config["scale"], batch)))(
            scores, config
        )

    of = hp.tasks.linen(
        make, loss, example("linen")["evaluate"], lambda config: optax.sgd(config["lr"]), train=TRAIN, valid=VALID
    )
    spec_of(of, {"width": 8}, TRACED | {"scale": np.dtype(np.float32)})


@pytest.mark.slow
@every_library
def test_a_search_over_a_width_and_a_rate_learns(library):
    space = hp.Space(lr=hp.LogUniform(0.05, 0.2), dropout=hp.Uniform(0, 0.4), width=hp.Choice([8, 16]))
    result = hp.Search(made(library), space, hp.Random(4), epochs=8, finals=None, tile=2).run(quiet=True)
    assert result.best.score > 0.5
    model = hp.tasks.model(made(library), result.best.params, result.best.config)
    accuracy = np.mean(model(VALID["image"] / 255).argmax(-1) == VALID["label"])
    assert accuracy == pytest.approx(result.best.score, abs=0.02)


class Dropped(nnx.Module):
    def __init__(self, rngs, config):
        self.out, self.drop = nnx.Linear(784, 10, rngs=rngs), nnx.Dropout(config["dropout"], rngs=rngs)

    def __call__(self, x):
        return self.out(self.drop(x.reshape(len(x), -1)))


@pytest.mark.slow
def test_nnx_dropout_takes_a_rate_that_is_tuned():
    """As with the same rate written as a number, which nnx sees in Python; a rate of 1 leaves nothing."""
    of, options = example("nnx"), {"train": TRAIN, "valid": VALID, "batch_size": BATCH}
    task = hp.tasks.nnx(Dropped, of["loss"], of["evaluate"], lambda config: optax.sgd(config["lr"]), **options)
    space = hp.Space(lr=hp.LogUniform(1e-4, 1e-1), dropout=hp.Uniform(0, 1))
    assert hp.Search(task, space, hp.Random(2), epochs=1, finals=None).groups.first.traced.keys() == {"lr", "dropout"}
    variables = task.init(jax.random.key(0), CONFIG)
    batch, key = {name: jnp.asarray(leaf[:BATCH]) for name, leaf in TRAIN.items()}, jax.random.key(1)
    loss = jax.jit(jax.value_and_grad(lambda v, rate: task.loss(v, batch, key, {"lr": 0.1, "dropout": rate})))
    plain = task.loss(variables, batch, key, CONFIG)
    assert plain != task.loss(variables, batch, key, CONFIG | {"dropout": 0.0})
    np.testing.assert_allclose(loss(variables, 0.3)[0], plain, rtol=1e-6)
    nothing, gradient = loss(variables, 1.0)
    np.testing.assert_allclose(nothing, np.log(10), rtol=1e-6)
    np.testing.assert_array_equal(gradient["out"]["kernel"], 0)
    plain = jax.device_get(task.evaluate(variables, batch, CONFIG))
    traced = jax.jit(lambda v, rate: task.evaluate(v, batch, {"lr": 0.1, "dropout": rate}))(variables, 0.3)
    np.testing.assert_array_equal(traced["accuracy"], plain["accuracy"])
