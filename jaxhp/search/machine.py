"""What a search runs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxhp.engine.runtime import Device


class Machine(NamedTuple):
    """What a search runs on. Same seed, same bits on one jaxlib, one kind of device (a CPU's instruction set is part of
    its kind) and one tile; on nothing else here does a number depend."""

    devices: Sequence[Device]
    memory: int | None  # bytes that may be filled; None: what is free
    tiles: Mapping[str, int] = {}  # by `Spec.key`, those that the directory was begun with
