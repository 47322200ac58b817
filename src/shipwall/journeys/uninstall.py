"""Taking Shipwall away without trace: what runs, what stands in the journal, what is frozen, then the state folder itself."""

from __future__ import annotations

import shutil

from shipwall.adapters.instance import Instance
from shipwall.journeys.cleanup import clean_up
from shipwall.journeys.promote import ACT as PROMOTE_ACT
from shipwall.journeys.release import release_frozen
from shipwall.journeys.serve import stop_serving
from shipwall.model.errors import StorageError


def uninstall(instance: Instance, *, destroy_frozen: bool = False) -> list[str]:
    """What was taken away, line by line; empty when there was nothing.

    Containers frozen on an engine of the host are thawed, or removed with `destroy_frozen`; those of the private engine go with it.

    Raises RemoteError when a container should be destroyed and its engine does not answer, StorageError when something the journal names
    still stands. Then the state folder is kept: without the journal nobody could find it again.
    """
    if not instance.state.exists():
        return []
    done = ["ended agent and server"] if stop_serving(instance) else []
    report = clean_up(instance)
    done += [line for taken in report.done for line in taken.what]
    # What an interrupted promotion left lies in a registry, without a tag, signed by a key that goes now: said, and no reason to stay.
    done += [f"left in the registry: {left.key}: {left.why}" for left in report.left if left.act == PROMOTE_ACT]
    if standing := [left for left in report.left if left.act != PROMOTE_ACT]:
        still = "; ".join(f"{left.act} {left.key}: {left.why}" for left in standing)
        raise StorageError(
            f"state folder {instance.state}", f"is kept, for this still stands: {still}", "mend that, then run it again"
        )
    done += release_frozen(instance, destroy=destroy_frozen, reason="Shipwall is uninstalled")
    try:
        shutil.rmtree(instance.state)
    except OSError as error:
        raise StorageError(str(instance.state), error.strerror or str(error), "remove it by hand") from error
    return [*done, f"removed {instance.state}"]
