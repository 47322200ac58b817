"""Takes: a rule set. Gives: the filter by which the kernel part drops what no rule can match, as the tables it reads, and their meaning.

Never: loses an event that a rule matches; where a condition asks what the kernel cannot know cheaply, the answer counts as both yes and no.
Start here: `compile.lower`, then `simulate` (what the kernel does with the tables); `docs/decisions/0008-kernel-filter.md` says why.
"""

from shipwall.runtime.lower.compile import lower
from shipwall.runtime.lower.tables import DELIVER, DROP, Automaton, KernelFilter, Program

__all__ = ["DELIVER", "DROP", "Automaton", "KernelFilter", "Program", "lower"]
