"""Members in training, saved on the way, so that a killed search goes on from there.

A checkpoint is written by Orbax under a new name, and named in the ledger once it is on disk; from then on it counts.
The ledger keeps the SHA-256 of its content: one that is damaged is passed over for the one before. Whatever lies
in the folder, has a name as Orbax and this module give, and is not in the ledger is what a kill left behind, and is
removed; nothing else is.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from jaxhp.data.fingerprints import fingerprint
from jaxhp.store.files import sync
from jaxhp.store.ledger import BEST, Ledger, Saved
from jaxhp.values import Error

_NAME = re.compile(r"\d{5}-\d{6}")
_LEFT = re.compile(_NAME.pattern + r"(\.orbax-checkpoint-tmp.*)?")
_KEEP = 2  # the newest, and one to fall back on
Record = Mapping[str, Mapping[str, np.ndarray]]
T = TypeVar("T")


class Checkpoints:
    """Those of one run directory.

    Attributes:
      seconds: how long the last one took to write.
      bytes: how large it was.
    """

    def __init__(self, ledger: Ledger):
        assert ledger.directory is not None
        self._ledger = ledger
        self._folder = (ledger.directory / "checkpoints").absolute()
        self.seconds, self.bytes = 0.5, 2**26
        named = {saved.name for saved in ledger.checkpoints()}
        if self._folder.is_symlink():
            raise Error(f"{self._folder}: expected a folder, got a link to {os.readlink(self._folder)}")
        if self._folder.is_dir():
            for entry in self._folder.iterdir():
                if entry.name not in named and _LEFT.fullmatch(entry.name):
                    _remove(entry)

    def cost(self, size: int) -> float:
        """Return the seconds that a checkpoint of so many bytes may take."""
        return self.seconds * max(1.0, size / self.bytes)

    def save(self, number: int, record: Record, *, complete: bool) -> None:
        """Put a tree of arrays on disk, name it in the ledger, and remove older ones.

        Args:
          complete: whether the round is finished; otherwise it is under way.

        Raises:
          OSError: it cannot be written. Nothing is left of it, and the ones before stay.
          Error: the directory is no longer this search's.
        """
        from orbax.checkpoint import v1 as ocp  # slow to import, and not needed by searches that end soon

        self._ledger.check_held()
        before = self._ledger.checkpoints()
        seq = before[0].seq + 1 if before else 1
        began = time.perf_counter()
        saved = Saved(seq, number, complete, f"{number:05d}-{seq:06d}", fingerprint(record))
        path = self._folder / saved.name
        try:
            self._folder.mkdir(exist_ok=True)
            ocp.save(str(path), record)
            for folder, _, names in os.walk(path):
                for name in names:
                    sync(Path(folder, name))
                sync(Path(folder))
            sync(self._folder)
        except Exception as error:  # Orbax and TensorStore raise a dozen kinds
            self._ledger.check_held()
            for entry in self._folder.glob(f"{saved.name}*"):
                _remove(entry)
            raise OSError(f"{path}: the checkpoint cannot be written: {str(error).splitlines()[0]}") from error
        self.seconds, self.bytes = time.perf_counter() - began, sum(a.nbytes for a in _arrays(record))
        self._ledger.stored("checkpoint written")
        self._ledger.name_checkpoint(saved)
        rounds = [s for s in (saved, *before) if s.round != BEST]
        stay = [*rounds[:_KEEP], *[s for s in rounds if s.complete][:1]]
        for old in before:
            if old not in stay and (old.round != BEST or number == BEST):
                self._drop(old)

    def load(self, number: int, *, complete: bool, decode: Callable[[Record], T]) -> Iterator[T]:
        """Yield what `decode` makes of a round's usable checkpoints, the newest first.

        A damaged one, or one that `decode` does not take, is noted in the ledger and dropped.
        """
        wanted = [saved for saved in self._ledger.checkpoints() if (saved.round, saved.complete) == (number, complete)]
        for saved in wanted:
            from orbax.checkpoint import v1 as ocp  # slow to import, and seldom needed

            path = self._folder / saved.name
            try:
                if not _NAME.fullmatch(saved.name) or path.is_symlink():
                    raise Error("not a checkpoint's name")
                record = ocp.load(str(path))
                if fingerprint(record) != saved.sha256:
                    raise Error("its content is not what was saved")
                found = decode(record)
            except Exception as error:  # whatever a damaged file makes a reader raise
                self._ledger.event("warning", text=f"checkpoint {saved.name} is damaged: {str(error).splitlines()[:1]}")
                self._drop(saved)
                continue
            yield found

    def clear(self) -> None:
        """Remove all but those of the best: the search is finished."""
        for saved in self._ledger.checkpoints():
            if saved.round != BEST:
                self._drop(saved)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _drop(self, saved: Saved) -> None:
        self._ledger.forget_checkpoint(saved)
        if _NAME.fullmatch(saved.name):
            _remove(self._folder / saved.name)
        self._ledger.stored("checkpoint removed")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _arrays(record: Record) -> list[np.ndarray]:
    return [array for entry in record.values() for array in entry.values()]
