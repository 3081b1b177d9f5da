"""Sobol points, Owen-scrambled.

Direction numbers: Joe and Kuo, https://web.maths.unsw.edu.au/~fkuo/sobol/ (new-joe-kuo-6). Scrambling: Owen 1995,
nested uniform, with a hash of the leading bits as the random tree (Burley, https://jcgt.org/published/0009/04/01/).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int, UInt32

from jaxhp.compiling import jit
from jaxhp.strategies.history import GRID, History, stream
from jaxhp.strategies.sampler import Blind

_BITS = 24
_SCRAMBLE = 0x50B01  # the stream of the scrambling, so that it is no other draw's

# for each dimension from the second on: the primitive polynomial's bits, then the initial direction numbers
_JOE_KUO = """
3:1 7:1,3 11:1,3,1 13:1,1,1 19:1,1,3,3 25:1,3,5,13 37:1,1,5,5,17 41:1,1,5,5,5 47:1,1,7,11,19 55:1,1,5,1,1
59:1,1,1,3,11 61:1,3,5,5,31 67:1,3,3,9,7,49 91:1,1,1,15,21,21 97:1,3,1,13,27,49 103:1,1,1,15,7,5
109:1,3,1,15,13,25 115:1,1,5,5,19,61 131:1,3,7,11,23,15,103 137:1,3,7,13,13,15,69 143:1,1,3,13,7,35,63
145:1,3,5,9,1,25,53 157:1,3,1,13,9,35,107 167:1,3,1,5,27,61,31 171:1,1,5,11,19,41,61 185:1,3,5,3,3,13,69
191:1,1,7,13,1,19,1 193:1,3,7,5,13,19,59 203:1,1,3,9,25,29,41 211:1,3,5,13,23,1,55 213:1,3,7,3,13,59,17
229:1,3,1,3,5,53,69 239:1,1,5,5,23,33,13 241:1,1,7,7,1,61,123 247:1,1,7,9,13,61,49 253:1,3,3,5,3,55,33
285:1,3,1,15,31,13,49,245 299:1,3,5,15,31,59,63,97 301:1,3,1,11,11,11,77,249 333:1,3,1,11,27,43,71,9
351:1,1,7,15,21,11,81,45 355:1,3,7,3,25,31,65,79 357:1,3,1,1,19,11,3,205 361:1,1,5,9,19,21,29,157
369:1,3,7,11,1,33,89,185 391:1,3,3,3,15,9,79,71 397:1,3,7,11,15,39,119,27 425:1,1,3,1,11,31,97,225
451:1,1,1,3,23,43,57,177 463:1,3,7,7,17,17,37,71 487:1,3,1,5,27,63,123,213 501:1,1,3,5,11,43,53,133
529:1,3,5,5,29,17,47,173,479 539:1,3,3,11,3,1,109,9,69 545:1,1,1,5,17,39,23,5,343 557:1,3,1,5,25,15,31,103,499
563:1,1,1,11,11,17,63,105,183 601:1,1,5,11,9,29,97,231,363 607:1,1,5,15,19,45,41,7,383
617:1,3,7,7,31,19,83,137,221 623:1,1,1,3,23,15,111,223,83 631:1,1,5,13,31,15,55,25,161
637:1,1,3,13,25,47,39,87,257
"""


@dataclass(frozen=True)
class Sobol(Blind):
    """Evenly spread points; the sequence goes on over the rounds.

    The first 64 dimensions are Sobol's; further ones, for which the sequence has no merit at these sizes, are
    independent uniform draws (Owen's "padding").
    """

    def points(self, history: History, size: int) -> Float32[Array, "{size} D"]:
        """Go on with the sequence: its next `size` points, f32[size, D]."""
        return spread(history.key, history.asked, size, history.dim)


@partial(jit, static_argnames=("size", "dim"))
def spread(
    seed: UInt32[Array, "2"], first: Int[Array, ""] | int, size: int, dim: int
) -> Float32[Array, "{size} {dim}"]:
    """Compute a stretch of a scrambled Sobol sequence.

    Args:
      seed: u32[2], scrambles it.
      first: the number of the first point.
      size: P, how many points.
      dim: D, the axes of the unit cube.

    Returns:
      f32[P, D] points, multiples of 2**-24 in [0, 1).
    """
    directions = _directions(min(dim, 64))  # u32[D', 24]
    up, down = jnp.arange(_BITS, dtype=jnp.uint32), jnp.arange(_BITS - 1, -1, -1, dtype=jnp.uint32)
    index = jnp.asarray(first, jnp.uint32) + jnp.arange(size, dtype=jnp.uint32)  # [P]
    bits = (index[:, None] >> up[None]) & 1  # [P, 24]
    plain = jnp.bitwise_xor.reduce(bits[:, None, :] * jnp.asarray(directions)[None], axis=2)  # [P, D']
    seeds = jax.random.bits(stream(seed, _SCRAMBLE), (dim, _BITS), jnp.uint32)
    # each bit is flipped by a coin that depends on the bits above it
    above = plain[:, :, None] >> (down + 1)[None, None]  # [P, D', 24]
    coins = _mix(above * jnp.uint32(0x9E3779B1) + seeds[None, : directions.shape[0]]) & 1
    flips = jnp.sum(coins << down[None, None], axis=2, dtype=jnp.uint32)
    padding = _mix(_mix(index[:, None] + seeds[None, 64:, 0]) + seeds[None, 64:, 1]) >> (32 - _BITS)
    return jnp.concatenate([plain ^ flips, padding], axis=1).astype(jnp.float32) / GRID


def _mix(word: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """Hash words so that every bit depends on every bit (the finaliser of MurmurHash3)."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)


@cache
def _directions(dim: int) -> UInt32[np.ndarray, "{dim} 24"]:
    """Compute what bit k of the index adds (by xor) to each dimension's 24-bit fraction."""
    table = np.empty((dim, _BITS), np.uint32)
    table[0] = [1 << (_BITS - 1 - k) for k in range(_BITS)]
    for row, entry in zip(table[1:], _JOE_KUO.split(), strict=False):
        polynomial, initial = entry.split(":")
        degree = int(polynomial).bit_length() - 1
        inner = [(int(polynomial) >> (degree - j)) & 1 for j in range(1, degree)]
        v = [int(m) << (_BITS - 1 - k) for k, m in enumerate(initial.split(","))]
        for k in range(degree, _BITS):
            new = v[k - degree] ^ (v[k - degree] >> degree)
            for j, coefficient in enumerate(inner, start=1):
                new ^= coefficient * v[k - j]
            v.append(new)
        row[:] = v
    return table
