"""The database of advisories: one SQLite file, replaced as a whole by each update, read by everybody at once.

Takes: a path, and items of feeds. Gives: `AdvisoryDb` for the matcher; `rewriting` for updates; documents of files and upstreams.
Never: decisions about what an advisory means.
Start here: `reader.py`, `writer.py`, `form.py`.
"""

from shipwall.adapters.advisory_db.reader import AdvisoryDb, FeedState
from shipwall.adapters.advisory_db.writer import DbWriter, rewriting

__all__ = ["AdvisoryDb", "DbWriter", "FeedState", "rewriting"]
