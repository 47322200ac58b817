"""Debian packages that somebody else than the distribution made: its advisories do not speak of them, so silence is no clean bill.

Told by what cannot be the distribution's: the mail domain of a vendor who publishes packages of his own, or a mark that his archive puts
into versions. Maintainers of Debian's own packages write from every domain there is, so an unknown one says nothing. Neither domains nor
marks stand in any package of Debian 12's main archive (63,441 of them); a test asks the host's own archive. RPM names its vendor itself
(`catalog.owners`).
"""

from __future__ import annotations

import re

from shipwall.model.package import Package, Skipped

# Source: the control files and archives that these vendors publish.
_VENDOR = re.compile(
    r"@(?:[a-z0-9-]+\.)*(?:docker\.com|nginx\.com|f5\.com|nodesource\.com|elastic\.co|hashicorp\.com|gitlab\.com|mongodb\.com|10gen\.com"
    r"|grafana\.com|datadoghq\.com|influxdata\.com|microsoft\.com|percona\.com|mariadb\.(?:com|org)|oss\.oracle\.com|chromium\.org"
    r"|confluent\.io|newrelic\.com|cloudflare\.com|clickhouse\.com|cockroachlabs\.com|tailscale\.com|sury\.org)>?\Z",
    re.IGNORECASE,
)
_MARK = re.compile(
    r"\.pgdg\d|nodesource\d|deb\.sury\.org|[~+]maria~"  # PostgreSQL's, NodeSource's, Ondrej Sury's, MariaDB's archives
    r"|~(?:debian|ubuntu)\.\d+(?:\.\d+)?~[a-z]+\Z"  # Docker
    r"|-\d+~(?:stretch|buster|bullseye|bookworm|trixie|xenial|bionic|focal|jammy|noble)\Z"  # nginx.org
)


def maker_of(package: Package) -> str:
    """Who made a `.deb` that is not the distribution's own, as far as it says; empty for all others, and where nothing tells."""
    if package.ecosystem != "deb":
        return ""
    if _VENDOR.search(package.vendor):
        return package.vendor
    return f"an archive that marks its versions so: {package.version}" if _MARK.search(package.version) else ""


def not_of_distribution(package: Package) -> Skipped | None:
    """What must be said of `package` beside the findings that the distribution's advisories give; None for the distribution's own."""
    maker = maker_of(package)
    if not maker:
        return None
    what = f"deb package {package.name} {package.version}"
    return Skipped(
        what=what, reason=f"not of this distribution, whose advisories do not speak of it: made by {maker}", packages=1
    )
