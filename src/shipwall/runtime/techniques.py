"""The techniques of MITRE ATT&CK's matrix for containers, to say which a rule set looks for.

Source: attack.mitre.org/matrices/enterprise/containers, version 16. Rules name them in their tags (`T1611`, `T1552.001`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

CONTAINER_TECHNIQUES: dict[str, tuple[str, str]] = {
    "T1190": ("initial access", "Exploit Public-Facing Application"),
    "T1133": ("initial access", "External Remote Services"),
    "T1078": ("initial access", "Valid Accounts"),
    "T1609": ("execution", "Container Administration Command"),
    "T1610": ("execution", "Deploy Container"),
    "T1053": ("execution", "Scheduled Task/Job"),
    "T1204": ("execution", "User Execution"),
    "T1098": ("persistence", "Account Manipulation"),
    "T1136": ("persistence", "Create Account"),
    "T1525": ("persistence", "Implant Internal Image"),
    "T1611": ("privilege escalation", "Escape to Host"),
    "T1068": ("privilege escalation", "Exploitation for Privilege Escalation"),
    "T1612": ("defense evasion", "Build Image on Host"),
    "T1562": ("defense evasion", "Impair Defenses"),
    "T1070": ("defense evasion", "Indicator Removal"),
    "T1036": ("defense evasion", "Masquerading"),
    "T1550": ("defense evasion", "Use Alternate Authentication Material"),
    "T1110": ("credential access", "Brute Force"),
    "T1528": ("credential access", "Steal Application Access Token"),
    "T1552": ("credential access", "Unsecured Credentials"),
    "T1613": ("discovery", "Container and Resource Discovery"),
    "T1046": ("discovery", "Network Service Discovery"),
    "T1069": ("discovery", "Permission Groups Discovery"),
    "T1485": ("impact", "Data Destruction"),
    "T1499": ("impact", "Endpoint Denial of Service"),
    "T1490": ("impact", "Inhibit System Recovery"),
    "T1498": ("impact", "Network Denial of Service"),
    "T1496": ("impact", "Resource Hijacking"),
}
_TECHNIQUE = re.compile(r"T[0-9]{4}(?:\.[0-9]{3})?")


def techniques_in(tags: Iterable[str]) -> tuple[str, ...]:
    """The technique ids among `tags`, sorted."""
    return tuple(sorted({tag for tag in tags if _TECHNIQUE.fullmatch(tag)}))
