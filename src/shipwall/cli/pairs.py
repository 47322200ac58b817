"""Lines of two words from standard input, whatever bytes come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

MAX_LINE_BYTES = 4096  # far beyond a name and a version; a longer line is answered with "?"


def read_pairs(stream: BinaryIO) -> Iterator[tuple[str, str, str]]:
    """The two words of each line and an empty text, or two empty texts and what is wrong with it."""
    while line := stream.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield "", "", f"the line is longer than {MAX_LINE_BYTES} bytes"
            continue
        words = line.split()
        if len(words) != 2:
            yield "", "", "the line is not two words with a blank between them"
            continue
        try:
            yield words[0].decode(), words[1].decode(), ""
        except UnicodeDecodeError:
            yield "", "", "the line is not UTF-8"
