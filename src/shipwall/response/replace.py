"""Decides how a replacement is made: the engine's own record of the frozen container, turned back into the request that makes one."""

from __future__ import annotations

import copy
from typing import Any

from shipwall.model.errors import InputError

REPLACES = "shipwall.replaces"
PLAN = "shipwall.plan"

Json = dict[str, Any]


def derive_replacement(record: Json, image: str, plan: str) -> tuple[Json, dict[str, Json]]:
    """The create body of a clean twin of the container in inspect record `record`, and the networks to join after that.

    *Shape*: `record` as the engine gave it BEFORE the container was cut from its networks. Published ports that the engine chose are
    asked for by number, so that the twin answers where the old one did. Anonymous volumes are made anew; named volumes and binds are
    shared, data is not thrown away. Static addresses and aliases are kept, but not the old id as alias or host name.
    *Raises*: InputError for a record that is none.
    """
    try:
        container = str(record["Id"])
        body: Json = copy.deepcopy(record["Config"])
        host: Json = copy.deepcopy(record["HostConfig"])
        settings: Json = record["NetworkSettings"]
        networks: Json = dict(settings.get("Networks") or {})
        ports: Json = dict(settings.get("Ports") or {})
        if not isinstance(body, dict) or not isinstance(host, dict):
            raise TypeError("Config")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("inspect record of the container", f"lacks {error}") from error
    if body.get("Hostname") == container[:12]:
        body.pop("Hostname")
    body.pop("MacAddress", None)
    body["Image"] = image
    body["Labels"] = {**(body.get("Labels") or {}), REPLACES: container, PLAN: plan}
    host["PortBindings"] = _bindings(host.get("PortBindings") or {}, ports)
    body["HostConfig"] = host
    endpoints = {str(name): _endpoint(facts, container) for name, facts in networks.items()}
    mode = str(host.get("NetworkMode") or "default")
    first = "bridge" if mode == "default" else mode
    if first in endpoints:
        body["NetworkingConfig"] = {"EndpointsConfig": {first: endpoints.pop(first)}}
    return body, endpoints


def _bindings(asked: Json, given: Json) -> Json:
    """Port bindings as they were asked for, with the number the engine gave where none was asked."""
    bindings: Json = {}
    for port, wanted in asked.items():
        numbers = [str(one.get("HostPort") or "") for one in given.get(port) or [] if isinstance(one, dict)]
        chosen = []
        for position, one in enumerate(wanted or [{}]):
            number = str(one.get("HostPort") or "")
            if number in {"", "0"} or "-" in number:  # any, or one of a range
                number = numbers[min(position, len(numbers) - 1)] if numbers else number
            chosen.append({"HostIp": str(one.get("HostIp") or ""), "HostPort": number})
        bindings[port] = chosen
    return bindings


def _endpoint(facts: Json, container: str) -> Json:
    kept = {key: facts[key] for key in ("IPAMConfig", "Links", "DriverOpts") if facts.get(key)}
    aliases = [alias for alias in facts.get("Aliases") or [] if alias != container[:12]]
    return kept | ({"Aliases": aliases} if aliases else {})
