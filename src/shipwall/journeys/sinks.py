"""Putting sink settings where the unprivileged server reads them."""

from __future__ import annotations

import os
from pathlib import Path

from shipwall.adapters.files import write_whole
from shipwall.adapters.instance import Instance
from shipwall.adapters.unprivileged import SERVER_ID
from shipwall.model.errors import StorageError
from shipwall.runtime.sinks import SinkSettings, parse_sinks

SINKS_FILE = "sinks.yaml"


def install_sinks(instance: Instance, file: Path) -> tuple[SinkSettings, ...]:
    """The sinks in `file`, checked and put into place whole. Raises InputError (line and column), StorageError."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise StorageError(str(file), error.strerror or str(error), "name a file that can be read") from error
    sinks = parse_sinks(text, str(file))
    place = instance.server / SINKS_FILE
    owner = SERVER_ID
    if instance.server.is_dir():
        owner = instance.server.stat().st_uid
    write_whole(place, text, 0o600)
    if os.geteuid() == 0:
        os.chown(place, owner, owner)
    return sinks
