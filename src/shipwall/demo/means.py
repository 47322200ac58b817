"""What this machine offers the story, found out by trying each thing and letting go of it."""

from __future__ import annotations

import os

from shipwall.adapters.base_system import why_no_namespaces
from shipwall.adapters.private_engine import why_no_engine
from shipwall.demo.plan import Means
from shipwall.kernel.features import why_no_sensor


def find_means() -> Means:
    """The means of this machine and user. Changes nothing."""
    namespaces = why_no_namespaces()
    server = namespaces if os.geteuid() == 0 else ""
    return Means(engine=why_no_engine(), server=server, file_systems=namespaces, sensor=why_no_sensor())
