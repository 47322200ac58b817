"""Shipwall keeps containers safe from build to crash; the image digest joins every fact.

Start here: ARCHITECTURE.md for the floors; `shipwall.model` for the nouns; `shipwall.cli` for what a user can do.
"""

__version__ = "0.1.0"
