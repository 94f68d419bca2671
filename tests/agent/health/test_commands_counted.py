"""No command is lost without a count."""

from __future__ import annotations

from collections import Counter

from prometheus_client import CollectorRegistry

from agent.deliver import DeliveryStatus, NullPublisher
from agent.health.metrics import ServiceCollector
from agent.health.notify import notifier
from agent.health.vitals import Vitals
from agent.pipeline import Tally


class Ignoring(NullPublisher):
    """A delivery that ignored three commands."""

    @property
    def status(self) -> DeliveryStatus:
        return DeliveryStatus(commands_ignored=3)


def test_what_became_of_commands_is_shown_also_of_deliveries_that_are_over() -> None:
    vitals = Vitals(notifier({}))
    registry = CollectorRegistry()
    commands = Counter(done=5, unanswered=2)
    registry.register(ServiceCollector(vitals, problem=lambda: None, version="1", commands=lambda: commands))
    vitals.watch(Tally(), Ignoring())
    vitals.watch(Tally(), Ignoring())
    results = ("done", "rejected", "unanswered", "ignored")
    shown = {result: registry.get_sample_value("commands_total", {"result": result}) for result in results}
    assert shown == {"done": 5, "rejected": 0, "unanswered": 2, "ignored": 6}
