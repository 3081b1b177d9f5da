"""Files by which processes talk that share a folder and nothing else; see `mailbox.py`.

Files are replaced as a whole. Whether somebody lives is told by whether a number has grown in a while of the reader's
own clock, so that no two clocks are compared. What is looked at again and again has one name that always exists: a
network file system may go on for a minute to deny a file that it has denied before.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

from jaxhp.values import Json

BEAT_S = 1.0
PATIENCE_S = 30.0  # without a beat: then somebody is gone
IDLE_S = 600.0  # that a worker waits for somebody who calls


def pause(waited: float) -> float:
    """Return how long to wait before looking again, of somebody who has waited for so long: about a hundredth more."""
    return min(max(waited / 100, 0.01), BEAT_S / 2)


def listed(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder))]
    except FileNotFoundError:
        return []


def read(path: Path) -> Json:
    """Return what a file says; nothing where there is none, or a file system shows only a part of it."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    except OSError as error:
        if error.errno != errno.ESTALE:  # of a network file system: it is being replaced
            raise
        return {}


def write(path: Path, record: Json) -> None:
    replace(path, json.dumps(record).encode())


def replace(path: Path, content: bytes) -> None:
    """Replace a file as a whole for all who read it. It need not outlast a power cut: workers do not either."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    os.replace(beside, path)
