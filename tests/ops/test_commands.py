# SPDX-License-Identifier: Apache-2.0
"""What `send`, `tail`, `status`, `logs` and `topics` say, against a Kafka and a registry in memory."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

import ops.sending
from ops.sending import SOURCE
from ops.settings import Settings
from ops.stack import flink, health
from ops.stack.layout import Layout
from schemas.cloudevents import read_headers
from schemas.codec import Codec, Schema
from schemas.topics import TOPICS
from tests.ops.fakes import FakeKafka, FakeProducer, objects, run
from tests.threadlog.desk import desk, refund


def sent(kafka: FakeKafka) -> list[tuple[str, str, Any]]:
    """Thread, type by header and data of every event that was sent."""
    decode = Codec(kafka.schemas).decode
    records = kafka.topics.get("threadlog.agent-events", [])
    return [(r.key.decode(), read_headers(r.headers).type, decode(r.value)[2]) for r in records if r.key]


def test_send_makes_an_event_of_its_arguments(kafka: FakeKafka) -> None:
    """A full envelope under the registered schema; the id that is printed is the event's."""
    told = run("send", "t", "hi", "--id", "e1")
    assert (told.exit_code, told.stdout) == (0, "1 sent, id e1\n")
    assert sent(kafka) == [("t", "threadlog.Message", {"text": "hi", "data": "{}"})]


@pytest.mark.parametrize("name", ["-", "events.jsonl"])
def test_send_makes_an_event_of_each_line(kafka: FakeKafka, alone: Path, name: str) -> None:
    """From standard input or a file; the same line is the same event, so a file may be sent again."""
    data = b'"data": {"text": "hi", "data": "{}"}'
    lines = b'{"thread": "a", %b}\n\n{"thread": "b", %b}\n' % (data, data)
    (alone / "events.jsonl").write_bytes(lines)
    first, again = (objects(run("send", "--file", name, "--json", input=lines)) for _ in range(2))
    assert [line["thread"] for line in first] == ["a", "b"]
    assert first == again
    assert [thread for thread, _, _ in sent(kafka)] == ["a", "b", "a", "b"]


def test_send_writes_every_kind_of_schema(kafka: FakeKafka) -> None:
    """Our Protobuf event and a user's JSON type are read back as they were sent."""
    kafka.schemas.register("my.Json", Schema("JSON", json.dumps({"title": "my.Json", "type": "object"})))
    run("send", "t", "hi", "--type", "threadlog.Note")
    run("send", "t", "--data", '{"n": 1}', "--type", "my.Json")
    assert sent(kafka) == [
        ("t", "threadlog.Note", {"text": "hi", "data": "{}"}),
        ("t", "my.Json", {"n": 1}),
    ]
    kinds = [dict(record.headers)["content-type"] for record in kafka.topics["threadlog.agent-events"]]
    assert kinds == [b"application/vnd.confluent.protobuf", b"application/json"]


def test_send_waits_while_it_is_too_far_ahead(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer that holds no more is given time instead of an error."""
    monkeypatch.setattr(ops.sending, "producer", lambda bootstrap, log_level: FakeProducer(kafka, full=3))
    assert run("send", "t", "hi").exit_code == 0
    assert len(sent(kafka)) == 1


def test_send_waits_for_the_replies_to_its_events(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies to somebody else's events are not taken for them."""

    def answer(thread: str, id: str) -> None:
        kafka.add_reply(thread, "other", "not this")
        kafka.add_reply(thread, id, "well met")

    monkeypatch.setattr(ops.sending, "producer", lambda bootstrap, log_level: FakeProducer(kafka, answer=answer))
    told = objects(run("send", "t", "hi", "--id", "e1", "--wait", "--json"))
    assert told == [{"sent": "e1", "thread": "t"}, {"reply": "well met", "thread": "t", "event_id": "e1"}]


def test_send_waits_for_no_reply_to_what_is_refused(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that was sent before is answered no second time: its verdict is told instead."""
    first = desk(refund).send(order="o-1").entry

    def judge(_: str, id: str) -> None:
        for verdict, source in (("began", SOURCE), ("duplicate", "/else"), ("duplicate", SOURCE)):
            came = replace(first.input, id=id, source=source)
            kafka.add_entry(replace(first, verdict=verdict, reason=source, input=came).sealed())

    monkeypatch.setattr(ops.sending, "producer", lambda bootstrap, log_level: FakeProducer(kafka, answer=judge))
    told = objects(run("send", "t", "hi", "--id", "e1", "--wait", "--json"))
    assert told[1:] == [{"verdict": "duplicate", "reason": SOURCE, "thread": first.thread, "event_id": "e1"}]


def test_tail_shows_the_last_records_decoded(kafka: FakeKafka) -> None:
    """Partition and offset, key, type and data; headers on request; what cannot be read says why."""
    for text in ("one", "two", "three"):
        run("send", "t", text, "--id", text)
    kafka.add("agent-events", b"\xff", b"junk junk")
    told = run("tail", "agent-events", "--lines", "2", "--headers").stdout.splitlines()
    assert told[0] == '0/2  t  threadlog.Message  {"text": "three", "data": "{}"}'
    assert "    ce_id: three" in told
    assert told[-1] == "0/3  \\xff  ?  magic: the first byte is 106, expected 0 (Confluent wire format)"


def test_tail_of_nothing_reads_to_the_end_all_the_same(kafka: FakeKafka) -> None:
    """`-n 0`: only what comes is wanted, and what is there is not taken for that."""
    for text in ("one", "two"):
        run("send", "t", text, "--id", text)
    assert run("tail", "agent-events", "-n", "0", "-f").stdout == ""
    assert "one" in run("tail", "agent-events", "-n", "5").stdout


def test_tail_goes_on_after_what_it_read(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes between reading and following is shown, once."""
    run("send", "t", "before", "--id", "a")
    read = kafka.read_topic

    def and_then(bootstrap: str, topic: str, **given: Any) -> Any:
        yield from read(bootstrap, topic)
        run("send", "t", "between", "--id", "b")

    monkeypatch.setattr("ops.reading.read_topic", and_then)
    told = objects(run("tail", "agent-events", "--follow", "--json"))
    assert [line["data"]["text"] for line in told] == ["before", "between"]


def test_topics_are_objects(alone: Path) -> None:
    """One for each, with all that its declaration says."""
    told = objects(run("topics", "--json"))
    assert [line["topic"] for line in told] == list(TOPICS)
    assert {line["kafka_name"] for line in told} == {f"threadlog.{name}" for name in TOPICS}


def test_logs_are_objects(alone: Path) -> None:
    """A line of a log is an object too."""
    logs = Layout(alone / ".threadlog").logs
    logs.mkdir(parents=True)
    (logs / "kafka.log").write_text("first\nsecond\n")
    assert objects(run("logs", "kafka", "-n", "1", "--json")) == [{"part": "kafka", "line": "second"}]
    assert [line["part"] for line in objects(run("logs", "--json"))] == ["kafka"]


def test_status_of_nothing_is_an_object(alone: Path) -> None:
    """A program is told that nothing runs."""
    [line] = objects(run("status", "--json"))
    assert (line["running"], line["stack"]) == (False, str(alone / ".threadlog"))


@pytest.fixture
def running(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack of five parts whose supervisor answers; its third TaskManager is not registered."""
    names = ("kafka", "jobmanager", "taskmanager-1", "taskmanager-2", "taskmanager-3")
    info = {name: {"statename": "RUNNING", "pid": 1, "start": 0} for name in names}
    supervisor = SimpleNamespace(is_running=lambda: True, info=lambda: info)
    monkeypatch.setattr("ops.commands.status.Supervisor", lambda layout: supervisor)
    monkeypatch.setattr(health, "SERVICES", dict.fromkeys(names[:2], lambda settings: None))
    monkeypatch.setattr(health, "taskmanager", lambda name: lambda settings: "is lost" if name.endswith("3") else None)
    job = flink.Job("tools", "f" * 32, "RUNNING", {"total": 2, "running": 2})
    monkeypatch.setattr(flink, "live_jobs", lambda settings: {"tools": job})
    monkeypatch.setattr(flink, "hosts", lambda settings, job_id: ["taskmanager-1"])


@pytest.mark.parametrize("set_to", ["1", "3", "9"])
def test_status_knows_parts_by_name(running: None, monkeypatch: pytest.MonkeyPatch, set_to: str) -> None:
    """What runs is told, whatever number of TaskManagers is set by now."""
    monkeypatch.setenv("THREADLOG_TASKMANAGERS", set_to)
    _, *parts, job = objects(run("status", "--json"))
    assert {part["part"]: part["detail"] for part in parts if not part["healthy"]} == {"taskmanager-3": "is lost"}
    assert (len(parts), job["job"], job["taskmanagers"]) == (5, "tools", ["taskmanager-1"])
    assert "is lost" in run("status").stdout


def test_settings_have_one_default_stack(alone: Path) -> None:
    """Kafka and registry are the local stack's unless they are set."""
    assert (Settings().is_local, Settings(brokers="k:1").is_local, Settings(registry="http://r").is_local) == (
        True,
        False,
        False,
    )
