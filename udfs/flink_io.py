# SPDX-License-Identifier: Apache-2.0
"""Kafka in and out of Flink, one byte array per record each way.

    source ──► keyed ──► operator ──► cut ──► sink

A source hands over `Row(key, frame)`. The stream is keyed in Java by that first field: PyFlink's own `key_by` would
carry each record through Python once more. Operators take frames and give packs (`wire/frames.py`); a pack is cut into
records in Java, beside the sink. The Java classes lie in `connector/`; their jar must be in the cluster's lib folder.

Every arrow that Flink could lose state over has a uid, given by the caller as a constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from pyflink.common import Configuration, Types, WatermarkStrategy
from pyflink.datastream import DataStream, KeyedStream, OutputTag, StreamExecutionEnvironment
from pyflink.datastream.connectors.base import DeliveryGuarantee
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetResetStrategy,
    KafkaOffsetsInitializer,
    KafkaSink,
    KafkaSource,
    KafkaTopicPartition,
)
from pyflink.datastream.connectors.number_seq import NumberSequenceSource
from pyflink.java_gateway import get_gateway
from pyflink.util.java_utils import to_jarray

from schemas.limits import JOURNAL_MESSAGE_BYTES
from wire.generations import PARAMETER

FRAME = Types.PRIMITIVE_ARRAY(Types.BYTE())
# What a source gives, and an operator whose output is keyed anew.
KEYED_FRAME = Types.ROW([Types.STRING(), FRAME])
# State is cut into so many key groups for ever; a savepoint cannot be restored under another number.
MAX_PARALLELISM = 128
# Nobody sees these records before their checkpoint, so they may wait for company: fewer and smaller requests are most
# of what the broker is spared. Journal entries are JSON in Avro, which lz4 makes a third of for little work.
BATCHES = {"linger.ms": "50", "batch.size": str(256 * 1024), "compression.type": "lz4"}
# What of a record is too large the topic says; the engine keeps what it writes below that.
REQUEST_BYTES_MAX = JOURNAL_MESSAGE_BYTES
# What a client waits before it asks again. A sink that is restored asks until the broker has ended the transaction that
# its predecessor left; with 100 ms, which is doubled each time, that was most of a second of each recovery.
AGAIN = {"retry.backoff.ms": "20", "reconnect.backoff.ms": "20"}
RESTORED_FROM = "execution.state-recovery.path"
DROP_UNCLAIMED = "execution.state-recovery.ignore-unclaimed-state"

Offsets = Mapping[int, int]  # by partition


def environment(
    parallelism: int, checkpoint_interval_ms: int, checkpoint_dir: str, overtaking: bool = False
) -> StreamExecutionEnvironment:
    """The environment with what our jobs rest on, whatever the cluster's defaults are. overtaking: barriers pass what
    lies in buffers, which is then part of the checkpoint (Flink calls it unaligned)."""
    settings = {
        # Functions run inside the TaskManager. A job with state must never change this: it would not find its state.
        "python.execution-mode": "thread",
        # Frames are never changed after they are made, so chained operators may share them.
        "pipeline.object-reuse": "true",
        # Operators of a chain open from its end: so when the conversation's asks whether it is alone, its sinks have
        # ended what another copy had open.
        "pipeline.operator-chaining.enabled": "true",
        "state.backend.type": "rocksdb",
        "execution.checkpointing.incremental": "true",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.unaligned.enabled": str(overtaking).lower(),
        # What was passed is worked on first after a restore. Without these no checkpoint would be taken until all of it
        # is done, and another crash would lose it all.
        "execution.checkpointing.unaligned.recover-output-on-downstream.enabled": str(overtaking).lower(),
        "execution.checkpointing.during-recovery.enabled": str(overtaking).lower(),
        "execution.checkpointing.interval": f"{checkpoint_interval_ms} ms",
        "execution.checkpointing.dir": checkpoint_dir,
        # State is found again by an operator's uid. One without would be given an id that changes with the graph.
        "pipeline.auto-generate-uids": "false",
        # Two at once would mean two open transactions per sink.
        "execution.checkpointing.max-concurrent-checkpoints": "1",
    }
    configuration = Configuration()
    for key, value in settings.items():
        configuration.set_string(key, value)
    env = StreamExecutionEnvironment.get_execution_environment(configuration)
    env.set_parallelism(parallelism)
    env.set_max_parallelism(MAX_PARALLELISM)
    return env


def of_start(env: StreamExecutionEnvironment, generation: int) -> None:
    """Have Flink tell of which start the job is, as long as it remembers the job."""
    env.get_config().set_global_job_parameters({PARAMETER: str(generation)})


def source(
    env: StreamExecutionEnvironment,
    uid: str,
    bootstrap: str,
    topics: list[str],
    group: str,
    key_header: str | None = None,
    first: Offsets | None = None,
) -> DataStream:
    """Committed records of the topics as Row(key, frame), where there is no checkpoint from the beginning or `first`.

    From `first` on no record is passed over: where one is gone, the job fails. The key is the record's, or the value
    of `key_header`. Offsets are state; what the group commits with each checkpoint says outside of Flink how far the
    job is."""
    builder = (
        KafkaSource.builder()
        .set_bootstrap_servers(bootstrap)
        .set_topics(*topics)
        .set_group_id(group)
        .set_starting_offsets(KafkaOffsetsInitializer.earliest() if first is None else offsets(topics, first))
        .set_property("isolation.level", "read_committed")
    )
    _set(builder, AGAIN)
    builder._j_builder.setDeserializer(get_gateway().jvm.threadlog.KafkaInput(key_header))
    return env.from_source(builder.build(), WatermarkStrategy.no_watermarks(), uid).uid(uid)


def numbers(env: StreamExecutionEnvironment, uid: str, count: int) -> DataStream:
    """0, 1, 2, … to the one before `count`, in their order, and then the end."""
    told = NumberSequenceSource(0, count - 1)
    return env.from_source(told, WatermarkStrategy.no_watermarks(), uid, Types.LONG()).set_parallelism(1).uid(uid)


def offsets(topics: list[str], held: Offsets) -> KafkaOffsetsInitializer:
    """The same offsets by partition of each topic; where one is gone, whoever begins there fails."""
    places = {KafkaTopicPartition(topic, partition): offset for topic in topics for partition, offset in held.items()}
    return KafkaOffsetsInitializer.offsets(places, KafkaOffsetResetStrategy.NONE)


def restored_from(env: StreamExecutionEnvironment) -> str:
    """The savepoint or checkpoint that the job is told to start from, be it by `flink run -s`; "" for nothing."""
    return str(_configuration(env).get_string(RESTORED_FROM, ""))


def allow_dropped_sources(env: StreamExecutionEnvironment) -> None:
    """Let the job start from a savepoint that holds the state of operators which it does not have."""
    allowed = Configuration()
    allowed.set_string(DROP_UNCLAIMED, "true")
    env.configure(allowed)


def _configuration(env: StreamExecutionEnvironment) -> Configuration:
    return Configuration(j_configuration=env._j_stream_execution_environment.getConfiguration())


def keyed(stream: DataStream) -> KeyedStream:
    """The stream keyed by the first field; a KeyedProcessFunction sees only the frame."""
    selector = get_gateway().jvm.KeyByKeySelector()
    key_type = Types.ROW([Types.STRING()])
    return KeyedStream(stream._j_data_stream.keyBy(selector, key_type.get_java_type_info()), FRAME, stream)


def partition_keys(partitions: int) -> list[str]:
    """A key for each partition, "PARTITION.SALT", for a stream by partition that is as even as it can be.

    The salts put the partitions at equal distances among the key groups, so that subtasks get as many as each other."""
    jvm = get_gateway().jvm
    row, group_of = (
        jvm.org.apache.flink.types.Row(1),
        jvm.org.apache.flink.runtime.state.KeyGroupRangeAssignment.assignToKeyGroup,
    )

    def lies_in(key: str, group: int) -> bool:
        row.setField(0, key)
        return bool(group_of(row, MAX_PARALLELISM) == group)

    # 0, 1/2, 1/4, 3/4, 1/8, … of all groups: even for any number of partitions.
    groups = [int(f"{partition:032b}"[::-1], 2) * MAX_PARALLELISM >> 32 for partition in range(partitions)]
    salted = ((f"{partition}.{salt}" for salt in count()) for partition in range(partitions))
    return [next(key for key in keys if lies_in(key, group)) for keys, group in zip(salted, groups, strict=True)]


def lane(name: str) -> OutputTag:
    """A side output of packs."""
    return OutputTag(name, FRAME)


def side(stream: DataStream, tag: OutputTag) -> DataStream:
    """The packs of a side output. PyFlink's own `get_side_output` adds a Python map with no uid, a hop for nothing."""
    return DataStream(stream._j_data_stream.getSideOutput(tag.get_java_output_tag()))


def write_transactional(
    packs: DataStream, uid: str, bootstrap: str, topics: list[str], prefix: str, timeout_ms: int = 600_000
) -> None:
    """Write the records of packs in the transaction of their checkpoint: readable when it has completed, or never.

    `prefix` names the transactions; it must be the same after each restart and belong to no other job. `timeout_ms`:
    a job that is gone for longer may lose what it has not committed; brokers allow 15 minutes, and the connector's
    default of an hour starts on none."""
    naming = get_gateway().jvm.org.apache.flink.connector.kafka.sink.TransactionNamingStrategy.POOLING
    builder = _sink(bootstrap, DeliveryGuarantee.EXACTLY_ONCE)
    _set(builder, BATCHES)
    builder.set_transactional_id_prefix(prefix).set_property("transaction.timeout.ms", str(timeout_ms))
    builder._j_builder.setTransactionNamingStrategy(naming)
    _write(packs, uid, builder, topics)


def write_at_once(packs: DataStream, uid: str, bootstrap: str, topics: list[str]) -> None:
    """Write the records of packs as they come, at least once: they may be of a decision that is rolled back."""
    builder = _sink(bootstrap, DeliveryGuarantee.AT_LEAST_ONCE)
    _write(packs, uid, builder.set_property("linger.ms", "0"), topics)


def _sink(bootstrap: str, guarantee: DeliveryGuarantee) -> Any:
    builder = KafkaSink.builder().set_bootstrap_servers(bootstrap).set_delivery_guarantee(guarantee)
    _set(builder, AGAIN)
    return builder.set_property("max.request.size", str(REQUEST_BYTES_MAX))


def _set(builder: Any, properties: Mapping[str, str]) -> None:
    """Give a source's or a sink's Kafka client some settings."""
    for key, value in properties.items():
        builder.set_property(key, value)


def _write(packs: DataStream, uid: str, builder: Any, topics: list[str]) -> None:
    jvm = get_gateway().jvm
    output = jvm.threadlog.KafkaOutput(to_jarray(jvm.java.lang.String, topics))
    builder._j_builder.setRecordSerializer(output)
    records = DataStream(packs._j_data_stream.flatMap(output)).uid(f"{uid}-cut").name(f"{uid}-cut")
    records.sink_to(builder.build()).uid(uid).name(uid)
