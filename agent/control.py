"""What commands do to a service: the handlers behind `agent.deliver.commands`."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from agent.capture.cameras import Cameras
from agent.capture.telemetry.links import MavlinkLinks
from agent.contract.arrays import UInt8
from agent.deliver import Channel, Snapshot
from agent.deliver.commands import CommandError, Handler, NoArgs, Resync, SetSetting, StartMission, TakeSnapshot
from agent.deliver.evidence import evidence_jpeg
from agent.deliver.settings import MissionSettings
from agent.errors import ConfigError
from agent.record.reviews import Reviews
from agent.reviewing import Reviewing

logger = logging.getLogger(__name__)


class Control:
    """The state that commands change. Handlers run in the thread of the command desk; the rest in the loop's.

    Args:
        channel: the way out.
        reload: builds a mission from the settings as they are and lets it take over; see `Service.reload`.
        links: of the device to its vehicle; missions share them.
    """

    def __init__(self, channel: Channel, reload: Callable[[], None], links: MavlinkLinks) -> None:
        self._channel = channel
        self.links = links
        self._reload = reload
        self._cameras: Cameras | None = None
        self.reviewing = Reviewing(channel)
        self._wanted: bool | None = None  # whether somebody asked for missions, or for none; None: neither yet
        self._details: dict[str, str] = {}
        self._set_to: dict[str, object] = {}

    def wants_mission(self, settings: MissionSettings) -> bool:
        """Whether the service shall watch now."""
        return settings.start == "boot" if self._wanted is None else self._wanted

    @property
    def overrides(self) -> dict[str, object]:
        """Settings by `set`, and the mission's details as they were entered last, until the next restart."""
        return {**self._set_to, **{f"mission.{name}": value for name, value in self._details.items()}}

    def began(self, cameras: Cameras, reviews: Reviews) -> None:
        """Note the mission that commands are for."""
        self._cameras = cameras
        self.reviewing.began(reviews)

    def ended(self, cameras: Cameras, reviews: Reviews) -> None:
        """Note that it is over; another may have begun."""
        if self._cameras is cameras:
            self._cameras = None
        self.reviewing.ended(reviews)

    def armed(self) -> None:
        """Begin a mission, unless one goes on.

        Raises:
            CrackscoutError: it cannot begin; it will with the next attempt that succeeds, until `disarmed`.
        """
        self._wanted = True
        if self._cameras is None:
            self._reload()

    def disarmed(self) -> bool:
        """End the mission that goes on, in order; return whether none does any more. To be called until then.

        Raises:
            CrackscoutError: a mission that has not begun yet cannot be taken back.
        """
        self._wanted = False
        cameras = self._cameras
        if cameras is None:
            self._reload()  # one may be about to begin
            return True
        cameras.leave()
        return False

    def handlers(self) -> dict[str, Handler]:
        """Return what is done for each command."""
        return {
            "pause": self._pause,
            "resume": self._resume,
            "start_mission": self._start,
            "end_mission": self._end,
            "snapshot": self._snapshot,
            "set": self._set,
            "reload": lambda _: self._reload(),
            "resync": self._resync,
            "review": self.reviewing.review,
            "clear": lambda _: self._channel.delivery.clear_alarms(),
        }

    def _pause(self, _args: NoArgs) -> None:
        self._going().pause()

    def _resume(self, _args: NoArgs) -> None:
        self._going().resume()

    def _start(self, args: StartMission) -> None:
        before = self._wanted, dict(self._details)
        self._wanted = True
        self._details.update(args.model_dump(exclude_none=True))
        try:
            self._reload()
        except ConfigError as exc:
            self._wanted, self._details = before
            raise CommandError("out_of_range", str(exc)) from exc
        except BaseException:
            self._wanted, self._details = before
            raise

    def _end(self, _args: NoArgs) -> None:
        cameras = self._going()
        self._wanted = False
        cameras.leave()

    def _snapshot(self, args: TakeSnapshot) -> None:
        cameras = self._going()
        names = [status.name for status in cameras.status()]
        if args.camera is not None and args.camera not in names:
            raise CommandError("out_of_range", f"camera {args.camera!r}: there are {', '.join(names)}")
        found = {name: cameras.snapshot(name) for name in ([args.camera] if args.camera else names)}
        pictures = [Snapshot(camera=name, jpeg=_jpeg(image)) for name, image in found.items() if image is not None]
        if not pictures:
            raise CommandError("failed", "no camera has given a picture yet")
        self._channel.publish(*pictures)

    def _set(self, args: SetSetting) -> None:
        before = dict(self._set_to)
        self._set_to[args.key] = args.value
        try:
            self._reload()
        except ConfigError as exc:
            self._set_to = before
            raise CommandError("out_of_range", str(exc)) from exc
        except BaseException:
            self._set_to = before
            raise

    def _resync(self, args: Resync) -> None:
        self._channel.delivery.resync(args.seconds)

    def _going(self) -> Cameras:
        if self._cameras is None:
            raise CommandError("failed", "no mission is going on; cmd/start_mission begins one")
        return self._cameras


def _jpeg(image_rgb: UInt8) -> bytes:
    height, width = image_rgb.shape[:2]
    return evidence_jpeg(np.ascontiguousarray(image_rgb), (0, 0, width, height))
