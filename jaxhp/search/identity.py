"""What identifies a search, as its manifest has it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from jaxhp.data.fingerprints import fingerprint
from jaxhp.engine.environment import environment
from jaxhp.engine.runtime import Device
from jaxhp.search.manifest import FORMAT
from jaxhp.values import Json, encoded


def identity(search: Any, tiles: Sequence[int], devices: Sequence[Device]) -> Json:
    """Return the manifest of a search.

    Args:
      search: a `Search`.
      tiles: of each of its groups.
      devices: that it runs on.
    """
    return {
        "format": FORMAT,
        "space": search.space.to_json(),
        "strategy": re.sub(r" at 0x[0-9a-f]+", "", repr(search.strategy)),
        "epochs": search.epochs,
        "seed": search.seed,
        "replicates": search.replicates,
        "folds": search.groups.folds if search.groups.foldings else None,
        "paired": search.paired,
        "finals": repr(search.finals),
        "tile": tiles[0] if len(tiles) == 1 else tiles,
        **search.groups.identity(),
        "metric": search.metric,
        "mode": search.mode,
        "epoch": search.epoch if search.epoch != "last" else None,
        "include": [{n: encoded(v) for n, v in config.items()} for config in search.included.configs] or None,
        "warm_start": fingerprint(search.recalled.told) if len(search.recalled.score) else None,
        "environment": environment(list(devices)),
    }
