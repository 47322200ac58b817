"""The nouns everybody speaks.

Takes: nothing. Gives: frozen values (Digest, ImageRef, Package, Finding, Event, Alert, Verdict), errors, the wire form.
Never: I/O, clocks, decisions. Start here: `digest.py`, `verdict.py`, `event.py`, then `wire.py`.
"""
