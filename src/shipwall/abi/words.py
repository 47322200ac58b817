"""The first words of the wanted prefixes: by which the kernel part dismisses most opened files without reading their paths.

A word is the first bytes of a path, up to eight, as a little-endian number. The set over-approximates: it never dismisses a path that
begins with a wanted prefix, and may let others pass to the exact look-up. `bpf/paths.h` asks it by the same rule.
"""

from __future__ import annotations

from collections.abc import Iterable

WORD_BYTES = 8
MULTIPLIER = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: spreads the bits (Knuth, TAOCP 3, 6.4)
BITS = 4096
_SHIFT = 64 - 12


def place_of(word: int, length: int) -> int:
    """The bit of the set that stands for the first `length` bytes of `word`."""
    kept = word & ((1 << 8 * length) - 1)
    return (((kept + length) * MULTIPLIER) & ((1 << 64) - 1)) >> _SHIFT


def word_set(prefixes: Iterable[bytes]) -> tuple[int, list[int]]:
    """Which lengths occur (bit n: n + 1 bytes), and the set as 64-bit numbers."""
    lengths = 0
    found = [0] * (BITS // 64)
    for prefix in prefixes:
        length = min(len(prefix), WORD_BYTES)
        if length:
            place = place_of(int.from_bytes(prefix[:length], "little"), length)
            lengths |= 1 << (length - 1)
            found[place // 64] |= 1 << place % 64
    return lengths, found


def may_begin(path: bytes, lengths: int, found: list[int]) -> bool:
    """Whether `path` may begin with one of the prefixes: what the kernel part decides."""
    word = int.from_bytes(path[:WORD_BYTES], "little")
    places = (place_of(word, length) for length in range(1, WORD_BYTES + 1) if lengths >> (length - 1) & 1)
    return any(found[place // 64] >> place % 64 & 1 for place in places)
