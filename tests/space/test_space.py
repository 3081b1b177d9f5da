"""Spaces: exact round trips through the unit cube, JSON, groups of static choices, and one-line errors."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxhp.space import Choice, IntUniform, LogUniform, Normal, Space, Uniform
from jaxhp.store.columns import asked, pack, trials_of, unpack
from jaxhp.trials import Trial, Trials

FINITE = st.floats(-1e6, 1e6, width=32)


@st.composite
def uniforms(draw):
    low = draw(FINITE)
    return Uniform(low, low + max(1e-3, abs(low) * 1e-4) * draw(st.floats(1, 1e6)))


@st.composite
def log_uniforms(draw):
    low = draw(st.floats(1e-30, 1e3))
    return LogUniform(low, low * draw(st.floats(1.01, 1e12)))


@st.composite
def integers(draw):
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -1000, 1000))
    return IntUniform(low, low + draw(st.integers(1, 1000)), log=log)


@st.composite
def lattices(draw):
    low, step, count = draw(st.integers(-50, 50)), draw(st.sampled_from([0.1, 0.25, 1.0])), draw(st.integers(0, 40))
    return Uniform(low * step, (low + count) * step, step=step)


@st.composite
def multiples(draw):
    low, step, count = draw(st.integers(-50, 50)), draw(st.integers(1, 9)), draw(st.integers(0, 40))
    return IntUniform(low, low + count * step, step=step)


@st.composite
def normals(draw):
    mean, sd = draw(st.floats(-100, 100)), draw(st.floats(1e-3, 100))
    low = draw(st.none() | st.floats(-3, 0).map(lambda z: mean + z * sd))
    return Normal(mean, sd, low=low, high=draw(st.none() | st.floats(0.1, 3).map(lambda z: mean + z * sd)))


ATOMS = st.integers(-9, 9) | st.booleans() | st.text(max_size=3) | st.none() | st.floats(-9, 9)
VALUES = ATOMS | st.tuples(ATOMS) | st.tuples(ATOMS, st.tuples(ATOMS, ATOMS)) | st.just(())


@st.composite
def choices(draw):
    drawn, values = draw(st.lists(VALUES, min_size=1, max_size=5)), []
    for value in drawn:
        if value not in values:
            values.append(value)
    return Choice(values, ordered=draw(st.booleans()))


def single():
    return st.sampled_from([Uniform(0.3, 0.3), LogUniform(1e-3, 1e-3), IntUniform(4, 4), IntUniform(4, 4, log=True)])


PARAMETERS = st.one_of(uniforms(), log_uniforms(), integers(), lattices(), multiples(), normals(), choices(), single())
NAMES = st.text("abcxyz_", min_size=1, max_size=3)


@st.composite
def spaces(draw):
    parameters = draw(st.dictionaries(NAMES, PARAMETERS, max_size=5))
    owners = [name for name, p in parameters.items() if isinstance(p, Choice | IntUniform)]
    for name in sorted(parameters)[1:]:  # hangs on one that stands before it, so there is no circle
        before = [owner for owner in owners if owner < name]
        if before and draw(st.booleans()):
            of = draw(st.sampled_from(before))
            owner = parameters[of]
            if parameters[name].static and not owner.static:
                continue
            wanted = owner.value(draw(st.floats(0, 1)))
            if isinstance(owner, IntUniform) and owner.step == 1:
                wanted = range(wanted, owner.high + 1)
            parameters[name] = replace(
                parameters[name],
                when={of: draw(st.sampled_from([wanted, [wanted]])) if not isinstance(wanted, range) else wanted},
            )
    return Space(**parameters, fixed=draw(ATOMS))


SPACES = spaces()


@given(SPACES, st.data())
@settings(max_examples=100)
def test_points_and_configs_map_to_each_other_exactly(space, data):
    unit = np.asarray([data.draw(st.floats(0, 1, width=32)) for _ in range(space.dim)], np.float32)
    config = space.config(unit)
    point = space.unit(config)
    assert point.dtype == np.float32
    assert space.config(point) == config
    np.testing.assert_array_equal(space.unit(space.config(point)), point)
    for i, (name, parameter) in enumerate(space.parameters.items()):
        continuous = parameter.cells() is None and isinstance(parameter, Uniform | LogUniform)
        if continuous and name in config:
            assert point[i] == np.float32(np.rint(np.float64(unit[i]) * 2**24) / 2**24)


@given(SPACES)
def test_json_gives_back_an_equal_space(space):
    again = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert hash(again) == hash(space)
    assert repr(again) == repr(space)


@given(SPACES, st.data())
@settings(max_examples=100)
def test_a_config_goes_through_a_ledger_exactly(space, data):
    points = np.asarray([[data.draw(st.floats(0, 1)) for _ in range(space.dim)] for _ in range(3)])
    configs = [space.given(config) for config in space.configs(points)]
    stored = asked(Trials.of(Trial(i, config) for i, config in enumerate(configs)))
    packed = {name: unpack(pack(name, column)) for name, column in stored.items()}
    read = trials_of(packed).configs()
    assert [repr(sorted(config.items())) for config in read] == [repr(sorted(config.items())) for config in configs]


@given(SPACES, st.randoms(use_true_random=False))
def test_the_order_of_keywords_changes_nothing(space, random):
    entries = [*(space.parameters | space.fixed).items()]
    random.shuffle(entries)
    again = Space(**dict(entries))
    assert again == space
    assert json.dumps(again.to_json()) == json.dumps(space.to_json())
    assert (again.names, list(again.fixed)) == (space.names, list(space.fixed))


def test_spaces_are_equal_only_where_their_values_are_the_same():
    same, other = (
        [Space(a=Choice([1, 2])), Space(a=Choice([1, 2]))],
        [Space(a=Choice([1.0, 2])), Space(a=Choice([True, 2]))],
    )
    assert same[0] == same[1]
    assert hash(same[0]) == hash(same[1])
    assert all(same[0] != space for space in other)
    assert Space(a=Uniform(0, 1)) == Space(a=Uniform(0.0, 1.0))


@given(PARAMETERS)
def test_the_ends_of_the_cube_are_the_ends_of_the_range(parameter):
    ends = (parameter.value(0.0), parameter.value(1.0))
    if isinstance(parameter, Choice):
        assert ends == (parameter.values[0], parameter.values[-1])
    elif isinstance(parameter, Normal):
        np.testing.assert_allclose(ends, parameter.bounds(), atol=1e-9 * parameter.sd)
    else:
        assert ends == (parameter.low, parameter.high)


@pytest.mark.parametrize(("low", "high"), [(None, None), (-1.0, None), (None, 3.0), (0.5, 2.5)])
def test_normal_is_the_truncated_distribution(low, high):
    mean, sd = 1.0, 2.0
    reach = 5.4 if None in (low, high) else 0.0
    a = -reach if low is None else (low - mean) / sd
    b = reach if high is None else (high - mean) / sd
    right = stats.truncnorm(a, b, loc=mean, scale=sd)
    parameter = Normal(mean, sd, low=low, high=high)
    units = np.linspace(0.01, 0.99, 25)
    np.testing.assert_allclose([parameter.value(u) for u in units], right.ppf(units), atol=1e-5)
    np.testing.assert_allclose([parameter.unit(v) for v in right.ppf(units)], units, atol=1e-6)


def test_a_step_gives_round_values_each_its_share():
    assert [Uniform(0.0, 0.5, step=0.1).value(u) for u in (0.0, 0.2, 0.35, 0.99)] == [0.0, 0.1, 0.2, 0.5]
    assert [IntUniform(16, 64, step=16).value(u) for u in (0.0, 0.26, 0.6, 1.0)] == [16, 32, 48, 64]
    counts = np.bincount([IntUniform(3, 9, step=3).value(u) for u in np.linspace(0, 1, 3001)])[[3, 6, 9]]
    assert np.ptp(counts) <= 1


def test_a_range_of_one_value_and_a_space_of_constants_have_one_point():
    space = Space(lr=LogUniform(0.1, 0.1), n=IntUniform(3, 3), width=32)
    assert space.configs([[0.0, 1.0], [0.7, 0.2]]) == [{"lr": 0.1, "n": 3, "width": 32}] * 2
    assert len(space.points(10)) == 1
    assert Space(width=32).config([0.4]) == {"width": 32}
    assert Space(width=32).unit({"width": 32}).tolist() == [0.5]
    assert len(Space(width=32).points(1)) == 1


def test_a_value_is_kept_exactly_and_one_outside_is_refused():
    space = Space(lr=LogUniform(1e-8, 1.0), dropout=Uniform(0.0, 0.5), n=IntUniform(1, 9), k=Choice([8, None]))
    config = {"lr": 3e-4, "dropout": np.float32(0.25), "n": 4.0, "k": 8.0}
    assert repr(space.given(config)) == "{'dropout': 0.25, 'k': 8, 'lr': 0.0003, 'n': 4}"
    for name, value in (("lr", 0.0), ("lr", -5e-7), ("lr", 0.99e-8), ("lr", 1.0001), ("dropout", -1e-9), ("n", 9.5)):
        with pytest.raises(ValueError, match=f"expected a.* in .*, got {value}"):
            space.unit(config | {name: value})
    as_float32 = float(np.float32(1e-8))  # a bound that went through float32: below it, and still it
    assert as_float32 < 1e-8
    assert space.given(config | {"lr": as_float32})["lr"] == as_float32


def test_conditions_take_several_values_and_follow_one_another():
    space = Space(
        optimizer=Choice(["sgd", "adam", "adamw"]),
        beta=Uniform(0.8, 0.99, when={"optimizer": ["adam", "adamw"]}),
        decay=LogUniform(1e-4, 1.0, when={"optimizer": "adamw"}),
        nesterov=Choice([False, True], when={"optimizer": "sgd"}),
        damping=Uniform(0, 1, when={"nesterov": False}),
    )
    names = {space.config(point)["optimizer"]: set() for point in np.random.default_rng(0).random((64, 5))}
    for config in space.configs(np.random.default_rng(0).random((64, 5))):
        names[config["optimizer"]] |= set(config)
        assert ("damping" in config) == (config.get("nesterov") is False)
    assert names["adam"] == {"optimizer", "beta"}
    assert names["adamw"] == {"optimizer", "beta", "decay"}
    assert names["sgd"] == {"optimizer", "nesterov", "damping"}
    assert len(space.groups()) == 4  # adam, adamw, sgd with nesterov and without
    with pytest.raises(ValueError, match="expected the parameters optimizer, got optimizer, beta"):
        Space(optimizer=Choice(["sgd", "adam"]), beta=Uniform(0, 1, when={"optimizer": "adam"})).unit(
            {"optimizer": "sgd", "beta": 0.5}
        )


def test_what_hangs_on_an_integer_is_data_of_one_program():
    space = Space(layers=IntUniform(1, 4), third=LogUniform(1e-2, 1.0, when={"layers": range(3, 5)}))
    few, many = space.config([0.0, 0.3]), space.config([1.0, 0.3])
    assert (set(few), set(many)) == ({"layers"}, {"layers", "third"})
    assert len(space.groups()) == 1
    traced = space.traced([few, many])
    np.testing.assert_array_equal(traced["third"], np.float32([0.1, many["third"]]))  # the middle: 10 ** -1


def test_where_forbids_configs_and_tells_spaces_apart():
    fits, other = (lambda c: c["width"] % c["heads"] == 0), (lambda c: c["width"] > c["heads"])
    parameters = {"width": IntUniform(8, 64, step=8), "heads": Choice([1, 3, 8])}
    space = Space(where=fits, **parameters)
    assert space.allows({"width": 24, "heads": 3})
    assert not space.allows({"width": 32, "heads": 3})
    assert space.to_json() == Space([fits], **parameters).to_json()
    assert space.to_json() != Space(where=other, **parameters).to_json()
    assert Space.from_json(space.to_json()) == Space(**parameters)
    with pytest.raises(ValueError, match="where: expected functions that let configs pass"):
        Space(where=lambda c: c["width"] > 64, **parameters)


def test_a_group_is_left_out_that_where_forbids_wholly():
    parameters = {
        "width": Choice([16, 24]),
        "heads": Choice([2, 3]),
        "nesterov": Choice([True, False], when={"heads": 3}),
        "lr": LogUniform(1e-4, 1.0),
        "layers": 2,
    }

    def groups(*where):
        return {(g["width"], g["heads"], g.get("nesterov")) for g in Space(where, **parameters).groups()}

    every = {(w, h, n) for w in (16, 24) for h, n in ((2, None), (3, True), (3, False))}
    assert groups() == every
    assert groups(lambda c: c["width"] % c["heads"] == 0) == every - {(16, 3, True), (16, 3, False)}
    assert groups(lambda c: c.get("nesterov", False) or c["layers"] > 2) == {(16, 3, True), (24, 3, True)}
    assert groups(lambda c: c["width"] > 16 and c["lr"] < 0.1) == {(24, h, n) for w, h, n in every if w == 24}
    # which read a traced value, or what only a whole config has, before they could tell
    for undecided in (
        lambda c: c["lr"] < 0.1 and c["width"] > 16,
        lambda c: c.get("lr", 1.0) < 0.01,
        lambda c: sum(v == 16 for v in c.values()) == 0,
        lambda c: "lr" not in c or c["lr"] < 0.01,
        lambda c: dict(c)["width"] > 16,
        lambda c: (c | {})["width"] > 16,
    ):
        assert groups(undecided) == every


def test_an_ordered_choice_has_ends_and_goes_on_beyond_them():
    assert Choice([1, 2, 3]).ends() is None
    widths = Choice([32, 64, 128], ordered=True)
    assert widths.ends() == (1 / 6, 5 / 6)
    assert widths.widened(1).values == (32, 64, 128, 256)
    assert widths.widened(-1).values == (16, 32, 64, 128)
    assert Choice([0.1, 0.2, 0.3], ordered=True).widened(1).values == pytest.approx((0.1, 0.2, 0.3, 0.4))
    with pytest.raises(ValueError, match="expected a list of numbers in an order"):
        Choice(["small", "large"], ordered=True).widened(1)


def test_a_space_names_the_parameter_that_it_cannot_widen():
    space = Space(size=Choice(["small", "large"], ordered=True), lr=Uniform(0, 1))
    with pytest.raises(
        ValueError, match=r"^edges size: expected a list of numbers in an order, .* more values by hand$"
    ):
        space.widened({"lr": 1, "size": 1})


def test_a_bound_of_a_normal_is_an_end_where_the_distribution_reaches_it():
    assert Normal(0, 1, low=-1, high=2).ends() == (0.0, 1.0)
    assert Normal(0, 1, low=-1).ends() is None
    assert Normal(0, 1, low=-1, high=9).ends() is None  # no value beyond 5.4 is proposed, whatever the bound


def test_log_uniform_gives_every_decade_the_same_share():
    space = Space(lr=LogUniform(1e-6, 1e-2))
    drawn = [c["lr"] for c in space.configs(np.linspace(0, 1, 4001, dtype=np.float32)[:, None])]
    counts, _ = np.histogram(np.log10(drawn), bins=[-6, -5, -4, -3, -2])
    assert np.ptp(counts) <= 1


@pytest.mark.parametrize("log", [False, True])
def test_integers_have_cells_of_their_own(log):
    space = Space(n=IntUniform(1, 8, log=log))
    counts = np.bincount([c["n"] for c in space.configs(np.linspace(0, 1, 8001, dtype=np.float32)[:, None])])[1:]
    assert len(counts) == 8
    expected = np.diff(np.log(np.arange(1, 10) - 0.5)) if log else np.ones(8)
    np.testing.assert_allclose(counts / counts.sum(), expected / expected.sum(), atol=2e-3)


def test_static_choices_make_groups_and_the_rest_is_data():
    space = Space(
        width=Choice([16, 32]),
        optimizer=Choice(["sgd", "adam"]),
        lr=LogUniform(1e-4, 1.0),
        momentum=Uniform(0.5, 0.99, when={"optimizer": "sgd"}),
        layers=3,
    )
    groups = space.groups()
    assert [space.static(g) for g in groups] == [
        {"layers": 3, "width": w, "optimizer": o} for o in ("sgd", "adam") for w in (16, 32)
    ]
    for group in groups:
        names = {"lr", "momentum"} if group["optimizer"] == "sgd" else {"lr"}
        assert set(space.traced([group])) == names
        assert ("momentum" in group) == (group["optimizer"] == "sgd")
    assert space.traced([groups[0]])["lr"].dtype == np.float32
    assert space.unit({"width": 16, "optimizer": "adam", "lr": 0.01, "layers": 3})[1] == 0.5


def test_a_choice_of_numbers_may_stay_data():
    space = Space(batch=Choice([1, 2, 4], static=False), lr=Uniform(0, 1))
    assert len(space.groups()) == 1
    assert space.traced(space.configs(np.asarray([[0.9, 0.5], [0.1, 0.5]])))["batch"].tolist() == [4, 1]


BAD = {
    "reversed range": (lambda: Uniform(1.0, 0.0), "expected low <= high, got low=1, high=0"),
    "log range with zero": (lambda: LogUniform(0.0, 1.0), "LogUniform: expected low > 0"),
    "infinite bound": (lambda: Uniform(0.0, float("inf")), "Uniform high: expected a finite number, got inf"),
    "a bound that is no number": (lambda: Uniform("0", 1), "Uniform low: expected a number, got '0'"),
    "an integer range of floats": (lambda: IntUniform(1.5, 3), "IntUniform low: expected an integer, got 1.5"),
    "log integers from zero": (lambda: IntUniform(0, 3, log=True), "expected low >= 1 with log=True, got low=0"),
    "half a character": (
        lambda: Space(**{"lr\ud800": Uniform(0, 1)}),
        r"expected a name of Unicode's characters, got 'lr.ud800'",
    ),
    "no choices": (lambda: Choice([]), "expected at least one value, got none"),
    "a string of choices": (lambda: Choice("ab"), "expected a list of values, got 'ab'"),
    "the same choice twice": (lambda: Choice([1, 1]), "expected distinct values"),
    "data choices of words": (lambda: Choice(["a"], static=False), "expected a number, got 'a'"),
    "an empty space": (lambda: Space(), "expected at least one parameter"),
    "values that are equal": (lambda: Choice([8, 8.0]), "expected distinct values, .* 8 and 8.0 are equal"),
    "true and one": (lambda: Choice([1, True]), "of which 1 and True are equal in Python"),
    "a step beyond": (lambda: Uniform(0.0, 1.0, step=0.3), "a whole number of steps from low to high"),
    "an integer step beyond": (lambda: IntUniform(0, 10, step=3), "a whole number of steps from low to high"),
    "between steps": (lambda: Space(a=Uniform(0, 1, step=0.5)).unit({"a": 0.3}), "a whole number of steps, got 0.3"),
    "a log step": (lambda: IntUniform(1, 9, log=True, step=2), "expected no step with log=True"),
    "a negative deviation": (lambda: Normal(0.0, -1.0), "Normal sd: expected a positive number"),
    "nothing of a distribution": (lambda: Normal(0.0, 1.0, low=9.0, high=10.0), "a ten-thousandth of the dist"),
    "a circle": (
        lambda: Space(a=Choice([1, 2], when={"b": 1}), b=Choice([1, 2], when={"a": 1})),
        "expected when= not to go in a circle, got a -> b -> a",
    ),
    "a condition on no value": (
        lambda: Space(a=Uniform(0, 1, when={"b": ["x", "z"]}), b=Choice(["x", "y"])),
        "Space a when= b: .*expected one of .*, got 'z'",
    ),
    "a static one on an integer": (
        lambda: Space(a=Choice([1, 2], when={"n": 3}), n=IntUniform(1, 4)),
        "expected when= of a static parameter to name static ones, got 'n'",
    ),
    "a range as a tuple": (lambda: Space(lr=(1e-4, 1.0)), "Space lr: expected Choice, Uniform, LogUniform"),
    "a condition on nothing": (
        lambda: Space(a=Uniform(0, 1, when={"b": 1})),
        "expected when= to name a static Choice, an IntUniform or a fixed value, got 'b'",
    ),
    "a value outside": (lambda: Space(a=Uniform(0, 1)).unit({"a": 2.0}), r"expected a value in \[0, 1\], got 2.0"),
    "an unknown parameter": (lambda: Space(a=Uniform(0, 1)).unit({"a": 0.5, "b": 1}), "expected the parameters a"),
    "a point outside": (lambda: Space(a=Uniform(0, 1)).config([1.5]), r"expected values in \[0, 1\], got \[1.5\]"),
    "a point of another shape": (lambda: Space(a=Uniform(0, 1)).config([0.5, 0.5]), r"expected shape \(1,\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_line(name):
    make, message = BAD[name]
    with pytest.raises(ValueError, match=message) as raised:
        make()
    assert "\n" not in str(raised.value)
