"""Tells the demo's journey and photographs the console it leaves: the pictures in docs/screenshots show a real run.

Run by `make docs`; needs root, Chromium and its driver.
"""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser import open_browser, shoot  # noqa: E402

from shipwall.adapters.instance import Instance  # noqa: E402
from shipwall.cli.demo import DEMO_STATE  # noqa: E402
from shipwall.demo.journey import Journey  # noqa: E402
from shipwall.demo.means import find_means  # noqa: E402
from shipwall.demo.plan import plan_story  # noqa: E402
from shipwall.demo.scenario import make_scenario  # noqa: E402
from shipwall.demo.story import Story  # noqa: E402

KEPT = ("overview-light.png", "overview-dark.png", "alerts-dark.png", "evidence-light.png", "admissions-light.png")


def main() -> None:
    """Renew the pictures of KEPT."""
    scenario = make_scenario(secrets.token_hex(16))
    plan = plan_story(find_means(), scenario.development, scenario.production)
    journey = Journey(Instance(DEMO_STATE), scenario, Story(), plan)
    try:
        journey.run()
        assert journey.node is not None
        with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
            browser.log_in(journey.node.login_link())
            shoot(browser, journey.node.console, Path(folder))
            for name in KEPT:
                shutil.copy(Path(folder) / name, ROOT / "docs" / "screenshots" / name)
                print(ROOT / "docs" / "screenshots" / name)
    finally:
        journey.close()


if __name__ == "__main__":
    main()
