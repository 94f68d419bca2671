"""Width in mm -> class of a named standard, with the probability of that class; standards are YAML tables."""

from agent.severity.grading import Grader, grading
from agent.severity.settings import SeveritySettings
from agent.severity.standard import Standard, all_standards, standard

__all__ = ["Grader", "SeveritySettings", "Standard", "all_standards", "grading", "standard"]
