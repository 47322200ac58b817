"""Taking Shipwall away without trace: what runs, what stands in the journal, then the state folder itself."""

from __future__ import annotations

import shutil

from shipwall.adapters.instance import Instance
from shipwall.journeys.cleanup import clean_up
from shipwall.journeys.serve import stop_serving
from shipwall.model.errors import StorageError


def uninstall(instance: Instance) -> list[str]:
    """What was taken away, line by line; empty when there was nothing.

    Raises StorageError, with the state folder kept, when something the journal names still stands: without the journal nobody could
    find it again.
    """
    if not instance.state.exists():
        return []
    done = ["ended agent and server"] if stop_serving(instance) else []
    report = clean_up(instance)
    done += [line for taken in report.done for line in taken.what]
    if report.left:
        still = "; ".join(f"{left.act} {left.key}: {left.why}" for left in report.left)
        raise StorageError(
            f"state folder {instance.state}", f"is kept, for this still stands: {still}", "mend that, then run it again"
        )
    try:
        shutil.rmtree(instance.state)
    except OSError as error:
        raise StorageError(str(instance.state), error.strerror or str(error), "remove it by hand") from error
    return [*done, f"removed {instance.state}"]
