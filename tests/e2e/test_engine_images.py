"""Images out of a real engine: as they are in a file, and known again without being handed out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.images import debian_files, make_tar, save_docker

from shipwall.adapters.engine import Engine
from shipwall.adapters.inventories import InventoryCache
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.adapters.streams import file_chunks
from shipwall.journeys.scan import list_image
from shipwall.model.errors import RemoteError

pytestmark = [pytest.mark.engine]


def test_an_engines_image_is_listed_once(
    private_engine: PrivateEngine, engine: Engine, tmp_path: Path, fresh_name: Callable[[str], str]
) -> None:
    name = f"{fresh_name('shop')}:1"
    layers = [
        make_tar(debian_files({"bash": "5.2-1"})),
        make_tar({"var/lib/dpkg/status.d/x": b"Package: x\nVersion: 1\n", "n": name.encode()}),
    ]
    saved = save_docker(tmp_path / "a.tar", layers, [name])
    with saved.open("rb") as file:
        engine.load(file_chunks(file))
    cache = InventoryCache(tmp_path / "cache")
    try:
        first = list_image(name, engine_socket=private_engine.socket, inventories=cache)
        assert first.packages == list_image(str(saved)).packages
        said: list[str] = []
        assert list_image(name, engine_socket=private_engine.socket, inventories=cache, say=said.append) == first
        assert said == ["listed before"]
        with pytest.raises(RemoteError):
            list_image(f"{name}-not", engine_socket=private_engine.socket, inventories=cache)
    finally:
        engine.remove_image(name)
