"""Spaces: exact round trips through the unit cube, JSON, groups of static choices, and one-line errors."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxhp.space import Choice, IntUniform, LogUniform, Space, Uniform

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
def choices(draw):
    values = draw(st.lists(st.one_of(st.integers(-9, 9), st.booleans(), st.text(max_size=3)), min_size=1, max_size=5))
    unique = list({(type(v), v): v for v in values}.values())
    return Choice(unique)


PARAMETERS = st.one_of(uniforms(), log_uniforms(), integers(), choices())
SPACES = st.lists(PARAMETERS, min_size=1, max_size=6).map(
    lambda parameters: Space(**{f"p{i}": p for i, p in enumerate(parameters)}, fixed=3)
)


@given(SPACES, st.data())
@settings(max_examples=200)
def test_points_and_configs_map_to_each_other_exactly(space, data):
    unit = np.asarray([data.draw(st.floats(0, 1, width=32)) for _ in range(space.dim)], np.float32)
    config = space.config(unit)
    point = space.unit(config)
    assert point.dtype == np.float32
    assert space.config(point) == config
    np.testing.assert_array_equal(space.unit(space.config(point)), point)
    for i, parameter in enumerate(space.parameters.values()):
        if isinstance(parameter, (Uniform, LogUniform)):
            assert point[i] == np.float32(np.rint(np.float64(unit[i]) * 2**24) / 2**24)


@given(SPACES)
def test_json_gives_back_an_equal_space(space):
    again = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert hash(again) == hash(space)
    assert repr(again) == repr(space)


@given(PARAMETERS)
def test_the_ends_of_the_cube_are_the_ends_of_the_range(parameter):
    if isinstance(parameter, Choice):
        assert (parameter.value(0.0), parameter.value(1.0)) == (parameter.values[0], parameter.values[-1])
    else:
        assert (parameter.value(0.0), parameter.value(1.0)) == (parameter.low, parameter.high)


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
        {"layers": 3, "width": w, "optimizer": o} for w in (16, 32) for o in ("sgd", "adam")
    ]
    for group in groups:
        names = {"lr", "momentum"} if group["optimizer"] == "sgd" else {"lr"}
        assert set(space.traced([group])) == names
        assert ("momentum" in group) == (group["optimizer"] == "sgd")
    assert space.traced([groups[0]])["lr"].dtype == np.float32
    assert space.unit({"width": 16, "optimizer": "adam", "lr": 0.01, "layers": 3})[3] == 0.5


def test_a_choice_of_numbers_may_stay_data():
    space = Space(batch=Choice([1, 2, 4], static=False), lr=Uniform(0, 1))
    assert len(space.groups()) == 1
    assert space.traced(space.configs(np.asarray([[0.9, 0.5], [0.1, 0.5]])))["batch"].tolist() == [4, 1]


BAD = {
    "reversed range": (lambda: Uniform(1.0, 0.0), "expected low < high, got low=1, high=0"),
    "log range with zero": (lambda: LogUniform(0.0, 1.0), "LogUniform: expected low > 0"),
    "infinite bound": (lambda: Uniform(0.0, float("inf")), "Uniform high: expected a finite number, got inf"),
    "a bound that is no number": (lambda: Uniform("0", 1), "Uniform low: expected a number, got '0'"),
    "an integer range of floats": (lambda: IntUniform(1.5, 3), "IntUniform low: expected an integer, got 1.5"),
    "log integers from zero": (lambda: IntUniform(0, 3, log=True), "expected low >= 1 with log=True, got low=0"),
    "no choices": (lambda: Choice([]), "expected at least one value, got none"),
    "a string of choices": (lambda: Choice("ab"), "expected a list of values, got 'ab'"),
    "the same choice twice": (lambda: Choice([1, 1]), "expected distinct values"),
    "data choices of words": (lambda: Choice(["a"], static=False), "expected a number, got 'a'"),
    "an empty space": (lambda: Space(), "expected at least one parameter"),
    "a range as a tuple": (lambda: Space(lr=(1e-4, 1.0)), "Space lr: expected Uniform, LogUniform"),
    "a condition on nothing": (
        lambda: Space(a=Uniform(0, 1, when={"b": 1})),
        "expected when= to name a static Choice, got 'b'",
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
