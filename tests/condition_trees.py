"""Conditions of any shape for laws: leaves joined by and, or and not."""

from __future__ import annotations

from hypothesis import strategies as st

from shipwall.lang.condition import And, Condition, Not, Or


def trees_of(leaves: st.SearchStrategy[Condition], most: int) -> st.SearchStrategy[Condition]:
    """Conditions of up to `most` of `leaves`."""
    return st.recursive(
        leaves,
        lambda inner: (
            st.builds(Not, inner)
            | st.lists(inner, min_size=2, max_size=4).map(lambda items: And(tuple(items)))
            | st.lists(inner, min_size=2, max_size=4).map(lambda items: Or(tuple(items)))
        ),
        max_leaves=most,
    )
