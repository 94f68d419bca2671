"""The page on paper, printed by the Chromium that the machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from agent.errors import ConfigError, OutputError
from agent.record.layout import partial, writing

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LONGEST_S: Final = 300.0  # a thousand sheets take half a minute
_OPTIONS: Final = (
    "--headless",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # /dev/shm of a container holds 64 MB
    "--disable-extensions",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pdf-header-footer",
)


def browser() -> str:
    """Return the browser that prints.

    Raises:
        ConfigError: there is none on the path.
    """
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    raise ConfigError(
        f"--pdf needs Chromium: none of {', '.join(BROWSERS)} is on the path; apt-get install chromium, or open "
        "report.html in a browser and print it"
    )


def print_pdf(page: Path, path: Path, *, program: str | None = None) -> None:
    """Print a page to a PDF.

    Args:
        page: of ours: it needs nothing from the network.
        path: of the PDF.
        program: the browser; None: the one on the path.

    Raises:
        ConfigError: there is no browser.
        OutputError: it fails, or the folder cannot be written.
    """
    program = program or browser()
    # A sandbox cannot be made by root; everybody else keeps it.
    sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
    with tempfile.TemporaryDirectory(prefix="crackscout-print-", ignore_cleanup_errors=True) as scratch:
        printed = Path(scratch) / "report.pdf"
        call = [
            program, *_OPTIONS, *sandbox, f"--user-data-dir={scratch}/profile", f"--print-to-pdf={printed}",
            page.resolve().as_uri(),
        ]  # fmt: skip
        try:
            # what it says goes to a file: its children may outlive it and would hold a pipe open
            with (Path(scratch) / "said").open("w+b") as said:
                done = subprocess.run(  # noqa: S603 - no shell, words of ours
                    call, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=LONGEST_S, check=False,
                    env={**os.environ, "HOME": scratch},
                )  # fmt: skip
                said.seek(0)
                told = said.read().decode("utf-8", "replace").strip().splitlines()
        except subprocess.TimeoutExpired as exc:
            raise OutputError(f"{path}: {program} did not end within {LONGEST_S:g} s; print {page} by hand") from exc
        except OSError as exc:
            raise OutputError(f"{path}: {program} cannot be run ({exc.strerror}); install Chromium") from exc
        if not printed.is_file():
            last = told[-1] if told else "it said nothing"
            raise OutputError(
                f"{path}: {program} ended with {done.returncode} and no PDF ({last}); print {page} by hand"
            )
        with partial(path) as beside, writing(path):
            shutil.copyfile(printed, beside)
