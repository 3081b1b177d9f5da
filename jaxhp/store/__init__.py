"""The run directory: the ledger, the manifest and the files beside it."""

from jaxhp.store.ledger import Ledger, Round, Saved

__all__ = ["Ledger", "Round", "Saved"]
