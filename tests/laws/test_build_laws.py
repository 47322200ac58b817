"""What an engine's builder stamps with its clock does not change what is built.

The builder is a static program and the host's clock is not ours to move, so no preloaded library shifts what it sees. Shifted here is all
it writes with that clock: every file's times, and every time in the configuration. Not shifted: what a RUN step reads from the
clock and writes into a file's content; that is the image's own, and differs.
"""

from __future__ import annotations

import io
import json
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from shipwall.supply.normalise import normalise_config, normalise_layer, render_time

EPOCH = 1_700_000_000
NAMES = st.text("abc", min_size=1, max_size=4)
# offsets of files written in the build (after the epoch), and times of files that came with packages (up to it)
STAMPS = st.one_of(st.floats(1, 1e6), st.floats(-1e6, 0))
FILES = st.dictionaries(NAMES, st.tuples(st.binary(max_size=40), STAMPS), max_size=8)
SHIFTS = st.one_of(st.sampled_from([1, 3600, 86_400, 90_000]), st.floats(0.25, 1e7))


def layer_of(files: dict[str, tuple[bytes, float]], shift_s: float) -> io.BytesIO:
    """The layer, built `shift_s` later: what the build itself wrote carries later times; shadow's day of change is the clock's, too."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, (data, stamp) in files.items():
            entry = tarfile.TarInfo(name)
            entry.mtime = EPOCH + stamp + (shift_s if stamp > 0 else 0)
            entry.pax_headers = {kind: f"{EPOCH + abs(stamp) + shift_s:.6f}" for kind in ("atime", "ctime")}
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        day = int(EPOCH + 1e5 + shift_s) // 86_400
        shadow = f"probe:!:{day}::::::\n".encode()
        entry = tarfile.TarInfo("etc/shadow")
        entry.size, entry.mtime = len(shadow), int(EPOCH + 1e5 + shift_s)
        archive.addfile(entry, io.BytesIO(shadow))
    made.seek(0)
    return made


def normalised(source: io.BytesIO) -> bytes:
    sink = io.BytesIO()
    normalise_layer(source, sink, EPOCH)
    return sink.getvalue()


@given(FILES, SHIFTS)
def test_a_layer_built_later_is_the_same(files: dict[str, tuple[bytes, float]], shift_s: float) -> None:
    first, later = layer_of(files, 0), layer_of(files, shift_s)
    assert first.getvalue() != later.getvalue() or shift_s < 1
    assert normalised(first) == normalised(later)


@given(st.integers(0, 3), st.integers(0, 3), SHIFTS)
def test_a_configuration_made_later_is_the_same(below: int, above: int, shift_s: float) -> None:
    def built(shift: float) -> dict[str, object]:
        base = [{"created": render_time(EPOCH), "created_by": f"base {number}"} for number in range(below)]
        own = [{"created": render_time(int(EPOCH + 60 + shift)), "created_by": f"RUN {number}"} for number in range(above)]
        return {
            "created": render_time(int(EPOCH + 99 + shift)),
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["x"]},
            "container_config": {"Hostname": f"{shift}"},
            "history": [*base, *own],
        }

    diff_ids = ("sha256:" + "a" * 64,)
    first, later = (normalise_config(built(shift), below, diff_ids, EPOCH) for shift in (0, shift_s))
    assert first == later
    assert all(step["created"] == render_time(EPOCH) for step in json.loads(first)["history"])
