"""Strategies: what to train next."""
