"""Listing images: cold, again, other packings, three million files; beside it what unpacking and hashing alone cost."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from bench_scan.fixtures import FOLDER, debian_layout, many_files_layout
from bench_scan.rows import Measured, Row, best_run
from shipwall.supply.streams import inflate

_CACHE = FOLDER / "list-cache"
_CHUNK = 1 << 20


def _command(layout: Path) -> list[str]:
    return [str(Path(sys.executable).parent / "shipwall"), "image", "list", str(layout), "--output", "json"]


def _forget() -> None:
    shutil.rmtree(_CACHE / "inventories", ignore_errors=True)


def _cold(layout: Callable[[], Path]) -> Callable[[], Measured]:
    def measure() -> Measured:
        place = layout()
        run = best_run(_command(place), before=_forget, cache=_CACHE)
        return Measured(f"{run.seconds:.2f} s ({run.cpu_s:.1f} s of processors)", _limit(place), run.peak_mb)

    return measure


def _again() -> Measured:
    place = debian_layout("gzip")
    best_run(_command(place), rounds=1, cache=_CACHE)
    run = best_run(_command(place), rounds=7, cache=_CACHE)
    start = best_run([sys.executable, "-c", "import typer, rich.console, pydantic, msgspec"], rounds=7, cache=_CACHE)
    return Measured(f"{run.seconds:.2f} s", f"start of Python and typer {start.seconds:.2f} s", run.peak_mb)


def _limit(layout: Path) -> str:
    """Seconds of unpacking the largest blob, and of hashing it packed and plain, each alone on one processor."""
    blob = max((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    unpacking, hashing = 0.0, 0.0
    packed, plain = sha256(), sha256()
    with blob.open("rb") as file:
        while data := file.read(_CHUNK):
            began = time.thread_time()
            packed.update(data)
            hashing += time.thread_time() - began
    with blob.open("rb") as file:
        stream = inflate(file, "layer")
        while True:
            began = time.thread_time()
            data = stream.read(_CHUNK)
            unpacked = time.thread_time()
            plain.update(data)
            hashing += time.thread_time() - unpacked
            unpacking += unpacked - began
            if not data:
                return f"unpack {unpacking:.2f} s, SHA-256 {hashing:.2f} s"


ROWS = (
    Row("Debian image, gzip layer, cold", "≤ 4 s, ≤ 150 MB", _cold(lambda: debian_layout("gzip"))),
    Row("Debian image, gzip layer, again", "≤ 0.4 s", _again),
    Row("Debian image, zstd layer, cold", "≤ 4 s, ≤ 150 MB", _cold(lambda: debian_layout("zstd"))),
    Row("Debian image, plain layer, cold", "≤ 4 s, ≤ 150 MB", _cold(lambda: debian_layout("plain"))),
    Row("image of 3,000,000 files, cold", "≤ 15 s, ≤ 150 MB", _cold(many_files_layout)),
)
