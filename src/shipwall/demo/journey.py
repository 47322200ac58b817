"""The journey: one image from its build to its crash, told step by step. Everything it shows was done by the product, now."""

from __future__ import annotations

from shipwall.adapters.instance import Instance
from shipwall.demo.crash import Crash
from shipwall.demo.driving import Driving
from shipwall.demo.making import Making
from shipwall.demo.plan import Plan
from shipwall.demo.scenario import Scenario
from shipwall.demo.stage import Stage
from shipwall.demo.story import Story
from shipwall.demo.table import stored_table
from shipwall.journeys.serve import Node


class Journey:
    """One telling on this machine. `run` tells all of it that `plan` allows; `close` ends everything it started."""

    def __init__(self, instance: Instance, scenario: Scenario, story: Story, plan: Plan) -> None:
        self.stage = Stage(instance, scenario, story, plan)
        self.story = story
        self.plan = plan
        self.table: list[dict[str, str]] = []
        making = Making(self.stage)
        driving = Driving(self.stage, making)
        crash = Crash(self.stage)
        self._acts = {
            "start": self.stage.set_up,
            "build": making.build,
            "scan": making.scan,
            "refuse": making.refuse,
            "rebuild": making.rebuild,
            "promote": making.promote,
            "admit": driving.admit,
            "observe": driving.observe,
            "attack": crash.attack,
            "evidence": crash.evidence,
            "console": self.stage.show_console,
        }

    @property
    def node(self) -> Node | None:
        """Agent and server, where they run."""
        return self.stage.node

    def close(self) -> None:
        """End everything this telling started; the state folder stays for whoever wants to look."""
        self.stage.close()

    def run(self) -> None:
        """Tell the journey; a step that cannot run here is told with the reason. Raises what the first broken step raised."""
        for number, step in enumerate(self.plan.steps, 1):
            if step.cannot:
                self.story.skip(number, step.title, step.cannot)
            else:
                self.story.step(number, step.title, self._acts[step.name])
        if self.stage.node is not None:
            self.table = stored_table(self.stage.rows)
