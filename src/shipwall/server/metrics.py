"""`GET /metrics` for Prometheus: sensor, alerts, sinks. Whoever asks shows the token, since names of nodes stand in labels.

The token is made at the first start in `server/metrics.token` (0600 of the server's user), for `authorization: credentials_file`.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from shipwall.adapters.files import write_whole
from shipwall.model.errors import StorageError
from shipwall.server.service import Service

TOKEN_FILE = "metrics.token"  # noqa: S105 (the name of a file)
MEDIA_TYPE = CONTENT_TYPE_LATEST
DAY_NS = 86_400 * 1_000_000_000
Row = dict[str, Any]


def read_token(folder: Path) -> str:
    """The token, made when there is none. Raises StorageError."""
    path = folder / TOKEN_FILE
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        token = secrets.token_urlsafe(32)
        write_whole(path, token.encode() + b"\n", 0o600)
        return token
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "make it readable for the server's user") from error


def is_token(header: str, token: str) -> bool:
    """Whether an Authorization header carries `token`; compared in constant time."""
    kind, _, shown = header.partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), token.encode())


async def render_metrics(service: Service) -> bytes:
    """All metrics, as text. Raises StorageError, RemoteError (the store)."""
    now_ns = time.time_ns()
    nodes = await service.rows("nodes", limit=1000)
    sinks = await service.rows("sinks", limit=100)
    counts = await service.ask(service.store.counts, now_ns - DAY_NS)
    last = await service.ask(service.store.last_outgoing)
    return render([*_nodes(nodes, now_ns), *_counts(counts, last), *_sinks(sinks, last)])


def render(families: list[Metric]) -> bytes:
    """The text form of `families`."""

    class Families:
        def collect(self) -> Iterable[Metric]:
            return families

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Families())
    return generate_latest(registry)


def _nodes(nodes: list[Row], now_ns: int) -> list[Metric]:
    up = GaugeMetricFamily("shipwall_agent_up", "1 while the node's agent is connected.", labels=["node"])
    age = GaugeMetricFamily("shipwall_agent_heard_seconds", "Seconds since the agent's last report.", labels=["node"])
    delivered = CounterMetricFamily(
        "shipwall_events_delivered", "Events that reached the agent since its start.", labels=["node"]
    )
    lost = CounterMetricFamily("shipwall_events_lost", "Events that did not, by class.", labels=["node", "class"])
    filtered = CounterMetricFamily(
        "shipwall_events_filtered", "Events no rule could match, dropped in the kernel, by class.", labels=["node", "class"]
    )
    failures = CounterMetricFamily("shipwall_helper_failures", "Failed helpers of kernel programs.", labels=["node", "helper"])
    containers = GaugeMetricFamily("shipwall_containers", "Containers the agent knows.", labels=["node"])
    memory = GaugeMetricFamily("shipwall_agent_resident_bytes", "Resident memory of the agent.", labels=["node"])
    processor = CounterMetricFamily("shipwall_agent_cpu_seconds", "Processor time of the agent.", labels=["node"])
    acts = CounterMetricFamily(
        "shipwall_acts", "What was done, or would have been, for rules and policies.", labels=["node", "act"]
    )
    missed = CounterMetricFamily(
        "shipwall_acts_missed", "What should have been enforced and was not, by cause.", labels=["node", "act", "cause"]
    )
    cost = GaugeMetricFamily(
        "shipwall_sensor_call_seconds", "Mean kernel time per system call; absent: not measured.", labels=["node"]
    )
    for row in nodes:
        node, health = str(row["node"]), row["health"]
        up.add_metric([node], float(bool(row.get("connected"))))
        if not health:
            continue
        age.add_metric([node], max(0, now_ns - int(health["time_ns"])) / 1e9)
        delivered.add_metric([node], health["delivered"])
        for name, count in sorted(health["lost"].items()):
            lost.add_metric([node, name], count)
        for name, count in sorted(health.get("filtered", {}).items()):
            filtered.add_metric([node, name], count)
        for name, count in sorted(health["helper_errors"].items()):
            failures.add_metric([node, name], count)
        for name, count in sorted((health.get("acts") or {}).items()):
            acts.add_metric([node, name], count)
        for name, count in sorted((health.get("missed") or {}).items()):
            act, _, cause = name.partition(": ")
            missed.add_metric([node, act, cause], count)
        containers.add_metric([node], health["containers"])
        memory.add_metric([node], health["rss_bytes"])
        processor.add_metric([node], health["cpu_ns"] / 1e9)
        if health["cost_ns"]:
            cost.add_metric([node], health["cost_ns"] / 1e9)
    return [up, age, delivered, filtered, lost, failures, containers, memory, processor, acts, missed, cost]


def _counts(counts: dict[str, dict[str, int]], last: int) -> list[Metric]:
    alerts = CounterMetricFamily("shipwall_alerts", "Alerts that ever arrived.")
    alerts.add_metric([], last)
    day = GaugeMetricFamily(
        "shipwall_alerts_day", "Alerts of the last 24 hours by priority; silenced ones apart.", labels=["priority"]
    )
    for priority, count in sorted(counts["alerts"].items()):
        day.add_metric([priority], count)
    admissions = GaugeMetricFamily("shipwall_admissions_day", "Admissions of the last 24 hours.", labels=["allowed"])
    for allowed, count in sorted(counts["admissions"].items()):
        admissions.add_metric([allowed], count)
    states = GaugeMetricFamily("shipwall_containers_by_state", "Containers by state, now.", labels=["state"])
    for state, count in sorted(counts["containers"].items()):
        states.add_metric([state], count)
    return [alerts, day, admissions, states]


def _sinks(sinks: list[Row], last: int) -> list[Metric]:
    sent = CounterMetricFamily("shipwall_sink_sent", "Alerts a sink took.", labels=["sink"])
    lost = CounterMetricFamily("shipwall_sink_lost", "Alerts pruned before a sink took them.", labels=["sink"])
    waiting = GaugeMetricFamily("shipwall_sink_waiting", "Alerts a sink has not looked at yet.", labels=["sink"])
    failing = GaugeMetricFamily("shipwall_sink_failing", "1 while a sink refuses alerts.", labels=["sink"])
    for row in sinks:
        name = str(row["name"])
        sent.add_metric([name], row["sent"])
        lost.add_metric([name], row["lost"])
        waiting.add_metric([name], max(0, last - int(row["position"])))
        failing.add_metric([name], float(bool(row["error"])))
    return [sent, lost, waiting, failing]
