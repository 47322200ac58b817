"""The process that is root.

Takes: kernel events and engine requests. Gives: effects performed, messages to the server.
Never: an open port. Start here: `core.py`.
"""
