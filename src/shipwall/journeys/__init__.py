"""One module per use case; the order of acts and their journal.

Takes: what a user or the agent asks for. Gives: receipts and reports.
Never: rules of its own.
"""
