# SPDX-License-Identifier: Apache-2.0
"""The topics that golden savepoints refer to, made again on any stack.

A state's positions and a source's offsets are those of the topics of that time. Of inputs only the places count, since
what lies there is never decided again. Entries of the journal lie where they lay, so that the gate's source goes on
behind them. That topic and the one of signals are written in transactions: behind the last record of each, a marker
takes a place too."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from ops.replay.histories import Histories
from ops.settings import Settings
from ops.stack import lifecycle, records
from ops.stack.layout import layout_of
from schemas.codec import Codec
from schemas.topics import kafka_name
from tests.stack.golden import FOLDER, JOURNAL, ends_of, facts
from tests.stack.world import wait_until
from wire.control import Mark, write_mark
from wire.kafka import producer
from wire.registry import Registry

SIGNALS = "agent-signals"
Record = tuple[int, int, bytes, bytes]  # partition, offset, key, value


def fill(settings: Settings, version: str) -> None:
    """The journal of a version, and topics that end where its did, in a namespace that has none of them."""
    lifecycle.ensure_wire(settings, print)
    codec, sender = Codec(Registry(settings.registry_url)), producer(settings.bootstrap)
    entries = {(entry.thread, entry.seq): entry for entry in Histories(FOLDER / version / "journal.jsonl")}
    keys = {(e.input.topic, e.input.partition, e.input.offset): e.thread.encode() for e in entries.values()}
    filler = codec.encode("threadlog.Message", {"text": "", "data": "{}"})
    ends = facts(version)["ends"]
    for topic in sorted(ends.keys() - {JOURNAL, SIGNALS}):
        for partition, offset in ((int(partition), at) for partition, end in ends[topic].items() for at in range(end)):
            sender.produce(
                kafka_name(settings.namespace, topic), filler, keys.get((topic, partition, offset)), partition
            )
    assert sender.flush(60) == 0
    signals = [(place[1], place[2], key, filler) for place, key in keys.items() if place[0] == SIGNALS]
    told = [
        (partition, offset, thread.encode(), codec.encode("threadlog.Decision", entries[thread, seq].to_dict()))
        for partition, offset, thread, seq in facts(version)["journal"]
    ]
    assert len(told) == len(entries)
    write_at(settings, kafka_name(settings.namespace, SIGNALS), signals)
    write_at(settings, kafka_name(settings.namespace, JOURNAL), told)
    for topic, wanted in ends.items():
        found = {str(partition): high for partition, (_, high) in ends_of(settings, topic).items() if high}
        assert found == wanted, topic


def write_at(settings: Settings, topic: str, told: list[Record]) -> None:
    """Write records of an empty topic to where they shall lie: one transaction for each run of them, as its marker
    takes the place behind it."""
    sender = Producer({
        "bootstrap.servers": settings.bootstrap, "transactional.id": f"refill-{settings.namespace}",
        "message.max.bytes": 2 * 1024 * 1024,
    })  # fmt: skip
    sender.init_transactions(60)
    for together in runs(told):
        found = list[tuple[int, int]]()

        def note(_: Any, message: Any, found: list[tuple[int, int]] = found) -> None:
            found.append((message.partition(), message.offset()))

        sender.begin_transaction()
        for partition, _, key, value in together:
            sender.produce(topic, value, key, partition, on_delivery=note)
        sender.commit_transaction(60)
        assert found == [one[:2] for one in together]


def runs(told: list[Record]) -> Iterator[list[Record]]:
    """Records in their order, cut where the next one does not lie right behind."""
    together = list[Record]()
    for one in sorted(told):
        if together and one[:2] != (together[-1][0], together[-1][1] + 1):
            yield together
            together = []
        together.append(one)
    yield from [together] if together else []


def left_behind(settings: Settings, version: str, points: dict[str, str]) -> None:
    """What the stop of that version left written down, in `agent-control` and in the state folder; the savepoints lie
    at `points` now."""
    codec, known = Codec(Registry(settings.registry_url)), facts(version)
    for job, point in points.items():
        mark = msgspec.convert(known["marks"][job], Mark, strict=False)
        write_mark(settings.bootstrap, settings.namespace, codec, msgspec.structs.replace(mark, savepoint=point))
        record = records.Record(**known["jobs"][job])
        records.write(layout_of(settings), replace(record, savepoint=point))


def forget(settings: Settings) -> None:
    """Remove the namespace, whose jobs must not run, so that it can be filled again."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})

    def there() -> list[str]:
        return [name for name in admin.list_topics(timeout=10).topics if name.startswith(f"{settings.namespace}.")]

    groups = [one.group_id for one in admin.list_consumer_groups(request_timeout=10).result().valid]
    ours = [group for group in groups if group.startswith(f"{settings.namespace}.")]
    for done in {**admin.delete_topics(there()), **(admin.delete_consumer_groups(ours) if ours else {})}.values():
        done.result()
    wait_until("the topics are gone", lambda: not there(), 30, there)
    shutil.rmtree(layout_of(settings).jobs, ignore_errors=True)
