"""The live links of a device: each is opened once, however many cameras, missions and watchers listen."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection

from agent.capture.telemetry.mavlink import MavlinkLive


class MavlinkLinks:
    """Links by address. They outlive missions: a reload must not open a port that is still held."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[str, MavlinkLive] = {}
        self._before: Counter[str] = Counter()  # of links that are closed

    def take(self, url: str) -> MavlinkLive:
        """Return the link to an address, opened if nobody has yet.

        Raises:
            ConfigError: pymavlink is not installed, or the link cannot be opened.
        """
        with self._lock:
            if url not in self._links:
                self._links[url] = MavlinkLive(url)
            return self._links[url]

    def keep(self, urls: Collection[str]) -> None:
        """Close all links but these."""
        with self._lock:
            for url in set(self._links) - set(urls):
                link = self._links.pop(url)
                link.close()
                self._before += link.faults

    def faults(self) -> Counter[str]:
        """Return what was left out and what was lost, by reason, since the start."""
        with self._lock:
            return sum((Counter(link.faults) for link in self._links.values()), Counter(self._before))

    def close(self) -> None:
        """Leave all links."""
        self.keep(())
