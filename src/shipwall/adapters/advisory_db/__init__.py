"""The database of advisories: one SQLite file, replaced as a whole by each update, read by everybody at once.

Takes: a path, and items of feeds. Gives: `AdvisoryDb` for the matcher; `writer.rewriting` for updates; documents of files and upstreams.
Never: decisions about what an advisory means.
Start here: `reader.py`, `writer.py`, `form.py`.
"""

from shipwall.adapters.advisory_db.reader import AdvisoryDb

__all__ = ["AdvisoryDb"]
