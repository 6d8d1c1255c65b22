# SPDX-License-Identifier: Apache-2.0
"""The command line in an empty folder of its own, and over a Kafka and a registry in memory."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import ops.audit.collect
import ops.audit.signing
import ops.commands.send
import ops.commands.tail
import ops.commands.watch
import ops.index.source
import ops.reading
import ops.sending
import ops.watching.lag
import ops.watching.lost
import ops.watching.watch
import wire.control
import wire.decided
import wire.writing
from ops.settings import Settings, remember
from ops.stack.layout import Layout
from ops.stack.render import render
from tests.ops.audits import eventful, exported, paid, signed
from tests.ops.fakes import FakeKafka, FakeProducer, FakeTopic
from tests.ops.indexes import thread
from tests.threadlog.desk import Desk


def free_ports() -> int:
    """A port below the range of outgoing connections from which on ten are free."""
    for base in range(28_000, 32_000, 10):
        with socket.socket() as probe:
            if all(probe.connect_ex(("127.0.0.1", port)) for port in range(base, base + 10)):
                return base
    raise OSError("no free ports")


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the current one, no settings of the caller's, and ports at which nothing listens."""
    for name in [name for name in os.environ if name.startswith("THREADLOG_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THREADLOG_PORT_BASE", str(free_ports()))
    return tmp_path


@pytest.fixture
def stopped(alone: Path) -> Layout:
    """The folder of a stack that was up once."""
    settings = Settings(state_dir=alone / ".threadlog", port_base=28000)
    render(settings, Layout(settings.state_dir))
    remember(settings)
    return Layout(settings.state_dir)


@pytest.fixture
def kafka(alone: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKafka]:
    """A broker and a registry in memory behind the whole command line; a port listens where the broker should."""
    fake = FakeKafka()
    for module in (ops.commands.send, ops.commands.tail, ops.commands.watch, ops.audit.signing):
        monkeypatch.setattr(module, "follow", fake.follow)
    for module in (ops.reading, ops.sending, ops.audit.collect):
        monkeypatch.setattr(module, "Registry", lambda url: fake.schemas)
    for module in (ops.reading, wire.control, wire.decided):
        monkeypatch.setattr(module, "read_topic", fake.read_topic)
    for module in (ops.audit.signing, ops.reading, ops.watching.lost):
        monkeypatch.setattr(module, "first_offsets", fake.first_offsets)
    monkeypatch.setattr(ops.watching.watch, "StableEnds", fake.stable_ends)
    monkeypatch.setattr(ops.watching.lag, "progress", lambda bootstrap, group, topics: {})
    monkeypatch.setattr(wire.decided, "offsets_since", fake.offsets_since)
    for module in (ops.sending, wire.writing):
        monkeypatch.setattr(module, "producer", lambda bootstrap, *settings: FakeProducer(fake))
    monkeypatch.setattr(
        ops.index.source,
        "TopicReader",
        lambda _, topic: FakeTopic(fake.topics.get(topic, []), fake.cluster, fake.first_offsets("", topic)),
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("THREADLOG_BROKERS", f"127.0.0.1:{listening.getsockname()[1]}")
        yield fake


@pytest.fixture
def key(kafka: FakeKafka, alone: Path) -> Path:
    """Two threads in the journal, one of them eventful, and the key that has signed both."""
    eventful(kafka)
    paid(kafka, "u")
    return signed(alone)


@pytest.fixture
def bundle(key: Path, alone: Path) -> Path:
    """All of it, as a bundle."""
    return exported(alone)


@pytest.fixture
def journal(kafka: FakeKafka) -> dict[str, Desk]:
    """Four threads: one is idle, one waits for a tool, one is parked, the last run of one has failed."""
    made = {
        "idle": thread("idle", 0),
        "waits": thread("waits", 1),
        "parked": thread("parked", 2, park=True),
        "failed": thread("failed", 1, fail=True),
    }
    for one in made.values():
        for entry in one.journal:
            kafka.add_entry(entry)
    return made
