"""The HTTP side: who may ask, what they get, and what is refused."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from tests.server_process import (
    NODE,
    SHOP_ID,
    PlayedAgent,
    ServerProcess,
    a_container,
    a_waiting_plan,
    an_alert,
    digest_of,
    running_server,
    tell_story,
    wait_for,
)

from shipwall.adapters.unprivileged import SERVER_ID
from shipwall.model.wire import AlertRaised, EvidenceStored

KINDS = (
    "alerts", "containers", "steps", "evidence", "health", "nodes", "admissions", "responses", "events", "silences", "commands",
    "audit",
)  # fmt: skip
PAGES = ("/", "/containers", "/alerts", "/evidence", "/admissions", "/audit")


def change_token(visitor: httpx.Client) -> str:
    found = re.search(r'name="shipwall-token" content="([0-9a-f]{64})"', visitor.get("/").text)
    assert found
    return found[1]


def change(visitor: httpx.Client, path: str, value: object, **headers: str) -> httpx.Response:
    origin = str(visitor.base_url).rstrip("/")
    return visitor.post(path, json=value, headers={"Origin": origin, "X-Shipwall-Token": change_token(visitor), **headers})


def test_nothing_is_shown_without_a_session(server: ServerProcess) -> None:
    with httpx.Client(base_url=server.url) as nobody:
        for path in PAGES:
            answer = nobody.get(path)
            assert (answer.status_code, answer.headers.get("location"), answer.text) == (303, "/login", "")
        for path in (
            *(f"/api/v1/{kind}" for kind in KINDS),
            "/api/v1/stream",
            "/api/v1/openapi.json",
            "/api/v1/evidence/x/download",
        ):
            assert nobody.get(path).status_code == 401, path
            assert nobody.get(path, headers={"Cookie": f"shipwall-{urlsplit(server.url).port}=guess"}).status_code == 401
        for path in ("/api/v1/silences", "/api/v1/logout", f"/api/v1/containers/{SHOP_ID}/freeze"):
            assert nobody.post(path, json={}, headers={"Origin": server.url}).status_code == 401, path
        assert nobody.get("/docs").status_code == 404
        assert nobody.get("/openapi.json").status_code == 404


def test_a_link_works_once_and_its_cookie_is_closed(server: ServerProcess) -> None:
    link = server.login_link()
    assert link.startswith(server.url + "/login#")
    token = link.split("#")[1]
    with httpx.Client(base_url=server.url, headers={"Origin": server.url}) as client:
        first = client.post("/api/v1/login", json={"token": token})
        assert first.status_code == 204
        cookie = first.headers["set-cookie"]
        for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
            assert part in cookie
        assert "Secure" not in cookie
        second = client.post("/api/v1/login", json={"token": token}, headers={"Cookie": ""})
        assert second.status_code == 400
        assert "used already" in second.json()["line"]
        assert "set-cookie" not in second.headers
    text = server.log.read_text()
    secret = cookie.split("=")[1].split(";")[0]
    assert token not in text
    assert secret not in text
    if os.geteuid() == 0:  # nor in the database
        stored = b"".join(path.read_bytes() for path in server.instance.server.iterdir())
        assert token.encode() not in stored
        assert secret.encode() not in stored


def test_logging_out_ends_the_session_everywhere(server: ServerProcess, visitor: httpx.Client) -> None:
    cookies = dict(visitor.cookies)
    assert change(visitor, "/api/v1/logout", {}).status_code == 204
    with httpx.Client(base_url=server.url, cookies=cookies) as thief:
        assert thief.get("/api/v1/alerts").status_code == 401


def test_a_change_needs_origin_and_token(server: ServerProcess, agent: PlayedAgent, visitor: httpx.Client) -> None:
    agent.say(a_container(SHOP_ID, "shop", now_ns=time.time_ns()))
    path, body, token = f"/api/v1/containers/{SHOP_ID}/freeze", {"reason": "because"}, change_token(visitor)
    good = {"Origin": server.url, "X-Shipwall-Token": token}
    for bad in (
        {"Origin": server.url}, {"X-Shipwall-Token": token}, {**good, "X-Shipwall-Token": "0" * 64}, {**good, "X-Shipwall-Token": ""},
        {**good, "Origin": "http://127.0.0.1:1"}, {**good, "Origin": "null"}, {**good, "Origin": "http://evil.example"},
        {**good, "Origin": server.url + ".evil.example"}, {**good, "Sec-Fetch-Site": "cross-site"}, {**good, "Sec-Fetch-Site": "same-site"},
    ):  # fmt: skip
        assert visitor.post(path, json=body, headers=bad).status_code == 403, bad
    assert visitor.post(path, content=json.dumps(body), headers={**good, "Content-Type": "text/plain"}).status_code == 415
    assert visitor.put(path, json=body, headers=good).status_code == 405
    assert visitor.get(path).status_code in {404, 405}
    assert agent.commands == []
    done = visitor.post(path, json=body, headers=good)
    assert (done.status_code, done.json()["detail"]) == (200, "shop is frozen")
    assert len(agent.commands) == 1


def test_a_plan_is_rejected_with_origin_and_token_only(server: ServerProcess, agent: PlayedAgent, visitor: httpx.Client) -> None:
    agent.say(a_container(SHOP_ID, "shop", now_ns=time.time_ns()), a_waiting_plan("p-waits", time.time_ns()))
    assert (
        visitor.post("/api/v1/responses/p-waits/reject", json={"reason": "because"}, headers={"Origin": server.url}).status_code
        == 403
    )
    assert change(visitor, "/api/v1/responses/p-waits/freeze", {"reason": "because"}).status_code == 404
    assert change(visitor, "/api/v1/responses/p-waits/reject", {"reason": ""}).status_code == 400
    assert agent.commands == []
    done = change(visitor, "/api/v1/responses/p-waits/reject", {"reason": "because"})
    assert (done.status_code, done.json()["detail"]) == (200, "reject p-waits")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost", "", "127.0.0.1.evil.example:80"])
def test_another_host_name_is_not_served(server: ServerProcess, host: str) -> None:
    answer = httpx.get(server.url + "/login", headers={"Host": host})
    assert answer.status_code in {400, 421}
    port = urlsplit(server.url).port
    assert httpx.get(server.url + "/login", headers={"Host": f"localhost:{port}"}).status_code == 200


def test_another_site_may_only_lead_here(server: ServerProcess) -> None:
    for mode, status in (("no-cors", 403), ("cors", 403), ("navigate", 200)):
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
        assert httpx.get(server.url + "/login", headers=headers).status_code == status


def test_every_answer_carries_the_headers(server: ServerProcess, visitor: httpx.Client) -> None:
    answers = [
        visitor.get(path)
        for path in (*PAGES, "/login", "/nothing", "/api/v1/alerts", "/api/v1/alerts?nonsense=1", "/static/app.js")
    ]
    answers.append(httpx.get(server.url, headers={"Host": "evil.example"}))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] in {"no-store", "no-cache"}
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def test_pages_hold_no_inline_script_style_or_foreign_address(
    server: ServerProcess, agent: PlayedAgent, visitor: httpx.Client
) -> None:
    tell_story(agent, time.time_ns())
    for path in (*PAGES, "/login", "/nothing"):
        page = visitor.get(path).text
        assert not re.search(r"<script(?![^>]*\ssrc=\"/static/)", page), path
        assert not re.search(r"\s(style|on[a-z]+)=", page), path
        assert "<style" not in page
        for address in re.findall(r"(?:src|href|action)=\"([^\"]*)\"", page):
            assert re.match(r"(/[^/]?|#)", address), (path, address)
    for name in ("app.js", "app.css", "login.js", "theme.js", "icon.svg"):
        text = visitor.get(f"/static/{name}").text.replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text
        assert "innerHTML" not in text
        assert "eval(" not in text


@pytest.mark.parametrize("name", ["../main.py", "..%2fmain.py", "%2e%2e/main.py", "nothing.js", ""])
def test_static_files_are_those_and_no_others(server: ServerProcess, name: str) -> None:
    assert httpx.get(f"{server.url}/static/{name}").status_code in {303, 404}


def test_bodies_are_bounded(server: ServerProcess, visitor: httpx.Client) -> None:
    assert change(visitor, "/api/v1/silences", {"rule": "x" * 100_000, "reason": "because", "minutes": 5}).status_code == 413

    def endless() -> object:
        for _ in range(100):
            yield b'{"reason": "' + b"x" * 4096

    headers = {"Origin": server.url, "X-Shipwall-Token": change_token(visitor), "Content-Type": "application/json"}
    with contextlib.suppress(httpx.WriteError):  # the server may end it first
        assert visitor.post("/api/v1/silences", content=endless(), headers=headers).status_code == 413
    host = urlsplit(server.url).netloc
    for length in ("-1", "1e3", "99999999999999999999", "0x10"):
        with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), 5) as plain:
            head = f"POST /api/v1/login HTTP/1.1\r\nHost: {host}\r\nOrigin: {server.url}\r\nContent-Length: {length}\r\n\r\n"
            plain.sendall(head.encode())
            assert plain.recv(100).split(b" ")[1] in {b"400", b"413", b"415"}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"token": 5}', b'{"token": "x", "more": 1}', b"[" * 5000, b"\xff\xfe", b'{"token":"sesame"}'],
)
def test_a_bad_body_is_a_line_that_repeats_nothing(server: ServerProcess, body: bytes) -> None:
    headers = {"Origin": server.url, "Content-Type": "application/json"}
    answer = httpx.post(server.url + "/api/v1/login", content=body, headers=headers)
    assert answer.status_code == 400
    assert set(answer.json()) == {"thing", "reason", "next_step", "line"}
    assert "sesame" not in answer.text


def test_login_attempts_are_limited() -> None:
    with running_server() as fresh, httpx.Client(base_url=fresh.url, headers={"Origin": fresh.url}) as client:
        statuses = [client.post("/api/v1/login", json={"token": f"guess-{i}"}).status_code for i in range(12)]
        assert statuses == [400] * 10 + [429] * 2


def test_rows_are_those_of_the_command_line(server: ServerProcess, agent: PlayedAgent, visitor: httpx.Client) -> None:
    tell_story(agent, time.time_ns())
    for kind in KINDS:
        answer = visitor.get(f"/api/v1/{kind}", params={"limit": "5"})
        assert answer.status_code == 200, (kind, answer.text)
        if kind != "audit":  # asking is itself noted
            assert answer.json() == json.loads(json.dumps(server.ask(kind, limit=5))), kind
    assert [row["id"] for row in visitor.get("/api/v1/alerts", params={"rule": "Shell connected to the network"}).json()] == [
        "a-back"
    ]
    for bad in ({"nonsense": "1"}, {"limit": "x"}, {"limit": "-1"}, {"limit": "1" * 9}):
        assert visitor.get("/api/v1/alerts", params=bad).status_code == 400


def test_the_api_is_described(visitor: httpx.Client) -> None:
    document = visitor.get("/api/v1/openapi.json").json()
    assert document["openapi"].startswith("3.")
    assert {f"/api/v1/{kind}" for kind in KINDS} <= set(document["paths"])
    assert not any(path.startswith("/login") for path in document["paths"])
    named = re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document))
    assert set(named) <= set(document["components"]["schemas"])


def test_a_silence_by_api(server: ServerProcess, agent: PlayedAgent, visitor: httpx.Client) -> None:
    made = change(visitor, "/api/v1/silences", {"rule": "noisy", "reason": "load test", "minutes": 5, "container_name": "shop"})
    assert made.status_code == 201, made.text
    wait_for(lambda: any(pushed.silence.id == made.json()["id"] for pushed in agent.silences))
    assert change(visitor, f"/api/v1/silences/{made.json()['id']}/end", {}).status_code == 200
    wait_for(lambda: agent.silences[-1].silence.until_ns <= time.time_ns())
    for bad in ({"rule": "", "reason": "because", "minutes": 5}, {"rule": "r", "reason": "x", "minutes": 5},
                {"rule": "r", "reason": "because", "minutes": 0}, {"rule": "r", "reason": "because", "minutes": 10**9}):  # fmt: skip
        assert change(visitor, "/api/v1/silences", bad).status_code == 400
    assert change(visitor, "/api/v1/silences/none/end", {}).status_code == 400
    assert change(visitor, f"/api/v1/containers/{SHOP_ID}/explode", {"reason": "because"}).status_code == 404


def bundle(name: str, path: Path | str) -> EvidenceStored:
    return EvidenceStored(
        node=NODE, bundle=name, head=digest_of(b"x"), records=1, size_bytes=1, path=str(path), container=SHOP_ID, alert="a",
        image_digest=None, time_ns=time.time_ns(),
    )  # fmt: skip


def test_evidence_is_handed_over_whole_and_noted(server: ServerProcess, agent: PlayedAgent, visitor: httpx.Client) -> None:
    content = os.urandom(3_000_000)
    path = server.instance.evidence / 'e 1".evidence'
    path.write_bytes(content)
    os.chown(path, os.geteuid(), SERVER_ID if os.geteuid() == 0 else -1)
    path.chmod(0o640)
    agent.say(bundle("e1", path))
    answer = visitor.get("/api/v1/evidence/e1/download")
    assert answer.content == content
    assert answer.headers["content-disposition"] == 'attachment; filename="e_1_.evidence"'
    assert server.ask("audit")[-1]["action"] == "download evidence"


def test_evidence_comes_from_its_folder_alone(server: ServerProcess, agent: PlayedAgent, visitor: httpx.Client) -> None:
    folder = server.instance.evidence
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "folder").mkdir()
    (folder / "private").write_bytes(b"secret")
    (folder / "private").chmod(0o600)
    agent.say(*(bundle(name, path) for name, path in (
        ("passwd", "/etc/passwd"), ("dots", "../server.log"), ("link", folder / "link"), ("folder", folder / "folder"), ("up", ".."),
        ("root", "/"), ("empty", ""), ("nul", "a\0b"),
    )))  # fmt: skip
    for name in ("passwd", "dots", "link", "folder", "up", "root", "empty", "nul"):
        answer = visitor.get(f"/api/v1/evidence/{name}/download")
        assert answer.status_code == 503, (name, answer.text)
        assert "root:" not in answer.text
    if os.geteuid() == 0:
        agent.say(bundle("private", folder / "private"))
        answer = visitor.get("/api/v1/evidence/private/download")
        assert answer.status_code == 503
        assert "copy it as root" in answer.json()["line"]
    assert visitor.get("/api/v1/evidence/unknown/download").status_code == 404


def test_the_stream_tells_what_changed_and_ends_with_the_session(
    server: ServerProcess, agent: PlayedAgent, visitor: httpx.Client
) -> None:
    token = change_token(visitor)
    with visitor.stream("GET", "/api/v1/stream", timeout=20) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert next(lines) == "event: beat"
        agent.say(AlertRaised(alert=an_alert("streamed", "r", time.time_ns())))
        seen = ""
        for line in lines:
            seen += line
            if '"alerts"' in line:
                break
        with httpx.Client(base_url=server.url, cookies=dict(visitor.cookies)) as same:
            same.post("/api/v1/logout", json={}, headers={"Origin": server.url, "X-Shipwall-Token": token})
        assert any(line == "event: ended" for line in lines)


def test_behind_a_proxy_the_cookie_is_for_https_alone() -> None:
    with running_server("--origin", "https://shipwall.example.org") as server:
        link = server.login_link()
        assert link.startswith("https://shipwall.example.org/login#")
        address = json.loads(server.log.read_text().split("address=")[1].split()[0])
        answer = httpx.post(
            address + "/api/v1/login", json={"token": link.split("#")[1]},
            headers={"Host": "shipwall.example.org", "Origin": "https://shipwall.example.org"},
        )  # fmt: skip
        assert answer.status_code == 204
        assert "Secure" in answer.headers["set-cookie"]
        assert answer.headers["set-cookie"].startswith("__Host-")


def test_a_defect_says_nothing_of_itself(server: ServerProcess, visitor: httpx.Client) -> None:
    answer = visitor.get("/api/v1/evidence/" + "%00/download")
    assert answer.status_code in {400, 404}
    assert "Traceback" not in answer.text
