"""The store: what the server remembers, in SQLite (write-ahead log) or PostgreSQL, chosen by URL.

Takes: messages of agents, deeds of people. Gives: rows, oldest first, as plain builtins. Never: a secret in the clear (tokens are hashed).
Start here: `store.py`; `tables.py` is the shape, `database.py` opens, migrates and translates errors.
"""

from shipwall.adapters.store.store import Limits, Store, open_store

__all__ = ["Limits", "Store", "open_store"]
