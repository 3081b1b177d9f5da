"""A new kind of parameter is one registered class: spaces, JSON, importance, edges and axes take it as it is."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optax
import pytest
from scipy import stats
from small_search import search, task

import jaxhp as hp
from jaxhp.interop import export
from jaxhp.report.page import write_report
from jaxhp.report.scales import axis, parameter_axis
from jaxhp.selection.edges import best_at_edges
from jaxhp.selection.importance import importance
from jaxhp.space import Parameter, Space, register
from jaxhp.space.parameters import check_inside, check_range
from jaxhp.trials import Status, Trial

POINTS = [0.0, 0.01, 0.25, 0.5, 0.81, 1.0]


@register
@dataclass(frozen=True)
class Beta(Parameter):
    """Search a float in [low, high], placed in it by a beta distribution with shapes a and 1: P(X < x) = x**a."""

    low: float
    high: float
    a: float = 2.0
    when: Mapping[str, Any] | None = None

    def __post_init__(self):
        check_range("Beta", self.low, self.high)

    def value(self, u: float) -> float:
        return self.low + u ** (1 / self.a) * (self.high - self.low)

    def unit(self, value: Any) -> float:
        return ((check_inside(self, value, self.low, self.high) - self.low) / (self.high - self.low)) ** self.a

    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    def widened(self, side: int) -> Parameter:
        step = (self.high - self.low) / 2
        return replace(self, high=self.high + step) if side > 0 else replace(self, low=self.low - step)


@register
@dataclass(frozen=True)
class Power(Parameter):
    """Search a power of two among 2**0 .. 2**most, each alike: whole numbers on a log scale, in cells."""

    most: int
    static: bool = False
    when: Mapping[str, Any] | None = None

    @property
    def dtype(self):
        return np.int32

    @property
    def scale(self):
        return "log"

    def value(self, u: float) -> int:
        return 2 ** min(int(u * (self.most + 1)), self.most)

    def unit(self, value: Any) -> float:
        return (math.log2(value) + 0.5) / (self.most + 1)

    def bounds(self) -> tuple[float, float]:
        return 1, 2**self.most

    def widened(self, side: int) -> Parameter:
        return replace(self, most=self.most + 1) if side > 0 else self

    def cells(self, most: int | None = None) -> np.ndarray | None:
        return None if most is not None and self.most >= most else (np.arange(self.most + 1) + 0.5) / (self.most + 1)


SPACE = Space(rate=Beta(1.0, 5.0), noise=hp.Uniform(0.0, 1.0))


def trials(space: Space, unit: np.ndarray, scores: np.ndarray) -> list[Trial]:
    return [
        Trial(i, config, status=Status.COMPLETE if np.isfinite(score) else Status.DIVERGED, epochs=1, score=score)
        for i, (config, score) in enumerate(zip(space.configs(unit), scores.tolist(), strict=True))
    ]


def test_points_become_quantiles_and_come_back():
    values = [SPACE.config([0.5, u])["rate"] for u in POINTS]
    snapped = np.rint(np.asarray(POINTS) * 2**24) / 2**24
    np.testing.assert_allclose(values, stats.beta.ppf(snapped, 2, 1, loc=1.0, scale=4.0), rtol=1e-12)
    back = [SPACE.unit({"rate": value, "noise": 0.5})[1] for value in values]
    np.testing.assert_array_equal(back, snapped.astype(np.float32))
    with pytest.raises(ValueError, match=r"Beta\(1, 5\): expected a value in \[1, 5\], got 6"):
        SPACE.unit({"rate": 6, "noise": 0.5})


def test_json_gives_back_an_equal_space():
    space = Space(rate=Beta(1.0, 5.0, a=3.0), width=Power(3, static=True), noise=Beta(0, 1, when={"width": 4}))
    record = json.loads(json.dumps(space.to_json()))
    assert record["parameters"]["rate"] == {"kind": "Beta", "low": 1.0, "high": 5.0, "a": 3.0}
    assert Space.from_json(record) == space
    assert repr(Space.from_json(record)) == (
        "Space(noise=Beta(0, 1, when={'width': 4}), rate=Beta(1, 5, a=3), width=Power(3, static=True))"
    )
    record["parameters"]["rate"]["kind"] = "Gamma"
    with pytest.raises(ValueError, match="expected the JSON of a Space"):
        Space.from_json(record)


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="got another Beta"):
        register(type("Beta", (Parameter,), {}))


def test_a_static_one_makes_groups():
    groups = Space(width=Power(3, static=True), rate=Beta(1.0, 5.0), noise=Beta(0, 1, when={"width": 4})).groups()
    assert [group["width"] for group in groups] == [1, 2, 4, 8]
    assert ["noise" in group for group in groups] == [False, False, True, False]
    traced = Space(width=Power(3)).traced([{"width": 8}])["width"]
    assert (traced.dtype, traced.tolist()) == (np.int32, [8])


def test_importance_is_over_the_unit_interval():
    unit = np.random.default_rng(0).random((256, 2)).astype(np.float32)
    edge = stats.beta.ppf(0.8, 2, 1, loc=1.0, scale=4.0)
    scores = np.asarray([c["rate"] - c["noise"] for c in SPACE.configs(unit)])
    found = importance(SPACE, trials(SPACE, unit, scores), "max", "accuracy")
    # a sum of independent terms: each has its variance's part, of the beta distribution and of the uniform one
    variances = np.asarray([stats.beta.var(2, 1, scale=4.0), stats.uniform.var()])
    for name, share in zip(("rate", "noise"), variances / variances.sum(), strict=True):
        assert found.score[name].share == pytest.approx(share, abs=0.03)
    marginal = found.marginal("rate")
    np.testing.assert_allclose(marginal.values[0], stats.beta.ppf(np.linspace(0, 1, 25), 2, 1, loc=1.0, scale=4.0))
    middle = slice(4, None)  # below, a square root is too steep for polynomials
    np.testing.assert_allclose(marginal.mean[middle], np.asarray(marginal.values[0])[middle] - 0.5, atol=0.1)

    diverging = np.where(unit[:, 1] > 0.8, np.nan, scores)
    edges = importance(SPACE, trials(SPACE, unit, diverging), "max", "accuracy").edges
    assert set(edges) == {"rate"}
    assert edges["rate"].value == pytest.approx(edge, abs=0.03)


def test_importance_takes_each_cell_of_a_few():
    space = Space(width=Power(3), rate=Beta(1.0, 5.0))
    unit = np.random.default_rng(0).random((200, 2)).astype(np.float32)
    scores = np.asarray([float(config["width"]) for config in space.configs(unit)])
    found = importance(space, trials(space, unit, scores), "max", "accuracy")
    assert found.score["width"].share == pytest.approx(1, abs=0.02)
    assert found.marginal("width").values == ([1, 2, 4, 8],)
    np.testing.assert_allclose(found.marginal("width").mean, [1, 2, 4, 8], atol=0.2)


@pytest.mark.parametrize(("mode", "side"), [("max", 1), ("min", -1)])
def test_the_best_at_an_end_is_reported(mode, side):
    space = Space(rate=Beta(1.0, 5.0), width=Power(3))
    unit = np.stack(np.meshgrid(np.linspace(0, 1, 21), [0.1, 0.4, 0.6, 0.9]), -1).reshape(-1, 2).astype(np.float32)
    by_rate = np.asarray([config["rate"] for config in space.configs(unit)])
    by_width = np.asarray([float(config["width"]) for config in space.configs(unit)])
    assert best_at_edges(space, trials(space, unit, by_rate + by_width), mode) == {"rate": side, "width": side}
    assert best_at_edges(space, trials(space, unit, -((by_rate - 4.0) ** 2)), "max") == {}
    wider = space.widened({"rate": 1, "width": 1})
    assert repr(wider) == "Space(rate=Beta(1, 7), width=Power(4))"
    assert wider.config([1.0, 1.0]) == {"rate": 7.0, "width": 16}


def test_axes_are_over_the_range():
    assert parameter_axis(Beta(1.0, 5.0)) == axis(1.0, 5.0)
    assert float(parameter_axis(Beta(1.0, 5.0)).at(2.0)) == 0.25
    width = parameter_axis(Power(3))
    assert (width.low, width.high, width.log) == (1.0, 8.0, True)
    assert [label for _, label in width.ticks] == ["1", "2", "5"]


@pytest.mark.slow
def test_a_search_over_it_is_loaded_reported_and_exported(tmp_path):
    optuna = pytest.importorskip("optuna")
    pytest.importorskip("tensorboardX")
    space = Space(lr=Beta(0.0, 0.03), power=Power(3))
    of = task(optimizer=lambda config: optax.sgd(config["lr"] * config["power"]))
    found = search("random", space=space, task=of, tile=16).run(tmp_path / "run", quiet=True)
    loaded = hp.Result.load(tmp_path / "run")
    assert loaded.space == space
    assert [trial.config for trial in loaded.trials] == [trial.config for trial in found.trials]
    assert "lr" in loaded.summary()
    assert "Beta(0, 0.03)" in write_report(tmp_path / "run").read_text()
    export(tmp_path / "run", "tensorboard")
    place, _, _ = export(tmp_path / "run", "optuna")
    storage = optuna.storages.RDBStorage(f"sqlite:///{place}")
    told = optuna.load_study(study_name="run", storage=storage).trials[0].distributions
    storage.remove_session()
    storage.engine.dispose()
    kinds = optuna.distributions
    assert told == {"lr": kinds.FloatDistribution(0.0, 0.03), "power": kinds.IntDistribution(1, 8, log=True)}
