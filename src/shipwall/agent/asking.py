"""What the agent asks of the sensor's part in the kernel."""

from __future__ import annotations

from shipwall.kernel.sensor import Sensor
from shipwall.runtime.lower import lower
from shipwall.runtime.observed import MAPPING_CALL
from shipwall.runtime.rules import RuleSet
from shipwall.runtime.rules.calls import read_calls
from shipwall.runtime.rules.hurry import find_unhurried


def ask_kernel(sensor: Sensor, rules: RuleSet) -> None:
    """Deliver what a rule can match and what is mapped, drop the rest, and wake the agent only for what may raise an alert."""
    sensor.set_rules(lower(rules, {MAPPING_CALL}), {*read_calls(rules), MAPPING_CALL})
    sensor.set_unhurried(*find_unhurried(rules))
