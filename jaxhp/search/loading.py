"""A run directory read by its search, which knows the task: nothing is trained and nothing written."""

from __future__ import annotations

from pathlib import Path

from jaxhp.engine.environment import differences
from jaxhp.report.found import Like
from jaxhp.report.result import Result
from jaxhp.report.retrainer import Retrainer
from jaxhp.search.manifest import recorded, refuse_other
from jaxhp.store.ledger import Ledger
from jaxhp.values import Error, Json


def load(dir: str | Path, manifest: Json, retrainer: Retrainer, like: Like) -> Result:
    """Read the result of a directory; see `Search.load`.

    Args:
      manifest: of the search.
      retrainer: what the result has the task for.
      like: gives the shapes of what `init` makes of a config.

    Raises:
      FileNotFoundError: it is not a run directory.
      Error: it holds another search, or is damaged, or has no trials yet.
    """
    with Ledger(dir) as ledger, ledger.snapshot():
        before = recorded(ledger) or {}
        refuse_other(ledger, before, manifest)
        return Result.read(ledger, before, retrainer=retrainer, like=like)


def check_finished(dir: str | Path, manifest: Json) -> None:
    """Check that a directory holds a finished run of a search.

    Args:
      manifest: of the search.

    Raises:
      Error: it holds another search, or one that is not finished.
    """
    with Ledger(dir) as ledger:
        before = recorded(ledger) or {}
        unfinished = ledger.meta("finished") is None
    named = [
        "space",
        "strategy",
        "data",
        "epochs",
        "seed",
        "replicates",
        "folds",
        "folding",
        "paired",
        "finals",
        "metric",
        "objectives",
        "epoch",
    ]
    other = differences({n: before.get(n) for n in named}, {n: manifest.get(n) for n in named})
    if other:
        raise Error(f"dir: {dir} holds another search: its {', '.join(name for name, _, _ in other)} differs")
    if unfinished:
        raise Error(f"dir: expected a finished search, got {dir}, which has not got so far; resume it first")
