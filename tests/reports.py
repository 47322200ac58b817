"""A scan with something of everything, hostile names too."""

from __future__ import annotations

from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.finding import Exploited, Finding, FixState, ScanResult, Severity, Suppressed
from shipwall.model.package import Distribution, Inventory, Package, Skipped
from shipwall.model.verdict import Evidence
from shipwall.supply.report import Report

HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m\u202e"
NOW = 1_767_312_000 * 10**9
LAYER = digest_of(b"layer")
IMAGE = ImageIdentity(manifest=digest_of(b"m"), config=digest_of(b"c"), diff_ids=(LAYER,))


def deb(name: str, version: str, source: str = "") -> Package:
    return Package(
        ecosystem="deb", name=name, version=version, arch="amd64", source=source or name, source_version=version,
        evidence="/var/lib/dpkg/status", layer=LAYER,
    )  # fmt: skip


SSL, OPENSSL, CURL = deb("libssl3", "3.0.11-1", "openssl"), deb("openssl", "3.0.11-1"), deb("curl", "7.88.1-10")
LOG4J = Package(
    ecosystem="maven",
    name="org.apache.logging.log4j:log4j-core",
    version="2.14.1",
    evidence="/app/lib/log4j-core.jar",
    layer=LAYER,
)
ODD = Package(ecosystem="npm", name=HOSTILE, version=HOSTILE, evidence=f"/app/{HOSTILE}")
V31 = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H"

FINDINGS = (
    Finding(id="CVE-2024-5535", package=SSL, severity=Severity.MEDIUM, fixed_version="3.0.15-1~deb12u1", source="Debian:12",
            severity_source="Debian", state=FixState.FIXED, exploited=Exploited(epss=0.0421, percentile=0.8)),
    Finding(id="CVE-2024-5535", package=OPENSSL, severity=Severity.MEDIUM, fixed_version="3.0.15-1~deb12u1", source="Debian:12",
            severity_source="Debian", state=FixState.FIXED, exploited=Exploited(epss=0.0421, percentile=0.8)),
    Finding(id="CVE-2023-5363", package=SSL, severity=Severity.HIGH, fixed_version="3.0.11-1~deb12u2", source="Debian:12", score=7.5,
            vector="CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", state=FixState.FIXED, severity_source="Debian"),
    Finding(id="CVE-2023-38545", package=CURL, severity=Severity.CRITICAL, fixed_version="7.88.1-10+deb12u4", source="Debian:12", score=9.8,
            vector="CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", state=FixState.FIXED, exploited=Exploited(epss=0.26),
            summary="SOCKS5 heap buffer overflow", reason="7.88.1-10 is older than 7.88.1-10+deb12u4",
            evidence=(Evidence(kind="file", ref="/var/lib/dpkg/status", detail=LAYER),)),
    Finding(id="CVE-2021-44228", package=LOG4J, severity=Severity.CRITICAL, fixed_version="2.15.0", source="GHSA", score=10.0,
            vector=V31, aliases=("GHSA-jfh8-c2jp-5v3q",), state=FixState.FIXED, severity_source="cvss",
            exploited=Exploited(epss=0.944, percentile=0.999, kev=True, kev_due="2021-12-24"),
            summary="Remote code injection in Log4j: JNDI features do not protect against attacker controlled endpoints."),
    Finding(id="CVE-2021-45046", package=LOG4J, severity=Severity.CRITICAL, fixed_version="2.16.0", source="GHSA", state=FixState.FIXED,
            exploited=Exploited(epss=0.943, kev=True)),
    Finding(id="CVE-2022-3219", package=deb("gpgv", "2.2.40-1.1", "gnupg2"), severity=Severity.LOW, source="Debian:12",
            state=FixState.WILL_NOT_FIX),
    Finding(id="CVE-2011-4116", package=deb("perl-base", "5.36.0-7", "perl"), source="Debian:12", state=FixState.NOT_FIXED),
    Finding(id="TEMP-0841856-B18BAF", package=deb("bash", "5.2.15-2"), severity=Severity.NEGLIGIBLE, source="Debian:12"),
    Finding(id=HOSTILE, package=ODD, severity=Severity.UNKNOWN, fixed_version=HOSTILE, summary=HOSTILE, source=HOSTILE, reason=HOSTILE,
            aliases=(HOSTILE,), evidence=(Evidence(kind="file", ref=HOSTILE, detail=HOSTILE),)),
)  # fmt: skip
PACKAGES = tuple(dict.fromkeys(finding.package for finding in FINDINGS))
SUPPRESSED = (
    Suppressed(finding=Finding(id="CVE-2023-50495", package=deb("libtinfo6", "6.4-4", "ncurses")), by="vex.json statement 3",
               status="not_affected", reason="vulnerable_code_not_in_execute_path: tic is never run"),
    Suppressed(finding=Finding(id="CVE-2016-2781", package=deb("coreutils", "9.1-1"), severity=Severity.LOW), by=".shipwall-ignore.yaml:4",
               status="ignored", reason=f"chroot is not used {HOSTILE}", until="2027-01-31"),
)  # fmt: skip
REPORT = Report(
    source="registry.example:5000/team/shop:2.4",
    inventory=Inventory(
        image=IMAGE,
        distribution=Distribution(id="debian", version_id="12", codename="bookworm"),
        packages=(*PACKAGES, *(one.finding.package for one in SUPPRESSED)),
        skipped=(Skipped(what="/app/vendor.jar", reason="nested deeper than 8"),),
    ),
    result=ScanResult(
        findings=FINDINGS,
        skipped=(Skipped(what=HOSTILE, reason=HOSTILE),),
        advisories="shipwall.db of 2026-01-01",
        advisories_time_ns=NOW - 86400 * 10**9,
        suppressed=SUPPRESSED,
        notices=("vex.json statement 1 (CVE-2023-1, not_affected) matched nothing: nearest is curl 7.88.1-10, whose distro is debian-12.13",
                 "Debian 12 is supported until 2028-06-30"),
    ),
)  # fmt: skip
EMPTY = Report(
    source="rootfs",
    inventory=Inventory(image=None, distribution=Distribution(), packages=()),
    result=ScanResult(findings=(), advisories="a"),
)
