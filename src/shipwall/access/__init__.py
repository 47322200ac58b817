"""Who may do what at the engine's door.

Takes: engine requests as raw bytes, the engine's records, promotion facts. Gives: verdicts with reasons, hardened container profiles.
Never: I/O, clocks. Start here: `admit.py` (the verdict), then `request.py` and `routes.py` (what may be asked), `container.py` (settings).
"""
