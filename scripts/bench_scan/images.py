"""Scanning an image, everything on: cold and again; listing it in other packings; beside it what unpacking and hashing alone cost."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from bench_scan.fixtures import FOLDER, debian_database, debian_layout, debian_save, many_files_layout
from bench_scan.rows import Measured, Row, best_run
from shipwall.adapters.instance import Instance
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.adapters.streams import file_chunks
from shipwall.supply.streams import inflate

_CACHE = FOLDER / "list-cache"
_CHUNK = 1 << 20
# A program of one option: what any command of ours needs before it can begin.
_SMALLEST = """
import pathlib, typing, msgspec, rich.console, typer
def act(place: typing.Annotated[pathlib.Path, typer.Option()] = pathlib.Path()) -> None: pass
typer.run(act)
"""


def _command(layout: Path) -> list[str]:
    return [str(Path(sys.executable).parent / "shipwall"), "image", "list", str(layout), "--output", "json"]


def _scan(layout: Path) -> list[str]:
    """Everything on: every cataloger, checksums and digests, and matching."""
    place = str(debian_database())
    return [str(Path(sys.executable).parent / "shipwall"), "image", "scan", str(layout), "--db", place, "--output", "json"]


def _forget() -> None:
    shutil.rmtree(_CACHE / "inventories", ignore_errors=True)


def _cold(layout: Callable[[], Path], command: Callable[[Path], list[str]] = _command) -> Callable[[], Measured]:
    def measure() -> Measured:
        place = layout()
        run = best_run(command(place), before=_forget, cache=_CACHE)
        return Measured(f"{run.seconds:.2f} s ({run.cpu_s:.1f} s of processors)", _limit(place), run.peak_mb)

    return measure


def _saved() -> Measured:
    place = debian_save()
    run = best_run(_command(place), before=_forget, cache=_CACHE)
    return Measured(f"{run.seconds:.2f} s ({run.cpu_s:.1f} s of processors)", _limit(debian_layout("plain")), run.peak_mb)


def _again() -> Measured:
    place = debian_layout("gzip")
    best_run(_scan(place), rounds=1, cache=_CACHE)
    run = best_run(_scan(place), rounds=7, cache=_CACHE)
    start = best_run([sys.executable, "-c", _SMALLEST], rounds=7, cache=_CACHE)
    return Measured(
        f"{run.seconds:.2f} s ({run.cpu_s:.2f} s of processors)",
        f"start of Python and typer {start.seconds:.2f} s ({start.cpu_s:.2f} s)",
        run.peak_mb,
    )


def _from_engine() -> Measured:
    """Cold: the engine writes the whole image out, it is kept in a temporary file, then read. Again: the engine is asked for its id."""
    if os.geteuid():
        return Measured("not measured", "needs root")
    state = Path(tempfile.mkdtemp(prefix="shipwall-bench-", dir="/tmp"))
    engine = PrivateEngine(Instance(state), dies_with_us=True)
    try:
        engine.start()
        with engine.engine() as client, debian_save().open("rb") as file:
            client.load(file_chunks(file))
            began = time.monotonic()
            for _ in client.save_image("bench:1"):
                pass
            saved = time.monotonic() - began
        command = [*_command(Path("bench:1")), "--engine", str(engine.socket)]
        cold = best_run(command, before=_forget, cache=_CACHE)
        again = best_run(command, rounds=5, cache=_CACHE)
        return Measured(
            f"{cold.seconds:.2f} s, again {again.seconds:.2f} s", f"the engine's own save {saved:.2f} s", cold.peak_mb
        )
    finally:
        engine.stop()
        engine.remove_data()
        shutil.rmtree(state)


def _limit(layout: Path) -> str:
    """Seconds of unpacking the largest blob, and of hashing it packed and plain (once when it is not packed), each by itself."""
    blob = max((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    unpacking, hashing = 0.0, 0.0
    packed, plain = sha256(), sha256()
    with blob.open("rb") as file:
        is_packed = file.read(4)[:2] in {b"\x1f\x8b", b"\x28\xb5"}
        while is_packed and (data := file.read(_CHUNK)):
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
    Row("scan, Debian, gzip layer, cold", "≤ 4 s, ≤ 150 MB", _cold(lambda: debian_layout("gzip"), _scan)),
    Row("scan, Debian, gzip layer, again", "≤ 0.4 s", _again),
    Row("list, Debian, zstd layer, cold", "≤ 4 s, ≤ 150 MB", _cold(lambda: debian_layout("zstd"))),
    Row("list, Debian, plain layer, cold", "≤ 4 s, ≤ 150 MB", _cold(lambda: debian_layout("plain"))),
    Row("list, Debian, docker save, cold", "≤ 4 s, ≤ 150 MB", _saved),
    Row("list, Debian, from an engine, cold", "apart", _from_engine),
    Row("list, 3,000,000 files, cold", "≤ 15 s, ≤ 150 MB", _cold(many_files_layout)),
)
