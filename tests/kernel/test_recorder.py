"""The flight recorder keeps the last records of each share whole, whoever else writes, and counts what it leaves out."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripts.hatch_build import compile_object

from shipwall.abi.btf import parse_object_btf
from shipwall.kernel import recorder
from shipwall.kernel.bpf import BpfObject, measuring, run_stats
from shipwall.kernel.recorder import GRANULE, RECORD_MAX, Before, Recorder
from shipwall.model.errors import InputError, UnsupportedError

pytestmark = [pytest.mark.root, pytest.mark.bpf]
SOURCE = Path(__file__).with_name("recorder_test.bpf.c")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The object that records patterns."""
    output = tmp_path_factory.mktemp("bpf") / "recorder_test.bpf.o"
    compile_object(SOURCE, output)
    return output


@pytest.fixture
def loaded(compiled: Path) -> Iterator[BpfObject]:
    """The same, loaded."""
    with BpfObject(compiled) as made:
        yield made


@pytest.fixture
def box(loaded: BpfObject) -> Iterator[Recorder]:
    """Its recorder."""
    made = Recorder(loaded)
    yield made
    made.close()


def taken(box: Recorder, cgroup_id: int) -> Before:
    """What the share holds, every record of it a pattern."""
    found = box.take(cgroup_id)
    assert found is not None
    for record in found.records:
        words = struct.unpack_from("<8Q", record)
        assert len(set(words)) == 1, "two writers in one record"
    return found


def fill(box: Recorder) -> None:
    """Give shares until there are none."""
    for cgroup_id in range(100, 100 + recorder.SHARES):
        box.give(cgroup_id)


def numbers(found: Before) -> list[int]:
    """The words that were recorded."""
    return [struct.unpack_from("<Q", record)[0] for record in found.records]


def test_the_layout_is_what_the_object_says(compiled: Path) -> None:
    btf = parse_object_btf(compiled.read_bytes())
    assert btf.structs["recorder_granule"].size == recorder._GRANULE_BYTES
    assert (btf.structs["recorder_head"].size, btf.structs["recorder_share"].size) == (recorder._HEAD.size, recorder._SHARE.size)
    assert btf.structs["recorder_share"].members == {"written": 0, "cgroup_id": 8, "left_out": 16, "first": 24, "granules": 28}
    assert {name: btf.enumerators[f"RECORDER_{name}"] for name in ("GRANULE", "RECORD_MAX", "SHARES", "GRANULES")} == {
        "GRANULE": GRANULE, "RECORD_MAX": RECORD_MAX, "SHARES": recorder.SHARES, "GRANULES": recorder.GRANULES,
    }  # fmt: skip


def test_few_records_are_all_there_and_many_leave_the_last(loaded: BpfObject, box: Recorder) -> None:
    share = box.give(7)
    assert taken(box, 7) == Before((), 0, 0, 0, 0)
    for number in range(1, 11):
        loaded.run_raw("record_pattern", share, 100 + number, number)
    found = taken(box, 7)
    assert numbers(found) == list(range(1, 11))
    assert [len(record) for record in found.records] == list(range(101, 111))
    for number in range(11, 5001):
        loaded.run_raw("record_pattern", share, 200, number)
    found = taken(box, 7)
    kept = numbers(found)
    assert kept == list(range(kept[0], 5001))
    assert 3 * GRANULE * 200 // 224 - 200 * 4 <= found.kept <= 4 * GRANULE
    assert found.written > 1_000_000
    assert (found.left_out, found.torn) == (0, 0)


def test_sizes_of_every_kind_and_what_is_too_long(loaded: BpfObject, box: Recorder) -> None:
    share = box.give(7)
    sizes = [64 + (number * 977) % (RECORD_MAX - 63) for number in range(400)]
    for number, size in enumerate(sizes):
        loaded.run_raw("record_pattern", share, size, number)
    found = taken(box, 7)
    kept = numbers(found)
    assert kept == list(range(kept[0], 400))
    assert [len(record) for record in found.records] == sizes[kept[0] :]
    loaded.run_raw("record_pattern", share, RECORD_MAX, 1)
    loaded.run_raw("record_pattern", share, RECORD_MAX + 1, 2)
    assert numbers(taken(box, 7))[-1] == 1
    assert taken(box, 7).left_out == 1


def test_shares_are_apart_and_a_share_given_again_is_empty(loaded: BpfObject, box: Recorder) -> None:
    one, two = box.give(7), box.give(8, 2)
    assert box.give(7) == one
    for number in range(5000):
        loaded.run_raw("record_pattern", one, 300, number)
    loaded.run_raw("record_pattern", two, 300, 99)
    loaded.run_raw("record_pattern", 0, 300, 98)  # nobody's
    loaded.run_raw("record_pattern", recorder.SHARES, 300, 97)  # none
    assert numbers(taken(box, 8)) == [99]
    box.give_back(7)
    loaded.run_raw("record_pattern", one, 300, 5000)
    assert box.take(7) is None
    assert box.give(9) == one
    assert taken(box, 9) == Before((), 0, 0, 0, 0)
    with pytest.raises(InputError, match="power of two"):
        box.give(10, 3)
    with pytest.raises(UnsupportedError, match="no room is left"):
        fill(box)


def test_many_writers_and_a_reader_at_once(loaded: BpfObject, box: Recorder) -> None:
    share = box.give(7, 2)
    writers, each = 4, 3000

    def write(writer: int) -> None:
        for number in range(each):
            loaded.run_raw("record_pattern", share, 64 + (number * 37) % 3000, writer << 32 | number)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for found in (taken(box, 7),):
            for writer in range(writers):
                mine = [number & 0xFFFFFFFF for number in numbers(found) if number >> 32 == writer]
                assert mine == sorted(set(mine))
    for thread in threads:
        thread.join()
    found = taken(box, 7)
    last = {number >> 32: number & 0xFFFFFFFF for number in numbers(found)}
    assert max(last.values()) == each - 1
    assert found.torn == 0
    assert found.left_out < writers * each // 100


def test_a_record_costs_little(loaded: BpfObject, box: Recorder) -> None:
    share = box.give(7)
    fd = loaded.programs()["record_pattern"]
    with measuring() as agreed:
        for _ in range(3000):
            loaded.run_raw("record_pattern", share, 200, 1)
        stats = run_stats(fd)
    assert agreed
    assert stats.runs == 3000
    assert stats.run_ns / stats.runs < 5_000, "not even on a busy machine"
