"""The hooks on Debian's kernels, in emulated machines. Opt-in: `make test-guests` (two minutes for each kernel)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.guests.guest import boot, missing, newest_kernel
from tests.guests.inside import ATTEMPTS

pytestmark = [pytest.mark.guest, pytest.mark.archive, pytest.mark.timeout(900)]
INSIDE = Path(__file__).with_name("inside.py")
ACTS = ("create", "remove", "rename", "rename over", "open", "exec", "open below", "open another")


@pytest.mark.parametrize(("meta", "version"), [("linux-image-cloud-amd64", "6.1."), ("linux-image-6.12-cloud-amd64", "6.12.")])
def test_what_is_refused_on_this_kernel(meta: str, version: str) -> None:
    if why := missing():
        pytest.skip(why)
    found = boot(newest_kernel(meta), INSIDE)
    assert found["kernel"].startswith(version)
    assert found["guards"] == {action: [0, ATTEMPTS, "5 of 5", ""] for action in ("open", "connect", "bind", "sendto")}
    names = found["names"]
    assert names["without"] == dict.fromkeys(ACTS, 5)
    assert names["denied"] == {act: ATTEMPTS if act == "open another" else 0 for act in ACTS}
    assert names["counts"] == [ATTEMPTS * 7, 0, 0]
    assert names["monitored"] == names["after"] == dict.fromkeys(ACTS, 1)
    assert names["would"] == [0, 8, 0]
