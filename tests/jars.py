"""Small Java archives."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping


def make_jar(files: Mapping[str, bytes | str], packed: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive with `files`; folders are written too, as real tools do."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packed) as archive:
        archive.writestr("META-INF/", b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def maven_jar(group: str, artifact: str, version: str, more: Mapping[str, bytes | str] | None = None) -> bytes:
    """A jar as Maven makes it."""
    folder = f"META-INF/maven/{group}/{artifact}"
    properties = f"#Created by Apache Maven 3.8.4\nversion={version}\ngroupId={group}\nartifactId={artifact}\n"
    manifest = "Manifest-Version: 1.0\r\nCreated-By: Apache Maven 3.8.4\r\n\r\n"
    return make_jar(
        {"META-INF/MANIFEST.MF": manifest, f"{folder}/pom.properties": properties, "com/A.class": b"\xca\xfe", **(more or {})}
    )
