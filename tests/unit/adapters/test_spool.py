"""The spool: order, bounds, crashes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipwall.adapters.spool import Spool


def bodies(spool: Spool) -> list[bytes]:
    return [body for _number, body in spool.pending()]


def test_in_order_until_acknowledged_and_over_restarts(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    numbers = [spool.append(f"m{index}".encode()) for index in range(10)]
    assert numbers == list(range(1, 11))
    spool.acknowledge(4)
    assert spool.waiting == 6
    assert bodies(spool) == [f"m{index}".encode() for index in range(4, 10)]
    spool.close()
    again = Spool(tmp_path)
    assert again.append(b"after") == 11
    assert bodies(again)[-7:] == [*(f"m{index}".encode() for index in range(4, 10)), b"after"]
    again.acknowledge(11)
    assert again.waiting == 0
    again.close()
    assert list(tmp_path.iterdir()) == []


def test_above_the_bound_the_oldest_go_and_are_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=10_000, segment_bytes=1_000)
    for index in range(200):
        spool.append(b"%03d" % index + bytes(97))
    kept = bodies(spool)
    assert spool.lost + len(kept) == 200
    assert 0 < spool.lost < 150
    assert kept == [b"%03d" % index + bytes(97) for index in range(200 - len(kept), 200)]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000


def test_what_was_acknowledged_is_not_lost(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=4_000, segment_bytes=1_000)
    for index in range(100):
        spool.acknowledge(spool.append(b"%03d" % index + bytes(97)))
    assert (spool.lost, spool.waiting) == (0, 0)


def test_a_killed_writer_loses_nothing_it_was_promised(tmp_path: Path) -> None:
    writer = (
        "import sys; from pathlib import Path; from shipwall.adapters.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1]), segment_bytes=5000)\n"
        "while True: print(spool.append(b'x' * 50), flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", writer, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    promised = 0
    while promised < 400:
        promised = int(process.stdout.readline())
    process.kill()
    rest = process.stdout.read().split()
    process.stdout.close()
    process.wait()
    whole = [int(number) for number in rest]
    promised = max([promised, *(whole[:-1])])
    spool = Spool(tmp_path)
    assert spool.lost == 0
    assert [number for number, _body in spool.pending()][:promised] == list(range(1, promised + 1))


@given(cut=st.integers(min_value=1, max_value=300), flip=st.integers(min_value=0, max_value=299))
def test_damage_is_counted_and_never_raises(tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder)
    said = [b"message %d" % index + bytes(index) for index in range(8)]
    for body in said:
        spool.append(body)
    (place,) = folder.iterdir()
    data = bytearray(place.read_bytes())
    flip %= len(data)
    data[flip] ^= 0x40
    place.write_bytes(bytes(data[: max(flip + 1, len(data) - cut)]))
    found = bodies(Spool(folder))
    assert found == said[: len(found)]
    assert len(found) < len(said)


_FULL = """
import os, sys
from pathlib import Path
from shipwall.adapters.spool import Spool
from shipwall.model.errors import StorageError
spool = Spool(Path(sys.argv[1]) / "spool", segment_bytes=16 << 10)
kept = 0
try:
    while True:
        spool.append(os.urandom(1000))
        kept += 1
except StorageError as error:
    print(error.line())
assert kept > 20 and len(list(spool.pending())) == kept
spool.acknowledge(kept)
spool.append(b"there is room again")
assert [body for _, body in spool.pending()] == [b"there is room again"]
"""


@pytest.mark.root
def test_a_full_disk_is_said_and_nothing_is_half_kept(tmp_path: Path) -> None:
    shell = 'mount -t tmpfs -o size=64k tmpfs "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--mount", "sh", "-c", shell, "sh", str(tmp_path), sys.executable, _FULL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "No space left on device" in done.stdout or "took only a part" in done.stdout
