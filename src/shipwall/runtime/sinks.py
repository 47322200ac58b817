"""Where alerts are sent besides the console, written in YAML:

    sinks:
      - {name: siem, kind: file, path: /var/log/shipwall/alerts.jsonl}
      - {name: syslog, kind: syslog, address: unix:/dev/log, facility: authpriv}
      - {name: remote, kind: syslog, address: "tcp://10.0.0.5:601"}
      - name: hook
        kind: webhook
        url: https://hooks.example/falco
        secret: 0f0f…                   # HMAC key, at least 16 characters
        min_priority: Warning           # default: Debug, everything
        silenced: false                 # silenced alerts too? default false

Every sink gets every alert once it is stored, in the order of arrival; what it could not take is tried again.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

import msgspec

from shipwall.lang.diagnostic import did_you_mean
from shipwall.lang.yaml_text import Node, parse_yaml
from shipwall.model.alert import PRIORITIES, Alert

KINDS = ("file", "syslog", "webhook")
FACILITIES = {
    "kern": 0,
    "user": 1,
    "daemon": 3,
    "auth": 4,
    "syslog": 5,
    "authpriv": 10,
    **{f"local{n}": 16 + n for n in range(8)},
}
MAX_SINKS = 16
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}\Z")
_KEYS = {"file": {"path"}, "syslog": {"address", "facility"}, "webhook": {"url", "secret"}}
_COMMON = {"name", "kind", "min_priority", "silenced"}


class SinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One sink. `address`: path of the file, `unix:PATH`, `udp://HOST:PORT`, `tcp://HOST:PORT`, or the webhook's URL."""

    name: str
    kind: str
    address: str
    facility: int = FACILITIES["authpriv"]
    secret: str = ""
    min_priority: str = "Debug"
    silenced: bool = False

    def wants(self, alert: Alert) -> bool:
        """Whether this sink is to get `alert`. An unknown priority counts as the highest: rather once too often."""
        if alert.silenced_by and not self.silenced:
            return False
        return rank_priority(alert.priority) <= PRIORITIES.index(self.min_priority)


def rank_priority(priority: str) -> int:
    """0 for Emergency to 7 for Debug: syslog's severities. 0 for a word that is none."""
    word = priority.capitalize()
    return PRIORITIES.index(word) if word in PRIORITIES else 0


def parse_sinks(text: str | bytes, name: str) -> tuple[SinkSettings, ...]:
    """The sinks in YAML `text`, called `name` in errors; none for an empty text. Raises InputError with line and column."""
    root = parse_yaml(text, name)
    if root.is_null():
        return ()
    nodes = root.mapping({"sinks"}, required=("sinks",))["sinks"].sequence()
    if len(nodes) > MAX_SINKS:
        raise nodes[MAX_SINKS].error(f"more than {MAX_SINKS} sinks")
    sinks: list[SinkSettings] = []
    for node in nodes:
        sink = _sink(node)
        if sink.name in {other.name for other in sinks}:
            raise node.error(f"a second sink is called {sink.name!r}", "give each a name of its own")
        sinks.append(sink)
    return tuple(sinks)


def _sink(node: Node) -> SinkSettings:
    kind = node.mapping(required=("name", "kind"))["kind"].choice(KINDS)
    keys = node.mapping(_COMMON | _KEYS[kind])
    name = keys["name"].string()
    if not _NAME.match(name):
        raise keys["name"].error(f"{name[:40]!r} is not a name", "lower-case letters, digits and dashes")
    priority = "Debug"
    if "min_priority" in keys:
        priority = keys["min_priority"].string().capitalize()
        if priority not in PRIORITIES:
            raise keys["min_priority"].error(
                f"{priority[:40]!r} is not a priority", did_you_mean(priority, PRIORITIES) or ", ".join(PRIORITIES)
            )
    facility = keys["facility"].choice(tuple(FACILITIES)) if "facility" in keys else "authpriv"
    return SinkSettings(
        name=name,
        kind=kind,
        address={"file": _path, "syslog": _syslog_address, "webhook": _url}[kind](node, keys),
        facility=FACILITIES[facility],
        secret=_secret(keys["secret"]) if "secret" in keys else "",
        min_priority=priority,
        silenced=keys["silenced"].boolean() if "silenced" in keys else False,
    )


def _path(node: Node, keys: dict[str, Node]) -> str:
    path = _required(node, keys, "path")
    if not path.startswith("/") or "\0" in path or "/../" in path:
        raise keys["path"].error("is not an absolute path")
    return path


def _syslog_address(node: Node, keys: dict[str, Node]) -> str:
    address = _required(node, keys, "address")
    if address.startswith("unix:/"):
        return address
    parts = _split(keys["address"], address)
    if parts.scheme not in {"udp", "tcp"} or not parts.hostname or not parts.port or parts.path or parts.query:
        raise keys["address"].error("is no syslog address", "unix:/dev/log, udp://HOST:PORT or tcp://HOST:PORT")
    return address


def _url(node: Node, keys: dict[str, Node]) -> str:
    url = _required(node, keys, "url")
    parts = _split(keys["url"], url)
    is_local = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if parts.scheme not in ({"http", "https"} if is_local else {"https"}) or not parts.hostname:
        raise keys["url"].error("is not an https address", "plain http only to loopback")
    if parts.username or parts.password:
        raise keys["url"].error("holds a password, which would stand in logs", "sign with `secret` instead")
    return url


def _split(node: Node, text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise node.error("is not an address") from None
    return parts


def _secret(node: Node) -> str:
    secret = node.string()
    if not 16 <= len(secret) <= 256:
        raise node.error("must have 16 to 256 characters", "for example: openssl rand -hex 32")
    return secret


def _required(node: Node, keys: dict[str, Node], key: str) -> str:
    if key not in keys:
        raise node.error(f"key {key!r} is missing", f"add `{key}:`")
    return keys[key].string()
