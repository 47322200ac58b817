"""Reading a BPF ring buffer by walking its memory.

Source: kernel/bpf/ringbuf.c. The consumer's page is writable, the producer's page and the data are not. A record is a word of length and
flags, a word of page offset, then the bytes, rounded up to 8. The kernel offers the data twice in a row, so that no record wraps; mapped
once it takes half the memory, as memory is counted.
On x86-64 plain loads do not pass each other, so no barrier is missing; another architecture would need libbpf's reader.
"""

from __future__ import annotations

import ctypes
import mmap
import select

from shipwall.kernel.bpf import Map
from shipwall.model.errors import KernelError

_BUSY = 1 << 31
_DISCARDED = 1 << 30
_HEADER_BYTES = 8


class Ring:
    """A reader of `ring`, a ring buffer map of `size_bytes` (a power of two of pages). Close it after use."""

    def __init__(self, ring: Map, size_bytes: int) -> None:
        self._mask = size_bytes - 1
        try:
            self._consumer = mmap.mmap(ring.fd, mmap.PAGESIZE)
            self._producer = mmap.mmap(
                ring.fd, mmap.PAGESIZE + size_bytes, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED, offset=mmap.PAGESIZE
            )
        except OSError as error:
            raise KernelError(f"ring {ring.name}", f"cannot be mapped: {error.strerror}", errno=error.errno or 0) from error
        # A ctypes word is loaded and stored in one instruction; a memoryview copies byte by byte where it likes.
        self._read_to = ctypes.c_uint64.from_buffer(self._consumer)
        self._bytes = memoryview(self._producer)
        self._words = self._bytes.cast("I")
        self._longs = self._bytes.cast("Q")
        self._poll = select.poll()  # epoll would not look at the ring itself, and most records wake nobody
        self._poll.register(ring.fd, select.POLLIN)

    def wait(self, timeout_ms: int) -> bool:
        """Whether records wait, or were announced by a wake-up within `timeout_ms`."""
        return bool(self._poll.poll(timeout_ms))

    def take(self, limit: int, limit_bytes: int, word_at: int) -> tuple[list[bytes], list[tuple[int, int, int]]]:
        """Copies of about `limit` records that wait, oldest first, and whose they are; their room is given back.

        Whose: in runs of the same 32-bit word at byte `word_at` (a multiple of 4) of the record: the word, records, bytes of the ring.
        """
        began = at = self._read_to.value
        mask, words, memory, base = self._mask, self._words, self._producer, mmap.PAGESIZE
        end = min(self._longs[0], began + limit_bytes)
        records: list[bytes] = []
        runs: list[tuple[int, int, int]] = []
        word = first = 0
        start = at
        while at < end and len(records) < limit:
            length = words[(base + (at & mask)) >> 2]
            if length >= _DISCARDED:
                if length & _BUSY:
                    break
                room = ((length & ~_DISCARDED) + _HEADER_BYTES + 7) & ~7
                at += room
                start += room  # it was nobody's
                continue
            begin = (at + _HEADER_BYTES) & mask
            owner = words[(base + (begin + word_at & mask)) >> 2]
            if owner != word:
                if len(records) > first:
                    runs.append((word, len(records) - first, at - start))
                word, first, start = owner, len(records), at
            end_at = begin + length
            if end_at <= mask:
                records.append(memory[base + begin : base + end_at])
            else:
                records.append(memory[base + begin :] + memory[base : base + end_at - mask - 1])
            at += (length + _HEADER_BYTES + 7) & ~7
        if len(records) > first:
            runs.append((word, len(records) - first, at - start))
        if at != began:
            self._read_to.value = at
        return records, runs

    def pending_bytes(self) -> int:
        """Bytes written and not yet read."""
        return int(self._longs[0]) - int(self._read_to.value)

    def close(self) -> None:
        """Give the memory back."""
        del self._read_to
        self._longs.release()
        self._words.release()
        self._bytes.release()
        self._producer.close()
        self._consumer.close()
