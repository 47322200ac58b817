"""ONE schema of every record, map key and constant shared with the kernel.

Takes: nothing. Gives: the C header and the Python layouts of the same records.
Never: I/O, decisions. Start here: `schema.py`.
"""
