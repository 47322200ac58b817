"""The private engine's way out: slirp4netns asked for port forwards, and address ranges that meet no route of the host."""

from __future__ import annotations

import ipaddress
import json
import secrets
import socket
from pathlib import Path
from typing import Any

from shipwall.model.errors import RemoteError, UnsupportedError

HOST = "127.0.0.1"
TAP_NETWORK = ipaddress.IPv4Network("10.0.2.0/24")  # slirp4netns's default


class UserNetwork:
    """A running slirp4netns, asked through its API socket `path`; `guest_address` is the namespace's own."""

    def __init__(self, path: Path, guest_address: str) -> None:
        self.path = path
        self.guest_address = guest_address

    def forward(self, host_port: int, guest_port: int) -> int:
        """Make `127.0.0.1:host_port` of the host reach `guest_port` inside; 0 picks a free port. Returns the host's port."""
        for _ in range(20):
            port = host_port or free_port()
            arguments = {
                "proto": "tcp",
                "host_addr": HOST,
                "host_port": port,
                "guest_addr": self.guest_address,
                "guest_port": guest_port,
            }
            try:
                self._ask("add_hostfwd", arguments)
            except RemoteError:
                if host_port:
                    raise
                continue
            return port
        raise RemoteError("port forward", "found no free port", "is the host out of ports?")

    def unforward(self, host_port: int) -> bool:
        """End the forward of the host's port; False when there is none."""
        for entry in self._ask("list_hostfwd", {}).get("entries", []):
            if entry.get("host_port") == host_port:
                self._ask("remove_hostfwd", {"id": entry["id"]})
                return True
        return False

    def _ask(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Ask slirp4netns. Source: slirp4netns(1), API SOCKET."""
        parts = b""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.settimeout(5)
                client.connect(str(self.path))
                client.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
                client.shutdown(socket.SHUT_WR)
                while len(parts) < 1 << 20 and (part := client.recv(65536)):
                    parts += part
            answer = json.loads(parts)
        except (OSError, ValueError) as error:
            raise RemoteError("private engine's network", str(error), "is it running? shipwall engine status") from error
        if "error" in answer:
            said = answer["error"].get("desc", "refused") if isinstance(answer["error"], dict) else "refused"
            raise RemoteError("private engine's network", f"{command}: {said}", "is the port in use?")
        result = answer.get("return", answer)  # a list comes bare, although the manual shows it inside `return`
        return result if isinstance(result, dict) else {}


def free_port() -> int:
    """A TCP port of the loopback address that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def parse_routes(text: str) -> list[ipaddress.IPv4Network]:
    """The networks of /proc/net/route, the default route left out; lines that are none are skipped."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        try:
            address, mask = (int.from_bytes(bytes.fromhex(fields[index])[::-1], "big") for index in (1, 7))
            network = ipaddress.IPv4Network((address, mask.bit_count()), strict=False)
        except (ValueError, IndexError):
            continue
        if network.prefixlen:
            found.append(network)
    return found


def choose_networks(routes: str) -> tuple[str, str]:
    """Address and width of the bridge, and the pool of further networks: random parts of 10/8 that meet no route of the host."""
    taken = [*parse_routes(routes), TAP_NETWORK]
    for _ in range(1000):
        block = ipaddress.IPv4Network((10 << 24 | secrets.randbelow(256) << 16, 16))
        if not any(block.overlaps(network) for network in taken):
            low, high = block.subnets(prefixlen_diff=1)
            bridge = next(low.subnets(new_prefix=24))
            return f"{bridge[1]}/24", f"base={high},size=24"
    raise UnsupportedError("private engine", "finds no free network in 10.0.0.0/8", "free one of the host's routes")
