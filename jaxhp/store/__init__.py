"""Keeps what must outlive a process: the ledger, checkpoints and the chosen network."""
