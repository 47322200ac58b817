"""SBOM files as sources of inventories: told from images by their first bytes."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import BinaryIO, cast

from shipwall.model.errors import InputError, StorageError
from shipwall.model.package import Inventory

_PEEKED = 64


def looks_like_sbom(start: bytes) -> bool:
    """Whether a file that begins with `start` can be an SBOM: it is JSON of an object. A tar, gzip or zstd never begins so."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def load_sbom(source: str) -> Inventory | None:
    """The inventory in the SBOM file `source` (`-`: standard input); None when it is no such file, standard input untouched then.

    *Raises* InputError for a JSON object that is no SBOM, StorageError for an unreadable file.
    """
    if source == "-":
        stream = cast("io.BufferedReader", sys.stdin.buffer)
        if not looks_like_sbom(stream.peek(_PEEKED)):
            return None
        return _parse(_read(stream, "standard input"), "standard input")
    path = Path(source)
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            if not looks_like_sbom(file.read(_PEEKED)):
                return None
            file.seek(0)
            data = _read(file, source)
    except ValueError:  # a zero byte: no path
        return None
    except OSError as error:
        if error.filename is None or path.exists():
            raise StorageError(source[:200], error.strerror or str(error), "make it readable") from error
        return None  # too long a name, or gone: the images' own error says so
    return _parse(data, source)


def _parse(data: bytes, name: str) -> Inventory:
    from shipwall.supply.sbom import parse_sbom_text  # here and below: most sources are images, which need none of it

    return parse_sbom_text(data, name)


def _read(file: BinaryIO, name: str) -> bytes:
    from shipwall.supply.sbom import MAX_SBOM_BYTES

    data = file.read(MAX_SBOM_BYTES + 1)
    if len(data) > MAX_SBOM_BYTES:
        raise InputError(name[:200], f"has more than {MAX_SBOM_BYTES} bytes", "export fewer components into one SBOM")
    return data
