"""`crack-agent check`: could this device start, and if not, what to fix. One file per check."""

from agent.health.checks.finding import Check, Device, Examination, Finding
from agent.health.checks.run import examine

__all__ = ["Check", "Device", "Examination", "Finding", "examine"]
