"""`python -m shipwall.agent`: what `shipwall up` starts as root."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from shipwall.adapters.instance import find_instance
from shipwall.adapters.unprivileged import SERVER_ID
from shipwall.model.errors import ShipwallError, UnsupportedError


def main() -> None:
    """Parse the command line, watch until told to stop; exit codes as of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m shipwall.agent", description="Shipwall's agent: kernel and engine of this node."
    )
    parser.add_argument("--state", type=Path, help="folder of the installation")
    parser.add_argument("--engine", type=Path, help="socket of the engine to watch")
    parser.add_argument("--cgroup", default="", help="parent cgroup of the engine's containers, such as /docker")
    parser.add_argument("--rules", type=Path, action="append", default=[], help="rule file beside the shipped ones")
    parser.add_argument("--response", type=Path, help="response policy")
    parser.add_argument("--reader-group", type=int, default=SERVER_ID, help="group that may read sealed evidence")
    parser.add_argument("--without-sensor", action="store_true", help="admission only, where the kernel takes no BPF programs")
    arguments = parser.parse_args()
    try:
        if os.geteuid() != 0:
            raise UnsupportedError("the agent", "needs root for kernel and engine", "start it through `shipwall up`")
        sys.modules["httpx._main"] = None  # type: ignore[assignment]  # its command line: 5 MB of rich, click and pygments
        from shipwall.agent.shell import Agent, Settings

        Agent(
            Settings(
                instance=find_instance(arguments.state),
                engine=arguments.engine,
                cgroup=arguments.cgroup,
                rules=arguments.rules,
                response=arguments.response,
                reader_group=arguments.reader_group,
                sensor=not arguments.without_sensor,
            )
        ).run()
    except ShipwallError as error:
        sys.stderr.write(f"shipwall agent: {error.line()}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
