"""Files: of a run directory, and those that a person asks for. Replaced as a whole, and on disk before anything leans
on them. What is written on the way is named `.<name>.jaxhp-tmp`, and no other file is ever removed."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

from jaxhp.values import Error, Json

STDOUT = "-"  # as the name of a file to write: standard output
_SHOWN = 60  # characters of a path that is too long


def located(place: str | Path, argument: str = "dir") -> Path:
    """Return the absolute path that a person means by `place`, with `~` for a home directory.

    Raises:
      Error: it is no path, too long, or leads by way of a link to nothing.
    """
    try:
        path = Path(place).expanduser().absolute()
        reason = _why_not(path)
    except (TypeError, ValueError, RuntimeError) as error:  # no path, a null byte in it, no such home
        raise Error(f"{argument}: expected a path, got {_short(repr(place))}: {error}") from None
    if reason:
        raise Error(f"{argument}: expected a path that leads somewhere, got {_short(str(place))}: {reason}")
    return path


def _why_not(path: Path) -> str:
    """Why a path can lead nowhere, or nothing."""
    try:
        os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            return str(error.strerror)
        if path.is_symlink():
            return f"a link to {os.readlink(path)}, which does not exist"
    return ""


def _short(text: str) -> str:
    if len(text) <= 3 * _SHOWN:
        return text
    return f"{text[:_SHOWN]}... ({len(text)} characters)"


def sync(path: Path) -> None:
    """Waits until a file's content, or a directory's list of names, is on disk."""
    windows = os.name == "nt"
    if windows and path.is_dir():  # which it does not open
        return
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def beside(path: Path) -> Path:
    """Return the name under which a file or folder is made before it takes its place."""
    return path.with_name(f".{path.name}.jaxhp-tmp")


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file as a whole: a reader sees the old one or the new one, also after a power cut."""
    temporary = beside(path)
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


def write_out(place: str | Path, content: bytes) -> None:
    """Writes what a person asked for: to standard output (`-`), through a device or FIFO, or a file as a whole.

    Raises:
      Error: it is a link to a file, which is neither replaced nor followed.
      OSError: it cannot be written.
    """
    if str(place) == STDOUT:
        sys.stdout.flush()
        out = getattr(sys.stdout, "buffer", None)
        if out is None:
            raise Error("out: expected a file, got -, standard output, which takes no bytes here")
        out.write(content)
        out.flush()
        return
    path = located(place, "out")
    if path.exists() and not path.is_file() and not path.is_dir():
        try:
            with open(path, "wb") as file:
                file.write(content)
        except OSError as error:
            raise OSError(error.errno, f"{path}: cannot be written: {error.strerror}") from error
        return
    refuse_link(path)
    write_bytes(path, content)


def refuse_link(path: Path) -> None:
    """Raises Error where a link stands in the place of a file or folder that is to be written."""
    if path.is_symlink():
        raise Error(f"out: expected a file or folder, got {path}, a link to {os.readlink(path)}")


def default_place(directory: str | Path, name: str) -> Path:
    """Return where in a run directory something is written unless a person says otherwise.

    Raises:
      Error: a link, a device or a FIFO is there: of a directory that came from somewhere else.
    """
    path = located(directory) / name
    refuse_link(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise Error(f"out: expected a file or folder, got {path}, which is neither")
    return path


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
        if path.exists() and not path.is_file():  # a device or FIFO never ends
            raise Error("something that is no file")
        record = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path.parent}: expected a run directory, found no {path.name} in it") from None
    except (ValueError, OSError, RecursionError) as error:
        raise Error(f"{path}: expected a JSON object, got: {error}") from error
    if not isinstance(record, dict):
        raise Error(f"{path}: expected a JSON object, got {type(record).__name__}")
    return record
