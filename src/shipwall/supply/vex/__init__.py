"""VEX: statements about which findings matter, read from OpenVEX and CycloneDX and applied to a scan.

Of several statements about one finding the latest counts. A statement that matched nothing is never silent: it is said, with the
nearest package and what differs.
"""

from __future__ import annotations

from shipwall.lang.strict_json import parse_json
from shipwall.model.errors import InputError
from shipwall.supply.vex.apply import apply_statements
from shipwall.supply.vex.cyclonedx import parse_cyclonedx_vex
from shipwall.supply.vex.openvex import parse_openvex, render_openvex
from shipwall.supply.vex.statement import MAX_VEX_BYTES, Product, Status, VexStatement

__all__ = ["MAX_VEX_BYTES", "Product", "Status", "VexStatement", "apply_statements", "parse_vex", "render_openvex"]


def parse_vex(data: bytes, name: str) -> tuple[VexStatement, ...]:
    """The statements in the file `data`, whose format its content tells; `name` stands in errors. Total. Raises InputError."""
    document = parse_json(data, name, MAX_VEX_BYTES)
    if isinstance(document, dict) and "openvex" in str(document.get("@context", "")):
        return parse_openvex(document, name)
    if isinstance(document, dict) and document.get("bomFormat") == "CycloneDX":
        return parse_cyclonedx_vex(document, name)
    raise InputError(name, "is neither OpenVEX (@context) nor CycloneDX (bomFormat)", "export it as one of these, in JSON")
