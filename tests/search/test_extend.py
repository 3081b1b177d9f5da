"""A search that is extended is the one asked for at once: trial for trial, bit for bit, also after a kill anywhere."""

import json
import shutil

import numpy as np
import pytest
from crash import POINTS, Killed, dying
from small_search import Shared, search, shared, task

import jaxhp as hp
from jaxhp.cli import main
from jaxhp.report.result import Result
from jaxhp.store.files import read_json
from jaxhp.store.ledger import BEST, Ledger
from jaxhp.trials import Status

FINALS = hp.Finals(2, 4)
# what was asked for, and what more
EXTENSIONS = {
    "random": (hp.Random(population=9, rounds=2), 9, {"rounds": 1}),
    "sobol": (hp.Sobol(population=9, rounds=2), 9, {"rounds": 1}),
    "narrowing": (hp.Narrowing(population=9, rounds=2), 9, {"rounds": 1}),
    "halving": (hp.Halving(population=9, eta=3), 9, {"rounds": 1}),
    "random, longer": (hp.Random(population=9, rounds=2), 6, {"epochs": 9}),
    "sobol, longer and more": (hp.Sobol(population=9, rounds=1), 6, {"rounds": 1, "epochs": 9}),
    "halving, longer": (hp.Halving(population=9, eta=3), 3, {"epochs": 9}),
}


def asked(kind: str) -> tuple[hp.Search, hp.Search, dict]:
    """A search, the larger one, and what makes the one the other."""
    strategy, epochs, more = EXTENSIONS[kind]
    small = shared("random", strategy=strategy, epochs=epochs, finals=FINALS)
    large = small.changed(
        epochs=more.get("epochs", epochs), rounds=strategy.rounds + more.get("rounds", 0)
    )
    return small, large, more


_digests: dict[str, str] = {}


def at_once(kind: str) -> str:
    if kind not in _digests:
        _digests[kind] = asked(kind)[1].run(quiet=True).digest
    return _digests[kind]


QUICK = ("sobol", "narrowing", "halving, longer", "random, longer")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind not in QUICK)) for kind in EXTENSIONS]
)
def test_an_extended_search_is_the_one_asked_for_at_once(kind, tmp_path, capsys):
    small, large, more = asked(kind)
    first = small.run(tmp_path, quiet=True, checkpoint_s=0)
    result = small.extend(tmp_path, checkpoint_s=0, **more)
    assert result.digest == at_once(kind) == Result.load(tmp_path).digest
    assert "asks for other points" not in capsys.readouterr().out
    assert result.estimate.n_tried == len(result.trials) >= len(first.trials)
    assert result.trials.budget.tolist() == [large.epochs] * len(result.trials)
    again = [small.run(tmp_path, quiet=True), large.run(tmp_path, quiet=True), small.extend(tmp_path, quiet=True, **more)]
    assert {r.digest for r in again} == {result.digest}
    with Ledger(tmp_path) as ledger:
        assert [e["budget"] for e in ledger.events("extended")] == [large.epochs]
    assert np.array_equal(result.best.params["w"], large.run(quiet=True).best.params["w"])
