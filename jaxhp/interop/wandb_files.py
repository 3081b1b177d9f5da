"""What W&B has written of runs on this machine, offline or online: `wandb/*run-*-<id>/run-<id>.wandb`.

Such a file is W&B's own head of seven bytes and LevelDB's log format: blocks of 32 KiB, in which pieces of records
stand behind a checksum, a length and whether a piece is whole, the first, a middle or the last one. W&B for Python
writes them and has no reader of its own. What a kill cut off at the end is no record.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_HEAD = b":W&B"
_START = 7  # bytes of the file's head, which count as the first block's
_BLOCK = 32768
_PIECE = struct.Struct("<IHB")  # of a piece: checksum, length, kind
_WHOLE, _LAST = 1, 4


class Logged(NamedTuple):
    """What one file has of a run."""

    last: dict[str, int]  # name to the last step with a value of it
    summary: dict[str, str]  # name to its value as JSON
    ended: bool  # whether the run was finished


def logged(path: Path) -> Logged:
    """Read what a file of a run comes to."""
    found = Logged({}, {}, False)
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            for item in record.history.item:
                name = key_of(item)
                found.last[name] = max(record.history.step.num, found.last.get(name, 0))
        found.summary.update({key_of(item): item.value_json for item in record.summary.update})
        found = found._replace(ended=found.ended or record.HasField("exit"))
    return found


def key_of(item: Any) -> str:
    """Return the name of a value in a record."""
    return item.key or "/".join(item.nested_key)


def records(path: Path) -> Iterator[Any]:
    """Give the records of a file, as W&B's protocol has them."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

    return (Record.FromString(content) for content in _records(path.read_bytes()))


def _records(content: bytes) -> Iterator[bytes]:
    place, parts = _START if content.startswith(_HEAD) else len(content), b""
    while place + _PIECE.size <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < _PIECE.size:  # too little for a piece
            place += left
            continue
        _, length, kind = _PIECE.unpack_from(content, place)
        place += _PIECE.size
        if place + length > len(content):
            return
        parts += content[place : place + length]
        place += length
        if kind in (_WHOLE, _LAST):
            yield parts
            parts = b""
