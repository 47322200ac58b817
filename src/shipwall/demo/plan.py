"""Which steps of the story a machine can run: THE place where that is decided."""

from __future__ import annotations

import msgspec


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine offers. Each says why it is missing; empty: it is there.

    `engine`: a private Docker Engine. `server`: the node's server, which root starts as somebody else. `file_systems`: making a
    distribution's file system. `sensor`: the programs in the kernel.
    """

    engine: str = ""
    server: str = ""
    file_systems: str = ""
    sensor: str = ""


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the story. `cannot`: why it cannot run here; empty when it runs."""

    name: str
    title: str
    cannot: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The story on one machine. Without `engine` a registry of this user takes the images, and they are layered, not built."""

    engine: bool
    server: bool
    sensor: bool
    steps: tuple[PlannedStep, ...]


def plan_story(means: Means, development: str, production: str) -> Plan:
    """All eleven steps, each with the reason where it cannot run. A step runs when everything it stands on does."""
    engine = f"needs a Docker Engine of its own: {means.engine}" if means.engine else ""
    making = f"needs to make a distribution's file system: {means.file_systems}" if means.file_systems else ""
    image = "needs the image of step 2" if making else ""
    server = f"needs the node's server: {means.server}" if means.server else ""
    container = engine or server or image
    sensor = container or (f"needs the sensor in the kernel: {means.sensor}" if means.sensor else "")
    start = "Engine and registry in namespaces of their own, server and console"
    build = "Build: a base from the archive's release pocket, and the shop on it"
    if engine:
        start = f"A registry of this user, server and console (no engine: {means.engine})"
        build = "Build: a base from the archive's release pocket, and the shop layered on it without an engine"
    steps = (
        ("start", start, ""),
        ("build", build, making),
        ("scan", "List and scan", image),
        ("refuse", f"Gate: {development} → {production}", image),
        ("rebuild", "Rebuild on a base with security updates, without the mistake", image),
        ("promote", "Sign and promote", image),
        ("admit", "Admit: only what was promoted may run", container),
        ("observe", "Observe", sensor),
        ("attack", "Crash: an intruder comes through the published port", sensor),
        ("evidence", "Evidence", sensor),
        ("console", "Console", server),
    )
    planned = tuple(PlannedStep(name=name, title=title, cannot=cannot) for name, title, cannot in steps)
    return Plan(engine=not means.engine, server=not server, sensor=not sensor, steps=planned)
