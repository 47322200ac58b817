"""A registry on loopback as a plain process of this user: where no engine can run, images still need a place."""

from __future__ import annotations

import json
from typing import Self

from shipwall.adapters.files import write_whole
from shipwall.adapters.instance import Instance
from shipwall.adapters.private_engine import registry_answers
from shipwall.adapters.private_init import REGISTRY_YML
from shipwall.adapters.private_network import HOST, free_port
from shipwall.adapters.supervise import Child
from shipwall.adapters.tools import find_tool, tools_environment


class LoopbackRegistry:
    """The registry of `instance`, from `start` to `stop` (or as a context manager). Its content lies in the state folder.

    The kernel ends it with the thread that started it: nothing has to be cleaned up but files. Needs no root.
    """

    def __init__(self, instance: Instance) -> None:
        self._folder = instance.state / "registry"
        self._child: Child | None = None

    def start(self, timeout_s: float = 30.0) -> str:
        """`127.0.0.1:PORT` of the running registry. *Raises* RemoteError with its last words."""
        program, port = find_tool("docker-registry"), free_port()
        address = f"{HOST}:{port}"
        configuration = self._folder / "registry.yml"
        text = REGISTRY_YML.format(root=json.dumps(str(self._folder / "content")), address=address)
        write_whole(configuration, text.encode(), 0o600)
        argv = [str(program), "serve", str(configuration)]
        self._child = Child("registry", argv, log=self._folder / "registry.log", env=tools_environment(), folder=self._folder)
        self._child.wait_ready(lambda: registry_answers(port), timeout_s)
        return address

    def stop(self) -> None:
        """End it."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
