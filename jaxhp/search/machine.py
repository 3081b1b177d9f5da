"""What a search runs on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from jaxhp.engine.plan import Plan
from jaxhp.engine.runtime import Device
from jaxhp.engine.work import Emit, Executor
from jaxhp.values import Error, Json


class Machine(NamedTuple):
    """What a search runs on. Same seed, same bits on one jaxlib, one kind of device (a CPU's instruction set is part of
    its kind) and one tile; on nothing else here does a number depend."""

    devices: Sequence[Device]
    memory: int | None  # bytes that may be filled; None: what is free
    tiles: Mapping[str, int] = {}  # by `Spec.key`, those that the directory was begun with


class Elsewhere(Protocol):
    """Workers that train in the place of this process; `jaxhp.search.workers` has them."""

    @property
    def devices(self) -> Sequence[Device]:
        """Those of one worker."""
        ...

    @property
    def environment(self) -> Json:
        """That of each worker."""
        ...

    def planned(self, search: Any, plan: Plan) -> Plan:
        """Return the plan of one worker as that of all."""
        ...

    def remote(self, search: Any, manifest: Json, run: str, emit: Emit) -> Executor:
        """Return what trains a search there, whose directory has the id `run`."""
        ...


def workers_of(
    executor: Any, members: str | Path | None, dir: str | Path | None, say: Callable[[str], None], **known: Any
) -> AbstractContextManager[Elsewhere | None]:
    """Have workers while a block runs, None where there is no executor; imported when used, see `hired`.

    Raises:
      Error: there is none, and nobody to share members.
    """
    if executor is not None:
        return import_module("jaxhp.search.workers").hired(executor, members, dir, say, **known)
    if members is not None:
        raise Error(f"members: expected none without an executor, whose workers share them, got {str(members)!r}")
    return nullcontext()
