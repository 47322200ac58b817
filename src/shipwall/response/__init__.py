"""From an alert to a plan, and from a plan to sealed evidence.

Takes: alerts, journal entries, records. Gives: plans, receipts, evidence chains.
Never: I/O, clocks.
"""
