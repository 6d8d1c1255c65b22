# SPDX-License-Identifier: Apache-2.0
"""What the two connector classes make of the golden records: `python -m tests.wire.connector` prints it.

A process of its own, because a JVM comes with it. It needs the jars of the local stack and no cluster."""

from __future__ import annotations

import json
from typing import Any

from pyflink.java_gateway import get_gateway
from pyflink.util.java_utils import to_jarray

from tests.wire.golden import CAME, LEAVES, shown
from udfs.flink_io import MAX_PARALLELISM, partition_keys
from wire.frames import Headers, OutRecord, pack_out


def kafka(name: str) -> Any:
    """A class of the Kafka client that the connector carries."""
    return getattr(get_gateway().jvm.org.apache.flink.kafka.shaded.org.apache.kafka, name)


def came() -> tuple[str, str]:
    """What KafkaInput makes of the record that comes in: the key of its stream, and the frame in hex."""
    jvm = get_gateway().jvm
    headers = kafka("common").header.internals.RecordHeaders()
    for name, value in CAME.headers:
        headers.add(name, value)
    optional = jvm.java.util.Optional.empty()
    by_append = kafka("common").record.TimestampType.LOG_APPEND_TIME
    record = kafka("clients").consumer.ConsumerRecord(
        CAME.topic,
        CAME.partition,
        CAME.offset,
        CAME.timestamp_ms,
        by_append,
        0,
        0,
        CAME.key,
        CAME.value,
        headers,
        optional,
    )
    rows = jvm.java.util.ArrayList()
    jvm.threadlog.KafkaInput(None).deserialize(record, collector(rows))
    return rows[0].getField(0), bytes(rows[0].getField(1)).hex()


def groups() -> list[int]:
    """The key groups in which eight partitions lie."""
    jvm = get_gateway().jvm
    assign = jvm.org.apache.flink.runtime.state.KeyGroupRangeAssignment.assignToKeyGroup
    found = []
    for key in partition_keys(8):
        row = jvm.org.apache.flink.types.Row(1)
        row.setField(0, key)
        found.append(assign(row, MAX_PARALLELISM))
    return found


def records() -> list[dict[str, Any]]:
    """What KafkaOutput cuts out of the pack that leaves."""
    jvm = get_gateway().jvm
    output = jvm.threadlog.KafkaOutput(to_jarray(jvm.java.lang.String, [record.topic for record in LEAVES]))
    cut = jvm.java.util.ArrayList()
    output.flatMap(pack_out(LEAVES), collector(cut))
    return [shown(of_java(output.serialize(record, None, None))) for record in cut]


def collector(items: Any) -> Any:
    """A collector into a list."""
    return get_gateway().jvm.org.apache.flink.api.common.functions.util.ListCollector(items)


def of_java(record: Any) -> OutRecord:
    """A ProducerRecord as ours."""
    headers: Headers = [(header.key(), plain(header.value())) for header in record.headers().toArray()]
    return OutRecord(record.topic(), plain(record.key()), plain(record.value()), headers)


def plain(value: Any) -> bytes | None:
    """Java's bytes as Python's."""
    return None if value is None else bytes(value)


if __name__ == "__main__":
    print(json.dumps({"came": came(), "groups": groups(), "records": records()}))
