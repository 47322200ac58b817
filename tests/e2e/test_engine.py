"""The engine client against the real engine: every method once, and the engine's own words in errors."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from shipwall.adapters.engine import Engine
from shipwall.adapters.registry import Registry
from shipwall.adapters.streams import ChunkFile
from shipwall.model.errors import InputError, RemoteError

pytestmark = [pytest.mark.engine]
Fresh = Callable[[str], str]


def test_life_of_a_container(engine: Engine, busybox_image: str, fresh_name: Fresh) -> None:
    name, other = fresh_name("life"), fresh_name("life")
    command = ["sh", "-c", "echo out; echo err >&2; echo kept > /kept; exec sleep 300"]
    container = engine.create(name, {"Image": busybox_image, "Cmd": command, "Labels": {"probe": "1"}})
    try:
        engine.start(container)
        assert engine.inspect_container(name)["State"]["Running"]
        code, output = engine.exec_run(container, ["sh", "-c", "id -u; echo gone wrong >&2; exit 7"])
        assert (code, sorted(output.splitlines())) == (7, [b"0", b"gone wrong"])  # two streams: no order between them
        assert sorted(engine.logs(container).split()) == [b"err", b"out"]
        assert {"Path": "/kept", "Kind": 1} in engine.changes(container)
        with tarfile.open(fileobj=ChunkFile(engine.archive(container, "/kept")), mode="r|") as archive:
            assert [entry.name for entry in archive] == ["kept"]
        engine.pause(container)
        assert engine.inspect_container(container)["State"]["Paused"]
        engine.unpause(container)
        engine.rename(container, other)
        assert engine.containers(filters={"name": [other]})[0]["Id"] == container
        network = engine.inspect_network("bridge")
        assert container in network["Containers"]
        engine.disconnect("bridge", container)
        assert container not in engine.inspect_network("bridge")["Containers"]
        engine.connect("bridge", container)
        engine.kill(container)
        assert engine.wait(container) == 137
        engine.stop(container, grace_s=0)
    finally:
        engine.remove(container, force=True)
    with pytest.raises(RemoteError, match="No such container") as refused:
        engine.inspect_container(container)
    assert refused.value.status == 404


def test_events_and_one_request_header(engine: Engine, busybox_image: str, fresh_name: Fresh) -> None:
    container = engine.create(fresh_name("events"), {"Image": busybox_image, "Cmd": ["true"]}, headers={"X-Probe": "1"})
    seen: list[str] = []

    def listen() -> None:
        filters = {"container": [container]}
        seen.extend(event["Action"] for event in engine.events(since="1", filters=filters, idle_s=1.5))

    listener = threading.Thread(target=listen)
    listener.start()
    engine.start(container)
    engine.wait(container)
    engine.remove(container)
    listener.join(20)
    assert [action for action in seen if action in {"create", "start", "die", "destroy"}] == ["create", "start", "die", "destroy"]


def test_images_go_out_and_in_again(engine: Engine, registry: Registry, busybox_image: str, fresh_name: Fresh) -> None:
    repository = f"{registry.host}/dev/{fresh_name('shop')}"
    engine.tag(busybox_image, repository, "1")
    digest = engine.push(repository, "1")
    path = repository.partition("/")[2]
    assert registry.resolve(path, "1") == digest == registry.manifest(path, digest).digest
    saved = list(engine.save_image(f"{repository}:1"))
    engine.remove_image(f"{repository}:1")
    assert engine.load(saved) == [f"{repository}:1"]
    assert f"{repository}@{digest}" in engine.pull(f"{repository}@{digest}")["RepoDigests"]
    with pytest.raises(InputError, match="neither a tag nor a digest"):
        engine.pull(repository)
    with pytest.raises(RemoteError, match=r"not found|manifest unknown"):
        engine.pull(f"{repository}:none")
    for image in engine.images():
        for name in image["RepoTags"] or []:
            if name.startswith(repository):
                engine.remove_image(name)


def test_build_says_what_went_wrong(engine: Engine, busybox_image: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        text = f"FROM {busybox_image}\nARG WORD\nRUN echo $WORD > /word && test $WORD = good\n".encode()
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    lines: list[str] = []
    image = engine.build([buffer.getvalue()], args={"WORD": "good"}, network="none", log=lines.append)
    assert engine.inspect_image(image)["Id"] == image
    assert any(line.startswith("Step 3/3") for line in lines)
    with pytest.raises(RemoteError, match="returned a non-zero code"):
        engine.build([buffer.getvalue()], args={"WORD": "bad"}, network="none")
    engine.remove_image(image)


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    with Engine(tmp_path / "no.sock") as engine:
        assert not engine.ping()
        with pytest.raises(RemoteError, match=r"engine at .*no\.sock: .*; start it") as error:
            engine.version()
    assert error.value.status == 0
