"""Steps 7 and 8, while driving: only the promoted image may run, and what it does is seen."""

from __future__ import annotations

from functools import partial
from typing import Any

from shipwall.access.hardening import Published, RunOptions
from shipwall.adapters.functions import write_function
from shipwall.adapters.supervise import wait_until
from shipwall.demo import attacks
from shipwall.demo.making import Making
from shipwall.demo.stage import Stage
from shipwall.journeys.enrol import enrol_engine, private_target
from shipwall.journeys.run import Ran, run_container

INSIDE_PORT = 8080


class Driving:
    """The running shop: `ran` once it was admitted."""

    ran: Ran

    def __init__(self, stage: Stage, making: Making) -> None:
        self.stage = stage
        self.story = stage.story
        self.making = making

    def admit(self) -> None:
        """The engine asks the agent from now on."""
        stage, rebuilt = self.stage, self.making.rebuilt
        self._enforce()
        enrol_engine(stage.instance, private_target(stage.instance))
        reference = f"{stage.registry.host}/{stage.scenario.production}@{rebuilt.identity.manifest}"
        stage.engine.pull(reference)
        host: dict[str, Any] = {"Image": rebuilt.identity.config}
        for what, body in (
            ("run the image that was not promoted", {"Image": self.making.shop.identity.config}),
            ("run the promoted one privileged", host | {"HostConfig": {"Privileged": True}}),
            ("run it with the host's root folder", host | {"HostConfig": {"Binds": ["/:/host"]}}),
            ("run it in the host's process namespace", host | {"HostConfig": {"PidMode": "host"}}),
        ):
            stage.refused(what, partial(stage.engine.create, "", body))
        options = RunOptions(publish=(Published(port=8080, host_port=INSIDE_PORT),), env=(f"SHOP_TOKEN={stage.scenario.secret}",))
        self.ran = run_container(stage.engine, reference, options, stage.scenario.container)
        stage.port = stage.private.forward(0, INSIDE_PORT)
        self.story.expect(wait_until(stage.answers, 15), "the shop answers on its published port")
        self.story.fact(f"{self.ran.name} runs {self.ran.manifest} as {self.ran.user}, published on 127.0.0.1:{stage.port}")

    def _enforce(self) -> None:
        """Start the agent with every function enforced that can be; without a sensor nothing would be killed or answered."""
        stage = self.stage
        assert stage.node is not None
        stage.node.start_agent()
        for function in ("admission", "kill", "response") if stage.plan.sensor else ("admission",):
            modes = write_function(stage.instance, function, "enforce")
        followed = wait_until(lambda: modes.items() <= stage.functions().items(), 10)
        self.story.expect(followed, "the agent follows the functions", str(modes))
        self.story.fact("enforced: " + ", ".join(name for name, mode in modes.items() if mode == "enforce"))

    def observe(self) -> None:
        """The container, joined with its image; quiet while it is healthy."""
        stage = self.stage
        for _ in range(20):
            attacks.send(stage.port, "/public")
        self.story.expect(
            wait_until(lambda: stage.container(self.ran.id).get("promotion") == "promoted", 10),
            "the container is joined with its image",
        )
        found = stage.container(self.ran.id)
        self.story.expect(
            found.get("image_digest") == self.making.rebuilt.identity.manifest,
            "by manifest digest",
            str(found.get("image_digest")),
        )
        health = stage.rows("health")[-1]
        alerts = stage.rows("alerts")
        for alert in alerts:
            self.story.fact(f"alert {alert['rule']}: {alert['output'][:120]}")
        self.story.expect(not alerts, "a healthy shop raises no alert", f"{len(alerts)} alerts")
        self.story.fact(
            f"{health['delivered']} events, {sum(health['lost'].values())} lost, agent {health['rss_bytes'] >> 20} MB, 0 alerts"
        )
