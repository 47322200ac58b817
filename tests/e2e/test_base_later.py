"""A file system made again with an empty cache, in another folder, under another umask and a later clock is the same one.

Shifted: what every program sees that asks libc for the time (mmdebstrap, apt, dpkg, maintainer scripts: a library is preloaded, also in the
new file system), by an hour and by more than a day. Not shifted: the stamps the kernel itself gives to files it writes. Those are later
than the archive's date either way, and `tests/laws/test_build_laws.py` moves them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipwall.adapters.base_system import find_pockets, make_base_system

pytestmark = [pytest.mark.root, pytest.mark.archive]

# Debian's libfaketime keeps a semaphore in /dev/shm, which is another one inside the new file system: it failed there at random.
CLOCK = """
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += SHIFT_S;
    return failed;
}
time_t time(time_t *place) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place) *place = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *restrict place, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    place->tv_sec = now.tv_sec;
    place->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""

# Before the real mmdebstrap in PATH, already in a mount namespace of its own. The library has to lie below /usr, inside as on the host
# (usrmerge moves what does not); its folder gets its stamp back when it is taken away.
WRAPPER = (
    "#!/bin/sh\n"
    "set -e\n"
    "mount --bind {shared} /usr/src\n"
    "export LD_PRELOAD=/usr/src/clock.so\n"
    """exec {mmdebstrap} --setup-hook='umask 022; mkdir -p "$1/usr/src"; cp /usr/src/clock.so "$1/usr/src/"' """
    """--customize-hook='chroot "$1" date +%s > {told}; unset LD_PRELOAD; touch -r "$1/usr/src" {told}.stamp; """
    """rm "$1/usr/src/clock.so"; touch -r {told}.stamp "$1/usr/src"' "$@"\n"""
)


@pytest.fixture
def shared() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="shipwall-clock-") as folder:
        yield Path(folder)


@pytest.mark.timeout(500)
@pytest.mark.parametrize(("shift_s", "mask"), [(3600, 0o027), (90_000, 0o077)])
def test_an_hour_and_more_than_a_day_later(
    shift_s: int, mask: int, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pockets = find_pockets(security=False)
    usual = make_base_system(pockets, ())
    told, wrapper = tmp_path / "told", tmp_path / "bin/mmdebstrap"
    compile_clock(shared, shift_s)
    real = shutil.which("mmdebstrap")
    wrapper.parent.mkdir()
    wrapper.write_text(WRAPPER.format(shared=shared, mmdebstrap=real, told=told))
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


def compile_clock(folder: Path, shift_s: int) -> None:
    """A library that makes the clock of whoever preloads it `shift_s` later."""
    (folder / "clock.c").write_text(CLOCK)
    command = [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-target",
        "x86_64-linux-gnu.2.28",
        "-shared",
        "-fPIC",
        "-O1",
        f"-DSHIFT_S={shift_s}",
    ]
    subprocess.run([*command, "-o", str(folder / "clock.so"), str(folder / "clock.c")], check=True, timeout=200)
