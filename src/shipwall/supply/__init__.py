"""From image bytes to a signed verdict.

Takes: layers, package databases, advisories, policies as bytes and values. Gives: inventories, findings, gate verdicts, rebuild plans,
signed statements.
Never: I/O, clocks, network.
"""
