"""An experiment file and what a person changed of it on the command line: enough to make its search again."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType

from jaxhp.engine.runtime import setup
from jaxhp.search.search import Search
from jaxhp.store.files import located
from jaxhp.values import Error, Json


@dataclass(frozen=True)
class Experiment:
    """A `Search` in a Python file, with changes.

    Attributes:
      file: the absolute path of the file.
      name: of the `Search` in it.
      changes: arguments of the search or fields of its strategy, to other values.
      smoke: whether to make it tiny: at most 8 trials a round, two rounds, two epochs, two finalists; it learns from
        no earlier trials, whose budget is another.
    """

    file: str
    name: str
    changes: Json
    smoke: bool

    @classmethod
    def parse(cls, place: str, seed: int | None, changes: Sequence[str], smoke: bool) -> Experiment:
        """Make one of what stands on a command line.

        Args:
          place: `FILE[:NAME]`.
          seed: another one; None: that of the file.
          changes: each `KEY=VALUE`, whose value is JSON or a plain string.
          smoke: see `Experiment`.

        Raises:
          Error: a change is no `KEY=VALUE`.

        >>> Experiment.parse("book.py:narrow", 3, ["epochs=5", "shape=box"], False).changes
        {'epochs': 5, 'shape': 'box', 'seed': 3}
        """
        file, colon, name = place.rpartition(":")
        if not colon or not name.isidentifier():
            file, name = place, "search"
        parsed: Json = {}
        for change in changes:
            key, equals, value = change.partition("=")
            if not equals or not key.isidentifier():
                raise Error(f"--set: expected KEY=VALUE, got {change!r}")
            try:
                parsed[key] = json.loads(value)
            except ValueError:
                parsed[key] = value
        if seed is not None:
            parsed["seed"] = seed
        return cls(str(located(file, "FILE")), name, parsed, smoke)

    @classmethod
    def from_json(cls, record: object) -> Experiment:
        """Make the experiment that `to_json` describes; raises Error for anything else."""
        kinds: dict[str, type] = {"file": str, "name": str, "changes": dict, "smoke": bool}
        if not isinstance(record, Mapping) or {k: type(v) for k, v in record.items()} != kinds:
            raise Error(f"experiment: expected the record of an experiment file, got {json.dumps(record)[:200]}")
        return cls(**record)

    def to_json(self) -> Json:
        """Make a JSON object from which `from_json` makes an equal experiment."""
        return asdict(self)

    def __str__(self) -> str:
        changed = "".join(f" {key}={json.dumps(value)}" for key, value in self.changes.items())
        return f"{self.file}:{self.name}{changed}{' (smoke)' if self.smoke else ''}"

    def search(self) -> Search:
        """Run the file and return its search, changed.

        Raises:
          FileNotFoundError: there is no such file.
          Error: it has no `Search` of that name, or a change names no argument.
        """
        found = getattr(_load(self.file), self.name, None)
        if not isinstance(found, Search):
            raise Error(f"{self.file}: expected a jaxhp.Search named {self.name!r}, got {type(found).__name__}")
        if self.smoke:
            found = found.changed(**_smaller(found))
        return found.changed(**self.changes) if self.changes else found


def _load(file: str) -> ModuleType:
    """Run a Python file as a module, under a name that tells files of the same stem apart."""
    if not Path(file).is_file():
        raise FileNotFoundError(f"{file}: expected an experiment, a Python file; found none")
    name = f"jaxhp_experiment_{hashlib.sha256(file.encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise Error(f"{file}: expected an experiment, a Python file ending in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    setup()  # before the file can start JAX
    sys.path.insert(0, str(Path(file).parent))  # as for a script: it may import its neighbours
    try:
        spec.loader.exec_module(module)
    except (Error, OSError, MemoryError) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        if lines:
            error.add_note(f"at {file}, line {lines[-1]}")
        raise
    finally:
        sys.path.remove(str(Path(file).parent))
    return module


def _smaller(search: Search) -> dict[str, object]:
    """Return changes that make a search tiny."""
    changes: dict[str, object] = {"epochs": min(search.epochs, 2), "include": search.include[:8], "warm_start": ()}
    if search.finals is not None:
        changes["finals"] = replace(search.finals, top=2, replicates=4)
    for name, most in (("population", 8), ("rounds", 2), ("generations", 2)):
        if name in search.settings:
            value = getattr(search.strategy, name)
            changes[name] = min(max(value) if isinstance(value, tuple) else value, most)
    return changes
