"""Static choices and conditional parameters: a search moves its trials to the group that does better."""

import jax
import numpy as np
import optax
import pytest
from small_search import task

import jaxhp as hp
from jaxhp.strategies import GP, TPE, Auto, Narrowing
from jaxhp.trials import Proposal

SPACE = hp.Space(
    kind=hp.Choice(["plain", "fast"]),
    momentum=hp.Uniform(0.0, 0.9, when={"kind": "fast"}),
    layers=hp.IntUniform(1, 5),
)
LEARNERS = [
    pytest.param(Narrowing(32, 4), id="cem"),
    pytest.param(Auto(32, 4), id="auto", marks=pytest.mark.slow),
    pytest.param(TPE(32, 4), id="tpe", marks=pytest.mark.slow),
    pytest.param(GP(32, 4), id="gp", marks=pytest.mark.slow),
]


def worth(config):
    """Only the group "fast" can be good, with momentum about 0.6 and 4 layers."""
    return (1 - abs(config["momentum"] - 0.6) if config["kind"] == "fast" else 0) - abs(config["layers"] - 4) / 4


@pytest.mark.parametrize("strategy", LEARNERS)
def test_trials_go_to_the_better_group(strategy):
    state = strategy.init(jax.random.key(0), SPACE.dim)
    shares, last = [], []
    for _ in range(4):
        proposal, state = strategy.ask(state)
        configs = SPACE.configs(np.asarray(proposal.unit))
        unit = np.stack([SPACE.unit(config) for config in configs])  # 0.5 where a parameter does not exist
        last = [worth(config) for config in configs]
        state = strategy.tell(state, Proposal(unit, proposal.parent, 1), np.asarray(last, np.float32))
        shares.append(np.mean([config["kind"] == "fast" for config in configs]))
    assert shares[0] == pytest.approx(0.5, abs=0.1)
    assert shares[-1] >= 0.75
    assert np.max(last) > 0.7


@pytest.mark.slow
def test_a_search_moves_between_its_groups():
    def optimizer(config):
        return optax.sgd(config["lr"], config.get("momentum", 0.0))

    def of(static):
        scale = 3.0 if static["kind"] == "plain" else 0.3  # a start from which nothing good is reached
        return task(scale, optimizer=optimizer)

    space = hp.Space(
        kind=hp.Choice(["plain", "fast"]),
        lr=hp.LogUniform(1e-3, 0.1),
        momentum=hp.Uniform(0.0, 0.9, when={"kind": "fast"}),
    )
    search = hp.Search(of, space, Narrowing(population=12, rounds=3), epochs=3, tile=2, finals=None)
    result = search.run(quiet=True)
    fast = [[t.config["kind"] == "fast" for t in result.trials if t.round == number] for number in range(3)]
    assert result.best.config["kind"] == "fast"
    assert np.mean(fast[0]) == pytest.approx(0.5, abs=0.1)
    assert np.mean(fast[2]) >= 0.75
    assert all(("momentum" in t.config) == (t.config["kind"] == "fast") for t in result.trials)
