"""Acts that must be heard: who did it, said on standard error and in the system's log, whatever else fails."""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
import syslog
from pathlib import Path


def actor_name() -> str:
    """Who logged in, also behind sudo, as the kernel knows it."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        uid = int(Path("/proc/self/loginuid").read_text())
        if uid != 2**32 - 1:
            return pwd.getpwuid(uid).pw_name
    return os.environ.get("SUDO_USER", "") or f"uid {os.getuid()}"


def alarm(text: str) -> None:
    """Say `text` on standard error and in the system's log, to those who may read authorization messages."""
    line = " ".join(text.split())
    syslog.openlog("shipwall", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_ALERT, line)
    sys.stderr.write(f"shipwall: {line}\n")
