"""SBOM files as sources of inventories: told from images by their first bytes."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import cast

from shipwall.model.errors import InputError, StorageError
from shipwall.model.package import Inventory
from shipwall.supply.sbom import MAX_SBOM_BYTES, looks_like_sbom, parse_sbom_text

_PEEKED = 64


def load_sbom(source: str) -> Inventory | None:
    """The inventory in the SBOM file `source` (`-`: standard input); None when it is no such file, standard input untouched then.

    *Raises* InputError for a JSON object that is no SBOM, StorageError for an unreadable file.
    """
    if source == "-":
        stream = cast("io.BufferedReader", sys.stdin.buffer)
        if not looks_like_sbom(stream.peek(_PEEKED)):
            return None
        return parse_sbom_text(_bounded(stream.read(MAX_SBOM_BYTES + 1), "standard input"), "standard input")
    path = Path(source)
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            if not looks_like_sbom(file.read(_PEEKED)):
                return None
            file.seek(0)
            data = file.read(MAX_SBOM_BYTES + 1)
    except ValueError:  # a zero byte: no path
        return None
    except OSError as error:
        if error.filename is None or path.exists():
            raise StorageError(source[:200], error.strerror or str(error), "make it readable") from error
        return None  # too long a name, or gone: the images' own error says so
    return parse_sbom_text(_bounded(data, source), source)


def _bounded(data: bytes, name: str) -> bytes:
    if len(data) > MAX_SBOM_BYTES:
        raise InputError(name[:200], f"has more than {MAX_SBOM_BYTES} bytes", "export fewer components into one SBOM")
    return data
