"""The fleet: which image has which components, and how each component is judged now. One SQLite file.

Takes: listed images, verdicts on components. Gives: images by component, verdicts, news. Never: judges, or opens an image.
Images of a component are a roaring bitmap beside it, so a question about a component is answered without looking at images. Readers
need only read the file (rollback journal, no shared memory file): the unprivileged server shows it. Losing it costs only listing anew.
Start here: `file.py` for the tables; `images.py`, `components.py`, `verdicts.py`.
"""

from shipwall.adapters.fleet.images import NO_LAYER, FleetImage, ListedImage
from shipwall.adapters.fleet.verdicts import HELD, NOT_HELD, SCORES, Judgement, News, Verdicts

__all__ = ["HELD", "NOT_HELD", "NO_LAYER", "SCORES", "Fleet", "FleetImage", "Judgement", "ListedImage", "News"]


class Fleet(Verdicts):
    """The fleet in the file `path`. Use as a context manager. *Raises* StorageError everywhere (disk full, damaged, locked for long)."""
