"""What every kind of live camera promises; each kind's tests inherit it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

import numpy as np
import pytest

from agent.capture.camera import Camera, Damaged, Picture
from agent.errors import CameraError

PATIENCE_S = 2.0  # that the cameras under test are given


class CameraContract(ABC):
    """Subclasses give a `camera` that is there, one that is `absent`, and make the first fall `silent`."""

    @pytest.fixture
    @abstractmethod
    def camera(self) -> Camera:
        """A camera that gives pictures, whose patience is `PATIENCE_S`."""

    @pytest.fixture
    @abstractmethod
    def absent(self) -> Camera:
        """One that is not there."""

    @abstractmethod
    def silence(self) -> None:
        """Let the camera give no pictures any more, without a word."""

    def test_it_gives_whole_pictures_as_rgb(self, camera: Camera) -> None:
        camera.open()
        pictures = [camera.read() for _ in range(20)]
        camera.close()
        whole = [picture for picture in pictures if isinstance(picture, Picture)]
        assert whole
        for picture in whole:
            assert picture.image_rgb.dtype == np.uint8
            assert picture.image_rgb.ndim == 3
            assert picture.image_rgb.shape[2] == 3
            assert picture.image_rgb.flags.c_contiguous

    def test_a_picture_is_not_changed_by_the_next(self, camera: Camera) -> None:
        camera.open()
        first = _whole(camera)
        before = first.image_rgb.copy()
        for _ in range(5):
            camera.read()
        camera.close()
        assert (first.image_rgb == before).all()

    def test_it_can_be_opened_again_and_again(self, camera: Camera) -> None:
        for _ in range(3):
            camera.open()
            assert isinstance(camera.read(), (Picture, Damaged))
            camera.close()
            camera.close()

    def test_one_that_is_not_open_cannot_be_read(self, camera: Camera) -> None:
        with pytest.raises(CameraError):
            camera.read()
        camera.open()
        camera.close()
        with pytest.raises(CameraError):
            camera.read()

    def test_one_that_is_not_there_says_so_in_words(self, absent: Camera) -> None:
        with pytest.raises(CameraError, match=r"\w+ \w+"):
            absent.open()
        absent.close()

    def test_silence_ends_in_an_error_and_not_in_a_wait(self, camera: Camera) -> None:
        camera.open()
        _whole(camera)
        self.silence()
        began = time.monotonic()
        with pytest.raises(CameraError):
            _read_for(camera, 60)
        assert time.monotonic() - began < PATIENCE_S + 30
        camera.close()


def _whole(camera: Camera) -> Picture:
    """Return the next whole picture; a stream may begin in the middle of things."""
    pictures = (camera.read() for _ in range(100))
    return next(picture for picture in pictures if isinstance(picture, Picture))


def _read_for(camera: Camera, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        camera.read()
