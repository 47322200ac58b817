"""From an alert to a plan, and from a plan to sealed evidence.

Takes: alerts, response policies, facts about containers, captured bytes. Gives: plans, bodies of replacements,
evidence bundles, redacted views.
Never: I/O, clocks. Start here: `policy.py`, `plan.py`, then `evidence.py`.
"""
