"""Where workers leave trained members, and what else they share, for each other: a folder, or an fsspec URL.

A member is named by what it is: group, trial, epochs trained, replicates. So a worker that trains it again has the same
bytes for the same name: the first ones stay, and others are told from them. A name appears once its content is whole: a
folder gets a temporary file that is renamed, an object store one put. Every content stands beside its SHA-256 (a blob
is named by it) and is checked when it is read. Nothing waits for the disk: what a power cut takes is `Damaged`, and is
trained again. Only files with such names are ever removed, and no link is followed.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401, NumPy knows bfloat16 by its name from then on
import numpy as np

from jaxhp.executors.places import LEFT, Folder, Piece, place_of

_BLOBS = "blobs"
_GROUP = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]*")
_MEMBER = re.compile(r"(\d+)-(\d+)-(\d+(?:_\d+)?(?:-\d+(?:_\d+)?)*)\.member")
_BLOB = re.compile(r"[0-9a-f]{64}")
_ALIGNED = 64  # bytes, that an array begins at a multiple of


class Damaged(Exception):
    """A content is missing, or is not what was put."""


class MemberName(NamedTuple):
    """What a member is."""

    group: str  # `Spec.key`
    trial: int
    epoch: int  # epochs trained
    replicates: tuple[int, ...]


class MemberStore:
    """Members and blobs that many processes put and get at once.

    Args:
      url: a folder, which is made when something is put; or a URL such as `s3://bucket/members`, for fsspec.

    Attributes:
      bytes_written, bytes_read: by this process, so far.

    Raises:
      Error: it is neither, or a package for it is missing.
    """

    def __init__(self, url: str | Path):
        self._place = place_of(str(url))
        self.bytes_written = self.bytes_read = 0

    def put(
        self,
        group: str,
        trial: int,
        epoch: int,
        leaves: Sequence[np.ndarray],
        replicates: Sequence[int],
        *,
        anew: bool = False,
    ) -> tuple[str, str]:
        """Keep the leaves [R, ...] of a member's state, unless one is there that is whole: what was put stays.

        Args:
          anew: whether this one takes the place of whatever is there, since that is not what counts.

        Returns:
          the SHA-256 of this member, and that of the one that is there now: equal for equal members.

        Raises:
          OSError: it cannot be written. Nothing is left of it.
        """
        name = MemberName(group, int(trial), int(epoch), tuple(map(int, replicates)))
        pieces = _pieces(name, leaves)
        digest = _digest(pieces)
        if not anew:
            with suppress(Damaged):
                return digest, self._whole(name)[0]
        self._write(_file(name), [bytes.fromhex(digest), *pieces])
        return digest, digest

    def get(self, group: str, trial: int, epoch: int, replicates: Sequence[int]) -> list[np.ndarray]:
        """Return what was put.

        Raises:
          Damaged: it is not there, or something else.
        """
        return self._whole(MemberName(group, int(trial), int(epoch), tuple(map(int, replicates))))[1]

    def names(self) -> Iterator[MemberName]:
        """Yield the members that are there, in no order."""
        return (name for name in map(_name, self._place.names()) if name is not None)

    def drop(self, group: str, trial: int, epoch: int, replicates: Sequence[int]) -> None:
        """Remove a member, if it is there."""
        self._place.remove([_file(MemberName(group, int(trial), int(epoch), tuple(map(int, replicates))))])

    def clear(self) -> None:
        """Remove all members and blobs, and what killed writers left; other files stay, and so do their folders."""
        self._place.remove([name for name in self._place.names() if _is_ours(name)])

    def put_blob(self, content: bytes) -> str:
        """Keep bytes; return their SHA-256, by which they are got.

        Raises:
          OSError: they cannot be written. Nothing is left of them.
        """
        digest = hashlib.sha256(content).hexdigest()
        try:
            self._blob(digest)
        except Damaged:
            self._write(f"{_BLOBS}/{digest}", [content])
        return digest

    def get_blob(self, digest: str) -> bytes:
        """Return bytes that were put.

        Raises:
          Damaged: they are not there, or others.
        """
        return bytes(self._blob(digest))

    def open_array(self, digest: str) -> np.ndarray:
        """Return the array of a blob that is the content of a `.npy` file: read-only, from a folder memory-mapped.

        Raises:
          Damaged: it is not there, or another.
        """
        if not isinstance(self._place, Folder):
            array = np.load(io.BytesIO(self._blob(digest)), allow_pickle=False)
            array.flags.writeable = False
            return array
        try:
            file = self._place.open(f"{_BLOBS}/{digest}")
        except FileNotFoundError:
            raise Damaged(f"blob {digest}: missing") from None
        with file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise Damaged(f"blob {digest}: its content is not what was put")
            self.bytes_read += file.tell()
            return _mapped(file)

    def _whole(self, name: MemberName) -> tuple[str, list[np.ndarray]]:
        """Return the SHA-256 of a member that is there, and its leaves."""
        called = f"trial {name.trial} after {name.epoch} epochs"
        content = self._read(_file(name), called)
        body = memoryview(content)[32:]
        if hashlib.sha256(body).digest() != bytes(content[:32]):
            raise Damaged(f"{called}: its content is not what was put")
        found, leaves = _leaves(body)
        if found != name:  # a file that was renamed
            raise Damaged(f"{called}: its content is of {found}")
        return bytes(content[:32]).hex(), leaves

    def _blob(self, digest: str) -> bytearray:
        content = self._read(f"{_BLOBS}/{digest}", f"blob {digest}")
        if hashlib.sha256(content).hexdigest() != digest:
            raise Damaged(f"blob {digest}: its content is not what was put")
        return content

    def _read(self, name: str, called: str) -> bytearray:
        try:
            content = self._place.read(name)
        except FileNotFoundError:
            raise Damaged(f"{called}: missing") from None
        self.bytes_read += len(content)
        return content

    def _write(self, name: str, pieces: Sequence[Piece]) -> None:
        self._place.write(name, pieces)
        self.bytes_written += sum(map(len, pieces))


def _file(name: MemberName) -> str:
    """Return the file of a member; replicates that follow each other are written as the first and the last."""
    if not _GROUP.fullmatch(name.group) or name.group == _BLOBS:
        raise ValueError(f"expected the key of a group, got {name.group!r}")
    runs: list[list[int]] = []
    for replicate in name.replicates:
        if runs and replicate == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], replicate]
        else:
            runs.append([replicate])
    return f"{name.group}/{name.trial}-{name.epoch}-{'-'.join('_'.join(map(str, run)) for run in runs)}.member"


def _name(file: str) -> MemberName | None:
    """Return the member that a file is of, None where it is of none."""
    group, _, rest = file.partition("/")
    found = _MEMBER.fullmatch(rest)
    if not found or not _GROUP.fullmatch(group) or group == _BLOBS:
        return None
    trial, epoch, runs = found.groups()
    ends = [[*map(int, run.split("_"))] for run in runs.split("-")]
    return MemberName(group, int(trial), int(epoch), tuple(i for run in ends for i in range(run[0], run[-1] + 1)))


def _is_ours(file: str) -> bool:
    folder, _, name = file.partition("/")
    left = LEFT.fullmatch(name)
    name = left.group(1) if left else name
    return bool(_BLOB.fullmatch(name)) if folder == _BLOBS else _name(f"{folder}/{name}") is not None


def _mapped(file: io.BufferedReader) -> np.ndarray:
    """Return the array of an open `.npy` file."""
    file.seek(0)
    version: Any = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("expected an array of numbers")
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.memmap(file, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def _digest(pieces: Sequence[Piece]) -> str:
    total = hashlib.sha256()
    for piece in pieces:
        total.update(piece)
    return total.hexdigest()


def _pieces(name: MemberName, leaves: Sequence[np.ndarray]) -> list[Piece]:
    """Return a member as bytes: the length of what follows, what the arrays are as JSON, and the arrays."""
    arrays = [np.ascontiguousarray(leaf, leaf.dtype.newbyteorder("<")) for leaf in leaves]
    facts = [[leaf.dtype.name, leaf.shape] for leaf in leaves]
    header = json.dumps({"name": name, "leaves": facts}).encode()
    header += b" " * (-(32 + 8 + len(header)) % _ALIGNED)
    pieces: list[Piece] = [len(header).to_bytes(8, "little"), header]
    for array in arrays:
        pieces += [array.reshape(-1).view(np.uint8).data, bytes(-array.nbytes % _ALIGNED)]
    return pieces


def _leaves(body: memoryview) -> tuple[MemberName, list[np.ndarray]]:
    """Return what `_pieces` took apart, as views of its bytes."""
    size = int.from_bytes(body[:8], "little")
    header = json.loads(bytes(body[8 : 8 + size]))
    group, trial, epoch, replicates = header["name"]
    kinds = [(np.dtype(dtype).newbyteorder("<"), tuple(shape)) for dtype, shape in header["leaves"]]
    sizes = [int(np.prod(shape)) * dtype.itemsize for dtype, shape in kinds]
    steps = (length + -length % _ALIGNED for length in sizes)
    starts = itertools.accumulate(steps, initial=8 + size)
    leaves = [
        np.frombuffer(body[start : start + length], dtype).reshape(shape)
        for start, length, (dtype, shape) in zip(starts, sizes, kinds, strict=False)
    ]
    return MemberName(group, trial, epoch, tuple(replicates)), leaves
