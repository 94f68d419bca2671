from __future__ import annotations

import pytest

from agent.redact import without_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://pilot:secret@cam/main", "rtsp://pilot:***@cam/main"),
        ("rtsp://:secret@cam", "rtsp://:***@cam"),
        ("opened 'rtsp://p:a:b@c@cam/x' again", "opened 'rtsp://p:***@cam/x' again"),
        ("rtsp://p:a/b@cam", "rtsp://p:***@cam"),
        ("rtsp:/p:secret@cam/main: no such file", "rtsp:/p:***@cam/main: no such file"),
        ("a@b http://host:80/path", "a@b http://host:80/path"),
        ("rtsp://cam:554/main then mail a@b", "rtsp://cam:554/main then mail a@b"),
        ("12:30 user@host", "12:30 user@host"),
    ],
)
def test_only_passwords_in_addresses_are_hidden(text: str, shown: str) -> None:
    assert without_passwords(text) == shown
