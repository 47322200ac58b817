"""The server's log: one line per event on standard error, `time level what key=value ...`, values quoted as JSON.

No value from outside can begin a new line, and tokens, cookies and bodies are never handed to it.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime


def log(level: str, what: str, **facts: object) -> None:
    """Write one line."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = "".join(f" {key}={json.dumps(str(value)[:500]) if isinstance(value, str) else value}" for key, value in facts.items())
    sys.stderr.write(f"{time} {level} {what}{text}\n")
    sys.stderr.flush()
