"""Bytes through a pipe: each content after its length."""

from __future__ import annotations

from typing import IO


def send(pipe: IO[bytes], content: bytes) -> None:
    """Write a content."""
    pipe.write(len(content).to_bytes(8, "little"))
    pipe.write(content)
    pipe.flush()


def received(pipe: IO[bytes]) -> bytes:
    """Read a content.

    Raises:
      EOFError: the other side has ended.
    """
    size = pipe.read(8)
    content = pipe.read(int.from_bytes(size, "little")) if len(size) == 8 else b""
    if len(size) < 8 or len(content) < int.from_bytes(size, "little"):
        raise EOFError("its pipe was closed")
    return content
