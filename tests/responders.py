"""Responders without an engine behind them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from shipwall.adapters.engine import Engine
from shipwall.adapters.evidence import EvidenceStore
from shipwall.adapters.journal import Journal
from shipwall.adapters.keys import Keys
from shipwall.journeys.collect import KEY_NAME, seal_with
from shipwall.journeys.respond import Responder
from shipwall.model.wire import Message


def lone_responder(folder: Path, report: Callable[[Message], None], **more: Any) -> Responder:
    """A responder of node `n` whose engine is not there, with everything in `folder`. `more`: as for `Responder`."""
    given: dict[str, Any] = {
        "engine": Engine(folder / "no.sock"),
        "journal": Journal(folder / "journal.jsonl"),
        "store": EvidenceStore(folder / "evidence"),
        "sign": seal_with(Keys(folder / "keys").signer(KEY_NAME)),
        "report": report,
        "folder": folder,
        "node": "n",
    }
    return Responder(**{**given, **more})
