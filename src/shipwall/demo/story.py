"""How the story is told: steps with progress and times, what could not run and why, a final table."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import msgspec

from shipwall.model.errors import ShipwallError


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one step: `outcome` done, failed or skipped; `facts` are what it found, as shown."""

    number: int
    title: str
    outcome: str
    seconds: float
    facts: tuple[str, ...] = ()
    why: str = ""


class BrokenStoryError(ShipwallError):
    """A step did not do what the story says."""

    exit_code = 1


class Story:
    """Tells steps on standard error (standard output stays free for JSON). A failed step ends the story."""

    def __init__(self, show: Callable[[str], None] | None = None) -> None:
        self.results: list[StepResult] = []
        self._show = show or (lambda line: print(line, file=sys.stderr, flush=True))
        self._facts: list[str] = []

    def fact(self, text: str) -> None:
        """Something the running step found."""
        self._facts.append(text)
        self._show(f"      {text}")

    def working(self, text: str) -> None:
        """What the running step is busy with (told on terminals only: it is not a result)."""
        if sys.stderr.isatty():
            self._show(f"      … {text}")

    def step(self, number: int, title: str, act: Callable[[], None]) -> None:
        """Run one step and tell it. Raises what it raised, after telling so."""
        self._show(f"\n{number:3}. {title}")
        self._facts = []
        started = time.monotonic()
        try:
            act()
        except BaseException as error:
            why = error.line() if isinstance(error, ShipwallError) else f"{type(error).__name__}: {error}"
            self._end(number, title, "failed", started, why)
            raise
        self._end(number, title, "done", started)

    def skip(self, number: int, title: str, why: str) -> None:
        """A step that cannot run on this machine."""
        self._show(f"\n{number:3}. {title}")
        self._facts = []
        self._end(number, title, "skipped", time.monotonic(), why)

    def expect(self, holds: bool, what: str, found: str = "") -> None:
        """Raises BrokenStoryError unless `holds`: the story says `what`."""
        if not holds:
            raise BrokenStoryError(
                "demo", f"the story says: {what}" + (f"; found: {found}" if found else ""), "look at the logs in the state folder"
            )

    def _end(self, number: int, title: str, outcome: str, started: float, why: str = "") -> None:
        seconds = time.monotonic() - started
        self.results.append(
            StepResult(number=number, title=title, outcome=outcome, seconds=round(seconds, 2), facts=tuple(self._facts), why=why)
        )
        said = {"done": f"✓ done in {seconds:.1f} s", "failed": f"✗ failed in {seconds:.1f} s", "skipped": "– cannot run here"}
        self._show(f"    {said[outcome]}" + (f": {why}" if why else ""))
