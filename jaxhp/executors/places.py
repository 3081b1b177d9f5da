"""Where the files of a members' store lie: in a folder, or wherever fsspec finds them.

A name shows whole contents alone: a folder gets a temporary file that is renamed, an object store one put.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

from jaxhp.store.files import located
from jaxhp.values import Error

LEFT = re.compile(r"\.(.+)\.[0-9a-f]{16}\.jaxhp-tmp")  # by a writer that was killed
_AT_ONCE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "r2", "memory"})
_TRIES = 10  # at a folder that others remove because it is empty
Piece = bytes | memoryview


class Place(Protocol):
    """Files by their names, each of two parts: a folder, and a file in it."""

    def read(self, name: str) -> bytearray:
        """Return a content; FileNotFoundError where there is none."""
        ...

    def write(self, name: str, pieces: Sequence[Piece]) -> None:
        """Put a content under a name, in the place of what is there."""
        ...

    def names(self) -> Iterator[str]:
        """Yield all names, others' too."""
        ...

    def remove(self, names: Sequence[str]) -> None:
        """Remove contents, which may be gone already, and the folders that are empty then."""
        ...


class Folder:
    """Files in a folder of this machine, or of a network file system. No link is followed."""

    def __init__(self, root: Path):
        self._root = root

    def open(self, name: str) -> io.BufferedReader:
        """Open a content to read; FileNotFoundError where there is none."""
        with _missing(errno.ELOOP, errno.ESTALE):
            number = os.open(self._path(name), os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        return os.fdopen(number, "rb")

    def read(self, name: str) -> bytearray:
        """See `Place.read`."""
        with _missing(errno.ESTALE), self.open(name) as file:
            content = bytearray(os.fstat(file.fileno()).st_size)
            file.readinto(content)
        return content

    def write(self, name: str, pieces: Sequence[Piece]) -> None:
        """See `Place.write`."""
        path = self._path(name)
        for tries in range(_TRIES):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _replace(path, pieces)
                return
            except FileNotFoundError:
                if tries == _TRIES - 1:
                    raise

    def names(self) -> Iterator[str]:
        """See `Place.names`."""
        for folder in _entries(self._root):
            if folder.is_dir(follow_symlinks=False):
                yield from (f"{folder.name}/{file.name}" for file in _entries(folder.path))

    def remove(self, names: Sequence[str]) -> None:
        """See `Place.remove`."""
        for name in names:
            with contextlib.suppress(NotADirectoryError):
                self._path(name).unlink(missing_ok=True)
        for folder in [*{self._path(name).parent for name in names}, self._root]:
            with contextlib.suppress(OSError):  # not empty, or gone
                folder.rmdir()

    def _path(self, name: str) -> Path:
        folder, file = name.split("/")
        if (self._root / folder).is_symlink():
            raise Error(f"members: expected a folder, got {self._root / folder}, a link")
        return self._root / folder / file


class Fsspec:
    """Files at a URL."""

    def __init__(self, url: str):
        try:
            self._fs, self._root = import_module("fsspec.core").url_to_fs(url)
        except ImportError as error:
            missing = "fsspec" if (error.name or "").startswith("fsspec") else str(error).splitlines()[0]
            raise Error(f"members: expected what reaches {url} to be installed, missing: {missing}") from None
        except ValueError as error:  # a protocol that fsspec does not know
            raise Error(f"members: expected a folder or a URL that fsspec knows, got {url}: {error}") from None
        known = self._fs.protocol
        self._puts_at_once = bool(_AT_ONCE & ({known} if isinstance(known, str) else {*known}))

    def read(self, name: str) -> bytearray:
        """See `Place.read`."""
        return bytearray(self._fs.cat_file(self._path(name)))

    def write(self, name: str, pieces: Sequence[Piece]) -> None:
        """See `Place.write`."""
        folder, file, content = *self._path(name).rsplit("/", 1), b"".join(pieces)
        self._fs.makedirs(folder, exist_ok=True)
        if self._puts_at_once:
            self._fs.pipe_file(f"{folder}/{file}", content)
            return
        temporary = f"{folder}/{_temporary(file)}"
        try:
            self._fs.pipe_file(temporary, content)
            try:
                self._fs.mv(temporary, f"{folder}/{file}")
            except OSError:  # where a file is moved to no name that is taken
                self._fs.rm_file(f"{folder}/{file}")
                self._fs.mv(temporary, f"{folder}/{file}")
        except BaseException:
            with contextlib.suppress(Exception):
                self._fs.rm_file(temporary)
            raise

    def names(self) -> Iterator[str]:
        """See `Place.names`."""
        self._fs.invalidate_cache()
        for path in self._fs.find(self._root, maxdepth=2):
            name = "/".join(path.rsplit("/", 2)[1:])
            if path == self._path(name):
                yield name

    def remove(self, names: Sequence[str]) -> None:
        """See `Place.remove`."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(self._path(name))
        self._fs.invalidate_cache()
        for folder in [*{self._path(name).rsplit("/", 1)[0] for name in names}, self._root]:
            with contextlib.suppress(Exception):  # gone, or no folders there at all
                if not self._fs.ls(folder, detail=False):
                    self._fs.rmdir(folder)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


def place_of(url: str) -> Place:
    """Return the place that a folder's path or a URL means.

    Raises:
      Error: it means none, or a package for it is missing.
    """
    scheme, colon, rest = url.partition("://")
    if not colon:
        return Folder(located(url, "members"))
    return Folder(located(rest, "members")) if scheme == "file" else Fsspec(url)


@contextlib.contextmanager
def _missing(*numbers: int) -> Iterator[None]:
    """Some errors as FileNotFoundError: a link in the place of a file, and a file that another machine replaced."""
    try:
        yield
    except OSError as error:
        if error.errno in numbers:
            raise FileNotFoundError(errno.ENOENT, error.strerror) from error
        raise


def _replace(path: Path, pieces: Sequence[Piece]) -> None:
    temporary = path.with_name(_temporary(path.name))
    try:
        with open(temporary, "xb") as file:
            for piece in pieces:
                file.write(piece)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _temporary(file: str) -> str:
    return f".{file}.{secrets.token_hex(8)}.jaxhp-tmp"


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
