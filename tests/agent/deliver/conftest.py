from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agent.contract.flight import BundleUsed, CrackRow, FlightHeader, MaskRle
from agent.deliver import Delivery, Reporter
from agent.settings import MqttSettings
from tests.support.broker import Broker, DeafBroker, Subscriber, running

Connect = Callable[..., Delivery]


@pytest.fixture
def header() -> FlightHeader:
    """A replay's."""
    return FlightHeader(
        mission_id="0b7c2f0e-6f5d-5d0a-9d0f-3f0c7c1f9b11",
        mode="replay",
        device="cart",
        complete=False,
        sources=(),
        bundle=BundleUsed(name="tiny", sha256="ab" * 32),
        runtime="onnxruntime",
        variant="fp32",
        settings={},
        version="0.1.0",
        frames=7,
        skipped=1,
        cracks=3,
    )


@pytest.fixture
def row() -> Callable[..., CrackRow]:
    """Rows of cracks, numbered."""

    def make(number: int, **changes: Any) -> CrackRow:
        fields: dict[str, Any] = {
            "id": f"sighting-{number}",
            "crack_id": f"crack-{number}",
            "revision": 0,
            "frame": number,
            "camera": "crown",
            "kind": "crack",
            "confidence": 0.75,
            "severity": "ungraded",
            "gradable": True,
            "not_gradable_reason": None,
            "bbox_x": 1,
            "bbox_y": 2,
            "bbox_w": 30,
            "bbox_h": 40,
            "length_px": 50.0,
            "width_px": 3.0,
            "width_p50_px": 2.0,
            "width_max_px": 4.0,
            "area_px": 150,
            "orientation_deg": 45.0,
            "scale_mm_px": None,
            "scale_source": "none",
            "length_mm": None,
            "width_mm": None,
            "width_p50_mm": None,
            "width_max_mm": None,
            "area_mm2": None,
            "branches": (),
            "mask": MaskRle(size=(100, 100), counts=(10_000,)),
        }
        return CrackRow(**{**fields, **changes})

    return make


@pytest.fixture
def reporter(header: FlightHeader) -> Reporter:
    return Reporter(header)


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def broker(tmp_path: Path, closing: ExitStack) -> Broker:
    """Runs; forgets everything when it ends."""
    return closing.enter_context(running(Broker(tmp_path)))


@pytest.fixture
def subscriber(broker: Broker, closing: ExitStack) -> Subscriber:
    subscriber = Subscriber(broker)
    closing.callback(subscriber.close)
    return subscriber


@pytest.fixture
def connect(closing: ExitStack) -> Connect:
    """Publishers to a broker, closed at the end."""

    def make(broker: Broker | DeafBroker, *, mqtt: dict[str, Any] | None = None, **arguments: Any) -> Delivery:
        settings = MqttSettings.model_validate({"host": "127.0.0.1", "port": broker.port, **(mqtt or {})})
        publisher = Delivery(settings, device="cart", **arguments)
        closing.callback(publisher.close)
        return publisher

    return make
