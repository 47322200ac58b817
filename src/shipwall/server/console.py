"""The pages. One template per page, rendered with autoescape; a page renews itself by asking for itself again when rows changed."""

# Annotations are not postponed here: FastAPI reads them, and the session type is local to the router.
import asyncio
import hashlib
import mimetypes
import time
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException

from shipwall import __version__
from shipwall.server import fleet_views, views
from shipwall.server.doors import Doors, Visitor
from shipwall.server.service import Service

SHOWN = 60
DAY_NS = 86_400 * 1_000_000_000
NAVIGATION = (
    ("/", "Overview", "overview", "o"),
    ("/alerts", "Alerts", "bell", "a"),
    ("/images", "Images", "scan", "i"),
    ("/containers", "Containers", "box", "c"),
    ("/evidence", "Frozen & Evidence", "snow", "e"),
    ("/admissions", "Admissions", "gate", "d"),
    ("/audit", "Audit", "scroll", "u"),
)


def _load_static() -> dict[str, tuple[bytes, str]]:
    folder = resources.files("shipwall.server") / "static"
    found = {}
    for file in folder.iterdir():
        found[file.name] = file.read_bytes(), mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return found


_static = _load_static()
_version = hashlib.sha256(b"".join(data for data, _kind in _static.values())).hexdigest()[:12]
_environment = Environment(
    loader=PackageLoader("shipwall.server", "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.globals.update(navigation=NAVIGATION, static_version=_version, version=__version__, priorities=views.PRIORITIES)
_environment.filters.update(
    short=views.render_short, utc=views.render_utc, duration=views.render_duration, size=views.render_size, count=views.render_count,
    ago=views.render_ago,
)  # fmt: skip


def make_router(service: Service, doors: Doors, fleet: Path) -> APIRouter:
    """Every page and the assets. `fleet`: the file of kept images, which need not be there."""
    router = APIRouter(include_in_schema=False)
    Seen = Annotated[Visitor, Depends(doors.see)]  # noqa: N806 (a type)

    async def page(name: str, visitor: Visitor, path: str, **facts: Any) -> Response:
        now_ns = time.time_ns()
        counts = await service.ask(service.store.counts, now_ns - DAY_NS)
        html = _environment.get_template(f"{name}.html").render(
            path=path, actor=visitor.actor, token=visitor.token, now_ns=now_ns, counts=counts, trouble=service.trouble, **facts
        )
        return HTMLResponse(html)

    @router.get("/")
    async def overview(visitor: Seen) -> Response:
        now_ns = time.time_ns()
        nodes = views.node_views(await service.rows("nodes", limit=50), await service.rows("health", limit=300), now_ns)
        journeys = views.journeys(await service.rows("steps", limit=600))
        alerts = views.alert_views(
            await service.rows("alerts", {"silenced_by": ""}, 6), await service.rows("responses", limit=300)
        )
        sinks = await service.rows("sinks", limit=100)
        return await page("overview", visitor, "/", nodes=nodes, journeys=journeys, alerts=alerts, sinks=sinks)

    @router.get("/images")
    async def images(visitor: Seen, find: str = "") -> Response:
        found = await asyncio.to_thread(fleet_views.show_fleet, fleet, find.strip()[:500])
        return await page("images", visitor, "/images", fleet=found, find=find)

    @router.get("/images/{digest}")
    async def image(visitor: Seen, digest: str) -> Response:
        found = await asyncio.to_thread(fleet_views.show_image, fleet, digest)
        if found is None:
            raise HTTPException(404)
        return await page("image", visitor, "/images", image=found)

    @router.get("/containers")
    async def containers(visitor: Seen, gone: str = "") -> Response:
        rows = await service.rows("containers", limit=1000)
        hidden = [row for row in rows if row["state"] in {"exited", "gone"}]
        if not gone:
            rows = [row for row in rows if row["state"] not in {"exited", "gone"}]
        order = {"frozen": 0, "running": 1, "created": 2}
        rows.sort(key=lambda row: (order.get(row["state"], 3), row["name"]))
        return await page("containers", visitor, "/containers", containers=rows, hidden=len(hidden), gone=bool(gone))

    @router.get("/alerts")
    async def alerts(visitor: Seen, priority: str = "", container: str = "", rule: str = "", silenced: str = "") -> Response:
        where = {"priority": priority, "container_name": container, "rule": rule}
        where = {field: value for field, value in where.items() if value}
        if not silenced:
            where["silenced_by"] = ""
        found = views.alert_views(await service.rows("alerts", where, SHOWN), await service.rows("responses", limit=1000))
        now_ns = time.time_ns()
        running = [row for row in await service.rows("silences", limit=200) if row["until_ns"] > now_ns]
        states = {row["id"]: row["state"] for row in await service.rows("containers", limit=1000)}
        return await page(
            "alerts", visitor, "/alerts", alerts=found, silences=running, states=states, priority=priority, container=container,
            rule=rule, silenced=bool(silenced), shown=SHOWN,
        )  # fmt: skip

    @router.get("/evidence")
    async def evidence(visitor: Seen) -> Response:
        containers = await service.rows("containers", limit=1000)
        names = {row["id"]: row["name"] for row in containers}
        plans = views.plans(await service.rows("responses", limit=1000), await service.rows("evidence", limit=200), names)
        frozen = [row for row in containers if row["state"] == "frozen"]
        return await page("evidence", visitor, "/evidence", plans=plans[:50], frozen=frozen)

    @router.get("/admissions")
    async def admissions(visitor: Seen, everything: Annotated[str, Query(alias="all")] = "") -> Response:
        where = {} if everything else {"allowed": "false"}
        rows = list(reversed(await service.rows("admissions", where, SHOWN)))
        return await page("admissions", visitor, "/admissions", admissions=rows, everything=bool(everything), shown=SHOWN)

    @router.get("/audit")
    async def audit(visitor: Seen) -> Response:
        return await page("audit", visitor, "/audit", audit=list(reversed(await service.rows("audit", limit=200))))

    router.include_router(_make_outside())
    return router


def _make_outside() -> APIRouter:
    """What needs no session: the login page and the assets."""
    router = APIRouter(include_in_schema=False)

    @router.get("/login")
    async def login() -> Response:
        return HTMLResponse(_environment.get_template("login.html").render())

    @router.get("/static/{name}")
    async def static(name: str, request: Request) -> Response:
        found = _static.get(name)
        if found is None:
            raise HTTPException(404)
        current = request.query_params.get("v") == _version
        cache = "public, max-age=31536000, immutable" if current else "no-cache"
        return Response(found[0], media_type=found[1], headers={"cache-control": cache})

    return router


def error_page(status: int, line: str) -> Response:
    """A page that says what went wrong, for a person."""
    return HTMLResponse(_environment.get_template("error.html").render(status=status, line=line), status)
