"""What this machine offers the story, found out by trying each thing and letting go of it."""

from __future__ import annotations

from shipwall.adapters.base_system import why_no_namespaces
from shipwall.adapters.private_engine import why_no_engine
from shipwall.demo.plan import Means
from shipwall.kernel.features import why_no_sensor


def find_means() -> Means:
    """The means of this machine and user. Changes nothing."""
    return Means(engine=why_no_engine(), file_systems=why_no_namespaces(), sensor=why_no_sensor())
