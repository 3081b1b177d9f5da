"""Files of a run directory: replaced as a whole and on disk before anything leans on them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from jaxhp.values import Error, Json


def sync(path: Path) -> None:
    """Waits until a file's content, or a directory's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file as a whole: a reader sees the old one or the new one, also after a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.unlink(missing_ok=True)  # what a kill left behind; a link would lead out of the directory
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, f"{path}: cannot be written: {error.strerror}") from error
    sync(path.parent)


def write_json(path: Path, record: Json) -> None:
    """Replaces a JSON file as a whole."""
    write_bytes(path, (json.dumps(record, indent=2, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Json:
    """The JSON object in a file of a run directory.

    Raises:
      FileNotFoundError: there is none.
      Error: it is not a JSON object.
    """
    try:
        record = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path.parent}: expected a run directory, found no {path.name} in it") from None
    except (ValueError, OSError, RecursionError) as error:
        raise Error(f"{path}: expected a JSON object, got: {error}") from error
    if not isinstance(record, dict):
        raise Error(f"{path}: expected a JSON object, got {type(record).__name__}")
    return record
