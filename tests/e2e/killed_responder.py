"""Carries out one plan and is ended by SIGKILL at a named instant: `python killed_responder.py FILE` with a JSON description."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from shipwall.adapters.engine import Engine
from shipwall.adapters.evidence import EvidenceStore
from shipwall.adapters.journal import Journal
from shipwall.adapters.keys import Keys
from shipwall.journeys.collect import KEY_NAME, seal_with
from shipwall.journeys.respond import Responder
from shipwall.kernel.freezer import Freezer, Group
from shipwall.model.alert import Alert
from shipwall.response.plan import Plan

ENGINE_ACTS = ("pause", "disconnect", "rename", "create", "start")


class Executioner:
    """Ends this process when the instant it waits for comes."""

    def __init__(self, instant: str) -> None:
        self.instant = instant

    def at(self, instant: str) -> None:
        if instant == self.instant:
            os.kill(os.getpid(), signal.SIGKILL)


class KilledJournal(Journal):
    """Instants: `begin ACT` written, `act ACT` done but not confirmed, `confirm ACT` written."""

    def __init__(self, path: Path, executioner: Executioner) -> None:
        super().__init__(path)
        self.executioner = executioner

    def begin(self, key: str, act: str, **facts: Any) -> None:
        super().begin(key, act, **facts)
        self.executioner.at(f"begin {act}")

    def confirm(self, key: str, act: str, **facts: Any) -> None:
        self.executioner.at(f"act {act}")
        super().confirm(key, act, **facts)
        self.executioner.at(f"confirm {act}")


class KilledEngine(Engine):
    """Instants: `engine ACT` after the engine did it."""

    executioner: Executioner

    def request(self, method: str, path: str, json: Any = None, **more: Any) -> Any:
        answer = super().request(method, path, json, **more)
        for act in ENGINE_ACTS:
            if path.partition("?")[0].endswith(f"/{act}") and method == "POST":
                self.executioner.at(f"engine {act}")
        return answer


class KilledFreezer(Freezer):
    """Instants: `freezer freeze`, `freezer hold`, `freezer release` done."""

    executioner: Executioner

    def freeze(self, group: Group) -> int:
        taken = super().freeze(group)
        self.executioner.at("freezer freeze")
        return taken

    def hold(self, group: Group) -> None:
        super().hold(group)
        self.executioner.at("freezer hold")

    def release(self, group: Group) -> None:
        super().release(group)
        self.executioner.at("freezer release")


def main() -> None:
    described = json.loads(Path(sys.argv[1]).read_text())
    executioner = Executioner(described["instant"])
    state = Path(described["state"])
    engine, freezer = KilledEngine(Path(described["socket"])), KilledFreezer()
    engine.executioner = freezer.executioner = executioner
    seal = seal_with(Keys(state / "keys").signer(KEY_NAME))

    def sign(statement: bytes) -> bytes:
        executioner.at("unsealed")  # all records written, no seal yet
        return seal(statement)

    responder = Responder(
        engine=engine,
        journal=KilledJournal(state / "journal.jsonl", executioner),
        store=EvidenceStore(state / "evidence"),
        sign=sign,
        report=lambda _: None,
        folder=state,
        node="here",
        freezer=freezer,
    )
    outcome = responder.carry_out(msgspec.convert(described["plan"], Plan), msgspec.convert(described["alert"], Alert))
    sys.stdout.write(repr(outcome))


if __name__ == "__main__":
    main()
