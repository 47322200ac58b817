"""What the engine hands to an authorization plugin → a request about which there is nothing left to misunderstand, or a refusal.

*Trust*: the envelope is the engine's own; method, URI, headers and body in it are whatever anyone on the engine's socket sent. The
engine's parser, not this one, decides what happens, so each place where the two could read different things is refused:

1. the URI: no escapes, empty or dot segments in the path, no `;`, no parameter twice, no API version below 1.25 (settings at start);
2. the body's presence: the engine hands over no body that is 1 MiB or more, chunked, or not `application/json`, and a form body would
   override the query; so where a body is wanted all its announced bytes must be there, and where none is wanted none may be announced;
3. the body's text: strict JSON, keys only as documented, each once.

Source: moby pkg/authorization/authz.go, api/server/middleware, net/http's ParseForm; CVE-2018-20699, CVE-2024-41110.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from shipwall.access.routes import Route, find_route
from shipwall.access.schema import find_limits, find_misfits
from shipwall.lang.strict_json import parse_json
from shipwall.model.errors import InputError
from shipwall.model.verdict import Evidence, Reason

ACT_HEADER = "X-Shipwall-Act"
MAX_URI_CHARS = 16 * 1024
MAX_BODY_BYTES = 1024 * 1024
MIN_VERSION = 25

_PATH = re.compile(r"/[A-Za-z0-9._~:@/-]*\Z")
_QUERY = re.compile(r"[!-~]*\Z")
_PARAMETER = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_VERSION = re.compile(r"/v1\.([1-9][0-9])(?=/)")
_LENGTH = re.compile(r"(?:0|[1-9][0-9]{0,9})\Z")
_JSON_TYPE = re.compile(r"application/json(?:;\s*charset=\"?utf-8\"?)?\Z", re.IGNORECASE)


class RequestRefused(InputError):  # noqa: N818 - it is a refusal, and read as one
    """The request is refused before anything is judged; `given` is the reason."""

    def __init__(self, given: Reason) -> None:
        self.given = given
        super().__init__("engine request", given.message, given.next_step)


class Envelope(msgspec.Struct, frozen=True, rename="pascal"):
    """The plugin protocol's message (AuthZReq and AuthZRes), as far as it is used."""

    request_method: str = ""
    request_uri: str = ""
    request_headers: dict[str, str] | None = None
    request_body: bytes | None = None
    response_status_code: int = 0
    response_body: bytes | None = None


class EngineRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A call of the engine. `route` is a name from `routes.py`, `kind` read, act or never; `names` come from the path."""

    method: str
    uri: str
    route: str
    kind: str
    names: dict[str, str] = {}
    query: dict[str, str] = {}
    body: dict[str, Any] | None = None

    @property
    def container(self) -> str:
        """The container it names (name, id or short id), empty if none."""
        named = (self.body or {}).get("Container") if self.route in ("network-connect", "network-disconnect") else None
        return self.names.get("container", "") or (named if isinstance(named, str) else "")

    @property
    def subject(self) -> str:
        """What it is about, for people."""
        image = (self.body or {}).get("Image")
        return self.container or (image if isinstance(image, str) else "") or next(iter(self.names.values()), "")


_envelope_decoder = msgspec.json.Decoder(Envelope)


def parse_envelope(data: bytes) -> Envelope:
    """The engine's message to the plugin. Total: raises InputError."""
    try:
        return _envelope_decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise InputError("plugin message", str(error)) from error


def parse_request(method: str, uri: str, headers: Mapping[str, str], body: bytes) -> EngineRequest:
    """The request that these four parts are. Total. Raises RequestRefused. *On failure*: closed."""
    path, query = _parse_uri(uri)
    found = find_route(method, _unversioned(path))
    if found is None:
        raise _refused(
            "unknown-call", f"{method[:16]!r} {_cut(path)} is no call that is known here", "use the engine's documented API"
        )
    route, names = found
    if route.kind == "never":
        return EngineRequest(method=method, uri=uri, route=route.name, kind=route.kind, names=_given(names))
    parameters = _parse_query(query, route)
    value = None
    if route.body is not None:
        value = _parse_body(headers, body, route)
    elif not route.hidden_body:
        _check_bodyless(method, headers, body)
    return EngineRequest(
        method=method, uri=uri, route=route.name, kind=route.kind, names=_given(names), query=parameters, body=value
    )


def _parse_uri(uri: str) -> tuple[str, str]:
    """Step 1: path and query, both plain."""
    if len(uri) > MAX_URI_CHARS:
        raise _refused("uri-too-long", f"its URI has {len(uri)} characters, more than {MAX_URI_CHARS}")
    path, _, query = uri.partition("?")
    segments = path.split("/")[1:]
    if not _PATH.match(path) or any(segment in ("", ".", "..") for segment in segments):
        raise _refused(
            "uri-not-plain",
            f"its path {_cut(path)} has escapes, empty or dot segments",
            "write the path plainly, without % . or //",
        )
    if not _QUERY.match(query) or "#" in query or ";" in query or _ESCAPE.search(query):
        raise _refused("uri-not-plain", "its query has ; # a bad escape or unprintable characters", "encode the values as %XX")
    return path, query


def _unversioned(path: str) -> str:
    version = _VERSION.match(path)
    if version is not None:
        if int(version.group(1)) < MIN_VERSION:
            raise _refused(
                "api-version", f"API 1.{version.group(1)} is older than 1.{MIN_VERSION}", f"use API 1.{MIN_VERSION} or newer"
            )
        return path[version.end() :]
    if re.match(r"/v[0-9.]+(?:/|\Z)", path):
        raise _refused("api-version", f"{_cut(path.split('/')[1])} is no API version known here", "use /v1.41, or none")
    return path


def _parse_query(query: str, route: Route) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for part in query.split("&") if query else ():
        key, _, raw = part.partition("=")
        if not _PARAMETER.match(key):
            raise _refused(
                "query-parameter", f"its parameter {_cut(key)} is not plain", "name parameters as the API documents them"
            )
        if key in parameters and key not in route.repeatable:
            raise _refused("query-duplicate", f"its parameter {key} is given twice", "give it once")
        if route.query is not None and key not in route.query:
            raise _refused("query-parameter", f"its parameter {key} is not known for {route.name}", "leave it out")
        try:
            value = unquote_to_bytes(raw.replace("+", " ")).decode("utf-8")
        except UnicodeDecodeError as error:
            raise _refused("query-parameter", f"its parameter {key} is not UTF-8") from error
        if "\0" in value:
            raise _refused("query-parameter", f"its parameter {key} has a NUL in it")
        parameters[key] = value
    return parameters


def _check_bodyless(method: str, headers: Mapping[str, str], body: bytes) -> None:
    """Step 2, no body wanted. The engine reads form bodies only of POST, PUT and PATCH, and only when a content type says so."""
    length, content_type = _header(headers, "Content-Length"), _header(headers, "Content-Type")
    announced = length not in (None, "0") or (method == "POST" and length is None and content_type is not None)
    if body or announced:
        raise _refused(
            "body-unexpected", "it has a body, or hides whether it has one, where none belongs", "send Content-Length: 0"
        )


def _parse_body(headers: Mapping[str, str], body: bytes, route: Route) -> dict[str, Any]:
    """Steps 2 and 3, a body wanted."""
    content_type = _header(headers, "Content-Type") or ""
    length = _header(headers, "Content-Length")
    if not _JSON_TYPE.match(content_type):
        raise _refused("body-type", f"its content type is {_cut(content_type)}", "send Content-Type: application/json")
    if length is None or not _LENGTH.match(length):
        raise _refused("body-length", "it does not say how long its body is (chunked?)", "send Content-Length")
    if int(length) >= MAX_BODY_BYTES:
        raise _refused(
            "body-too-large",
            f"its body has {length} bytes; the engine hides bodies of 1 MiB and more from its plugins",
            "make it smaller than 1 MiB",
        )
    if len(body) != int(length) or not body:
        raise _refused(
            "body-hidden",
            f"the engine handed over {len(body)} of {length} bytes of its body",
            "send JSON with Content-Length, smaller than 1 MiB",
        )
    try:
        value = parse_json(body, "body", MAX_BODY_BYTES)
    except InputError as error:
        code = "json-duplicate-key" if "twice" in error.reason else "json-malformed"
        raise _refused(code, f"its body {error.reason}", "send plain JSON, each key once") from error
    if not isinstance(value, dict):
        raise _refused("json-wrong-type", "its body is not an object")
    if limit := find_limits(value):
        raise _refused("json-limits", f"its body is too much: {limit}")
    assert route.body is not None
    if misfits := [misfit for _, misfit in zip(range(8), find_misfits(value, route.body), strict=False)]:
        first = misfits[0]
        paths = tuple(Evidence(kind="request", ref=misfit.path, detail=misfit.message) for misfit in misfits)
        step = (
            "leave it out; settings unknown here are never passed on"
            if first.code == "json-unknown-key"
            else "write it as documented"
        )
        raise RequestRefused(Reason(code=first.code, message=first.message, evidence=paths, next_step=step))
    return value


def _header(headers: Mapping[str, str], name: str) -> str | None:
    """The header's value; the engine hands over the last where there are several."""
    return next((value.strip() for key, value in headers.items() if key.lower() == name.lower()), None)


def _given(names: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in names.items() if value is not None}


def _cut(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:120] + "...")


def _refused(code: str, message: str, next_step: str = "") -> RequestRefused:
    return RequestRefused(Reason(code=code, message=message, next_step=next_step))
