"""A file system made again with an empty cache, in another folder, under another umask and a later clock is the same one.

Shifted: what every program sees that asks libc for the time (mmdebstrap, apt, dpkg, maintainer scripts: libfaketime is preloaded, also in
the new file system), by an hour and by more than a day. Not shifted: the stamps the kernel itself gives to files it writes. Those are
later than the archive's date either way, and `tests/laws/test_build_laws.py` moves them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from shipwall.adapters.base_system import find_pockets, make_base_system

pytestmark = [pytest.mark.root, pytest.mark.archive]
LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")

# Before the real mmdebstrap in PATH. Files' own times are left alone (NO_FAKE_STAT): faking would move packages' files, too. The library
# lies inside as well, and its folder gets its stamp back when it is taken away.
WRAPPER = (
    "#!/bin/sh\n"
    "export LD_PRELOAD={library} FAKETIME={shift} NO_FAKE_STAT=1 FAKETIME_DONT_FAKE_MONOTONIC=1\n"
    """exec {mmdebstrap} --setup-hook='umask 022; mkdir -p "$1{folder}"; cp {library} "$1{folder}/"' """
    """--customize-hook='chroot "$1" date +%s > {told}; unset LD_PRELOAD; touch -r "$1{above}" {told}.stamp; """
    """rm -r "$1{folder}"; touch -r {told}.stamp "$1{above}"' "$@"\n"""
)


@pytest.mark.skipif(not LIBRARY.exists(), reason="needs Debian's faketime")
@pytest.mark.timeout(500)
@pytest.mark.parametrize(("shift_s", "mask"), [(3600, 0o027), (90_000, 0o077)])
def test_an_hour_and_more_than_a_day_later(shift_s: int, mask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pockets = find_pockets(security=False)
    usual = make_base_system(pockets, ())
    real = shutil.which("mmdebstrap")
    assert real is not None
    told = tmp_path / "told"
    wrapper = tmp_path / "bin/mmdebstrap"
    wrapper.parent.mkdir()
    wrapper.write_text(
        WRAPPER.format(
            library=LIBRARY, shift=f"+{shift_s}", mmdebstrap=real, folder=LIBRARY.parent, above=LIBRARY.parent.parent, told=told
        )
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SHIPWALL_CACHE", str(tmp_path / "another/cache"))
    before = os.umask(mask)
    try:
        later = make_base_system(pockets, ())
    finally:
        os.umask(before)
    now = int(subprocess.run(["date", "+%s"], capture_output=True, check=True).stdout)
    assert shift_s - 600 < int(told.read_text()) - now <= shift_s  # inside, the clock really was later
    assert not later.was_cached
    assert (later.diff_id, later.epoch_s, later.size) == (usual.diff_id, usual.epoch_s, usual.size)
