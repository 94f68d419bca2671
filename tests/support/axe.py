"""What axe-core says of a page: faults that shut people out of it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

from tests.support.commands import ROOT
from tests.support.needs import missing

SCRIPTS = sorted((ROOT / ".cache/axe").glob("axe-*.min.js"))
SERIOUS = frozenset({"serious", "critical"})


def bring_axe(page: Page) -> None:
    """Load axe-core into a page, past its policy; skips the test, or fails it in CI, where it was not fetched."""
    if not SCRIPTS:
        missing("no axe-core: run .ci/axe")
    page.evaluate(SCRIPTS[-1].read_text())


def serious_faults(page: Page) -> list[tuple[Any, ...]]:
    """Return each serious fault of the page as it is now: rule, element, what is to be done."""
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (fault["id"], node["html"][:160], node["failureSummary"][:200])
        for fault in result["violations"]
        if fault["impact"] in SERIOUS
        for node in fault["nodes"]
    ]
