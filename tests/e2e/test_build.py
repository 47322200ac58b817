"""Real builds: the same input gives the same digest, and the base's own apt works."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shipwall.adapters.engine import Engine
from shipwall.adapters.registry import Registry
from shipwall.journeys.build import build_base, build_image, pack_context
from shipwall.model.errors import InputError, RemoteError
from shipwall.model.image import parse_image_ref

pytestmark = [pytest.mark.engine]
Fresh = Callable[[str], str]

DOCKERFILE = """ARG BASE
FROM ${BASE}
ARG WORD=none
RUN mkdir -p /app && date +%s%N > /tmp/when && rm /tmp/when && echo $WORD > /app/word && ln /app/word /app/again
COPY . /app/
USER 10001
LABEL kept=yes
CMD ["cat", "/app/word"]
"""


def write_context(folder: Path, mask: int) -> Path:
    before = os.umask(mask)
    try:
        folder.mkdir(parents=True)
        (folder / "Dockerfile").write_text(DOCKERFILE)
        (folder / "sub").mkdir()
        (folder / "sub/file").write_text("text")
        (folder / "run.sh").write_text("#!/bin/sh\n")
        (folder / "run.sh").chmod(0o777 & ~mask)
        os.utime(folder / "run.sh", (time.time(), 1_000_000 + mask))
    finally:
        os.umask(before)
    return folder


def test_same_digest_from_elsewhere_and_later(
    engine: Engine, registry: Registry, busybox_image: str, fresh_name: Fresh, tmp_path: Path
) -> None:
    name = f"dev/{fresh_name('shop')}"
    base = parse_image_ref(busybox_image)
    first = build_image(
        write_context(tmp_path / "a", 0o022),
        engine,
        registry,
        name,
        "1",
        base=base,
        args={"WORD": "x"},
        no_cache=True,
        epoch_s=86400,
    )
    again = build_image(
        write_context(tmp_path / "b/c", 0o077),
        engine,
        registry,
        name,
        "2",
        base=base,
        args={"WORD": "x"},
        no_cache=True,
        epoch_s=86400,
    )
    other = build_image(tmp_path / "a", engine, registry, name, base=base, args={"WORD": "y"}, epoch_s=86400)
    assert first.identity == again.identity
    assert first.context == again.context
    assert other.identity.manifest != first.identity.manifest
    assert registry.resolve(name, "1") == registry.resolve(name, "2") == first.identity.manifest
    image = engine.inspect_image(f"{registry.host}/{name}:1")
    assert image["Id"] == first.identity.config
    assert image["Created"].startswith("1970-01-02T00:00:00")
    assert tuple(image["RootFS"]["Layers"]) == first.identity.diff_ids
    assert image["Config"]["Labels"] == {"kept": "yes"}
    container = engine.create(fresh_name("run"), {"Image": str(first.ref)})
    try:
        engine.start(container)
        assert engine.wait(container) == 0
        assert engine.logs(container) == b"x\n"
    finally:
        engine.remove(container, force=True)


def test_a_failing_step_is_told_in_one_line(engine: Engine, registry: Registry, busybox_image: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {busybox_image}\nRUN exit 7\n")
    with pytest.raises(RemoteError, match="returned a non-zero code: 7"):
        build_image(tmp_path, engine, registry, "dev/bad")
    (tmp_path / "Dockerfile").write_text("RUN x\n")
    with pytest.raises(InputError, match="has no FROM"):
        build_image(tmp_path, engine, registry, "dev/bad")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="neither file, folder nor link"):
        build_image(tmp_path, engine, registry, "dev/bad")
    with pytest.raises(InputError, match="is not a folder"), (tmp_path / "out").open("wb") as sink:
        pack_context(tmp_path / "none", sink)


@pytest.mark.archive
def test_base_is_of_one_pocket_and_its_apt_works(engine: Engine, registry: Registry, fresh_name: Fresh, tmp_path: Path) -> None:
    base = build_base(engine, registry, f"base/{fresh_name('debian')}", "1")
    again = build_base(None, registry, f"base/{fresh_name('debian')}", "1")
    assert base.identity == again.identity
    assert again.was_cached
    (tmp_path / "Dockerfile").write_text(
        "ARG BASE\nFROM ${BASE}\nRUN apt-get update && apt-get install -y --no-install-recommends busybox-static adduser"
        " && adduser --system probe && rm -rf /var/lib/apt/lists/*\n"
    )
    # a user added today and dpkg's logs are the usual ways for the clock to get in
    built = [
        build_image(tmp_path, engine, registry, "dev/apt", base=parse_image_ref(f"{base.ref.name}:1"), no_cache=True)
        for _ in range(2)
    ]
    assert built[0].identity == built[1].identity
    assert built[0].identity.is_child_of(base.identity)
    assert built[0].base == str(base.ref)
    container = engine.create(fresh_name("apt"), {"Image": str(base.ref), "Cmd": ["cat", "/etc/apt/sources.list"]})
    try:
        engine.start(container)
        engine.wait(container)
        assert len(engine.logs(container).splitlines()) == 1
        assert b"security" not in engine.logs(container)
    finally:
        engine.remove(container, force=True)
