"""A search made larger in its ledger: what was measured stays, what was made of it is to be made anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxhp.store.digest import manifest_digest
from jaxhp.store.ledger import BEST, Ledger
from jaxhp.trials import STATUSES, Status
from jaxhp.values import Json

LIMIT = "limit"  # the fact that says after how many rounds a search was ended
MANIFEST, BEFORE = "manifest in full", "manifest before"  # facts of a ledger whose manifest.json may not be written yet
REFIT = "refit"  # the fact that is the digest of the network that was trained on all data
_MADE = ("choice", "finished", "network", REFIT, LIMIT)  # facts that are made of all trials


def enlarge(ledger: Ledger, manifest: Json, text: str, epochs: Sequence[int], budget: int) -> None:
    """Record that a ledger is of a larger search from now on, all at once.

    The finals of the smaller one, their parts and what was chosen by them are forgotten. What was measured of trials
    stays; those of a round that now trains longer count as they are until the round is finished again.

    Args:
      manifest: of the larger search.
      text: the same, as it is going to be written.
      epochs: of every round that has begun.
      budget: of a full training.
    """
    rounds = ledger.rounds()
    complete, stopped = (STATUSES.index(status) for status in (Status.COMPLETE, Status.STOPPED))
    with ledger.transaction():
        ledger.set_meta(BEFORE, ledger.meta("manifest") or "")
        ledger.set_meta("manifest", manifest_digest(manifest))
        ledger.set_meta(MANIFEST, text)
        for name in _MADE:
            ledger.write("DELETE FROM meta WHERE name = ?", (name,))
        ledger.write("DELETE FROM rounds WHERE round < 0", ())
        ledger.write("DELETE FROM columns WHERE round NOT IN (SELECT round FROM rounds)", ())
        ledger.write("DELETE FROM checkpoints WHERE round >= ? AND round != ?", (len(rounds), BEST))
        for asked, upto in zip(rounds, epochs, strict=True):
            if asked.scores is not None and asked.epochs < budget:
                status = ledger.part(asked.number)["status"]
                given_up = np.where(status == complete, stopped, status).astype("|u1")
                ledger.put_columns(asked.number, {"status": given_up})
            ledger.put_round(asked.number, upto, asked.wall_s if upto == asked.epochs else None)
        ledger.event("extended", rounds=len(epochs), budget=budget)
    ledger.stored("search extended")
