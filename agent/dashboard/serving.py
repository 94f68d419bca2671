"""Opens the page: of a service, of a run in this process, of a record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from agent.about import version
from agent.dashboard.app import Dashboard
from agent.dashboard.background import open_background
from agent.dashboard.guard import Guard
from agent.dashboard.library import Library
from agent.dashboard.live import LivePicture
from agent.dashboard.reviews import Keep
from agent.dashboard.server import Server, new_token, read_token
from agent.dashboard.settings import DashboardSettings, is_loopback
from agent.dashboard.status import History, Recorded, Running
from agent.errors import ConfigError
from agent.health.vitals import Vitals
from agent.record import read_flight

if TYPE_CHECKING:  # the settings hold ours
    from agent.settings import Settings

logger = logging.getLogger(__name__)


class ServicePage:
    """The page of a service: it outlives missions, follows the settings, and is there in safe mode too.

    Args:
        vitals: of the service.
        problem: why nothing is captured; None while all is well.
        environment: for the token.
        keep: takes reviews.
    """

    def __init__(
        self, vitals: Vitals, *, problem: Callable[[], str | None], environment: Mapping[str, str], keep: Keep
    ) -> None:
        self.live = LivePicture()
        self._library = Library(Path("flights"), single=False)
        self._device = ""
        self._environment = environment
        self._keep = keep
        self._history = History(vitals)
        self._status = Running(version(), vitals, problem, lambda: self._library.folder, lambda: self._device)
        self._settings: DashboardSettings | None = None
        self._server: Server | None = None

    @property
    def answering(self) -> bool:
        """Whether there is a page now."""
        return self._server is not None

    def move(self, settings: Settings) -> None:
        """Show what the settings say, where they say; a page that cannot be opened is an error in the log.

        A flight without a page is better than none.
        """
        self._library.use(settings.record.dir)
        self._device = settings.device
        self.live.fps = settings.dashboard.live_fps
        if settings.dashboard == self._settings and self.answering:
            return
        self.end()  # the new one may want the same port
        self._settings = settings.dashboard
        if settings.dashboard.port is None:
            return
        try:
            self._server = Server(
                Dashboard(
                    library=self._library,
                    status=self._status,
                    guard=_guard(settings.dashboard, read_token(settings.dashboard, self._environment)),
                    live=self.live,
                    history=self._history,
                    background=open_background(settings.dashboard),
                    keep=self._keep,
                ),
                settings.dashboard.host,
                settings.dashboard.port,
            )
        except ConfigError as exc:
            logger.error("%s", exc)  # noqa: TRY400 - its text says what to mend
            return
        logger.info("the page is at %s", self._server.address)

    def end(self) -> None:
        """Answer no more."""
        server, self._server = self._server, None
        if server is not None:
            server.close()


def open_record(record: Path, settings: DashboardSettings, environment: Mapping[str, str]) -> Server:
    """Serve the page on a record.

    Args:
        record: finished, or still being written.
        settings: where, and what lies under the map. Without a token, an address that others can reach gets a new one.
        environment: for the token.

    Raises:
        ConfigError: the address, the token or the background cannot be used.
        InputError: no record.
    """
    read_flight(record)
    dashboard = Dashboard(
        library=Library(record, single=True),
        status=Recorded(version()),
        guard=_guard(settings, _token(settings, environment)),
        background=open_background(settings),
    )
    return Server(dashboard, settings.host, settings.port or 0)


def open_run(
    record: Path, settings: DashboardSettings, vitals: Vitals, environment: Mapping[str, str], *, device: str
) -> tuple[Server, LivePicture]:
    """Serve the page on a run of this process, whichever port is free; return it and what is to hear of each frame.

    Args:
        record: where the run will write.
        settings: what lies under the map.
        vitals: of the run.
        environment: for the token.
        device: its name.

    Raises:
        ConfigError: see `open_record`.
    """
    live = LivePicture(fps=settings.live_fps)
    dashboard = Dashboard(
        library=Library(record, single=True),
        status=Running(version(), vitals, lambda: None, lambda: record, lambda: device),
        guard=_guard(settings, _token(settings, environment)),
        live=live,
        history=History(vitals),
        background=open_background(settings),
    )
    return Server(dashboard, settings.host, 0), live


def _token(settings: DashboardSettings, environment: Mapping[str, str]) -> str | None:
    if is_loopback(settings.host):
        return read_token(settings, environment)
    try:
        return read_token(settings, environment)
    except ConfigError:
        if settings.token_file is not None:
            raise
        return new_token()


def _guard(settings: DashboardSettings, token: str | None) -> Guard:
    return Guard(settings.host, frozenset(settings.names), token)
