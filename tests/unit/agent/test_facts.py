"""The engine's record of a container in Shipwall's words."""

from __future__ import annotations

from shipwall.agent.facts import facts_of
from shipwall.model.container import MountFact


def test_namespaces_address_and_mounts() -> None:
    record = {
        "Id": "a" * 64,
        "Name": "/web",
        "Image": "sha256:" + "0" * 64,
        "Created": "2026-01-01T00:00:00Z",
        "HostConfig": {"PidMode": "host", "NetworkMode": "bridge", "IpcMode": "private", "Privileged": True},
        "NetworkSettings": {"IPAddress": "", "Networks": {"b": {"IPAddress": "10.0.0.2"}, "a": {"IPAddress": ""}}},
        "Mounts": [
            {"Type": "bind", "Source": "/proc", "Destination": "/host", "Mode": "ro", "RW": False, "Propagation": "rslave"},
            {"Type": "tmpfs", "Source": "", "Destination": "/run", "RW": True},
            "odd",
        ],
    }
    facts = facts_of(record, image_digest=None, promotion="unknown")
    assert (facts.host_pid, facts.host_network, facts.host_ipc, facts.ip) == (True, False, False, "10.0.0.2")
    assert facts.mounts == (
        MountFact(source="/proc", destination="/host", mode="ro", writable=False, propagation="rslave"),
        MountFact(source="", destination="/run"),
    )
