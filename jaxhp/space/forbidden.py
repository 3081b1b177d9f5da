"""Which static groups a `where` forbids: what its predicates tell of a config whose traced values are not known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set

from jaxhp.values import Config, Value

Predicate = Callable[[Config], object]


class _Part(Mapping[str, Value]):
    """A config of which some names have no value yet; it remembers whether one of them was asked for."""

    def __init__(self, known: Config, unknown: Set[str]):
        self._known, self._unknown = known, unknown
        self.incomplete = False

    def __getitem__(self, name: str) -> Value:
        self._need(name in self._unknown)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        self._need(bool(self._unknown))
        return iter(self._known)

    def __len__(self) -> int:
        self._need(bool(self._unknown))
        return len(self._known)

    def _need(self, unknown: bool) -> None:
        if unknown:
            self.incomplete = True
            raise LookupError("not known of a whole group")


def forbids(predicate: Predicate, config: Config, unknown: Set[str]) -> bool:
    """Tell whether a predicate returns false for every config that differs from this one in unknown values alone.

    It is called without them. Where it asks for one, or for what only a dict has, it does not tell.

    >>> forbids(lambda c: c["width"] > 8 and c["lr"] < 1, {"width": 4, "lr": 0.1}, {"lr"})
    True
    >>> forbids(lambda c: c["lr"] > 1 and c["width"] > 8, {"width": 4, "lr": 0.1}, {"lr"})
    False
    """
    part = _Part({name: value for name, value in config.items() if name not in unknown}, unknown)
    try:
        told = not predicate(part) and not part.incomplete  # type: ignore[arg-type]
    except Exception:  # a predicate may do whatever it likes with a config
        return False
    return told and not predicate(dict(config))
