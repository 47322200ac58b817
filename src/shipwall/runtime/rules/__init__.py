"""Rule files in Falco's language → rules ready to judge events.

`parse_rules(text, name)` reads one file, `parse_rule_files` several in order. Of our own: `action: alert | kill | freeze` on a rule.
The YAML files beside this module are the shipped rules; `adapters.rule_files` reads them.
"""

from __future__ import annotations

from collections.abc import Iterable

from shipwall.runtime.rules.definitions import read_definitions
from shipwall.runtime.rules.rule_set import Rule, RuleSet, SkippedRule, build_rule_set

__all__ = ["Rule", "RuleSet", "SkippedRule", "parse_rule_files", "parse_rules"]


def parse_rules(text: str | bytes, name: str) -> RuleSet:
    """The rules of one file, called `name` in errors. Raises SourceError with line, column, caret and hint."""
    return parse_rule_files([(name, text)])


def parse_rule_files(files: Iterable[tuple[str, str | bytes]]) -> RuleSet:
    """The rules of several files (name, text): later ones may replace, append to, override and switch what earlier ones define."""
    return build_rule_set(read_definitions(files))
