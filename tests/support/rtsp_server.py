"""A network camera: gst-rtsp-server with a test picture. Run by the system's Python, which has PyGObject.

`rtsp_server.py PORT WIDTH HEIGHT [USER PASSWORD]`; says its port on stdout; a line `WIDTH HEIGHT` on stdin changes the
size of the picture while it streams.
"""

from __future__ import annotations

import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - versions come first

PIPELINE = (
    '( videotestsrc is-live=true pattern=smpte ! capsfilter name=size caps="{caps}" '
    "! x264enc tune=zerolatency sliced-threads=false speed-preset=ultrafast key-int-max=5 "
    "! rtph264pay name=pay0 config-interval=-1 )"
)
CAPS = "video/x-raw,width={},height={},framerate=20/1"


def main() -> None:
    port, width, height = sys.argv[1:4]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE.format(caps=CAPS.format(width, height)))
    factory.set_shared(True)
    filters = []
    factory.connect("media-configure", lambda _, media: filters.append(media.get_element().get_by_name("size")))
    if len(sys.argv) > 4:
        _ask_for(server, factory, *sys.argv[4:6])
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    sys.stdout.write(f"{server.get_bound_port()}\n")
    sys.stdout.flush()
    threading.Thread(target=_listen, args=(filters,), daemon=True).start()
    GLib.MainLoop().run()


def _ask_for(server: GstRtspServer.RTSPServer, factory: GstRtspServer.RTSPMediaFactory, user: str, word: str) -> None:
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth = GstRtspServer.RTSPAuth()
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, word), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)


def _listen(filters: list[Gst.Element]) -> None:
    for line in sys.stdin:
        for element in filters:
            element.set_property("caps", Gst.Caps.from_string(CAPS.format(*line.split())))


if __name__ == "__main__":
    main()
