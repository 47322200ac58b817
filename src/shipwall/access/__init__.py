"""Who may do what at the engine's door.

Takes: engine requests as raw bytes, promotion facts. Gives: verdicts with reasons, hardened container profiles.
Never: I/O, clocks.
"""
