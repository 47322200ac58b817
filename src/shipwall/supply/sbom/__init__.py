"""Bills of materials as others read and write them: CycloneDX 1.4 to 1.7 and SPDX 2.3, both JSON.

Law, for both formats: `parse_sbom(render(inventory, t)) == inventory`, so a scan of the SBOM finds what a scan of the image finds.
From other tools' documents everything is taken that has a package URL; what has none is a `Skipped`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from shipwall.lang.diagnostic import did_you_mean
from shipwall.lang.strict_json import parse_json
from shipwall.model.errors import InputError
from shipwall.model.package import Inventory
from shipwall.supply.sbom.bounds import MAX_COMPONENTS, MAX_SBOM_BYTES, render_time
from shipwall.supply.sbom.cyclonedx import SBOM_TYPE, parse_cyclonedx, render_cyclonedx
from shipwall.supply.sbom.purls import render_purl
from shipwall.supply.sbom.spdx import parse_spdx, render_spdx

__all__ = [
    "FORMATS",
    "MAX_COMPONENTS",
    "MAX_SBOM_BYTES",
    "SBOM_TYPE",
    "Format",
    "parse_sbom",
    "parse_sbom_text",
    "render_cyclonedx",
    "render_purl",
    "render_sbom",
    "render_spdx",
    "render_time",
]


class Format(NamedTuple):
    """One format. `mark` is the top key that tells it; `parse` takes builtins of JSON, `render` gives them."""

    name: str
    mark: str
    parse: Callable[[Any], Inventory]
    render: Callable[[Inventory, int], dict[str, Any]]


# THE list of formats.
FORMATS = (
    Format("cyclonedx", "bomFormat", parse_cyclonedx, render_cyclonedx),
    Format("spdx", "spdxVersion", parse_spdx, render_spdx),
)

render_sbom = render_cyclonedx
"""The form that Shipwall signs."""


def parse_sbom_text(data: bytes, name: str) -> Inventory:
    """The inventory in the file `data`; `name` stands in errors. Total. Raises InputError, with line and column for broken JSON."""
    return parse_sbom(parse_json(data, name, MAX_SBOM_BYTES), name)


def parse_sbom(document: Any, name: str = "SBOM") -> Inventory:
    """The inventory in `document` (builtins of JSON), whose format its content tells. Total. Raises InputError."""
    if not isinstance(document, dict):
        raise InputError(name, "is no JSON object", "give a CycloneDX or SPDX document")
    for one in FORMATS:
        if one.mark in document:
            try:
                return one.parse(document)
            except InputError as error:
                raise InputError(name, error.reason, error.next_step) from error
    hint = next((found for key in list(document)[:50] if (found := did_you_mean(str(key), [one.mark for one in FORMATS]))), "")
    raise InputError(
        name, "is neither CycloneDX (bomFormat) nor SPDX 2 (spdxVersion)", hint or "export it as one of these, in JSON"
    )
