"""The hands on everything else.

Takes: paths, sockets and addresses. Gives: engines, registries, archives, the store, the journal, as objects.
Never: decisions.
"""
