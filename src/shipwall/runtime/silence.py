"""Silences: alerts that are muted for a written reason, for a limited time. They are stored and shown, never dropped."""

from __future__ import annotations

from shipwall.model.alert import Silence
from shipwall.model.errors import InputError

MAX_SILENCES = 10_000
MAX_REASON_CHARS = 1000


class Silences:
    """The silences in force on a node, by id."""

    def __init__(self) -> None:
        self._by_id: dict[str, Silence] = {}

    def put(self, silence: Silence) -> None:
        """Take a new silence, or a new state of a known one; `until_ns` in the past ends it.

        Raises InputError without rule or reason, and beyond MAX_SILENCES.
        """
        verify_silence(silence)
        if silence.id not in self._by_id and len(self._by_id) >= MAX_SILENCES:
            for stale in [known.id for known in self._by_id.values() if known.until_ns <= silence.created_ns]:
                del self._by_id[stale]
            if len(self._by_id) >= MAX_SILENCES:
                raise InputError("silence", f"{MAX_SILENCES} silences are in force", "end some of them")
        self._by_id[silence.id] = silence

    def active(self, rule: str, container_name: str, now_ns: int) -> Silence | None:
        """The silence that mutes `rule` in this container now, None when none does. One without container mutes everywhere."""
        for silence in self._by_id.values():
            if silence.rule == rule and now_ns < silence.until_ns and silence.container_name in {"", container_name}:
                return silence
        return None


def verify_silence(silence: Silence) -> Silence:
    """`silence` itself. Raises InputError when it names no rule, gives no reason, or has no expiry."""
    if not silence.rule:
        raise InputError("silence", "names no rule", "say which rule to silence")
    if not silence.reason.strip():
        raise InputError(f"silence of {silence.rule!r}", "gives no reason", "say why, for whoever reads it later")
    if len(silence.reason) > MAX_REASON_CHARS:
        raise InputError(f"silence of {silence.rule!r}", f"its reason is over {MAX_REASON_CHARS} characters")
    if silence.until_ns <= 0:
        raise InputError(f"silence of {silence.rule!r}", "has no expiry", "say until when")
    return silence
