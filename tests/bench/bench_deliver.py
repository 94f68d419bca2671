"""What durability costs: journal and publish against paho alone, to the same broker in the same run.

20 reports per commit, as a busy frame has. CPU seconds of this process, the broker's not counted; the target is a ratio
of 3. Reports per second are wall time, and so is the median from `publish` to a subscriber's hand: both depend on disk
and machine.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from agent.contract.reports import CrackReport
from agent.deliver import Delivery
from agent.deliver.settings import DeliverySettings
from agent.settings import MqttSettings
from tests.support.broker import Broker, running
from tests.support.talker import crack

REPORTS = 6000
PER_FRAME = 20
ROUNDS = 3
TARGET = 3.0
PACED_FRAMES = 60
PACE_S = 0.05


def bare(broker: Broker, payloads: list[bytes]) -> tuple[float, float]:
    """Publish with paho alone; return CPU and wall seconds until all are acknowledged."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.max_inflight_messages = 100
    left, done, connected = [len(payloads)], threading.Event(), threading.Event()

    def on_publish(*_: object) -> None:
        left[0] -= 1
        if not left[0]:
            done.set()

    client.on_publish = on_publish
    client.on_connect = lambda *_: connected.set()
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    assert connected.wait(30)
    cpu, wall = time.process_time(), time.perf_counter()
    for payload in payloads:
        client.publish("crackscout/v1/cart/crack", payload, qos=1)
    assert done.wait(120)
    spent = time.process_time() - cpu, time.perf_counter() - wall
    client.disconnect()
    client.loop_stop()
    return spent


def ours(broker: Broker, reports: list[CrackReport], folder: Path) -> tuple[float, float]:
    """Commit and publish; return CPU and wall seconds until all are acknowledged."""
    delivery = _open(broker, folder)
    cpu, wall = time.process_time(), time.perf_counter()
    for first in range(0, len(reports), PER_FRAME):
        delivery.publish(*reports[first : first + PER_FRAME])
    assert delivery.flush(120) == 0
    spent = time.process_time() - cpu, time.perf_counter() - wall
    delivery.close()
    return spent


def frame_to_wire_ms(broker: Broker, folder: Path) -> float:
    """Return the median from `publish` of a frame's reports to a subscriber that has them all, ms."""
    delivery = _open(broker, folder)
    arrived: dict[str, float] = {}

    def on_message(_client: Client, _data: object, message: MQTTMessage) -> None:
        arrived[json.loads(message.payload)["id"]] = time.perf_counter()

    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.on_message = on_message
    client.connect("127.0.0.1", broker.port)
    client.subscribe("+/v1/+/crack", qos=1)
    client.loop_start()
    time.sleep(0.5)
    begun = []
    for number in range(PACED_FRAMES):
        reports = _reports(PER_FRAME, first=number * PER_FRAME)
        begun.append((time.perf_counter(), reports[-1].id))
        delivery.publish(*reports)
        time.sleep(PACE_S)
    assert delivery.flush(60) == 0
    time.sleep(0.5)
    client.disconnect()
    client.loop_stop()
    delivery.close()
    return statistics.median(arrived[id_] - start for start, id_ in begun) * 1000


def _open(broker: Broker, folder: Path) -> Delivery:
    settings = MqttSettings(host="127.0.0.1", port=broker.port)
    delivery = Delivery(settings, device="cart", limits=DeliverySettings(min_free_mb=0), folder=folder)
    delivery.wait_connected(30)
    assert delivery.flush(30) == 0
    return delivery


def _reports(count: int, *, first: int = 0) -> list[CrackReport]:
    return [crack(first + number, "boot", "cart") for number in range(count)]


def main() -> None:
    """Print the figures; with --json as one object."""
    ratios, rates, bare_rates = [], [], []
    with tempfile.TemporaryDirectory() as name, running(Broker(Path(name))) as broker:
        for turn in range(ROUNDS):
            reports = _reports(REPORTS)
            payloads = [report.model_dump_json(by_alias=True).encode() for report in reports]
            bare_cpu, bare_wall = bare(broker, payloads)
            our_cpu, our_wall = ours(broker, reports, Path(name, f"outbox{turn}"))
            ratios.append(our_cpu / bare_cpu)
            rates.append(REPORTS / our_wall)
            bare_rates.append(REPORTS / bare_wall)
        wire = frame_to_wire_ms(broker, Path(name, "paced"))
    figures = {
        "cpu_ratio": round(statistics.median(ratios), 2),
        "cpu_ratio_target": TARGET,
        "reports_per_second": round(statistics.median(rates)),
        "bare_reports_per_second": round(statistics.median(bare_rates)),
        "wall_ratio": round(statistics.median(bare_rates) / statistics.median(rates), 2),
        "frame_to_wire_ms": round(wire, 1),
    }
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    for key, value in figures.items():
        sys.stdout.write(f"{key:26} {value}\n")


if __name__ == "__main__":
    main()
