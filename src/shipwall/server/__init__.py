"""The unprivileged process.

Takes: wire messages from agents and command lines, HTTP from browsers. Gives: rows, pages, live changes, commands to agents.
Never: root, the engine, the kernel, an address other than loopback. Start here: `main.py`, then `service.py`, `link.py`, `app.py`.
"""
