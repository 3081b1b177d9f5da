"""28 x 28 grey images as the PNG files that libpng writes by default, as TFDS stores them through TensorFlow.

With the reference zlib the bytes are the same; with another one (zlib-ng) they may differ and hold the same image.
PNG specification: https://www.w3.org/TR/png-3/ (9 filtering, 10 compression).
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

SIDE = 28
_IMAGE_HEADER = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
_ZLIB_HEADER = b"\x28\x91"  # a window of 1024, the least that holds an image; level 6
_DEFLATE_WINDOW = -11  # what libpng gives an image of this size; negative: the header is ours
_MEMORY = 9  # as TensorFlow builds libpng; the size of the hash table shows in the bytes


def encode(images: np.ndarray) -> list[bytes]:
    """Encode images uint8[N, 28, 28] as N PNG files."""
    kind, filtered = _filter(images.astype(np.int16))
    lines = np.concatenate([kind[..., None].astype(np.uint8), filtered], axis=-1)
    return [_file(line.tobytes()) for line in lines]


def _filter(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the filter of each line, [N, 28], and the lines so filtered, uint8[N, 28, 28]: the least sum wins."""
    padded = np.pad(x, ((0, 0), (1, 0), (1, 0)))
    left, up, corner = padded[:, 1:, :-1], padded[:, :-1, 1:], padded[:, :-1, :-1]
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, np.where(to_up <= to_corner, up, corner))
    candidates = np.stack([x, x - left, x - up, x - (left + up) // 2, x - paeth]).astype(np.uint8)
    magnitudes = np.minimum(candidates, -candidates).sum(axis=-1, dtype=np.int32)  # as signed bytes
    kind = magnitudes.argmin(axis=0)
    return kind, np.take_along_axis(candidates, kind[None, ..., None], axis=0)[0]


def _file(lines: bytes) -> bytes:
    deflate = zlib.compressobj(6, zlib.DEFLATED, _DEFLATE_WINDOW, _MEMORY, zlib.Z_FILTERED)
    data = _ZLIB_HEADER + deflate.compress(lines) + deflate.flush() + struct.pack(">I", zlib.adler32(lines))
    chunks = [(b"IHDR", _IMAGE_HEADER), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
