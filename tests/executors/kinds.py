"""Small searches of every kind, whose digest on workers is that of one process."""

from __future__ import annotations

import numpy as np
from small_loop import LOOP
from small_search import search, task

import jaxhp as hp


def _examples(epoch: int) -> dict[str, np.ndarray]:
    x = np.random.default_rng(epoch).normal(size=(30, 4)).astype(np.float32)
    return {"x": x, "y": np.tanh(x.sum(1))}


def _of_scale(config):
    return task(scale=0.1 * config["scale"])


def search_of(kind: str) -> hp.Search:
    """Return a search by the name of its kind."""
    finals = hp.Finals(3, 6)
    match kind:
        case "folds and finals":
            return search("halving", folds=3, finals=finals)
        case "pbt":
            return search("pbt", finals=finals)
        case "best epoch":
            return search("random", epoch="best", finals=finals)
        case "groups":
            space = hp.Space(lr=hp.LogUniform(1e-3, 10.0), scale=hp.Choice([1, 3], static=True))
            return search("random", space=space, task=_of_scale)
        case "gp":
            return search(strategy=hp.GP(population=5, rounds=3))
        case "replicates":
            return search(strategy=hp.Narrowing(population=8, rounds=3), replicates=2)
        case "stream":
            return search("halving", task=task(train=hp.data.Stream(_examples)))
        case "loop":
            return search("halving", task=LOOP)
    raise ValueError(kind)


KINDS = ("folds and finals", "pbt", "best epoch", "groups", "gp", "replicates", "stream", "loop")
