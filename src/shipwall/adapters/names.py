"""Addresses of the hosts that rules name. Asked beside the event path: a slow name server delays nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterable

MAX_NAMES = 256


def resolve_names(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Address → the names among `names` (at most MAX_NAMES, sorted) that have it now. A name that is not found has none."""
    found: dict[str, list[str]] = {}
    for name in sorted(names)[:MAX_NAMES]:
        try:
            answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            continue
        for address in {str(answer[4][0]).partition("%")[0] for answer in answers}:
            found.setdefault(address, []).append(name)
    return {address: tuple(known) for address, known in found.items()}
