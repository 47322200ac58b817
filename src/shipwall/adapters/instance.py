"""Where one installation of Shipwall keeps its files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_STATE = Path("/var/lib/shipwall")


@dataclass(frozen=True)
class Instance:
    """The folders of one installation; several may live on one host. Nothing is created by asking.

    `state`/agent (0700 root), /server (server's user), /run (sockets), /keys (0700), /engine (a private engine), /evidence, /advisories.
    """

    state: Path

    @property
    def agent(self) -> Path:
        """Journal, outbox and caches of the agent."""
        return self.state / "agent"

    @property
    def rule_costs(self) -> Path:
        """What each rule cost this node's agent since its start, as JSON."""
        return self.agent / "rule-costs.json"

    @property
    def server(self) -> Path:
        """Database of the server."""
        return self.state / "server"

    @property
    def run(self) -> Path:
        """Sockets and process records."""
        return self.state / "run"

    @property
    def keys(self) -> Path:
        """Private signing keys, 0600 each; the public halves beside them."""
        return self.state / "keys"

    @property
    def evidence(self) -> Path:
        """Sealed bundles."""
        return self.state / "evidence"

    @property
    def engine(self) -> Path:
        """State of a private engine and registry."""
        return self.state / "engine"

    @property
    def advisories(self) -> Path:
        """The database of advisories; readable by everybody."""
        return self.state / "advisories" / "advisories.sqlite"

    @property
    def fleet(self) -> Path:
        """Which image has which packages; readable by the server."""
        return self.state / "fleet" / "fleet.db"

    @property
    def observed(self) -> Path:
        """Which files of which image were seen executed here."""
        return self.state / "observed"

    @property
    def network_guard(self) -> Path:
        """Pins of the network guard, and what is in force by it."""
        return self.state / "guard" / "network"

    @property
    def file_guard(self) -> Path:
        """Socket, log and record of the process that answers for files."""
        return self.state / "guard" / "files"

    @property
    def profiles(self) -> Path:
        """What the containers of each image normally do."""
        return self.state / "profiles"

    @property
    def link_socket(self) -> Path:
        """Where the server hears agent and command line (wire form)."""
        return self.run / "link.sock"


def find_instance(state: Path | None = None) -> Instance:
    """The instance named by `state`, else by $SHIPWALL_STATE, else the default of root or of this user."""
    if state is None and (named := os.environ.get("SHIPWALL_STATE")):
        state = Path(named)
    if state is None:
        state = DEFAULT_STATE if os.geteuid() == 0 else Path.home() / ".local/state/shipwall"
    return Instance(state.absolute())


def find_cache() -> Path:
    """Where downloads may be kept: $SHIPWALL_CACHE, else the default of root or of this user. Losing it costs only time."""
    if named := os.environ.get("SHIPWALL_CACHE"):
        return Path(named).absolute()
    return Path("/var/cache/shipwall") if os.geteuid() == 0 else Path.home() / ".cache/shipwall"
