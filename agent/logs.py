"""What the agent says about itself, on stderr: a line of text each, or a JSON object each for machines.

Where stderr is the journal, each line begins with its priority (`<4>`, see sd-daemon(3)), so that `journalctl -p
warning` works, and bears no time of its own. Passwords inside addresses never get through.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Final, TextIO

from agent.deliver.reporter import rfc3339
from agent.redact import without_passwords
from agent.settings import LoggingSettings

PRIORITIES: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        fields = {
            "time": rfc3339(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_passwords(record.getMessage()),
        }
        if record.exc_info:
            fields["traceback"] = without_passwords(self.formatException(record.exc_info))
        return json.dumps(fields, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """A line of text, and the traceback below it where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        return without_passwords(super().format(record))


class JournalFormatter(logging.Formatter):
    """Puts the priority before every line that another formatter makes, since the journal takes lines apart."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return the record with its priority."""
        level = max((known for known in PRIORITIES if known <= record.levelno), default=logging.DEBUG)
        return "\n".join(f"<{PRIORITIES[level]}>{line}" for line in self._inner.format(record).splitlines())


def set_up(settings: LoggingSettings, environment: Mapping[str, str] = os.environ) -> None:
    """Send the logs of this process to stderr as the settings say."""
    journal = _is_journal(sys.stderr, environment)
    text = TextFormatter(f"{'' if journal else '%(asctime)s '}%(levelname)s %(name)s: %(message)s")
    formatter = JsonFormatter() if settings.format == "json" else text
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JournalFormatter(formatter) if journal else formatter)
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)


def _is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether the stream is the one that systemd connected to the journal, and was not led elsewhere since."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
