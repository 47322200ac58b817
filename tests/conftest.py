"""What every test may need: markers that say what a machine lacks, and a summary that repeats it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def _lacks(marker: str) -> str:
    """Why tests with `marker` cannot run here; empty when they can."""
    is_root = os.geteuid() == 0
    if marker in {"root", "bpf", "engine"} and not is_root:
        return "needs root"
    if marker == "bpf" and not Path("/sys/kernel/btf/vmlinux").exists():
        return "needs a kernel with BTF"
    if marker == "browser" and not (shutil.which("chromium") and shutil.which("chromedriver")):
        return "needs chromium and chromedriver"
    if marker == "engine" and not shutil.which("slirp4netns"):
        return "needs slirp4netns"
    if marker == "guest" and not os.environ.get("SHIPWALL_GUESTS"):
        return "opt-in: make test-guests"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine cannot run."""
    for item in items:
        for marker in ("root", "bpf", "engine", "browser", "guest"):
            if item.get_closest_marker(marker) and (reason := _lacks(marker)):
                item.add_marker(pytest.mark.skip(reason=reason))
