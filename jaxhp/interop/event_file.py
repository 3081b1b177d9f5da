"""TensorBoard's event file: records that are appended one after another, and read back.

A record is its length, a checksum of that, an `Event`, and a checksum of it. What a kill cut off at the end is no
record; TensorBoard passes it over, and it is taken away before anything is appended.
"""

# protobuf makes its classes when it is imported
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from pathlib import Path

from tensorboardX.proto import event_pb2, summary_pb2
from tensorboardX.record_writer import masked_crc32c

NAME = "events.out.tfevents.jaxhp"  # TensorBoard knows its files by the third word
_HEAD = 12  # bytes: u64 the length, u32 its checksum
_TAIL = 4  # bytes: u32 the checksum of the content

Entry = tuple[int, summary_pb2.Summary]  # a step, and what is said of it


def append(folder: Path, entries: Iterable[Entry]) -> None:
    """Append to the event file of a folder, which is made where there is none."""
    now, path = time.time(), folder / NAME
    events = [event_pb2.Event(wall_time=now, step=step, summary=summary) for step, summary in entries]
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        events.insert(0, event_pb2.Event(wall_time=now, file_version="brain.Event:2"))
    with open(path, "ab") as file:
        file.write(b"".join(map(_record, events)))


def last_steps(folder: Path) -> dict[str, int]:
    """Return the last step of each tag in a folder's event file, and cut off what is no whole record at its end."""
    path = folder / NAME
    if not path.is_file():
        return {}
    content, place, found = path.read_bytes(), 0, {}
    while place + _HEAD <= len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        end = place + _HEAD + length + _TAIL
        body = content[place + _HEAD : end - _TAIL]
        if end > len(content) or struct.unpack_from("<I", content, end - _TAIL)[0] != masked_crc32c(body):
            break
        event = event_pb2.Event.FromString(body)
        found |= {value.tag: max(event.step, found.get(value.tag, 0)) for value in event.summary.value}
        place = end
    if place < len(content):
        with open(path, "r+b") as file:
            file.truncate(place)
    return found


def _record(event: event_pb2.Event) -> bytes:
    body = event.SerializeToString()
    head = struct.pack("<Q", len(body))
    return head + struct.pack("<I", masked_crc32c(head)) + body + struct.pack("<I", masked_crc32c(body))
