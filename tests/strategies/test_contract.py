"""Every strategy against the contract."""

import pytest

from jaxhp.strategies import GP, PBT, TPE, Auto, Grid, Halving, Hyperband, Narrowing, Pareto, Random, Sobol, testing

STRATEGIES = {
    "random": Random(population=12, rounds=2),
    "sobol": Sobol(population=12, rounds=2),
    "narrowing": Narrowing(population=12, rounds=3),
    "narrowing_box": Narrowing(population=12, rounds=3, shape="box"),
    "halving": Halving(population=9, rounds=2, inner=Narrowing()),
    "tpe": TPE(population=12, rounds=3),
    "pareto": Pareto(population=12, rounds=2, inner=TPE()),
    "auto": Auto(population=12, rounds=2),  # a GP, and a forest with it
    "pbt": PBT(population=12, generations=4),
}


MORE = {
    "halving_refill": Halving(population=9, refill=True, inner=TPE()),
    "hyperband": Hyperband(population=9),
    "sobol_many": Sobol(population=300, rounds=2),
    "narrowing_one_point": Narrowing(population=1, rounds=3),
    "tpe_one_point": TPE(population=1, rounds=3),
    "gp_one_point": GP(population=1, rounds=3),
    "narrowing_batch_larger_than_history": Narrowing(population=(2, 40)),
    "tpe_batch_larger_than_history": TPE(population=(2, 40)),
    "gp_batch_larger_than_history": GP(population=(2, 40)),
    "pareto_one_point": Pareto(population=1, rounds=3, inner=TPE()),
    "pareto_batch_larger_than_history": Pareto(population=(2, 40)),
    "halving_one_point": Halving(population=1),
    "pbt_one_point": PBT(population=1, generations=3),
}


# they compile what no other check needs; Random and Sobol are quick under jit
DEAR = {(name, testing.check_jit) for name in STRATEGIES if name not in ("random", "sobol")}
DEAR |= {("tpe", testing.check_beyond)}


@pytest.mark.parametrize(
    ("strategy", "check"),
    [
        pytest.param(strategy, check, id=f"{name}-{check.__name__}", marks=[pytest.mark.slow] * ((name, check) in DEAR))
        for name, strategy in STRATEGIES.items()
        if name not in ("auto", "pareto")  # they are slow, and checked below
        for check in testing.CHECKS
    ],
)
def test_contract(strategy, check):
    check(strategy, dim=2)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", MORE.values(), ids=MORE.keys())
def test_valid_whatever_the_shapes(strategy):
    testing.check_diverged(strategy, dim=2)


@pytest.mark.slow
def test_valid_where_rounds_differ():
    testing.check_diverged(GP(population=(30, 7, 50)), dim=2)


@pytest.mark.slow
@pytest.mark.parametrize("check", testing.CHECKS)
def test_contract_of_a_smaller_forest(check):
    check(GP(population=12, rounds=3, trees=8), dim=2)


@pytest.mark.slow
@pytest.mark.parametrize("check", testing.CHECKS)
@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())
def test_contract_in_few_and_many_dimensions(strategy, check):
    for dim in (1, 20):
        check(strategy, dim)


def test_contract_of_a_grid():
    testing.check_strategy(Grid(shape=(5, 3)), dims=(2,), keyed=False)
    testing.check_strategy(Grid(shape=(1,)), dims=(1,), keyed=False)
