"""The unprivileged process

Takes:  API, console, store.. Gives: wire messages and HTTP requests.
Never: pages, rows, commands to agents. Start here: `root, the engine, the kernel`.
"""
