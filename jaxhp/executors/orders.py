"""What passes between a search and its workers: small records, plain data alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxhp.engine.work import Cost, Outcome
from jaxhp.executors.units import Apart, Raw, Unit
from jaxhp.values import Config, Json

Name = tuple[int, int]  # a member's trial and epochs


class Address(NamedTuple):
    """Where a worker finds a search.

    Attributes:
      store: the URL of the members' store.
      recipe: the digest of its `Recipe` there.
      environment: that results are to be of, see `jaxhp.engine.environment`.
      folder: that modules are imported from which lie beside the script that runs the search; "" for none.
    """

    store: str
    recipe: str
    environment: Json
    folder: str = ""


class Train(NamedTuple):
    """Train a unit, or a part of it.

    Attributes:
      unit: what to train.
      put: whether its members are to be in the members' store afterwards.
      raw: whether what is known of each member is wanted.
      seconds: after about so many of training its members are put into the store, and the rest is left.
      given: leaves [R, ...] of members that rows continue and that are in no store.
    """

    unit: Unit
    put: bool
    raw: bool
    seconds: float
    given: Mapping[Name, list[np.ndarray]]


class Hand(NamedTuple):
    """Put members into the store."""

    key: str
    names: list[Name]
    replicates: tuple[int, ...]


class Show(NamedTuple):
    """Return what `init` made, as it is evaluated, of a member's first replicate."""

    key: str
    name: Name
    replicates: tuple[int, ...]
    config: Config
    given: list[np.ndarray] | None = None  # its leaves, where they are in no store


class Rank(NamedTuple):
    """Return the outcomes of rows whose replicates were trained apart: their means have the bits of such a device."""

    rows: Sequence[Apart]


class Who(NamedTuple):
    """A process that answers."""

    host: str
    pid: int
    devices: int

    def __str__(self) -> str:
        return f"{self.host} process {self.pid}"


class Trained(NamedTuple):
    """What came of a unit.

    Attributes:
      reached: the epoch that all its rows have come to.
      outcome: at the unit's end; None before.
      raw: of each member, where it was asked for.
      score, curve: f32[K] and f32[K, E, 2, M], so far.
      digests: of the members that were put into the store, by name.
      brought, sent: bytes that came from the store, and went there.
      cost: of this call.
      who: has trained it, and holds its members for a while.
      differing: members that somebody else had put before, with other bits; they stay as they were put.
    """

    reached: int
    outcome: Outcome | None
    raw: Raw | None
    score: np.ndarray
    curve: np.ndarray
    digests: dict[Name, str]
    brought: int
    sent: int
    cost: Cost
    who: Who
    differing: tuple[Name, ...] = ()


class Answered(NamedTuple):
    """What came of `Hand` (digests by name), `Show` (leaves of variables) and `Rank` (outcomes)."""

    value: Any
    sent: int
    who: Who


class Refused(NamedTuple):
    """The process must not train here.

    Attributes:
      why: it would make other bits, or does not see the members' store.
      who: it is.
      blind: whether it is the latter.
    """

    why: str
    who: Who
    blind: bool = False


class Missing(NamedTuple):
    """Members are neither in the worker's memory, nor whole in the store."""

    names: list[Name]
    why: str
    who: Who


class Failed(NamedTuple):
    """A function of the task raised, or the memory is too small; as bytes, since an error may not survive a pickle."""

    error: bytes
    text: str
    who: Who


Order = Train | Hand | Show | Rank
Answer = Trained | Answered | Refused | Missing | Failed
