"""One module per noun: parse, call, render, exit code.

Takes: a command line. Gives: text or JSON, and an exit code. Never: logic of its own. Start here: `app.py`.
"""

from shipwall.cli.app import main

__all__ = ["main"]
