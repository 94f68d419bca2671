"""From reports to what the outbox keeps, and to what only the latest counts of."""

from __future__ import annotations

from agent.contract.reports import AckReport, CrackReport, Payload, Topic
from agent.deliver.entry import Entry, Kind
from agent.deliver.link import Message
from agent.deliver.publisher import Evidence, Report, Snapshot
from agent.deliver.topics import EVIDENCE_EXPIRY_S, RULES, SNAPSHOT_EXPIRY_S, TOPIC_OF, Topics

JPEG_TYPE = "image/jpeg"


def kept(report: Report, topics: Topics) -> Entry | None:
    """Return a report as the outbox keeps it; None if it does not."""
    if isinstance(report, Evidence):
        return Entry(
            id=f"{report.report_id}-evidence", kind="evidence", topic=topics.of("evidence", report.crack_id),
            payload=report.jpeg, retain=False, expiry_s=EVIDENCE_EXPIRY_S, content_type=JPEG_TYPE,
        )  # fmt: skip
    if isinstance(report, Snapshot) or RULES[TOPIC_OF[type(report)]].latest_only:
        return None
    return entry_of(report, topics)


def entry_of(report: Payload, topics: Topics) -> Entry:
    """Return a report that goes through the outbox as the outbox keeps it."""
    topic = TOPIC_OF[type(report)]
    rule = RULES[topic]
    if isinstance(report, AckReport):
        id_, full = ack_id(report.id, report.status), topics.of(topic, report.id)
    else:
        id_, full = str(report.id), topics.of(topic)  # type: ignore[attr-defined] # reports that are kept have one
    return Entry(
        id=id_, kind=_kind(topic, report), topic=full, payload=report.model_dump_json(by_alias=True).encode(),
        retain=rule.retain, expiry_s=rule.expiry_s, content_type="application/json",
    )  # fmt: skip


def ack_id(command_id: str, status: str) -> str:
    """Return the id of a command's ack in the outbox: there it also tells that the command was seen."""
    return f"ack:{command_id}:{status}"


def latest_only(report: Report, topics: Topics) -> Message | None:
    """Return a message of which only the latest counts; None if the outbox keeps the report."""
    if isinstance(report, Evidence):
        return None
    if isinstance(report, Snapshot):
        return Message(
            topic=topics.of("snapshot", report.camera), payload=report.jpeg, qos=0, retain=True,
            expiry_s=SNAPSHOT_EXPIRY_S, content_type=JPEG_TYPE,
        )  # fmt: skip
    return latest_message(report, topics) if RULES[TOPIC_OF[type(report)]].latest_only else None


def latest_message(report: Payload, topics: Topics) -> Message:
    """Return a report of which only the latest counts, as it is sent."""
    topic = TOPIC_OF[type(report)]
    rule = RULES[topic]
    return Message(
        topic=topics.of(topic), payload=report.model_dump_json(by_alias=True).encode(), qos=rule.qos,
        retain=rule.retain, expiry_s=rule.expiry_s, is_repeated=rule.retain and topic != "connection",
    )  # fmt: skip


def _kind(topic: Topic, report: Payload) -> Kind:
    match topic:
        case "ack" | "gap" | "mission":
            return topic
    if isinstance(report, CrackReport) and report.severity in {"high", "severe"}:
        return "crack_high"
    if isinstance(report, CrackReport) and report.severity in {"none", "low"}:
        return "crack_low"
    return "crack"
