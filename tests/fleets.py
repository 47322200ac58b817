"""A small fleet with a story: a base, a shop on it, and a day on which an advisory came."""

from __future__ import annotations

from pathlib import Path

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.adapters.advisory_db.writer import rewriting
from shipwall.adapters.fleet import Fleet
from shipwall.journeys.keep import keep_image
from shipwall.journeys.rejudge import rejudge
from shipwall.model.advisory import Advisory, Affected, Range
from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.finding import Severity
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.supply.feeds import FeedState

BOOKWORM = Distribution(id="debian", version_id="12", codename="bookworm")
CORE = "org.apache.logging.log4j:log4j-core"


def an_image(seed: str, *packages: Package, below: tuple[str, ...] = (), commands: tuple[str, ...] = ()) -> Inventory:
    """An image whose top layer is named by `seed`, on the layers of `below`."""
    layers = tuple(digest_of(one.encode()) for one in (*below, seed))
    image = ImageIdentity(manifest=digest_of(f"m{seed}".encode()), config=digest_of(f"c{seed}".encode()), diff_ids=layers)
    return Inventory(image=image, distribution=BOOKWORM, packages=packages, history=commands)


def an_advisory(name: str, scope: str, package: str, fixed: str, severity: Severity, summary: str = "") -> Advisory:
    """One problem of one package, fixed in `fixed`."""
    affected = Affected(
        scope=scope, name=package, ranges=(Range("", fixed),), by_source=scope.startswith("Debian"), severity=severity
    )
    return Advisory(feed="debian", id=name, summary=summary, affected=(affected,))


def make_database(path: Path, *advisories: Advisory) -> Path:
    """A database of these advisories alone."""
    with rewriting(path) as writer:
        writer.put_feed(FeedState(name="debian", format="osv"), advisories)
    return path


def tell_fleet(path: Path, folder: Path, now_ns: int) -> dict[str, Inventory]:
    """Keep two images in the fleet at `path`, judged twice; the second day brought a problem of log4j."""

    def deb(name: str, version: str, layer: str) -> Package:
        return Package(
            ecosystem="deb",
            name=name,
            version=version,
            arch="amd64",
            source=name,
            source_version=version,
            layer=digest_of(layer.encode()),
        )

    base = an_image("debian", deb("openssl", "3.0.15-1~deb12u1", "debian"), deb("dash", "0.5.12-2", "debian"),
                    commands=("mmdebstrap bookworm",))  # fmt: skip
    log4j = Package(ecosystem="maven", name=CORE, version="2.14.1", evidence="/app/lib.jar", layer=digest_of(b"shop"))
    nginx = deb("nginx", "1.22.1-9", "shop")
    shop = an_image("shop", *base.packages, nginx, log4j, below=("debian",),
                    commands=("mmdebstrap bookworm", "/bin/sh -c apt-get install nginx && cp <app> /app"))  # fmt: skip
    keep_image(path, base, "registry.local:5000/base/debian:12", now_ns - 10**9)
    keep_image(path, shop, "registry.local:5000/prod/shop:1", now_ns)
    known = (
        an_advisory("CVE-2026-31790", "Debian:12", "openssl", "3.0.17-1~deb12u3", Severity.HIGH, "out-of-bounds read in QUIC"),
        an_advisory("CVE-2025-53859", "Debian:12", "nginx", "1.22.1-9+deb12u3", Severity.UNKNOWN),
    )
    fresh = an_advisory("CVE-2021-44228", "Maven", CORE, "2.17.0", Severity.CRITICAL, "JNDI lookups in logged text run code")
    with Fleet(path, write=True) as fleet:
        for turn, advisories in enumerate((known, (*known, fresh))):
            with AdvisoryDb(make_database(folder / f"{turn}.sqlite", *advisories)) as database:
                rejudge(fleet, database, now_ns - (1 - turn) * 86_400 * 10**9)
    return {"base": base, "shop": shop}
