"""Profiles where they are used: signed beside the image in a real registry; learnt from real containers, judged, enforced as seccomp."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.e2e.test_rules_live import SERVE, ask, watching
from tests.profiles import FIRST, IMAGE, T0, read
from tests.registries import push_fresh_image, run_registry
from typer.testing import CliRunner

from shipwall.adapters.engine import Engine
from shipwall.adapters.instance import Instance
from shipwall.adapters.keys import Keys
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.adapters.profiles import ProfileStore
from shipwall.adapters.registry import Registry
from shipwall.adapters.supervise import wait_until
from shipwall.agent.core import Send
from shipwall.agent.facts import facts_of
from shipwall.cli.app import build_app
from shipwall.journeys.sign import attach_envelope
from shipwall.model.errors import ShipwallError
from shipwall.model.wire import AlertRaised
from shipwall.runtime.profile.document import Profile
from shipwall.runtime.profile.export import render_seccomp
from shipwall.runtime.profile.learn import Learner, begin
from shipwall.supply.dsse import render_public_key
from shipwall.supply.statements import PROFILE_TYPE, profile_statement, sign_statement


def _learnt(image: str) -> Profile:
    learner = Learner(begin(image, "", ("/",)))
    for at in range(0, 100, 10):
        learner.take(read(at, "/etc/shop.conf", FIRST), "")
    return learner.finish((), T0)


def _run(state: Path, *words: str) -> Any:
    said = CliRunner().invoke(build_app(), ["profile", *words, "--state", str(state), "--output", "json"])
    if said.exception is not None:
        raise said.exception
    return json.loads(said.stdout)


def test_a_signed_profile_is_taken_and_others_are_refused(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    folder = tmp_path / "registry"
    folder.mkdir()
    with run_registry(folder) as running, Registry(running.address) as registry:
        image = push_fresh_image(registry, "prod/shop", "1").manifest
        other = push_fresh_image(registry, "prod/shop", "2").manifest
        name = f"{running.address}/prod/shop"
        with pytest.raises(ShipwallError, match="has no profile here"):
            _run(here, "sign", f"{name}:1")
        ProfileStore(Instance(here).profiles).put(_learnt(image))
        assert _run(here, "sign", f"{name}:1")["kind"] == "profile"

        with pytest.raises(ShipwallError, match="no trusted key signed one"):
            _run(there, "fetch", f"{name}:1")
        signer = Keys(Instance(here).keys).signer("profile")
        Keys(Instance(there).keys).trust("profile", render_public_key(signer.public))
        said = _run(there, "fetch", f"{name}:1")
        assert (said["image"], said["mode"], said["signers"]) == (image, "monitor", ["profile"])
        assert ProfileStore(Instance(there).profiles).get(image) == _learnt(image)

        # another image's profile, signed by the right key and put beside this one
        predicate = msgspec.to_builtins(_learnt(image))
        swapped = sign_statement(profile_statement(predicate, other, "prod/shop", T0), signer)
        attach_envelope(registry, "prod/shop", registry.manifest("prod/shop", other), swapped, PROFILE_TYPE)
        with pytest.raises(ShipwallError, match="of another image than the statement's subject"):
            _run(there, "fetch", f"{name}:2")
        with pytest.raises(ShipwallError, match="no trusted key signed one"):
            _run(there, "fetch", f"{name}:1", "--key", "operations")


@pytest.mark.engine
@pytest.mark.bpf
def test_from_two_replicas_to_an_anomaly_and_a_filter(
    private_engine: PrivateEngine, engine: Engine, busybox_image: str, fresh_name: Callable[[str], str]
) -> None:
    """Learnt from two; a third is quiet until it does something else; a fourth runs under the exported filter."""
    body: dict[str, Any] = {
        "Image": busybox_image,
        "Cmd": ["sh", "-c", SERVE],
        "User": "65534:65534",
        "ExposedPorts": {"8080/tcp": {}},
        "HostConfig": {"CapDrop": ["ALL"], "Tmpfs": {"/tmp": "mode=1777,exec"}},
    }
    made: list[str] = []
    with watching(private_engine) as node:
        node.sensor.set_open_prefixes(["/"])
        core = node.core

        def serve(host_port: int, **options: Any) -> str:
            """A container that has answered; the node knows of it what the agent would."""
            ports = {"PortBindings": {"8080/tcp": [{"HostPort": str(host_port)}]}}
            container = engine.create(fresh_name("web"), {**body, "HostConfig": {**body["HostConfig"], **ports, **options}})
            made.append(container)
            engine.start(container)
            port = private_engine.forward(0, host_port)
            try:
                assert wait_until(lambda: _answers(port), 15)
            finally:
                private_engine.unforward(port)
            node.drain()
            core.handle_container(
                facts_of(engine.inspect_container(container), image_digest=IMAGE, promotion="promoted"), time.time_ns()
            )
            effects = core.handle_counted(node.sensor.calls(), time.time_ns())
            messages = [effect.message for effect in effects if isinstance(effect, Send)]
            node.alerts += [message.alert for message in messages if isinstance(message, AlertRaised)]
            return container

        try:
            core.profiles.load({IMAGE: begin(IMAGE, "", ("/",))})
            serve(18101)
            serve(18102)
            profile = Learner(core.profiles.learnt()[IMAGE]).finish((), time.time_ns())
            core.profiles.load({IMAGE: profile})
            third = serve(18103)
            # Calls are counted by cgroup, so those of the container runtime before the program count too; which of them come (signals
            # between its threads) is chance within seconds, and the product learns for longer. Nothing else may be told.
            found = [alert.output for alert in node.alerts if alert.tags == ("anomaly",)]
            assert [output for output in found if not output.startswith("new system call | ")] == []
            engine.exec_run(third, ["sh", "-c", "cp /bin/busybox /tmp/tool && /tmp/tool id"])
            wanted = "new program | /tmp/tool (tmpfs); no package of the image owns it; never seen"
            assert wait_until(lambda: node.raised() and any(alert.output.startswith(wanted) for alert in node.alerts), 10)

            filter_text = render_seccomp(profile).decode()
            fourth = serve(18104, SecurityOpt=[f"seccomp={filter_text}"])
            assert engine.exec_run(fourth, ["mkfifo", "/tmp/pipe"])[0] != 0  # the engine's own filter lets it
            assert engine.exec_run(third, ["mkfifo", "/tmp/pipe"])[0] == 0
        finally:
            for container in made:
                engine.remove(container, force=True)


def _answers(port: int) -> bool:
    try:
        return ask(port, "/index.html").endswith(b"hello\n")
    except OSError:
        return False
